"""All four kinds of objects before dciodvfy, which knows the standard's modules, and Python's only independent reader of it here."""

import shutil
import subprocess
import warnings

import pydicom
import pytest
from dicom_headers import made_up
from pydicom.uid import MultiFrameGrayscaleByteSecondaryCaptureImageStorage

from pneumodet.dicom import reading
from pneumodet.dicom.objects import presentation, report
from pneumodet.dicom.objects.radiograph import TEXTS

KINDS = ("structured_report", "presentation_state", "secondary_capture", "segmentation")

EXPECTED_WARNINGS = {
    "needed to build DICOMDIR": "the radiograph has no patient ID, study ID or time, and none is made up",
    "Person Name form": "RSNA's patients are called by a number",
}
"""Part of a warning that stays -> why."""

SOURCES = {
    "plain": {},
    "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1"},
    "RSNA": {
        "PatientAge": "51",
        "PatientOrientation": "",
        "StudyTime": "000000.00",
        "LossyImageCompression": "01",
        "LossyImageCompressionMethod": "ISO_10918_1",
    },
    "sparse": dict.fromkeys((*TEXTS, "PatientBirthDate", "PatientSex", "StudyTime", "InstanceNumber", "SpecificCharacterSet")),
    "rectangular": {"PixelSpacing": [0.2, 0.1], "PatientOrientation": ["L", "F"]},
    "rescaled": {
        "RescaleSlope": "2",
        "RescaleIntercept": "-10",
        "RescaleType": "US",
        "WindowCenter": ["100", "1"],
        "WindowWidth": ["50", "2"],
    },
    "frames": {"NumberOfFrames": 2, "SOPClassUID": MultiFrameGrayscaleByteSecondaryCaptureImageStorage},
    "umlauts": {"PatientName": "Müller^Jörg", "SpecificCharacterSet": "ISO_IR 100"},
    "Japanese": {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "SpecificCharacterSet": ["", "ISO 2022 IR 87"]},
}


def complaints(path):
    """Return dciodvfy's errors and warnings of a file."""
    if not shutil.which("dciodvfy"):
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", timeout=60)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Warning"))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["two", "none"])
@pytest.mark.parametrize("elements", SOURCES.values(), ids=list(SOURCES))
def test_dciodvfy_finds_no_error(make, kind, which, elements, tmp_path, request):
    path = tmp_path / f"{kind}.dcm"
    make(kind, made_up(**elements), request.getfixturevalue(which)).save_as(path, enforce_file_format=True)
    result = [line for line in complaints(path) if not any(part in line for part in EXPECTED_WARNINGS)]
    assert result == []


def test_dciodvfy_would_find_one(make, two, radiograph, tmp_path):
    """What is tested is the tests' way of calling it."""
    made = make("structured_report", radiograph, two)
    del made.CompletionFlag
    made.save_as(tmp_path / "wrong.dcm", enforce_file_format=True)
    assert any("CompletionFlag" in line for line in complaints(tmp_path / "wrong.dcm") if line.startswith("Error"))


@pytest.mark.real_data
@pytest.mark.parametrize("kind", KINDS)
def test_of_real_radiographs(make, two, shared_data, tmp_path, kind):
    from pneumodet.dicom import objects

    files = sorted(shared_data.glob("rsna_original/**/*.dcm")) + sorted(shared_data.glob("edge_cases/*.dcm"))
    files += sorted(shared_data.glob("rsna_sample/**/*.dcm"))[:5]
    assert len(files) > 6
    for file in files:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            source = pydicom.dcmread(file, stop_before_pixels=True)
            burned_in = kind == "secondary_capture"
            made = objects.secondary_capture(source, reading.read_pixels(file), two) if burned_in else make(kind, source, two)
        made.save_as(tmp_path / "made.dcm", enforce_file_format=True)
        errors = [line for line in complaints(tmp_path / "made.dcm") if not any(part in line for part in EXPECTED_WARNINGS)]
        assert errors == [], file.name


def test_codes_are_those_of_the_dictionary():
    """What pydicom's copy of PS3.16 has, it has with the same number."""
    from pydicom.sr.codedict import codes

    known = {
        report.LUNG: codes.SCT.Lung,
        report.PRESENT: codes.SCT.Present,
        report.ABSENT: codes.SCT.Absent,
        report.COMMENT: codes.DCM.Comment,
    }
    known |= {report.NO_UNITS: codes.UCUM.NoUnits, report.SCORE: codes.SCT.Score, report.BOUNDED_BY: codes.SCT.BoundedBy}
    assert all((ours.value, ours.scheme_designator) == (theirs.value, theirs.scheme_designator) for ours, theirs in known.items())


def test_colour_of_the_boxes_is_that_of_the_pictures():
    """L*a*b* of D50 against Pillow's own conversion, which is of D50 too."""
    from PIL import Image, ImageCms

    from pneumodet.viz import pictures

    lab = ImageCms.createProfile("LAB", 5000)
    convert = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    lightness, a, b = ImageCms.applyTransform(Image.new("RGB", (1, 1), pictures.DETECTION_RGB), convert).getpixel((0, 0))
    assert (lightness * 100 / 255, a - 128, b - 128) == pytest.approx(presentation.ORANGE_CIELAB, abs=1.5)
