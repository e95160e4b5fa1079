"""A record set -> labels of every format, and back: nothing is lost."""

import csv
import io
import json
import struct
import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from pneumodet.core import paths
from pneumodet.core.detections import image_id
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import conversion, formats, label_export, label_map, record_sets, tf_example, tfrecord
from pneumodet.data.settings import Inputs, Settings

CLASSES = {"no-pneumonia": 1, "pneumonia": 2, "pleural effusion": 3}
PNEUMONIA, EFFUSION = "pneumonia", "pleural effusion"
EXAMS = {
    "train": {
        "1.2.840.113619": ("jpeg", (64, 48), [(PNEUMONIA, (10.5, 20, 1 / 3, 5)), (EFFUSION, (0, 0, 48, 64))]),
        "negative": ("jpeg", (64, 48), []),
        'a, "b" & <c>\'s': ("png", (32, 32), [(PNEUMONIA, (1, 2, 3, 4))]),
    },
    "test-2": {
        "Röntgen 7.png": ("png", (20, 30), [(PNEUMONIA, (0.1 + 0.2, 1e-7, 2.5, 7))]),
        "full image": ("jpeg", (64, 48), [(label_map.NO_PNEUMONIA, (0, 0, 48, 64))]),
    },
}
"""Split -> exam -> (image format, size_hw, [(class, xywh_px)])."""

ONE_CLASS = {
    split: {exam: (*about[:2], [one for one in about[2] if one[0] != EFFUSION]) for exam, about in exams.items()}
    for split, exams in EXAMS.items()
}
"""The same, as RSNA's CSV can hold it."""


def picture(image_format, size_hw):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(size_hw[0] * size_hw[1], dtype=np.uint32).reshape(size_hw).astype(np.uint8)).save(buffer, image_format)
    return buffer.getvalue()


def make_records(folder, splits, classes=CLASSES):
    """Write a record set without the library's own conversion."""
    folder.mkdir(parents=True)
    entries = {}
    for split, exams in splits.items():
        images, rows, shards = [], [], []
        for shard, exam in enumerate(exams):  # a shard an exam, so that their order is put to the test
            image_format, (height, width), objects = exams[exam]
            corners = np.array([[x, y, x + w, y + h] for _, (x, y, w, h) in objects], np.float64).reshape(-1, 4)
            names = tuple(name for name, _ in objects)
            positive = any(name != label_map.NO_PNEUMONIA for name in names)
            name = label_map.PNEUMONIA if positive else label_map.NO_PNEUMONIA
            ids = tuple(classes[one] for one in names)
            data = picture(image_format, (height, width))
            record = tf_example.Record(exam, data, image_format, height, width, corners, names, ids, name, classes.get(name, 1))
            body = tf_example.encode(record)
            length = struct.pack("<Q", len(body))
            data = length + struct.pack("<I", tfrecord.masked_crc(length)) + body + struct.pack("<I", tfrecord.masked_crc(body))
            path = folder / f"{split}-{shard:05d}.tfrecord"
            path.write_bytes(data)
            shards.append({"name": path.name, "bytes": len(data), "examples": 1, "sha256": paths.sha256_file(path)})
            images.append({"id": image_id(exam), "file_name": exam, "width": width, "height": height, "rsna_class": "Normal"})
            for number, (x, y, w, h) in zip(ids, (one for _, one in objects), strict=True):
                about = {"image_id": image_id(exam), "category_id": number, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
                rows.append({"id": len(rows) + 1} | about)
        truth = {"images": images, "annotations": rows, "categories": [{"id": number, "name": name} for name, number in classes.items()]}
        paths.write_json(folder / f"instances_{split}.json", truth)
        entries[split] = {
            "exams": len(images),
            "patients": len(images),
            "positive_exams": 0,
            "boxes": len(rows),
            "annotations": f"instances_{split}.json",
            "annotations_sha256": paths.sha256_file(folder / f"instances_{split}.json"),
            "shards": shards,
        }
    manifest = {"format": record_sets.FORMAT, "version": record_sets.VERSION, "splits": entries, "label_map": classes}
    paths.write_json(folder / record_sets.MANIFEST, manifest)
    return folder


def expected(splits, *, sizes=True):
    """Return what reading must give: exam -> (boxes, classes, size, whether there is a finding)."""
    meant = {}
    for exams in splits.values():
        for exam, (_, size, objects) in exams.items():
            findings = [(name, [x, y, x + w, y + h]) for name, (x, y, w, h) in objects if name != label_map.NO_PNEUMONIA]
            meant[exam] = ([box for _, box in findings], tuple(name for name, _ in findings), size if sizes else None, bool(findings))
    return meant


def contents(labels):
    assert labels.rejected == []
    return {exam.patient_id: (exam.boxes_xyxy_px.tolist(), exam.class_names, exam.size_hw, exam.positive) for exam in labels.exams.values()}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Return a record set with three classes, not to be changed."""
    return make_records(tmp_path_factory.mktemp("records") / "set", EXAMS)


@pytest.fixture(scope="module")
def one_class(tmp_path_factory):
    """Return a record set of findings of one class, not to be changed."""
    return make_records(tmp_path_factory.mktemp("one_class") / "set", ONE_CLASS)


EXACT = [format for format in label_export.LABELS if format != "yolo"]
"""Formats that keep each bit; YOLO's shares of the image are tested in test_data_sets."""


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("format", EXACT)
def test_round_trip(records, one_class, tmp_path, format, images):
    rsna = format == "rsna"
    card = label_export.export_labels(one_class if rsna else records, tmp_path / "out", format=format, images=images)
    parsed = formats.read_labels(tmp_path / "out" / card["labels"])  # auto: each is recognised by its content
    assert contents(parsed) == expected(ONE_CLASS if rsna else EXAMS, sizes=not rsna)
    assert parsed.duplicate_rows == 0
    assert json.loads((tmp_path / "out" / label_export.CARD).read_text()) == card
    assert (card["exams"], card["boxes"], card["negatives"]) == (5, 3 if rsna else 4, 2)
    names = {label_export.CARD, "split.csv", card["labels"]} | ({"images"} if images else set())
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


@pytest.mark.parametrize("format", EXACT)
def test_split_file(one_class, tmp_path, format):
    label_export.export_labels(one_class, tmp_path / "out", format=format)
    with open(tmp_path / "out" / "split.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["patientId", "split"]
    assert sorted(rows) == sorted([exam, split] for split, exams in EXAMS.items() for exam in exams)


def named(path, format):
    """Return the file names that labels give their images, as an independent reader sees them."""
    if format == "coco":
        return {image["file_name"] for image in json.loads(path.read_text())["images"]}
    if format == "voc":
        return {ET.parse(one).findtext("filename") for one in path.iterdir()}
    with open(path, newline="", encoding="utf-8") as file:
        return {row["filename"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("format", ["coco", "voc", "csv"])
def test_images_are_those_of_the_records_and_have_the_names_in_the_labels(records, tmp_path, format):
    card = label_export.export_labels(records, tmp_path / "out", format=format, images=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "out" / card["images"]).iterdir()}
    suffixes = {"jpeg": ".jpg", "png": ".png"}
    assert files == {exam + suffixes[about[0]]: picture(*about[:2]) for exams in EXAMS.values() for exam, about in exams.items()}
    without = label_export.export_labels(records, tmp_path / "without", format=format)
    assert without["images"] is None
    for folder in ("out", "without"):
        assert named(tmp_path / folder / card["labels"], format) == set(files)


def test_coco_as_pycocotools_reads_it(records, tmp_path, capsys):
    label_export.export_labels(records, tmp_path / "out", format="coco")
    coco = COCO(tmp_path / "out" / "instances.json")
    capsys.readouterr()
    assert {category["name"]: number for number, category in coco.cats.items()} == CLASSES
    assert sorted(coco.anns) == [1, 2, 3, 4]  # unique over the splits, each of which counts from 1
    for split, exams in EXAMS.items():
        for exam, (_, (height, width), objects) in exams.items():
            image = coco.loadImgs(image_id(exam))[0]
            assert (image["split"], image["height"], image["width"], image["rsna_class"]) == (split, height, width, "Normal")
            rows = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            expected_rows = [(CLASSES[name], list(bbox), bbox[2] * bbox[3], 0) for name, bbox in objects if name != label_map.NO_PNEUMONIA]
            assert [(row["category_id"], row["bbox"], row["area"], row["iscrowd"]) for row in rows] == expected_rows


def test_voc_has_what_readers_of_it_ask_for(records, tmp_path):
    label_export.export_labels(records, tmp_path / "out", format="voc")
    path = tmp_path / "out" / "annotations" / "1.2.840.113619.xml"
    root = ET.parse(path).getroot()
    texts = {element.tag: element.text for element in root.iter() if not len(element)}
    assert (root.findtext("folder"), root.findtext("filename")) == ("images", "1.2.840.113619.jpg")
    assert [root.findtext(f"size/{tag}") for tag in ("width", "height", "depth")] == ["48", "64", "1"]
    assert {"pose", "truncated", "difficult"} <= texts.keys()
    # every pixel that the finding touches
    assert [[element.text for element in box] for box in root.iter("bndbox")] == [["10", "20", "11", "25"], ["0", "0", "48", "64"]]
    (exact,) = root.iter("exact_bndbox")  # of the one box that is not whole
    assert [element.text for element in exact] == ["10.5", "20", repr(10.5 + 1 / 3), "25"]
    assert "10.0" not in path.read_text()
    assert ET.parse(tmp_path / "out" / "annotations" / "full image.xml").find("object") is None


def test_voc_by_the_scripts_of_tutorials(records, tmp_path):
    """They take the fifth child of an object, and call int on the text of its first four."""
    label_export.export_labels(records, tmp_path / "out", format="voc")
    rows = []
    for path in sorted((tmp_path / "out" / "annotations").glob("*.xml")):
        root = ET.parse(path).getroot()
        for member in root.findall("object"):
            rows.append((root.find("filename").text, member[0].text, *(int(member[4][place].text) for place in range(4))))
    assert ("Röntgen 7.png.png", "pneumonia", 0, 0, 3, 8) in rows
    assert len(rows) == 4


def edited(records, folder, old, new):
    """Return the boxes of an export in which an element's text was changed."""
    label_export.export_labels(records, folder, format="voc")
    path = folder / "annotations" / "1.2.840.113619.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return formats.read_labels(folder / "annotations").exams["1.2.840.113619"].boxes_xyxy_px.tolist()


def test_voc_that_another_tool_has_changed(records, tmp_path):
    """The exact corners are those of the box as it was; without a change they count."""
    assert edited(records, tmp_path / "as it was", "", "")[0] == [10.5, 20, 10.5 + 1 / 3, 25]
    assert edited(records, tmp_path / "changed", "<xmax>11<", "<xmax>12<")[0] == [10, 20, 12, 25]


def test_csv_as_the_classic_workflow_has_it(records, tmp_path):
    label_export.export_labels(records, tmp_path / "out", format="csv")
    with open(tmp_path / "out" / "labels.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
    assert rows[1:4] == [
        ["1.2.840.113619.jpg", "48", "64", EFFUSION, "0", "0", "48", "64"],
        ["negative.jpg", "48", "64", "no-pneumonia", "", "", "", ""],
        ['a, "b" & <c>\'s.png', "32", "32", "pneumonia", "1", "2", "4", "6"],
    ]
    assert rows[-1] == ["full image.jpg", "48", "64", "no-pneumonia", "", "", "", ""]


def test_rsna_as_the_challenge_has_it(one_class, tmp_path):
    label_export.export_labels(one_class, tmp_path / "out", format="rsna")
    with open(tmp_path / "out" / "labels.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["patientId", "x", "y", "width", "height", "Target"],
            ["1.2.840.113619", "10.5", "20", repr(1 / 3), "5", "1"],
            ["negative", "", "", "", "", "0"],
            ['a, "b" & <c>\'s', "1", "2", "3", "4", "1"],
            ["Röntgen 7.png", repr(0.1 + 0.2), "1e-07", "2.5", "7", "1"],
            ["full image", "", "", "", "", "0"],
        ]


NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\"), min_size=1, max_size=12)
WIDTHS = st.floats(1, 2000) | st.integers(1, 2000)
STARTS = st.floats(0, 2000) | st.integers(0, 2000)
OBJECTS = st.lists(st.tuples(st.sampled_from([PNEUMONIA, EFFUSION]), st.tuples(STARTS, STARTS, WIDTHS, WIDTHS)), max_size=3)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    exams=st.dictionaries(NAMES, OBJECTS, min_size=1, max_size=4),
    classes=st.lists(NAMES, min_size=2, max_size=2, unique=True).map(lambda names: {"no-pneumonia": 1, names[0]: 2, names[1]: 3}),
    format=st.sampled_from(["coco", "voc", "csv", "rsna"]),
)
def test_every_export_reads_as_it_was_meant_or_is_refused(tmp_path_factory, exams, classes, format):
    folder = tmp_path_factory.mktemp("drawn")
    names = {PNEUMONIA: [*classes][1], EFFUSION: [*classes][-1]} if format != "rsna" else {PNEUMONIA: PNEUMONIA, EFFUSION: PNEUMONIA}
    classes = classes if format != "rsna" else CLASSES
    about = {exam: ("png", (8, 8), list(dict.fromkeys((names[name], box) for name, box in boxes))) for exam, boxes in exams.items()}
    make_records(folder / "set", {"all": about}, classes)
    try:
        card = label_export.export_labels(folder / "set", folder / "out", format=format)
    except DataError as error:
        # only what a format cannot hold may be refused
        used = [*exams, *(names[name] for boxes in exams.values() for name, _ in boxes)]
        odd = [name for name in used if name.strip() != name or name.startswith(".") or {"\ufffe", "\uffff"} & set(name)]
        alike = max(Counter(name.casefold() for name in exams).values()) > 1
        plain = [name for name in used if name in ("", label_map.NO_PNEUMONIA)]
        assert odd or alike or plain or len(max(exams, key=len).encode()) > 250, error
        assert not (folder / "out").exists()
        return
    parsed = contents(formats.read_labels(folder / "out" / card["labels"], format=format))
    assert parsed == expected({"all": about}, sizes=format != "rsna")


def test_boxes_that_clipping_made_equal(tmp_path):
    twice = [(PNEUMONIA, (0, 0, 5, 5)), (PNEUMONIA, (0, 0, 5, 5))]
    make_records(tmp_path / "set", {"train": {"a": ("png", (8, 8), twice)}})
    label_export.export_labels(tmp_path / "set", tmp_path / "out", format="voc")
    parsed = formats.read_labels(tmp_path / "out" / "annotations")
    assert (len(parsed.exams["a"].boxes_xyxy_px), parsed.duplicate_rows) == (1, 1)


def one(name, *objects, image_format="png"):
    return {"train": {name: (image_format, (8, 8), list(objects))}}


@pytest.mark.parametrize(
    ("exams", "format", "message"),
    [
        pytest.param(one("a/b"), "csv", "Exam 'a/b' cannot be the name of a file: it .* has a slash", id="slash"),
        pytest.param(one("a\\b"), "coco", r"cannot be the name of a file: it .* has a slash", id="backslash"),
        pytest.param(one("a\nb"), "csv", r"Exam 'a\\nb' cannot be the name of a file", id="line break"),
        pytest.param(one("é" * 126), "csv", "longer than 250 bytes. Rename it", id="too long"),
        pytest.param(one(" a"), "rsna", "Exam ' a' cannot be written as 'rsna': its name is read as another one", id="blank"),
        pytest.param(one(".a"), "voc", "Exam '.a' cannot be the name of a file: it begins with a dot", id="hidden file"),
        pytest.param(
            one("a", ("pleural effusion", (1, 2, 3, 4))), "rsna", "RSNA's CSV has no class but pneumonia, and exam 'a' has", id="class"
        ),
        pytest.param(
            one("a", (PNEUMONIA, (1, 2, 0, 4))), "coco", "Exam 'a' cannot be written as 'coco': annotation 1: width is 0", id="no area"
        ),
        pytest.param({"train": one("a")["train"], "val": one("a")["train"]}, "csv", "Exam 'a' is in the record set twice", id="twice"),
        pytest.param({"train": {}}, "csv", "holds no exam", id="nothing"),
    ],
)
def test_refused_whole(tmp_path, exams, format, message):
    make_records(tmp_path / "set", exams)
    with pytest.raises(DataError, match=message):
        label_export.export_labels(tmp_path / "set", tmp_path / "out", format=format)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def change_truth(folder, change, split="train"):
    path = folder / f"instances_{split}.json"
    truth = json.loads(path.read_text())
    change(truth)
    path.write_text(json.dumps(truth))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda truth: truth.pop("images"), r"ground truth .*instances_train.json is damaged \(KeyError\('images'\)\)", id="images"
        ),
        pytest.param(lambda truth: truth["annotations"][0].update(bbox=[1, 2]), "is damaged .*Make the records again", id="bbox"),
        pytest.param(lambda truth: truth["annotations"][0].update(image_id=1), "is damaged", id="unknown image"),
        pytest.param(lambda truth: truth["images"].pop(1), "There are 3 training records, but 2 in their ground truth", id="less"),
        pytest.param(lambda truth: truth["images"].reverse(), "do not list the same exams", id="order"),
        pytest.param(lambda truth: truth["categories"].pop(0), "has other classes than that of another split", id="classes"),
    ],
)
def test_damaged_record_set(tmp_path, change, message):
    make_records(tmp_path / "set", ONE_CLASS)
    change_truth(tmp_path / "set", change)
    with pytest.raises(DataError, match=message):
        label_export.export_labels(tmp_path / "set", tmp_path / "out", format="csv")
    assert not (tmp_path / "out").exists()


def test_more_records_than_truth(tmp_path):
    make_records(tmp_path / "set", EXAMS)
    change_truth(tmp_path / "set", lambda truth: truth["images"].pop(), split="test-2")
    change_truth(tmp_path / "set", lambda truth: truth["annotations"].pop(), split="test-2")
    with pytest.raises(DataError, match="There are 2 test-2 records, but 1 in their ground truth"):
        label_export.export_labels(tmp_path / "set", tmp_path / "out", format="csv")


def test_the_record_set_itself_is_never_replaced(tmp_path):
    folder = make_records(tmp_path / "set", EXAMS)
    (folder / "split.csv").write_text("patientId,split\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match="holds other things"):
        label_export.export_labels(folder, folder, format="csv", overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_overwrite(records, tmp_path):
    label_export.export_labels(records, tmp_path / "out", format="csv", images=True)
    with pytest.raises(DataError, match="holds an earlier result"):
        label_export.export_labels(records, tmp_path / "out", format="voc")
    label_export.export_labels(records, tmp_path / "out", format="voc", overwrite=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"annotations", "split.csv", label_export.CARD}


def test_unknown_format(records, tmp_path):
    with pytest.raises(ConfigError, match="The label format is 'auto', must be one of 'coco', 'voc', 'csv', 'rsna'"):
        label_export.export_labels(records, tmp_path / "out", format="auto")


def test_progress_is_of_all_exams(records, tmp_path):
    seen = []
    label_export.export_labels(records, tmp_path / "out", format="csv", progress=lambda exams: seen.append(len(exams)) or exams)
    assert seen == [5]


@pytest.mark.parametrize("negatives", ["background", "full-image"])
@pytest.mark.parametrize("format", EXACT)
def test_of_what_conversion_writes(synthetic, tmp_path, format, negatives):
    """The labels that went in come out, and make the same ground truth again."""
    settings = Settings(negatives=negatives, val_fraction=0.4, test_fraction=0)
    conversion.convert(Inputs(dicom_dir=synthetic.dicom_dir, labels=synthetic.labels), tmp_path / "set", settings)
    card = label_export.export_labels(tmp_path / "set", tmp_path / "out", format=format)
    parsed, original = (formats.read_labels(path) for path in (tmp_path / "out" / card["labels"], synthetic.labels))
    assert parsed.exams.keys() == original.exams.keys()
    for exam, one in parsed.exams.items():
        assert one.boxes_xyxy_px.tolist() == original.exams[exam].boxes_xyxy_px.tolist()
        assert (one.positive, one.class_names) == (original.exams[exam].positive, original.exams[exam].class_names)
        assert one.size_hw == (None if format == "rsna" else (256, 256))
    inputs = Inputs(dicom_dir=synthetic.dicom_dir, labels=tmp_path / "out" / card["labels"], split_file=tmp_path / "out" / "split.csv")
    conversion.convert(inputs, tmp_path / "again", settings)
    for split in ("train", "val"):
        first, again = (json.loads((tmp_path / name / f"instances_{split}.json").read_text()) for name in ("set", "again"))
        assert first == again
