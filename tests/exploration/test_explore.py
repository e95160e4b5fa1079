"""The command explore, on made-up data sets: what it counts, what it lists, what it survives."""

import csv
import gzip
import json
import re
import shutil
import sys

import html_reader
import layouts
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from pneumodet.cli import explore
from pneumodet.exploration import radiographs

HEADER = "patientId,x,y,width,height,Target\n"

LABELS = HEADER + (
    "a,100,100,200,300,1\n"
    "a,600,100,200,300,1\n"
    "b,,,,,0\n"
    "c,NaN,NaN,nan,NaN,0\n"
    "d,10,10,100,100,1\n"
    "d,10,10,100,101,1\n"  # all but the same box
    "b,,,,,0\n"  # the same row
    "e,900,900,200,50,1\n"  # 76 px beyond
)
CLASSES = "patientId,class\na,Lung Opacity\na,Lung Opacity\nb,Normal\nc,No Lung Opacity / Not Normal\nd,Lung Opacity\nd,Lung Opacity\ne,Lung Opacity\n"
HEADERS = (
    "PatientID,PatientAge,PatientSex,ViewPosition,PixelSpacing,PatientOrientation\n"
    "a,148,F,AP,0.14,\n"
    "b,050Y,M,PA,0.14\\0.14,\n"
    'c,6M,M,PA,"[0.2, 0.2]",\n'
    "d,old,X,,,\n"
    "d,44,M,AP,0.1,\n"
    "e,70,F,AP,0.14,\n"
)


@pytest.fixture
def files(tmp_path):
    """Return a function that writes files by their names and returns the folder."""

    def write(**contents):
        for name, text in contents.items():
            (tmp_path / f"{name}.csv").write_text(text)
        return tmp_path

    return write


@pytest.fixture
def without_augmentation(monkeypatch):
    """TensorFlow takes half a minute to start, and one test looks at its sheet."""
    monkeypatch.setattr(radiographs.Drawer, "augmented", lambda self: (None, "left out"))


def run(folder, *more, labels="labels.csv"):
    """Explore and return explore.json."""
    out = folder / "out"
    assert explore.main(["--labels", str(folder / labels), "--output-dir", str(out), "--workers", "1", *map(str, more)]) == 0
    return json.loads((out / "explore.json").read_text())


def of_dataset(dataset):
    return ["--class-info", dataset.class_info, "--dicom-dir", dataset.dicom_dir, "--patient-map", dataset.patient_map]


@pytest.fixture
def copy(synthetic, tmp_path):
    """Return a synthetic data set of its own: (folder of DICOM files, sorted files)."""
    folder = tmp_path / "images"
    shutil.copytree(synthetic.dicom_dir, folder)
    shutil.copy(synthetic.labels, tmp_path / "labels.csv")
    return folder, sorted(folder.iterdir())


def test_counts_by_hand(files):
    folder = files(labels=LABELS, classes=CLASSES, headers=HEADERS, patients="patientId,patient\na,1\nb,1\nc,2\nd,3\ne,4\n")
    result = run(
        folder, "--class-info", folder / "classes.csv", "--headers", folder / "headers.csv", "--patient-map", folder / "patients.csv"
    )
    counts = result["classes"]
    assert (counts["rows"], counts["exams"], counts["positive_exams"], counts["boxes"]) == (8, 5, 3, 5)
    assert counts["rows_per_exam"] == {"1": 2, "2": 3}
    assert counts["boxes_per_exam"] == {"0": 2, "1": 1, "2": 2}
    assert counts["class_rows"] == {"Normal": 1, "No Lung Opacity / Not Normal": 1, "Lung Opacity": 5}
    assert counts["class_exams"] == {"Normal": 1, "No Lung Opacity / Not Normal": 1, "Lung Opacity": 3}
    assert result["patients"] == {
        "known": True,
        "patients": 4,
        "with_several_exams": 1,
        "exams_of_these": 2,
        "most_exams": 2,
        "exams_per_patient": {"1": 3, "2": 1},
    }
    missing = result["missing"]
    assert missing["labels"] == {"patientId": 0, "x": 3, "y": 3, "width": 3, "height": 3, "Target": 0}
    assert missing["headers"]["PatientOrientation"] == 6
    assert (missing["headers"]["ViewPosition"], missing["headers"]["PixelSpacing"]) == (1, 1)
    assert missing["unusable_headers"] == {"PatientAge": ["d"], "PatientSex": ["d"]}
    assert missing["box_columns_tell_target"] is True
    twice = result["duplicates"]
    assert (twice["label_rows"], twice["boxes"], twice["header_rows"]) == (1, ["d"], ["d"])
    assert (twice["class_rows"], twice["class_rows_beyond_boxes"]) == (2, ["b"])  # b has two rows in the labels
    assert result["outliers"]["ages"] == [{"exam": "a", "value": 148.0}]
    assert result["outliers"]["boxes_beyond_image"] == [{"exam": "e", "value": 76.0}]
    assert result["view"]["exams"] == {"AP": 2, "PA": 2}
    assert result["view"]["unknown"] == 1  # the first row of d counts
    assert (result["view"]["target_1"]["value"], result["view"]["target_0"]["value"], result["view"]["all"]["value"]) == (1.0, 0.0, 0.5)
    assert result["sex"]["all"]["value"] == 0.5
    assert (result["age"]["least"], result["age"]["most"], result["age"]["unknown_or_impossible"]) == (0.5, 70.0, 2)
    assert [(one["mm"], one["exams"]) for one in result["pixel_spacing"]["values"]] == [(0.14, 3), (0.2, 1)]
    assert result["files"] is None
    assert result["pictures"] is None


def test_labels_alone_are_enough(files, capsys):
    result = run(files(labels=LABELS))
    assert (result["view"], result["age"], result["headers"], result["patients"]) == (None, None, None, {"known": False})
    text = (files() / "out" / "explore.html").read_text()
    assert "give --dicom-dir, or --headers" in text
    assert "patientId names an exam, not a patient" in capsys.readouterr().out


def test_packed_files_are_read_as_they_are(files):
    folder = files(labels=LABELS, headers=HEADERS, patients="patientId,patient\na,1\nb,1\nc,2\nd,3\ne,4\n")
    plain = run(folder, "--headers", folder / "headers.csv", "--patient-map", folder / "patients.csv")
    for name in ("labels", "headers", "patients"):
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress((folder / f"{name}.csv").read_bytes()))
    more = ["--headers", folder / "headers.csv.gz", "--patient-map", folder / "patients.csv.gz"]
    packed = run(folder, *more, "--overwrite", labels="labels.csv.gz")
    assert {**packed, "inputs": None} == {**plain, "inputs": None}


@pytest.mark.parametrize(
    ("labels", "headers", "message"),
    [
        pytest.param("patientId,x,y,width,Target\na,1,2,3,1\n", HEADERS, r"labels\.csv has no column 'height'", id="missing column"),
        pytest.param(HEADER, HEADERS, "has a header but no rows", id="no rows"),
        pytest.param("", HEADERS, r"labels\.csv is empty", id="empty"),
        pytest.param(
            HEADER + "a,1,1,-5,5,1\n", HEADERS, "none of its 1 exams can be used. The first is a: line 2: width is -5", id="no usable exam"
        ),
        pytest.param(
            LABELS,
            "PatientID,Modality\na,CR\n",
            "none of the columns PatientAge, PatientSex, ViewPosition, PixelSpacing",
            id="other header CSV",
        ),
        pytest.param(LABELS, "PatientID,PatientAge\n", "has a header but no rows", id="no header rows"),
    ],
)
def test_errors_in_a_whole_file_are_one_sentence(files, capsys, labels, headers, message):
    folder = files(labels=labels, headers=headers)
    argv = ["--labels", str(folder / "labels.csv"), "--headers", str(folder / "headers.csv"), "--output-dir", str(folder / "out")]
    assert explore.main(argv) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (folder / "out").exists()


def test_a_cut_gzip_file_is_one_sentence(files, capsys):
    folder = files(labels=LABELS)
    (folder / "headers.csv.gz").write_bytes(gzip.compress(HEADERS.encode())[:-12])
    argv = ["--labels", str(folder / "labels.csv"), "--headers", str(folder / "headers.csv.gz"), "--output-dir", str(folder / "out")]
    assert explore.main(argv) == 2
    assert "no gzip file, or cut off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("z,10,10,-5,20,1\n", "width is -5, must be above 0", id="negative width"),
        pytest.param("z,NaN,10,5,20,1\n", "x is empty or NaN", id="NaN"),
        pytest.param("z,10,10,5,20,2\n", "Target is '2'", id="Target"),
    ],
)
def test_bad_rows_are_left_out_and_listed(files, row, reason):
    clean = run(files(labels=LABELS))
    result = run(files(labels=LABELS + row), "--overwrite")
    assert [one["exam"] for one in result["rejected"]] == ["z"]
    assert reason in result["rejected"][0]["reason"]
    assert any("1 exam cannot be used" in one["sentence"] for one in result["conclusions"])
    assert result["boxes"] == clean["boxes"]


def test_an_earlier_report_is_not_destroyed(files, capsys):
    folder = files(labels=LABELS)
    run(folder)
    before = (folder / "out" / "explore.html").read_bytes()
    argv = ["--labels", str(folder / "labels.csv"), "--output-dir", str(folder / "out")]
    assert explore.main(argv) == 2
    assert "--overwrite" in capsys.readouterr().err
    files(labels=HEADER)
    assert explore.main([*argv, "--overwrite"]) == 2
    assert (folder / "out" / "explore.html").read_bytes() == before


def test_dicom_files_give_the_same_as_their_headers(copy, synthetic, without_augmentation):
    folder, paths = copy
    result = run(folder.parent, *of_dataset(synthetic), "--dicom-dir", folder)
    with open(folder.parent / "headers.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["PatientID", "PatientAge", "PatientSex", "ViewPosition", "PixelSpacing"])
        for path in paths:
            one = pydicom.dcmread(path)
            writer.writerow([one.PatientID, one.PatientAge, one.PatientSex, one.ViewPosition, one.PixelSpacing[0]])
    by_csv = run(folder.parent, *of_dataset(synthetic), "--dicom-dir", folder, "--headers", folder.parent / "headers.csv", "--overwrite")
    for name in ("view", "sex", "age", "pixel_spacing", "boxes", "correlation"):
        assert result[name] == by_csv[name], name
    assert result["view"]["exams"]  # there is something to compare
    assert result["files"] == {"found": 12, "sizes_px": {"256 x 256": 12}, "bits": {"8": 12}, "faulty": [], "refused": []}
    assert {one["class"] for one in result["pictures"]["examples"]} == set(result["classes"]["class_exams"])


def test_workers_read_the_same(copy, without_augmentation, capsys):
    folder, _ = copy
    one = run(folder.parent, "--dicom-dir", folder)
    flags = f"--dicom-dir {folder} --labels {folder.parent / 'labels.csv'} --output-dir workspace/records/rsna"
    assert capsys.readouterr().out.endswith(f"Next:    python tools/make_tfrecords.py {flags}\n"), "the folder that the other commands name"
    out = folder.parent / "two"
    assert (
        explore.main(
            ["--labels", str(folder.parent / "labels.csv"), "--dicom-dir", str(folder), "--output-dir", str(out), "--workers", "2"]
        )
        == 0
    )
    assert json.loads((out / "explore.json").read_text()) == one


def test_damaged_files_are_counted_and_listed(copy, without_augmentation, capsys):
    folder, paths = copy
    size = paths[0].stat().st_size
    paths[0].write_bytes(paths[0].read_bytes()[: size // 2])  # within the pixels
    paths[1].write_bytes(paths[1].read_bytes()[:300])  # within the header
    paths[2].write_bytes(b"not a radiograph")
    (folder / "notes.dcm").write_bytes(b"neither")
    empty = pydicom.dcmread(paths[3])
    empty.Rows = 0
    empty.save_as(paths[3])
    result = run(folder.parent, "--dicom-dir", folder)
    faulty = {one["file"]: one["reason"] for one in result["files"]["faulty"]}
    assert list(faulty) == [path.name for path in paths[:4]]
    assert "cut off" in faulty[paths[0].name]
    assert "not a DICOM file" in faulty[paths[2].name]
    assert result["files"]["refused"] == [{"file": "notes.dcm", "reason": "not a DICOM file"}]
    assert "0 rows" in faulty[paths[3].name]
    assert result["headers"]["exams"] == 10  # those of the first and the fourth can be read
    assert "Damaged: 4 DICOM files" in capsys.readouterr().out
    assert not {path.stem for path in paths[:4]} & {one["exam"] for one in result["pictures"]["examples"]}
    assert str(folder) not in (folder.parent / "out" / "explore.html").read_text()


def test_an_empty_folder_is_one_sentence(files, capsys):
    folder = files(labels=LABELS)
    (folder / "images").mkdir()
    argv = ["--labels", str(folder / "labels.csv"), "--dicom-dir", str(folder / "images"), "--output-dir", str(folder / "out")]
    assert explore.main(argv) == 2
    assert "There is no DICOM file in" in capsys.readouterr().err


def test_identical_pixels_are_found_under_other_headers(copy, without_augmentation):
    folder, paths = copy
    first = pydicom.dcmread(paths[0])
    twin = pydicom.dcmread(paths[5])
    twin.PixelData = first.PixelData
    twin.save_as(paths[5])
    result = run(folder.parent, "--dicom-dir", folder)
    assert [one["exams"] for one in result["duplicates"]["same_pixels"]] == [[paths[0].stem, paths[5].stem]]
    assert any("2 exams in 1 group have the very same stored pixels" in one["sentence"] for one in result["conclusions"])


def test_equalization_of_16_bit_radiographs(copy, without_augmentation):
    folder, paths = copy
    for path in paths:
        one = pydicom.dcmread(path)
        pixels = np.uint16(one.pixel_array) * 9 + 200  # of 12 bits
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 12, 11
        one["PixelData"].is_undefined_length = False
        one.PixelData = pixels.tobytes()
        one["PixelData"].VR = "OW"
        one.save_as(path)
    result = run(folder.parent, "--dicom-dir", folder)
    assert result["files"]["bits"] == {"12": 12}
    assert "stored with 12 bits, brought to 8 by its window before" in (folder.parent / "out" / "explore.html").read_text()
    shares = result["pictures"]["equalized"]
    assert list(shares) == ["as it is", "histogram equalization", "CLAHE"]
    assert all(sum(one) == pytest.approx(1) for one in shares.values())
    assert np.std(shares["histogram equalization"]) < np.std(shares["as it is"])


def test_without_tensorflow_there_is_a_sentence(copy, monkeypatch):
    folder, _ = copy
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for name in ("augmentation_sheet", "augmentation"):  # a test before this one may have imported them
        monkeypatch.delitem(sys.modules, f"pneumodet.models.inputs.{name}", raising=False)
        monkeypatch.delattr(f"pneumodet.models.inputs.{name}", raising=False)
    result = run(folder.parent, "--dicom-dir", folder)
    assert result["pictures"]["augmented"] is False
    assert result["pictures"]["why_not_augmented"].count(". ") == 0
    assert "TensorFlow is not installed" in (folder.parent / "out" / "explore.html").read_text()


def test_the_page_is_whole_and_needs_nothing_else(copy, synthetic, without_augmentation):
    folder, _ = copy
    run(folder.parent, *of_dataset(synthetic))
    reader = html_reader.read(folder.parent / "out" / "explore.html")
    assert not {"script", "link", "iframe"} & set(reader.tags)
    assert all(one.startswith(("#", "data:image/jpeg;base64,")) for one in reader.references)
    assert len(reader.pictures) >= 6
    assert "Correlation" in "".join(reader.text)
    assert reader.text.count("Exploration of labels.csv") == 2, "the window's title and the page's name the data"


def test_names_from_the_files_cannot_become_tags(files):
    evil = "<script>alert(1)</script>"
    folder = files(labels=HEADER + f"{evil},1,1,5000,5,1\nb,,,,,0\n{evil}2,1,1,-2,5,1\n", classes=f"patientId,class\nb,{evil}\n")
    run(folder, "--class-info", folder / "classes.csv")
    text = (folder / "out" / "explore.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("target", [pytest.param("1,1,50,60,1", id="positive"), pytest.param(",,,,0", id="negative")])
def test_a_single_exam_is_enough(files, target):
    result = run(
        files(labels=f"{HEADER}a,{target}\n", headers="PatientID,PatientAge,ViewPosition\na,50,AP\n"), "--headers", files() / "headers.csv"
    )
    assert any(one["sentence"].startswith("All 1 exams have Target") for one in result["conclusions"])
    assert result["view"]["difference"]["value"] is None


@pytest.mark.parametrize("name", ["nih", "nih_boxes", "vindr", "siim", "chexpert", "mimic", "kermany", "yolo", "label_studio", "cvat"])
def test_data_sets_of_the_field(name, tmp_path, without_augmentation):
    """Also those whose tables have none of the columns of ours."""
    layout = layouts.LAYOUTS[name](tmp_path / "set")
    class_map = [flag for flag in layout.flags if "=" in flag]
    flags = [text for one in class_map for text in ("--class-map", one)]
    assert explore.main(["--labels", str(layout.labels), *flags, "--output-dir", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "explore.json").read_text())
    assert result["classes"]["positive_exams"] == len(layouts.BOXES)
    known = name in ("nih", "nih_boxes", "siim", "chexpert", "mimic", "kermany")
    assert result["patients"]["known"] == known, "patients are those that the labels name"
    assert ("Which exams are of one patient is not known" in (tmp_path / "out" / "explore.html").read_text()) != known
