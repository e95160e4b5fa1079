"""Records -> a trained detector, and its export: what ``tools/train.py`` and ``tools/export.py`` do."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from pneumodet.api import calls, pages
from pneumodet.api.calls import Given
from pneumodet.api.records import Records
from pneumodet.core import given, metrics_table, progress, runs
from pneumodet.core.errors import CheckpointError
from pneumodet.core.run_record import RunRecord
from pneumodet.core.split_use import Choice
from pneumodet.inference import exported
from pneumodet.inference.card import ModelCard
from pneumodet.inference.parity import Parity

if TYPE_CHECKING:
    import pandas
    from PIL import Image

    from pneumodet.training.families.detection_request import Request
    from pneumodet.training.progress import Outcome

Measured = Callable[[Parity], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run of a detector: what ``train`` made, or an earlier one by ``Run.find("first")``.

    Attributes:
      folder: its folder.
      outcome: what training did, a ``training.progress.Outcome``; None for a run that was looked up.
    """

    folder: Path
    outcome: "Outcome | None" = None

    @classmethod
    def find(cls, name: Given) -> "Run":
        """Return the run of a name, in the workspace, or of a folder.

        Raises:
          DataError: there is none; the message names a near one and lists those there are.
        """
        return cls(runs.find(str(name), family=runs.DETECTION))

    @property
    def name(self) -> str:
        """Of the run."""
        return self.folder.name

    @property
    def record(self) -> RunRecord:
        """What run.json holds: config, settings, data, versions."""
        return runs.read(self.folder)

    @property
    def best(self) -> tuple[int, str, float] | None:
        """Step, name and value of the best figure on the validation records; None where there was no evaluation."""
        rows = [row for row in metrics_table.read(self.folder / metrics_table.FILE) if row.best] if self._has_metrics else []
        metric = str((self.record.training or {}).get("best_metric", ""))
        value = rows[-1].values.get(metric) if rows else None
        return None if value is None else (rows[-1].step, metric, value)

    @property
    def _has_metrics(self) -> bool:
        return (self.folder / metrics_table.FILE).is_file()

    def history(self) -> "pandas.DataFrame":
        """Return losses, learning rate and validation figures over the steps: metrics.csv as a table."""
        import pandas

        return pandas.read_csv(self.folder / metrics_table.FILE)

    def plot(self) -> "Image.Image":
        """Return the curves of losses and validation figures.

        Raises:
          CheckpointError: there are none yet.
        """
        from PIL import Image

        path = self.folder / runs.CURVES
        if not path.is_file():
            raise CheckpointError(f"{self.folder} has no curves yet. Train the run first.")
        with Image.open(path) as picture:
            return picture.convert("RGB")

    @calls.public
    def export(
        self,
        *,
        formats: str | Sequence[str] = ("savedmodel",),
        output: Given | None = None,
        data: "Records | Given | None" = None,
        recipe: Given | None = None,
        limit: int | None = None,
        parity: bool = True,
        overwrite: bool = False,
    ) -> "Export":
        """Export the best checkpoint, and prove each file equal to it on the validation records.

        Args:
          formats: some of savedmodel, onnx, tflite, tflite-fp16, tflite-int8.
          output: folder; by default export/ in the run's. Formats that are there already stay.
          data: the records; by default those that the run was trained with.
          recipe: post-processing that goes with the model.
          limit: compare on so many validation records; None: on all.
          parity: whether to compare at all.
          overwrite: replace formats that are there.

        Raises:
          ConfigError: a format does not exist, or cannot carry this model.
          CheckpointError: the run has no checkpoint, or a file's detections are not those of the checkpoint.
        """
        return export(self, formats=formats, output=output, data=data, recipe=recipe, limit=limit, parity=parity, overwrite=overwrite)

    def __repr__(self) -> str:
        return f"<Run {self.name}: {runs.steps_done(self.folder) or 0:,} steps, {self.folder}>"

    def _repr_html_(self) -> str:
        best, record = self.best, self.record
        rows = [("config", record.config or "–"), ("steps", f"{runs.steps_done(self.folder) or 0:,} of {record.steps or 0:,}")]
        if best:
            choice = Choice.of_run(self.folder, best[1])
            rows.append((f"best {best[1]}", f"{best[2]:.4f} at step {best[0]:,}: {choice.name}"))
            rows += [(f"last {best[1]}", f"{choice.last:.4f} at step {choice.last_step:,}")] if choice.last is not None else []
        has_curves = (self.folder / runs.CURVES).is_file()
        return pages.html(
            pages.table(f"Run {self.name}", ("", ""), [*rows, ("folder", str(self.folder))]),
            pages.warnings(self.outcome.notes if self.outcome else []),
            *([pages.picture(self.plot(), f"Losses and validation figures of {self.name}")] if has_curves else []),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Export:
    """An exported model.

    Attributes:
      folder: where it lies.
      card: what model.json says.
      parity: each file against the checkpoint, as parity.json; None where nothing was compared.
    """

    folder: Path
    card: ModelCard
    parity: Parity | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Format -> its file, or its folder."""
        return {name: self.folder / artefact.file for name, artefact in self.card.artefacts.items()}

    @property
    def score_threshold(self) -> float | None:
        """The operating point that the run's evaluation chose; None where it was not evaluated."""
        return self.card.score_threshold

    def __repr__(self) -> str:
        return f"<Export {self.folder}: {', '.join(self.card.artefacts)}>"

    def _repr_html_(self) -> str:
        measured = self.parity.artefacts if self.parity else {}
        rows = [
            (
                artefact.file,
                "–" if artefact.bytes is None else f"{artefact.bytes / 1e6:.1f}",
                f"{measured[name].alike:.1%}" if name in measured else "not compared",
            )
            for name, artefact in self.card.artefacts.items()
        ]
        missing = (
            [] if self.score_threshold is not None else ["The checkpoint was not evaluated, so that the export has no score threshold."]
        )
        return pages.html(pages.table(f"Export in {self.folder}", ("file", "MB", "as the checkpoint"), rows), pages.warnings(missing))


class TrainOptions(TypedDict, total=False):
    """Settings of ``train``: ``pneumodet.training.families.detection_request.Request`` has their meanings, the config their defaults."""

    steps: int | None
    batch_size: int | str | None
    learning_rate: float | None
    recipe: str | None
    pretrained: str | None
    fine_tune_checkpoint: str | None
    fine_tune_checkpoint_type: str | None
    freeze: str | Sequence[str]
    settings: Mapping[str, object] | Sequence[str]
    fit_anchors: bool
    augmentation: str | None
    positive_share: float | None
    precision: str | None
    seed: int | None
    evaluate_every: int | None
    best_metric: str | None
    patience: int | None
    checkpoint_every: int | None
    keep: int | None
    skip_corrupt: bool
    log_to: str | None


@calls.public
def train(
    config: Given | None = None,
    *,
    run: str,
    data: Records | Given | None = None,
    resume: bool = False,
    **settings: Unpack[TrainOptions],
) -> Run:
    """Train a detector, evaluate it on the way, and keep the best checkpoint.

    Ctrl-C, or "interrupt" in a notebook, stops after the step at hand; ``pneumodet.train(run="first", resume=True)`` continues exactly there.

    Args:
      config: name in configs/, or path of a pipeline.config of the API.
      run: name of the run: its folder in the workspace.
      data: the records.
      resume: continue the run.
      settings: see ``TrainOptions``, such as ``steps=2000``, ``pretrained="coco"``, ``batch_size="auto"``, ``patience=5``, and any field of the config
        by ``settings={"train_config.gradient_clipping_by_norm": 5}``.

    Raises:
      ConfigError: config, records and settings do not fit together.
      DataError: the records cannot be used, or the run's folder is in use.
      CheckpointError: there is no such pretrained checkpoint, or it does not fit.
      KeyboardInterrupt: training was stopped; nothing is lost.
    """
    from pneumodet.training.families.detection_request import Request

    chosen = dict(settings)
    if settings.get("freeze") is not None:
        chosen["freeze"] = tuple(calls.each(settings["freeze"]))
    fields = settings.get("settings") or ()
    chosen["settings"] = tuple(f"{key}={_shown(value)}" for key, value in fields.items()) if isinstance(fields, Mapping) else tuple(fields)
    more = {"run": run, "config": None if config is None else str(config), "data": folder_of(data), "resume": resume}
    made = started(calls.made(Request, chosen, **more))
    # as an exception, so that the cells below do not evaluate a run that is not done
    if made.outcome and not made.outcome.completed:
        raise KeyboardInterrupt(f"Stopped before the end; nothing is lost. Resume: pneumodet.train(run={run!r}, resume=True)")
    return made


def started(request: "Request") -> Run:
    """Train what a request asks for, with a bar; it may have been stopped before its end, see ``outcome``."""
    from pneumodet.training.families import detection

    with progress.TrainingBar() as bar, progress.Download() as download:
        return Run(*detection.train(request, on_start=bar.message, on_progress=bar.update, on_download=download.update))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def folder_of(data: Records | Given | None) -> Path | None:
    """Return the folder of records, however they are given."""
    if data is None:
        return None
    return given.folder(str(data.folder) if isinstance(data, Records) else data, what="data")


@calls.public
def export(
    run: Run,
    *,
    formats: str | Sequence[str] = ("savedmodel",),
    output: Given | None = None,
    data: Records | Given | None = None,
    recipe: Given | None = None,
    limit: int | None = None,
    parity: bool = True,
    overwrite: bool = False,
    on_measured: Measured = lambda parity: None,
) -> Export:
    """Export a run; arguments and errors as ``Run.export``.

    Args:
      on_measured: is given what parity.json will hold, before anything is refused.
    """
    names = [calls.choice(name, tuple(exported.FILES), "formats") for name in calls.each(formats)]
    output_dir = run.folder / runs.EXPORT if output is None else Path(output).expanduser()
    # here, since it brings TensorFlow: a name that is wrong is refused at once
    from pneumodet.export import export as exporting

    with progress.counting("comparing with the checkpoint", "image", piped=True) as start:
        outcome = exporting.export(
            run.folder,
            output_dir,
            formats=names,
            data_dir=folder_of(data),
            parity=parity,
            limit=limit,
            recipe=calls.file(recipe, "recipe"),
            overwrite=overwrite,
            on_measured=on_measured,
            progress=start,
            phase=functools.partial(progress.phase, piped=True),
        )
    return Export(output_dir, outcome.card, outcome.parity)
