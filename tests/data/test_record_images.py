"""Images of records: near the model's size by averaging, gray values as those of files, and damaged ones by name."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from pneumodet.core.errors import DataError
from pneumodet.data import image_files, record_images, scaling


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
    assert scaling.factor(image_hw, target_hw) == factor


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(("size_hw", "target_hw"), [((640, 512), (128, 96)), ((400, 400), (120, 120)), ((90, 70), (96, 96))])
def test_decoding_is_averaging(suffix, size_hw, target_hw):
    pixels = radiograph(size_hw)
    decoded = record_images.decode(encoded(pixels, suffix, cv2.IMWRITE_JPEG_QUALITY, 98), target_hw=target_hw, where="here")
    by = scaling.factor(size_hw, target_hw)
    assert decoded.shape == (size_hw[0] // by, size_hw[1] // by)
    expected = cv2.resize(pixels, decoded.shape[::-1], interpolation=cv2.INTER_AREA).astype(float)
    difference = np.abs(decoded - expected)
    assert difference.mean() < 1.5
    sampled = cv2.resize(pixels, decoded.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(float)
    if by > 2:  # of two px bilinear sampling takes the mean, too
        assert difference.mean() < 0.3 * np.abs(sampled - expected).mean()


def test_the_last_px_of_an_odd_jpeg_covers_less():
    pixels = radiograph((641, 511))
    decoded = record_images.decode(encoded(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98), target_hw=(128, 96), where="here")
    whole = cv2.copyMakeBorder(pixels, 0, 3, 0, 1, cv2.BORDER_REPLICATE)
    assert np.abs(decoded - cv2.resize(whole, (128, 161), interpolation=cv2.INTER_AREA).astype(float)).mean() < 1.5


def test_one_look_for_all_formats():
    """A JPEG file at libjpeg's scale, a PNG file, and pixels from a DICOM file give the model the same."""
    pixels = radiograph((1024, 1024))
    jpeg, png = (
        record_images.decode(encoded(pixels, suffix, cv2.IMWRITE_JPEG_QUALITY, 100), target_hw=(150, 150), where="here")
        for suffix in (".jpg", ".png")
    )
    np.testing.assert_array_equal(png, scaling.reduce(pixels, (150, 150)))
    assert jpeg.shape == png.shape == (256, 256)
    assert np.abs(jpeg.astype(float) - png).mean() < 1.0


def test_larger_than_libjpegs_smallest_scale():
    pixels = radiograph((2100, 2100), sigma=20.0)
    decoded = record_images.decode(encoded(pixels, ".jpg"), target_hw=(130, 130), where="here")
    assert scaling.factor((2100, 2100), (130, 130)) == 16
    assert decoded.shape == (131, 131)


def test_color_becomes_gray():
    pixels = np.dstack([radiograph((64, 64))] * 3)
    decoded = record_images.decode(encoded(pixels, ".png"), target_hw=(64, 64), where="here")
    np.testing.assert_array_equal(decoded, pixels[..., 0])


def test_bilinear_resize_is_tensorflows():
    import tensorflow as tf

    pixels = radiograph((67, 91), sigma=4.0)
    expected = tf.image.resize(pixels[..., None].astype(np.float32), (48, 80)).numpy()[..., 0]
    assert np.abs(scaling.resize(pixels, (48, 80)) - expected).max() <= 1.0
    assert scaling.resize(pixels, (67, 91)) is pixels


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda data: data[: len(data) // 2], "the JPEG image is cut off", id="half"),
        pytest.param(lambda data: data[:-2], "the JPEG image is cut off", id="no-end"),
        pytest.param(lambda data: b"\xff\xd8" + bytes(40) + b"\xff\xd9", "the image cannot be decoded", id="no-content"),
        pytest.param(lambda data: b"", "the image cannot be decoded", id="nothing"),
        pytest.param(lambda data: b"\x89PNG\r\n\x1a\n" + bytes(99), "the PNG image is cut off", id="png"),
    ],
)
def test_damaged_files_are_named(damage, message):
    data = damage(encoded(radiograph((200, 200)), ".jpg"))
    with pytest.raises(DataError, match=f"^set, record 3: {message}.*--skip-corrupt"):
        record_images.decode(data, target_hw=(96, 96), where="set, record 3")


def test_a_padded_jpeg_is_whole():
    pixels = radiograph((80, 80))
    data = encoded(pixels, ".jpg") + b"\x00"  # DICOM pads streams to an even length
    assert record_images.decode(data, target_hw=(80, 80), where="here").shape == (80, 80)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_png_cut_off_is_refused(suffix):
    """Half an image must never be trained on as if the rest were black."""
    data = encoded(radiograph((200, 200)), suffix)
    with pytest.raises(DataError, match="^here: "):
        record_images.decode(data[: len(data) * 2 // 3], target_hw=(96, 96), where="here")


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tinted(more):
    return np.uint8(30 + 0.7 * radiograph((64, 48)) + more)


def of_16_bits(size_hw=(64, 48)):
    """Return a PNG file as detectors with 12 bits give it: 0 to 3,315 of 65,535."""
    return saved(Image.fromarray(np.uint16(radiograph(size_hw)) * 13), "PNG")


@pytest.mark.parametrize(
    ("data", "within"),
    [
        pytest.param(of_16_bits(), 0, id="16 bits"),
        pytest.param(saved(Image.fromarray(radiograph((64, 48))), "PNG"), 0, id="gray"),
        pytest.param(saved(Image.fromarray(radiograph((64, 48))), "JPEG"), 0, id="gray JPEG"),
        pytest.param(saved(Image.fromarray(radiograph((64, 48))).convert("P"), "PNG"), 0, id="palette"),
        pytest.param(saved(Image.fromarray(np.dstack([radiograph((64, 48)), *[radiograph((64, 48))[::-1]] * 2])), "PNG"), 0, id="colour"),
        pytest.param(saved(Image.fromarray(np.dstack([radiograph((64, 48))] * 3 + [radiograph((64, 48))[::-1]])), "PNG"), 0, id="alpha"),
        pytest.param(saved(Image.fromarray(radiograph((64, 48))), "PNG", transparency=120), 0, id="one transparent gray"),
        pytest.param(saved(Image.merge("RGB", [Image.fromarray(tinted(part)) for part in (0, 9, 18)]), "JPEG"), 1, id="colour JPEG"),
        pytest.param(saved(Image.fromarray(radiograph((64, 48))).convert("CMYK"), "JPEG"), 0, id="CMYK"),
    ],
)
def test_gray_values_are_those_of_files(data, within):
    decoded, of_file = record_images.decode(data, where="here"), image_files.pixels_of(data, "file")
    assert np.abs(decoded.astype(int) - of_file).max() <= within
    reduced = record_images.decode(data, where="here", target_hw=(16, 12))
    assert reduced.shape == (16, 12)
    assert np.abs(reduced.astype(int) - scaling.reduce(of_file, (16, 12))).mean() < 1


def test_16_bits_fill_the_range():
    """OpenCV takes the upper eight bits, 0 to 12 of 255; Pillow clips at 255 of 65,535."""
    decoded = record_images.decode(of_16_bits(), where="here")
    assert (decoded.min(), decoded.max()) == (0, 255)
    assert 40 < np.median(decoded) < 215


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("target_hw", [(60, 40), (15, 10)])
def test_exif_does_not_turn_what_boxes_are_on(orientation, target_hw):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(radiograph((60, 40)))
    turned, plain = saved(image, "JPEG", exif=exif), saved(image, "JPEG")
    decoded = [record_images.decode(data, where="here", target_hw=target_hw, image_hw=(60, 40)) for data in (turned, plain)]
    np.testing.assert_array_equal(*decoded)


def test_an_image_of_another_size_than_the_record_says():
    with pytest.raises(DataError, match="^set, record 3: the image has 48 x 64 px, but the record says 64 x 48"):
        record_images.decode(of_16_bits(), where="set, record 3", image_hw=(48, 64))


def test_what_follows_a_whole_jpeg_does_not_cut_it_off():
    data = encoded(radiograph((80, 80)), ".jpg")
    np.testing.assert_array_equal(record_images.decode(data + bytes(100), where="here"), record_images.decode(data, where="here"))
