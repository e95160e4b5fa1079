"""What headers and labels become: values, what is missing, and what is said of it."""

import csv
import gzip

import layouts
import made_up_metadata
import numpy as np
import pydicom
import pytest

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.exploration.baseline import table

HEADER = ("patientId", "PatientAge", "PatientSex", "ViewPosition", "PixelSpacing")


def read(tmp_path, rows, *, header=HEADER, **more):
    labels = [(f"e{index}", "", "", "", "", "0") for index in range(len(rows) - 1)] + [(f"e{len(rows) - 1}", "1", "2", "3", "4", "1")]
    return table.read(
        labels=made_up_metadata.save(tmp_path / "labels.csv", ("patientId", "x", "y", "width", "height", "Target"), labels),
        headers_csv=made_up_metadata.save(tmp_path / "headers.csv", header, rows),
        **more,
    )


def test_values_are_years_places_and_mm(tmp_path):
    result = read(
        tmp_path,
        [
            ("e0", "51", "F", "PA", "0.143"),
            ("e1.dcm", "051Y", "M", "ap", r"0.168\0.168"),
            ("e2", "006M", "", "LL", "['0.139', '0.139']"),
            ("e3", "40.0", "O", "", ""),
        ],
    )
    assert result.columns == ("age", "sex", "view", "spacing")
    assert result.categories == {"sex": ("F", "M", "O"), "view": ("AP", "LL", "PA")}
    nan = np.nan
    np.testing.assert_allclose(result.values, [[51, 0, 2, 0.143], [51, 1, 0, 0.168], [0.5, nan, 1, 0.139], [40, 2, nan, nan]])
    assert result.positive.tolist() == [False, False, False, True]
    assert {f"No {name} is known of 1 of 4 exams." for name in ("sex", "view position", "pixel spacing")} <= set(result.notes)


def test_what_cannot_be_used_is_missing_and_counted(tmp_path):
    result = read(
        tmp_path,
        [
            ("e0", "148", "F", "PA", "0.143"),
            ("e1", "110", "X", "PA", "143"),
            ("e2", "old", "M", "UPSIDE DOWN", "0"),
            ("e3", "155", "M", "AP", "0.1"),
        ],
    )
    np.testing.assert_array_equal(np.isnan(result.values).sum(axis=0), [3, 1, 1, 2])
    assert result.values[1, 0] == 110
    said = " ".join(result.notes)
    for sentence in (
        "2 ages are over 110 years and taken as missing.",
        "1 age is not readable",
        "1 sex is not readable",
        "1 view position is not readable",
        "1 pixel spacing is over 5 mm",
        "1 pixel spacing is not readable",
    ):
        assert sentence in said
    assert "UPSIDE" not in said  # what stands in a header is not repeated


def test_columns_without_values_are_left_out_and_named(tmp_path):
    result = read(tmp_path, [("e0", "", "F", ""), ("e1", "999", "M", "")], header=("patientId", "PatientAge", "PatientSex", "ViewPosition"))
    assert result.columns == ("sex",)
    assert result.values.shape == (2, 1)
    assert {f"No exam has a usable {name}; it is left out." for name in ("age", "view position", "pixel spacing")} <= set(result.notes)


def test_nothing_known_at_all(tmp_path):
    with pytest.raises(DataError, match="No exam has any of age, sex, view position, pixel spacing"):
        read(tmp_path, [("e0", "", "", "", ""), ("e1", "", "", "", "")])


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        pytest.param(
            ("patientId", "Modality"),
            [("e0", "CR")],
            "have none of the columns PatientAge, PatientSex, ViewPosition, PixelSpacing",
            id="facts",
        ),
        pytest.param(("exam", "PatientAge"), [("e0", "5")], "have none of the columns patientId, PatientID, Filename", id="exam"),
        pytest.param(("patientId", "PatientAge"), [("e0", "5"), ("e0", "6")], "line 3: exam e0 occurs twice", id="twice"),
        pytest.param(("patientId", "PatientAge"), [("", "5")], "line 2: the row names no exam", id="nameless"),
        pytest.param(("patientId", "PatientAge"), [("other", "5")], "None of the 1 exams of .* has a header", id="others"),
        pytest.param((), [], "they have no column at all", id="empty"),
    ],
)
def test_headers_that_cannot_be_used(tmp_path, header, rows, message):
    labels = made_up_metadata.save(
        tmp_path / "labels.csv", ("patientId", "x", "y", "width", "height", "Target"), [("e0", "", "", "", "", "0")]
    )
    with pytest.raises(DataError, match=message):
        table.read(labels=labels, headers_csv=made_up_metadata.save(tmp_path / "headers.csv", header, rows))


def test_a_file_that_only_looks_packed(tmp_path):
    labels = made_up_metadata.write(tmp_path)["labels"]
    whole = gzip.compress(b"patientId,PatientAge\n" + b"e0,51\n" * 9)
    for content in (b"patientId,PatientAge\n", whole[:-9]):
        (tmp_path / "headers.csv.gz").write_bytes(content)
        with pytest.raises(DataError, match="no gzip file, or cut off"):
            table.read(labels=labels, headers_csv=tmp_path / "headers.csv.gz")


def test_exams_of_one_side_only_are_left_out_and_counted(tmp_path):
    result = made_up_metadata.write(tmp_path)
    rows = list(csv.reader(result["headers"].read_text().splitlines()))
    made_up_metadata.save(result["headers"], rows[0], [*rows[3:], ("test-exam", "50", "F", "PA", "0.1")])
    got = table.read(labels=result["labels"], headers_csv=result["headers"], patient_map=result["patient_map"])
    assert len(got.exams) == len(rows) - 3
    assert got.notes == [
        f"Left out, because they have no header in headers.csv: 2 labelled exams, for example {rows[1][0]}.",
        "Left out, because they belong to no labelled exam: 1 headers, for example test-exam.",
    ]


def test_patients_are_those_of_the_map_or_each_exam_and_this_is_said(tmp_path):
    result = made_up_metadata.write(tmp_path, patients=20, gz=True)
    mapped = table.read(labels=result["labels"], headers_csv=result["headers"], patient_map=result["patient_map"])
    patients = [exam.split("-")[1] for exam in mapped.exams]
    assert len(np.unique(mapped.patients)) == 20
    assert len(set(zip(patients, mapped.patients.tolist(), strict=True))) == 20
    alone = table.read(labels=result["labels"], headers_csv=result["headers"])
    assert len(np.unique(alone.patients)) == len(alone.exams) > 20
    assert table.EXAM_IS_PATIENT in alone.notes
    assert table.EXAM_IS_PATIENT not in mapped.notes
    short = made_up_metadata.save(tmp_path / "short.csv", ("patientId", "patient"), [(mapped.exams[0], "P")])
    with pytest.raises(DataError, match=f"does not name {len(mapped.exams) - 1} exams"):
        table.read(labels=result["labels"], headers_csv=result["headers"], patient_map=short)


def test_dicom_files_tell_what_pydicom_reads(synthetic):
    got = table.read(labels=synthetic.labels, dicom_dir=synthetic.dicom_dir, patient_map=synthetic.patient_map)
    assert len(got.exams) == 12
    for exam, values in zip(got.exams, got.values, strict=True):
        file = pydicom.dcmread(synthetic.dicom_dir / f"{exam}.dcm", stop_before_pixels=True)
        known = dict(zip(got.columns, values, strict=True))
        assert known["age"] == int(file.PatientAge.strip("Y"))
        assert got.categories["sex"][int(known["sex"])] == file.PatientSex
        assert got.categories["view"][int(known["view"])] == file.ViewPosition
        if "spacing" in known:
            assert known["spacing"] == file.PixelSpacing[0]


def test_a_record_set_tells_the_same_as_its_files(synthetic, tmp_path):
    from pneumodet.data import conversion

    inputs = conversion.Inputs(
        dicom_dir=synthetic.dicom_dir, labels=synthetic.labels, class_info=synthetic.class_info, patient_map=synthetic.patient_map
    )
    conversion.convert(inputs, tmp_path / "records", conversion.Settings(val_fraction=0.4, test_fraction=0))
    of_files = table.read(labels=synthetic.labels, dicom_dir=synthetic.dicom_dir, patient_map=synthetic.patient_map)
    of_records = table.read(records=tmp_path / "records")
    assert of_records.columns == ("age", "sex", "view")
    order = [of_files.exams.index(exam) for exam in of_records.exams]
    np.testing.assert_array_equal(of_records.values, of_files.values[order, :3])
    np.testing.assert_array_equal(of_records.positive, of_files.positive[order])
    assert [len(boxes) for boxes in of_records.boxes_xyxy_px] == [len(of_files.boxes_xyxy_px[index]) for index in order]
    pairs = set(zip(of_records.patients.tolist(), of_files.patients[order].tolist(), strict=True))
    assert len(pairs) == len(np.unique(of_files.patients))
    assert set(of_records.splits) == {"train", "val"}


def test_inputs_that_do_not_go_together(tmp_path):
    with pytest.raises(ConfigError, match="Give --labels with one of --headers"):
        table.read(labels=tmp_path)
    with pytest.raises(ConfigError, match="has labels and headers of its own"):
        table.read(records=tmp_path, labels=tmp_path)


@pytest.mark.slow
@pytest.mark.real_data
def test_the_real_headers(shared_data):
    """Five ages over 110, and the shares of AP views that the data are known for."""
    csvs = shared_data / "rsna_csv"
    got = table.read(labels=csvs / "stage_2_train_labels.csv", headers_csv=csvs / "stage_2_train_dicom_headers.csv.gz")
    assert len(got.exams) == 26_684
    assert "5 ages are over 110 years and taken as missing." in got.notes
    ap = got.values[:, 2] == got.categories["view"].index("AP")
    assert [round(float(one), 4) for one in (ap[~got.positive].mean(), ap[got.positive].mean(), ap.mean())] == [0.3632, 0.7758, 0.4562]


def test_patients_are_those_that_the_labels_name(tmp_path):
    layout = layouts.nih(tmp_path / "nih")
    header = ("patientId", "PatientAge", "PatientSex", "ViewPosition", "PixelSpacing")
    headers = made_up_metadata.save(tmp_path / "headers.csv", header, [(name, "50", "F", "PA", "0.14") for name in layout.names.values()])
    got = table.read(labels=layout.labels, headers_csv=headers)
    assert got.patients_by == "labels" and len(set(got.patients.tolist())) == 8
    assert table.EXAM_IS_PATIENT not in got.notes
