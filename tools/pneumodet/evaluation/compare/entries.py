"""What is compared: run folders of every family, and bare files of detections or scores.

shelf = Shelf(truth=None)
entry = read("unet", shelf)                         # a run: workspace/unet, as its own command left it
entry = read("other=detections.json", shelf)        # detections or image-level scores of any framework
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import aims, metrics_table, paths, runs, split_use
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.run_record import DataRecord, RunRecord
from pneumodet.core.runs import CLASSIFICATION, DETECTION, SEGMENTATION, TRAINED_BY
from pneumodet.core.seen import Seen
from pneumodet.data import detection_files, record_sets
from pneumodet.data.cases import Cases
from pneumodet.evaluation import checks, chosen_on, inputs, metrics_file
from pneumodet.evaluation.compare import truths
from pneumodet.evaluation.compare.truths import Truth
from pneumodet.evaluation.metrics_file import Metrics
from pneumodet.inference import exported, parity
from pneumodet.inference.postprocess import gates as image_gates

BOXES, SCORES = "boxes", "scores"
"""The two kinds of bare files, beside the families of runs."""

DETECTIONS_FILE, SCORES_FILE = "detections.json", "scores.csv"

ROUNDED = 1e-6
"""By how much a score may differ in the CSV, which has six digits, and in the boxes."""

TRAINED_ON = "{name} was evaluated on the very exams that it was trained on: its figures say nothing of others."
"""Warning."""

PARITY = Path(runs.EXPORT) / exported.PARITY
"""Where the export of a detection run keeps how long its checkpoint took an image."""


@dataclasses.dataclass(frozen=True)
class Point:
    """An operating point.

    Attributes:
      aim: what a threshold is chosen for, as ``aims.parse_aim`` takes it.
      threshold: one that was chosen on other data; None: each exam is evaluated at what other patients give.
    """

    aim: str
    threshold: float | None = None


OF_BOXES, OF_SCORES = Point("rsna"), Point("f1")
"""The operating points of what has none of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One of those that are compared.

    Attributes:
      name: as it was given.
      family: DETECTION, CLASSIFICATION, SEGMENTATION, BOXES or SCORES.
      truth: the ground truth that it was evaluated with.
      exams: all that it was evaluated on.
      cases: its detections on the exams of ``truth``; None where it has no boxes.
      scores: exam -> image-level score in [0, 1]; None where the highest score of an exam's boxes is meant.
      box_point: operating point of the boxes, and of the images where these have no scores of their own.
      image_point: operating point of ``scores``.
      manifest_sha256: of the record set that it was evaluated on; None where not known.
      parameters: number of weights; None where not known, likewise the next two.
      training_seconds: wall time.
      milliseconds_an_image: of the model, one image at a time.
      chosen_of: of how many checkpoints its own was chosen by the figures on the exams that it was evaluated on; 0 where it was not.
      seen: the exams that it was trained and chosen on; None for a file, of which nothing is recorded.
      warnings: sentences for the reader.
    """

    name: str
    family: str
    truth: Truth
    exams: frozenset[str]
    cases: Cases | None = None
    scores: Mapping[str, float] | None = None
    box_point: Point = OF_BOXES
    image_point: Point = OF_SCORES
    manifest_sha256: str | None = None
    parameters: int | None = None
    training_seconds: float | None = None
    milliseconds_an_image: float | None = None
    chosen_of: int = 0
    seen: Seen | None = None
    warnings: tuple[str, ...] = ()


class Shelf:
    """Ground truths by where they lie, each read once.

    Args of the constructor:
      truth: that of all who do not know their own.
      split: of record sets, where nothing else is said.
      patient_map: for all.
      class_map: for ``truth``.
    """

    def __init__(
        self, truth: Path | None, *, split: str = "val", patient_map: Path | None = None, class_map: Mapping[str, str] | None = None
    ) -> None:
        self._patient_map, self.split = patient_map, split
        self._read: dict[tuple[Path, str], Truth] = {}
        self.given = None
        if truth is not None:
            self.given = self._read[truth, split] = truths.read(truth, split=split, patient_map=patient_map, class_map=class_map)

    def get(self, path: Path, split: str) -> Truth:
        """Return the ground truth that lies there."""
        if (path, split) not in self._read:
            self._read[path, split] = truths.read(path, split=split, patient_map=self._patient_map)
        return self._read[path, split]


def read_all(texts: list[str], shelf: Shelf) -> list[Entry]:
    """Read what is to be compared.

    Args:
      texts: names of runs, their folders, or NAME=PATH of a run's folder or of a file.
      shelf: has the ground truth; files without one take that of the first run that knows its own.

    Raises:
      ConfigError: a name occurs twice, or no ground truth is known.
      DataError: there is no such run, it was not evaluated, or its files cannot be used.
    """
    named = [_named(text) for text in texts]
    twice = next((name for index, (name, _) in enumerate(named) if name in [other for other, _ in named[:index]]), None)
    if twice:
        raise ConfigError(f"Two of --runs are called {twice!r}. Name each once; a run or file gets another name by NAME=PATH.")
    # runs before files, which take the ground truth of the first run
    of_runs = {name: _of_run(name, path, shelf) for name, path in named if path.is_dir()}
    default = shelf.given or next((entry.truth for entry in of_runs.values()), None)
    if default is None:
        raise ConfigError(
            "Files of detections or scores do not say which ground truth they are of. Give --truth: a record set, instances.json or labels.csv."
        )
    return [of_runs.get(name) or _of_file(name, path, default) for name, path in named]


def _named(text: str) -> tuple[str, Path]:
    """Return (name, a run's folder or a file) of an argument of --runs."""
    name, equals, place = text.partition("=")
    if not equals:
        return Path(text).name, runs.find(text)
    path = Path(place).expanduser()
    if not name or not place or not path.exists():
        raise DataError(
            f"--runs {text!r}: there is no {path}." if name and place else f"--runs {text!r} is neither a run's name nor NAME=PATH."
        )
    return name, path if path.is_file() else runs.find(str(path.resolve()))


def _of_file(name: str, path: Path, truth: Truth) -> Entry:
    if detection_files.is_scores(path):
        scores = image_gates.read_gate(path)
        return Entry(name=name, family=SCORES, truth=truth, exams=frozenset(scores), scores=scores)
    cases, warnings = _detections(path, truth, name, checks.DETECTOR)
    return Entry(name=name, family=BOXES, truth=truth, exams=frozenset(cases.names), cases=cases, warnings=tuple(warnings))


def _of_run(name: str, folder: Path, shelf: Shelf) -> Entry:
    record = runs.read(folder)
    family = record.family
    if family not in TRAINED_BY:
        raise DataError(f"The run {name} is of the family {family!r}; known are {', '.join(TRAINED_BY)}.")
    place = folder / chosen_on.folder_name(runs.EVAL if family == DETECTION else runs.EVALUATION, shelf.split)
    command = f"evaluate.py --run {folder.name}" if family == DETECTION else f"{TRAINED_BY[family]}.py --run {folder.name} --resume"
    if shelf.split != split_use.VALIDATION_SPLIT:
        command = f"evaluate.py --run {folder.name} --split {shelf.split}"
    if family == DETECTION and (other := _on_others(folder, record, shelf)):
        place, command = other, f"evaluate.py --run {folder.name} --data … --split {shelf.split}"
    fix = f"Evaluate it: python tools/{command}"
    if not (place / runs.METRICS).is_file():
        raise DataError(f"The run {name} was not evaluated: {place.name}/{runs.METRICS} is missing. {fix}")
    metrics = metrics_file.read(place / runs.METRICS, hint=fix)
    data = record.data
    manifest = metrics.manifest_sha256 or (data.manifest_sha256 if data else None)
    truth = _truth_of_run(name, data.folder if data else None, manifest, metrics.split, shelf)
    fields: dict[str, Any] = {
        "name": name,
        "family": family,
        "truth": truth,
        "manifest_sha256": manifest,
        "chosen_of": _chosen_of(folder, metrics, data),
        "seen": runs.seen(folder),
    }
    scores_file, boxes_file = place / SCORES_FILE, place / DETECTIONS_FILE
    wanted = {DETECTION: [boxes_file], CLASSIFICATION: [scores_file], SEGMENTATION: [scores_file, boxes_file]}[family]
    missing = next((path for path in wanted if not path.is_file()), None)
    if missing:
        raise DataError(f"The evaluation of the run {name} is not whole: {missing.name} is missing. {fix}")
    # of a run's own evaluation, so that runs are compared as their users would use them
    point = _point(metrics)
    if boxes_file in wanted:
        fields["cases"], warnings = _detections(boxes_file, truth, name, checks.DETECTOR if family == DETECTION else checks.MASKS)
        # where it is recorded, it is counted
        here = record.seen is None and metrics.split == "train" and data is not None and manifest == data.manifest_sha256
        warnings += [TRAINED_ON.format(name=name)] * here
        fields |= {"warnings": tuple(warnings), "exams": frozenset(fields["cases"].names), "box_point": point or OF_BOXES}
    if scores_file in wanted:
        scores = image_gates.read_gate(scores_file)
        # the CSV names every exam, also those without a box
        fields["exams"] = frozenset(scores)
        # a segmenter's scores.csv holds the highest of its boxes' scores, rounded: then it is one set of scores, not two
        if not _are_highest(scores, fields.get("cases")):  # else one operating point is that of both
            of_images = point is not None and _of_images(point)
            fields |= {"scores": scores, "image_point": point if of_images else OF_SCORES}
            fields |= {"box_point": OF_BOXES} if of_images else {}
    # COCO results do not name exams without detections: only the count shows that these are others
    if family == DETECTION and metrics.images not in (None, len(fields["exams"])):
        raise DataError(
            f"The run {name} was evaluated on {metrics.images} exams, but {truth.name} has {len(fields['exams'])}. Give --truth with the very record "
            f"set, or evaluate it again: python tools/{command}"
        )
    return Entry(**fields, **_cost(folder, record, metrics))


def _on_others(folder: Path, record: RunRecord, shelf: Shelf) -> Path | None:
    """Return where a run's evaluation on the given records lies, where these are others than its own, and it was evaluated on them."""
    truth = shelf.given
    if truth is None or truth.manifest_sha256 is None or record.data is None or truth.manifest_sha256 == record.data.manifest_sha256:
        return None
    place = chosen_on.folder_on_others(folder, runs.EVAL, shelf.split, data=truth.name, manifest=truth.manifest_sha256)
    return place if (place / runs.METRICS).is_file() else None


def _chosen_of(folder: Path, metrics: Metrics, data: DataRecord | None) -> int:
    """Return ``Entry.chosen_of``."""
    others = metrics.split not in (None, split_use.VALIDATION_SPLIT) or (
        data and metrics.manifest_sha256 not in (None, data.manifest_sha256)
    )
    if others or not (folder / runs.BEST).is_dir():
        return 0
    return max(1, metrics_table.evaluations(folder))


def _truth_of_run(name: str, data: str | None, manifest: str | None, split: str | None, shelf: Shelf) -> Truth:
    """Return the ground truth that a run was evaluated with: its own records', or what was given, where it is the same or a file."""
    split = split or shelf.split
    # by checksum: other records may have been made in the same folder since
    if data and manifest and _manifest_of(Path(data)) == manifest:
        return shelf.get(Path(data), split)
    if shelf.given and (shelf.given.manifest_sha256 is None or (shelf.given.manifest_sha256, shelf.given.split) == (manifest, split)):
        return shelf.given
    known = f"manifest {manifest[:12]}…, split {split}" if manifest else f"split {split}"
    raise DataError(
        f"The record set that the run {name} was evaluated on ({known}) is not where its run.json says. Give it as --truth, or evaluate the run again."
    )


def _manifest_of(data_dir: Path) -> str | None:
    path = data_dir / record_sets.MANIFEST
    return None if paths.size_of(path) is None else paths.sha256_file(path)


def _detections(path: Path, truth: Truth, name: str, source: str) -> tuple[Cases, list[str]]:
    """Return detections on the exams of the ground truth, and what is to be said of them."""
    loaded = inputs.assemble(
        truth.instances,
        lambda images, category: detection_files.read_columns(path, images, category_id=category),
        names=(truth.name, str(path)),
        patients=truth.patients,
        source=source,
    )
    # what is about the ground truth was said with it, and not once for each run
    said = [one for one in loaded.warnings if one not in truth.said]
    if not len(loaded.cases.scores):
        said = ["There is no detection at all."]
    return loaded.cases, [f"{name}: {one}" for one in said]


def _point(metrics: Metrics) -> Point | None:
    """Return a run's own operating point. A threshold that was chosen on the very exams is not taken over, only what it was chosen for."""
    point = metrics.operating_point
    if point is None or point.aim:
        return Point(point.aim) if point and point.aim else None
    return None if point.threshold is None else Point("given", float(point.threshold))


def _of_images(point: Point) -> bool:
    """Whether an operating point can be one of image-level scores: one chosen for boxes has no meaning for them."""
    return point.threshold is not None or aims.parse_aim(point.aim)[0] in ("f1", "sensitivity")


def _are_highest(scores: Mapping[str, float], cases: Cases | None) -> bool:
    """Whether image-level scores are but the highest of each exam's boxes."""
    if cases is None or scores.keys() != set(cases.names):
        return False
    return all(abs(scores[name] - highest) <= ROUNDED for name, highest in zip(cases.names, cases.case_scores.tolist(), strict=True))


def _cost(folder: Path, record: RunRecord, metrics: Metrics) -> dict[str, Any]:
    seconds, milliseconds = record.training_seconds, metrics.get("milliseconds_an_image")
    if seconds is None:
        seconds = metrics_table.seconds(folder) or None
    if milliseconds is None and (folder / PARITY).is_file():
        milliseconds = parity.read(folder / PARITY).reference.milliseconds
    parameters = metrics.get("parameters") if record.parameters is None else record.parameters
    return {"parameters": parameters, "training_seconds": seconds, "milliseconds_an_image": milliseconds}
