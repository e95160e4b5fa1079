"""Every transfer syntax, bit depth and lookup table, against DCMTK, which shares no code with what is tested."""

import io
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from pneumodet.core import image_limits
from pneumodet.core.errors import DataError
from pneumodet.data import images, synthetic
from pneumodet.dicom import reading
from pneumodet.dicom.decoding import JPEG_BASELINE

HEIGHT, WIDTH = 36, 50


def tool(name):
    """Return a DCMTK program's path, or skip."""
    return shutil.which(name) or pytest.skip(f"DCMTK's {name} is not installed")


def run(name, *args):
    done = subprocess.run([tool(name), *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def ramp(bits, *, signed=False):
    """Return (36, 50) of all values that so many bits can have, evenly spaced, with steep edges."""
    values = np.linspace(0, (1 << bits) - 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    values[::5, ::7] = values[::-5, ::-7]
    values = np.rint(values).astype(np.int64) - ((1 << bits - 1) if signed else 0)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes an uncompressed explicit VR file of the given pixels and elements, and returns its path."""

    def apply(pixels, *, bits=None, name="native.dcm", **new):
        path = tmp_path / name
        synthetic.write_dicom(path, np.zeros((8, 8), np.uint8), patient_id="exam", rng=np.random.default_rng(0))
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.Rows, dataset.Columns = pixels.shape[:2]
        dataset.BitsAllocated, dataset.BitsStored = 8 * pixels.itemsize, bits or 8 * pixels.itemsize
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
        del dataset.LossyImageCompression, dataset.LossyImageCompressionMethod
        if pixels.ndim == 3:
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        data = pixels.tobytes()
        dataset["PixelData"].is_undefined_length = False
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
        for keyword, value in new.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
        return path

    return apply


def lut_item(values, *, first, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(values) if first >= 0 or len(values) < 1 << 15 else 0, first, bits])
    item.add_new("LUTData", "OW", np.asarray(values, np.uint16).tobytes())
    return item


WINDOW = {"WindowCenter": 1900, "WindowWidth": 3001}

COMPRESSIONS = [
    pytest.param("dcmcrle", (), 12, 0, id="RLE"),
    pytest.param("dcmcjpeg", ("+e1",), 12, 0, id="JPEG Lossless SV1, 12 bit"),
    pytest.param("dcmcjpeg", ("+e1",), 16, 0, id="JPEG Lossless SV1, 16 bit"),
    pytest.param("dcmcjpeg", ("+e1",), 10, 0, id="JPEG Lossless SV1, 10 bit"),
    pytest.param("dcmcjpeg", ("+el", "+sv", "6"), 12, 0, id="JPEG Lossless, predictor 6"),
    pytest.param("dcmcjpls", ("+el",), 12, 0, id="JPEG-LS lossless"),
    pytest.param("dcmcjpls", ("+en", "+md", "2"), 12, 1, id="JPEG-LS near lossless"),
    pytest.param("dcmconv", ("+ti",), 12, 0, id="implicit VR"),
    pytest.param("dcmconv", ("+tb",), 12, 0, id="big endian"),
    pytest.param("dcmconv", ("+td",), 12, 0, id="deflated"),
    pytest.param("dcmconv", ("+te", "-F"), 12, 0, id="without meta information"),
    pytest.param("dcmconv", ("+te", "-e"), 12, 0, id="sequences of undefined length"),
]


@pytest.mark.parametrize(("program", "options", "bits", "tolerance"), COMPRESSIONS)
def test_syntaxes_that_dcmtk_writes(write, tmp_path, program, options, bits, tolerance):
    pixels = ramp(bits)
    voi = Sequence([lut_item(np.arange(1 << min(bits, 12)) % 4096, first=0, bits=12)])
    for name, new in (("window", WINDOW), ("lut", {"VOILUTSequence": voi})):
        plain = write(pixels, bits=bits, name=f"{name}.dcm", **new)
        coded = tmp_path / f"{name}_coded.dcm"
        run(program, *options, plain, coded)
        expected = reading.read_pixels(plain)
        assert len(np.unique(expected)) > 40
        np.testing.assert_allclose(reading.read_pixels(coded).astype(int), expected, atol=tolerance)
        assert reading.patient_id(coded) == "exam"


@pytest.mark.parametrize("program", ["dcmcrle", "dcmcjpeg", "dcmcjpls"])
def test_8_bit_syntaxes_keep_every_value(write, tmp_path, program):
    plain, coded = write(ramp(8)), tmp_path / "coded.dcm"
    run(program, plain, coded)
    np.testing.assert_array_equal(reading.read_pixels(coded), ramp(8))
    run("dcmconv", "+tb", plain, coded)
    np.testing.assert_array_equal(reading.read_pixels(coded), ramp(8))


@pytest.mark.parametrize("program", ["dcmcrle", "dcmcjpeg", "dcmcjpls"])
def test_signed_values(write, tmp_path, program):
    plain, coded = write(ramp(12, signed=True), bits=12, WindowCenter=0, WindowWidth=4096), tmp_path / "coded.dcm"
    run(program, plain, coded)
    expected = reading.read_pixels(plain)
    assert (expected.min(), expected.max()) == (0, 255)
    np.testing.assert_array_equal(reading.read_pixels(coded), expected)


@pytest.mark.parametrize("absent", ["PhotometricInterpretation", "HighBit", "PixelRepresentation", "BitsStored", "SamplesPerPixel"])
def test_elements_that_are_forgotten(write, absent):
    path = write(ramp(8))
    dataset = pydicom.dcmread(path)
    delattr(dataset, absent)
    dataset.save_as(path)
    np.testing.assert_array_equal(reading.read_pixels(path), ramp(8))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_jpeg_2000_and_rle_that_pydicom_writes(write, bits, signed):
    path = write(ramp(bits, signed=signed), bits=bits, WindowCenter=0 if signed else 1 << bits - 1, WindowWidth=1 << bits)
    expected = reading.read_pixels(path)
    for syntax in (JPEG2000Lossless, RLELossless):
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax)
        coded = path.with_name("coded.dcm")
        dataset.save_as(coded)
        np.testing.assert_array_equal(reading.read_pixels(coded), expected)


def test_12_bit_jpeg_extended_says_what_to_do(write, tmp_path):
    coded = tmp_path / "coded.dcm"
    run("dcmcjpeg", "+ee", write(ramp(12), bits=12, **WINDOW), coded)
    with pytest.raises(
        DataError, match=r"coded\.dcm: it is JPEG Extended of 12 bits, which no decoder here reads\. Convert it, .*dcmdjpeg"
    ):
        reading.read_pixels(coded)


def test_8_bit_jpeg_extended_is_decoded_and_baseline_copied(write, tmp_path):
    plain, coded, baseline = write(ramp(8)), tmp_path / "extended.dcm", tmp_path / "baseline.dcm"
    run("dcmcjpeg", "+eb", "+q", "95", plain, baseline)
    assert images.encode(baseline).copied
    dataset = pydicom.dcmread(baseline)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.51"
    dataset.save_as(coded)
    assert not images.encode(coded).copied
    np.testing.assert_array_equal(reading.read_pixels(coded), reading.read_pixels(baseline))
    decoded = tmp_path / "decoded.dcm"
    run("dcmdjpeg", baseline, decoded)
    np.testing.assert_allclose(reading.read_pixels(baseline).astype(int), pydicom.dcmread(decoded).pixel_array, atol=1)


@pytest.mark.parametrize(
    ("bits", "signed", "new"),
    [
        pytest.param(12, False, WINDOW, id="12 bit"),
        pytest.param(10, False, {"WindowCenter": 500, "WindowWidth": 800}, id="10 bit"),
        pytest.param(16, False, {"WindowCenter": 30000, "WindowWidth": 50000}, id="16 bit"),
        pytest.param(12, True, {"WindowCenter": 0, "WindowWidth": 3000}, id="12 bit signed"),
        pytest.param(8, False, {"WindowCenter": 100, "WindowWidth": 120}, id="8 bit"),
        pytest.param(12, False, WINDOW | {"PhotometricInterpretation": "MONOCHROME1"}, id="MONOCHROME1"),
        pytest.param(12, False, {"WindowCenter": 0, "WindowWidth": 3000, "RescaleSlope": 1.5, "RescaleIntercept": -3000}, id="rescale"),
        pytest.param(12, False, WINDOW | {"VOILUTFunction": "SIGMOID"}, id="sigmoid"),
        pytest.param(12, False, {"VOILUTSequence": Sequence([lut_item(np.arange(3000) // 3, first=500, bits=10)])}, id="VOI LUT"),
        pytest.param(
            12,
            False,
            {
                "ModalityLUTSequence": Sequence([lut_item(np.arange(4096)[::-1] // 2, first=0, bits=16)]),
                "WindowCenter": 900,
                "WindowWidth": 1500,
            },
            id="Modality LUT",
        ),
    ],
)
def test_gray_values_are_those_of_dcm2pnm(write, tmp_path, bits, signed, new):
    if "ModalityLUTSequence" in new:
        new["ModalityLUTSequence"][0].ModalityLUTType = "US"
    path = write(ramp(bits, signed=signed), bits=bits, **new)
    picture = tmp_path / "shown.pgm"
    run("dcm2pnm", "+Wl" if "VOILUTSequence" in new else "+Wi", "1", "+opb", path, picture)
    shown = np.asarray(Image.open(picture)).astype(int)
    assert shown.max() - shown.min() > 150
    np.testing.assert_allclose(reading.read_pixels(path), shown, atol=1)


def test_luts_are_those_of_pydicom(write):
    rng = np.random.default_rng(0)
    for signed in (False, True):
        modality = lut_item(rng.integers(0, 5000, 3000), first=-1500 if signed else 300, bits=16)
        modality.ModalityLUTType = "US"
        voi = lut_item(rng.integers(0, 1024, 4000), first=500, bits=10)
        path = write(ramp(12, signed=signed), bits=12, ModalityLUTSequence=Sequence([modality]), VOILUTSequence=Sequence([voi]))
        dataset = pydicom.dcmread(path)
        expected = apply_voi(apply_modality_lut(dataset.pixel_array, dataset), dataset) / 1023 * 255
        np.testing.assert_array_equal(reading.read_pixels(path), np.rint(expected))


def test_unused_bits_are_not_looked_at(write):
    pixels = ramp(12)
    expected = reading.read_pixels(write(pixels, bits=12, **WINDOW))
    np.testing.assert_array_equal(reading.read_pixels(write(pixels | np.uint16(0xA000), bits=12, **WINDOW)), expected)
    np.testing.assert_array_equal(reading.read_pixels(write(pixels << 4 | 5, bits=12, HighBit=15, **WINDOW)), expected)


def test_colour_becomes_luminance(write):
    rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(rgb).convert("L")).astype(int)
    path = write(rgb)
    np.testing.assert_allclose(reading.read_pixels(path), expected, atol=1)
    assert images.encode(path).notes == ("colour to luminance",)
    path = write(rgb, PlanarConfiguration=1, PixelData=np.moveaxis(rgb, 2, 0).tobytes())
    np.testing.assert_allclose(reading.read_pixels(path), expected, atol=1)
    ybr = np.array(Image.fromarray(rgb).convert("YCbCr"))
    np.testing.assert_array_equal(reading.read_pixels(write(ybr, PhotometricInterpretation="YBR_FULL")), ybr[..., 0])
    stream = io.BytesIO()
    smooth = Image.fromarray(rgb[:4, :4]).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)  # no colour that JPEG's YCbCr cannot hold
    smooth.save(stream, "JPEG", quality=95)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID, dataset.PhotometricInterpretation = JPEG_BASELINE, "YBR_FULL_422"
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    np.testing.assert_allclose(reading.read_pixels(path), np.asarray(smooth.convert("L")).astype(int), atol=8)


def test_palette_becomes_luminance(write):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 65536, (3, 256)).astype(np.uint16)
    names = ("Red", "Green", "Blue")
    path = write(ramp(8), PhotometricInterpretation="PALETTE COLOR")
    dataset = pydicom.dcmread(path)
    for name, table in zip(names, colours, strict=True):
        dataset.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        dataset.add_new(f"{name}PaletteColorLookupTableData", "OW", table.tobytes())
    dataset.save_as(path)
    expected = (np.array([0.299, 0.587, 0.114]) @ colours[:, ramp(8)].reshape(3, -1)).reshape(HEIGHT, WIDTH) / 65535 * 255
    np.testing.assert_allclose(reading.read_pixels(path), expected, atol=0.51)


@pytest.mark.parametrize(
    ("new", "notes"),
    [
        pytest.param({}, ("robust window",), id="no window"),
        pytest.param({"WindowCenter": [1900, 5], "WindowWidth": [3001, 6]}, ("first of 2 windows",), id="two windows"),
        pytest.param({"WindowCenter": 1900, "WindowWidth": 0}, ("unusable window ignored", "robust window"), id="window without width"),
        pytest.param(WINDOW | {"PixelSpacing": [0, 0]}, ("unusable pixel spacing ignored",), id="spacing of nothing"),
    ],
)
def test_notes(write, new, notes):
    assert images.encode(write(ramp(12), bits=12, **new)).notes == notes


def test_first_of_several_frames(write):
    one = ramp(12)
    path = write(one, bits=12, NumberOfFrames=3, PixelData=np.stack([one, 0 * one, one]).tobytes(), **WINDOW)
    image = images.encode(path)
    assert image.notes == ("first of 3 frames",)
    np.testing.assert_array_equal(reading.read_pixels(path), reading.read_pixels(write(one, bits=12, name="one.dcm", **WINDOW)))


@pytest.mark.parametrize(
    ("new", "height", "width"),
    [
        pytest.param({"PixelSpacing": [0.2, 0.1]}, 2 * HEIGHT, WIDTH, id="high pixels"),
        pytest.param({"PixelSpacing": None, "ImagerPixelSpacing": [0.1, 0.15]}, HEIGHT, WIDTH * 3 // 2, id="wide pixels"),
        pytest.param({"PixelSpacing": None, "PixelAspectRatio": [2, 1]}, 2 * HEIGHT, WIDTH, id="PixelAspectRatio"),
        pytest.param({"PixelSpacing": [0.1001, 0.1]}, HEIGHT, WIDTH, id="square within rounding"),
    ],
)
def test_pixels_become_square(write, new, height, width):
    path = write(ramp(8), **new)
    image = images.encode(path)
    assert (image.height, image.width, image.scale_xy) == (height, width, (width / WIDTH, height / HEIGHT))
    assert images.read_pixels(path).shape == (HEIGHT, WIDTH)
    assert ("pixels made square" in image.notes) == ((height, width) != (HEIGHT, WIDTH))


@pytest.mark.parametrize(
    "new",
    [
        pytest.param({"Rows": 16_385}, id="rows"),
        pytest.param({"Rows": 16_000, "Columns": 16_000}, id="pixels"),
        pytest.param({"Rows": 9_000, "Columns": 8_000}, id="more than the file has"),
        pytest.param({"BitsAllocated": 32}, id="32 bits"),
        pytest.param({"BitsStored": 13, "BitsAllocated": 8}, id="more bits used than there are"),
        pytest.param({"SamplesPerPixel": 4}, id="samples"),
    ],
)
def test_impossible_layouts(write, new):
    with pytest.raises(DataError, match=r"native\.dcm"):
        images.encode(write(ramp(8), **new))


def test_deflated_bomb(write, tmp_path, monkeypatch):
    coded = tmp_path / "coded.dcm"
    run("dcmconv", "+td", write(np.zeros((2000, 2000), np.uint8)), coded)
    assert coded.stat().st_size < 10_000
    monkeypatch.setattr("pneumodet.dicom.elements.MAX_INFLATED_BYTES", 1 << 20)
    with pytest.raises(DataError, match="its deflated part has more than 1 MB"):
        images.encode(coded)


def test_jpeg_2000_that_declares_another_size(write):
    dataset = pydicom.dcmread(write(ramp(8)))
    dataset.compress(JPEG2000Lossless)
    data = dataset.PixelData
    at = data.index(b"\xff\x4f\xff\x51") + 8
    dataset.PixelData = data[:at] + (50_000).to_bytes(4, "big") * 2 + data[at + 8 :]
    path = write(ramp(8)).with_name("bomb.dcm")
    dataset.save_as(path)
    with pytest.raises(DataError, match="the JPEG 2000 stream has 50000 x 50000 px, but the header says 50 x 36"):
        images.encode(path)


def test_limits_are_below_those_of_pillow():
    assert Image.MAX_IMAGE_PIXELS > image_limits.MAX_PIXELS
