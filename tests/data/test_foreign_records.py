"""Record files as other tools write them: by TensorFlow, with keys written out here; and what becomes of each error in them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from pneumodet.core.errors import DataError
from pneumodet.data import foreign_records, record_sets, tf_example, tfrecord, verification

ONE_CLASS = "item {\n  name: 'Lung Opacity'\n  id: 1\n}\n"
USUAL = "item { id: 1 name: 'no-pneumonia' }\nitem { id: 2 name: 'pneumonia' }\n"


def picture(seed=0, *, size_hw=(48, 64), kind="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, size_hw, np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def example(image=None, boxes=(), labels=None, **more):
    """Return a serialized tf.train.Example with the fewest keys; boxes are ymin, xmin, ymax, xmax; ``more`` has __ for / and None to leave out."""
    import tensorflow as tf

    values = {"image/encoded": [picture() if image is None else image]}
    for column, key in enumerate(("ymin", "xmin", "ymax", "xmax")):
        values[f"image/object/bbox/{key}"] = [float(box[column]) for box in boxes]
    values["image/object/class/label"] = [1] * len(boxes) if labels is None else labels
    values |= {f"image/{key.replace('__', '/')}": value for key, value in more.items()}

    def feature(of_key):
        if of_key and isinstance(of_key[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=of_key))
        if of_key and isinstance(of_key[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=of_key))
        return tf.train.Feature(float_list=tf.train.FloatList(value=of_key))

    kept = {key: feature(value) for key, value in values.items() if value is not None}
    return tf.train.Example(features=tf.train.Features(feature=kept)).SerializeToString()


def write(path, *records):
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return str(path)


BOX = (0.25, 0.5, 0.75, 1.0)


class Files:
    """A training and a validation file, a label map, and where the record set goes."""

    def __init__(self, root):
        self.root, self.label_map, self.folder = root, root / "map.pbtxt", root / "set"
        self.label_map.write_text(ONE_CLASS)
        self.train, self.val = root / "train.record", root / "val.record"
        write(self.val, example(picture(99), source_id=[b"v"]))

    def adopt(self, *records, **arguments):
        if records:
            write(self.train, *records)
        return foreign_records.adopt([str(self.train)], [str(self.val)], self.label_map, self.folder, **arguments).to_json()

    def records(self, split="train"):
        manifest = record_sets.RecordSet.open(self.folder).manifest.to_json()
        shards = [self.folder / shard["name"] for shard in manifest["splits"][split]["shards"]]
        return [tf_example.decode(data) for shard in shards for data in tfrecord.read_records(shard)]

    def truth(self, split="train"):
        return json.loads((self.folder / f"instances_{split}.json").read_text())


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_fewest_keys_become_a_whole_record_set(files):
    images = [picture(1), picture(2, size_hw=(30, 20), kind="PNG")]
    manifest = files.adopt(example(images[0], [BOX]), example(images[1], image__unknown=None))
    assert verification.verify(files.folder) == []
    assert manifest == record_sets.RecordSet.open(files.folder).manifest.to_json()
    assert manifest["label_map"] == {"Lung Opacity": 1}
    counted = {key: manifest["splits"]["train"][key] for key in ("exams", "patients", "positive_exams", "boxes")}
    assert counted == {"exams": 2, "patients": 2, "positive_exams": 1, "boxes": 1}
    first, second = files.records()
    assert (first.encoded, first.image_format, first.height, first.width) == (images[0], "jpeg", 48, 64)
    assert (second.encoded, second.image_format, second.height, second.width) == (images[1], "png", 30, 20)
    np.testing.assert_allclose(first.boxes_xyxy_px, [[32, 12, 64, 36]])
    assert (first.class_names, first.class_ids, second.class_ids) == (("Lung Opacity",), (1,), ())
    assert (first.image_class_name, first.image_class_id) == ("Lung Opacity", 1)
    truth = files.truth()
    assert (
        [image["file_name"] for image in truth["images"]] == ["train.record#0", "train.record#1"] == [first.patient_id, second.patient_id]
    )
    assert [(row["bbox"], row["category_id"]) for row in truth["annotations"]] == [([32.0, 12.0, 32.0, 24.0], 1)]
    assert truth["categories"] == [{"id": 1, "name": "Lung Opacity"}]
    counts = manifest["counts"]
    assert (counts["image/height filled"], counts["image/object/class/text filled"], counts["exams named anew"]) == (3, 1, 2)
    assert (counts["boxes_clipped"], counts["skipped"], manifest["skipped"], manifest["clipped"]) == (0, 0, {}, [])


def test_classes_by_name_alone(files):
    files.label_map.write_text(USUAL)
    names = {"object__class__text": [b"pneumonia"], "object__class__label": None}
    files.adopt(example(boxes=[BOX], **names), example(picture(3)))
    positive, negative = files.records()
    assert (positive.class_names, positive.class_ids) == (("pneumonia",), (2,))
    assert (positive.image_class_id, negative.image_class_name, negative.image_class_id) == (2, "no-pneumonia", 1)


def test_complete_files_stay_where_they_are(files, monkeypatch):
    record = tf_example.Record("a", picture(1), "jpeg", 48, 64, np.array([[1.0, 2, 30, 40]]), ("Lung Opacity",), (1,), "Lung Opacity", 1)
    other = tf_example.Record("b", picture(2), "jpeg", 48, 64, np.zeros((0, 4)), (), (), "", 0)
    manifest = files.adopt(tf_example.encode(record), tf_example.encode(other))
    assert [shard["name"] for shard in manifest["splits"]["train"]["shards"]] == [str(files.train)]
    assert sorted(path.name for path in files.folder.iterdir()) == [
        "instances_train.json",
        "instances_val.json",
        "manifest.json",
        "val-00000-of-00001.tfrecord",  # whose record lacks a size
    ]
    assert manifest["counts"]["files written anew"] == 1
    assert verification.verify(files.folder) == []
    assert [one.patient_id for one in files.records()] == ["a", "b"]
    files.train.write_bytes(files.train.read_bytes()[:-1])
    with pytest.raises(DataError, match="missing or not of the size"):
        record_sets.RecordSet.open(files.folder)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"height": [50]}, "image/height fixed"),
        ({"format": [b"jpg"]}, "image/format fixed"),
        ({"object__area": [1.0]}, "image/object/area left out"),
        ({"object__mask": [1.0, 0.0]}, "image/object/mask as numbers left out"),
    ],
)
def test_what_is_fixed_is_counted(files, change, note):
    whole = {"height": [48], "width": [64], "format": [b"jpeg"], "class__label": [1], "class__text": [b"Lung Opacity"], "source_id": [b"a"]}
    manifest = files.adopt(example(boxes=[BOX], object__class__text=[b"Lung Opacity"], **whole | change))
    assert manifest["counts"][note] == 1
    record = files.records()[0]
    assert (record.height, record.image_format, record.masks) == (48, "jpeg", ())


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        pytest.param([{"source_id": [b"a"]}, {"source_id": [b"b"], "filename": [b"x"]}], ["a", "b"], id="source ids"),
        pytest.param(
            [{"source_id": [b"0"], "filename": [b"x"]}, {"source_id": [b"0"], "filename": [b"y"]}], ["x", "y"], id="repeated source id"
        ),
        pytest.param(
            [{"source_id": [b""], "filename": [b"x"]}, {"filename": [b"x"]}], ["train.record#0", "train.record#1"], id="repeated both"
        ),
        pytest.param([{"source_id": [b"v"]}, {"source_id": [b"a"]}], ["train.record#0", "a"], id="repeated in validation"),
        pytest.param([{"filename": [b"a"]}, {"source_id": [b"a"]}], ["a", "train.record#1"], id="taken"),
        pytest.param([{"source_id": [b"\xff"]}, {"source_id": [7]}], ["train.record#0", "train.record#1"], id="no text"),
    ],
)
def test_every_exam_has_a_name_of_its_own(files, ids, expected):
    files.adopt(*(example(picture(index), **one) for index, one in enumerate(ids)))
    assert [image["file_name"] for image in files.truth()["images"]] == expected
    assert [record.patient_id for record in files.records()] == expected
    assert verification.verify(files.folder) == []


def test_files_of_one_name_are_told_apart(files):
    for part in "ab":
        write(files.root / part / "x.record", example(picture(ord(part))))
    foreign_records.adopt([f"{files.root}/?/x.record"], [str(files.val)], files.label_map, files.folder)
    assert [image["file_name"] for image in files.truth()["images"]] == ["train-00000-x.record#0", "train-00001-x.record#0"]


def test_boxes_over_the_edge_are_clipped_and_listed(files):
    manifest = files.adopt(example(boxes=[(-0.1, 0.5, 0.5, 1.25), BOX, (0, 0, 1 + 1e-7, 1)], source_id=[b"a"]))
    np.testing.assert_allclose(files.records()[0].boxes_xyxy_px, [[32, 0, 64, 24], [32, 12, 64, 36], [0, 0, 64, 48]])
    assert manifest["counts"]["boxes_clipped"] == 1
    assert len(manifest["clipped"]) == 1
    assert manifest["clipped"][0].startswith("a: [-0.1")


NAN = float("nan")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        pytest.param({"boxes": [BOX, (0.5, 0.1, 0.4, 0.9)]}, "box ymin, xmin, ymax, xmax = 0.5, 0.1, 0.4, 0.9 is inverted", id="inverted"),
        pytest.param({"boxes": [(0.1, NAN, 0.4, 0.9)]}, "xmax = 0.1, nan, 0.4, 0.9 is not finite", id="nan"),
        pytest.param({"boxes": [(0.1, 0.1, float("inf"), 0.9)]}, "is not finite", id="infinite"),
        pytest.param(
            {"boxes": [(12, 20, 30, 40)]}, "lies far outside of the image. .* shares of height and width, 0 to 1, and no px", id="px"
        ),
        pytest.param({"boxes": [(0.5, 0.5, 0.51, 0.9)]}, "has less than 1 px within the image", id="thin"),
        pytest.param({"boxes": [(0.5, -0.3, 0.9, -0.1)]}, "has less than 1 px within the image", id="outside"),
        pytest.param(
            {"boxes": [BOX], "object__bbox__ymin": []}, "there are 0, 1, 1, 1 values of ymin, xmin, ymax, xmax", id="lists differ"
        ),
        pytest.param({"boxes": [BOX], "object__bbox__ymin": [b"a"]}, "coordinates of boxes are no numbers", id="coordinates as text"),
        pytest.param(
            {"boxes": [BOX], "labels": [2]}, r"the label map has no class 2; it has 1 = 'Lung Opacity'\. Give the label map", id="label"
        ),
        pytest.param({"boxes": [BOX], "labels": [0]}, "the label map has no class 0; ", id="label 0"),
        pytest.param({"boxes": [BOX], "object__class__text": [b"nodule"]}, "the label map has no class 'nodule'; ", id="name"),
        pytest.param({"boxes": [BOX], "labels": []}, "there are 0 class labels and 0 class names for 1 boxes", id="no class"),
        pytest.param({"boxes": [BOX], "labels": [1, 1]}, "there are 2 class labels and 0 class names for 1 boxes", id="labels differ"),
        pytest.param({"boxes": [BOX], "object__class__text": [1]}, "a class name is no text", id="name as number"),
        pytest.param({"boxes": [BOX], "object__mask": [b"a", b"b"]}, "there are 2 masks for 1 boxes", id="masks differ"),
        pytest.param({"encoded": None}, "there is no image/encoded; the keys are image/object/bbox/xmax, ", id="no image"),
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_wrong_labels_are_refused_with_file_and_number(files, record, message, skip):
    with pytest.raises(DataError, match=rf"/train\.record, record 1: .*{message}"):
        files.adopt(example(), example(**record), skip_corrupt=skip)
    assert not files.folder.exists()


def test_name_and_label_that_disagree_are_refused(files):
    files.label_map.write_text(USUAL)
    with pytest.raises(
        DataError, match="record 0: a box has class label 1 and class name 'pneumonia', but the label map has 1 = 'no-pneumonia', 2"
    ):
        files.adopt(example(boxes=[BOX], object__class__text=[b"pneumonia"]))


def damaged_crc(data, start):
    return data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :]


CORRUPT = {
    "jpeg cut off": (lambda good: example(picture(5)[:-400]), "the JPEG image is cut off"),
    "png damaged": (lambda good: example(damaged_crc(picture(5, kind="PNG"), 500)), "the image cannot be decoded; it is damaged"),
    "no image": (lambda good: example(b"GIF89a not an image"), ".*neither JPEG nor PNG"),
    "no example": (lambda good: b"\xff\xff\xff", "this is not a tf.train.Example"),
}


@pytest.mark.parametrize("damage", CORRUPT)
def test_corrupt_records_are_named_or_left_out(files, damage):
    make, message = CORRUPT[damage]
    good = [example(picture(index), source_id=[b"abc"[index : index + 1]]) for index in range(3)]
    records = [good[0], make(good), good[1], good[2]]
    with pytest.raises(DataError, match=rf"/train\.record, record 1: {message}.*leave such records out by --skip-corrupt"):
        files.adopt(*records)
    manifest = files.adopt(*records, skip_corrupt=True)
    assert [record.patient_id for record in files.records()] == ["a", "b", "c"]
    assert manifest["counts"]["skipped"] == 1
    assert manifest["skipped"]["corrupt record"][0].startswith(f"{files.train}, record 1: ")
    assert verification.verify(files.folder) == []


def test_damaged_file_is_named_or_read_as_far_as_it_goes(files):
    records = [example(picture(index), source_id=[b"abcd"[index : index + 1]]) for index in range(4)]
    write(files.train, *records)
    data = files.train.read_bytes()
    second = 16 + len(records[0])
    files.train.write_bytes(damaged_crc(data, second + 12 + 100)[:-5])  # a byte within the second record, and the end of the last one
    with pytest.raises(DataError, match=r"train\.record, record 1: the record is damaged \(CRC\)"):
        files.adopt()
    manifest = files.adopt(skip_corrupt=True)
    assert [record.patient_id for record in files.records()] == ["a", "c"]
    assert manifest["skipped"]["corrupt record"] == [
        f"{files.train}, record 1: the record is damaged (CRC).",
        f"{files.train}, record 3: the file is cut off. Make the records again. Nothing behind it can be read.",
    ]
    files.train.write_bytes(damaged_crc(data, second))  # its length
    manifest = files.adopt(skip_corrupt=True, overwrite=True)
    assert [record.patient_id for record in files.records()] == ["a"]
    assert "record 1: the record's length is damaged" in manifest["skipped"]["corrupt record"][0]


def test_names_count_records_that_were_left_out(files):
    files.adopt(example(picture(1)), b"\xff\xff\xff", example(picture(2)), skip_corrupt=True)
    assert [record.patient_id for record in files.records()] == ["train.record#0", "train.record#2"]


def test_files_without_a_usable_record_are_refused(files):
    with pytest.raises(DataError, match=r"No record of train can be used; the first file is .*train\.record"):
        files.adopt(b"\xff\xff\xff", skip_corrupt=True)
    assert not files.folder.exists()
    write(files.train)
    with pytest.raises(DataError, match="No record of train can be used"):
        files.adopt()


def test_same_image_in_both_splits_is_listed(files):
    manifest = files.adopt(example(picture(99), source_id=[b"t"]), example(picture(1), source_id=[b"u"]))
    assert manifest["split"]["same_image"] == [["t", "v"]]


def test_one_file_in_both_splits_is_refused(files):
    write(files.train, example())
    with pytest.raises(DataError, match=r"train\.record is read for training and for validation"):
        foreign_records.adopt([str(files.train)], [str(files.root / "*.record")], files.label_map, files.folder)


def test_expand_is_what_the_api_means(tmp_path, monkeypatch):
    for name in ("t-00001-of-00002", "t-00000-of-00002", "v.record", "a,b.record"):
        write(tmp_path / name, example())
    monkeypatch.chdir(tmp_path)

    def names(*patterns):
        return [path.name for path in foreign_records.expand(patterns)]

    assert names("t-?????-of-00002") == ["t-00000-of-00002", "t-00001-of-00002"]
    assert names("v.record,t-00001*", f"{tmp_path}/t-0000[0]*") == ["v.record", "t-00001-of-00002", "t-00000-of-00002"]
    assert names("a,b.record") == ["a,b.record"]
    assert names("v.record", "v.record, v.record") == ["v.record"]
    assert all(path.is_absolute() for path in foreign_records.expand(["v.record"]))
    with pytest.raises(DataError, match=r"input_path 'w-\*' is no file, and no pattern that fits one"):
        names("v.record,w-*")
    with pytest.raises(DataError, match="readers name no record file"):
        names()


def test_expand_and_tensorflow_agree(tmp_path):
    import tensorflow as tf

    for number in range(12):
        write(tmp_path / f"train-{number:05d}-of-00012", example())
    for pattern in ("train-?????-of-00012", "train-0000[0-4]*", "*-00011-*"):
        assert [str(path) for path in foreign_records.expand([f"{tmp_path}/{pattern}"])] == sorted(
            tf.io.gfile.glob(f"{tmp_path}/{pattern}")
        )


def test_folder_in_use_stays(files):
    files.adopt(example())
    before = (files.folder / "manifest.json").read_bytes()
    with pytest.raises(DataError, match="holds an earlier result"):
        files.adopt(example(boxes=[BOX]))
    assert (files.folder / "manifest.json").read_bytes() == before


def test_several_processes_give_the_same_set(files):
    for number in range(3):
        write(files.root / f"part-{number}", example(picture(number), [BOX]), example(picture(number + 10)))
    sets = []
    for workers in (1, 2):
        folder = files.root / f"set-{workers}"
        foreign_records.adopt([f"{files.root}/part-*"], [str(files.val)], files.label_map, folder, workers=workers)
        sets.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert sets[0] == sets[1]
