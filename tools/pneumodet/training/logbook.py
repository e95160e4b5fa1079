"""What a training reports: TensorBoard events in train/ and eval/, and metrics.csv, in the run's folder.

    log = Logbook(run, step=start)           # on resume: what was reported after ``start`` is dropped, also in TensorBoard
    log.hparams({"batch_size": 8, "optimizer": "momentum"})
    log.steps(100, {"loss/total": 0.71, "learning_rate": 0.004, "gradient_norm": 2.1, "images_per_second": 19.6})
    log.evaluation(500, {"rsna_metric": 0.11, "pneumonia_ap50": None}, best=True)
    log.pr_curve(500, cases)
    log.close()

Nothing is done but when it is called, and a call takes well below a millisecond (pictures aside). Values that are None or not finite are
empty in metrics.csv and absent in TensorBoard. A full disk is warned of once, and the training continues.
"""

import io
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as hparams_summary
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import metadata as pr_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util import tensor_util

from pneumodet.core import metrics_table, runs
from pneumodet.core.errors import DataError
from pneumodet.core.metrics_table import MetricsTable, Row
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import matching
from pneumodet.training.event_file import EventFile

PICTURE_WIDTH_PX = 512
"""Wider pictures are made this wide for TensorBoard."""

PICTURE_QUALITY = 90
"""Of JPEG; an eighth of the bytes of PNG."""

PR_THRESHOLDS = 1001
"""Score thresholds of the PR curve, evenly from 0 to 1 as TensorBoard takes them to be; many, because the scores of a young detector all lie
below 0.05."""

PR_TAG = "pneumonia at IoU 0.5"
"""Name of the PR curve."""

_LOG = logging.getLogger(__name__)


class Logbook:
    """The one object that a training reports to. Not for several threads or processes: only the chief of a distributed training has one."""

    def __init__(self, folder: Path, *, step: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin anew, or continue.

        Args:
          folder: of the run.
          step: of the checkpoint that training continues from; reports of later steps are dropped. 0 drops all.
          clock: seconds from anywhere on.

        Raises:
          DataError: there is a metrics.csv that is no such table, or it cannot be written.
        """
        self._table = MetricsTable(folder / metrics_table.FILE, last_step=step)
        self._clock = clock
        self._begin = clock() - self._table.seconds
        self._step = step
        self._train = EventFile(folder / runs.TRAIN)
        self._eval = EventFile(folder / runs.EVAL)
        self._run = EventFile(folder)
        self._warned = False
        # a new run voids whatever is there; step 0 of a resumed run, with its anchors, stays
        self._restart(step + 1 if step else 0)

    def steps(self, step: int, values: Mapping[str, float | None]) -> None:
        """Report losses, learning rate, gradient norm and images/s of the training after ``step`` steps."""
        self._scalars(self._train, metrics_table.TRAIN, step, values)

    def evaluation(self, step: int, metrics: Mapping[str, float | None], *, best: bool) -> None:
        """Report the validation metrics of ``step``, and whether they are the best so far."""
        self._scalars(self._eval, metrics_table.VALIDATION, step, metrics, best=best)

    def anchors(self, step: int, statistics: Mapping[str, float | None]) -> None:
        """Report how the training set's boxes and the model's anchors match."""
        self._scalars(self._train, metrics_table.ANCHORS, step, statistics)

    def pr_curve(self, step: int, cases: Cases) -> None:
        """Draw precision against recall of the boxes at IoU 0.5 for TensorBoard; nothing where no case has ground truth."""
        if len(cases.truth_case) == 0:
            return
        data = _pr_rows(cases)
        meta = pr_metadata.create_summary_metadata(PR_TAG, "boxes; detections matched in order of score, as in COCO", PR_THRESHOLDS)
        summary = Summary()
        summary.value.add(tag="pneumonia/pr_curves", metadata=meta, tensor=tensor_util.make_tensor_proto(data.astype(np.float32)))
        self._event(self._eval, summary, step)

    def pictures(self, step: int, name: str, images: Sequence[Image.Image]) -> None:
        """Show pictures in TensorBoard below ``name``, at most ``PICTURE_WIDTH_PX`` wide."""
        if not images:
            return
        # an event file is read as a whole by TensorBoard: large pictures would make it slow to open
        small = [_downscaled(image) for image in images]
        # what the images plugin expects: width, height, then the encoded pictures
        parts = [str(length).encode() for length in small[0].size] + [_jpeg(image) for image in small]
        meta = image_metadata.create_summary_metadata(display_name=name, description="")
        summary = Summary()
        summary.value.add(tag=name, metadata=meta, tensor=tensor_util.make_tensor_proto(parts, dtype=np.object_))
        self._event(self._eval, summary, step)

    def hparams(self, values: Mapping[str, Any]) -> None:
        """Give the run's settings to TensorBoard's table of runs; what is no number, bool or text stands there as text."""
        plain = {name: value if isinstance(value, (bool, int, float, str, np.number)) else str(value) for name, value in values.items()}
        # in the run's own folder, because the table shows the metrics of the folders below
        self._event(self._run, Summary.FromString(hparams_summary.hparams_pb(plain).SerializeToString()), self._step)

    def text(self, name: str, text: str) -> None:
        """Show a text (Markdown) in TensorBoard, such as the command or the config."""
        self._event(self._train, text_pb(name, text), self._step)

    def rewind(self, step: int) -> None:
        """Drop what was reported after ``step``, as after a roll-back to that step's checkpoint. The clock continues."""
        try:
            self._table.rewind(step)
        except DataError as error:
            self._warn(error)
        self._restart(step + 1)

    def close(self) -> None:
        """Write what could not be written before; say what is missing if it still cannot."""
        try:
            self._table.flush()
        except DataError as error:
            _LOG.warning("%s %d rows are missing in %s.", error, len(self._table.waiting), self._table.path)

    def _restart(self, first_step: int) -> None:
        for file in (self._train, self._eval):
            try:
                file.restart(first_step)
            except DataError as error:
                self._warn(error)

    def _scalars(self, file: EventFile, kind: str, step: int, values: Mapping[str, Any], *, best: bool | None = None) -> None:
        step = int(step)
        finite = {name: _finite(value) for name, value in values.items()}
        try:
            # the table first: it keeps rows that cannot be written yet, which TensorBoard's file does not
            self._table.add(Row(step, kind, self._clock() - self._begin, best, finite))
        except DataError as error:
            self._warn(error)
        summary = Summary()
        for name, value in finite.items():
            if value is not None:
                summary.MergeFrom(scalar_pb(name, value))
        if summary.value:
            self._event(file, summary, step)

    def _event(self, file: EventFile, summary: Summary, step: int) -> None:
        try:
            file.write(summary, step=int(step))
        except DataError as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            what = "TensorBoard lacks what cannot be written; metrics.csv gets its rows as soon as there is space. Training continues."
            _LOG.warning("%s %s", error, what)


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value := float(value)) else value


def _pr_rows(cases: Cases) -> np.ndarray:
    """Return (6, PR_THRESHOLDS) float64: true and false positives, true negatives, false negatives, precision, recall; T > 0.

    There is no end of boxes that are rightly not detected, so that true negatives are 0. Precision is 0 where nothing is detected.
    """
    thresholds = np.linspace(0, 1, PR_THRESHOLDS)
    hit = matching.match(cases).hit  # also right above any threshold, because a match depends on more confident detections only
    tp, fp = (len(scores) - np.searchsorted(np.sort(scores), thresholds) for scores in (cases.scores[hit], cases.scores[~hit]))
    truth = len(cases.truth_case)
    precision = tp / np.maximum(tp + fp, 1)
    return np.stack([tp, fp, np.zeros(PR_THRESHOLDS), truth - tp, precision, tp / truth])


def _downscaled(image: Image.Image) -> Image.Image:
    image = image.convert("RGB")
    if image.width <= PICTURE_WIDTH_PX:
        return image
    height = max(1, round(image.height * PICTURE_WIDTH_PX / image.width))
    return image.resize((PICTURE_WIDTH_PX, height), Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=PICTURE_QUALITY)
    return data.getvalue()
