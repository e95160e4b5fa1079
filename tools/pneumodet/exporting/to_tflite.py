"""A model as a LiteRT (TensorFlow Lite) file: float, with float16 weights, or fully quantized to int8.

write(part, path, kind="tflite-int8", images=lambda: samples, metadata=card)

A fully quantized file answers with the box encodings and logits of each feature map (``graphs.of_model``). What upstream's way of quantizing an SSD
breaks (tensorflow/models #9371, #10618) are ranges that are too wide for 256 steps: of tensors that join boxes and scores, or the encodings of all
feature maps, and of logits, which fall without end where there is nothing. Here every output has a scale of its own, logits are cut off
(``graphs.logit_range``), and all that comes after is float.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.errors import ConfigError, first_line
from pneumodet.exporting.graphs import Part
from pneumodet.exporting.silence import silenced

METADATA = "pneumodet"
"""Name of the metadata in the flatbuffer's ``Model.metadata``; the buffer that it points to is JSON."""


def write(
    part: Part, path: Path, *, kind: str, metadata: dict[str, Any], images: Callable[[], Iterable[Sequence[np.ndarray]]] | None = None
) -> None:
    """Convert a function of a model.

    Args:
      part: for "tflite-int8" the encodings, else boxes and scores.
      path: the new file.
      kind: one of "tflite", "tflite-fp16", "tflite-int8".
      metadata: goes into the file.
      images: for "tflite-int8": gives what the function takes, of each of the radiographs that the ranges of values are taken from.

    Raises:
      ConfigError: the converter cannot express it in TensorFlow Lite's own operations.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        module = tf.Module()
        concrete = part.function.get_concrete_function()
        module.function, module.held = part.function, list(concrete.graph.variables)  # what is saved must be held by what is saved
        tf.saved_model.save(module, folder, signatures=concrete)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if kind == "tflite-fp16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        elif kind == "tflite-int8":
            names = [spec.name for spec in part.signature]

            def samples() -> Iterator[dict[str, np.ndarray]]:
                return (dict(zip(names, one, strict=True)) for one in images())

            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = samples
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        try:
            with silenced():
                data = converter.convert()
        except Exception as error:  # the converter raises whatever comes
            raise ConfigError(f"This model cannot be written as {kind}: {first_line(error)}. Leave it out of --formats.") from error
    path.write_bytes(_with_metadata(data, metadata))


def _with_metadata(data: bytes, metadata: dict[str, Any]) -> bytes:
    """Return a TensorFlow Lite file with one more entry of metadata."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    entry.name, entry.buffer = METADATA.encode(), len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def metadata_of(path: Path) -> dict[str, Any] | None:
    """Return the metadata that ``write`` put into a file, or None."""
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == METADATA.encode():
            return json.loads(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None
