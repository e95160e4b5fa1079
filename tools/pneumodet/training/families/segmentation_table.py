"""All variants of the U-Net on the same records: each is trained once, then they stand in one table, table.md and table.json.

    table = run("reports", data=Path("workspace/records/rsna"), variants=("unet_16_2conv_128", "unet_24_2conv_128"))

The run of a variant is an ordinary one, ``<name>-<variant>`` in the workspace. A second start continues where the first one ended.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pneumodet.core import formatting, invocation, paths, runs, suggest
from pneumodet.core.errors import ConfigError, DataError, PneumodetError
from pneumodet.core.json_fields import Fields
from pneumodet.data.record_sets import RecordSet
from pneumodet.evaluation import metrics_file
from pneumodet.evaluation.metrics_file import Metrics
from pneumodet.models import settings
from pneumodet.training.families.segmentation import Segmenter
from pneumodet.training.keras import experiment
from pneumodet.training.keras.experiment import Request

TABLE = "table.json"
MARKDOWN = "table.md"

COLUMNS = {
    "segmentation.iou": "IoU",
    "segmentation.f1": "F1",
    "segmentation.iou_per_image": "IoU an image",
    "segmentation.iou_per_positive": "IoU a positive image",
    "coco.pneumonia.AP50": "AP50",
    "rsna_metric": "RSNA metric",
    "image.roc_auc": "ROC AUC",
}
"""Figures of the table -> their heads."""

PRIOR = "a fixed mask"
"""Row of what does not depend on the image."""

NOTES = (
    "Intervals are 95 %, by patient. IoU and F1 are of all px together; an image without opacity on which nothing is marked counts 1 an image. Each "
    "exam has the px threshold that was best on other patients. The checkpoint of each variant is the one that was best on these same exams, and "
    f"one of many variants is best by chance: choose on one set, report on another. Row {PRIOR!r}: the px that have opacity most often in training."
)
"""Below the table."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A variant.

    Attributes:
      variant: name of its config.
      folder: its run.
      metrics: what evaluation/metrics.json holds.
    """

    variant: str
    folder: Path
    metrics: Metrics


def run(
    name: str,
    *,
    data: Path,
    variants: Sequence[str] = (),
    overrides: Sequence[str] = (),
    on_start: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[Any], None] = lambda progress: None,
) -> tuple[Path, list[Row], bool]:
    """Train the variants that are not yet, and write the table of all that are, also of those that an earlier start named.

    Args:
      name: of the table, and first part of the runs' names.
      data: record set.
      variants: names of configs; all in configs/segmentation where there is none.
      overrides: KEY=VALUE for each.
      on_start: takes a sentence about what happens.
      on_progress: takes where training stands.

    Returns:
      (folder of table.md and table.json, its rows, whether all were trained: a signal ends the table, and what is there is written).

    Raises:
      PneumodetError: a variant cannot be trained, its run is of other records or settings, or the name is that of a run.
    """
    family = Segmenter()
    there = settings.names(family.configs)
    for variant in variants:
        if variant not in there:
            raise ConfigError(f"There is no variant {variant!r}. {suggest.sentence(variant, there)}")
    if len(set(variants)) < len(variants):
        raise ConfigError(f"A variant is named twice: {', '.join(variants)}.")
    root = paths.run_dir(name)
    if runs.is_run(root):
        raise DataError(f"The folder {root} is a run's. Choose another --run name for the table.")
    records = RecordSet.open(data)
    folder_of = {variant: root.with_name(f"{root.name}-{variant}") for variant in there}
    # also those of an earlier start that are not named now: the table is of all that there is
    done = [variant for variant in there if _metrics_path(folder_of[variant]).is_file()]
    chosen = [*done, *(variant for variant in variants or there if variant not in done)]
    begun = [variant for variant in chosen if (folder_of[variant] / runs.SETTINGS).is_file()]
    # all of them before the first is trained, which may take hours
    for variant in begun:
        _check_same(folder_of[variant], variant, family, records.manifest_sha256, overrides)
    rows: list[Row] = []
    for number, variant in enumerate(chosen, start=1):
        folder = folder_of[variant]
        on_start(f"variant {number} of {len(chosen)}, {variant}{': done before' if variant in done else ''}")
        if variant not in done:
            new = {"config": variant, "data": data, "overrides": tuple(overrides)}
            request = Request(run=str(folder), **({"resume": True} if variant in begun else new))
            try:
                metrics = experiment.train(family, request, on_start=on_start, on_progress=on_progress)[2]
            except PneumodetError as error:
                raise type(error)(f"{variant}: {error} What is trained already stays; start the same command again to continue.") from error
            if metrics is None:
                return root, rows, False
            import keras

            keras.utils.clear_session()  # or each variant would keep the memory of those before it
        rows.append(Row(variant, folder, _read(_metrics_path(folder))))
        _write(root, rows)  # each time: the next variant takes long, and may fail
    return root, rows, True


def markdown(rows: Sequence[Row]) -> str:
    """Return the table, the best IoU first."""
    heads = ["variant", *COLUMNS.values(), "parameters", "training", "ms an image"]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for row in sorted(rows, key=lambda row: -(row.metrics.get("segmentation.iou") or 0)):
        intervals = row.metrics["intervals"]
        cells = [_cell(row.metrics.get(key), *intervals.get(key, (None, None))) for key in COLUMNS]
        more = [f"{row.metrics['parameters']:,}", _duration(row.metrics["training_seconds"]), f"{row.metrics['milliseconds_an_image']:.1f}"]
        lines.append(f"| {' | '.join([row.variant, *cells, *more])} |")
    metrics = rows[0].metrics
    prior = metrics["segmentation.prior"]
    cells = [_cell(*(prior[key][part] for part in ("value", "low", "high"))) if key in prior else "" for key in COLUMNS]
    lines.append(f"| {' | '.join([PRIOR, *cells, '', '', ''])} |")
    about = f"{metrics['images']:,} validation exams of {metrics['patients']:,} patients, {metrics['positive_images']:,} with pneumonia."
    compared = [row.metrics.get("checkpoint_chosen_of") or 0 for row in rows]
    if max(compared) > 1:
        about += (
            f" They chose each variant's checkpoint, the best of {max(compared)} at the most, so that the figures are too good; so is that of the best "
            "variant. Evaluate the variant that you choose once on test (python tools/evaluate.py --split test)."
        )
    return "\n".join([*lines, "", invocation.spelled(about) + " " + NOTES, ""])


def _metrics_path(folder: Path) -> Path:
    return folder / runs.EVALUATION / runs.METRICS


def _read(path: Path) -> Metrics:
    """Return the figures of a variant; DataError where one that the table needs is missing."""
    hint = "Remove the run's folder to train it again."
    metrics = metrics_file.read(path, hint=hint)
    fields = Fields(metrics, where=str(path), error=DataError, hint=hint)
    for name in ("images", "patients", "positive_images", "parameters"):
        fields.required(name, int)
    for name in ("training_seconds", "milliseconds_an_image"):
        fields.required(name, float)
    for name in ("intervals", "segmentation.prior"):
        fields.required(name, dict)
    return metrics


def _write(root: Path, rows: Sequence[Row]) -> None:
    """Write table.md and table.json, and leave all else in the folder as it is."""
    root.mkdir(parents=True, exist_ok=True)
    with paths.atomic_path(root / MARKDOWN) as tmp:
        tmp.write_text(markdown(rows), encoding="utf-8")
    keys = [*COLUMNS, "parameters", "training_seconds", "milliseconds_an_image", "step", "manifest_sha256", "segmentation.gain"]
    table = [
        {"variant": row.variant, "run": row.folder.name}
        | {key: row.metrics.get(key) for key in keys}
        | {"intervals": {key: row.metrics["intervals"].get(key) for key in COLUMNS}}
        for row in rows
    ]
    paths.write_json(root / TABLE, {"rows": table, "prior": rows[0].metrics["segmentation.prior"], "notes": NOTES})


def _check_same(folder: Path, variant: str, family: Segmenter, manifest_sha256: str, overrides: Sequence[str]) -> None:
    """Refuse a variant's run that would not compare: of other records, or of other settings than are asked for now."""
    if runs.read(folder).records().manifest_sha256 != manifest_sha256:
        raise DataError(f"The run {folder.name} was trained on another record set than this. Choose another --run name for the table.")
    wanted = settings.load(family.settings, variant, folder=family.configs, overrides=overrides)
    there = settings.load(family.settings, folder / runs.SETTINGS, folder=family.configs)
    differ = [name for name, value in dataclasses.asdict(wanted).items() if getattr(there, name) != value]
    if differ:
        raise DataError(
            f"The run {folder.name} was trained with {differ[0]}={getattr(there, differ[0])}, not {getattr(wanted, differ[0])}. Choose another --run "
            "name for the table, or ask for the same."
        )


def _cell(value: float | None, low: float | None = None, high: float | None = None) -> str:
    return formatting.with_interval(value, (low, high), undefined="-")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"
