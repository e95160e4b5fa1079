"""Detections, COCO results and submissions."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumodet.core.detections import Detections, image_id, prediction_string, to_coco, write_coco_results
from pneumodet.core.errors import DataError
from pneumodet.data import detection_files

FOUND = {
    "exam-b": Detections(
        np.array([[10.126, 20, 110.126, 220.5], [1, 2, 3, 4], [5, 6, 7, 8]]), np.array([0.9, 0.1, 0.6]), np.array([2, 2, 1])
    ),
    "exam-a": Detections.none(),
}


def make(boxes=((0, 0, 1, 1),), scores=(0.5,), classes=(2,)):
    return Detections(np.array(boxes), np.array(scores), np.array(classes))


def test_detections_have_their_dtypes_and_cannot_be_changed():
    result = make()
    assert (result.boxes_xyxy_px.dtype, result.scores.dtype, result.classes.dtype) == (np.float32, np.float32, np.int64)
    assert Detections.none().boxes_xyxy_px.shape == (0, 4)
    assert len(Detections(np.zeros(0), np.zeros(0), np.zeros(0, int))) == 0
    with pytest.raises(AttributeError):
        result.scores = np.zeros(1)


def test_filters():
    both = FOUND["exam-b"]
    assert both.above(0.6).scores.tolist() == pytest.approx([0.9, 0.6])
    assert both.of_class(2).above(0.5).boxes_xyxy_px.tolist() == [pytest.approx([10.126, 20, 110.126, 220.5])]
    assert len(both.of_class(3)) == 0


@pytest.mark.parametrize("score", [0.1, 0.3, 0.7, 1.0])
def test_a_threshold_keeps_the_score_that_it_was_taken_from_and_not_the_next_lower_one(score):
    scores = np.float32([score, np.nextafter(np.float32(score), np.float32(0))])
    result = make(((0, 0, 1, 1),) * 2, scores, (2, 2))
    assert result.above(float(scores[0])).scores.tolist() == [float(scores[0])]
    assert len(result.above(float(np.nextafter(np.float32(score), np.float32(2))))) == 0


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param({"boxes": ((0, 0, np.inf, 1),)}, "Detection 0 has a box that is not finite", id="infinite box"),
        pytest.param({"boxes": ((0, 0, np.nan, 1),)}, "Detection 0 has a box that is not finite", id="NaN box"),
        pytest.param({"boxes": ((5, 0, 1, 1),)}, r"right < left or bottom < top: \[5, 0, 1, 1\]", id="inverted box"),
        pytest.param({"scores": (1.5,)}, r"Detection 0 has the score 1.5; scores lie from 0 to 1", id="score above 1"),
        pytest.param({"scores": (np.nan,)}, "has the score nan", id="NaN score"),
        pytest.param({"classes": (0,)}, "has class 0; classes are label-map ids from 1", id="class 0"),
        pytest.param({"scores": (0.5, 0.5)}, r"got \(1, 4\), \(2,\) and \(1,\)", id="shapes differ"),
        pytest.param({"boxes": ((0, 0, 1),)}, r"boxes \(N, 4\)", id="three coordinates"),
    ],
)
def test_detections_are_checked(parts, message):
    with pytest.raises(DataError, match=message):
        make(**parts)


def test_image_ids_are_stable_and_distinct():
    assert image_id("a") == 0xCA978112CA1B  # the first 12 hex digits of SHA-256 of "a"
    assert int(float(image_id("b"))) == image_id("b")


def test_coco_results(tmp_path):
    path = tmp_path / "new" / "detections.json"
    write_coco_results(path, FOUND)
    rows = json.loads(path.read_text())
    assert rows == to_coco(FOUND)
    assert rows[0] == {
        "image_id": image_id("exam-b"),
        "file_name": "exam-b",
        "category_id": 2,
        "bbox": [10.13, 20.0, 100.0, 200.5],
        "score": float(np.float32(0.9)),
    }
    assert [row["category_id"] for row in rows] == [2, 2, 1]
    assert [entry.name for entry in path.parent.iterdir()] == ["detections.json"]


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.floats(0, 500, width=32), st.floats(0, 500, width=32), st.floats(0, 500, width=32), st.floats(0, 500, width=32),
            st.floats(0, 1, width=32), st.integers(1, 3),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_round_trip(tmp_path_factory, rows):
    table = np.array(rows, np.float64).reshape(-1, 6)
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1)
    result = {"exam": Detections(boxes, table[:, 4], table[:, 5].astype(int)), "none": Detections.none()}
    path = tmp_path_factory.mktemp("round") / "detections.json"
    write_coco_results(path, result)
    back = detection_files.by_exam(path, ["none", "exam"])
    assert list(back) == ["none", "exam"]
    assert len(back["none"]) == 0
    np.testing.assert_allclose(back["exam"].boxes_xyxy_px, result["exam"].boxes_xyxy_px, atol=0.011)
    np.testing.assert_array_equal(back["exam"].scores, result["exam"].scores)
    np.testing.assert_array_equal(back["exam"].classes, result["exam"].classes)


def test_results_of_other_tools_have_no_file_name(tmp_path):
    path = tmp_path / "detections.json"
    path.write_text(json.dumps([{"image_id": image_id("exam"), "category_id": 2, "bbox": [1, 2, 3, 4], "score": 1}]))
    assert detection_files.by_exam(path, ["exam"])["exam"].boxes_xyxy_px.tolist() == [[1, 2, 4, 6]]


def test_reading_without_ids_gives_the_exams_in_the_file(tmp_path):
    write_coco_results(tmp_path / "detections.json", FOUND)
    assert list(detection_files.by_exam(tmp_path / "detections.json")) == ["exam-b"]


ROW = {"image_id": 5, "file_name": "exam", "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "is not valid JSON", id="no JSON"),
        pytest.param("{}", "must be a COCO list of detections, but is a JSON dict", id="no list"),
        pytest.param(json.dumps([ROW, {**ROW, "bbox": [1, 2, 3]}]), "entry 1: .*bbox", id="three coordinates"),
        pytest.param(json.dumps([{**ROW, "score": "high"}]), "entry 0: .*score", id="score is text"),
        pytest.param(json.dumps(["row"]), "entry 0 has no image_id", id="entry is text"),
        pytest.param(
            json.dumps([{**ROW, "file_name": "other"}]), "of image 5 .'other'., which the ground truth does not list", id="unknown exam"
        ),
        pytest.param(json.dumps([{**ROW, "file_name": None}]), "of image 5, which the ground truth does not list", id="unknown id"),
        pytest.param(json.dumps([{**ROW, "bbox": [1, 2, -3, 4]}]), "is inverted", id="negative width"),
        pytest.param(json.dumps([{**ROW, "bbox": [1, 2, float("nan"), 4]}]), "must be four finite numbers", id="NaN"),
    ],
)
def test_malformed_results(tmp_path, text, message):
    path = tmp_path / "detections.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        detection_files.by_exam(path, ["exam"])


def test_missing_results(tmp_path):
    with pytest.raises(DataError, match="Cannot read the detections .*detections.json: No such file"):
        detection_files.by_exam(tmp_path / "detections.json")


@pytest.mark.parametrize(
    ("result", "text"),
    [
        pytest.param(FOUND["exam-b"].of_class(2).above(0.1), "0.9 10.13 20 100 200.5 0.1 1 2 2 2", id="all of a class"),
        pytest.param(FOUND["exam-b"].of_class(2).above(0.5), "0.9 10.13 20 100 200.5", id="above a threshold"),
        pytest.param(FOUND["exam-b"].of_class(1), "0.6 5 6 2 2", id="another class"),
        pytest.param(Detections.none(), "", id="none"),
        pytest.param(make(((0, 0, 1234.56, 2345.67),)), "0.5 0 0 1234.56 2345.67", id="not in powers of ten"),
    ],
)
def test_prediction_string(result, text):
    assert prediction_string(result) == text
