"""DICOM files -> images for records: the file's own JPEG stream where that is right, else a new one."""

import io

import numpy as np
import pydicom
import pytest
from dicom_fixtures import HEIGHT, WIDTH
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames

from pneumodet.core.errors import DataError
from pneumodet.data import dicom_images
from pneumodet.dicom import reading


def decoded(image):
    return np.asarray(Image.open(io.BytesIO(image.data)))


def frame(path):
    return next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


def test_rsna_like_file_is_copied_bit_for_bit(jpeg_file):
    image = dicom_images.encode_image(jpeg_file)
    assert (image.copied, image.image_format, image.height, image.width) == (True, "jpeg", HEIGHT, WIDTH)
    assert frame(jpeg_file) in (image.data, image.data + b"\0")  # an item has an even length
    assert image.data.endswith(b"\xff\xd9")
    np.testing.assert_array_equal(reading.read_pixels(jpeg_file), pydicom.dcmread(jpeg_file).pixel_array)
    np.testing.assert_array_equal(reading.read_pixels(jpeg_file), decoded(image))
    assert reading.patient_id(jpeg_file) == "exam"


def test_stream_in_several_fragments_is_copied_whole(jpeg_file, change):
    stream = dicom_images.encode_image(jpeg_file).data
    padded = stream + b"\0" * (-len(stream) % 4)
    change(PixelData=encapsulate([padded], fragments_per_frame=2, has_bot=False))
    assert dicom_images.encode_image(jpeg_file).data == stream


@pytest.mark.parametrize("extra", [0, 1, 2, 3])
def test_padding_is_not_copied(jpeg_file, change, extra):
    stream = dicom_images.encode_image(jpeg_file).data
    stream = stream[:2] + b"\xff" * extra + stream[2:]  # fill bytes, so that the stream's length is even and odd (T.81 B.1.1.2)
    image = dicom_images.encode_image(change(PixelData=encapsulate([stream + b"\0" * extra])))
    assert image.copied
    assert image.data == stream.replace(b"\xff\xff", b"\xff").replace(b"\xff\xff", b"\xff")


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param(b"\xff\xfe\x00\x0aDOE^JANE", id="comment"),
        pytest.param(b"\xff\xe1\x00\x10Exif\0\0DOE^JANE", id="Exif"),
        pytest.param(b"\xff\xe0\x00\x0fJFXX\0DOE^JANE", id="JFXX thumbnail"),
        pytest.param(b"\xff\xee\x00\x16Adobe" + bytes(7) + b"DOE^JANE", id="long Adobe segment"),
    ],
)
def test_text_in_the_stream_is_not_copied(jpeg_file, change, segment):
    stream = dicom_images.encode_image(jpeg_file).data
    image = dicom_images.encode_image(change(PixelData=encapsulate([stream[:2] + segment + stream[2:]])))
    assert image.copied
    assert image.notes == ("JPEG comments left out",)
    assert image.data == stream


def test_stream_of_two_images_is_not_copied(jpeg_file, change):
    stream = dicom_images.encode_image(jpeg_file).data
    image = dicom_images.encode_image(change(PixelData=encapsulate([stream + stream])))
    assert not image.copied
    np.testing.assert_allclose(decoded(image), reading.read_pixels(jpeg_file), atol=3)


def test_stream_without_tables_is_not_copied(jpeg_file, change):
    stream = dicom_images.encode_image(jpeg_file).data
    start = stream.index(b"\xff\xc4")
    length = int.from_bytes(stream[start + 2 : start + 4], "big")
    without = stream[:start] + stream[start + 2 + length :]
    while (start := without.find(b"\xff\xc4")) >= 0:
        without = without[:start] + without[start + 2 + int.from_bytes(without[start + 2 : start + 4], "big") :]
    path = change(PixelData=encapsulate([without]))
    try:
        assert dicom_images.encode_image(path).data != without
    except DataError as error:
        assert str(path) in str(error)


def test_of_several_frames_the_first_is_taken(jpeg_file, change):
    one = dicom_images.encode_image(jpeg_file).data
    expected = reading.read_pixels(jpeg_file)
    buffer = io.BytesIO()
    Image.new("L", (WIDTH, HEIGHT)).save(buffer, "JPEG")
    path = change(PixelData=encapsulate([one, buffer.getvalue()]), NumberOfFrames=2)
    assert not dicom_images.encode_image(path).copied
    np.testing.assert_array_equal(reading.read_pixels(path), expected)


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
@pytest.mark.parametrize(
    "elements",
    [
        pytest.param({"WindowCenter": 128, "WindowWidth": 256}, id="window of all gray values"),
        pytest.param({"WindowCenter": [128, 40], "WindowWidth": [256, 80]}, id="two windows"),
        pytest.param({"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}, id="rescale that changes nothing"),
        pytest.param({"PresentationLUTShape": "IDENTITY"}, id="IDENTITY"),
        pytest.param({"WindowCenter": None, "WindowWidth": None}, id="empty window"),
        pytest.param({"NumberOfFrames": 1}, id="one frame"),
        pytest.param({"PatientAge": "51", "PatientOrientation": None}, id="real-world errors that do not matter"),
    ],
)
def test_values_that_stay_let_the_stream_be_copied(change, elements):
    path = change(**elements)
    assert dicom_images.encode_image(path).copied
    np.testing.assert_array_equal(reading.read_pixels(path), pydicom.dcmread(path).pixel_array)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        pytest.param({"PhotometricInterpretation": "MONOCHROME1"}, lambda x: 255 - x, id="MONOCHROME1"),
        pytest.param({"PresentationLUTShape": "INVERSE"}, lambda x: 255 - x, id="PresentationLUTShape INVERSE"),
        pytest.param({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, lambda x: 255 - x, id="both, once"),
        # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255, clipped
        pytest.param({"WindowCenter": 100, "WindowWidth": 51}, lambda x: ((x - 99.5) / 50 + 0.5) * 255, id="window"),
        pytest.param(
            {"WindowCenter": [100, 1], "WindowWidth": [51, 2]}, lambda x: ((x - 99.5) / 50 + 0.5) * 255, id="first of two windows"
        ),
        pytest.param(
            {"WindowCenter": 128, "WindowWidth": 256, "VOILUTFunction": "SIGMOID"},
            lambda x: 255 / (1 + np.exp(-4 * (x - 128) / 256)),
            id="sigmoid",
        ),
        pytest.param(
            {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 100, "WindowWidth": 51},
            lambda x: 255 - np.clip(((x - 99.5) / 50 + 0.5) * 255, 0, 255),
            id="window and MONOCHROME1",
        ),
    ],
)
def test_values_that_change_are_decoded(change, elements, expected):
    path = change(**elements)
    image = dicom_images.encode_image(path)
    assert (image.copied, image.image_format) == (False, "jpeg")
    stored = pydicom.dcmread(path).pixel_array.astype(np.float64)
    np.testing.assert_allclose(reading.read_pixels(path), np.clip(expected(stored), 0, 255), atol=1.01)
    assert np.abs(decoded(image) - np.clip(expected(stored), 0, 255)).mean() < 1.5


@pytest.mark.real_data
def test_original_rsna_files_are_copied(shared_data):
    paths = sorted((shared_data / "rsna_original").rglob("*.dcm"))
    assert len(paths) == 3
    for path in paths:
        image = dicom_images.encode_image(path)
        assert (image.copied, image.height, image.width) == (True, 1024, 1024)
        assert frame(path) in (image.data, image.data + b"\0")
        np.testing.assert_array_equal(reading.read_pixels(path), pydicom.dcmread(path).pixel_array)
        assert reading.patient_id(path) == path.stem


@pytest.mark.real_data
def test_monochrome1_is_inverted(shared_data):
    one, two = (shared_data / "edge_cases" / f"monochrome{number}_jpeg_baseline.dcm" for number in (1, 2))
    stored = pydicom.dcmread(one).pixel_array
    image = dicom_images.encode_image(one)
    assert not image.copied
    assert np.abs(decoded(image) - (255.0 - stored)).mean() < 0.5
    np.testing.assert_array_equal(reading.read_pixels(one), 255 - reading.read_pixels(two))  # both store the same values
    assert dicom_images.encode_image(two).copied


@pytest.mark.real_data
def test_implicit_vr_uncompressed(shared_data):
    path = shared_data / "edge_cases" / "implicit_vr_uncompressed.dcm"
    image = dicom_images.encode_image(path)
    assert (image.copied, image.image_format) == (False, "jpeg")
    np.testing.assert_array_equal(reading.read_pixels(path), pydicom.dcmread(path).pixel_array)
