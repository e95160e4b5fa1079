"""What can be asked of a conversion besides the usual: folds, strata, split files, masks, scaling, other labels and images."""

import csv
import io
import json

import numpy as np
import pydicom
import pytest
from PIL import Image
from record_making import convert, records

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import annotations, formats, label_export, object_masks, record_sets, splits, synthetic, verification
from pneumodet.dicom import reading


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Return a data set of 40 small exams with made-up patients."""
    return synthetic.make_dataset(tmp_path_factory.mktemp("many"), exams=40, size=64, seed=3)


def exams_of(folder, split):
    return {image["file_name"] for image in json.loads((folder / f"instances_{split}.json").read_text())["images"]}


def test_folds_are_record_sets_over_the_same_shards(many, tmp_path):
    manifest = convert(many, tmp_path / "out", patient_map=many.patient_map, folds=3)
    assert list(manifest["splits"]) == ["fold-0", "fold-1", "fold-2"]
    assert verification.verify(tmp_path / "out") == []
    patients = annotations.read_patient_map(many.patient_map)
    everyone = set()
    for number in range(3):
        fold = tmp_path / "out" / f"fold-{number}"
        of_fold = record_sets.RecordSet.open(fold).manifest.to_json()
        assert verification.verify(fold) == []
        train, val = exams_of(fold, "train"), exams_of(fold, "val")
        assert (
            val
            == exams_of(tmp_path / "out", f"fold-{number}")
            == {record.patient_id for record in records(tmp_path / "out", f"fold-{number}")}
        )
        assert len(train) + len(val) == 40 == of_fold["splits"]["train"]["exams"] + of_fold["splits"]["val"]["exams"]
        assert not {patients[exam] for exam in train} & {patients[exam] for exam in val}
        annotations_of = json.loads((fold / "instances_train.json").read_text())["annotations"]
        assert [one["id"] for one in annotations_of] == list(range(1, len(annotations_of) + 1))
        assert not list(fold.glob("*.tfrecord"))
        everyone |= val
    assert len(everyone) == 40


def test_test_patients_stand_aside_of_all_folds(many, tmp_path):
    manifest = convert(many, tmp_path / "out", patient_map=many.patient_map, folds=3, test_fraction=0.2)
    assert list(manifest["splits"]) == ["fold-0", "fold-1", "fold-2", "test"]
    convert(many, tmp_path / "plain", patient_map=many.patient_map, test_fraction=0.2, val_fraction=0.3)
    tested = exams_of(tmp_path / "out", "test")
    assert tested == exams_of(tmp_path / "plain", "test") != set(), "who is in test depends on neither folds nor the share of val"
    for number in range(3):
        fold = record_sets.RecordSet.open(tmp_path / "out" / f"fold-{number}")
        assert set(fold.test.names) == tested
        assert not tested & {*fold.train.names, *fold.val.names}
        assert verification.verify(fold.folder) == []


def test_where_the_patient_of_each_exam_is_known_from(many, tmp_path):
    convert(many, tmp_path / "map", patient_map=many.patient_map)
    convert(many, tmp_path / "none")
    for name in ("map", "none"):
        images = json.loads((tmp_path / name / "instances_train.json").read_text())["images"]
        assert {image["patient_by"] for image in images} == {name}


def test_strata_are_balanced_and_told(many, tmp_path):
    arguments = {"patient_map": many.patient_map, "class_info": many.class_info, "val_fraction": 0.25, "stratify": ("class", "sex", "view")}
    manifest = convert(many, tmp_path / "out", **arguments)
    assert manifest["split"]["stratified_by"] == ["class", "sex", "view"]
    patients = annotations.read_patient_map(many.patient_map)
    headers = {path.stem: pydicom.dcmread(path) for path in many.dicom_dir.iterdir()}
    for split in ("train", "val"):
        truth = json.loads((tmp_path / "out" / f"instances_{split}.json").read_text())
        for image in truth["images"]:
            header = headers[image["file_name"]]
            assert (image["view_position"], image["sex"]) == (header.ViewPosition, header.PatientSex)
        for name, key in (("exams_by_sex", "sex"), ("exams_by_view_position", "view_position"), ("exams_by_rsna_class", "rsna_class")):
            counts = manifest["splits"][split]["statistics"][name]
            assert counts == {value: sum(image[key] == value for image in truth["images"]) for value in counts}
    share = len({patients[exam] for exam in exams_of(tmp_path / "out", "val")}) / len(set(patients.values()))
    assert share == pytest.approx(0.25, abs=1 / len(set(patients.values())))


def test_an_earlier_split_is_kept_when_exams_are_added(many, tmp_path):
    half = tmp_path / "half.csv"
    with open(many.labels, newline="") as file:
        header, *rows = csv.reader(file)
    exams = sorted({row[0] for row in rows})[::2]
    with open(half, "w", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[0] in exams)])
    arguments = {"patient_map": many.patient_map, "stratify": ("class",), "val_fraction": 0.3}
    convert(many, tmp_path / "first", labels=half, **arguments)
    before = splits.read_split_file(tmp_path / "first" / "split.csv")
    convert(many, tmp_path / "then", split_file=tmp_path / "first" / "split.csv", **arguments)
    after = splits.read_split_file(tmp_path / "then" / "split.csv")
    assert {exam: after[exam] for exam in before} == before
    assert len(after) == 40


def test_a_split_file_may_name_other_splits(many, tmp_path):
    patients = annotations.read_patient_map(many.patient_map)
    exam = min(patients)
    (tmp_path / "split.csv").write_text(f"patientId,split\n{exam},test\n")
    manifest = convert(many, tmp_path / "out", patient_map=many.patient_map, split_file=tmp_path / "split.csv")
    assert list(manifest["splits"]) == ["train", "val", "test"]
    assert exams_of(tmp_path / "out", "test") == {other for other, patient in patients.items() if patient == patients[exam]}
    assert verification.verify(tmp_path / "out") == []


def test_a_split_file_with_folds(many, tmp_path):
    convert(many, tmp_path / "first", patient_map=many.patient_map, folds=3)
    own = tmp_path / "first" / "split.csv"
    convert(many, tmp_path / "again", patient_map=many.patient_map, folds=3, split_file=own, seed=9)
    assert (tmp_path / "again" / "split.csv").read_bytes() == own.read_bytes()
    some = tmp_path / "some.csv"
    some.write_text(
        "".join(own.read_text().splitlines(keepends=True)[:4]).replace("fold-0", "test").replace("fold-1", "test").replace("fold-2", "test")
    )
    manifest = convert(many, tmp_path / "tested", patient_map=many.patient_map, folds=3, split_file=some)
    assert list(manifest["splits"]) == ["fold-0", "fold-1", "fold-2", "test"]
    for number in range(3):
        fold = record_sets.RecordSet.open(tmp_path / "tested" / f"fold-{number}").manifest.to_json()
        assert fold["splits"]["test"]["exams"] == manifest["splits"]["test"]["exams"] > 0
        assert verification.verify(tmp_path / "tested" / f"fold-{number}") == []
    with pytest.raises(ConfigError, match="The split file names fold-2, but there are 2 folds. Say --folds"):
        convert(many, tmp_path / "out", patient_map=many.patient_map, folds=2, split_file=own)
    with pytest.raises(ConfigError, match="The split file names fold-2, but there are 0 folds"):
        convert(many, tmp_path / "out", patient_map=many.patient_map, split_file=own)
    some.write_text(some.read_text().replace("test", "val"))
    with pytest.raises(ConfigError, match="may name folds and other splits, such as test, but not train or val"):
        convert(many, tmp_path / "out", patient_map=many.patient_map, folds=3, split_file=some)


def test_a_split_file_tells_of_patients_whose_exam_is_gone(many, tmp_path):
    patients = annotations.read_patient_map(many.patient_map)
    exams = sorted(patients, key=lambda exam: list(patients.values()).count(patients[exam]))[-2:]
    exams = [exam for exam in patients if patients[exam] == patients[exams[-1]]]
    folder = tmp_path / "in"
    folder.mkdir()
    for path in many.dicom_dir.iterdir():
        if path.stem != exams[0]:
            (folder / path.name).symlink_to(path)
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(f"patientId,split\n{exams[0]},{split}\n")
        convert(many, tmp_path / split, dicom_dir=folder, patient_map=many.patient_map, split_file=tmp_path / f"{split}.csv")
        assert set(exams[1:]) <= exams_of(tmp_path / split, split)


def test_a_split_file_of_other_data(many, tmp_path):
    (tmp_path / "split.csv").write_text("patientId,split\nstranger,val\n")
    with pytest.raises(DataError, match=r"split.csv names none of the exams"):
        convert(many, tmp_path / "out", split_file=tmp_path / "split.csv")


def test_patients_by_tag_and_by_regular_expression(many, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    exams = annotations.read_rsna_labels(many.labels).exams
    rows = ["patientId,x,y,width,height,Target"]
    for index, exam in enumerate(exams):
        dataset = pydicom.dcmread(many.dicom_dir / f"{exam}.dcm")
        dataset.PatientID = f"patient{index // 4}"
        dataset.save_as(folder / f"{index // 4:04d}_{index}.dcm")
        rows.append(f"{index // 4:04d}_{index},,,,,0")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    arguments = {"dicom_dir": folder, "labels": tmp_path / "labels.csv", "val_fraction": 0.5}
    by_tag = convert(many, tmp_path / "tag", patient_tag=True, **arguments)
    by_regex = convert(many, tmp_path / "regex", patient_regex=r"^(\d+)_", **arguments)
    for manifest, by, name in ((by_tag, "PatientID", "tag"), (by_regex, "regular expression", "regex")):
        assert (manifest["split"]["by"], manifest["split"]["patients"]) == (by, 10)
        assert not {exam[:4] for exam in exams_of(tmp_path / name, "train")} & {exam[:4] for exam in exams_of(tmp_path / name, "val")}


def test_masks_are_the_boxes(many, tmp_path):
    convert(many, tmp_path / "out", masks=True, negatives="full-image")
    changed = 0
    for record in records(tmp_path / "out"):
        assert len(record.masks) == len(record.boxes_xyxy_px)
        for mask, (left, top, right, bottom) in zip(record.masks, record.boxes_xyxy_px, strict=True):
            pixels = np.asarray(Image.open(io.BytesIO(mask)))
            assert pixels.shape == (record.height, record.width)
            y, x = np.mgrid[0 : record.height, 0 : record.width] + 0.5
            np.testing.assert_array_equal(pixels, (x >= left) & (x < right) & (y >= top) & (y < bottom))
            changed += 1
    assert changed > 30


@pytest.mark.parametrize("box", [(63.6, 63.6, 64, 64), (0, 0, 0.2, 0.2), (10.6, 3, 11.2, 9)])
def test_a_mask_of_a_thin_box_has_a_pixel(box):
    pixels = np.asarray(Image.open(io.BytesIO(object_masks.encoded(tuple(map(float, box)), None, height=64, width=64))))
    assert pixels.any()


def test_the_api_reads_the_masks(many, tmp_path):
    tf_example_decoder = pytest.importorskip("pneumodet.models.detection.odapi").load()
    from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder
    from object_detection.protos import input_reader_pb2

    assert tf_example_decoder
    convert(many, tmp_path / "out", masks=True)
    decoder = TfExampleDecoder(load_instance_masks=True, instance_mask_type=input_reader_pb2.PNG_MASKS)
    from pneumodet.data import tfrecord

    for path in (tmp_path / "out").glob("train-00000*"):
        for data in tfrecord.read_records(path):
            tensors = decoder.decode(data)
            masks, boxes = tensors["groundtruth_instance_masks"].numpy(), tensors["groundtruth_boxes"].numpy()
            assert masks.shape == (len(boxes), 64, 64)
            for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
                assert mask.sum() == pytest.approx((bottom - top) * (right - left) * 64 * 64, rel=0.2)


@pytest.mark.parametrize("side", [32, 48])
def test_scaled_images_keep_the_meaning_of_their_boxes(many, tmp_path, side):
    convert(many, tmp_path / "whole")
    manifest = convert(many, tmp_path / "small", max_side=side)
    whole = {record.patient_id: record for record in records(tmp_path / "whole")}
    for record in records(tmp_path / "small"):
        assert (record.width, record.height) == (side, side)
        np.testing.assert_allclose(record.boxes_xyxy_px / side, whole[record.patient_id].boxes_xyxy_px / 64, atol=1e-6)
    truth = json.loads((tmp_path / "small" / "instances_train.json").read_text())
    assert {(image["width"], image["original_width"], image["original_height"]) for image in truth["images"]} == {(side, 64, 64)}
    assert manifest["splits"]["train"]["statistics"]["sizes"] == {f"{side}x{side}": manifest["splits"]["train"]["exams"]}


def test_pictures_instead_of_dicom_and_labels_of_another_format(many, tmp_path):
    folder = tmp_path / "png"
    folder.mkdir()
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    exams = annotations.read_rsna_labels(many.labels).exams
    for exam, labels in exams.items():
        Image.fromarray(reading.read_pixels(many.dicom_dir / f"{exam}.dcm")).save(folder / f"{exam}.png")
        rows += [f"{exam}.png,64,64,pneumonia,{','.join(map(repr, box))}" for box in labels.boxes_xyxy_px.tolist()]
        rows += [] if labels.positive else [f"{exam}.png,64,64,no-pneumonia,,,,"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    convert(many, tmp_path / "from_dicom")
    manifest = convert(many, tmp_path / "from_png", dicom_dir=folder, labels=tmp_path / "labels.csv")
    assert manifest["counts"]["images_copied"] == 40
    expected = {record.patient_id: record for record in records(tmp_path / "from_dicom")}
    for record in records(tmp_path / "from_png"):
        assert record.image_format == "png"
        np.testing.assert_array_equal(record.boxes_xyxy_px, expected[record.patient_id].boxes_xyxy_px)
        assert record.class_names == expected[record.patient_id].class_names


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param("{}.dcm,128,128,pneumonia,1,1,20,20", "has 64 x 64 px, but its labels are for 128 x 128 px", id="another size"),
    ],
)
def test_labels_that_do_not_fit_reject_the_exam(many, tmp_path, row, reason):
    one, other = sorted(path.stem for path in many.dicom_dir.iterdir())[:2]
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    (tmp_path / "labels.csv").write_text(f"{header}\n{row.format(one)}\n{other}.dcm,64,64,pneumonia,1,1,20,20\n")
    manifest = convert(many, tmp_path / "out", labels=tmp_path / "labels.csv")
    (text,) = manifest["skipped"]["DICOM rejected"]
    assert reason in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"folds": 1}, "folds is 1, must be at least 2", id="one fold"),
        pytest.param({"stratify": ("age",)}, "stratify has 'age', must be of 'class', 'view', 'sex'", id="stratum"),
        pytest.param({"quality": "on"}, "quality is 'on', must be one of 'off'", id="quality"),
        pytest.param({"normalize": "x"}, "normalize is 'x', must be one of 'none'", id="normalize"),
        pytest.param({"patient_tag": True, "patient_regex": "x"}, "two ways to identify the patient", id="two patients"),
    ],
)
def test_settings_that_are_not_allowed(many, tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        convert(many, tmp_path / "out", **arguments)


def test_a_patient_in_two_given_splits(many, tmp_path):
    patients = annotations.read_patient_map(many.patient_map)
    several = next(patient for patient in patients.values() if list(patients.values()).count(patient) > 1)
    exams = [exam for exam, patient in patients.items() if patient == several]
    (tmp_path / "split.csv").write_text(f"patientId,split\n{exams[0]},train\n{exams[1]},val\n")
    with pytest.raises(DataError, match="The split leaks"):
        convert(many, tmp_path / "out", patient_map=many.patient_map, split_file=tmp_path / "split.csv")


@pytest.mark.parametrize("format", ["rsna", "csv", "voc", "coco"])
def test_labels_of_scaled_records_are_those_of_the_radiographs(many, tmp_path, format):
    """The export without images goes with the DICOM files; with images, with these."""
    convert(many, tmp_path / "small", max_side=48)
    label_export.export_labels(tmp_path / "small", tmp_path / "labels", format=format)
    exams = annotations.read_rsna_labels(many.labels).exams
    for exam, read in formats.read_labels(tmp_path / "labels" / label_export.LABELS[format]).exams.items():
        np.testing.assert_allclose(read.boxes_xyxy_px, exams[exam].boxes_xyxy_px, atol=1e-9)
        assert read.size_hw in (None, (64, 64))
    label_export.export_labels(tmp_path / "small", tmp_path / "both", format=format, images=True)
    labels, images = tmp_path / "both" / label_export.LABELS[format], tmp_path / "both" / label_export.IMAGES
    manifest = convert(many, tmp_path / "again", dicom_dir=images, labels=labels, split_file=tmp_path / "both" / "split.csv")
    assert manifest["skipped"] == {}
    first = {record.patient_id: record for record in records(tmp_path / "small")}
    for record in records(tmp_path / "again"):
        np.testing.assert_allclose(record.boxes_xyxy_px, first[record.patient_id].boxes_xyxy_px, atol=1e-4)
