"""Made-up sets of exams for benchmarks/coverage.py: patients with one exam or several, and detectors whose true figures are known.

    cell = Cell(patients=60, positive=0.2, detector="weak", several=True)
    first, second = draw(np.random.default_rng(0), cell, models=2)      # two detectors of equal quality on the same exams
    world = World(cell)                                                 # the truth, by one very large set

A positive patient's positive exams have one box or two. A detector finds each with a chance of its own, shifted by a drawn IoU, and adds false boxes, which lie
elsewhere. Scores are logistic; what makes a patient hard (for all detectors) and what makes them shadowy are drawn once a patient.
"""

import dataclasses

import numpy as np

from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import headline, image_level, rsna
from pneumodet.evaluation.metrics.matching import match

IOU_THRESHOLDS = np.array([0.5, 0.75])
"""Of AP: the other eight take most of the time, and their intervals are made alike."""

EXAMS = ((1, 2, 3, 6), (0.4, 0.3, 0.2, 0.1))
"""Numbers of exams that a patient has where patients have several, and their shares."""

TWO_BOXES = 0.55
"""Share of positive exams with two boxes, as in the challenge's labels."""

OF_PATIENT = 0.8
"""Share of a positive patient's exams that are positive, where patients have several."""

HARD, SHADOWY = 0.6, 0.5
"""Standard deviations over patients, in units of log-odds."""

FALSE = 3.0
"""False boxes an exam, at any score."""


@dataclasses.dataclass(frozen=True)
class Detector:
    """What a detector does: share of boxes that it finds, the two parameters of the Beta distribution of their IoU, and log-odds of hits and false boxes."""

    finds: float
    iou: tuple[float, float]
    hit: float
    false: float
    spread: float = 1.1


DETECTORS = {
    "strong": Detector(finds=0.95, iou=(12.0, 4.0), hit=0.8, false=-2.2),
    "weak": Detector(finds=0.6, iou=(5.0, 4.5), hit=-1.2, false=-2.0),
}
"""Of 20 % positive patients, each at its best threshold: RSNA metric 0.44 and 0.03, AP50 0.73 and 0.03, ROC AUC 0.94 and 0.65."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One kind of set.

    Attributes:
      patients: how many.
      positive: share of them.
      detector: of ``DETECTORS``.
      several: patients have several exams.
    """

    patients: int
    positive: float
    detector: str
    several: bool

    @property
    def name(self) -> str:
        """Of the cell in files and tables."""
        return f"{self.patients}/{self.positive:g}/{self.detector}/{'several' if self.several else 'one'}"


def draw(rng: np.random.Generator, cell: Cell, *, models: int = 1, patients: int | None = None) -> list[Cases]:
    """Draw a set of ``cell.patients``, or of as many as given, with the detections of so many detectors of the same quality."""
    count = patients or cell.patients
    sizes = rng.choice(EXAMS[0], count, p=EXAMS[1]) if cell.several else np.ones(count, np.int64)
    patient = np.repeat(np.arange(count), sizes)
    exams = len(patient)
    ill = (rng.random(count) < cell.positive)[patient]
    positive = ill & (rng.random(exams) < OF_PATIENT) if cell.several else ill
    truth_case = np.repeat(np.arange(exams), np.where(positive, 1 + (rng.random(exams) < TWO_BOXES), 0))
    # the second box of an exam lies in the other lung
    left = np.where(np.diff(truth_case, prepend=-1) > 0, 100.0, 600.0)
    truth = np.stack([left, np.full(len(left), 300.0), left + 200, np.full(len(left), 600.0)], axis=1)
    hard, shadowy = rng.normal(0, HARD, count)[patient], rng.normal(0, SHADOWY, count)[patient]
    names = tuple(map(str, range(exams)))
    return [_detected(rng, DETECTORS[cell.detector], names, patient, truth, truth_case, hard, shadowy) for _ in range(models)]


def _detected(
    rng: np.random.Generator,
    detector: Detector,
    names: tuple[str, ...],
    patient: np.ndarray,
    truth: np.ndarray,
    truth_case: np.ndarray,
    hard: np.ndarray,
    shadowy: np.ndarray,
) -> Cases:
    seen = rng.random(len(truth)) < detector.finds
    iou = rng.beta(*detector.iou, len(truth))[seen]
    hits = truth[seen]
    # a box that is shifted by d of its width w has an IoU of (w - d) / (w + d)
    hits[:, [0, 2]] += (200 * (1 - iou) / (1 + iou))[:, None]
    of_hits = rng.normal(detector.hit, detector.spread, len(hits)) + hard[truth_case[seen]]
    false_case = np.repeat(np.arange(len(names)), rng.poisson(FALSE, len(names)))
    left = rng.uniform(0, 700, len(false_case))
    false = np.stack([left, np.full(len(left), 700.0), left + 200, np.full(len(left), 900.0)], axis=1)
    of_false = rng.normal(detector.false, detector.spread, len(false)) + shadowy[false_case]
    case = np.concatenate([truth_case[seen], false_case])
    boxes = np.concatenate([hits, false])
    scores = 1 / (1 + np.exp(-np.concatenate([of_hits, of_false])))
    order = np.lexsort((-scores, case))
    return Cases(names, patient, truth, truth_case, boxes[order], scores[order], case[order])


class World:
    """The true figures of a detector, by one set of ``patients`` patients, and its best threshold."""

    def __init__(self, cell: Cell, *, patients: int = 100_000, seed: int = 20261130) -> None:
        self.cases = draw(np.random.default_rng(seed), cell, patients=patients)[0]
        self.threshold, _ = rsna.case_threshold(self.cases)
        order = np.argsort(-self.cases.scores, kind="stable")
        self._scores = -self.cases.scores[order]
        gains, enters = rsna.steps(self.cases)
        first = np.diff(self.cases.box_case, prepend=-1) > 0
        positive = self.cases.positive
        of_box = positive[self.cases.box_case]
        hit = match(self.cases).hit
        adds = np.stack([gains, enters, first & of_box, first & ~of_box, hit, ~hit]).astype(np.float64)[:, order]
        self._sums = np.concatenate([np.zeros((len(adds), 1)), np.cumsum(adds, axis=1)], axis=1)
        self._bases = float(positive.sum()), float(len(positive)), float(len(self.cases.truth_case))

    def at(self, thresholds: np.ndarray) -> dict[str, np.ndarray]:
        """Return key -> (T,) float64: the true figures of ``refitted.KEYS`` at (T,) thresholds."""
        kept = np.searchsorted(self._scores, -thresholds, side="right")
        scores, entered, true, false, hits, boxes = self._sums[:, kept]
        positives, exams, truth = self._bases
        rates = image_level.rates(tp=true, fp=false, fn=positives - true, tn=exams - positives - false)
        return {
            "rsna_metric": scores / (positives + entered),
            **rates,
            "lesion.sensitivity": hits / truth,
            "lesion.precision": np.divide(hits, hits + boxes, out=np.full(len(hits), np.nan), where=hits + boxes > 0),
            "lesion.fp_per_image": boxes / exams,
        }

    def curves(self) -> dict[str, float]:
        """Return key -> true AP50, FROC and areas."""
        figures = headline.Figures(self.cases, score_threshold=self.threshold, iou_thresholds=IOU_THRESHOLDS)
        return {key: float(value[0]) for key, value in figures.curves(np.ones((len(self.cases), 1))).items()}
