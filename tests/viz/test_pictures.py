"""Pictures: boxes stand where they belong, in their colours, and nothing covers them."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.viz.pictures import DETECTION_RGB, TRUTH_RGB, captioned, contact_sheet, draw_boxes, save, with_key

GREY = np.full((1024, 1024), 128, np.uint8)


def where(picture, colour):
    """(y, x) of all pixels of exactly one colour."""
    return np.argwhere((np.asarray(picture) == colour).all(axis=2))


def extent(result):
    """xyxy of (y, x) pixels."""
    return [*result.min(axis=0)[::-1].tolist(), *result.max(axis=0)[::-1].tolist()]


def detections(*boxes, score=0.75, category=2):
    return Detections(np.array(boxes, float).reshape(-1, 4), np.full(len(boxes), score), np.full(len(boxes), category))


@pytest.mark.parametrize("shape", [(1024, 1024), (1024, 1024, 3), (300, 200)], ids=["grey", "RGB", "portrait"])
def test_boxes_stand_where_they_belong(shape):
    image = np.full(shape, 128, np.uint8)
    before = image.copy()
    picture = draw_boxes(image, truth_xyxy_px=np.array([[60, 120, 160, 250]]), detections=None)
    assert picture.mode == "RGB"
    assert picture.size == (shape[1], shape[0])
    blue = where(picture, TRUTH_RGB)
    inside = blue[(blue[:, 0] > 100) & (blue[:, 0] < 270)]  # the legend is blue too
    assert extent(inside) == pytest.approx([60, 120, 160, 250], abs=4)
    assert len(where(picture, DETECTION_RGB)) == 0
    np.testing.assert_array_equal(image, before)


def test_detections_are_orange_with_their_score():
    plain = draw_boxes(GREY, detections=detections((200, 300, 500, 700), score=0.75))
    orange = where(plain, DETECTION_RGB)
    orange = orange[orange[:, 0] > 250]
    assert extent(orange) == pytest.approx([200, 300 - 32, 500, 700], abs=8)  # the label stands above the box
    other = draw_boxes(GREY, detections=detections((200, 300, 500, 700), score=0.25))
    assert np.asarray(other).tobytes() != np.asarray(plain).tobytes()
    named = draw_boxes(GREY, detections=detections((200, 300, 500, 700)), names={2: "pneumonia"})
    assert len(where(named, DETECTION_RGB)) > len(where(plain, DETECTION_RGB))


def test_masks_are_tinted_and_let_the_radiograph_through():
    one = detections((200, 300, 500, 700))
    half = np.zeros((1, 2, 2), np.uint8)
    half[:, :, 0] = 255
    plain, masked = (
        np.asarray(draw_boxes(GREY, detections=each, panel=False), int) for each in (one, dataclasses.replace(one, masks=half))
    )
    rows, columns = np.nonzero((plain != masked).any(axis=2))
    assert columns.min() >= 200 and columns.max() < 360, "the left half"
    assert rows.min() >= 300 and rows.max() <= 700
    inside = masked[500, 260]
    assert np.abs(inside - (0.7 * plain[500, 260] + 0.3 * np.array(DETECTION_RGB))).max() <= 2


def test_small_scores_are_told_apart():
    pictures = [np.asarray(draw_boxes(GREY, detections=detections((200, 300, 500, 700), score=score))) for score in (0.002, 0.004)]
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize(
    "box",
    [(0, 0, 60, 60), (990, 0, 1024, 40), (0, 980, 40, 1024), (1000, 1000, 1024, 1024), (500, 0, 520, 5)],
    ids=["upper left", "upper right", "lower left", "lower right", "flat at the top"],
)
def test_a_label_at_the_edge_is_wholly_inside(box):
    """Two scores that differ in their last digit differ in as many pixels as in the middle of the picture."""

    def last_digit(one):
        pictures = [np.asarray(draw_boxes(GREY, detections=detections(one, score=score))) for score in (0.88, 0.81)]
        return (pictures[0] != pictures[1]).any(axis=2).sum()

    middle = (400, 400, 400 + box[2] - box[0], 400 + box[3] - box[1])
    assert last_digit(box) == last_digit(middle) > 20


@pytest.mark.parametrize("corner", [(0, 0, 300, 300), (724, 0, 1024, 300)], ids=["upper left", "upper right"])
def test_the_legend_gives_way_to_boxes(corner):
    picture = np.asarray(draw_boxes(GREY, truth_xyxy_px=np.array([corner]), title="exam"))
    left, top, right, bottom = corner
    inside = picture[top + 40 : bottom - 40, left + 40 : right - 40]
    assert (inside == 128).all()
    assert len(where(picture, (255, 255, 255)))  # the title stands in another corner


def test_without_boxes_or_title_the_picture_is_the_radiograph():
    np.testing.assert_array_equal(np.asarray(draw_boxes(GREY))[:, :, 0], GREY)


def test_an_exam_without_ground_truth_differs_from_one_with_unknown_truth():
    assert len(where(draw_boxes(GREY, truth_xyxy_px=np.zeros((0, 4))), TRUTH_RGB))  # the legend says "ground truth (0)"
    assert not len(where(draw_boxes(GREY), TRUTH_RGB))


def test_lines_are_thicker_on_larger_radiographs():
    def width(side):
        picture = draw_boxes(np.full((side, side), 128, np.uint8), detections=detections((side * 0.4, side * 0.4, side * 0.8, side * 0.8)))
        row = np.asarray(picture)[round(side * 0.6)]
        return (row[: side // 2] == DETECTION_RGB).all(axis=1).sum()

    assert width(256) == 3, "not lost between its rims"
    assert width(1024) == 5
    assert width(3072) == 15


@pytest.mark.parametrize("colour", [TRUTH_RGB, DETECTION_RGB], ids=["truth", "detection"])
def test_colours_are_bright_on_gray_and_on_black(colour):
    """Contrast of WCAG 2.1; 128 is the middle gray of a radiograph."""

    def luminance(rgb):
        value = np.array(rgb) / 255
        return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    assert (luminance(colour) + 0.05) / (luminance((128, 128, 128)) + 0.05) > 1.5
    assert (luminance(colour) + 0.05) / 0.05 > 7


@pytest.mark.parametrize("vision", ["deuteranopia", "protanopia"])
def test_colours_differ_for_colour_blind_eyes(vision):
    """Linear RGB of Machado et al. 2009 (severity 1.0); a distance of 20 in CIE Lab is plain to see."""
    matrix = {
        "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    }[vision]

    def lab(rgb):
        value = np.array(rgb) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        seen = np.clip(np.array(matrix) @ linear, 0, 1)
        xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ seen / [0.9505, 1, 1.089]
        x, y, z = np.cbrt(xyz)
        return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])

    assert np.linalg.norm(lab(TRUTH_RGB) - lab(DETECTION_RGB)) > 20


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 1), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)],
    ids=["16 bit", "one channel axis", "empty", "flat"],
)
def test_draw_boxes_checks_the_image(image):
    with pytest.raises(DataError, match=r"\(H, W\) or \(H, W, 3\) uint8"):
        draw_boxes(image)


def test_without_a_panel_there_is_nothing_but_boxes():
    box = (200, 300, 500, 700)
    picture = np.asarray(draw_boxes(GREY, truth_xyxy_px=np.array([box]), title="exam", panel=False))
    changed = np.argwhere((picture != 128).any(axis=2))
    assert extent(changed) == pytest.approx(box, abs=6)
    legend = np.asarray(draw_boxes(GREY, truth_xyxy_px=np.array([box]), title="exam"))
    assert (legend != picture).any()


def inked(picture):
    """Columns of a strip that text stands in."""
    return np.flatnonzero((np.asarray(picture) > 100).any(axis=(0, 2)))


def test_a_caption_stands_above_the_picture():
    image = Image.fromarray(np.full((300, 400), 200, np.uint8))
    result = captioned(image, "exam", "truth 1")
    height = result.height - 300
    assert result.width == 400 and 15 <= height <= 40
    np.testing.assert_array_equal(np.asarray(result)[height:], 200)
    columns = inked(result.crop((0, 0, 400, height)))
    assert columns.min() < 12 and columns.max() > 388
    assert (np.diff(columns) > 100).sum() == 1, "two texts, one at either side"


def test_a_long_id_keeps_both_ends_and_leaves_the_counts_their_room():
    image = Image.new("RGB", (384, 384))

    def strip(left):
        return np.asarray(captioned(image, left, "truth 2, found 1"))[:-384]

    long = "1.2.840.113654.2.55." + "4" * 60
    assert np.diff(inked(strip(long))).max() < 20, "the room is used"
    plain = strip("")
    counts = inked(plain).min()
    np.testing.assert_array_equal(strip(long)[:, counts:], plain[:, counts:])
    assert inked(strip(long)[:, :counts]).max() < counts - 4
    for one in ("9" + long[1:], long[:-1] + "9"):
        assert (strip(one) != strip(long)).any()


def test_a_key_says_what_lines_and_colours_are():
    sheet = Image.new("RGB", (1200, 50), (200, 0, 0))
    scale = Image.new("RGB", (160, 16), (1, 2, 3))
    keyed = with_key(sheet, solid="found", scale=scale, scale_name="heatmap")
    assert keyed.width == 1200
    np.testing.assert_array_equal(np.asarray(keyed)[-50:], np.asarray(sheet))
    top = keyed.crop((0, 0, 1200, keyed.height - 50))
    assert len(where(top, TRUTH_RGB)) and len(where(top, DETECTION_RGB)) and len(where(top, (1, 2, 3))) == 160 * 16
    assert not len(where(with_key(sheet), DETECTION_RGB))
    narrow = with_key(sheet.crop((0, 0, 300, 50)), solid="found", scale=scale, scale_name="heatmap")
    assert narrow.height > keyed.height, "in rows where one has no room"
    assert len(where(narrow, (1, 2, 3))) == 160 * 16


def test_contact_sheet():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pictures = [Image.new("RGB", size, colour) for size, colour in zip([(100, 100), (200, 100), (50, 100)], colours, strict=True)]
    sheet = contact_sheet(pictures, columns=2, tile_px=40)
    assert sheet.size == (80, 80)
    assert extent(where(sheet, colours[0])) == [0, 0, 39, 39]
    assert extent(where(sheet, colours[1])) == [40, 10, 79, 29]  # keeps its proportions, centred
    assert extent(where(sheet, colours[2])) == [10, 40, 29, 79]
    assert contact_sheet(pictures[:1], columns=5, tile_px=40).size == (40, 40)


def test_captions_stand_above_their_tiles():
    plain = contact_sheet([Image.new("RGB", (80, 40), (9, 9, 9))] * 3, columns=2, tile_px=80)
    sheet = contact_sheet([Image.new("RGB", (80, 40), (9, 9, 9))] * 3, columns=2, tile_px=80, captions=[("a", "1"), ("b", "2"), ("c", "3")])
    strip = sheet.height // 2 - 80
    assert sheet.width == 160 and strip > 8
    for row, column in ((0, 0), (0, 1), (1, 0)):
        box = (80 * column, row * (strip + 80) + strip, 80 * column + 80, (row + 1) * (strip + 80))
        np.testing.assert_array_equal(
            np.asarray(sheet.crop(box)), np.asarray(plain.crop((80 * column, 80 * row, 80 * column + 80, 80 * row + 80)))
        )
        assert len(inked(sheet.crop((box[0], box[1] - strip, box[2], box[1]))))
    with pytest.raises(DataError, match="a caption for each picture or none at all, but got 1 for 2"):
        contact_sheet([Image.new("RGB", (4, 4))] * 2, columns=2, captions=[("a", "")])


@pytest.mark.parametrize(("count", "columns", "tile_px"), [(0, 2, 10), (1, 0, 10), (1, 1, 0)], ids=["no picture", "no column", "no tile"])
def test_contact_sheet_errors(count, columns, tile_px):
    with pytest.raises(DataError, match="A contact sheet needs pictures, columns and a tile size"):
        contact_sheet([Image.new("RGB", (4, 4))] * count, columns=columns, tile_px=tile_px)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG"])
def test_save(tmp_path, name):
    save(tmp_path / "images" / name, draw_boxes(GREY))
    with Image.open(tmp_path / "images" / name) as back:
        assert back.format == ("PNG" if name == "a.png" else "JPEG")
        assert back.size == (1024, 1024)
    assert [path.name for path in (tmp_path / "images").iterdir()] == [name]


def test_save_refuses_other_formats(tmp_path):
    with pytest.raises(DataError, match=r"written as .png or .jpg, but .*a.gif ends in '.gif'"):
        save(tmp_path / "a.gif", draw_boxes(GREY))
