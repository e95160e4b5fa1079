"""Metadata of a TensorFlow Lite detector as Task Library and MediaPipe read it: what goes in, which output is which, names of the classes, a threshold.

data = with_files(data, {LABELS: names})            # the file of names, as a ZIP archive behind the model
encode(name="my_first", size_hw=(320, 320), score_threshold=0.3)

The flatbuffer is that of metadata_schema.fbs (tflite-support 0.4.4, Apache-2.0), whose field numbers stand here: that package is not maintained any more,
and its generated code comes with releases of NumPy and Protocol Buffers of 2023.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NAME = "TFLITE_METADATA"
"""Of the entry in the model's metadata."""

LABELS = "labels.txt"
"""File with the class names, in the order of the model's classes."""

OUTPUTS = ("location", "category", "score", "number of detections")
"""Names by which Task Library knows the outputs, in the order in which the operation TFLite_Detection_PostProcess has them."""

_IDENTIFIER = b"M001"

_PARSER = "1.2.0"
"""The first reader of the metadata that knows groups of tensors."""

_RGB, _BOUNDARIES, _VALUE_LABELS = 1, 1, 3
"""ColorSpaceType.RGB, BoundingBoxType.BOUNDARIES, AssociatedFileType.TENSOR_VALUE_LABELS."""

_FEATURE, _IMAGE, _BOX = 1, 2, 3
"""Of the union ContentProperties."""

_THRESHOLDING = 3
"""ScoreThresholdingOptions, of the union ProcessUnitOptions."""

_CORNERS = (1, 0, 3, 2)
"""Where left, top, right and bottom are in a box of the operation, which has top, left, bottom, right."""

_WHEN = (1980, 1, 1, 0, 0, 0)
"""Time of the files in the archive, so that the same model is the same bytes."""


class _Tables:
    """Writes tables field by field: ``table({0: text("a"), 1: ("Int32", 5)})``; an offset is an int, another field (its type, its value)."""

    def __init__(self) -> None:
        """Begin."""
        import flatbuffers

        self.builder = flatbuffers.Builder(1024)

    def text(self, value: str) -> int:
        """Return a string's offset."""
        return int(self.builder.CreateString(value))

    def numbers(self, values: Sequence[float], dtype: type) -> int:
        """Return a vector's offset."""
        return int(self.builder.CreateNumpyVector(np.array(values, dtype)))

    def offsets(self, values: Sequence[int]) -> int:
        """Return the offset of a vector of tables or strings."""
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependUOffsetTRelative(value)
        return int(self.builder.EndVector())

    def table(self, fields: Mapping[int, int | tuple[str, Any]]) -> int:
        """Return a table's offset; ``fields`` by their numbers in the schema."""
        self.builder.StartObject(max(fields, default=-1) + 1)
        for number, value in fields.items():
            if isinstance(value, tuple):
                getattr(self.builder, f"Prepend{value[0]}Slot")(number, value[1], 0)
            else:
                self.builder.PrependUOffsetTRelativeSlot(number, value, 0)
        return int(self.builder.EndObject())


def encode(*, name: str, size_hw: tuple[int, int], score_threshold: float | None) -> bytes:
    """Return the metadata of a detector with one uint8 image of ``size_hw`` and the outputs ``OUTPUTS``.

    Args:
      name: of the model.
      size_hw: of its input, px.
      score_threshold: which readers apply where a program gives none of its own.
    """
    make = _Tables()
    image = _image(make, size_hw)
    pairs = make.table({0: ("Int32", 2), 1: ("Int32", 2)})  # ValueRange: the second axis counts the detections
    corners = make.table({0: make.numbers(_CORNERS, np.uint32), 1: ("Int8", _BOUNDARIES)})
    labels = make.table({0: make.text(LABELS), 1: make.text("Names of the classes."), 2: ("Int8", _VALUE_LABELS)})
    more: list[dict[int, int | tuple[str, Any]]] = [
        {3: make.table({0: ("Uint8", _BOX), 1: corners, 2: pairs})},
        {3: make.table({0: ("Uint8", _FEATURE), 1: make.table({}), 2: pairs}), 6: make.offsets([labels])},
        {3: make.table({0: ("Uint8", _FEATURE), 1: make.table({}), 2: pairs})},
        {3: make.table({0: ("Uint8", _FEATURE), 1: make.table({})})},
    ]
    if score_threshold is not None:
        options = make.table({0: ("Float32", score_threshold)})
        more[2][4] = make.offsets([make.table({0: ("Uint8", _THRESHOLDING), 1: options})])
    outputs = [make.table({0: make.text(output), **fields}) for output, fields in zip(OUTPUTS, more, strict=True)]
    group = make.table({0: make.text("detection_result"), 1: make.offsets([make.text(output) for output in OUTPUTS[:3]])})
    graph = make.table({2: make.offsets([image]), 3: make.offsets(outputs), 8: make.offsets([group])})
    about = "Finds pneumonia on chest radiographs. For research; not a medical device."
    root = make.table({0: make.text(name), 1: make.text(about), 3: make.offsets([graph]), 7: make.text(_PARSER)})
    make.builder.Finish(root, file_identifier=_IDENTIFIER)
    return bytes(make.builder.Output())


def _image(make: _Tables, size_hw: tuple[int, int]) -> int:
    """Return the TensorMetadata of the input; what brings 8-bit values into the network's range is part of the model."""
    size = make.table({0: ("Uint32", size_hw[1]), 1: ("Uint32", size_hw[0])})
    properties = make.table({0: ("Int8", _RGB), 1: size})
    content = make.table({0: ("Uint8", _IMAGE), 1: properties})
    stats = make.table({0: make.numbers([255.0], np.float32), 1: make.numbers([0.0], np.float32)})
    about = "An 8-bit chest radiograph, dark air and bright bone; three equal channels."
    return make.table({0: make.text("image"), 1: make.text(about), 3: content, 5: stats})


def with_files(data: bytes, files: Mapping[str, str]) -> bytes:
    """Return a model with text files behind it, in a ZIP archive, not compressed, as readers of the metadata expect them."""
    whole = io.BytesIO(data)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _WHEN), text)
    return whole.getvalue()
