"""Display values that files say and that are of no use, and those that are."""

import io

import numpy as np
import pydicom
import pytest
from dicom_fixtures import HEIGHT, WIDTH, image_of, smooth
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from pneumodet.data import dicom_images
from pneumodet.dicom import display, lut, reading


def voi_lut(entries, *, bits, first=0):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) & 0xFFFF, first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return item


def empty_item():
    item = Dataset()
    item.LUTExplanation = ""
    return item


def by_percentiles(values):
    low, high = np.percentile(values, [0.5, 99.5], method="inverted_cdf")
    return np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255


def linear(values, center, width):
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255


HALF = np.arange(4096) // 2  # 11 bits

USABLE = {"WindowCenter": 1700, "WindowWidth": 3000}

CASES = [
    pytest.param({"WindowCenter": 32768, "WindowWidth": 65535}, None, (display.DARK_WINDOW, display.ROBUST), id="window of 16 bits"),
    pytest.param({"WindowCenter": 1700, "WindowWidth": 2}, None, (display.DARK_WINDOW, display.ROBUST), id="window of two values"),
    pytest.param({"WindowCenter": -9000, "WindowWidth": 100}, None, (display.DARK_WINDOW, display.ROBUST), id="window far away"),
    pytest.param({"WindowCenter": 1700, "WindowWidth": 0}, None, (display.NO_WINDOW, display.ROBUST), id="width 0"),
    pytest.param({"WindowCenter": 1700}, None, (display.NO_WINDOW, display.ROBUST), id="no width"),
    pytest.param({"RescaleSlope": 0, "RescaleIntercept": 0, **USABLE}, None, (display.NO_RESCALE, display.ROBUST), id="slope 0"),
    pytest.param(
        {"RescaleSlope": 1e-6, "RescaleIntercept": 0, **USABLE}, None, (display.DARK_WINDOW, display.ROBUST), id="slope of nearly 0"
    ),
    pytest.param(
        {"WindowCenter": [1700, 1700], "WindowWidth": [0, 3000]},
        (1700, 3000),
        (display.NO_WINDOW, "window 2 of 2"),
        id="first window of width 0",
    ),
    pytest.param(
        {"WindowCenter": [32768, 9, 1700], "WindowWidth": [65535, 0, 3000]},
        (1700, 3000),
        (display.DARK_WINDOW, display.NO_WINDOW, "window 3 of 3"),
        id="third window",
    ),
    pytest.param({"VOILUTSequence": [empty_item()], **USABLE}, (1700, 3000), (display.NO_VOI_LUT,), id="empty VOI LUT item"),
    pytest.param({"VOILUTSequence": [empty_item()]}, None, (display.NO_VOI_LUT, display.ROBUST), id="empty VOI LUT item alone"),
    pytest.param(
        {"VOILUTSequence": [empty_item(), voi_lut(np.arange(4096), bits=12)]}, (2048, 4096), (display.NO_VOI_LUT,), id="second VOI LUT"
    ),
    pytest.param({"VOILUTSequence": [voi_lut(np.arange(4096), bits=16)]}, (2048, 4096), (display.RESCALED_LUT,), id="LUT says 16, has 12"),
    pytest.param({"VOILUTSequence": [voi_lut(np.arange(4096), bits=8)]}, (2048, 4096), (display.RESCALED_LUT,), id="LUT says 8, has 12"),
    pytest.param({"VOILUTSequence": [voi_lut(HALF, bits=12)]}, (4096, 8191), (), id="LUT of one bit less is meant"),
    pytest.param({"VOILUTSequence": [voi_lut(0 * HALF, bits=12)], **USABLE}, (1700, 3000), (display.DARK_VOI_LUT,), id="LUT of zeros"),
    pytest.param(
        {"ModalityLUTSequence": [empty_item()], **USABLE}, None, (display.NO_MODALITY_LUT, display.ROBUST), id="empty Modality LUT item"
    ),
    pytest.param(
        {"ModalityLUTSequence": [voi_lut(0 * HALF + 7, bits=16)]},
        None,
        (display.NO_MODALITY_LUT, display.ROBUST),
        id="Modality LUT of one value",
    ),
    pytest.param(USABLE, (1700, 3000), (), id="usable window"),
    pytest.param({"WindowCenter": 1700, "WindowWidth": 16000}, (1700, 16000), (), id="a dark window is one, too"),
]


@pytest.mark.parametrize(("elements", "window", "notes"), CASES)
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def test_hints_that_are_of_no_use_are_passed_over_and_noted(native, elements, window, notes, syntax):
    path = native(smooth(), BitsStored=12, **elements, **({"syntax": syntax} if syntax else {}))
    image = image_of(path)
    expected = by_percentiles(smooth()) if window is None else linear(smooth().astype(float), *window)
    np.testing.assert_allclose(image.pixels, expected, atol=1.01)
    assert image.notes == notes
    assert dicom_images.encode_image(path).notes == notes


@pytest.mark.parametrize(
    ("center", "width"), [("\\2048", "\\4096"), ("abc\\2048", "9\\4096"), ("nan\\2048", "9\\4096")], ids=["empty", "text", "NaN"]
)
def test_first_of_two_windows_that_is_no_number(native, center, width):
    path = native(smooth(), BitsStored=12, WindowCenter="11111111", WindowWidth="22222222")
    data = path.read_bytes()
    for text, dummy in ((center, b"11111111"), (width, b"22222222")):
        data = data.replace(dummy, text.encode().ljust(8))
    path.write_bytes(data)
    image = image_of(path)
    np.testing.assert_allclose(image.pixels, linear(smooth().astype(float), 2048, 4096), atol=1.01)
    assert image.notes == (display.NO_WINDOW, "window 2 of 2")


def test_few_values_have_few_grays(native):
    pixels = np.where(smooth() < 1000, 300, 900).astype(np.uint16)
    image = image_of(native(pixels, BitsStored=12, WindowCenter=2048, WindowWidth=4096))
    assert image.notes == ()
    assert np.unique(image.pixels).size == 2
    np.testing.assert_allclose(image.pixels, linear(pixels.astype(float), 2048, 4096), atol=1.01)


def test_a_mostly_empty_image_is_not_black(native):
    pixels = np.zeros((HEIGHT, WIDTH), np.uint16)
    pixels[:2, :3] = [[1000, 1200, 1400], [1600, 1800, 2000]]  # less than a share of 0.005
    image = image_of(native(pixels, BitsStored=12))
    assert image.pixels.max() == 255
    assert np.unique(image.pixels).size == 7


@pytest.mark.parametrize("center", [[128], [7, 128]])
def test_a_copied_jpeg_has_the_notes_of_what_is_passed_over(change, center):
    widths = [256] if len(center) == 1 else [0, 256]
    path = change(WindowCenter=center, WindowWidth=widths)
    image = dicom_images.encode_image(path)
    assert image.copied
    assert image.notes == (() if len(center) == 1 else (display.NO_WINDOW, "window 2 of 2"))
    assert image_of(path).notes == image.notes


def test_presentation_of_8_bits_with_a_useless_window_is_what_is_stored(native):
    pixels = (smooth() >> 4).astype(np.uint8)
    image = image_of(native(pixels, WindowCenter=32768, WindowWidth=65535))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.notes == (display.DARK_WINDOW,)


def test_limits_are_the_values_of_black_and_white(native):
    for elements, expected in ((USABLE, (200, 3199)), (USABLE | {"VOILUTFunction": "LINEAR_EXACT"}, (200, 3200)), ({}, None)):
        shown, _ = reading.shown_of(native(smooth(), BitsStored=12, **elements).read_bytes(), "a file")
        assert shown.how.low_high == (expected or lut.robust_limits(shown.how.values, lut.histogram(shown.stored)))


def test_the_control_is_written_as_it_is_meant(native):
    """What pydicom writes and reads of a VOI LUT, so that the cases above are of this code and not of the fixture."""
    path = native(smooth(), BitsStored=12, VOILUTSequence=[voi_lut(np.arange(4096), bits=16)])
    dataset = pydicom.dcmread(io.BytesIO(path.read_bytes()))
    assert dataset.VOILUTSequence[0].LUTDescriptor == [4096, 0, 16]
