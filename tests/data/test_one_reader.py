"""Every command takes every format of ground truth and detections, packed or not, in the encodings that programs write; with the same message."""

import gzip
import io
import json
import zipfile

import numpy as np
import pytest

from pneumodet.apps.web import truth as web_truth
from pneumodet.apps.web.uploads import File
from pneumodet.core.detections import image_id
from pneumodet.core.errors import DataError
from pneumodet.core.processes import Pool
from pneumodet.data import annotations, detection_files, formats, ground_truth, record_sets, text_files
from pneumodet.evaluation import inputs
from pneumodet.evaluation import postprocess_files as postprocessing
from pneumodet.evaluation.compare import entries, truths
from pneumodet.exploration import gathering
from pneumodet.exploration.baseline import table as baseline_table
from pneumodet.inference.predict import predicting

BOXES = {"a": [[10, 20, 40, 60]], "b": []}
"""Exam -> xyxy px."""

COCO = {
    "images": [
        {"id": 5, "file_name": "x/a.png", "width": 100, "height": 80},
        {"id": 7, "file_name": "x/b.png", "width": 100, "height": 80},
    ],
    "annotations": [{"id": 1, "image_id": 5, "category_id": 2, "bbox": [10, 20, 30, 40], "area": 1200, "iscrowd": 0}],
    "categories": [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}],
}
UNSIZED = {**COCO, "images": [{"id": one["id"], "file_name": one["file_name"]} for one in COCO["images"]]}
RSNA = "patientId,x,y,width,height,Target\na,10,20,30,40,1\nb,,,,,0\n"
EIGHT = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,100,80,pneumonia,10,20,40,60\nb.png,100,80,,,,,\n"
VOC = "<annotation><filename>{name}.png</filename><size><width>100</width><height>80</height></size>{box}</annotation>"
VOC_BOX = "<object><name>pneumonia</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object>"


def zipped(content, name="file.csv", more=()):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.writestr("__MACOSX/._file.csv", b"\0")
        for one in more:
            archive.writestr(one, "x")
    return buffer.getvalue()


TRUTHS = {
    "rsna": ("labels.csv", RSNA.encode()),
    "8 columns": ("labels.csv", EIGHT.encode()),
    "coco": ("instances.json", json.dumps(COCO).encode()),
    "coco without sizes": ("instances.json", json.dumps(UNSIZED).encode()),
    "rsna.gz": ("labels.csv.gz", gzip.compress(RSNA.encode())),
    "rsna.zip": ("stage_2_train_labels.csv.zip", zipped(RSNA)),
    "coco.gz": ("instances.json.gz", gzip.compress(json.dumps(COCO).encode())),
    "coco.zip": ("instances.json.zip", zipped(json.dumps(COCO), "instances.json")),
    "byte order mark": ("labels.csv", RSNA.encode("utf-8-sig")),
    "utf-16 with tabs, as Excel writes it": ("labels.txt", RSNA.replace(",", "\t").encode("utf-16")),
    "semicolons": ("labels.csv", RSNA.replace(",", ";").encode()),
}


@pytest.fixture(params=[*TRUTHS, "voc"])
def truth_file(request, tmp_path):
    """Return the path of the same ground truth in each format."""
    if request.param == "voc":
        folder = tmp_path / "voc"
        folder.mkdir()
        for name in BOXES:
            (folder / f"{name}.xml").write_text(VOC.format(name=name, box=VOC_BOX * (name == "a")))
        return folder
    name, content = TRUTHS[request.param]
    path = tmp_path / name
    path.write_bytes(content)
    return path


def of_cases(cases):
    return {name: cases.truth_xyxy_px[cases.truth_case == index].tolist() for index, name in enumerate(cases.names)}


def of_exams(exams):
    return {exam: one.boxes_xyxy_px.tolist() for exam, one in exams.items()}


def evaluate(path, tmp_path):
    (tmp_path / "none.json").write_text("[]")
    return of_cases(inputs.load(path, tmp_path / "none.json").cases)


def explore(path, tmp_path):
    exams = gathering.gather(gathering.Inputs(path), Pool()).exams
    return {exam: boxes.tolist() for exam, boxes in zip(exams.ids, exams.boxes_xyxy_px, strict=True)}


def baseline(path, tmp_path):
    (tmp_path / "headers.csv").write_text("patientId,PatientAge\na,50\nb,60\n")
    table = baseline_table.read(labels=path, headers_csv=tmp_path / "headers.csv")
    return {exam: boxes.tolist() for exam, boxes in zip(table.exams, table.boxes_xyxy_px, strict=True)}


def page(path, tmp_path):
    boxes, _ = web_truth.of_file(path) if path.is_dir() else web_truth.of_upload(File(path.name, path.read_bytes()))
    return {exam: one.tolist() for exam, one in boxes.items()}


TRUTH_READERS = {
    "make_tfrecords": lambda path, tmp_path: of_exams(formats.read_labels(path).exams),
    "evaluate": evaluate,
    "postprocess": lambda path, tmp_path: {exam: one.tolist() for exam, one in postprocessing.read_truth(path).boxes_xyxy_px.items()},
    "compare": lambda path, tmp_path: of_cases(truths.read(path).cases),
    "explore": explore,
    "predict": lambda path, tmp_path: of_exams(predicting._read_truth(path, [])),
    "metadata_baseline": baseline,
    "page": page,
}


@pytest.mark.parametrize("command", TRUTH_READERS)
def test_every_command_reads_every_ground_truth(truth_file, tmp_path, command):
    assert TRUTH_READERS[command](truth_file, tmp_path) == BOXES


BAD_TRUTHS = {
    "other columns": ("bad.csv", b"one,two\n1,2\n", "has the columns"),
    "results in place of labels": ("bad.json", b"[]", "is a JSON list, as COCO results are"),
    "broken JSON": ("bad.json", b"{", "is not valid JSON"),
    "nested too deeply": ("bad.json", b"[" * 200_000, "it is nested deeper than 64 levels"),
    "empty": ("bad.csv", b"", "is empty"),
    "binary": ("bad.csv", bytes(range(256)), "is no text"),
    "cut off": ("bad.csv.gz", gzip.compress(RSNA.encode() * 99)[:-9], "no gzip file, or cut off"),
    "several files": ("bad.zip", zipped(RSNA, more=["other.csv"]), "ZIP archive with 2 files (file.csv, other.csv)"),
    "workbook": ("bad.xlsx", zipped(RSNA, "[Content_Types].xml"), "is an Excel workbook"),
}


@pytest.mark.parametrize("case", BAD_TRUTHS)
def test_every_command_refuses_it_with_the_same_message(tmp_path, case):
    name, content, message = BAD_TRUTHS[case]
    path = tmp_path / name
    path.write_bytes(content)
    said = {}
    for command, read in TRUTH_READERS.items():
        with pytest.raises(DataError) as caught:
            read(path, tmp_path)
        said[command] = str(caught.value).replace(str(path), name)
    assert len(set(said.values())) == 1, said
    assert message in said["evaluate"]


@pytest.mark.parametrize("command", ["evaluate", "postprocess", "compare"])
def test_ground_truth_with_an_unusable_exam_is_refused_alike(tmp_path, command):
    path = tmp_path / "labels.csv"
    path.write_text(RSNA + "c,1,2,3,,1\n")
    with pytest.raises(DataError, match=r"1 exam cannot be used as ground truth \(first: c: line 4: Target is 1, but height is empty"):
        TRUTH_READERS[command](path, tmp_path)


def test_predict_names_labels_that_it_cannot_draw(tmp_path):
    (tmp_path / "labels.csv").write_text(RSNA + "c,1,2,3,,1\n")
    notes = []
    assert of_exams(predicting._read_truth(tmp_path / "labels.csv", notes)) == BOXES
    assert notes == [
        "1 exams of labels.csv have no usable labels and are drawn without; the first is c: line 4: Target is 1, but height is empty or NaN."
    ]


def test_crowds_and_boxes_without_area_are_evaluated_and_only_crowds_trained_on(tmp_path):
    boxes = [{**COCO["annotations"][0], "iscrowd": 1}, {**COCO["annotations"][0], "id": 2, "image_id": 7, "bbox": [1, 2, 0, 4]}]
    (tmp_path / "instances.json").write_text(json.dumps({**COCO, "annotations": boxes}))
    assert evaluate(tmp_path / "instances.json", tmp_path) == {"a": [[10, 20, 40, 60]], "b": [[1, 2, 1, 6]]}
    labels = formats.read_labels(tmp_path / "instances.json")
    assert [exam for exam, _ in labels.rejected] == ["b"]
    assert labels.exams["a"].difficult == (True,)
    assert labels.notes == {"objects marked difficult": 1, "crowds (iscrowd), of which the box is kept as an object marked difficult": 1}


def test_images_of_one_name_in_two_folders_are_evaluated_by_their_folders(tmp_path):
    images = [{**COCO["images"][0], "file_name": "p/1.png"}, {**COCO["images"][1], "file_name": "q/1.png"}]
    (tmp_path / "instances.json").write_text(json.dumps({**COCO, "images": images}))
    assert evaluate(tmp_path / "instances.json", tmp_path) == {"p/1.png": [[10, 20, 40, 60]], "q/1.png": []}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"images": [{**COCO["images"][0], "id": []}, COCO["images"][1]]}, id="id is a list"),
        pytest.param({"images": [{**COCO["images"][0], "patient": []}, COCO["images"][1]]}, id="patient is a list"),
        pytest.param({"images": [{**COCO["images"][0], "age": {}}, COCO["images"][1]]}, id="age is an object"),
        pytest.param({"annotations": [{**COCO["annotations"][0], "bbox": [10**400, 1, 2, 3]}]}, id="huge number"),
        pytest.param({"annotations": [{**COCO["annotations"][0], "category_id": None}]}, id="no category"),
        pytest.param({"categories": [{"id": 2, "name": []}]}, id="class is a list"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "postprocess", "compare"])
def test_odd_json_types_are_one_sentence(tmp_path, change, command):
    (tmp_path / "odd.json").write_text(json.dumps({**COCO, **change}))
    with pytest.raises(DataError) as caught:
        TRUTH_READERS[command](tmp_path / "odd.json", tmp_path)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


# detections

ROW = {"image_id": 5, "category_id": 2, "bbox": [11, 21, 30, 40], "score": 0.75}
DETECTED = {"a": [[11, 21, 41, 61, 0.75]], "b": []}
SUBMISSION = "patientId,PredictionString\na,0.75 11 21 30 40\nb,\n"
DETECTIONS = {
    "coco results": ("detections.json", json.dumps([ROW]).encode()),
    "of predict, with its own ids": ("detections.json", json.dumps([{**ROW, "image_id": image_id("a"), "file_name": "a"}]).encode()),
    "submission": ("submission.csv", SUBMISSION.encode()),
    "names of files": ("submission.csv", SUBMISSION.replace("a,", "a.png,").replace("b,", "b.png,").encode()),
    "coco results.gz": ("detections.json.gz", gzip.compress(json.dumps([ROW]).encode())),
    "submission.zip": ("submission.csv.zip", zipped(SUBMISSION)),
    "submission in utf-16": ("submission.csv", SUBMISSION.encode("utf-16")),
}


def drawn(cases):
    rows = np.column_stack([cases.boxes_xyxy_px, cases.scores])
    return {name: rows[cases.box_case == index].tolist() for index, name in enumerate(cases.names)}


def post(truth, path):
    detections = postprocessing.read_detections(path, truth=postprocessing.read_truth(truth))
    return {exam: np.column_stack([one.boxes_xyxy_px, one.scores]).tolist() for exam, one in detections.items()}


DETECTION_READERS = {
    "evaluate": lambda truth, path: drawn(inputs.load(truth, path).cases),
    "postprocess": post,
    "compare": lambda truth, path: drawn(entries._of_file("it", path, truths.read(truth)).cases),
}


@pytest.fixture
def instances(tmp_path):
    (tmp_path / "instances.json").write_text(json.dumps(COCO))
    return tmp_path / "instances.json"


@pytest.mark.parametrize("form", DETECTIONS)
@pytest.mark.parametrize("command", DETECTION_READERS)
def test_every_command_reads_all_detections(instances, tmp_path, command, form):
    name, content = DETECTIONS[form]
    (tmp_path / name).write_bytes(content)
    assert DETECTION_READERS[command](instances, tmp_path / name) == DETECTED


BAD_DETECTIONS = {
    "no list": (json.dumps(COCO), "must be a COCO list of detections, but is a JSON dict. Are the two files swapped?"),
    "other columns": ("one,two\n1,2\n", "has the columns ['one', 'two']. Detections are COCO results"),
    "broken": ("[1,", "is not valid JSON"),
    "nested too deeply": ("[" * 200_000, "it is nested deeper than 64 levels"),
    "no object": ("[3]", "entry 0 has no image_id"),
    "unknown": (json.dumps([ROW, {**ROW, "image_id": 6}]), "entry 1 is of image 6, which the ground truth does not list"),
    "two exams": (json.dumps([{**ROW, "file_name": "b"}]), "entry 0 has the image_id of 'a' in the ground truth, and the file_name 'b'"),
    "id is a list": (json.dumps([{**ROW, "image_id": [5]}]), "entry 0 is of image [5]"),
    "huge": (json.dumps([{**ROW, "bbox": [10**400, 1, 2, 3]}]), "bbox must be four finite numbers"),
    "huge category": (json.dumps([{**ROW, "category_id": 10**30}]), "category_id must be a whole number"),
    "true": (json.dumps([{**ROW, "score": True}]), "score a number"),
    "inverted": (json.dumps([{**ROW, "bbox": [1, 2, -3, 4]}]), "is inverted"),
    "score": (json.dumps([{**ROW, "score": 1.5}]), "the score is 1.5"),
    "nan": (json.dumps([{**ROW, "score": float("nan")}]), "score a number"),
    "missing exam": ("patientId,PredictionString\na,\n", "has no line for 1 exams, for example b"),
    "four numbers": ("patientId,PredictionString\na,0.5 1 2 3\nb,\n", "line 2: PredictionString has 4 numbers"),
}


@pytest.mark.parametrize("case", BAD_DETECTIONS)
def test_every_command_refuses_detections_with_the_same_message(instances, tmp_path, case):
    content, message = BAD_DETECTIONS[case]
    path = tmp_path / "bad"
    path.write_text(content)
    said = {}
    for command, read in DETECTION_READERS.items():
        with pytest.raises(DataError) as caught:
            read(instances, path)
        said[command] = str(caught.value)
    assert len(set(said.values())) == 1, said
    assert message in said["evaluate"]


def test_detections_without_ground_truth(tmp_path):
    (tmp_path / "s.csv").write_text(SUBMISSION)
    detections = detection_files.by_exam(tmp_path / "s.csv")
    assert {exam: len(one) for exam, one in detections.items()} == {"a": 1, "b": 0}
    assert detections["a"].classes.tolist() == [2]
    (tmp_path / "d.json").write_text(json.dumps([ROW]))
    with pytest.raises(DataError, match=r"d.json, entry 0 has no file_name, so that its exam is unknown. Give the ground truth"):
        detection_files.by_exam(tmp_path / "d.json")


# files of any program


def test_windows_1252_is_read_and_named(tmp_path, caplog):
    (tmp_path / "map.csv").write_bytes("patientId,patient\na,Müller\n".encode("cp1252"))
    assert annotations.read_patient_map(tmp_path / "map.csv") == {"a": "Müller"}
    assert "map.csv is not UTF-8 (line 2): read as Windows-1252" in caplog.text


def test_a_damaged_file_in_utf_8_is_not_taken_for_windows_1252(tmp_path):
    (tmp_path / "map.csv").write_bytes("patientId,patient\na,Müller\nb,".encode() + b"\xfcx\n")
    with pytest.raises(DataError, match=r"map.csv is neither UTF-8, UTF-16 nor Windows-1252: see line 3. Save it as UTF-8"):
        annotations.read_patient_map(tmp_path / "map.csv")


@pytest.mark.parametrize("pack", [pytest.param(gzip.compress, id="gzip"), pytest.param(zipped, id="zip")])
def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(text_files, "MAX_UNPACKED_BYTES", 1 << 20)
    (tmp_path / "bomb").write_bytes(pack(bytes(2 << 20)))
    with pytest.raises(DataError, match="bomb unpacks to more than 1 MiB"):
        text_files.read_bytes(tmp_path / "bomb")


def test_zip_members_of_other_methods_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.csv", RSNA)
    with pytest.raises(DataError, match="is encrypted or compressed in an unusual way"):
        formats.read_labels(tmp_path / "a.zip")


def test_a_record_set_is_ground_truth_by_its_split(tmp_path):
    common = {"shards": [], "annotations": "instances_val.json", "annotations_sha256": "", "patients": 2, "positive_exams": 1, "boxes": 1}
    manifest = {"label_map": {"pneumonia": 1}, "splits": {"val": common | {"exams": 2}, "test": common | {"exams": 0}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"format": record_sets.FORMAT, "version": record_sets.VERSION}))
    (tmp_path / "instances_val.json").write_text(json.dumps(COCO))
    truth = ground_truth.read(tmp_path)
    assert truth.image_ids == {"a": 5, "b": 7}
    with pytest.raises(DataError, match="has no split 'dev'; it has val, test"):
        ground_truth.read(tmp_path, split="dev")
    with pytest.raises(DataError, match="The split 'test' of .* has no exams"):
        ground_truth.read(tmp_path, split="test")
