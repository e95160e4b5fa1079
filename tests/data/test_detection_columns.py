"""Detections read as columns at once: the same numbers as row by row, and whatever is not plain is left to the reader that says what is wrong."""

import json

import numpy as np
import pytest

from pneumodet.core import json_text
from pneumodet.core.errors import DataError
from pneumodet.data import detection_columns, detection_files
from pneumodet.data.detection_columns import Columns

pytest.importorskip("msgspec", reason="a part of [evaluate]")

EXAMS = {f"e{place}": (place * 7919 + 13) << 20 for place in range(20)}
PLAIN = {"image_id": EXAMS["e3"], "category_id": 2, "bbox": [1, 2.5, 30, 40], "score": 0.5}


@pytest.fixture(autouse=True, params=[1, 1 << 20], ids=["pieces of one entry", "one piece"])
def _piece(request, monkeypatch):
    monkeypatch.setattr(detection_columns, "_PIECE", request.param)


def read(path, rows):
    path.write_text(json.dumps(rows))
    return detection_files.read_columns(path, EXAMS, category_id=2)


def test_columns_are_those_of_rows(tmp_path):
    """To the last digit, with exams that are named or not, in an order of their own."""
    rng, rows = np.random.default_rng(0), []
    for exam in rng.choice(list(EXAMS), 200).tolist():
        box = [*rng.uniform(-5, 1000, 2).tolist(), int(rng.integers(9)), float(10 ** rng.uniform(-300, 5))]
        row = {"image_id": EXAMS[exam], "category_id": int(rng.integers(1, 3)), "bbox": box, "score": float(rng.random())}
        rows.append(row | ({"file_name": exam} if rng.random() < 0.5 else {"other": [{"deep": None}]}))
    columns = read(tmp_path / "detections.json", rows)
    assert isinstance(columns, Columns)
    expected = detection_files.to_columns(detection_files.read(tmp_path / "detections.json", EXAMS, category_id=2), EXAMS, "rows")
    for name in ("case", "xywh_px", "scores", "categories"):
        np.testing.assert_array_equal(getattr(columns, name), getattr(expected, name), strict=True)
    assert not len(read(tmp_path / "none.json", []).scores)


@pytest.mark.parametrize(
    "change",
    [
        {"segmentation": {"size": [1, 1], "counts": "1"}},
        {"image_id": str(EXAMS["e3"])},
        {"file_name": "elsewhere"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_rows_where_an_entry_is_not_plain(tmp_path, change):
    rows = read(tmp_path / "detections.json", [PLAIN, PLAIN | change])
    assert isinstance(rows, list) and rows[0] == PLAIN and rows[1]["image_id"] == EXAMS["e3"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "entry 1 is of image 5, which the ground truth does not list"),
        ({"category_id": 2.0}, "entry 1: category_id must be a whole number"),
        ({"bbox": [1, 2, 3]}, "entry 1: bbox must be four finite numbers"),
        ({"bbox": [1, 2, -3, 4]}, "entry 1: the box .* is inverted"),
        ({"score": float("nan")}, "entry 1: bbox must be four finite numbers"),
        ({"score": 1.5}, "entry 1: the score is 1.5"),
        ({"score": None}, "entry 1: bbox must be four finite numbers"),
        ({"file_name": "e4"}, "entry 1 has the image_id of 'e3' in the ground truth, and the file_name 'e4'"),
    ],
)
def test_what_is_wrong_is_said_as_ever(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        detection_files.to_columns(read(tmp_path / "detections.json", [PLAIN, PLAIN | change]), EXAMS, "detections.json")


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", b'[{"a": 1}', b'[{"a": true}]', b'[{"a": "1"}]', b'[{"b": 1}]', b'["\xff"]', b"[" * 100_000]
)
def test_objects_that_are_not_alike(data):
    assert json_text.alike(data, {"a": int}) is None
    assert [row.a for row in json_text.alike(b'[{"a": 1, "b": {}}]', {"a": int})] == [1]


@pytest.mark.parametrize("size", [1, 2, 15, 40, 1000])
@pytest.mark.parametrize(
    "text",
    ["[]", '[{"a":1},{"a":2}, {"a":3} ,\n{"a":4}]', '[{"a":1,"b":{"c":[{"a":5},{}]}},{"a":2}]', '[{"a":1,"b":"},{"},{"a":2,"b":"[{},"}]'],
)
def test_pieces_of_a_list_are_its_entries_or_no_json(text, size):
    expected = [row["a"] for row in json.loads(text)]
    parts = [json_text.alike(piece, {"a": int}) for piece in json_text.pieces(text.encode(), size)]
    assert None in parts or [row.a for part in parts for row in part] == expected
    if "b" not in text:
        assert None not in parts


@pytest.mark.parametrize(
    "text",
    ['[{"a":1},]', '[{"a":1}]{"a":1},{"a":2}]', '[{"a":1},{"a":2}', '[{"a":1},,{"a":2}]', '[{"a":1},{"a":2}]]', '{"a":1},{"a":2}]'],
)
def test_a_damaged_list_has_a_piece_that_is_none_or_empty(text):
    parts = [json_text.alike(piece, {"a": int}) for piece in json_text.pieces(text.encode(), 1)]
    assert not all(parts)


def test_a_comma_behind_the_last_entry_is_an_error(tmp_path):
    (tmp_path / "detections.json").write_text(json.dumps([PLAIN])[:-1] + ",]")
    with pytest.raises(DataError, match="not valid JSON"):
        detection_files.read_columns(tmp_path / "detections.json", EXAMS, category_id=2)
