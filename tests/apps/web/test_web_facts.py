"""What the page shows of a file, and above all what it does not."""

import pytest
import radiographs

from pneumodet.apps.web import facts
from pneumodet.apps.web.uploads import File

SECRET = "Mueller^Hans"


def table(file):
    known = facts.read(file.data)
    return dict(facts.table(known, size_hw=(64, 64)))


def test_the_usual_facts():
    file = radiographs.dicom(
        radiographs.square(), ViewPosition="PA", PatientSex="F", PatientAge="057Y", PixelSpacing=[0.143, 0.143], Modality="DX"
    )
    assert table(file) == {
        "File": "DICOM",
        "Modality": "DX (digital radiography)",
        "View position": "PA",
        "Size": "64 x 64 px",
        "Pixel spacing": "0.143 mm",
        "Bits": "8",
        "Age group": "50 to 59 years",
        "Sex": "female",
    }


def test_no_free_text_gets_through():
    """A name, an id or a date in any element, also where a code is meant."""
    elements = dict.fromkeys(
        ("PatientName", "PatientID", "OtherPatientIDs", "InstitutionName", "ReferringPhysicianName", "StudyDescription", "AccessionNumber"),
        SECRET,
    )
    elements |= dict.fromkeys(("ImageComments", "PatientComments", "PatientAddress", "ProtocolName", "BodyPartExamined"), SECRET)
    elements |= {"Modality": "HANS", "ViewPosition": "HANS", "PatientSex": "H", "PatientBirthDate": "19610203", "StudyDate": "20260203"}
    with pytest.warns(UserWarning, match="Invalid value for VR"):
        file = radiographs.dicom(radiographs.square(), **elements)
    text = repr(facts.read(file.data)) + repr(table(file))
    for part in ("Mueller", "Hans", "HANS", "1961", "2026", "secret"):
        assert part not in text
    assert table(file) == {"File": "DICOM", "Size": "64 x 64 px", "Bits": "8"}


@pytest.mark.parametrize(
    ("age", "group"),
    [("051Y", "50 to 59"), ("51", "50 to 59"), ("000Y", "0 to 9"), ("018M", "0 to 9"), ("200D", "0 to 9"), ("089Y", "80 to 89")]
    + [("090Y", "90 or more"), ("103Y", "90 or more"), ("150", None), ("", None), ("XXXY", None)],
)
def test_ages_are_told_by_decade(age, group):
    assert facts._age_group(age) == group


def test_rectangular_pixels():
    file = radiographs.dicom(radiographs.square(), ImagerPixelSpacing=[0.2, 0.1])
    assert table(file)["Pixel spacing"] == "0.2 x 0.1 mm at the detector"
    assert facts.read(file.data).aspect == 2.0
    assert facts.read(radiographs.dicom(radiographs.square(), PixelSpacing=[0.1, 0.1004]).data).aspect == 1.0
    assert facts.read(radiographs.dicom(radiographs.square(), PixelSpacing=[9, 0.1]).data).aspect == 1.0
    assert facts.read(radiographs.dicom(radiographs.square(), PixelSpacing=[0, 0]).data).spacing_mm is None


def test_pictures_and_damaged_files_tell_little():
    assert facts.read(radiographs.png(radiographs.square()).data) == facts.Facts("PNG")
    assert facts.read(File("a", b"nothing").data) == facts.Facts("DICOM")
