"""DICOMs and labels -> a record set, end to end on synthetic radiographs."""

import csv
import dataclasses
import gzip
import io
import json
import os
import shutil
from collections import Counter

import numpy as np
import pydicom
import pytest
from PIL import Image
from pycocotools.coco import COCO
from record_making import convert, records

from pneumodet.core import detections, paths
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import annotations, dicom_images, label_map, planning, record_sets, shards, sources, splits, tfrecord
from pneumodet.data import synthetic as synthetic_data
from pneumodet.dicom import reading


@pytest.fixture
def source(synthetic, tmp_path):
    """Return a copy of the synthetic data set that a test may spoil."""
    folder = tmp_path / "source"
    shutil.copytree(synthetic.labels.parent, folder)
    return synthetic_data.Dataset(
        *(folder / getattr(synthetic, name).name for name in ("dicom_dir", "labels", "class_info", "patient_map"))
    )


@pytest.fixture(scope="module")
def done(synthetic, tmp_path_factory):
    """Return (record set, manifest) of the whole synthetic data set, not to be changed."""
    folder = tmp_path_factory.mktemp("done") / "records"
    return folder, convert(synthetic, folder, class_info=synthetic.class_info, patient_map=synthetic.patient_map, val_fraction=0.4)


def rows(source):
    with open(source.labels, newline="") as file:
        return list(csv.reader(file))


def rewrite(source, change):
    """Replace every row below the header by ``change(row)``, a list of rows."""
    header, *rest = rows(source)
    with open(source.labels, "w", newline="") as file:
        csv.writer(file).writerows([header, *(new for row in rest for new in change(row))])


def first(source, *, positive):
    return next(row[0] for row in rows(source)[1:] if row[5] == str(int(positive)))


def test_everything_is_there_and_counted(done, synthetic):
    folder, manifest = done
    labels = annotations.read_rsna_labels(synthetic.labels).exams
    patients = annotations.read_patient_map(synthetic.patient_map)
    assert {path.name for path in folder.iterdir()} == {
        *(f"train-{index:05d}-of-00004.tfrecord" for index in range(4)),
        *(f"val-{index:05d}-of-00004.tfrecord" for index in range(4)),
        "split.csv",
        "dataset_info.json",
        "features.json",
        "instances_train.json",
        "instances_val.json",
        "manifest.json",
    }
    assert json.loads((folder / "manifest.json").read_text()) == manifest == record_sets.RecordSet.open(folder).manifest.to_json()
    assert manifest["counts"] == {"images_copied": 12, "images_decoded": 0, "boxes_clipped": 0, "duplicate_rows": 0, "skipped": 0}
    assert (manifest["skipped"], manifest["clipped"]) == ({}, [])
    several = sum(count > 1 for count in Counter(patients.values()).values())
    expected = {"by": "patient map", "folds": 0, "stratified_by": [], "given": 0, "patients": len(set(patients.values()))}
    assert manifest["split"] == expected | {"own": [], "patients_with_several_exams": several, "patient_overlap": 0, "same_image": []}
    assert manifest["arguments"]["labels"] == {"name": synthetic.labels.name, "sha256": paths.sha256_file(synthetic.labels)}
    split_of = splits.assign(patients.values(), splits.Shares(val=0.4), seed=0)
    for name, split in manifest["splits"].items():
        expected = {exam for exam, patient in patients.items() if split_of[patient] == name}
        written = records(folder, name)
        assert len(written) == len(expected) == split["exams"]
        assert {record.patient_id for record in written} == expected
        assert split["patients"] == len({patients[exam] for exam in expected})
        assert split["positive_exams"] == sum(labels[exam].positive for exam in expected)
        assert split["boxes"] == sum(len(labels[exam].boxes_xyxy_px) for exam in expected)
        for shard in split["shards"]:
            path = folder / shard["name"]
            count = len(list(tfrecord.read_records(path)))
            assert (shard["sha256"], shard["bytes"], shard["examples"]) == (paths.sha256_file(path), path.stat().st_size, count)
        assert sum(shard["examples"] for shard in split["shards"]) == len(written)


def test_records_hold_the_images_and_labels(done, synthetic):
    labels = annotations.read_rsna_labels(synthetic.labels).exams
    for record in records(done[0]):
        exam = labels[record.patient_id]
        assert record.encoded == dicom_images.encode_image(synthetic.dicom_dir / f"{record.patient_id}.dcm").data
        np.testing.assert_allclose(record.boxes_xyxy_px, exam.boxes_xyxy_px, atol=1e-4)
        assert (record.image_class_name, record.image_class_id) == (("pneumonia", 2) if exam.positive else ("no-pneumonia", 1))
        assert record.class_names == ("pneumonia",) * len(exam.boxes_xyxy_px)
        assert record.class_ids == (2,) * len(exam.boxes_xyxy_px)


def test_tensorflow_reads_the_records_with_the_apis_keys(done, synthetic):
    import tensorflow as tf

    def parse(data):
        features = {key: tf.io.FixedLenFeature((), tf.string) for key in ("image/encoded", "image/source_id", "image/format")}
        features |= {f"image/object/bbox/{edge}": tf.io.VarLenFeature(tf.float32) for edge in ("xmin", "xmax", "ymin", "ymax")}
        features |= {"image/object/class/label": tf.io.VarLenFeature(tf.int64), "image/class/label": tf.io.FixedLenFeature((), tf.int64)}
        return tf.io.parse_single_example(data, features)

    files = [str(path) for path in done[0].glob("*.tfrecord")]
    examples = [parse(data) for data in tf.data.TFRecordDataset(files)]
    assert len(examples) == 12
    for example in examples:
        exam = example["image/source_id"].numpy().decode()
        pixels = tf.io.decode_jpeg(example["image/encoded"]).numpy()[:, :, 0]
        # two versions of libjpeg may round differently
        np.testing.assert_allclose(pixels.astype(int), reading.read_pixels(synthetic.dicom_dir / f"{exam}.dcm"), atol=4)
        boxes = [example[f"image/object/bbox/{edge}"].values.numpy() for edge in ("xmin", "ymin", "xmax", "ymax")]
        assert all(len(edge) == len(example["image/object/class/label"].values) for edge in boxes)
        assert bool(len(boxes[0])) == (example["image/class/label"].numpy() == 2)


@pytest.mark.parametrize("split", ["train", "val"])
def test_ground_truth_is_cocos_and_agrees_with_the_records(done, synthetic, capsys, split):
    coco = COCO(str(done[0] / f"instances_{split}.json"))
    by_exam = {record.patient_id: record for record in records(done[0], split)}
    classes = annotations.read_rsna_labels(synthetic.labels, class_info=synthetic.class_info).exams
    assert {image["file_name"] for image in coco.dataset["images"]} == by_exam.keys()
    assert coco.dataset["categories"] == [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]
    for image in coco.dataset["images"]:
        record = by_exam[image["file_name"]]
        assert image["id"] == detections.image_id(record.patient_id)
        assert (image["width"], image["height"]) == (256, 256)
        assert image["rsna_class"] == classes[record.patient_id].rsna_class
        entries = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        boxes = np.array([entry["bbox"] for entry in entries]).reshape(-1, 4)
        np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], record.boxes_xyxy_px[:, 2:], atol=1e-4)
        np.testing.assert_allclose(boxes[:, :2], record.boxes_xyxy_px[:, :2], atol=1e-4)
        assert all(entry["category_id"] == 2 and entry["iscrowd"] == 0 for entry in entries)
        np.testing.assert_allclose([entry["area"] for entry in entries], boxes[:, 2] * boxes[:, 3])


def test_same_input_and_seed_give_the_same_shards(done, synthetic, tmp_path):
    arguments = {"class_info": synthetic.class_info, "patient_map": synthetic.patient_map, "val_fraction": 0.4}
    convert(synthetic, tmp_path / "again", **arguments)
    convert(synthetic, tmp_path / "other", **arguments, seed=1)
    for path in done[0].glob("*.tfrecord"):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (done[0] / "manifest.json").read_bytes()
    assert (tmp_path / "other" / "train-00000-of-00004.tfrecord").read_bytes() != (done[0] / "train-00000-of-00004.tfrecord").read_bytes()
    for split in ("train", "val"):
        assert (tmp_path / "again" / f"instances_{split}.json").read_bytes() == (done[0] / f"instances_{split}.json").read_bytes()


def test_packed_labels_and_maps_give_the_same_records(done, synthetic, tmp_path):
    packed = {}
    for name in ("labels", "class_info", "patient_map"):
        path = getattr(synthetic, name)
        packed[name] = tmp_path / f"{path.name}.gz"
        packed[name].write_bytes(gzip.compress(path.read_bytes()))
    of_packed = dataclasses.replace(synthetic, **packed)
    convert(of_packed, tmp_path / "records", class_info=of_packed.class_info, patient_map=of_packed.patient_map, val_fraction=0.4)
    for path in [*done[0].glob("*.tfrecord"), *done[0].glob("instances_*.json"), done[0] / "split.csv"]:
        assert (tmp_path / "records" / path.name).read_bytes() == path.read_bytes()


def test_shards_are_planned_by_size(synthetic, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MIN_SHARDS", 1)
    one = convert(synthetic, tmp_path / "one", val_fraction=0.0)
    assert [shard["name"] for shard in one["splits"]["train"]["shards"]] == ["train-00000-of-00001.tfrecord"]
    assert one["splits"]["val"]["shards"] == []
    size = sum(path.stat().st_size for path in synthetic.dicom_dir.iterdir())
    exams = [shards.Item(path.stem, None, sources.Source(str(path), "", path.stat().st_size)) for path in synthetic.dicom_dir.iterdir()]
    dealt = shards.deal(exams, name="train", shard_bytes=size // 3)
    assert [shard.name for shard in dealt] == [f"train-{index:05d}-of-{len(dealt):05d}.tfrecord" for index in range(len(dealt))]
    assert len(dealt) in (3, 4)
    assert [item for shard in dealt for item in shard.items] == exams
    assert max(sum(item.source.size for item in shard.items) for shard in dealt) < size // 2


def test_a_file_larger_than_a_shard_leaves_no_shard_empty():
    exams = [shards.Item(str(size), None, sources.Source(str(size), "", size)) for size in (1, 1000, 1, 1)]
    dealt = shards.deal(exams, name="train", shard_bytes=100)
    assert all(shard.items for shard in dealt)
    assert [item for shard in dealt for item in shard.items] == exams
    assert dealt[-1].name == f"train-{len(dealt) - 1:05d}-of-{len(dealt):05d}.tfrecord"


def test_full_image_negatives(synthetic, tmp_path):
    manifest = convert(synthetic, tmp_path / "out", negatives="full-image")
    for record in records(tmp_path / "out"):
        if record.image_class_id == 1:
            assert record.boxes_xyxy_px.tolist() == [[0, 0, 256, 256]]
            assert (record.class_names, record.class_ids) == (("no-pneumonia",), (1,))
        else:
            assert set(record.class_ids) == {2}
    truth = json.loads((tmp_path / "out" / "instances_train.json").read_text())
    assert {entry["category_id"] for entry in truth["annotations"]} == {1, 2}
    assert manifest["arguments"]["negatives"] == "full-image"
    assert manifest["split"]["by"] == "patientId"


def test_box_over_the_edge_is_clipped_and_counted(source, tmp_path):
    exam = first(source, positive=True)
    rewrite(source, lambda row: [row] if row[0] != exam else [[exam, -10, 200, 50, 100, 1]])
    manifest = convert(source, tmp_path / "out")
    (record,) = [record for record in records(tmp_path / "out") if record.patient_id == exam]
    assert record.boxes_xyxy_px.tolist() == [[0, 200, 40, 256]]
    assert manifest["counts"]["boxes_clipped"] == 1
    assert manifest["clipped"] == [f"{exam}: [-10.0, 200.0, 40.0, 300.0]"]


@pytest.mark.parametrize(
    "box",
    [
        pytest.param([300, 0, 10, 10], id="right of it"),
        pytest.param([0, -20, 10, 20], id="touching the top"),
        pytest.param([256, 256, 5, 5], id="corner"),
        pytest.param([255.9999999, 10, 50, 20], id="a sliver, empty in float32"),
        pytest.param([10, 10, 1e-9, 20], id="no width to speak of"),
    ],
)
def test_box_outside_rejects_the_exam(source, tmp_path, box):
    exam = first(source, positive=True)
    rewrite(source, lambda row: [row] if row[0] != exam else [[exam, 10, 10, 20, 20, 1], [exam, *box, 1]])
    manifest = convert(source, tmp_path / "out")
    (reason,) = manifest["skipped"]["DICOM rejected"]
    assert reason.startswith(f"{exam}: {exam}.dcm has 256 x 256 px, and the box")
    assert exam not in {record.patient_id for record in records(tmp_path / "out")}
    assert manifest["counts"]["skipped"] == 1


def test_box_of_one_pixel_at_the_edge_has_area_in_its_record(source, tmp_path):
    exam = first(source, positive=True)
    rewrite(source, lambda row: [row] if row[0] != exam else [[exam, 255, 255, 30, 30, 1]])
    convert(source, tmp_path / "out")
    (record,) = [record for record in records(tmp_path / "out") if record.patient_id == exam]
    assert record.boxes_xyxy_px.tolist() == [[255, 255, 256, 256]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"negatives": "none"}, "negatives is 'none', must be one of 'background', 'full-image'", id="negatives"),
        pytest.param({"val_fraction": 1.01}, "val_fraction is 1.01, must be a number from 0 to 1", id="fraction above 1"),
        pytest.param({"val_fraction": float("nan")}, "val_fraction is nan", id="fraction NaN"),
    ],
)
def test_arguments_that_are_not_allowed(synthetic, tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        convert(synthetic, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def spoil_row(source, exam):
    rewrite(source, lambda row: [row] if row[0] != exam else [[exam, "", 10, 20, 20, 1]])


def spoil_cut(source, exam):
    path = source.dicom_dir / f"{exam}.dcm"
    path.write_bytes(path.read_bytes()[:-500])


SPOILS = [
    pytest.param(spoil_row, "label rejected", "Target is 1, but x is empty or NaN", id="bad row"),
    pytest.param(spoil_cut, "DICOM rejected", "cut off|damaged", id="truncated DICOM"),
    pytest.param(lambda source, exam: (source.dicom_dir / f"{exam}.dcm").unlink(), "label without a DICOM", "", id="no DICOM"),
    pytest.param(
        lambda source, exam: rewrite(source, lambda row: [row] if row[0] != exam else []), "DICOM without a label", "", id="no row"
    ),
    pytest.param(
        lambda source, exam: (source.dicom_dir / f"{exam}.dcm").rename(source.dicom_dir / "x.dcm").write_bytes(b"junk"),
        "label without a DICOM",
        "",
        id="file of another name that is no DICOM",
    ),
]


@pytest.mark.parametrize(("spoil", "kind", "reason"), SPOILS)
def test_what_cannot_be_used_is_listed_and_an_error_with_strict(source, tmp_path, spoil, kind, reason):
    exam = first(source, positive=True)
    spoil(source, exam)
    with pytest.raises(DataError, match=rf"--strict: .*{exam}.*({reason}).* leave out --strict"):
        convert(source, tmp_path / "out", strict=True)
    assert os.listdir(tmp_path) == ["source"]
    manifest = convert(source, tmp_path / "out")
    (listed,) = manifest["skipped"][kind]
    assert listed.startswith(exam)
    assert str(tmp_path) not in listed
    assert len(records(tmp_path / "out")) == 11 == sum(split["exams"] for split in manifest["splits"].values())


def test_exam_missing_from_the_patient_map(source, tmp_path):
    exam = first(source, positive=False)
    lines = source.patient_map.read_text().splitlines()
    source.patient_map.write_text("\n".join(line for line in lines if not line.startswith(exam)))
    assert convert(source, tmp_path / "out", patient_map=source.patient_map)["skipped"] == {"no patient by patient map": [exam]}
    with pytest.raises(DataError, match="1 no patient by patient map"):
        convert(source, tmp_path / "strict", patient_map=source.patient_map, strict=True)


def test_nothing_that_can_be_used(source, tmp_path):
    source.labels.write_text("patientId,x,y,width,height,Target\nstranger,,,,,0\n")
    with pytest.raises(
        DataError, match=r"No exam of .* has a usable DICOM in .*1 label without a DICOM \(first: stranger\); 12 DICOM without"
    ):
        convert(source, tmp_path / "out")
    for path in source.dicom_dir.iterdir():
        path.write_bytes(path.read_bytes()[:900])
    source.labels.write_text("patientId,x,y,width,height,Target\n" + "".join(f"{path.stem},,,,,0\n" for path in source.dicom_dir.iterdir()))
    with pytest.raises(DataError, match=r"No exam of .* could be converted\. 12 DICOM rejected"):
        convert(source, tmp_path / "out")
    assert os.listdir(tmp_path) == ["source"]


def test_wrong_label_map(synthetic, tmp_path):
    label_map.write_label_map(tmp_path / "map.pbtxt", {"cat": 1, "pneumonia": 2})
    with pytest.raises(DataError, match="has no 'no-pneumonia'; it has 'cat', 'pneumonia'"):
        convert(synthetic, tmp_path / "out", label_map=tmp_path / "map.pbtxt")


def test_label_map_with_other_ids(synthetic, tmp_path):
    label_map.write_label_map(tmp_path / "map.pbtxt", {"pneumonia": 1, "no-pneumonia": 2})
    convert(synthetic, tmp_path / "out", label_map=tmp_path / "map.pbtxt")
    assert {(record.image_class_name, record.image_class_id) for record in records(tmp_path / "out")} == {
        ("pneumonia", 1),
        ("no-pneumonia", 2),
    }


def test_overwrite(synthetic, tmp_path):
    first_set = convert(synthetic, tmp_path / "out")
    with pytest.raises(DataError, match="earlier result .* Give --overwrite"):
        convert(synthetic, tmp_path / "out", seed=5)
    assert record_sets.RecordSet.open(tmp_path / "out").manifest.to_json() == first_set
    assert convert(synthetic, tmp_path / "out", seed=5, overwrite=True)["seed"] == 5
    assert record_sets.RecordSet.open(tmp_path / "out").manifest.to_json()["seed"] == 5


def test_nothing_of_the_header_and_no_folder_leaves(source, tmp_path):
    for path in source.dicom_dir.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "DOE^JANE", "MRN-4711", "ACC-0815"
        dataset.InstitutionName, dataset.PatientBirthDate = "St. Elsewhere", "19010203"
        dataset.save_as(path)
    spoil_cut(source, first(source, positive=True))
    (source.dicom_dir / "other.dcm").write_bytes((source.dicom_dir / f"{first(source, positive=False)}.dcm").read_bytes())
    convert(source, tmp_path / "out", class_info=source.class_info, patient_map=source.patient_map)
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        for secret in ("DOE", "JANE", "4711", "0815", "Elsewhere", "19010203", "SYN0", str(tmp_path), str(paths.PROJECT_ROOT)):
            assert secret.encode() not in content, f"{secret} is in {path.name}"


def test_the_same_image_in_both_splits_is_listed(source, tmp_path):
    one, other = (first(source, positive=positive) for positive in (True, False))
    shutil.copyfile(source.dicom_dir / f"{one}.dcm", source.dicom_dir / f"{other}.dcm")
    (tmp_path / "split.csv").write_text(f"patientId,split\n{one},train\n{other},val\n")
    manifest = convert(source, tmp_path / "out", split_file=tmp_path / "split.csv")
    (exams,) = manifest["split"]["same_image"]
    assert sorted(exams) == sorted([one, other])


def test_what_cannot_be_copied_becomes_a_new_jpeg(source, tmp_path):
    exam = first(source, positive=False)
    path = source.dicom_dir / f"{exam}.dcm"
    dataset = pydicom.dcmread(path)
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(path)
    manifest = convert(source, tmp_path / "out")
    (record,) = [record for record in records(tmp_path / "out") if record.patient_id == exam]
    assert record.image_format == "jpeg"
    pixels = np.asarray(Image.open(io.BytesIO(record.encoded))).astype(int)
    assert np.abs(pixels - reading.read_pixels(path)).mean() < 1  # of 255
    assert (manifest["counts"]["images_copied"], manifest["counts"]["images_decoded"]) == (11, 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_sees_every_exam(source, tmp_path, workers):
    spoil_cut(source, first(source, positive=True))
    seen = []

    class Bar(planning.Bar):
        def __init__(self, total, what):
            seen.append((total, what))

        def update(self, count):
            seen.append(count)

    convert(source, tmp_path / "out", progress=Bar, workers=workers)
    assert seen[0] == (12, "converting")
    assert sum(seen[1:]) == 12
