"""Secondary captures, read by pydicom alone."""

import io

import numpy as np
import pytest
from dicom_headers import made_up, pixels_of, read_back
from pydicom.uid import JPEGBaseline8Bit

from pneumodet.core.errors import DataError
from pneumodet.viz import pictures

KIND = "secondary_capture"


@pytest.fixture
def capture(make, radiograph, two, tmp_path):
    return read_back(make(KIND, radiograph, two), tmp_path / "sc.dcm")


def test_it_is_a_derived_image_of_the_study(capture, radiograph):
    assert capture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert (capture.Modality, capture.SeriesNumber, capture.ConversionType) == ("OT", 9003, "WSD")
    assert (list(capture.ImageType), capture.BurnedInAnnotation) == (["DERIVED", "SECONDARY"], "YES")
    assert capture.StudyInstanceUID == radiograph.StudyInstanceUID
    (reference,) = capture.SourceImageSequence
    assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (radiograph.SOPClassUID, radiograph.SOPInstanceUID)
    assert "2 opacities with a score of 0.35 or more" in capture.DerivationDescription
    assert "not for diagnosis" in capture.DerivationDescription


def test_boxes_are_drawn_over_the_radiograph_which_stays_as_it_is(capture, radiograph):
    image, pixels = capture.pixel_array, pixels_of(radiograph)
    assert image.shape == (*pixels.shape, 3)
    orange = (image == pictures.DETECTION_RGB).all(axis=2)
    for x, y in ((60, 140), (30, 180), (110, 50), (140, 90)):
        assert orange[y - 1 : y + 2, x - 1 : x + 2].any(), f"no line at {x}, {y}"
    gray = np.repeat(pixels[..., None], 3, 2)
    inside = np.s_[110:170, 10:50]
    np.testing.assert_array_equal(image[inside], gray[inside])
    assert (image == gray).all(axis=2).mean() > 0.7


def test_the_words_are_burned_in(make, radiograph, none):
    """Where nothing is found, the only difference is the legend; without the words it would be another one."""
    image = make(KIND, radiograph, none).pixel_array
    legend = pictures.draw_boxes(pixels_of(radiograph), detections=_nothing(), title="For research, not for diagnosis")
    np.testing.assert_array_equal(image, np.asarray(legend))
    assert (image != pixels_of(radiograph)[..., None]).any()


def _nothing():
    from pneumodet.core.detections import Detections

    return Detections.none()


@pytest.mark.parametrize(
    ("elements", "ratio"),
    [({}, None), ({"PixelSpacing": [0.1, 0.1]}, None), ({"PixelSpacing": [0.2, 0.1]}, [2, 1])],
    ids=["none", "square", "tall"],
)
def test_pixels_that_are_not_square_stay_so(make, none, elements, ratio):
    made = make(KIND, made_up(**elements), none)
    assert made.get("PixelAspectRatio") == ratio
    assert "PixelSpacing" not in made, "lengths are measured on the radiograph"


@pytest.mark.parametrize(
    ("value", "expected"), [(["L", "F"], ["L", "F"]), (["PR", "FL"], ["PR", "FL"]), ("", None), (["L"], None), (["X", "F"], None)]
)
def test_orientation_is_the_radiograph_s_where_it_has_one(make, none, value, expected):
    assert (make(KIND, made_up(PatientOrientation=value), none).PatientOrientation or None) == expected


def test_loss_is_remembered(make, none):
    header = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5", "LossyImageCompressionMethod": "ISO_10918_1"}
    made = make(KIND, made_up(**header), none)
    assert (made.LossyImageCompression, made.LossyImageCompressionRatio, made.LossyImageCompressionMethod) == ("01", 12.5, "ISO_10918_1")
    assert "LossyImageCompression" not in make(KIND, made_up(LossyImageCompression="00"), none)
    silent = made_up()
    silent.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    assert make(KIND, silent, none).LossyImageCompressionMethod == "ISO_10918_1"


def test_pixels_of_another_image_are_refused(radiograph, none):
    pytest.importorskip("highdicom")
    from pneumodet.dicom.objects import secondary_capture

    with pytest.raises(DataError, match=r"192 x 256 px, but the pixels given are of shape \(192, 256\)"):
        secondary_capture(radiograph, np.zeros((192, 256), np.uint8), none)


def test_a_second_run_makes_the_same_file(make, radiograph, two):
    made = [io.BytesIO(), io.BytesIO()]
    for buffer in made:
        make(KIND, radiograph, two).save_as(buffer, enforce_file_format=True)
    assert made[0].getvalue() == made[1].getvalue()
