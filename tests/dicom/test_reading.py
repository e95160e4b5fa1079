"""DICOM files that are right, odd, and damaged."""

import io

import numpy as np
import pydicom
import pytest
from dicom_fixtures import HEIGHT, WIDTH, ramp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from pneumodet.core.errors import DataError
from pneumodet.data import dicom_images
from pneumodet.dicom import elements, reading


def decoded(image):
    return np.asarray(Image.open(io.BytesIO(image.data)))


@pytest.mark.parametrize("lost", [1, 2, 3, 200])
def test_stream_without_an_end_in_a_whole_file(jpeg_file, change, lost):
    path = change(PixelData=encapsulate([dicom_images.encode_image(jpeg_file).data[:-lost]]))
    for read in (dicom_images.encode_image, reading.read_pixels):
        with pytest.raises(DataError, match=r"exam\.dcm: the JPEG stream is damaged or cut off"):
            read(path)


def test_uncompressed_8_bit_is_kept_exactly(native):
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        path = native(ramp(), syntax=syntax)
        np.testing.assert_array_equal(reading.read_pixels(path), ramp())
        np.testing.assert_allclose(decoded(dicom_images.encode_image(path)), ramp(), atol=3)


def test_rle(native):
    path = native(ramp())
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(reading.read_pixels(path), ramp())


def sixteen():
    """Return (40, 56) uint16 from 1000 to 3000."""
    return np.uint16(np.linspace(1000, 3000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH))


@pytest.mark.parametrize(
    ("pixels", "new", "expected"),
    [
        pytest.param(sixteen(), {"BitsStored": 12}, lambda x: (x - 1010) / 1980 * 255, id="no window: by percentiles"),
        pytest.param(
            sixteen(),
            {"BitsStored": 12, "WindowCenter": 2000, "WindowWidth": 1001},
            lambda x: ((x - 1999.5) / 1000 + 0.5) * 255,
            id="window",
        ),
        pytest.param(
            sixteen(),
            {"BitsStored": 12, "WindowCenter": 0, "WindowWidth": 1001, "RescaleSlope": 2, "RescaleIntercept": -4000},
            lambda x: ((2 * x - 4000 + 0.5) / 1000 + 0.5) * 255,
            id="window of rescaled values",
        ),
        pytest.param(
            sixteen(),
            {"BitsStored": 12, "WindowCenter": -2000, "WindowWidth": 1001, "RescaleSlope": -1, "RescaleIntercept": 0},
            lambda x: ((-x + 2000.5) / 1000 + 0.5) * 255,
            id="negative slope",
        ),
        pytest.param(np.int16(sixteen()) - 2000, {}, lambda x: (x + 990) / 1980 * 255, id="signed"),
        pytest.param(
            np.int16(sixteen()) - 2000,
            {"WindowCenter": 0, "WindowWidth": 1001},
            lambda x: ((x + 0.5) / 1000 + 0.5) * 255,
            id="signed with window",
        ),
        pytest.param(
            sixteen(),
            {"BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1"},
            lambda x: 255 - np.clip((x - 1010) / 1980 * 255, 0, 255),
            id="MONOCHROME1",
        ),
        pytest.param(sixteen(), {"BitsStored": 12, "WindowCenter": 2000}, lambda x: (x - 1010) / 1980 * 255, id="center without width"),
        pytest.param(np.full((8, 8), 700, np.uint16), {}, lambda x: 0 * x, id="one value everywhere"),
    ],
)
def test_16_bit(native, pixels, new, expected):
    path = native(pixels, **new)
    result = reading.read_pixels(path)
    assert (result.dtype, result.shape) == (np.uint8, pixels.shape)
    np.testing.assert_allclose(result, np.clip(expected(pixels.astype(np.float64)), 0, 255), atol=1.01)
    assert np.abs(decoded(dicom_images.encode_image(path)).astype(int) - result).mean() < 1.5


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        pytest.param(WIDTH, HEIGHT, id="turned"),
        pytest.param(HEIGHT // 2, WIDTH, id="fewer rows"),
        pytest.param(HEIGHT // 2, WIDTH * 2, id="same number of pixels"),
        pytest.param(HEIGHT * 2, WIDTH, id="more rows"),
    ],
)
@pytest.mark.parametrize("read", [dicom_images.encode_image, reading.read_pixels])
def test_jpeg_that_disagrees_with_rows_and_columns(change, read, rows, columns):
    path = change(Rows=rows, Columns=columns)
    with pytest.raises(DataError, match=rf"exam\.dcm: .*JPEG stream has {WIDTH} x {HEIGHT} px, but the header says {columns} x {rows}"):
        read(path)


@pytest.mark.parametrize("rows", [0, 16_385, 65_535, None, [4, 5]])
@pytest.mark.parametrize("read", [dicom_images.encode_image, reading.read_pixels])
def test_impossible_rows(change, read, rows):
    with pytest.raises(DataError, match=r"exam\.dcm"):
        read(change(Rows=rows))


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param({"NumberOfFrames": "abc"}, id="NumberOfFrames"),
        pytest.param({"RescaleSlope": "abc"}, id="RescaleSlope"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_text_where_a_number_belongs(jpeg_file, texts):
    dataset = pydicom.dcmread(jpeg_file)
    for keyword, text in texts.items():
        tag = pydicom.datadict.tag_for_keyword(keyword)
        dataset[tag] = pydicom.dataelem.DataElement(tag, "LO", text)  # LO takes any text; implicit VR forgets it
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset["PixelData"].is_undefined_length = False
    dataset.PixelData = ramp().tobytes()
    dataset.save_as(jpeg_file, implicit_vr=True, little_endian=True)
    for read in (dicom_images.encode_image, reading.read_pixels):
        with pytest.raises(DataError, match=r"exam\.dcm"):
            read(jpeg_file)


def icons(*, encapsulated=False, delimited=True):
    """Return (elements that follow one another in files: an icon, a private thumbnail and one within another sequence)."""
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated = 2, 4, 8
    icon.add_new("PixelData", "OB", encapsulate([bytes(8)]) if encapsulated else bytes(range(8)))
    icon["PixelData"].is_undefined_length = encapsulated
    icon.add_new(0xFFFCFFFC, "OB", b"\1\2")  # DataSetTrailingPadding: more elements may follow pixel data
    outer = Dataset()
    outer.IconImageSequence, outer.PatientComments = [icon], "after"
    for item in (icon, outer):
        item.is_undefined_length_sequence_item = delimited
    outer["IconImageSequence"].is_undefined_length = delimited
    return {0x00291010: [icon], 0x00880200: [icon], 0x00081140: [outer]}


@pytest.mark.parametrize("encapsulated", [False, True], ids=["native", "encapsulated"])
@pytest.mark.parametrize("delimited", [False, True], ids=["with lengths", "with delimiters"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=["implicit", "explicit"])
def test_pixel_data_in_items_are_elements_like_any_other(native, syntax, delimited, encapsulated):
    path = native(ramp(), syntax=syntax)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00290010, "LO", "MADE UP")
    for tag, items in icons(encapsulated=encapsulated, delimited=delimited).items():
        dataset.add_new(tag, "SQ", items)
        dataset[tag].is_undefined_length = delimited
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    np.testing.assert_array_equal(reading.read_pixels(path), ramp())
    file = elements.read(path.read_bytes())
    (icon,) = file.items(0x00880200)
    assert icon.integer(0x00280010) == 2
    assert 0xFFFCFFFC in icon.places
    (outer,) = file.items(0x00081140)
    assert outer.ascii(0x00104000) == "after"


@pytest.mark.parametrize("kind", ["JPEG", "JPEG-LS", "JPEG 2000", "RLE"])
@pytest.mark.parametrize("left", ["meta", "nothing"])
def test_compressed_file_without_transfer_syntax(jpeg_file, native, kind, left):
    path = jpeg_file
    if kind != "JPEG":
        path = native(sixteen(), BitsStored=12)
        dataset = pydicom.dcmread(path)
        dataset.compress({"JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless, "RLE": RLELossless}[kind])
        dataset.save_as(path)
    expected, copied = reading.read_pixels(path), dicom_images.encode_image(path).copied
    data = path.read_bytes()
    if left == "nothing":
        path.write_bytes(data[data.index(b"\x08\x00\x16\x00") :])
    else:
        start = data.index(b"\x02\x00\x10\x00UI")
        path.write_bytes(data[:start] + data[start + 8 + data[start + 6] :])
    np.testing.assert_array_equal(reading.read_pixels(path), expected)
    assert dicom_images.encode_image(path).copied == copied


def test_unknown_stream_without_transfer_syntax(jpeg_file, change):
    path = change(PixelData=encapsulate([b"no stream at all"]))
    data = path.read_bytes()
    path.write_bytes(data[data.index(b"\x08\x00\x16\x00") :])
    with pytest.raises(DataError, match="does not say its transfer syntax, and its compressed pixel data are of no kind that is known"):
        reading.read_pixels(path)


def test_file_without_preamble(jpeg_file, native):
    expected = reading.read_pixels(jpeg_file)
    jpeg_file.write_bytes(jpeg_file.read_bytes()[132:])
    np.testing.assert_array_equal(reading.read_pixels(jpeg_file), expected)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian], ids=["implicit", "explicit"])
def test_file_without_preamble_and_meta_information(native, syntax):
    path = native(ramp(), syntax=syntax)
    data = path.read_bytes()
    path.write_bytes(data[data.index(b"\x08\x00\x16\x00") :])  # from SOPClassUID (0008,0016) on
    np.testing.assert_array_equal(reading.read_pixels(path), ramp())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is not a DICOM file|is empty", id="empty"),
        pytest.param(b"patientId,x,y\n" * 50, "is not a DICOM file|damaged", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(500), "is not a DICOM file|damaged", id="PNG"),
        pytest.param(bytes(5000), "is not a DICOM file|damaged", id="zeros"),
        pytest.param(bytes(128) + b"DICM", "is not a DICOM file", id="nothing after the prefix"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "other"
    path.write_bytes(content)
    for read in (dicom_images.encode_image, reading.read_pixels):
        with pytest.raises(DataError, match=message):
            read(path)


def test_no_pixel_data(jpeg_file):
    dataset = pydicom.dcmread(jpeg_file)
    del dataset.PixelData
    dataset.save_as(jpeg_file)
    with pytest.raises(DataError, match="has no pixel data"):
        dicom_images.encode_image(jpeg_file)
    assert reading.patient_id(jpeg_file) == "exam"


@pytest.mark.parametrize("name", ["none.dcm", "."])
def test_unreadable(tmp_path, name):
    for read in (dicom_images.encode_image, reading.read_pixels, reading.patient_id):
        with pytest.raises(DataError, match="cannot be read: (No such file|Is a directory)"):
            read(tmp_path / name)


def outcome(read, path):
    try:
        result = read(path)
    except DataError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        return None
    return result.tobytes() if isinstance(result, np.ndarray) else result.data


@pytest.mark.parametrize("kind", ["jpeg", "native", "implicit"])
def test_cut_off_files_are_refused_or_the_same(jpeg_file, native, kind):
    path = jpeg_file
    if kind != "jpeg":
        path = native(sixteen(), BitsStored=12, syntax=ExplicitVRLittleEndian if kind == "native" else ImplicitVRLittleEndian)
    data = path.read_bytes()
    whole = [outcome(read, path) for read in (dicom_images.encode_image, reading.read_pixels)]
    assert None not in whole
    sizes = {*np.random.default_rng(0).integers(0, len(data), 120).tolist(), *range(len(data) - 24, len(data)), 0, 128, 131, 132, 133}
    refused = 0
    for size in sorted(sizes):
        path.write_bytes(data[:size])
        for read, expected in zip((dicom_images.encode_image, reading.read_pixels), whole, strict=True):
            result = outcome(read, path)
            assert result in (None, expected), f"cut at {size} of {len(data)}"
            refused += result is None
    assert refused > 240


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4), st.booleans())
def test_changed_bytes_are_a_data_error_or_an_image(jpeg_file, changes, in_header):
    path = jpeg_file.with_name("changed.dcm")
    data = bytearray(jpeg_file.read_bytes())
    for place, junk in changes:
        start = int(place * (700 if in_header else len(data) - 6))
        data[start : start + len(junk)] = junk
    path.write_bytes(data)
    for read in (
        dicom_images.encode_image,
        reading.read_pixels,
        lambda path: np.frombuffer((reading.patient_id(path) or "").encode(), np.uint8),
    ):
        outcome(read, path)


def test_messages_do_not_hold_the_patients_name(change):
    path = change(PatientName="DOE^JANE", PatientID="MRN-4711")
    data = path.read_bytes()
    for size in range(400, len(data), 37):
        path.write_bytes(data[:size])
        with pytest.raises(DataError) as caught:
            dicom_images.encode_image(path)
        assert "DOE" not in str(caught.value)
        assert "4711" not in str(caught.value)
