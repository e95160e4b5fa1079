"""Header values of CSV files, DICOM files and record sets, in the forms that tables and files have."""

import numpy as np
import pydicom
import pytest

from pneumodet.core.errors import DataError
from pneumodet.core.processes import Pool
from pneumodet.data import header_values, sources, synthetic


def save(tmp_path, text):
    path = tmp_path / "headers.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["", "nan", "NaN", "None", " "])
def test_missing_values_are_empty(tmp_path, text):
    sheet = header_values.read_csv(save(tmp_path, f"PatientID,PatientAge,view,Room\na.dcm,{text}, PA ,7\n"))
    (row,) = sheet.rows
    assert (row.line, row.exam, row.texts, sheet.others["Room"]) == (2, "a", {"age": "", "view": "PA"}, ["7"])
    assert (sheet.names, sheet.others) == ({"age": "PatientAge", "view": "view"}, {"PatientID": ["a.dcm"], "Room": ["7"]})


def test_patient_id_names_the_exam_only_where_patientid_of_the_challenge_does_not(tmp_path):
    assert header_values.read_csv(save(tmp_path, "PatientID,patientId,sex\nperson,exam,F\n")).rows[0].exam == "exam"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,age\na,1\n", "none of the columns patientId, PatientID, Filename; they have name, age"),
        (
            "patientId,Modality\na,CR\n",
            "none of the columns PatientAge, PatientSex, ViewPosition, PixelSpacing; they have patientId, Modality",
        ),
        ("", "they have no column at all"),
        ("patientId,age\n", "has a header but no rows"),
    ],
)
def test_another_csv_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        header_values.read_csv(save(tmp_path, text))


@pytest.mark.parametrize(
    ("spacings", "text"),
    [
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.1, 0.1]}, r"0.2\0.2"),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.1, 0.1]}, r"0.1\0.1"),
        ({}, ""),
    ],
)
def test_of_several_spacings_the_first_that_has_a_value_counts(tmp_path, spacings, text):
    path = tmp_path / "exam.dcm"
    synthetic.write_dicom(path, np.zeros((20, 30), np.uint8), patient_id="exam", rng=np.random.default_rng(0))
    file = pydicom.dcmread(path)
    file.pop("PixelSpacing", None)
    for keyword, value in spacings.items():
        setattr(file, keyword, value)
    file.save_as(path)
    files, _ = sources.find_radiographs(tmp_path)
    read = header_values.read_files(files, Pool(1))["exam"]
    assert (read.texts["spacing"], read.texts["view"], read.size_hw, read.error) == (text, file.ViewPosition, (20, 30), "")
    assert len(read.pixels_sha256) == 64


def test_images_of_a_record_set():
    texts = header_values.of_images([{"file_name": "a", "age": 51, "view_position": "PA"}, {"file_name": "b"}])
    assert texts == {"a": {"age": "51", "sex": "", "view": "PA", "spacing": ""}, "b": {"age": "", "sex": "", "view": "", "spacing": ""}}
