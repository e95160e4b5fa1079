import numpy as np
import pytest
from scipy import ndimage

from pneumodet.core.boxes import xyxy_px_to_yxyx_norm
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.models.inputs.images import box_mask
from pneumodet.models.segmentation import masks

CATEGORY = 2


def cut(probabilities, *, image_hw=None, threshold=0.5, smallest_share=0.0):
    probabilities = np.asarray(probabilities, np.float32)
    size_hw = image_hw or probabilities.shape
    return masks.to_detections(probabilities, image_hw=size_hw, threshold=threshold, smallest_share=smallest_share, category_id=CATEGORY)


def test_boxes_come_back_from_their_own_mask():
    boxes_xyxy_px = np.array([[128.0, 256.0, 384.0, 640.0], [600.0, 64.0, 808.0, 400.0]])
    mask = box_mask(xyxy_px_to_yxyx_norm(boxes_xyxy_px, height=1024, width=1024), (128, 128))
    detections = cut(mask, image_hw=(1024, 1024))
    assert sorted(detections.boxes_xyxy_px.tolist()) == sorted(boxes_xyxy_px.tolist())
    assert detections.scores.tolist() == [1, 1] and detections.classes.tolist() == [CATEGORY] * 2


def test_height_and_width_are_not_mixed_up():
    probabilities = np.zeros((4, 8))
    probabilities[1:2, 2:6] = 0.9
    assert cut(probabilities, image_hw=(400, 1600)).boxes_xyxy_px.tolist() == [[400, 100, 1200, 200]]


@pytest.mark.parametrize("seed", range(4))
def test_spots_are_those_of_scipy(seed, monkeypatch):
    """At one level, which ``LEVELS`` adds nothing to where all else is 0, and with spots left whole."""
    monkeypatch.setattr(masks.touching, "split", lambda spot, **_: np.int32(spot))
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(60, 50)), 2)
    probabilities = np.where(smooth > 0.12, np.clip(0.5 + smooth, 0.5, 1), 0)
    labels, count = ndimage.label(probabilities >= 0.5, structure=np.ones((3, 3)))
    wanted = {}
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        if (labels == number).sum() >= 0.004 * 3000:
            wanted[(columns.start, rows.start, columns.stop, rows.stop)] = probabilities[labels == number].mean()
    detections = cut(probabilities, smallest_share=0.004)
    assert 1 < len(wanted) < count
    assert {tuple(box) for box in detections.boxes_xyxy_px.tolist()} == set(wanted)
    for box, score in zip(detections.boxes_xyxy_px.tolist(), detections.scores, strict=True):
        assert score == pytest.approx(wanted[tuple(box)], abs=1e-6)
    assert (np.diff(detections.scores) <= 0).all()


def test_faint_spots_come_after_and_a_halo_is_no_second_box():
    probabilities = np.zeros((20, 20))
    probabilities[2:10, 2:10] = 0.2  # around the strong spot
    probabilities[4:8, 4:8] = 0.8
    probabilities[14:18, 12:18] = 0.15
    detections = cut(probabilities, threshold=0.5)
    assert detections.boxes_xyxy_px.tolist() == [[4, 4, 8, 8], [12, 14, 18, 18]]
    assert detections.scores == pytest.approx([0.8, 0.15])


def test_small_spots_are_passed_over_and_nothing_is_no_box():
    probabilities = np.zeros((10, 10))
    probabilities[3, 3] = 0.9
    assert len(cut(probabilities, smallest_share=0.02)) == 0
    assert len(cut(probabilities, smallest_share=0.01)) == 1
    assert len(cut(np.zeros((10, 10)))) == 0


def test_px_that_touch_at_a_corner_are_one_spot():
    assert len(cut(np.eye(6))) == 1


def disc(center_xy, radius, *, size=96):
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(columns - center_xy[0], rows - center_xy[1]) < radius


def test_two_opacities_that_touch_are_two_boxes_each_with_its_own_score():
    left, right = disc((30, 40), 16), disc((60, 48), 17)
    assert (left & right).sum() > 5
    detections = cut(np.where(left, 0.9, np.where(right, 0.7, 0)), smallest_share=0.003)
    assert len(detections) == 2 and detections.scores == pytest.approx([0.9, 0.7], abs=0.01)
    assert np.abs(detections.boxes_xyxy_px - [[15, 25, 46, 56], [44, 32, 77, 65]]).max() <= 2


def test_boxes_at_two_corners_of_one_another_are_two():
    mask = np.zeros((96, 96))
    mask[10:40, 10:30] = mask[38:80, 28:60] = 1
    found = np.sort(cut(mask).boxes_xyxy_px, axis=0)
    assert found.shape == (2, 4) and np.abs(found - [[10, 10, 30, 40], [28, 38, 60, 80]]).max() <= 1


@pytest.mark.parametrize(
    "spot",
    [
        disc((48, 48), 20),
        disc((40, 48), 20) | disc((56, 48), 20),
        np.pad(np.ones((60, 12), bool), ((18, 18), (42, 42))),
        np.tri(96, dtype=bool) & ~np.tri(96, k=-30, dtype=bool),
        # a ragged edge, and a spike that is too small to be one of its own
        disc((48, 48), 20) ^ (np.hypot(*(np.mgrid[:96, :96] - 48)) >= 19) & disc((48, 48), 20) & (np.indices((96, 96)).sum(0) % 3 == 0),
        disc((48, 48), 20) | disc((48, 70), 3),
    ],
    ids=["disc", "two that are one", "long", "band", "ragged", "spike"],
)
def test_one_opacity_stays_one_box(spot):
    rows, columns = np.nonzero(spot)
    detections = cut(np.where(spot, 0.8, 0), smallest_share=0.01)
    assert detections.boxes_xyxy_px.tolist() == [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]


@pytest.mark.parametrize("seed", range(3))
def test_pieces_are_a_partition_of_connected_parts(seed):
    rng = np.random.default_rng(seed)
    labels, _ = ndimage.label(ndimage.gaussian_filter(rng.normal(size=(80, 80)), 3) > 0, np.ones((3, 3)))
    spot = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    pieces = masks.touching.split(spot, smallest_px=20)
    assert ((pieces > 0) == spot).all() and pieces.max() > 1
    for number in range(1, pieces.max() + 1):
        assert (pieces == number).sum() >= 20 and ndimage.label(pieces == number, np.ones((3, 3)))[1] == 1
    assert masks.touching.split(spot, smallest_px=spot.sum()).max() == 1


def test_what_is_no_map_is_refused():
    with pytest.raises(DataError, match=r"finite \(h, w\) probabilities.*The model may be broken"):
        cut(np.full((4, 4), np.nan))
    with pytest.raises(DataError, match=r"not of shape \(4, 4, 1\)"):
        cut(np.zeros((4, 4, 1)), image_hw=(8, 8))
    with pytest.raises(ConfigError, match=r"threshold in \(0, 1\].*not 0 and 0"):
        cut(np.zeros((4, 4)), threshold=0)
