"""Encoded images near the model's size: by averaging whatever the format, and damaged files by name."""

import cv2
import numpy as np
import pytest

from pneumodet.detection import decoding
from pneumodet.errors import DataError


def radiograph(size_hw, *, sigma=3.0):
    """Return (H, W) uint8 with detail of about a px, so that sampling and averaging differ."""
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.uniform(0, 255, size_hw), (0, 0), sigma)
    return np.uint8(np.clip(128 + 6 * (smooth - 127) + rng.normal(0, 12, size_hw), 0, 255))


def encoded(pixels, suffix, *flags):
    return cv2.imencode(suffix, pixels, list(flags))[1].tobytes()


@pytest.mark.parametrize(
    ("image_hw", "target_hw", "factor"),
    [
        pytest.param((1024, 1024), (320, 320), 2, id="three"),
        pytest.param((640, 640), (320, 320), 2, id="two"),
        pytest.param((639, 640), (320, 320), 1, id="just-below"),
        pytest.param((3000, 2500), (320, 320), 4, id="seven"),
        pytest.param((100, 2500), (320, 320), 1, id="small-side"),
        pytest.param((5200, 5200), (320, 320), 16, id="sixteen"),
    ],
)
def test_the_factor_is_a_power_of_two_that_leaves_enough(image_hw, target_hw, factor):
    assert decoding.factor(image_hw, target_hw) == factor


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(("size_hw", "target_hw"), [((640, 512), (128, 96)), ((400, 400), (120, 120)), ((90, 70), (96, 96))])
def test_decoding_is_averaging(suffix, size_hw, target_hw):
    pixels = radiograph(size_hw)
    found = decoding.decode(encoded(pixels, suffix, cv2.IMWRITE_JPEG_QUALITY, 98), image_hw=size_hw, target_hw=target_hw, where="here")
    by = decoding.factor(size_hw, target_hw)
    assert found.shape == (size_hw[0] // by, size_hw[1] // by)
    expected = cv2.resize(pixels, found.shape[::-1], interpolation=cv2.INTER_AREA).astype(float)
    difference = np.abs(found - expected)
    assert difference.mean() < 1.5
    sampled = cv2.resize(pixels, found.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(float)
    if by > 2:  # of two px bilinear sampling takes the mean, too
        assert difference.mean() < 0.3 * np.abs(sampled - expected).mean()


def test_the_last_px_of_an_odd_jpeg_covers_less():
    pixels = radiograph((641, 511))
    found = decoding.decode(encoded(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98), image_hw=(641, 511), target_hw=(128, 96), where="here")
    whole = cv2.copyMakeBorder(pixels, 0, 3, 0, 1, cv2.BORDER_REPLICATE)
    assert np.abs(found - cv2.resize(whole, (128, 161), interpolation=cv2.INTER_AREA).astype(float)).mean() < 1.5


def test_one_look_for_all_formats():
    """A JPEG file at libjpeg's scale, a PNG file, and pixels from a DICOM file give the model the same."""
    pixels = radiograph((1024, 1024))
    jpeg, png = (
        decoding.decode(encoded(pixels, suffix, cv2.IMWRITE_JPEG_QUALITY, 100), image_hw=(1024, 1024), target_hw=(150, 150), where="here")
        for suffix in (".jpg", ".png")
    )
    np.testing.assert_array_equal(png, decoding.reduce(pixels, (150, 150)))
    assert jpeg.shape == png.shape == (256, 256)
    assert np.abs(jpeg.astype(float) - png).mean() < 1.0


def test_larger_than_libjpegs_smallest_scale():
    pixels = radiograph((2100, 2100), sigma=20.0)
    found = decoding.decode(encoded(pixels, ".jpg"), image_hw=(2100, 2100), target_hw=(130, 130), where="here")
    assert decoding.factor((2100, 2100), (130, 130)) == 16
    assert found.shape == (131, 131)


def test_color_becomes_gray():
    pixels = np.dstack([radiograph((64, 64))] * 3)
    found = decoding.decode(encoded(pixels, ".png"), image_hw=(64, 64), target_hw=(64, 64), where="here")
    np.testing.assert_array_equal(found, pixels[..., 0])


def test_bilinear_resize_is_tensorflows():
    import tensorflow as tf

    pixels = radiograph((67, 91), sigma=4.0)
    expected = tf.image.resize(pixels[..., None].astype(np.float32), (48, 80)).numpy()[..., 0]
    assert np.abs(decoding.resize(pixels, (48, 80)) - expected).max() <= 1.0
    assert decoding.resize(pixels, (67, 91)) is pixels


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda data: data[: len(data) // 2], "the JPEG image is cut off", id="half"),
        pytest.param(lambda data: data[:-2], "the JPEG image is cut off", id="no-end"),
        pytest.param(lambda data: b"\xff\xd8" + bytes(40) + b"\xff\xd9", "the image cannot be decoded", id="no-content"),
        pytest.param(lambda data: b"", "the image cannot be decoded", id="nothing"),
        pytest.param(lambda data: b"\x89PNG\r\n\x1a\n" + bytes(99), "the image cannot be decoded", id="png"),
    ],
)
def test_damaged_files_are_named(damage, message):
    data = damage(encoded(radiograph((200, 200)), ".jpg"))
    with pytest.raises(DataError, match=f"^set, record 3: {message}.*--skip-corrupt"):
        decoding.decode(data, image_hw=(200, 200), target_hw=(96, 96), where="set, record 3")


def test_a_padded_jpeg_is_whole():
    pixels = radiograph((80, 80))
    data = encoded(pixels, ".jpg") + b"\x00"  # DICOM pads streams to an even length
    assert decoding.decode(data, image_hw=(80, 80), target_hw=(80, 80), where="here").shape == (80, 80)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_png_cut_off_is_refused(suffix):
    """Half an image must never be trained on as if the rest were black."""
    data = encoded(radiograph((200, 200)), suffix)
    with pytest.raises(DataError, match="^here: "):
        decoding.decode(data[: len(data) * 2 // 3], image_hw=(200, 200), target_hw=(96, 96), where="here")
