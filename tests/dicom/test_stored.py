"""Padding, and words of pixels that have more bits than the header says."""

import numpy as np
import pydicom
import pytest
from dicom_fixtures import HEIGHT, WIDTH, image_of, smooth
from pydicom.uid import ImplicitVRLittleEndian

from pneumodet.data import dicom_images
from pneumodet.dicom import stored


def add(path, **words):
    """Add words to a file and return its path."""
    dataset = pydicom.dcmread(path)
    for keyword, value in words.items():
        dataset.add_new(keyword, "US", value)
    dataset.save_as(path)
    return path


def framed(pixels, value):
    """Return an image with a frame of padding, and where that is."""
    frame = np.ones(pixels.shape, bool)
    frame[6:-6, 6:-6] = False
    return np.where(frame, value, pixels).astype(pixels.dtype), frame


SIGNED = {"PixelRepresentation": 1}

PADDED = [
    pytest.param(smooth(), 0, "US", {"BitsStored": 12}, id="0"),
    pytest.param(smooth(), 4095, "US", {"BitsStored": 12}, id="largest value"),
    pytest.param(smooth(), 65535, "US", {"BitsStored": 12}, id="more than there are bits"),
    pytest.param(smooth(-2000, 2000, np.int16), -32768, "SS", {"BitsStored": 16}, id="signed"),
    pytest.param(smooth(-2000, 2000, np.int16), -32768, "SS", {"BitsStored": 12}, id="signed, more than there are bits"),
    pytest.param(smooth(-2000, 2000, np.int16), 32768, "US", {"BitsStored": 16}, id="signed, written as unsigned"),
    pytest.param(smooth(0, 1000), 2000, "US", {"BitsStored": 12, "RescaleSlope": -1, "RescaleIntercept": 0}, id="slope -1"),
]


@pytest.mark.parametrize(("pixels", "value", "vr", "elements"), PADDED)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_padding_is_black_and_counts_for_no_window(native, pixels, value, vr, elements, photometric, implicit):
    word = value - (1 << 16) if vr == "US" and value > 32767 and pixels.dtype.kind == "i" else value
    padded, frame = framed(pixels, word)
    path = native(padded, **elements, PhotometricInterpretation=photometric, **({"syntax": ImplicitVRLittleEndian} if implicit else {}))
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", vr, value)
    dataset.save_as(path, implicit_vr=implicit, little_endian=True)
    image = image_of(path)
    assert image.notes == ("robust window",)
    assert (image.pixels[frame] == 0).all()
    alone = image_of(native(pixels[6:-6, 6:-6], **elements, PhotometricInterpretation=photometric)).pixels
    np.testing.assert_array_equal(image.pixels[6:-6, 6:-6], alone)
    assert np.unique(alone).size > 150


@pytest.mark.parametrize("ends", [(0, 40), (40, 0)])
def test_a_range_of_padding(native, ends):
    padded, frame = framed(smooth(), 0)
    padded[:3] = 40
    padded[3:6] = 17
    path = native(padded, BitsStored=12, PhotometricInterpretation="MONOCHROME1")
    add(path, PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1])
    assert (image_of(path).pixels[frame] == 0).all()
    assert image_of(path).pixels[~frame].min() < 10
    assert image_of(path).pixels[~frame].max() == 255


def test_padding_is_black_under_a_window_of_the_file(native):
    padded, frame = framed(smooth(), 4000)
    image = image_of(add(native(padded, BitsStored=12, WindowCenter=1700, WindowWidth=3000), PixelPaddingValue=4000))
    assert (image.pixels[frame] == 0).all()
    assert image.notes == ()


def test_padding_that_leaves_no_image_is_ignored(native):
    path = add(native(smooth(), BitsStored=12), PixelPaddingValue=0, PixelPaddingRangeLimit=4095)
    image = image_of(path)
    assert image.notes == (stored.NO_PADDING, "robust window")
    assert np.unique(image.pixels).size > 150


@pytest.mark.parametrize(
    ("photometric", "value", "copied"), [("MONOCHROME2", 0, True), ("MONOCHROME2", 4000, True), ("MONOCHROME2", 200, False)]
)
def test_jpeg_streams_are_copied_where_padding_is_black_by_itself(change, photometric, value, copied):
    path = add(change(PhotometricInterpretation=photometric), PixelPaddingValue=value)
    assert dicom_images.encode_image(path).copied == copied


@pytest.mark.parametrize("value", [0, 255])
def test_padding_of_8_bits_where_0_is_white(native, value):
    pixels, frame = framed((smooth() >> 4).astype(np.uint8), value)
    shown = image_of(add(native(pixels, PhotometricInterpretation="MONOCHROME1"), PixelPaddingValue=value)).pixels
    assert (shown[frame] == 0).all()
    np.testing.assert_array_equal(shown[~frame], 255 - pixels[~frame])


WIDE = smooth(0, 4095)

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


@pytest.mark.parametrize("new", [{}, WINDOW], ids=["robust", "window"])
def test_values_above_bits_stored_do_not_wrap(native, new):
    expected = image_of(native(WIDE, BitsStored=12, **new))
    image = image_of(native(WIDE, BitsStored=10, **new))
    np.testing.assert_array_equal(image.pixels, expected.pixels)
    assert image.notes == (stored.MORE_BITS, *expected.notes)


def test_a_few_values_above_bits_stored_do_not_wrap(native):
    pixels = smooth(0, 1023)
    pixels[-1] = np.arange(1030, 1030 + WIDTH)
    image = image_of(native(pixels, BitsStored=10))
    assert image.notes == (stored.MORE_BITS, "robust window")
    assert image.pixels[-1].min() > 240


def test_signed_values_above_bits_stored_do_not_wrap(native):
    pixels = smooth(-2000, 2000, np.int16)
    image = image_of(native(pixels, BitsStored=10))
    np.testing.assert_array_equal(image.pixels, image_of(native(pixels, BitsStored=16)).pixels)
    assert image.notes == (stored.MORE_BITS, "robust window")


def test_signed_values_whose_sign_is_not_extended(native):
    pixels = smooth(-500, 500, np.int16)
    image = image_of(native(pixels & 0x3FF, BitsStored=10))
    np.testing.assert_array_equal(image.pixels, image_of(native(pixels, BitsStored=16)).pixels)
    assert image.notes == ("robust window",)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "not declared"])
def test_an_overlay_in_the_words_is_no_value(native, declared):
    overlay = np.zeros((HEIGHT, WIDTH), np.uint16)
    overlay[10:20, 20:30] = 1 << 10
    path = native(smooth(0, 1000) | overlay, BitsStored=10)
    if declared:
        dataset = pydicom.dcmread(path)
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", 10)
        dataset.save_as(path)
    image = image_of(path)
    np.testing.assert_array_equal(image.pixels, image_of(native(smooth(0, 1000), BitsStored=10)).pixels)
    assert image.notes == (() if declared else (stored.OTHER_BITS,)) + ("robust window",)


def test_values_above_bits_stored_and_below_an_overlay(native):
    overlay = np.zeros((HEIGHT, WIDTH), np.uint16)
    overlay[10:20, 20:30] = 1 << 15
    path = native(WIDE | overlay, BitsStored=10, **WINDOW)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x60000102, "US", 15)
    dataset.save_as(path)
    image = image_of(path)
    np.testing.assert_array_equal(image.pixels, image_of(native(WIDE, BitsStored=12, **WINDOW)).pixels)
    assert image.notes == (stored.MORE_BITS,)


def test_bits_that_are_the_same_everywhere_are_nothing(native):
    image = image_of(native(smooth(0, 1000) | np.uint16(0xA000), BitsStored=12))
    np.testing.assert_array_equal(image.pixels, image_of(native(smooth(0, 1000), BitsStored=12)).pixels)
    assert image.notes == ("robust window",)
