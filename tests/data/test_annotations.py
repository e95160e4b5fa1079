"""RSNA's CSVs: every rule, with its message and line."""

import gzip
import json

import numpy as np
import pytest

from pneumodet.core.errors import DataError
from pneumodet.data import annotations

HEADER = "patientId,x,y,width,height,Target\n"
GOOD = "good,1,2,3,4,1\n"


@pytest.fixture
def labels(tmp_path):
    """Return a function: rows below the usual header -> Labels."""

    def read(text, *, header=HEADER, **arguments):
        path = tmp_path / "labels.csv"
        path.write_text(header + text, encoding="utf-8")
        return annotations.read_rsna_labels(path, **arguments)

    return read


def test_boxes_and_negatives(labels):
    parsed = labels("b,10.5,20,30,40,1\na,,,,,0\nb,1,2,3,4,1\n")
    assert list(parsed.exams) == ["b", "a"]
    assert parsed.exams["b"].boxes_xyxy_px.tolist() == [[10.5, 20, 40.5, 60], [1, 2, 4, 6]]
    assert parsed.exams["b"].boxes_xyxy_px.dtype == np.float64
    assert (parsed.exams["b"].positive, parsed.exams["a"].positive) == (True, False)
    assert parsed.exams["a"].boxes_xyxy_px.shape == (0, 4)
    assert (parsed.rejected, parsed.duplicate_rows) == ([], 0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("bad,,2,3,4,1", "line 3: Target is 1, but x is empty or NaN", id="empty x"),
        pytest.param("bad,1,2,3,NaN,1", "line 3: Target is 1, but height is empty or NaN", id="NaN height"),
        pytest.param("bad,,,,,1", "line 3: Target is 1, but x is empty or NaN", id="no box"),
        pytest.param("bad,1,2,-3,4,1", "line 3: width is -3, must be above 0", id="negative width"),
        pytest.param("bad,1,2,3,0,1", "line 3: height is 0, must be above 0", id="zero height"),
        pytest.param("bad,inf,2,3,4,1", "line 3: x is inf, which is no place in a radiograph", id="infinite"),
        pytest.param("bad,1,-1e9,3,4,1", "line 3: y is -1e+09, which is no place", id="far away"),
        pytest.param("bad,1,2,3,4e300,1", "line 3: height is 4e+300, which is no place", id="huge"),
        pytest.param("bad,one,2,3,4,1", "line 3: x is 'one', which is no number", id="text"),
        pytest.param("bad,1_0,2,3,4,1", "line 3: x is '1_0', which is no number", id="underscore, which Python takes"),
        pytest.param("bad,1,2,3,4,2", "line 3: Target is '2', must be 0 or 1", id="Target 2"),
        pytest.param("bad,1,2,3,4,", "line 3: Target is '', must be 0 or 1", id="no Target"),
        pytest.param("bad,1,2,3,4", "line 3: Target is '', must be 0 or 1", id="short row"),
        pytest.param("bad,1,2,3,4,1,5", "line 3: the row has 7 cells, but the header 6", id="long row"),
        pytest.param("bad,1,2,3,4,0", "line 3: Target is 0, but there is a box", id="box of a negative"),
        pytest.param("bad,,,3,,0", "line 3: Target is 0, but there is a box", id="part of a box of a negative"),
        pytest.param("bad,1,2,3,4,1\nbad,,,,,0", "lines 3, 4: Target is 0 in one row and 1 in another", id="contradiction"),
        pytest.param("bad,1,2,3,4,1\nbad,9,2,3,0,1", "line 4: height is 0", id="one of two boxes"),
    ],
)
def test_a_bad_row_rejects_its_exam_alone(labels, row, reason):
    parsed = labels(GOOD + row + "\nlast,,,,,0\n")
    assert list(parsed.exams) == ["good", "last"]
    ((exam, given),) = parsed.rejected
    assert exam == "bad"
    assert given.startswith(reason)


def test_empty_id_is_listed_by_its_line(labels):
    parsed = labels(GOOD + " ,,,,,0\n,,,,,0\n")
    assert list(parsed.exams) == ["good"]
    assert parsed.rejected == [("(line 3)", "line 3: patientId is empty"), ("(line 4)", "line 4: patientId is empty")]


@pytest.mark.parametrize("row", [",1,2,3,4,1", " ,,,,,1", ",1,2,3,4,0"])
def test_a_box_without_an_id_stops(labels, row):
    """Nobody knows whose box it is, and its exam may have another row that says that there is none."""
    with pytest.raises(DataError, match=r"the box of 1 line cannot be placed \(first: line 3\), because patientId is empty"):
        labels(GOOD + row + "\n")


def test_equal_rows_count_once(labels):
    parsed = labels("a,1,2,3,4,1\nb,,,,,0\na,1.0,2,3,4.00,1\nb,,,,,0\na,1,2,3,5,1\n")
    assert parsed.duplicate_rows == 2
    assert len(parsed.exams["a"].boxes_xyxy_px) == 2
    assert not parsed.rejected


@pytest.mark.parametrize(
    ("header", "row"),
    [
        pytest.param("﻿" + HEADER, "a,1,2,3,4,1", id="byte order mark"),
        pytest.param(HEADER.replace("\n", "\r\n"), "a,1,2,3,4,1\r\n", id="Windows line ends"),
        pytest.param("Target,note,height,width,y,x,patientId\n", "1,n,4,3,2,1,a", id="other order and a column more"),
        pytest.param(" patientId , x,y,width,height,Target \n", " a , 1 ,2,3,4, 1 ", id="spaces"),
        pytest.param(HEADER, '"a","1","2","3","4","1"', id="quotes"),
        pytest.param(HEADER, "a,1.0,2.0,3.0,4.0,1.0", id="Target as pandas writes it"),
        pytest.param(HEADER, "\na,1,2,3,4,1\n\n", id="empty lines"),
    ],
)
def test_spellings_of_one_row(labels, header, row):
    parsed = labels(row, header=header)
    assert parsed.rejected == []
    assert parsed.exams["a"].boxes_xyxy_px.tolist() == [[1, 2, 4, 6]]


def test_line_numbers_count_lines_of_the_file(labels):
    parsed = labels('\n"a\nb",1,2,3,4,1\n\nbad,1,2,3,4,7\n')
    assert list(parsed.exams) == ["a\nb"]
    assert parsed.rejected == [("bad", "line 6: Target is '7', must be 0 or 1")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", r"is empty\. It needs the columns patientId, x, y, width, height, Target", id="empty"),
        pytest.param(HEADER.encode(), r"has a header but no rows", id="header alone"),
        pytest.param(b"patientId,x,y,w,h,Target\na,1,2,3,4,1\n", r"has no column 'width', 'height'; it has 'patientId', 'x'", id="columns"),
        pytest.param(b"a,1,2,3,4,1\n", r"has no column 'patientId', 'x'", id="no header"),
        pytest.param(HEADER.encode() + b"\x81,1,2,3,4,1\n", r"is neither UTF-8, UTF-16 nor Windows-1252: see line 2", id="no encoding"),
        pytest.param(HEADER.encode() + b'"a,1,2,3,4,1\n', r"is not a CSV file \(EOF inside string", id="a quote that does not end"),
        pytest.param(b"patientId,x,x,y,width,height,Target\na,1,9,2,3,4,1\n", r"has the column 'x' twice", id="a column twice"),
    ],
)
def test_faults_of_the_whole_file(tmp_path, content, message):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"labels\.csv.*{message}"):
        annotations.read_rsna_labels(path)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*none\.csv: No such file"):
        annotations.read_rsna_labels(tmp_path / "none.csv")


def test_class_info(labels, tmp_path):
    info = tmp_path / "info.csv"
    info.write_text("patientId,class\ngood,Lung Opacity\ngood,Lung Opacity\nother,Normal\n")
    parsed = labels(GOOD + "unknown,,,,,0\n", class_info=info)
    assert parsed.exams["good"].rsna_class == "Lung Opacity"
    assert parsed.exams["unknown"].rsna_class is None
    info.write_text("patientId,class\ngood,Lung Opacity\ngood,Normal\n")
    with pytest.raises(DataError, match="info.csv, line 3: exam good has the classes 'Lung Opacity' and 'Normal'"):
        labels(GOOD, class_info=info)


MAPPING = [
    {"subset_img_id": "exam-1", "img_id": "00000013_026.png", "SOPInstanceUID": "1.2.3"},
    {"subset_img_id": "exam-2", "img_id": "00000013_027.png"},
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("map.csv", "patientId,patient\nexam-1,00000013\nexam-2,00000013\n", id="patient"),
        pytest.param("map.csv", "patientId,nih_image,nih_patient,mse\nexam-1,a,00000013,1\nexam-2,b,00000013,2\n", id="nih_patient"),
        pytest.param("map.csv", "note,Patient ID,patientId\n,00000013,exam-1\n,00000013, exam-2 \n", id="Patient ID"),
        pytest.param("map.csv", "patientId,patient\nexam-1,00000013\nexam-2,00000013\nexam-1,00000013\n", id="equal rows"),
        pytest.param("map.JSON", json.dumps(MAPPING), id="RSNA's JSON"),
    ],
)
def test_patient_map_keeps_leading_zeros(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert annotations.read_patient_map(tmp_path / name) == {"exam-1": "00000013", "exam-2": "00000013"}
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    assert annotations.read_patient_map(tmp_path / f"{name}.gz") == {"exam-1": "00000013", "exam-2": "00000013"}


@pytest.mark.parametrize("name", ["map.csv.gz", "map.json.gz"])
@pytest.mark.parametrize("cut", [0, 9])
def test_a_patient_map_that_only_looks_packed(tmp_path, name, cut):
    content = b"patientId,patient\n" + b"a,b\n" * 99
    (tmp_path / name).write_bytes(gzip.compress(content)[:-cut] if cut else content)
    with pytest.raises(DataError, match="no gzip file, or cut off"):
        annotations.read_patient_map(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("m.csv", "patientId,name\na,b\n", "has no column 'patient'; it has patientId, name", id="no patient column"),
        pytest.param("m.csv", "exam,patient\na,b\n", "has no column 'patientId'", id="no exam column"),
        pytest.param("m.csv", "patientId,patient\na,\n", "line 2: patientId or patient is empty", id="empty patient"),
        pytest.param("m.csv", "patientId,patient\na,p\na,q\n", "line 3: exam a belongs to the patients p and q", id="two patients"),
        pytest.param("m.csv", "", "m.csv is empty", id="empty file"),
        pytest.param("m.json", "{", "cannot be read", id="no JSON"),
        pytest.param("m.json", '{"a": 1}', "cannot be read", id="JSON of another kind"),
        pytest.param("m.json", '[{"img_id": "00000013_026.png"}]', "cannot be read .*subset_img_id", id="no subset_img_id"),
        pytest.param("m.json", '[{"subset_img_id": "a", "img_id": 13}]', "cannot be read", id="image is a number"),
        pytest.param("m.json", '[{"subset_img_id": 13, "img_id": "00000013_026.png"}]', "cannot be read", id="exam is a number"),
        pytest.param("m.json", '[{"subset_img_id": "a", "img_id": "13.png"}]', "no NIH image name for exam a", id="image of other name"),
        pytest.param(
            "m.json",
            json.dumps([MAPPING[0], {"subset_img_id": "exam-1", "img_id": "00000014_000.png"}]),
            "exam exam-1 belongs to the patients 00000013 and 00000014",
            id="two patients in JSON",
        ),
    ],
)
def test_bad_patient_map(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        annotations.read_patient_map(tmp_path / name)


@pytest.mark.parametrize("name", ["none.csv", "none.json"])
def test_missing_patient_map(tmp_path, name):
    with pytest.raises(DataError, match="Cannot read .*none.*No such file"):
        annotations.read_patient_map(tmp_path / name)


@pytest.mark.slow
@pytest.mark.real_data
def test_all_of_rsnas_labels(shared_data):
    folder = shared_data / "rsna_csv"
    parsed = annotations.read_rsna_labels(folder / "stage_2_train_labels.csv", class_info=folder / "stage_2_detailed_class_info.csv")
    assert len(parsed.exams) == 26_684
    assert sum(exam.positive for exam in parsed.exams.values()) == 6_012
    assert sum(len(exam.boxes_xyxy_px) for exam in parsed.exams.values()) == 9_555
    assert (parsed.rejected, parsed.duplicate_rows) == ([], 0)
    assert {exam.rsna_class for exam in parsed.exams.values() if exam.positive} == {"Lung Opacity"}
    assert {exam.rsna_class for exam in parsed.exams.values() if not exam.positive} == {"Normal", "No Lung Opacity / Not Normal"}
    everything = np.concatenate([exam.boxes_xyxy_px for exam in parsed.exams.values()])
    assert everything.min() >= 0
    assert everything.max() <= 1024


@pytest.mark.real_data
def test_nih_patients(shared_data):
    given = annotations.read_patient_map(shared_data / "rsna_original" / "rsna_to_nih.csv")
    assert given["02099738-7465-4786-b71c-de8cdac477c3"] == "00027464"
    assert len(given) == 3


@pytest.mark.parametrize(("row", "name"), [("e,,,,,0", "Lung Opacity"), ("e,1,2,3,4,1", "Normal")])
def test_class_info_that_contradicts_the_labels_rejects_the_exam(tmp_path, row, name):
    (tmp_path / "labels.csv").write_text(f"patientId,x,y,width,height,Target\n{row}\nother,,,,,0\n")
    (tmp_path / "info.csv").write_text(f"patientId,class\ne,{name}\nother,Normal\n")
    labels = annotations.read_rsna_labels(tmp_path / "labels.csv", class_info=tmp_path / "info.csv")
    assert list(labels.exams) == ["other"]
    assert labels.rejected == [("e", f"the class info says {name!r}, but Target is {row[-1]}")]
