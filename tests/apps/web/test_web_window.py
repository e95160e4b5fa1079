"""Windows on gray values, against pydicom's own LUTs."""

import io

import numpy as np
import pydicom
import pytest
import radiographs
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import RLELossless

from pneumodet.apps.web import window
from pneumodet.apps.web.uploads import File
from pneumodet.apps.web.window import Window
from pneumodet.data import images


def deep(low=200, high=3900, *, dtype=np.uint16):
    """(64, 64) values of 12 bits, or signed."""
    rng = np.random.default_rng(0)
    return rng.integers(low, high, (64, 64)).astype(dtype)


FILES = {
    "window": lambda: radiographs.dicom(deep(), bits=12, WindowCenter=2000, WindowWidth=1500),
    "no-window": lambda: radiographs.dicom(deep(), bits=12),
    "monochrome1": lambda: radiographs.dicom(deep(), bits=12, WindowCenter=2000, WindowWidth=1500, PhotometricInterpretation="MONOCHROME1"),
    "rescale": lambda: radiographs.dicom(
        deep(), bits=12, RescaleSlope=0.5, RescaleIntercept=-1000, WindowCenter=100, WindowWidth=700, RescaleType="US"
    ),
    "signed": lambda: radiographs.dicom(deep(-1500, 1800, dtype=np.int16), bits=12, WindowCenter=100, WindowWidth=1700),
    "exact": lambda: radiographs.dicom(deep(), bits=12, WindowCenter=2000, WindowWidth=1500, VOILUTFunction="LINEAR_EXACT"),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_the_default_is_what_the_detector_sees(make):
    file = make()
    radiograph = window.read(file)
    assert radiograph.is_real
    np.testing.assert_array_equal(radiograph.windowed(None), images.read_pixels(file))
    assert radiograph.windowed(radiograph.default) is radiograph.shown
    nearly = Window(radiograph.default.center, radiograph.default.width * (1 + 1e-9))
    np.testing.assert_allclose(radiograph.windowed(nearly).astype(int), radiograph.shown.astype(int), atol=1)


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_a_window_on_real_values_is_pydicoms(make):
    file = make()
    radiograph = window.read(file)
    dataset = pydicom.dcmread(io.BytesIO(file.data))
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = 300, 900, "LINEAR_EXACT"
    values = apply_modality_lut(dataset.pixel_array, dataset).astype(np.float64)
    assert (radiograph.lowest, radiograph.highest) == (values.min(), values.max())
    expected = np.clip((values - 300) / 900 + 0.5, 0, 1) * 255
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        expected = 255 - expected
    np.testing.assert_allclose(radiograph.windowed(Window(300, 900)), expected, atol=1)
    if "RescaleSlope" not in dataset and dataset.PixelRepresentation == 0:  # else pydicom's range of the result is another one
        scaled = apply_windowing(values, dataset) / 4095 * 255
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            scaled = 255 - scaled
        np.testing.assert_allclose(radiograph.windowed(Window(300, 900)), scaled, atol=1)


def test_eight_bits_and_pictures_have_the_values_that_are_shown():
    for file in (radiographs.dicom(radiographs.square()), radiographs.png(radiographs.square())):
        radiograph = window.read(file)
        assert not radiograph.is_real
        assert (radiograph.lowest, radiograph.highest) == (0, 255)
        np.testing.assert_array_equal(radiograph.windowed(None), radiographs.square())
        table = radiograph.windowed(Window(30, 20))
        assert table[0, 0] == 0
        assert table[0, -1] == 255


@pytest.mark.parametrize("elements", [{"WindowWidth": 0, "WindowCenter": 100}, {"RescaleSlope": 0}], ids=["window-0", "slope-0"])
def test_odd_headers_are_shown_all_the_same(elements):
    file = radiographs.dicom(deep(), bits=12, **elements)
    radiograph = window.read(file)
    np.testing.assert_array_equal(radiograph.shown, images.read_pixels(file))
    assert radiograph.highest > radiograph.lowest
    assert radiograph.default.width > 0


def test_compressed_16_bit_files_have_real_values():
    pixels = deep()
    dataset = pydicom.dcmread(io.BytesIO(radiographs.dicom(pixels, bits=12).data))
    dataset.compress(RLELossless)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    radiograph = window.read(File("a.dcm", buffer.getvalue()))
    assert radiograph.is_real
    np.testing.assert_array_equal(radiograph.stored, pixels)


@pytest.mark.real_data
def test_real_files_are_shown_as_they_are_detected_on(shared_data):
    paths = sorted(path for name in ("rsna_original", "edge_cases") for path in (shared_data / name).rglob("*.dcm"))
    assert len(paths) >= 5
    for path in paths:
        radiograph = window.read(File(path.name, path.read_bytes()))
        np.testing.assert_array_equal(radiograph.shown, images.read_pixels(path))
        assert radiograph.highest > radiograph.lowest
        assert radiograph.windowed(Window(radiograph.default.center, radiograph.default.width / 2)).std() > 0


def test_padding_is_black_in_every_window():
    pixels = deep(-1500, 1800, dtype=np.int16)
    pixels[:20] = -32768
    radiograph = window.read(radiographs.dicom(pixels, bits=16, PixelPaddingValue=-32768, PhotometricInterpretation="MONOCHROME1"))
    assert radiograph.is_real
    assert -1500 <= radiograph.lowest < radiograph.highest <= 1800
    for chosen in (None, Window(0, 100), Window(-32000, 10)):
        assert (radiograph.windowed(chosen)[:20] == 0).all()
    assert radiograph.notes == ("robust window",)
