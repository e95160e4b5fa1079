"""What a run reports: TensorBoard, metrics.csv and curves.png in its folder, and its caller.

watcher = Watcher(folder, step=0, validation_pixels=…, on_progress=print)
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pneumodet.core import boxes, metrics_table, runs, selection
from pneumodet.core.errors import DataError, PneumodetError
from pneumodet.models.options import DETECTOR_METRICS
from pneumodet.training import curves, logbook, trackers
from pneumodet.training.parts import Evaluation
from pneumodet.training.progress import Observer, Progress
from pneumodet.viz.pictures import draw_boxes

PICTURES = 4
"""Training and validation pictures in TensorBoard."""


class Watcher(Observer):
    """Writes what happens in a run into its folder, and passes it on."""

    def __init__(
        self,
        folder: Path,
        *,
        step: int,
        about: Mapping[str, Any],
        drawn: Callable[[dict[str, np.ndarray]], Image.Image] | None = None,
        on_progress: Callable[[Progress], None],
        on_note: Callable[[str], None],
        on_evaluation: Callable[[int, dict[str, float | None]], bool | None],
        tracker: trackers.Tracker | None = None,
        best_metric: str | None = None,
    ) -> None:
        """Begin, or continue after ``step``.

        Args:
          folder: the run's.
          step: steps done before.
          about: settings of the run for TensorBoard's table of runs.
          drawn: makes a picture of a training sample as the model sees it; ``boxes_drawn`` by default.
          on_progress: takes where training stands.
          on_note: takes a sentence about what happened.
          on_evaluation: takes (step, figures); False stops the run.
          tracker: gets the figures, too; closed with the watcher.
          best_metric: the figure by which the best checkpoint is kept; what moves it is kept of each evaluation.
        """
        self._folder, self._pass_on = folder, (on_progress, on_note, on_evaluation)
        self._drawn, self._tracker = drawn or boxes_drawn, tracker
        self._log = logbook.Logbook(folder, step=step)
        self._best_metric = best_metric
        self._moves = selection.MovesFile(folder / selection.FILE, last_step=step)
        # a resumed run has them in its event files already
        if not step:
            self._log.hparams(about)

    def report(self, progress: Progress, scalars: Mapping[str, float | None]) -> None:
        """See ``progress.Observer``."""
        self._log.steps(progress.step, scalars)
        if self._tracker:
            self._tracker.log(progress.step, scalars)
        self._pass_on[0](progress)

    def evaluation(self, step: int, evaluation: Evaluation, *, best: bool) -> bool | None:
        """See ``progress.Observer``."""
        figures = dict(evaluation.figures)
        first = {name: figures[name] for name in DETECTOR_METRICS if name in figures}  # curves.png shows the first ones only
        self._log.evaluation(step, first | figures, best=best)
        if self._tracker:
            self._tracker.log(step, {f"{metrics_table.VALIDATION}/{name}": value for name, value in figures.items()})
        if evaluation.cases is not None:
            self._log.pr_curve(step, evaluation.cases)
        self._log.pictures(step, "validation", list(evaluation.pictures))
        self._keep_moves(step, evaluation)
        return self._pass_on[2](step, figures)

    def _keep_moves(self, step: int, evaluation: Evaluation) -> None:
        metric = self._best_metric
        moves = evaluation.moves(metric) if metric else None
        if metric is None or moves is None:
            return
        try:
            self._moves.add(step, metric, evaluation.figures.get(metric), moves)
        except DataError as error:
            # training is worth more than an estimate of its luck
            self.note(str(error))

    def note(self, text: str) -> None:
        """See ``progress.Observer``."""
        self._pass_on[1](text)

    def rewind(self, step: int) -> None:
        """See ``progress.Observer``."""
        self._log.rewind(step)

    def first_batch(self, batch: dict[str, tf.Tensor], step: int) -> None:
        """See ``progress.Observer``."""
        # a picture is not worth a transfer from all of them
        if not hasattr(batch["image"], "numpy"):  # spread over several devices
            return
        count = min(PICTURES, len(batch["image"]))
        self._log.pictures(
            step, "training", [self._drawn({name: value[index].numpy() for name, value in batch.items()}) for index in range(count)]
        )

    def anchors(self, statistics: dict[str, float]) -> None:
        """See ``progress.Observer``."""
        self._log.anchors(0, statistics)

    def close(self) -> None:
        """Write what is left, and draw curves.png."""
        self._log.close()
        if self._tracker:
            self._tracker.close()
        table = self._folder / metrics_table.FILE
        if table.exists():
            try:
                curves.draw(table, self._folder / runs.CURVES, title=self._folder.name)
            except PneumodetError as error:  # a picture less is no reason to fail
                self.note(str(error))


def boxes_drawn(sample: dict[str, np.ndarray]) -> Image.Image:
    """Return a picture of a detector's training sample as the model sees it, with its boxes."""
    pixels = sample["image"][:, :, 0]
    norm = sample["boxes_yxyx_norm"][: int(sample["count"])]
    truth = boxes.yxyx_norm_to_xyxy_px(norm, height=pixels.shape[0], width=pixels.shape[1])
    return draw_boxes(pixels, truth_xyxy_px=truth)
