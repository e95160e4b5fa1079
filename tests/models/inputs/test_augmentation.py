"""Augmentation: boxes and masks follow the pixels, the identity is TensorFlow's resize, and a seed decides all."""

import dataclasses
import functools
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pneumodet.core import boxes as numpy_boxes
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.models.inputs import augmentation as module
from pneumodet.models.inputs.augmentation import NONE, RADIOGRAPH, Augmentation, augment, load, to_json
from pneumodet.models.inputs.augmentation_settings import inlined
from pneumodet.models.inputs.augmentation_sheet import preview
from pneumodet.viz import pictures

MOVES = Augmentation(flip=0.5, scale=(0.8, 1.3), shift=0.1)
TURNS = dataclasses.replace(MOVES, rotation_degrees=8, shear_degrees=5)
WHOLE = np.array([[0.0, 0.0, 1.0, 1.0]], np.float32)


def seed(index):
    return tf.constant([7, index], tf.int64)


def smooth_noise(hw, *, sigma=2.0, index=0):
    """Return (H, W) uint8 that uses the whole range."""
    noise = cv2.GaussianBlur(np.random.default_rng(index).uniform(0, 1, hw), (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.rint(255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)


@functools.cache
def graph(augmentation, output_hw):
    """Return ``augment`` as the pipeline runs it, which takes a tenth of the time for the same image again and again."""

    def augmented(image, boxes_yxyx_norm, seed, masks=None):
        return augment(image, boxes_yxyx_norm, augmentation=augmentation, seed=seed, output_hw=output_hw, masks=masks)

    return tf.function(augmented, autograph=False, reduce_retracing=True)


def run(pixels, boxes_yxyx_norm, augmentation, *, index=0, output_hw=(128, 128), masks=None):
    masks = [] if masks is None else [tf.constant(masks)]
    boxes_yxyx_norm = tf.constant(np.reshape(boxes_yxyx_norm, (-1, 4)), tf.float32)
    return graph(augmentation, output_hw)(tf.constant(pixels[..., None]), boxes_yxyx_norm, seed(index), *masks)


def bright_box(pixels):
    """Return the xyxy_px box around what is brighter than half."""
    rows, columns = np.nonzero(np.asarray(pixels) > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)


def to_px(box_yxyx_norm, hw):
    return numpy_boxes.yxyx_norm_to_xyxy_px(np.asarray(box_yxyx_norm), height=hw[0], width=hw[1])


def shape_in(hw, box_xyxy_px, *, ellipse=False):
    pixels = np.zeros(hw, np.uint8)
    left, top, right, bottom = box_xyxy_px
    if ellipse:
        y, x = np.indices(hw) + 0.5
        pixels[((x - (left + right) / 2) / (right - left)) ** 2 + ((y - (top + bottom) / 2) / (bottom - top)) ** 2 < 0.25] = 255
    else:
        pixels[top:bottom, left:right] = 255
    return pixels, numpy_boxes.xyxy_px_to_yxyx_norm(np.array([box_xyxy_px], float), height=hw[0], width=hw[1])


# pixels


@pytest.mark.parametrize(
    "hw, output_hw", [((256, 256), (128, 128)), ((300, 211), (128, 96)), ((96, 128), (96, 128)), ((64, 80), (128, 96))]
)
def test_without_variation_it_is_the_resize_of_tensorflow(hw, output_hw):
    pixels = smooth_noise(hw)
    wanted = tf.image.resize(pixels[..., None], output_hw, antialias=False).numpy()
    coefficients = module.transform(NONE, seed(0), image_hw=hw, output_hw=output_hw)
    warped = module.warp(tf.constant(pixels[..., None]), coefficients, module.photometric(NONE, seed(0)), output_hw=output_hw).numpy()
    # half a px at the edge of an enlarged image fades into the black
    rim = [slice(None) if small >= large else slice(2, -2) for small, large in zip(hw, output_hw, strict=True)]
    assert np.abs(warped.astype(float) - wanted)[rim[0], rim[1]].max() < 1
    assert np.abs(run(pixels, WHOLE, NONE, output_hw=output_hw).image.numpy() - wanted).max() <= 0.5


@pytest.mark.parametrize("index", range(3))
def test_the_resampling_agrees_with_that_of_tensorflow(index):
    hw, output_hw = (300, 260), (128, 120)
    pixels = smooth_noise(hw)
    coefficients = module.transform(TURNS, seed(index), image_hw=hw, output_hw=output_hw)
    wanted = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.constant(pixels[None, ..., None], tf.float32),
        transforms=coefficients[None],
        output_shape=output_hw,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]
    warped = module.warp(tf.constant(pixels[..., None]), coefficients, module.photometric(NONE, seed(0)), output_hw=output_hw)
    difference = np.abs(warped.numpy().astype(float) - wanted.numpy())
    assert difference.max() < 6  # an OpenCV before 5 rounds positions to 1/32 px
    assert difference.mean() < 0.5


def test_the_drawn_values_stay_within_their_bounds_and_fill_them():
    how = Augmentation(scale=(0.8, 1.25), shift=0.1, rotation_degrees=10, shear_degrees=6)
    draw = tf.function(
        lambda number: module.transform(how, tf.stack([3, number]), image_hw=(400, 300), output_hw=(400, 300)), autograph=False
    )
    inverse = np.array([draw(tf.constant(number, tf.int64)).numpy()[:6].reshape(2, 3) for number in range(400)], np.float64)
    forward = np.linalg.inv(inverse[:, :, :2])
    zoom = np.sqrt(np.linalg.det(forward))
    angle = np.degrees(np.arctan2(forward[:, 1, 0], forward[:, 0, 0]))
    # what is left after the rotation is taken off is the shear
    turned = np.array([[[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]] for a in np.radians(angle)]) @ forward
    shear = np.degrees(np.arctan(turned[:, 0, 1] / turned[:, 0, 0]))
    middle = np.array([150, 200]) - 0.5
    moved = np.einsum("nij,nj->ni", forward, middle - inverse[:, :, 2]) - middle
    for values, limit in ((np.log(zoom), np.log(1.25)), (angle, 10), (shear, 6), (moved[:, 0], 30), (moved[:, 1], 40)):
        assert np.abs(values).max() <= limit * (1 + 1e-3)
        assert values.max() > 0.9 * limit
        assert values.min() < -0.9 * limit
        assert abs(values.mean()) < 0.12 * limit
    drawn = np.stack([np.log(zoom), angle, shear, moved[:, 0], moved[:, 1]])
    assert np.abs(np.corrcoef(drawn) - np.eye(5)).max() < 0.2


def test_flip_mirrors_image_boxes_and_masks():
    pixels, box = shape_in((128, 128), (10, 30, 40, 90))
    augmented = run(pixels, box, Augmentation(flip=1.0), masks=pixels[None] // 255)
    np.testing.assert_array_equal(augmented.image[..., 0], pixels[:, ::-1])
    np.testing.assert_allclose(to_px(augmented.boxes_yxyx_norm, (128, 128)), [[88, 30, 118, 90]], atol=1e-3)
    np.testing.assert_array_equal(augmented.masks[0], pixels[:, ::-1] // 255)


def test_a_flip_happens_as_often_as_its_probability():
    how = Augmentation(flip=0.3)
    draw = tf.function(lambda number: module.transform(how, tf.stack([7, number]), image_hw=(9, 9), output_hw=(9, 9))[0], autograph=False)
    flips = [draw(tf.constant(index, tf.int64)).numpy() < 0 for index in range(200)]
    assert 0.2 < np.mean(flips) < 0.4


# crops

CROPS = Augmentation(flip=0.5, crop=0.85, crop_area=(0.1, 1.0), crop_aspect=(0.5, 2.0), crop_holds=(0.0, 0.3, 1.0))
CROPPED_BOXES = np.array([[0.2, 0.1, 0.6, 0.35], [0.3, 0.6, 0.9, 0.9]], np.float32)


@functools.cache
def crops(augmentation):
    """Return the start, size and least share of 200 crops of an image of 120 x 160 px with two boxes."""
    draw = tf.function(
        lambda number: module.crop(augmentation, tf.stack([7, number]), tf.constant(CROPPED_BOXES), image_hw=(120, 160)), autograph=False
    )
    drawn = [draw(tf.constant(number, tf.int64)) for number in range(200)]
    return [np.array([getattr(one, name).numpy() for one in drawn]) for name in ("start_yx", "hw", "least")]


def test_crops_are_as_large_as_is_said_and_hold_what_they_shall():
    start, hw, least = crops(CROPS)
    whole = (hw == (120, 160)).all(axis=1)
    assert 0.07 < whole.mean() < 0.25
    start, hw, least = start[~whole], hw[~whole], least[~whole]
    area, aspect = hw.prod(axis=1) / (120 * 160), hw[:, 1] / hw[:, 0]
    assert area.min() > 0.1 * 0.95 and area.min() < 0.2 and area.max() > 0.8
    assert aspect.min() > 0.5 * 0.95 and aspect.max() < 2 * 1.05
    assert (start >= 0).all() and (start + hw <= (120, 160)).all()
    boxes = CROPPED_BOXES * (120, 160, 120, 160)
    low, high = np.maximum(boxes[:, :2], start[:, None]), np.minimum(boxes[:, 2:], (start + hw)[:, None])
    held = np.clip(high - low, 0, None).prod(axis=2) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    assert set(np.round(least, 3).tolist()) == set(np.float32([0, 0.3, 1]).tolist())
    assert (held.max(axis=1) >= least - 1e-4).all()
    assert (held.max(axis=1) < 0.2).any(), "with 0, a crop may leave nearly all of the boxes out, as in the API"


def test_a_crop_fills_the_image_and_boxes_follow_it():
    pixels, box = shape_in((120, 160), (40, 30, 100, 90))
    kept = []
    for index in range(12):
        augmented = run(pixels, box, CROPS, index=index)
        kept += augmented.keep.numpy().tolist()
        if kept[-1]:
            # the pixels of a small part are enlarged, and its box with them
            assert np.abs(bright_box(augmented.image[..., 0]) - to_px(augmented.boxes_yxyx_norm, (128, 128))[0]).max() < 3
    assert sum(kept) > 6


def test_crops_drop_boxes_as_the_api_does(monkeypatch):
    """Of the very same part of the image, drawn for the API from our seed."""
    from pneumodet.models.detection import odapi

    odapi.load()
    import object_detection.core.preprocessor as api

    draws = Augmentation(crop=1.0, crop_area=(0.1, 1.0), crop_aspect=(0.5, 2.0), crop_holds=(0.3,))
    image = tf.zeros((120, 160, 1))
    several = set()
    for index in range(12):
        part = module.crop(draws, seed(index), tf.constant(CROPPED_BOXES), image_hw=(120, 160))
        start, hw = part.start_yx.numpy(), part.hw.numpy()
        frame = np.concatenate([start, start + hw]) / (120, 160, 120, 160)
        same = [
            tf.constant(np.append(start, 0), tf.int32),
            tf.constant(np.append(hw, 1), tf.int32),
            tf.constant(frame[None, None], tf.float32),
        ]
        monkeypatch.setattr(api, "_get_or_create_preprocess_rand_vars", lambda *_, _same=same, **__: _same)
        _, wanted, labels = api._strict_random_crop_image(
            image, tf.constant(CROPPED_BOXES), tf.constant([1, 2]), None, min_object_covered=0.3, overlap_thresh=0.3
        )
        coefficients = module.transform(draws, seed(index), image_hw=(120, 160), output_hw=(64, 64), part=part)
        boxes, keep = module.warp_boxes(tf.constant(CROPPED_BOXES), coefficients, image_hw=(120, 160), output_hw=(64, 64), least=part.least)
        assert (np.flatnonzero(keep) + 1).tolist() == labels.numpy().tolist()
        np.testing.assert_allclose(boxes.numpy()[keep.numpy()], wanted, atol=1e-5)
        several.add(len(labels))
    assert several == {1, 2}


def test_without_crops_all_draws_stay_as_they_were():
    how = dataclasses.replace(TURNS, crop=1e-9)
    pixels = smooth_noise((100, 100))
    np.testing.assert_array_equal(run(pixels, WHOLE, how, index=3).image, run(pixels, WHOLE, TURNS, index=3).image)


def test_an_image_without_boxes_is_cropped_too():
    augmented = run(smooth_noise((100, 100)), [], dataclasses.replace(CROPS, crop=1.0))
    assert augmented.image.shape == (128, 128, 1) and len(augmented.keep) == 0


# gray values


@pytest.mark.parametrize(
    "how, middle",
    [
        (Augmentation(brightness=0.2), (76, 179)),
        (Augmentation(gamma=(2, 2)), (64, 64)),
        (Augmentation(gamma=(0.5, 0.5)), (181, 181)),
        (Augmentation(contrast=(1.5, 1.5)), (128, 128)),
    ],
    ids=["brightness", "dark", "bright", "contrast"],
)
def test_gray_values_change_by_as_much_as_is_said(how, middle):
    tables = np.array([module.photometric(how, seed(index)).table.numpy() for index in range(60)]).astype(int)
    assert (np.diff(tables, axis=1) >= 0).all()
    assert middle[0] - 1 <= tables[:, 128].min()
    assert tables[:, 128].max() <= middle[1] + 1
    if how.brightness:
        assert np.ptp(tables[:, 128]) > 80
    elif how.contrast[0] > 1:
        assert (tables[:, 178] - tables[:, 78] == 150).all()
    else:
        assert (tables[:, 0] == 0).all()
        assert (tables[:, 255] == 255).all()


def test_blur_is_a_gaussian_and_sharpening_its_opposite():
    pixels = smooth_noise((128, 128), sigma=1.5)
    blurred = run(pixels, WHOLE, Augmentation(blur=1.0, blur_sigma_px=(0.8, 0.8))).image[..., 0].numpy()
    wanted = cv2.GaussianBlur(pixels.astype(np.float64), (7, 7), 0.8, borderType=cv2.BORDER_REFLECT)
    assert np.abs(blurred - wanted).max() <= 1.5
    sharp = run(pixels, WHOLE, Augmentation(sharpen=1.0)).image[..., 0].numpy()
    smooth = cv2.GaussianBlur(pixels.astype(np.float64), (7, 7), 1.0, borderType=cv2.BORDER_REFLECT)
    inside = (sharp > 0) & (sharp < 255)
    amounts = ((sharp - pixels.astype(float)) / (pixels - smooth))[inside & (np.abs(pixels - smooth) > 5)]
    assert 0 < np.median(amounts) <= 1
    assert np.ptp(np.percentile(amounts, [5, 95])) < 0.4
    half = [run(pixels, WHOLE, Augmentation(blur=0.3, sharpen=0.2), index=index).image[..., 0].numpy() for index in range(60)]
    steps = np.array([np.abs(np.diff(one.astype(int))).mean() for one in half]) / np.abs(np.diff(pixels.astype(int))).mean()
    assert 0.15 < (steps < 0.99).mean() < 0.5
    assert 0.05 < (steps > 1.01).mean() < 0.4
    assert (np.abs(steps - 1) <= 1e-9).mean() > 0.3


# boxes


@pytest.mark.parametrize("hw, output_hw", [((256, 256), (128, 128)), ((240, 300), (128, 96))])
def test_boxes_follow_the_pixels(hw, output_hw):
    pixels, box = shape_in(hw, (90, 60, 150, 170))
    augmented = [run(pixels, box, MOVES, index=index, output_hw=output_hw) for index in range(40)]
    for one in augmented:
        assert one.keep.numpy().tolist() == [True]
        np.testing.assert_allclose(to_px(one.boxes_yxyx_norm, output_hw)[0], bright_box(one.image[..., 0]), atol=1.5)
    assert np.ptp([one.boxes_yxyx_norm[0, 0].numpy() for one in augmented]) > 0.1


def test_boxes_of_turned_ellipses_fit_them():
    """The box is that of the ellipse, not of the turned box's corners."""
    pixels, box = shape_in((256, 256), (80, 60, 130, 170), ellipse=True)
    for index in range(40):
        augmented = run(pixels, box, TURNS, index=index)
        bright = bright_box(augmented.image[..., 0])
        np.testing.assert_allclose(to_px(augmented.boxes_yxyx_norm, (128, 128))[0], bright, atol=1.5)


def test_boxes_of_turned_rectangles_overlap_them_well():
    pixels, box = shape_in((256, 256), (80, 60, 130, 170))
    how = dataclasses.replace(RADIOGRAPH, brightness=0, contrast=(1, 1), gamma=(1, 1))
    overlaps = []
    for index in range(40):
        augmented = run(pixels, box, how, index=index)
        overlaps.append(numpy_boxes.iou(to_px(augmented.boxes_yxyx_norm, (128, 128)), bright_box(augmented.image[..., 0])[None]).item())
    assert min(overlaps) > 0.7
    assert np.mean(overlaps) > 0.85


def test_a_box_that_leaves_the_image_is_cut_off_and_then_not_kept():
    coefficients = np.array([1, 0, 60, 0, 1, 0, 0, 0], np.float32)  # all moves 60 px to the left
    boxes = numpy_boxes.xyxy_px_to_yxyx_norm(
        np.array([[70, 10, 90, 30], [50, 10, 70, 30], [43, 10, 65, 30], [5, 10, 15, 30.0]]), height=100, width=100
    )
    moved, keep = module.warp_boxes(tf.constant(boxes, tf.float32), coefficients, image_hw=(100, 100), output_hw=(100, 100))
    np.testing.assert_allclose(to_px(moved, (100, 100)), [[10, 10, 30, 30], [0, 10, 10, 30], [0, 10, 5, 30], [0, 10, 0, 30]], atol=1e-3)
    assert keep.numpy().tolist() == [True, True, False, False]  # 100 %, 50 %, 23 %, nothing


def test_a_box_without_area_is_not_kept():
    augmented = run(smooth_noise((64, 64)), [[0.5, 0.5, 0.5, 0.5], [0.2, 0.2, 0.4, 0.4]], NONE)
    assert augmented.keep.numpy().tolist() == [False, True]


def test_a_positive_does_not_turn_into_a_negative():
    pixels, box = shape_in((128, 128), (2, 2, 12, 12))
    how = Augmentation(scale=(2, 2), shift=0.05)
    assert not module.warp_boxes(
        tf.constant(box, tf.float32),
        module.transform(how, seed(0), image_hw=(128, 128), output_hw=(128, 128)),
        image_hw=(128, 128),
        output_hw=(128, 128),
    )[1].numpy()
    augmented = run(pixels, box, how, masks=pixels[None] // 255)
    assert augmented.keep.numpy().tolist() == [True]
    np.testing.assert_allclose(augmented.boxes_yxyx_norm, box, atol=1e-5)
    np.testing.assert_array_equal(augmented.image[..., 0], pixels)
    np.testing.assert_array_equal(augmented.masks[0], pixels // 255)
    both = run(pixels, np.concatenate([box, [[0.4, 0.4, 0.6, 0.6]]]), how)
    assert both.keep.numpy().tolist() == [False, True]  # the other one keeps it a positive, so it is varied as it was drawn


def test_masks_agree_with_boxes_and_image():
    pixels, box = shape_in((256, 200), (60, 60, 120, 170), ellipse=True)
    other, other_box = shape_in((256, 200), (130, 90, 170, 150), ellipse=True)
    for index in range(20):
        masks = np.stack([pixels, other]) // 255
        augmented = run(np.maximum(pixels, other), np.concatenate([box, other_box]), TURNS, index=index, output_hw=(128, 112), masks=masks)
        assert augmented.masks.shape == (2, 128, 112)
        for mask, one in zip(augmented.masks.numpy(), to_px(augmented.boxes_yxyx_norm, (128, 112)), strict=True):
            np.testing.assert_allclose(bright_box(mask * 255), one, atol=1.6)
        union = augmented.masks.numpy().max(axis=0) > 0
        assert (union != (augmented.image[..., 0].numpy() > 127)).mean() < 0.01


def test_an_image_without_boxes():
    augmented = run(smooth_noise((100, 90)), [], TURNS, masks=np.zeros((0, 100, 90), np.uint8))
    assert augmented.boxes_yxyx_norm.shape == (0, 4)
    assert augmented.keep.shape == (0,)
    assert augmented.masks.shape == (0, 128, 128)


# in tf.data


def test_the_seed_decides_all_in_a_parallel_pipeline():
    pixels = tf.constant(smooth_noise((150, 130))[..., None])
    how = dataclasses.replace(RADIOGRAPH, flip=0.5, blur=0.5, sharpen=0.5)

    def sample(index):
        boxes = tf.tile([[0.2, 0.3, 0.6, 0.5]], [index % 3, 1])
        augmented = augment(
            pixels, boxes, augmentation=how, seed=tf.stack([11, index]), output_hw=(96, 80), masks=tf.zeros((index % 3, 150, 130), tf.uint8)
        )
        return augmented.image, tf.reduce_sum(augmented.boxes_yxyx_norm), tf.size(augmented.keep), tf.shape(augmented.masks)

    def values(indices, *, parallel):
        dataset = tf.data.Dataset.from_tensor_slices(tf.constant(indices, tf.int64)).map(sample, num_parallel_calls=parallel)
        assert dataset.element_spec[0].shape == (96, 80, 1)
        assert dataset.element_spec[0].dtype == tf.uint8
        return dict(zip(indices, dataset.as_numpy_iterator(), strict=True))

    forward, backward = values(list(range(12)), parallel=4), values(list(range(11, -1, -1)), parallel=1)
    for index in range(12):
        for a, b in zip(forward[index], backward[index], strict=True):
            np.testing.assert_array_equal(a, b)
        assert forward[index][2] == index % 3
        assert forward[index][3].tolist() == [index % 3, 96, 80]
    assert len({one[0].tobytes() for one in forward.values()}) == 12


def test_the_size_may_come_with_the_record():
    dataset = tf.data.Dataset.from_tensors((smooth_noise((60, 40))[..., None], tf.constant([90, 60])))
    dataset = dataset.map(lambda image, hw: augment(image, tf.zeros((0, 4)), augmentation=RADIOGRAPH, seed=seed(0), output_hw=hw).image)
    assert next(iter(dataset)).shape == (90, 60, 1)


# settings


def test_json_round_trip(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(to_json(RADIOGRAPH)))
    assert load(path) == RADIOGRAPH
    assert load(str(path)) == load("radiograph")
    path.write_text('{"scale": [0.9, 1.1]}')
    assert load(path) == Augmentation(scale=(0.9, 1.1))
    assert load("none") == Augmentation() == NONE
    assert not NONE.moves
    assert RADIOGRAPH.moves


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"rotation_degree": 3}', r"mine\.json has the unknown key 'rotation_degree'\. Did you mean 'rotation_degrees'"),
        ('{"zzz": 3}', r"unknown key 'zzz'\. There are: flip, scale"),
        ('{"flip": 1.5}', r"mine\.json: flip of the augmentation is 1\.5, must be a number from 0 to 1"),
        ('{"flip": true}', "flip of the augmentation is True"),
        ('{"flip": NaN}', "flip is nan, which is no number in JSON"),
        ('{"scale": 2}', "scale of the augmentation is 2, must be two numbers"),
        ('{"scale": [1.2, 0.8]}', r"scale of the augmentation is \[1\.2, 0\.8\], must be two numbers, low and high, from 0\.25 to 4"),
        ('{"crop_holds": 0.5}', r"crop_holds of the augmentation is 0\.5, must be a list of numbers from 0 to 1"),
        ('{"crop_holds": []}', r"crop_holds of the augmentation is \[\]"),
        ('{"gamma": [0, 1]}', "gamma of the augmentation"),
        ('{"blur": 0.6, "sharpen": 0.6}', "at most 1 together"),
        ("[1]", "must be an object"),
        ("{", "is not valid JSON"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_a_text_is_taken_as_the_file_is(tmp_path):
    (tmp_path / "mine.json").write_text('{"rotation_degrees": 3, "scale": [0.9, 1.1]}')
    text = inlined(str(tmp_path / "mine.json"))
    assert load(text) == load(tmp_path / "mine.json") == Augmentation(rotation_degrees=3, scale=(0.9, 1.1))
    assert inlined("radiograph") == "radiograph" and inlined(text) == text
    with pytest.raises(ConfigError, match="not valid JSON"):
        load('{"rotation')


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no augmentation 'radiogaph'. Did you mean 'radiograph'"):
        load("radiogaph")
    with pytest.raises(ConfigError, match="Cannot read the augmentation .*absent.json"):
        load(tmp_path / "absent.json")


# the sheet


def test_the_sheet_has_a_row_for_each_radiograph_and_the_first_is_as_it_is():
    images = [smooth_noise((200, 200), index=index) for index in range(2)]
    boxes = [np.array([[0.2, 0.2, 0.6, 0.5]]), np.zeros((0, 4))]
    sheet = preview(images, boxes, RADIOGRAPH, seed=0, output_hw=(96, 96), columns=3)
    plain_tile = pictures.captioned(Image.new("RGB", (96, 96)), "as it is")
    strip, rows = plain_tile.height - 96, 2 * plain_tile.height
    assert sheet.width == 288 and sheet.height > rows
    of_rows = np.asarray(sheet.convert("L"))[-rows:].reshape(2, strip + 96, 3, 96).swapaxes(1, 2)
    tiles = of_rows[:, :, strip:]
    named = [
        np.asarray(pictures.captioned(Image.new("RGB", (96, 96)), name).convert("L"))[:strip]
        for name in ("as it is", "variant 1", "variant 2")
    ]
    np.testing.assert_array_equal(of_rows[:, :, :strip], np.stack([named] * 2), err_msg="names stand above, outside of the pictures")
    plain = tf.round(tf.image.resize(images[1][..., None], (96, 96))).numpy()[..., 0]
    np.testing.assert_array_equal(tiles[1, 0], plain)
    assert (tiles[1, 1] == plain).mean() < 0.3
    assert (tiles[1, 1] == tiles[1, 2]).mean() < 0.3
    again = preview(images, boxes, RADIOGRAPH, seed=0, output_hw=(96, 96), columns=3)
    assert again.tobytes() == sheet.tobytes()


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(DataError, match="needs images"):
        preview([], [], RADIOGRAPH, seed=0, output_hw=(96, 96))
    with pytest.raises(DataError, match="image 0 is"):
        preview([np.zeros((9, 9))], [WHOLE], RADIOGRAPH, seed=0, output_hw=(96, 96))


@pytest.mark.real_data
def test_no_box_of_real_radiographs_gets_lost(shared_data):
    """With the preset hardly a box is cut so far that it is not kept."""
    rows = np.genfromtxt(
        shared_data / "rsna_csv" / "stage_2_train_labels.csv", delimiter=",", skip_header=1, usecols=(1, 2, 3, 4, 5), max_rows=8000
    )
    xywh = rows[rows[:, 4] == 1][:, :4]
    boxes = tf.constant(numpy_boxes.xyxy_px_to_yxyx_norm(numpy_boxes.xywh_to_xyxy_px(xywh), height=1024, width=1024), tf.float32)
    assert len(boxes) > 1000

    @tf.function
    def kept(number):
        coefficients = module.transform(RADIOGRAPH, tf.stack([0, number]), image_hw=(1024, 1024), output_hw=(320, 320))
        return tf.reduce_mean(tf.cast(module.warp_boxes(boxes, coefficients, image_hw=(1024, 1024), output_hw=(320, 320))[1], tf.float32))

    assert min(kept(tf.constant(index, tf.int64)).numpy() for index in range(200)) > 0.99
