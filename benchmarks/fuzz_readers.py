"""What fuzz.py reads: every format that strangers may have made, an example of each, and what a command does with it.

for name, reader in readers(folder).items():
    reader.use(reader.make(random.Random(0)))
"""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import damaged
import json_formats
import made
import numpy as np
import tiny_export
from fuzz_changes import Change, in_records, of_bytes, of_json, of_text, packed

from pneumodet.core import metrics_table, paths
from pneumodet.core.errors import DataError
from pneumodet.data import (
    annotations,
    class_map,
    detection_files,
    foreign_records,
    formats,
    images,
    label_map,
    sources,
    splits,
    synthetic,
    verification,
)
from pneumodet.dicom.net import multipart
from pneumodet.inference import admission, detectors, exported
from pneumodet.models.detection import pipeline_config

OURS = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,100,80,pneumonia,1,2,3.5,4\nb.png,100,80,no-pneumonia,,,,\n"

VOC = """<annotation><filename>a.png</filename>
<size><width>100</width><height>80</height></size>
<object><name>pneumonia</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
</annotation>
"""

YOLO = "path: .\ntrain: images/train\nval: images/train\nnc: 2\nnames:\n  0: pneumonia\n  1: effusion\n"

TABLE = "step,kind,wall_seconds,best,Loss/total_loss,rsna_metric\n1,train,2.5,,0.5,\n2,val,3.5,1,,0.25\n"

LINES = "0 0.5 0.5 0.2 0.2\n1 0.4 0.4 0.1 0.2\n"


@dataclasses.dataclass(frozen=True)
class Reader:
    """How an input is made, and what is done with it."""

    make: Change
    use: Callable[[bytes], object]


def readers(folder: Path) -> dict[str, Reader]:
    """Return name -> reader; examples and inputs lie in the folder."""
    source = synthetic.make_dataset(folder / "source", exams=6, seed=3, size=64)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        records = made.records_of(source, folder / "records", classes=True)
    export = tiny_export.make(folder / "model")
    (folder / "damaged").mkdir()
    forms = json_formats.Formats(folder, records, export)
    found = dict(_images(folder)) | dict(_labels(folder, source)) | dict(_records(folder, records))
    for name in json_formats.ALL:
        document, use = getattr(forms, name)()
        found[f"JSON, {name}"] = Reader(of_json(document), lambda data, use=use: use(data.decode(errors="surrogateescape")))
    label_map_text, config = (export / exported.LABEL_MAP).read_text(), paths.PROJECT_ROOT / "configs" / "ssd_mobilenet.config"
    return found | {
        "model.onnx": Reader(of_bytes((export / "model.onnx").read_bytes()), lambda data: _detect_with(export, data)),
        "label map": Reader(of_text(label_map_text), _at(folder / "map.pbtxt", label_map.read_label_map)),
        "pipeline.config": Reader(of_text(config.read_text().replace("PATH_TO_BE_CONFIGURED", "a")), _at(folder / "a.config", _config)),
        "metrics.csv": Reader(of_text(TABLE), _at(folder / "metrics.csv", metrics_table.read)),
    }


def _at(path: Path, use: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Return what writes an input to a path, and reads that."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def run(data: bytes) -> object:
        path.write_bytes(data)
        return use(path)

    return run


def _images(folder: Path) -> Iterator[tuple[str, Reader]]:
    def one_image(data: bytes) -> None:
        images.image_of(data, "x")
        images.encode(damaged.Bytes(data))

    def one_object(data: bytes) -> None:
        admission.facts_of_file(data, "x")
        one_image(data)

    def every_image(path: Path) -> None:
        for one in sources.find_radiographs(path, images=True)[0].values():
            images.image_of(one.read_bytes(), one)

    examples = {kind: damaged.example(kind, folder / "damaged") for kind in damaged.KINDS}
    for kind, data in examples.items():
        yield f"image, {kind}", Reader(of_bytes(data), one_image if kind in damaged.NO_DICOM else one_object)
    yield "images in a ZIP", Reader(packed(of_bytes(examples["rle"]), "a.dcm"), _at(folder / "zip" / "a.zip", every_image))
    body, kind = multipart.write([examples["rle"]])
    yield "DICOMweb, multipart", Reader(of_bytes(body), lambda data: multipart.only_part(data, kind))


def _labels(folder: Path, source: synthetic.Dataset) -> Iterator[tuple[str, Reader]]:
    def labels(path: Path) -> None:
        formats.whole(formats.read_labels(path), path)

    def lines(path: Path) -> None:
        data_file.write_text(YOLO)
        labels(data_file)

    def in_gzip(chance: random.Random) -> bytes:
        data = gzip.compress(of_text(rsna)(chance), mtime=0)
        return of_bytes(data)(chance) if chance.random() < 0.5 else data

    rsna, csv, yolo = source.labels.read_text(), folder / "csv", folder / "yolo"
    data_file = yolo / "data.yaml"
    (yolo / "images" / "train").mkdir(parents=True)
    (yolo / "images" / "train" / "a.png").write_bytes(damaged.example("png", folder / "damaged"))
    yield "labels, CSV of RSNA", Reader(of_text(rsna), _at(csv / "a.csv", labels))
    yield "labels, CSV with corners", Reader(of_text(OURS), _at(csv / "b.csv", labels))
    yield "labels, CSV.gz", Reader(in_gzip, _at(csv / "a.csv.gz", labels))
    yield "labels, CSV in a ZIP", Reader(packed(of_text(rsna), "a.csv"), _at(csv / "a.csv.zip", labels))
    yield "labels, VOC", Reader(of_text(VOC), _at(folder / "voc" / "a.xml", lambda path: labels(path.parent)))
    yield "labels, YOLO lines", Reader(of_text(LINES), _at(yolo / "labels" / "train" / "a.txt", lines))
    yield "labels, YOLO data.yaml", Reader(of_text(YOLO), _at(data_file, labels))
    yield (
        "class info",
        Reader(
            of_text(source.class_info.read_text()),
            _at(csv / "info.csv", lambda path: annotations.read_rsna_labels(source.labels, class_info=path)),
        ),
    )
    yield "patients", Reader(of_text(source.patient_map.read_text()), _at(csv / "patients.csv", annotations.read_patient_map))
    yield "splits", Reader(of_text("patientId,split\na,train\nb,val\nc,test\n"), _at(csv / "split.csv", splits.read_split_file))
    submission = "patientId,PredictionString\na,0.9 1 2 30 40 0.5 3 4 50 60\nb,\n"
    yield "submission", Reader(of_text(submission), _at(csv / "submission.csv", detection_files.by_exam))
    yield "classes", Reader(of_text("effusion=pneumonia"), lambda data: class_map.parse([data.decode(errors="replace")]))


def _records(folder: Path, records: Path) -> Iterator[tuple[str, Reader]]:
    shard, val = (sorted(records.glob(f"*{split}*.tfrecord*"))[0] for split in (splits.TRAIN, splits.VAL))
    whole = shard.read_bytes()

    def verify(data: bytes) -> None:
        try:
            shard.write_bytes(data)
            if problems := verification.verify(records):
                raise DataError(problems[0])
        finally:
            shard.write_bytes(whole)

    def adopt(path: Path) -> None:
        foreign_records.adopt([str(path)], [str(val)], folder / "model" / exported.LABEL_MAP, folder / "adopted", overwrite=True)

    yield "TFRecords", Reader(of_bytes(whole), verify)
    yield "TFRecords of others", Reader(in_records(shard), _at(folder / "foreign.tfrecord", adopt))


def _detect_with(export: Path, data: bytes) -> None:
    """Predict with these bytes as the model, whose card has their checksum."""
    model, card = export / "model.onnx", export / "model.json"
    before = model.read_bytes(), card.read_text()
    try:
        model.write_bytes(data)
        card.write_text(before[1].replace(hashlib.sha256(before[0]).hexdigest(), hashlib.sha256(data).hexdigest()))
        detectors.open(export).detect(np.full((90, 100), 200, np.uint8))
    finally:
        model.write_bytes(before[0])
        card.write_text(before[1])


def _config(path: Path) -> None:
    pipeline_config.check(pipeline_config.load(str(path)), tiny_export.LABELS)
