"""Radiographs -> files: detections, submission, pictures, DICOM reports: what ``tools/predict.py`` does."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pneumodet.api import calls, loading, pages
from pneumodet.api.calls import Given
from pneumodet.api.loading import AnyModel
from pneumodet.core import given, progress, runs
from pneumodet.core.errors import CheckpointError
from pneumodet.core.formatting import counted
from pneumodet.inference import exported
from pneumodet.inference.predict import outputs, plan, predicting, working


@dataclasses.dataclass(frozen=True, eq=False)
class Written:
    """What prediction wrote.

    >>> written = pneumodet.predict("radiographs", model="workspace/first/export", output="predictions")
    >>> written.summary.radiographs, written.summary.positive
    (2, 1)
    >>> written.submission.name, written.detections.name
    ('submission.csv', 'detections.json')

    Attributes:
      folder: of the files.
      summary: counts, threshold, what was left out.
    """

    folder: Path
    summary: predicting.Summary

    @property
    def detections(self) -> Path:
        """COCO results, all scores."""
        return self.folder / outputs.DETECTIONS

    @property
    def submission(self) -> Path:
        """Kaggle's format, at the threshold."""
        return self.folder / outputs.SUBMISSION

    @property
    def scores(self) -> Path:
        """``patientId,score`` of each radiograph; all that a classifier writes."""
        return self.folder / outputs.SCORES

    @property
    def refused(self) -> list[tuple[str, str]]:
        """(file, reason) of those that were left out."""
        return self.summary.refused

    @property
    def warnings(self) -> list[str]:
        """What one should know of the results, a sentence each."""
        return [calls.in_python(one, predict) for one in (*cautions(self.summary), *self.summary.notes)]

    def __repr__(self) -> str:
        return f"<Written {self.folder}: {counted(self.summary.radiographs, 'radiograph')}, {self.summary.positive} with pneumonia>"

    def _repr_html_(self) -> str:
        from PIL import Image

        parts = []
        if self.summary.sheet:
            with Image.open(self.summary.sheet) as sheet:
                parts.append(pages.picture(sheet, "Radiographs with what was detected on them"))
        one = self.summary
        rows = [
            ("radiographs", f"{one.radiographs:,}"),
            ("with pneumonia", f"{one.positive:,}"),
            ("score threshold", f"{one.score_threshold:.4f} ({one.threshold_source})"),
            ("folder", str(self.folder)),
        ]
        return pages.html(
            pages.table("Predictions", ("", ""), rows),
            *parts,
            pages.table("Left out", ("file", "reason"), one.refused[:20]),
            pages.warnings(self.warnings),
        )


@calls.public
def predict(
    images: Given,
    *,
    model: AnyModel | Sequence[AnyModel],
    output: Given,
    backend: str = "auto",
    trust: bool = False,
    labels: Given | None = None,
    recipe: Given | None = None,
    tta: str | None = None,
    gate: Given | None = None,
    score_threshold: float | None = None,
    max_images: int = 100,
    dicom: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
) -> Written:
    """Detect on radiographs and write files: COCO results, Kaggle's submission, tables, pictures, DICOM objects; with a classifier scores and pictures.

    For results in memory see ``pneumodet.load(…).predict(…)``.

    Args:
      images: folder, ZIP archive, one file, or DICOMweb URL.
      model: an exported model, or a run that has one; several are fused.
      output: the new folder; it appears whole or not at all.
      backend: auto, onnx, tflite, savedmodel or openvino.
      trust: run a SavedModel that was not exported in this workspace: it is a program, and can do what you can.
      labels: in any format of ``convert``: draws the ground truth too.
      recipe: post-processing, with its views.
      tta: views such as ``flip,scale=0.9``.
      gate: image-level scores for the recipe.
      score_threshold: of tables and pictures; by default the model's.
      max_images: pictures at the most.
      dicom: some of sr, gsps, sc, seg.
      overwrite: replace earlier predictions.
      resume: continue what an earlier call left unfinished.

    Raises:
      ConfigError: a path does not exist, or recipe and views do not go together.
      CheckpointError: a model is no exported one, or is damaged.
      DataError: no radiograph can be read, or ``output`` is in use.
    """
    written = detected(
        [_export_of(one) for one in calls.each(model)],
        given.file_or_folder(images, what="images"),
        Path(output).expanduser(),
        backend=backend,
        trust=trust,
        labels=calls.file_or_folder(labels, "labels"),
        recipe=calls.file(recipe, "recipe"),
        tta=tta,
        gate=calls.file(gate, "gate"),
        score_threshold=score_threshold,
        max_images=max_images,
        dicom=dicom,
        overwrite=overwrite,
        resume=resume,
    )
    calls.warn(written.warnings, predict)
    return written


def detected(model_dirs: Sequence[Path], root: Path | str, output_dir: Path, **how: Any) -> Written:
    """Detect with a bar; arguments and errors as ``inference.predict.predicting.predict``."""
    with _bar() as start:
        return Written(output_dir, predicting.predict(model_dirs, root, output_dir, progress=start, phase=progress.phase, **how))


@contextlib.contextmanager
def _bar() -> Iterator[working.Progress]:
    with contextlib.ExitStack() as bars:

        def start(total: int | None, done: int) -> Callable[[], None]:
            bar = bars.enter_context(progress.bar(total=total, initial=done, desc="predicting", unit="radiograph"))

            def advance() -> None:
                bar.update()

            return advance

        yield start


def cautions(summary: predicting.Summary) -> list[str]:
    """Return what a user must know of the threshold; nothing where somebody chose it."""
    # a threshold that nobody chose decides who is called positive: never without a warning
    if summary.threshold_source != plan.ASSUMED:
        return []
    return [
        f"the model has no score threshold of its own; {summary.score_threshold} was used. Evaluate the run, export again, or give --score-threshold."
    ]


def _export_of(one: AnyModel) -> Path:
    run = loading.run_of(one, family=None)
    if run is None:
        return loading.export_of(one)
    if not exported.is_export(run / runs.EXPORT):
        raise CheckpointError(f"The run {run.name} has no export, with which files are predicted. Export it first by run.export().")
    return run / runs.EXPORT
