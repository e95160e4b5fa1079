"""The metadata that Task Library and MediaPipe read, by the field numbers of its published schema, with flatbuffers' own reader."""

import io
import zipfile

import flatbuffers
import pytest
from flatbuffers import number_types
from flatbuffers.table import Table

from pneumodet.export import task_metadata


class Node:
    """A table whose fields are read by their numbers."""

    def __init__(self, data, place):
        self.data, self.table = data, Table(data, place)

    @classmethod
    def root(cls, data):
        return cls(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))

    def _at(self, number):
        return self.table.Offset(4 + 2 * number)

    def text(self, number):
        return self.table.String(self._at(number) + self.table.Pos).decode()

    def number(self, number, kind):
        return self.table.Get(kind, self._at(number) + self.table.Pos) if self._at(number) else None

    def below(self, number):
        return Node(self.data, self.table.Indirect(self._at(number) + self.table.Pos))

    def each(self, number):
        offset = self._at(number)
        start = self.table.Vector(offset)
        return [Node(self.data, self.table.Indirect(start + 4 * index)) for index in range(self.table.VectorLen(offset))]

    def values(self, number, kind):
        return self.table.GetVectorAsNumpy(kind, self._at(number)).tolist()


def graph_of(**given):
    data = bytearray(task_metadata.encode(**{"name": "first", "size_hw": (320, 640), "score_threshold": 0.25} | given))
    assert data[4:8] == b"M001"
    root = Node.root(data)
    assert root.text(0) == "first"
    assert "not a medical device" in root.text(1)
    (graph,) = root.each(3)
    return graph


def test_the_input():
    (image,) = graph_of().each(2)
    assert image.text(0) == "image"
    content = image.below(3)
    assert content.number(0, number_types.Uint8Flags) == 2  # ImageProperties
    properties = content.below(1)
    assert properties.number(0, number_types.Int8Flags) == 1  # RGB
    size = properties.below(1)
    assert [size.number(place, number_types.Uint32Flags) for place in (0, 1)] == [640, 320]  # width first


def test_the_outputs_are_found_by_their_names():
    outputs = graph_of().each(3)
    assert [one.text(0) for one in outputs] == ["location", "category", "score", "number of detections"]
    box = outputs[0].below(3)
    assert box.number(0, number_types.Uint8Flags) == 3  # BoundingBoxProperties
    assert box.below(1).values(0, number_types.Uint32Flags) == [1, 0, 3, 2]
    assert box.below(1).number(1, number_types.Int8Flags) == 1  # BOUNDARIES
    (labels,) = outputs[1].each(6)
    assert labels.text(0) == task_metadata.LABELS
    assert labels.number(2, number_types.Int8Flags) == 3  # TENSOR_VALUE_LABELS


@pytest.mark.parametrize("threshold", [0.25, None])
def test_the_threshold_goes_with_the_model(threshold):
    score = graph_of(score_threshold=threshold).each(3)[2]
    if threshold is None:
        assert score._at(4) == 0
        return
    (unit,) = score.each(4)
    assert unit.number(0, number_types.Uint8Flags) == 3  # ScoreThresholdingOptions
    assert unit.below(1).number(0, number_types.Float32Flags) == threshold


def test_files_lie_behind_the_model_and_are_the_same_bytes_every_time():
    model = b"\x1c\0\0\0TFL3" + bytes(100)
    whole = task_metadata.with_files(model, {task_metadata.LABELS: "a\nb\n"})
    assert whole.startswith(model)
    assert whole == task_metadata.with_files(model, {task_metadata.LABELS: "a\nb\n"})
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.read(task_metadata.LABELS) == b"a\nb\n"
        assert archive.getinfo(task_metadata.LABELS).compress_type == zipfile.ZIP_STORED
