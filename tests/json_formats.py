"""Every JSON format that may come from elsewhere: an example of it, and all that is done with it by those who read it; what its fields must not be."""

import json

import made_up_metrics
import numpy as np

from pneumodet.core import json_text, overlap, run_record, runs
from pneumodet.core.run_record import DataRecord, RunRecord
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data import detection_files, formats, ground_truth
from pneumodet.data.record_sets import RecordSet
from pneumodet.data.verification import verify
from pneumodet.dicom.net import dicomweb, replies
from pneumodet.evaluation import inputs, metrics_file
from pneumodet.evaluation.report import model_card, steps
from pneumodet.inference import admission, detectors, dicom_reports, exported, parity
from pneumodet.inference import card as cards
from pneumodet.inference.parity import Comparison, Parity, Reference
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess.recipe import Recipe
from pneumodet.inference.predict import journal, plan
from pneumodet.models import checkpoint_registry, options
from pneumodet.models.inputs import augmentation_settings

DEEP, LEVELS = "@@ lists in one another @@", 5_000

VALUES = (
    None, True, False, 0, -1, 2, 10**30, -(10**400), 0.5, -0.5, 1e308, float("inf"), float("nan"), "", "a", "../a", "x" * 300, "a\0b", "\ud800",
    "\udce9", [], [[]], ["a"], [1, 2], [10**30], {}, {"a": 1}, {"\ud800": 1}, DEEP,
)  # fmt: skip
"""What stands in place of each field's value."""


SCORED = Exams.of([{"file_name": "a", "patient": "p", "sha256": "0" * 64}, {"file_name": "b"}])
SEEN = Seen(trained=Marks.of(SCORED), unrecorded=("the run old",))


def paths_of(value, path=()):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in pairs:
        yield (*path, key)
        # of a list the first entries stand for all
        if not (isinstance(value, list) and key > 1):
            yield from paths_of(below, (*path, key))


def _encoded(text):
    """Return the bytes of a text, or of a damaged file that was read as text."""
    return text.encode(errors="surrogateescape")


def text_of(value):
    return json.dumps(value).replace(json.dumps(DEEP), "[" * LEVELS + "]" * LEVELS)


def answers(*_, **__):
    """Return, in place of ``backends.open_file``, a model that answers with one box at once, whatever its file is."""
    answer = {"boxes": np.array([[[0.1, 0.1, 0.5, 0.5]]], np.float32), "scores": np.array([[[0.0, 0.9]]], np.float32)}
    return lambda _: dict(answer)


def truth():
    images = [
        {"id": 1, "file_name": "a", "width": 100, "height": 80, "patient": "p", "sex": "F", "age": 50},
        {"id": "b", "file_name": "b.png"},
    ]
    rows = [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0}]
    return {"images": images, "annotations": rows, "categories": [{"id": 2, "name": "pneumonia"}]}


class Formats:
    """What each format is, and all that is done with it by those who read it; ``text`` is the changed document."""

    def __init__(self, folder, records, export):
        self.folder, self.records, self.export = folder, records, export

    def written(self, name, text):
        path = self.folder / name
        path.write_bytes(_encoded(text))
        return path

    def in_place(self, path, text, use):
        before = path.read_text()
        try:
            path.write_bytes(_encoded(text))
            use()
        finally:
            path.write_text(before)

    def manifest(self):
        path = self.records / "manifest.json"
        document = json.loads(path.read_text())
        for split in document["splits"].values():
            split["shards"] = split["shards"][:1]

        def use():
            record_set = RecordSet.open(self.records)
            record_set.manifest.to_json()
            assert isinstance(record_set.split_by, str)
            for split in record_set.each_split():
                assert len(split.names) == len(split.positive)
            record_set.check_two_kinds()

        return document, lambda text: self.in_place(path, text, use)

    def ground_truth_of_records(self):
        path = self.records / "instances_val.json"

        def use():
            split = RecordSet.open(self.records).val
            assert len(split.names) == len(split.positive) == len(split.sizes_hw) == len(split.facts("age"))
            assert split.most_boxes >= 1
            verify(self.records)

        document = json.loads(path.read_text())
        return document, lambda text: self.in_place(path, text, use)

    def run_record(self):
        record = RunRecord(
            config="ssd", settings=("a=1",), seed=1, steps=10, batch_size=2, training=options.Options().to_json(), provenance={"versions": {}},
            data=DataRecord(folder="/data", manifest_sha256="0" * 64, train_exams=5, val_exams=5, split_by="patient", audit={"train": {"tiny": 0}}),
            files_sha256={"init": "0"}, parameters=10, training_seconds=2.5, steps_done=10, seen=SEEN, facts={"backbone": "coco"},
        )  # fmt: skip

        def use(text):
            path = self.written(runs.RECORD, text)
            read = runs.read(self.folder)
            options.Options.of(read.training or {})
            overlap.count({"run": runs.seen(self.folder)}, SCORED)
            run_record.write(path, read)

        return record.to_json(), use

    def model_card(self):
        path = self.export / cards.CARD
        document = json.loads(path.read_text()) | {
            "label_map": {"pneumonia": 2},
            "recipe": json.loads(json.dumps(vars(Recipe(nms="hard")))),
            "data": {"manifest_sha256": "0" * 64, "train_exams": 5, "val_exams": 5, "split_by": "patient", "audit": {"train": {}}},
            "seen": SEEN.to_json(),
            "trained": {"pneumodet": "0", "versions": {"numpy": "1"}},
            "metrics": {
                "images": 5,
                "patients": 4,
                "checkpoint_chosen_of": 2,
                "operating_point": {"chosen": {"reached": {}}},
                "rsna_metric": 0.2,
            },
            "calibrator": {"method": "isotonic", "scores": [0.1, 0.9], "probabilities": [0.2, 0.8]},
        }
        document["artefacts"]["tflite-int8"] = {
            "file": "model.onnx", "outputs": cards.ENCODINGS, "anchors": "label_map.pbtxt", "feature_maps": 1, "sha256": "0" * 64, "bytes": 5,
            "ranges": [{"encodings": [0, 1], "logits": [0, 1]}],
        }  # fmt: skip

        def use():
            model = exported.read(self.export)
            planned = plan.planned([self.export], recipe=None, tta=None, gate=None, score_threshold=None)
            detector = detectors.open(self.export)
            detections = detector.detect(np.full((90, 100), 200, np.uint8))
            if planned.rules.calibrator:
                planned.rules.calibrator(detections.scores)
            reporter = planned.reporter([detector])
            assert isinstance(reporter, dicom_reports.Reporter)
            cards.write(self.folder / cards.CARD, model.card)

        return document, lambda text: self.in_place(path, text, use)

    def recipe(self):
        document = {"version": 1, **json.loads(json.dumps(vars(Recipe(nms="hard", gate="drop", exams_sha256="0")))), "seen": SEEN.to_json()}

        def use(text):
            recipe, seen = recipes.load(self.written(recipes.RECIPE, text)), recipes.seen_of(self.folder / recipes.RECIPE)
            overlap.count({"recipe": seen or Seen()}, SCORED)
            recipes.save(self.folder / recipes.RECIPE, recipe, seen=seen)

        return document, use

    def metrics(self):
        def use(text):
            metrics = metrics_file.read(self.written("metrics.json", text), hint="Evaluate again.")
            model_card.text(metrics)
            [(metrics.interval(key), metrics.why_undefined(key)) for key in metrics]
            assert metrics.operating_point is None or isinstance(metrics.operating_point.reached, dict)
            assert isinstance(metrics.warnings, list)
            overlap.count({"": metrics.scored}, SCORED)

        counted = overlap.count({"": SEEN}, SCORED)
        document = made_up_metrics.metrics() | {"seen": counted.to_json(), "scored": SEEN.to_json()["trained"]}
        # of these only an evaluation's own report makes use, which takes them from memory
        return {key: value for key, value in document.items() if key not in ("curves", "errors", "calibration", "comparison")}, use

    def gains(self):
        def use(text):
            path = self.written("table.json", text)
            steps.gains(json_text.read(path, what="the table of gains", hint="Again."))

        return made_up_metrics.gains(), use

    def parity(self):
        one = Comparison(
            detections=5, matched=5, alike=1.0, score_largest=0.0, score_mean=0.0, bytes=10, images=5, milliseconds=1.0, milliseconds_p95=2.0,
            tolerance={"score": 0.1}, outside=("AP50 is lower",), ap50=0.5, ap50_change=-0.1,
        )  # fmt: skip
        document = Parity(
            checkpoint="ckpt-1", split="val", score_threshold=0.5, reference=Reference(images=5, milliseconds=1.0), artefacts={"onnx": one}
        )

        def use(text):
            read = parity.read(self.written(exported.PARITY, text))
            json.dumps(read.to_json(), allow_nan=False).encode()

        return json.loads(json.dumps(document.to_json())), use

    def registry(self):
        entry = {
            "type": "detection", "trained_on": "COCO", "side_px": 320, "feature_extractors": ["ssd"], "url": "https://a", "file": "ckpt-0",
            "licence": "Apache", "sha256": None,
        }  # fmt: skip
        return {"about": "", "checkpoints": {"ssd": entry}}, lambda text: (
            self.written(checkpoint_registry.REGISTRY, text),
            checkpoint_registry.read(self.folder),
        )

    def downloads(self):
        document = {"ssd": {"url": "https://a", "sha256": "0", "files": {"ckpt-0.index": "0"}}}
        return document, lambda text: (self.written(checkpoint_registry.LOCK, text), checkpoint_registry.downloads(self.folder))

    def augmentation(self):
        document = augmentation_settings.to_json(augmentation_settings.RADIOGRAPH)
        return document, lambda text: augmentation_settings.load(self.written("mild.json", text))

    def coco_truth(self):
        def use(text):
            path = self.written("truth.json", text)
            read = ground_truth.read(path)
            assert read.categories and read.patients is None or isinstance(read.patients, dict)
            inputs.assemble(read.instances, lambda images, category: [], names=("truth", "none"), patients=read.patients)

        return truth(), use

    def coco_labels(self):
        return truth(), lambda text: formats.whole(formats.read_labels(path := self.written("labels.json", text)), path)

    def coco_detections(self):
        rows = [{"image_id": 1, "file_name": "a", "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]

        def use(text):
            path = self.written("detections.json", text)
            detections = detection_files.read(path, {"a": 1}, category_id=2)
            inputs.assemble(truth() | {"images": truth()["images"][:1]}, lambda images, category: detections, names=("truth", "these"))
            detection_files.by_exam(path)

        return rows, use

    def journal_head(self):
        document = {"format": journal.FORMAT, "version": journal.VERSION, "key": "a", "settings": {"threshold": 0.5}}

        def use(text):
            self.written(journal.NAME, text + "\n")
            head, _ = journal.peek(self.folder)
            if head:
                journal.check_same(head["settings"], {"threshold": 0.5}, where=self.folder)

        return document, use

    def journal_entry(self):
        from pneumodet.core.detections import Detections

        entry = journal.Entry("a", "a.dcm", (10, 10), Detections([[1, 2, 3, 4]], [0.5], [2]), "a.png")

        def use(text):
            path = self.written(journal.NAME, "{}\n" + text + "\n")
            with journal.Journal.resume(path, key="a") as resumed:
                for one in resumed.entries():
                    assert isinstance(one.exam, str) and len(one.size_hw) == 2

        return json.loads(entry.to_line()), use

    def dicomweb(self):
        item = {
            "00080018": {"vr": "UI", "Value": ["1.2.3.4.5"]}, "0020000D": {"vr": "UI", "Value": ["1.2.3.4.6"]},
            "00280008": {"vr": "IS", "Value": ["1"]}, "00082218": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["43799004"]}}]},
        }  # fmt: skip

        def use(text):
            for entry in replies.entries(text.encode(errors="replace")):
                admission.refusal(admission.facts_of_json(entry), admission.WORKER)
                dicomweb._query_result(entry, None, None)
                [
                    (dicomweb._number(one, "00081197"), replies.items_of(one, "00082218"))
                    for one in (entry, *replies.items_of(entry, "00082218"))
                ]
            replies.refusal_text(text.encode(errors="replace"), "application/json")

        return [item], use


ALL = [name for name in vars(Formats) if not name.startswith("_") and name not in ("written", "in_place")]
