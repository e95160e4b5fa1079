"""Masks of detections on their way: from what a model answers through post-processing and the journal to COCO results. No TensorFlow."""

import dataclasses
import io
import json

import numpy as np
import pytest
from pycocotools import mask as oracle

from pneumodet.core import detections as travelling
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.inference.outputs import from_outputs
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess import views
from pneumodet.inference.predict import outputs
from pneumodet.inference.predict.journal import Entry

PNEUMONIA = 2
SIZE_HW = (80, 100)


@pytest.fixture
def detected():
    """Return three detections with masks that differ, of the answer of a model that fills its rows up to four."""
    cells = np.zeros((1, 4, 3, 3))
    cells[0, 0] = np.eye(3)
    cells[0, 1] = 1.0
    cells[0, 2, :, 0] = 0.7
    boxes = np.array([[[0.1, 0.1, 0.5, 0.4], [0.2, 0.5, 0.6, 0.9], [0.5, 0.1, 0.9, 0.4], [0.0, 0.0, 0.0, 0.0]]])
    answer = {"detection_boxes": boxes, "detection_scores": np.array([[0.3, 0.9, 0.5, 0.0]]), "num_detections": np.array([3.0])}
    answer |= {"detection_classes": np.array([[PNEUMONIA, PNEUMONIA, 1.0, 1.0]]), "detection_masks": cells}
    return from_outputs(answer, 0, height=SIZE_HW[0], width=SIZE_HW[1])


def same(one, other):
    """Return whether two have the same masks on the same boxes."""
    return np.array_equal(one.boxes_xyxy_px, other.boxes_xyxy_px) and np.array_equal(one.masks, other.masks)


def test_masks_stay_with_their_boxes(detected):
    assert detected.scores.tolist() == pytest.approx([0.9, 0.5, 0.3])
    assert detected.masks[0].min() == 255
    assert np.array_equal(detected.masks[2], np.eye(3) * 255)
    kept = detected.of_class(PNEUMONIA).above(0.2)
    assert same(kept, dataclasses.replace(kept, masks=detected.masks[[0, 2]]))
    assert not detected.above(1.0).masks.size


def test_a_mask_that_does_not_fit():
    with pytest.raises(DataError, match=r"1 detections need masks \(1, m, n\) uint8, but got \(2, 3, 3\)"):
        Detections(np.array([[0, 0, 1, 1]]), np.array([0.5]), np.array([1]), np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(DataError, match="boxes without masks"):
        Detections(np.array([[0, 0, 1, 1]]), np.array([0.5]), np.array([1])).mask(0, size_hw=SIZE_HW)


def test_coco_results_have_them(detected):
    """As pycocotools reads them; those of boxes alone are as they were."""
    rows = travelling.coco_rows("exam", detected, size_hw=SIZE_HW)
    for index, row in enumerate(rows):
        assert np.array_equal(oracle.decode(row["segmentation"]).astype(bool), detected.mask(index, size_hw=SIZE_HW))
    assert oracle.area(rows[0]["segmentation"]) == pytest.approx(rows[0]["bbox"][2] * rows[0]["bbox"][3], rel=0.05)
    json.dumps(rows)
    plain = travelling.coco_rows("exam", dataclasses.replace(detected, masks=None), size_hw=SIZE_HW)
    assert plain == [{key: value for key, value in row.items() if key != "segmentation"} for row in rows]
    assert plain == travelling.coco_rows("exam", detected)


def test_dicom_segmentations_have_them(detected):
    pydicom, _ = pytest.importorskip("pydicom"), pytest.importorskip("highdicom")
    from pneumodet.dicom.objects import Algorithm
    from pneumodet.inference.dicom_reports import SEG, Reporter

    header = pydicom.Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.4.5"
    header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    header.Rows, header.Columns = SIZE_HW
    report = Reporter(Algorithm("pneumodet masks", "0123"), 0.4).report(SEG, header, detected)
    there = pydicom.dcmread(io.BytesIO(report.data))
    kept = detected.above(0.4)
    assert (there.pixel_array == [kept.mask(index, size_hw=SIZE_HW) for index in range(2)]).all()
    assert report.kind == "seg" and there.pixel_array.any(axis=(1, 2)).all()
    with pytest.raises(DataError, match="boxes without masks, and a filled box is no outline"):
        Reporter(Algorithm("pneumodet boxes", "0123"), 0.4).report(SEG, header, dataclasses.replace(detected, masks=None))


@pytest.mark.parametrize("masks", [pytest.param(True, id="with masks"), pytest.param(False, id="boxes")])
def test_the_journal_keeps_them(detected, masks):
    detected = detected if masks else dataclasses.replace(detected, masks=None)
    again = Entry.of_line(Entry("exam", "exam.dcm", SIZE_HW, detected).to_line()).detections
    assert np.array_equal(again.boxes_xyxy_px, detected.boxes_xyxy_px)
    assert (again.masks is None) if detected.masks is None else np.array_equal(again.masks, detected.masks)


def test_results_of_predict_have_them(detected, tmp_path):
    entries = [Entry("exam", "exam.dcm", SIZE_HW, detected), Entry("other", "other.dcm", SIZE_HW, Detections.none())]
    outputs.write(tmp_path, entries, outputs.Rules(PNEUMONIA, 0.4), pictured=())
    rows = json.loads((tmp_path / outputs.DETECTIONS).read_text())
    assert rows == travelling.coco_rows("exam", detected, size_hw=SIZE_HW)


def test_post_processing_keeps_the_masks_of_boxes_that_it_leaves_where_they_are(detected):
    apply = lambda recipe: recipes.apply(recipe, [{"exam": detected}], category_id=PNEUMONIA)["exam"]  # noqa: E731
    whole = apply(recipes.Recipe())
    order = np.argsort(-whole.scores)
    assert same(whole._where(order), detected), "nothing is done, but the order of the classes"
    first = apply(recipes.Recipe(max_boxes=1)).of_class(PNEUMONIA)
    assert same(first, detected.of_class(PNEUMONIA).above(0.8))
    assert apply(recipes.Recipe(box_scale=0.9)).masks is None, "a mask belongs to its box"


def test_a_mirrored_view_has_mirrored_masks(detected):
    flip = views.view_of("flip")
    back = flip.detections_back(detected, size_hw=SIZE_HW)
    assert np.array_equal(back.masks, detected.masks[:, :, ::-1])
    for index in range(len(back)):
        mirrored = detected.mask(index, size_hw=SIZE_HW)[:, ::-1]
        assert (back.mask(index, size_hw=SIZE_HW) != mirrored).mean() < 0.01
