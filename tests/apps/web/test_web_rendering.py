"""The picture of a case."""

import io

import numpy as np
import pytest
import radiographs
from PIL import Image

from pneumodet.apps.web import heatmaps, rendering
from pneumodet.apps.web.cases import Cases
from pneumodet.apps.web.rendering import Display
from pneumodet.apps.web.window import Window
from pneumodet.core.errors import DataError
from pneumodet.viz.heatmap import overlay
from pneumodet.viz.pictures import DETECTION_RGB, TRUTH_RGB

SIDE = 512


@pytest.fixture
def cases():
    return Cases(radiographs.detect)


def pixels():
    return radiographs.square(size=SIDE, at=(128, 256), side=128)


def draw(cases, file, display, **options):
    case = cases.add(file)
    return np.asarray(rendering.draw(cases.radiograph(case), case, display, **options))


def where(picture, colour):
    """Left, top, right, bottom of the pixels of a colour, right and bottom included."""
    y, x = np.nonzero((picture == colour).all(axis=2))
    return (x.min(), y.min(), x.max(), y.max()) if len(x) else None


def test_boxes_stand_where_the_square_is(cases):
    picture = draw(cases, radiographs.png(pixels()), Display(0.5))
    assert picture.shape == (SIDE, SIDE, 3)
    column = np.flatnonzero((picture[320] == DETECTION_RGB).all(axis=1))  # through the middle of the square, beside score and legend
    assert column.min() == pytest.approx(128, abs=3)
    assert column.max() == pytest.approx(256, abs=3)


def test_boxes_follow_a_smaller_picture_and_rectangular_pixels(cases):
    file = radiographs.dicom(pixels(), PixelSpacing=[0.2, 0.1])
    picture = draw(cases, file, Display(0.5), max_side_px=256)
    assert picture.shape == (256, 128, 3)
    row = np.flatnonzero((picture[160] == DETECTION_RGB).all(axis=1))
    assert row.min() == pytest.approx(32, abs=3)
    assert row.max() == pytest.approx(64, abs=3)


def test_the_threshold_decides_which_boxes_are_drawn(cases):
    above = draw(cases, radiographs.png(pixels()), Display(1.0, truth_xyxy_px=None))
    assert where(above[100:400, 100:300], DETECTION_RGB) is not None, "a score of exactly the threshold counts"
    dimmer = radiographs.square(200, size=SIDE, at=(128, 256), side=128)
    assert where(draw(cases, radiographs.png(dimmer, "b.png"), Display(0.9))[100:400, 100:300], DETECTION_RGB) is None
    assert where(draw(cases, radiographs.png(dimmer, "b.png"), Display(0.9, boxes=False)), DETECTION_RGB) is None


def test_ground_truth_is_drawn_where_it_is_known(cases):
    display = Display(0.99, boxes=False, truth_xyxy_px=np.array([[300.0, 300.0, 400.0, 450.0]]))
    picture = draw(cases, radiographs.png(pixels()), display)[250:]  # below the legend
    left, top, right, bottom = where(picture, TRUTH_RGB)
    assert (left, top + 250, right, bottom + 250) == pytest.approx((300, 300, 400, 450), abs=3)


def test_the_window_changes_the_picture_and_not_the_boxes(cases):
    plain, dark = (draw(cases, radiographs.png(pixels()), Display(0.5, window=one)) for one in (None, Window(250, 4)))
    assert plain[500, 500, 0] > 0
    assert dark[500, 500, 0] == 0
    np.testing.assert_array_equal((plain == DETECTION_RGB).all(axis=2), (dark == DETECTION_RGB).all(axis=2))


def test_heat_lies_over_the_picture_where_it_is_hot():
    picture = Image.new("RGB", (40, 20), (50, 50, 50))
    heatmap = np.zeros((10, 20), np.uint8)
    heatmap[:, 10:] = 255
    mixed = np.asarray(overlay(picture, heatmap, opacity=1.0))
    assert mixed.shape == (20, 40, 3)
    np.testing.assert_array_equal(mixed[:, :15], 50)
    np.testing.assert_array_equal(mixed[:, 25:], np.broadcast_to((252, 255, 164), (20, 15, 3)))
    np.testing.assert_array_equal(overlay(picture, heatmap, opacity=0.0), np.asarray(picture))


def test_heatmaps_are_found_by_exam_or_patient_id(tmp_path, cases):
    for name, level in (("exam", 100), ("secret-id", 200)):
        Image.fromarray(np.full((8, 8), level, np.uint8)).save(tmp_path / f"{name}.png")
    folder = heatmaps.Folder(tmp_path)
    assert folder.of(cases.add(radiographs.png(pixels(), "exam.png")))[0, 0] == 100
    assert folder.of(cases.add(radiographs.dicom(pixels(), "other.dcm")))[0, 0] == 200
    assert folder.of(cases.add(radiographs.png(radiographs.square(), "third.png"))) is None


def test_bad_heatmaps_get_a_sentence(tmp_path, cases):
    with pytest.raises(DataError, match=r"no \.png file"):
        heatmaps.Folder(tmp_path)
    (tmp_path / "exam.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"exam\.png is a damaged image file"):
        heatmaps.Folder(tmp_path).of(cases.add(radiographs.png(pixels(), "exam.png")))


def test_files_for_the_screen_and_to_keep(cases):
    case = cases.add(radiographs.png(pixels()))
    picture = rendering.draw(cases.radiograph(case), case, Display(0.5))
    assert Image.open(io.BytesIO(rendering.as_jpeg(picture))).size == (SIDE, SIDE)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(rendering.as_png(picture)))), np.asarray(picture))
