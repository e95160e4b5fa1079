"""What an export says of itself: model.json for programs, MODEL_CARD.md for people.

card, metrics = of_run(families.of_run(folder))
text = read_me(card, metrics, parity)
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import metrics_table, paths, runs
from pneumodet.core.formatting import counted
from pneumodet.core.run_record import DataRecord
from pneumodet.core.seen import Seen
from pneumodet.evaluation import metrics_file
from pneumodet.evaluation.metrics_file import Metrics
from pneumodet.evaluation.report import model_card
from pneumodet.export import parity as comparing
from pneumodet.export.subject import Subject
from pneumodet.inference import card as cards
from pneumodet.inference import probability
from pneumodet.inference.card import Artefact, ModelCard
from pneumodet.inference.parity import Parity
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.sizes import Size
from pneumodet.viz import markup
from pneumodet.viz.markdown import code, plain

_VERSIONS_OF = ("tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "opencv-python-headless")

_KEPT = ("intervals", "bootstrap", "operating_point", "seen")
"""Of the metrics, what model.json keeps beside single figures."""

_OF_BOXES = ("AP50, change", "RSNA metric, change", "change nearby")
"""Columns of the table of files that a classifier has not."""

_ANSWERS = {
    cards.DETECTIONS: "`detection_boxes` (1, M, 4) top, left, bottom, right in [0, 1], `detection_scores`, `detection_classes` from 1, "
    "`num_detections`; suppressed",
    cards.BOXES: "`boxes` (1, N, 4) top, left, bottom, right in [0, 1] and `scores` (1, N, classes); suppression follows, as `postprocessing` in "
    "model.json says",
    cards.ENCODINGS: "`encodings_i` and `logits_i` of each feature map, each as (value - low) * 6 / (high - low) where model.json gives "
    "`ranges`; decoding with anchors.npy and suppression follow, as `postprocessing` in model.json says",
    cards.TASK: "`detection_boxes`, `detection_classes` from 0, `detection_scores`, `num_detections`, as TFLite_Detection_PostProcess gives them; "
    "suppressed. Task Library and MediaPipe run it by its metadata",
    cards.SCORES: "`scores` (1, C): a probability of the whole radiograph for each class above, in the order of their numbers",
}


def of_run(subject: Subject, *, recipe: Path | None = None) -> tuple[ModelCard, Metrics | None]:
    """Return (the card without artefacts, the metrics of this checkpoint or None where it was never evaluated).

    Args:
      subject: what is exported.
      recipe: post-processing that goes with the model.

    Raises:
      DataError: the run's record or metrics cannot be read.
      ConfigError: the recipe is malformed.
    """
    folder = subject.folder
    record = runs.read(folder)
    card = dataclasses.replace(
        subject.card,
        run=folder.name,
        checkpoint=Path(subject.checkpoint).name,
        checkpoint_sha256=sha256_of(subject.checkpoint),
        checkpoint_chosen_of=metrics_table.evaluations(folder),
        recipe=recipes.load(recipe) if recipe else None,
        config=record.config,
        seen=_seen(folder, recipe),
        data=dataclasses.replace(record.records(), folder=""),  # a path of one machine, and often with a person's name in it
        trained=record.provenance,
        exported=_provenance(),
    )
    metrics_path = folder / subject.evaluation / runs.METRICS
    if not metrics_path.is_file():
        return card, None
    metrics = metrics_file.read(metrics_path, hint="Evaluate the run again.")
    if metrics.checkpoint != card.checkpoint:  # metrics of another checkpoint say nothing about this one
        return card, None
    calibrator = metrics.get("calibrator")
    card = dataclasses.replace(
        card,
        # threshold and calibrator were chosen by these exams
        seen=_seen(folder, recipe) | metrics.scored,
        metrics={key: value for key, value in metrics.items() if key in _KEPT or not isinstance(value, dict | list)},
        score_threshold=metrics.threshold,
        calibrator=calibrator and probability.Calibrator.from_json(calibrator),
    )
    return card, metrics


def _seen(folder: Path, recipe: Path | None) -> Seen:
    seen = runs.seen(folder)
    return seen if recipe is None else seen | (recipes.seen_of(recipe) or Seen(unrecorded=("the recipe",)))


def sha256_of(checkpoint: str) -> str:
    """Return the SHA-256 of the sorted lines "sha256  name" of a checkpoint's files."""
    # a checkpoint is several files with one prefix: .index and .data-*
    files = sorted(Path(checkpoint).parent.glob(f"{Path(checkpoint).name}.*"))
    return hashlib.sha256("".join(f"{paths.sha256_file(path)}  {path.name}\n" for path in files).encode()).hexdigest()


def _provenance() -> dict[str, Any]:
    provenance = runs.provenance()
    for name in _VERSIONS_OF:
        # a converter that is not installed has made nothing
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            provenance["versions"][name] = importlib.metadata.version(name)
    return provenance


def read_me(card: ModelCard, metrics: Mapping[str, Any] | None, parity: Parity | None) -> str:
    """Return MODEL_CARD.md: intended use, data, results with intervals, limits, files.

    Args:
      card: of the model, with its artefacts.
      metrics: of the evaluation of this checkpoint, or None.
      parity: of the files, or None where nothing was compared.
    """
    text = model_card.text({"model": card.run, "checkpoint": card.checkpoint, "family": card.family, **(metrics or {})})
    parts, does = [], "detects" if card.has_boxes else "classifies"
    if untrained := runs.untrained(card.run, card.checkpoint):
        parts += _part("Untrained", [plain(untrained)])
    if metrics is None:
        parts += _part(
            "Results", [f"This checkpoint was not evaluated: nothing is known of how well it {does}, and it has no score threshold."]
        )
    parts += _part("Classes", [f"- {number}: {plain(name)}" for name, number in (card.label_map or {}).items()])
    parts += _part(
        "Training data", [*(_data(card.data, metrics or {}) if card.data else []), *(_known_again(card.seen) if card.seen else [])]
    )
    parts += _part("Input", _input(card.size) if card.size else [])
    after = [
        f"- Calibration: {plain(card.calibrator.method)}, in model.json; it rests on {plain(probability.rests_on(card.metrics))}"
        if card.calibrator
        else "- Calibration: none; scores are no probabilities"
    ]
    if card.has_boxes:
        after.append(f"- Recipe: {code(json.dumps(dataclasses.asdict(card.recipe)))}" if card.recipe else "- Recipe: none")
    parts += _part("After the model", after)
    parts += _part("Files", _files(card.artefacts, parity, boxes=card.has_boxes))
    if card.exported:
        versions = ", ".join(f"{name} {one}" for name, one in card.exported["versions"].items())
        parts += _part("Made with", [f"pneumodet {card.exported['pneumodet']}, {versions}"])
    return text + "\n".join(parts) + "\n"


def _part(title: str, lines: list[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _data(data: DataRecord, metrics: Mapping[str, Any]) -> list[str]:
    rows = {
        "Exams trained on": data.train_exams,
        "Exams held out for validation": data.val_exams,
        # of the same records; the run's own record counts but the other two
        "Exams held out for test": metrics.get("test_exams") or None,
        "Split by": data.split_by,
        "SHA-256 of the data manifest": data.manifest_sha256 or None,
    }
    return [f"- {name}: {plain(value)}" for name, value in rows.items() if value is not None]


def _known_again(seen: Seen) -> list[str]:
    counts = ((seen.trained, "trained on"), (seen.chosen, "chosen on"), (seen.tuned, "tuned on"))
    parts = [f"{counted(len(marks), 'exam')} it was {role}" for marks, role in counts if marks]
    lines = [f"- model.json has hashes by which an evaluation recognises {', '.join(parts)}"] if parts else []
    return lines + [f"- Not recorded: what {plain(one)} has seen" for one in seen.unrecorded]


def _input(size: Size) -> list[str]:
    if size.fixed_hw:
        how = "{} x {} px, whatever the radiograph's shape".format(*size.fixed_hw)
    else:
        how = f"the shape is kept, the shorter side {size.least} px unless the longer one would exceed {size.most} px"
        how += f"; padded with 0 to {size.most} x {size.most} px" if size.padded else ""
    low, high = cards.INPUT_FACTS["range"]
    return [
        f"- {how}",
        *(
            []
            if size.normalization == "none"
            else [f"- contrast made even by {size.normalization} before, on the image that is averaged down"]
        ),
        f"- {cards.INPUT_FACTS['dtype']}, {low} to {high}, {cards.INPUT_FACTS['layout']}; normalization is part of the model",
    ]


def _files(artefacts: Mapping[str, Artefact], parity: Parity | None, *, boxes: bool) -> list[str]:
    heads = ["file", "MB", "largest and mean difference of scores", *_OF_BOXES * boxes, "ms an image"]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    measured = parity.artefacts if parity else {}
    for name, artefact in artefacts.items():
        one = measured.get(name)
        cells = ["not compared with its checkpoint", *["–"] * (len(heads) - 3)]
        if one:
            of_boxes = (
                f"{markup.number(one.ap50)} ({_signed(one.ap50_change)})",
                f"{markup.number(one.rsna_metric)} ({_signed(one.rsna_metric_change)})",
                _signed(one.rsna_metric_nearby_change),
            )
            cells = [f"{one.score_largest:.2g}, {one.score_mean:.2g}", *of_boxes * boxes, f"{one.milliseconds:.1f}"]
        size = "–" if artefact.bytes is None else f"{artefact.bytes / 1e6:.1f}"
        lines.append(f"| {plain(artefact.file)} | {size} | {' | '.join(cells)} |")
    lines += ["", *(f"- {plain(artefact.file)} answers with {_ANSWERS[artefact.outputs]}." for artefact in artefacts.values())]
    if parity and measured:
        images = sorted({one.images for one in measured.values()})
        nearby = (
            " Nearby: the mean change of the RSNA metric at thresholds around the model's, which on these images may stand on a peak."
            * boxes
        )
        lines.append(
            f"- Compared with the checkpoint on {' and '.join(map(str, images))} records of the split {plain(parity.split)}.{nearby}"
        )
        lines += [f"- {plain(note)}"] if (note := tolerance_note(parity)) else []
        lines += [f"- {note}"] if (note := parity_note(parity)) and boxes else []
    return lines


def parity_note(parity: Parity) -> str:
    """Return why the RSNA metric of parity.json is not that of the evaluation, in a sentence; nothing where there is no threshold."""
    if parity.score_threshold is None:
        return ""
    which = "the model's own, " if parity.threshold_is_stored else "the best one here, since the model has none of its own, "
    return (
        f"The RSNA metric here is at one threshold for all images, {which}{parity.score_threshold:.4g}, and serves to compare files; the one to report "
        "is evaluate's, whose thresholds are not chosen on the exams that they are used on."
    )


def tolerance_note(parity: Parity) -> str:
    """Return which columns of the table of files are held to a tolerance, and to which, in a sentence; nothing where parity.json has none."""
    by_limit: dict[str, list[str]] = {}
    for name, one in parity.artefacts.items():
        held = one.tolerance
        if not held.keys() >= {"score", "box", "alike", "loss"}:
            continue
        limit = f"scores differ by at most {held['score']:g}"
        if held["box"]:  # a classifier has none
            lower = f"AP50 and nearby lower by at most {comparing.allowed_loss(held['loss'], one.images):.4f}"
            limit = f"alike at least {held['alike']:.0%}, {lower} ({held['loss']:g}, or one image of {one.images:,})"
        by_limit.setdefault(limit, []).append(name)
    if not by_limit:
        return ""
    return (
        "Held to a tolerance: "
        + "; ".join(f"{limit}: {', '.join(names)}" for limit, names in by_limit.items())
        + ". All else is shown, not held."
    )


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value + 0.0:+.4f}"
