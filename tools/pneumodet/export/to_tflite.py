"""A model as a LiteRT (TensorFlow Lite) file: float, with float16 weights, or quantized to int8.

write(part, path, kind="tflite-int8", images=lambda: samples, metadata=card)

A quantized file answers with the box encodings and logits of each feature map (``graphs.of_model``). What upstream's way of quantizing an SSD
breaks (tensorflow/models #9371, #10618) are ranges that are too wide for 256 steps: of tensors that join boxes and scores, or the encodings of all
feature maps, and of logits, which fall without end where there is nothing. Here every output has a scale of its own over a range that counts
(``quantizing``), and all that comes after is float.

What else is lost, is lost in the first layers, where the faint shadows of a radiograph have few of the 256 steps, and its edges and markers most: these
layers stay float. There are few weights in them.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core.errors import ConfigError, first_line
from pneumodet.core.logs import hidden_output
from pneumodet.export import graphs, task_metadata
from pneumodet.export.graphs import OPERATION, Part

FLOAT_ABOVE = 0.125
"""Feature maps stay float whose sides are more than this share of the input's. Logits of SSD MobileNet's best anchors, after 1,844 steps, were 0.52 off
(standard deviation) where all was int8, 0.18 with 1/4 here, 0.11 with 1/8; an image took 7.5, 9.0 and 10.2 ms of one core, and 17.0 in float."""

METADATA = "pneumodet"
"""Name of the metadata in the flatbuffer's ``Model.metadata``; the buffer that it points to is JSON."""


def write(
    part: Part, path: Path, *, kind: str, metadata: dict[str, Any], images: Callable[[], Iterable[Sequence[np.ndarray]]] | None = None
) -> None:
    """Convert a function of a model.

    Args:
      part: for "tflite-int8" the encodings, for "tflite-task" what TensorFlow Lite's own operation answers with, else boxes and scores.
      path: the new file.
      kind: one of "tflite", "tflite-fp16", "tflite-int8", "tflite-task".
      metadata: goes into the file.
      images: for "tflite-int8" alone, and needed for it: gives what the function takes, of each of the radiographs that the ranges of
        values are taken from.

    Raises:
      ConfigError: the converter cannot express it in TensorFlow Lite's own operations.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        graphs.save(part, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if kind == "tflite-fp16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        converter.allow_custom_ops = kind == "tflite-task"  # all runtimes have this one
        try:
            with hidden_output():
                data = converter.convert()
                if images is not None:
                    # quantized after the conversion: mlir_quantize takes the names of what stays float
                    data = _quantized(data, lambda: (part.named(one) for one in images()))
        except Exception as error:  # the converter raises whatever comes
            raise ConfigError(f"This model cannot be written as {kind}: {first_line(error)}. Leave it out of --formats.") from error
    entries = {METADATA: json.dumps(metadata).encode()}
    path.write_bytes(_for_tasks(data, part, entries, metadata) if kind == "tflite-task" else _with_metadata(data, entries))


def _for_tasks(data: bytes, part: Part, entries: dict[str, bytes], about: dict[str, Any]) -> bytes:
    """Return a model with outputs in the order of the operation, and with the metadata and the class names by which Task Library and MediaPipe run it.

    Args:
      data: the converted model.
      part: what it was converted from.
      entries: of metadata besides.
      about: what model.json holds.
    """
    _, height, width, _ = part.signature[0].shape
    size_hw = (int(height), int(width))
    known = task_metadata.encode(name=about["run"] or "pneumodet", size_hw=size_hw, score_threshold=about["score_threshold"])
    # the operation counts classes from 0, a label map from 1
    names = [name for name, _ in sorted(about["label_map"].items(), key=lambda item: item[1])]
    whole = _with_metadata(data, entries | {task_metadata.NAME: known}, ordered=True)
    return task_metadata.with_files(whole, {task_metadata.LABELS: "\n".join(names) + "\n"})


def _order_outputs(model: Any) -> None:
    """Make a model's outputs those of its last operation, in that order; the converter sorts them by name."""
    (graph,) = model.subgraphs
    operation = graph.operators[-1]
    if model.operatorCodes[operation.opcodeIndex].customCode != OPERATION.encode() or set(graph.outputs) != set(operation.outputs):
        raise ValueError(f"the converter has not made {OPERATION} of it")
    graph.outputs = operation.outputs


def _quantized(data: bytes, samples: Callable[[], Iterator[dict[str, np.ndarray]]]) -> bytes:
    """Return a float model with int8 feature maps and weights, but for the largest maps and what makes them."""
    from tensorflow.lite.python import convert
    from tensorflow.lite.python.optimize import calibrator

    calibrated = calibrator.Calibrator(calibrator.add_intermediate_tensors(data)).calibrate(samples)
    return convert.mlir_quantize(calibrated, denylisted_nodes=_large_maps(data))


def _large_maps(data: bytes) -> set[str]:
    """Return the names of the feature maps whose sides are more than FLOAT_ABOVE of the input's."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    (graph,) = flatbuffer_utils.convert_bytearray_to_object(bytearray(data)).subgraphs
    # the image has more axes than the true shape, which is (1, 3)
    _, height, width, _ = max((graph.tensors[place].shape for place in graph.inputs), key=len)
    made = [graph.tensors[place] for operation in graph.operators for place in operation.outputs]
    maps = [one for one in made if one.type == schema.TensorType.FLOAT32 and len(one.shape) == 4]
    return {one.name.decode() for one in maps if one.shape[1] > FLOAT_ABOVE * height and one.shape[2] > FLOAT_ABOVE * width}


def _with_metadata(data: bytes, entries: dict[str, bytes], *, ordered: bool = False) -> bytes:
    """Return a TensorFlow Lite file with more entries of metadata, by their names, and where asked for with its outputs in order."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
    if ordered:
        _order_outputs(model)
    for name, contents in entries.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(contents, np.uint8)
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
