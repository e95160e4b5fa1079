"""The field's data sets as they are laid out: synthetic copies of each, what is read of them, and what becomes of it in records."""

import dataclasses
import gzip
import json

import numpy as np
import pytest
from PIL import Image
from record_making import records

from pneumodet.cli import make_tfrecords
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import box_audit, conversion, formats, label_export
from pneumodet.data.class_map import ClassMap
from pneumodet.data.label_choices import Choices
from pneumodet.data.record_sets import RecordSet
from pneumodet.data.settings import Inputs, Settings

WIDTH, HEIGHT = 60, 50


def picture(path, number=0):
    """Write an image whose pixels no other one has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([number, *path.name.encode()]).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path, class_map=None, **choices):
    return formats.read_labels(path, choices=Choices(**choices), classes=ClassMap(class_map or {}, complete=True))


def contents(labels):
    """Return exam -> (boxes, classes, findings of the whole image)."""
    return {exam: (one.boxes_xyxy_px.tolist(), one.class_names, one.findings) for exam, one in labels.exams.items()}


WHOLE, NEGATIVE = ([], (), ("pneumonia",)), ([], (), ())


def one_box(*corners):
    return [list(corners)], ("pneumonia",), ()


# NIH ChestX-ray14

ENTRIES = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],"
    "OriginalImagePixelSpacing[x,y],",
    "00000001_000.png,Cardiomegaly|Pneumonia,0,1,58,M,PA,2682,2749,0.143,0.143,",
    "00000001_001.png,Pneumonia,1,1,58,M,PA,2682,2749,0.143,0.143,",
    "00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,",
    "00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.143,0.143,",
)
PLACES = (
    "Image Index,Finding Label,Bbox [x,y,w,h],,,",
    "00000001_000.png,Pneumonia,10.5,20,30.25,15,,,",
    "00000003_000.png,Atelectasis,1,2,3,4,,,",
)


@pytest.fixture
def nih(tmp_path):
    folder = tmp_path / "nih"
    text(folder / "Data_Entry_2017_v2020.csv", *ENTRIES)
    text(folder / "BBox_List_2017.csv", *PLACES)
    for line in ENTRIES[1:]:
        picture(folder / "images" / line.partition(",")[0])
    return folder


def test_nih_findings_of_whole_images(nih):
    labels = read(nih / "Data_Entry_2017_v2020.csv")
    assert contents(labels) == {
        "00000001_000": WHOLE,
        "00000001_001": WHOLE,
        "00000002_000": NEGATIVE,
        "00000003_000": NEGATIVE,
    }
    assert labels.patients == {"00000001_000": "1", "00000001_001": "1", "00000002_000": "2", "00000003_000": "3"}
    assert labels.notes == {"objects of the class 'Cardiomegaly' left out": 1, "objects of the class 'Hernia' left out": 1}


def test_nih_lists_are_its_own_split(nih):
    text(nih / "train_val_list.txt", "00000001_000.png", "00000001_001.png", "00000002_000.png")
    text(nih / "test_list.txt", "00000003_000.png")
    assert read(nih).splits == {"00000001_000": "train", "00000001_001": "train", "00000002_000": "train", "00000003_000": "test"}


def test_nih_boxes_alone_say_nothing_of_images_with_other_boxes(nih):
    labels = read(nih / "BBox_List_2017.csv")
    assert contents(labels) == {"00000001_000": one_box(10.5, 20, 40.75, 35)}
    assert labels.patients == {"00000001_000": "1"}


def test_nih_folder_has_boxes_where_there_are_some(nih):
    labels = read(nih)
    assert contents(labels)["00000001_000"] == one_box(10.5, 20, 40.75, 35)
    assert contents(labels)["00000001_001"] == WHOLE
    assert contents(labels)["00000003_000"] == NEGATIVE


def test_nih_other_classes(nih):
    labels = read(nih, {"Hernia": "pneumonia"})
    assert [exam for exam, one in labels.exams.items() if one.positive] == ["00000003_000"]
    with pytest.raises(ConfigError, match=r"--class-map names the class 'Edema', but .* has 'Pneumonia' \(3 objects\)"):
        read(nih, {"Edema": "pneumonia"})
    with pytest.raises(ConfigError, match="leads to 'pneumothorax', but the label map has"):
        read(nih, {"Hernia": "pneumothorax"})


def test_set_without_the_finding(tmp_path):
    path = text(tmp_path / "Data_Entry_2017.csv", ENTRIES[0], ENTRIES[-1])
    with pytest.raises(DataError, match=r"has no finding 'Pneumonia'. It has 'Hernia' \(1\). Say which is pneumonia, such as --class-map"):
        read(path)


def test_nih_rejects_a_row_without_findings(nih):
    text(nih / "Data_Entry_2017_v2020.csv", *ENTRIES, "00000009_000.png,,0,9,58,M,PA,2682,2749,0.143,0.143,")
    assert read(nih).rejected == [("00000009_000", "line 6: Finding Labels is empty")]


# VinDr-CXR

READS = (
    "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max",
    "a1,Lung Opacity,7,R8,10,10,30,30",
    "a1,Lung Opacity,7,R9,12,10,32,30",
    "a1,Lung Opacity,7,R10,40,5,50,15",
    "a1,Cardiomegaly,3,R9,1,1,50,50",
    "b2,No finding,14,R8,,,,",
    "b2,No finding,14,R9,,,,",
    "c3,Consolidation,4,R9,5,5,20,20",
    "c3,Consolidation,4,R11,5,5,20,22",
)


@pytest.mark.parametrize(
    ("readers", "expected"),
    [
        pytest.param("union", {"a1": 3, "b2": 0, "c3": 2}, id="union"),
        pytest.param("fused", {"a1": 2, "b2": 0, "c3": 1}, id="fused"),
        pytest.param("intersection", {"a1": 0, "b2": 0, "c3": 1}, id="intersection"),
        pytest.param("R8", {"a1": 1, "b2": 0}, id="one reader"),
    ],
)
def test_vindr_readers(tmp_path, readers, expected):
    labels = read(text(tmp_path / "train.csv", *READS), readers=readers)
    assert {exam: len(one.boxes_xyxy_px) for exam, one in labels.exams.items()} == expected
    assert labels.rejected == []


def test_vindr_fused_box_is_the_mean_of_one_finding(tmp_path):
    labels = read(text(tmp_path / "train.csv", *READS), readers="fused")
    assert labels.exams["a1"].boxes_xyxy_px.tolist() == [[11, 10, 31, 30], [40, 5, 50, 15]]
    assert labels.notes == {"objects of the class 'Cardiomegaly' left out": 1}


def test_vindr_says_what_one_reader_did_not_read(tmp_path):
    path = text(tmp_path / "train.csv", *READS)
    assert read(path, readers="R8").notes["image that R8 did not read"] == 1
    with pytest.raises(ConfigError, match="No row of .*train.csv is of the reader R7; its readers are R10, R11, R8, R9"):
        read(path, readers="R7")
    with pytest.raises(ConfigError, match="readers is 'both'"):
        read(path, readers="both")


def test_vindr_consensus_without_readers(tmp_path):
    path = text(
        tmp_path / "annotations_test.csv", "image_id,class_name,x_min,y_min,x_max,y_max", "a,Consolidation,1,2,3,4", "b,No finding,,,,"
    )
    assert contents(read(path)) == {"a": one_box(1, 2, 3, 4), "b": NEGATIVE}


# SIIM-FISABIO COVID-19

OF_IMAGES = (
    "id,boxes,label,StudyInstanceUID",
    "\"aa_image\",\"[{'x': 1.5, 'y': 2, 'width': 3, 'height': 4}]\",opacity 1 1.5 2 4.5 6 opacity 1 10 10 20 20,s1",
    "bb_image,,none 1 0 0 1 1,s2",
    "cc_image,,none 1 0 0 1 1,s1",
)
OF_STUDIES = (
    "id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance",
    "s1_study,0,1,0,0",
    "s2_study,1,0,0,0",
)


def test_siim_images(tmp_path):
    labels = read(text(tmp_path / "train_image_level.csv", *OF_IMAGES))
    two = ([[1.5, 2, 4.5, 6], [10, 10, 20, 20]], ("pneumonia",) * 2, ())
    assert contents(labels) == {"aa": two, "bb": NEGATIVE, "cc": NEGATIVE}
    assert labels.patients == {"aa": "s1", "bb": "s2", "cc": "s1"}


def test_siim_image_without_boxes_of_a_positive_study_is_no_negative(tmp_path):
    text(tmp_path / "train_image_level.csv", *OF_IMAGES)
    studies = text(tmp_path / "train_study_level.csv", *OF_STUDIES)
    labels = read(tmp_path)
    assert list(labels.exams) == ["aa", "bb"]
    assert labels.notes == {"image without a box, of a study that is not negative": 1}
    with pytest.raises(DataError, match=r"says what studies show, and not where. Give train_image_level.csv, or the folder"):
        read(studies)


def test_siim_rejects_half_an_object(tmp_path):
    labels = read(text(tmp_path / "train_image_level.csv", *OF_IMAGES, "dd_image,,opacity 1 1.5 2 4.5,s4"))
    assert labels.rejected == [("dd", "line 5: label has 5 words, must have 6 for each object (opacity 1 x1 y1 x2 y2)")]


# CheXpert, MIMIC-CXR-JPG

CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Pneumonia,Support Devices",
    "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,,,1.0,1.0",
    "CheXpert-v1.0-small/train/patient00001/study2/view1_frontal.jpg,Female,68,Frontal,AP,,,-1.0,",
    "CheXpert-v1.0-small/train/patient00002/study1/view1_frontal.jpg,Male,40,Frontal,PA,1.0,,,",
    "CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg,Male,40,Lateral,,1.0,,,",
)
FIRST, SECOND, THIRD = "patient00001_study1_view1_frontal", "patient00001_study2_view1_frontal", "patient00002_study1_view1_frontal"


@pytest.mark.parametrize(
    ("uncertain", "expected"),
    [
        pytest.param("leave-out", {FIRST: True, THIRD: False}, id="leave out"),
        pytest.param("positive", {FIRST: True, SECOND: True, THIRD: False}, id="positive"),
        pytest.param("negative", {FIRST: True, SECOND: False, THIRD: False}, id="negative"),
    ],
)
def test_chexpert_uncertain(tmp_path, uncertain, expected):
    labels = read(text(tmp_path / "train.csv", *CHEXPERT), uncertain=uncertain)
    assert {exam: one.positive for exam, one in labels.exams.items()} == expected
    assert labels.patients[FIRST] == "patient00001"
    assert labels.notes["lateral image left out"] == 1


def test_chexpert_images_of_one_name_are_exams_of_their_own(tmp_path):
    labels = text(tmp_path / "CheXpert-v1.0-small" / "train.csv", *CHEXPERT)
    for line in CHEXPERT[1:]:
        picture(tmp_path / line.partition(",")[0], len(line))
    out = tmp_path / "records"
    manifest = conversion.convert(
        Inputs(dicom_dir=labels.parent, labels=labels), out, Settings(val_fraction=0.5, uncertain="positive", match="auto")
    )
    assert sorted((one.patient_id, one.image_class_name) for one in records(out)) == [
        (FIRST, "pneumonia"),
        (SECOND, "pneumonia"),
        (THIRD, "no-pneumonia"),
    ]
    assert manifest.split.by == "labels"
    assert manifest.split.patients == 2
    assert manifest.counts["labels: lateral image left out"] == 1


def test_mimic_names_images_in_another_table(tmp_path):
    path = tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz"
    path.write_bytes(gzip.compress(b"subject_id,study_id,No Finding,Pneumonia\n10,50,,1.0\n11,51,1.0,\n"))
    with pytest.raises(DataError, match="names studies and no images. Put mimic-cxr-2.0.0-metadata.csv.gz beside it"):
        read(path)
    text(
        tmp_path / "mimic-cxr-2.0.0-metadata.csv",
        "dicom_id,subject_id,study_id,ViewPosition",
        "d1,10,50,PA",
        "d2,10,50,LATERAL",
        "d3,11,51,AP",
        "d4,12,52,AP",
    )
    labels = read(tmp_path)
    assert contents(labels) == {"d1": WHOLE, "d3": NEGATIVE}
    assert labels.patients == {"d1": "10", "d3": "11"}
    text(tmp_path / "mimic-cxr-2.0.0-split.csv", "dicom_id,study_id,subject_id,split", "d1,50,10,validate", "d3,51,11,test")
    assert read(tmp_path).splits == {"d1": "val", "d3": "test"}


# Kermany


@pytest.fixture
def kermany(tmp_path):
    folder = tmp_path / "chest_xray"
    names = (
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/person1_virus_2.jpeg",
        "test/PNEUMONIA/person3_virus_4.jpeg",
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/IM-0115-0002.jpeg",
        "val/NORMAL/NORMAL2-IM-1440-0001.jpeg",
    )
    for number, name in enumerate(names):
        picture(folder / name, number)
    text(folder / "train/NORMAL/._IM-0115-0001.jpeg", "\x00\x05\x16\x07")
    text(folder / "__MACOSX/train/NORMAL/IM-0115-0001.jpeg", "\x00\x05\x16\x07")
    return folder


def test_kermany_folders(kermany):
    labels = read(kermany)
    assert contents(labels) == {
        "person1_bacteria_1": WHOLE,
        "person1_virus_2": WHOLE,
        "person3_virus_4": WHOLE,
        "IM-0115-0001": NEGATIVE,
        "IM-0115-0002": NEGATIVE,
        "NORMAL2-IM-1440-0001": NEGATIVE,
    }
    assert sorted(set(labels.patients.values())) == ["IM-0115", "NORMAL2-IM-1440", "person1", "person3"]


def exams_of(folder):
    return {split.name: set(split.names) for split in RecordSet.open(folder).each_split()}


def test_kermany_s_own_split_is_kept_but_for_patients_in_several_of_its_parts(kermany, tmp_path):
    inputs = Inputs(dicom_dir=kermany, labels=kermany)
    manifest = conversion.convert(inputs, tmp_path / "own")
    assert manifest.split.own == ("train", "val", "test")
    assert manifest.split.own_moved == 0
    expected = {
        "train": {"person1_bacteria_1", "person1_virus_2", "IM-0115-0001", "IM-0115-0002"},
        "val": {"NORMAL2-IM-1440-0001"},
        "test": {"person3_virus_4"},
    }
    assert exams_of(tmp_path / "own") == expected
    picture(kermany / "test/PNEUMONIA/person1_virus_9.jpeg", 9)
    manifest = conversion.convert(inputs, tmp_path / "moved")
    assert manifest.split.own_moved == 2
    assert exams_of(tmp_path / "moved")["test"] == {"person3_virus_4", "person1_bacteria_1", "person1_virus_2", "person1_virus_9"}
    manifest = conversion.convert(inputs, tmp_path / "dealt", Settings(own_split="ignore", test_fraction=0))
    assert manifest.split.own == ()
    assert exams_of(tmp_path / "dealt").keys() == {"train", "val"}
    (tmp_path / "split.csv").write_text("patientId,split\nperson3_virus_4,train\n")
    manifest = conversion.convert(dataclasses.replace(inputs, split_file=tmp_path / "split.csv"), tmp_path / "file")
    assert manifest.split.own == ()
    assert "person3_virus_4" in exams_of(tmp_path / "file")["train"]


def test_of_an_own_split_folds_keep_test(kermany, tmp_path):
    for number in range(6):
        picture(kermany / f"train/NORMAL/IM-02{number:02}-0001.jpeg", 20 + number)
    manifest = conversion.convert(Inputs(dicom_dir=kermany, labels=kermany), tmp_path / "folds", Settings(folds=2))
    assert manifest.split.own == ("test",)
    assert exams_of(tmp_path / "folds")["test"] == {"person3_virus_4"}


def test_patients_of_kermany_are_known_by_a_pattern_or_not(kermany, tmp_path):
    picture(kermany / "train/NORMAL/other.jpeg", 30)
    conversion.convert(Inputs(dicom_dir=kermany, labels=kermany), tmp_path / "out")
    origins = {
        image["file_name"]: image["patient_by"]
        for split in RecordSet.open(tmp_path / "out").each_split()
        for image in split.instances["images"]
    }
    assert origins.pop("other") == "none"
    assert set(origins.values()) == {"labels"}


def test_kermany_copies_are_one_image_and_equal_names_two(kermany):
    for number, name in enumerate(("chest_xray/train/NORMAL/IM-0115-0001.jpeg", "test/NORMAL/IM-0115-0001.jpeg")):
        picture(kermany / name, 7 + number)
    labels = read(kermany)
    assert len(labels.exams) == 7
    assert labels.duplicate_rows == 1
    assert {"train_NORMAL_IM-0115-0001", "test_NORMAL_IM-0115-0001"} <= labels.exams.keys()
    assert labels.patients["test_NORMAL_IM-0115-0001"] == labels.patients["train_NORMAL_IM-0115-0002"] == "IM-0115"


def test_kermany_records_train_classifiers_and_no_detector(kermany, tmp_path):
    out = tmp_path / "records"
    conversion.convert(Inputs(dicom_dir=kermany, labels=kermany), out, Settings(val_fraction=0.5))
    opened = RecordSet.open(out)
    positive = {name: bool(one) for split in opened.each_split() for name, one in zip(split.names, split.positive, strict=True)}
    assert positive == {name: name.startswith("person") for name in read(kermany).exams}
    assert sum(one.positive_exams for one in opened.manifest.splits.values()) == 3
    with pytest.raises(
        DataError, match=r"A detector needs boxes, but \d of \d positive exams in (train|val) of .* --image-level leave-out"
    ):
        box_audit.check_has_boxes(opened)
    with pytest.raises(DataError, match=r"3 exams have findings without boxes .* 'voc' cannot hold. Choose 'coco'"):
        label_export.export_labels(out, tmp_path / "voc", format="voc")
    label_export.export_labels(out, tmp_path / "coco", format="coco")
    again = formats.read_labels(tmp_path / "coco" / "instances.json")
    assert {exam: one.findings for exam, one in again.exams.items()} == {exam: one.findings for exam, one in read(kermany).exams.items()}


def test_the_command_says_what_is_not_used_and_what_to_train(tmp_path, capsys):
    for line in CHEXPERT[1:]:
        picture(tmp_path / line.partition(",")[0], len(line))
    labels = text(tmp_path / "CheXpert-v1.0-small" / "train.csv", *CHEXPERT)
    flags = ["--image-dir", labels.parent, "--labels", labels, "--output-dir", tmp_path / "records", "--val-fraction", "0.5"]
    assert make_tfrecords.main([*map(str, flags)]) == 0
    said = capsys.readouterr().out
    assert "labels: lateral image left out: 1" in said
    assert "labels: exam with an uncertain finding left out: 1" in said
    assert f"train_classifier.py --data {tmp_path / 'records'} --run my_first" in said


def test_a_set_with_boxes_of_some_is_for_classifiers_as_well(nih, tmp_path, capsys):
    flags = ["--image-dir", nih / "images", "--labels", nih, "--output-dir", tmp_path / "records", "--val-fraction", "0.5"]
    assert make_tfrecords.main([*map(str, flags)]) == 0
    said = capsys.readouterr().out
    assert "labels: positive exams without a box: 1" in said
    assert "tools/train_classifier.py --data" in said, "a detector would refuse these records"


def test_positive_exams_without_boxes_can_be_left_out(nih, tmp_path):
    manifest = conversion.convert(
        Inputs(dicom_dir=nih / "images", labels=nih), tmp_path / "records", Settings(image_level="leave-out", val_fraction=0.5)
    )
    assert manifest.skipped == {"positive without a box": ("00000001_001",)}
    assert sum(split.exams for split in manifest.splits.values()) == 3
    box_audit.check_has_boxes(RecordSet.open(tmp_path / "records"))


@pytest.fixture
def pairs(kermany, tmp_path):
    """Return the folder of the set in the form of Keras' example: images.tfrec and paths.tfrec for each split."""
    from pneumodet.data import tfrecord

    out = tmp_path / "ChestXRay2017"
    for split in ("train", "test"):
        (out / split).mkdir(parents=True)
        files = sorted(path for path in (kermany / split).rglob("*.jpeg") if not path.name.startswith("."))
        names = [f"gs://bucket/data/ChestXRay2017/{path.relative_to(kermany).as_posix()}" for path in files]
        for name, written in (("images.tfrec", [path.read_bytes() for path in files]), ("paths.tfrec", [one.encode() for one in names])):
            with open(out / split / name, "wb") as file:
                writer = tfrecord.Writer(file)
                for one in written:
                    writer.write(one)
    return out


def test_tfrecords_of_the_keras_example(pairs, kermany, tmp_path):
    labels = read(pairs)
    assert contents(labels) == {exam: one for exam, one in contents(read(kermany)).items() if not exam.startswith("NORMAL2")}
    conversion.convert(Inputs(dicom_dir=pairs, labels=pairs), tmp_path / "records", Settings(val_fraction=0.5))
    written = {one.patient_id: one.encoded for one in records(tmp_path / "records")}
    assert written.keys() == labels.exams.keys()
    assert written["IM-0115-0001"] == (kermany / "train/NORMAL/IM-0115-0001.jpeg").read_bytes()


def test_tfrecords_of_the_keras_example_that_do_not_fit(pairs):
    (pairs / "test" / "paths.tfrec").write_bytes(b"")
    with pytest.raises(DataError, match="test has 1 images and 0 paths. Get both files again"):
        read(pairs)


# YOLO


@pytest.fixture
def yolo(tmp_path):
    folder = tmp_path / "yolo"
    for number, name in enumerate(("train/images/a.jpg", "train/images/b.png", "valid/images/c.jpg")):
        picture(folder / name, number)
    text(folder / "train/labels/a.txt", "1 0.5 0.5 0.5 0.2", "0 0.1 0.1 0.3 0.1 0.2 0.3")
    text(folder / "valid/labels/c.txt", "")
    text(folder / "data.yaml", "train: ../train/images", "val: ../valid/images", "nc: 2", "names: ['opacity', 'pneumonia']")
    return folder


def test_yolo_of_roboflow(yolo):
    labels = read(yolo / "data.yaml", {"opacity": "pneumonia"})
    assert [*labels.exams] == ["a", "b", "c"]
    assert labels.exams["a"].class_names == ("pneumonia", "pneumonia")
    np.testing.assert_allclose(labels.exams["a"].boxes_xyxy_px, [[15, 20, 45, 30], [6, 5, 18, 15]])
    assert labels.exams["a"].size_hw == (HEIGHT, WIDTH)
    assert not labels.exams["b"].positive
    assert labels.notes == {"outline of a finding, of which the box is taken": 1}
    assert contents(read(yolo, {"opacity": "pneumonia"})) == contents(labels)
    assert labels.splits == {"a": "train", "b": "train", "c": "val"}
    with pytest.raises(DataError, match='--class-map "opacity=pneumonia"'):
        read(yolo)


def test_yolo_of_label_studio_and_of_cvat(tmp_path):
    folder = tmp_path / "studio"
    text(folder / "classes.txt", "pneumonia")
    picture(folder / "images" / "a.png")
    text(folder / "labels" / "a.txt", "0 0.5 0.5 0.5 0.2")
    assert read(folder).exams["a"].class_names == ("pneumonia",)
    cvat = tmp_path / "cvat"
    picture(cvat / "images/train/a.png")
    text(cvat / "labels/train/a.txt", "0 0.5 0.5 0.5 0.2")
    text(cvat / "train.txt", "data/images/train/a.png")
    text(cvat / "data.yaml", "path: .", "train: train.txt", "names:", "  0: pneumonia")
    assert read(cvat).exams["a"].class_names == ("pneumonia",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("7 0.5 0.5 0.5 0.2", "there is no class '7'; there are 0, 1", id="class"),
        pytest.param("1 0.5 0.5 0.5", "the line has 4 numbers, must have 5", id="short"),
        pytest.param("1 30 25 10 10", "a coordinate is far outside of the image", id="pixels"),
        pytest.param("1 0.5 0.3 0.7 0.5 0.5 0.7 0.3 0.5", "a rotated box (8 coordinates)", id="rotated"),
        pytest.param("1 0.5 0.5 0 0.2", "the box has no area", id="no area"),
    ],
)
def test_yolo_rejects_the_exam(yolo, line, reason):
    if reason.startswith("a rotated"):
        Image.new("L", (50, 50)).save(yolo / "train/images/b.png")  # a square: its diamond is a rotated box
    text(yolo / "train/labels/b.txt", line)
    ((exam, said),) = read(yolo, {"opacity": "pneumonia"}).rejected
    assert exam == "b"
    assert said.startswith(f"train/labels/b.txt, line 1: {reason}")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(("train: here", "names: [a]"), "there is no here", id="no folder"),
        pytest.param(("train: train/images", "names: 3"), "names is 3, must be a list of classes", id="no names"),
        pytest.param(("train: [",), "is not valid YAML", id="no YAML"),
        pytest.param(("- a",), "must have the keys names, train and val", id="a list"),
    ],
)
def test_yolo_refuses_a_damaged_data_yaml(yolo, lines, message):
    text(yolo / "data.yaml", *lines)
    with pytest.raises(DataError, match=message):
        read(yolo)


def test_yolo_there_and_back(tmp_path):
    folder = tmp_path / "in"
    boxes = {"a": [[1.25, 2, 31.3, 47.7]], "b": [], "c": [[0, 0, 60, 50], [7, 7, 9.1, 9.3]]}
    rows = []
    for exam, of_exam in boxes.items():
        picture(folder / f"{exam}.png")
        rows += [f"{exam}.png,{WIDTH},{HEIGHT},pneumonia,{','.join(map(str, box))}" for box in of_exam]
    labels = text(folder / "labels.csv", ",".join(formats.CSV_COLUMNS), *rows, f"b.png,{WIDTH},{HEIGHT},,,,,")
    conversion.convert(Inputs(dicom_dir=folder, labels=labels), tmp_path / "records", Settings(val_fraction=0.3))
    with pytest.raises(ConfigError, match="Give --images"):
        label_export.export_labels(tmp_path / "records", tmp_path / "out", format="yolo")
    card = label_export.export_labels(tmp_path / "records", tmp_path / "out", format="yolo", images=True)
    assert (card["labels"], card["exams"], card["boxes"], card["negatives"]) == ("data.yaml", 3, 3, 1)
    again = read(tmp_path / "out")
    assert again.exams.keys() == boxes.keys()
    for exam, of_exam in boxes.items():
        np.testing.assert_allclose(again.exams[exam].boxes_xyxy_px, np.reshape(of_exam, (-1, 4)), atol=1e-5)  # records have float32 shares
    conversion.convert(
        Inputs(dicom_dir=tmp_path / "out" / "images", labels=tmp_path / "out" / "data.yaml", split_file=tmp_path / "out" / "split.csv"),
        tmp_path / "again",
        Settings(),
    )
    first, second = (RecordSet.open(tmp_path / name).manifest.splits for name in ("records", "again"))
    assert {name: one.exams for name, one in first.items()} == {name: one.exams for name, one in second.items()}


# Label Studio, CVAT


def test_names_and_ids_of_labelling_tools(tmp_path):
    for name in ("IM 0001.png", "b.png", "c.png"):
        picture(tmp_path / "images" / name)
    box = {"id": 0, "image_id": 0, "category_id": 0, "bbox": [1, 2, 10, 10], "iscrowd": 0}
    images = [
        {"id": 0, "file_name": "images/8a1f22c0-IM%200001.png"},
        {"id": 1, "file_name": "upload/3/b.png"},
        {"id": 2, "file_name": "c.png"},
    ]
    turned = {"id": 1, "image_id": 2, "category_id": 0, "bbox": [1, 2, 10, 10], "attributes": {"occluded": False, "rotation": 30.5}}
    data = {"images": images, "annotations": [box, turned], "categories": [{"id": 0, "name": "pneumonia"}]}
    labels = text(tmp_path / "result.json", json.dumps(data))
    manifest = conversion.convert(Inputs(dicom_dir=tmp_path / "images", labels=labels), tmp_path / "records", Settings(val_fraction=0.5))
    assert {one.patient_id: len(one.class_ids) for one in records(tmp_path / "records")} == {"IM 0001": 1, "b": 0}
    assert manifest.skipped == {"label rejected": ("c: annotation 1: the box is rotated by 30.5 degrees. Draw an upright one",)}


def test_rotated_box_of_cvat_in_voc(tmp_path):
    text(
        tmp_path / "voc" / "a.xml",
        f"<annotation><filename>a.png</filename><size><width>{WIDTH}</width><height>{HEIGHT}</height></size><object><name>pneumonia</name>",
        "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>",
        "<attributes><attribute><name>rotation</name><value>12.0</value></attribute></attributes></object></annotation>",
    )
    assert read(tmp_path / "voc").rejected == [("a", "a.xml, object 1: the box is rotated by '12.0' degrees. Draw an upright one")]


def test_two_uploads_of_one_file_are_not_guessed(tmp_path):
    from pneumodet.data import tool_names

    header = ",".join(formats.CSV_COLUMNS)
    labels = read(
        text(tmp_path / "l.csv", header, "8a1f22c0-a.png,9,9,,,,,", "8a1f22c1-a.png,9,9,pneumonia,1,1,2,2", "8a1f22c2-b.png,9,9,,,,,")
    )
    assert [*tool_names.renamed(labels, {"a", "b"}).exams] == ["8a1f22c0-a", "8a1f22c1-a", "b"]
