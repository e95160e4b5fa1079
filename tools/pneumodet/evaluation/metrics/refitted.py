"""Figures at an operating point that is chosen again in each resample of patients, on the other folds as it was: how much the choice adds to chance.

    refitted = Refitted(cases, aim="rsna", folds=folds)
    refitted(np.ones((len(cases), 1)))                   # the cross-fitted figures themselves, as ``operating_point.cross_fitted`` gives them
    drawn = resampled(refitted, cases.patients, resamples=1000, seed=0)

An interval that holds thresholds fixed covers far too seldom where the threshold was chosen on the same set, cross-fitted or not: another set of patients
would have given another threshold, of which the specificity of a weak detector depends more than on the patients. A patient who is drawn twice is twice in
the same fold, so that nobody is evaluated by a threshold that knew him.

Nothing is matched again. As the threshold falls, each detection adds to a few sums of its case when its own score is reached: to the RSNA metric, to hits and
to false boxes, and the first one of a case calls it positive. Candidates for the threshold are the scores there are, thinned where they are many.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pneumodet.core.aims import confidence_of, parse_aim
from pneumodet.data.cases import Cases
from pneumodet.evaluation.metrics import image_level, rsna
from pneumodet.evaluation.metrics.jackknife import in_threads, ratio
from pneumodet.evaluation.metrics.matching import match

CANDIDATES = 256
"""Most thresholds that are tried in a resample; of more scores, evenly many lie between two."""

KEYS = (
    "rsna_metric",
    "image.sensitivity",
    "image.specificity",
    "image.precision",
    "image.f1",
    "lesion.sensitivity",
    "lesion.precision",
    "lesion.fp_per_image",
)
"""Figures at an operating point."""

_SUMS = 6
"""What detections add to: RSNA scores, negative exams that count for them, exams called rightly and falsely, hits, and false boxes."""

_RSNA, _ENTERED, _TRUE, _FALSE, _HITS, _FALSE_BOXES = range(_SUMS)

_CHUNK = 16


class Refitted:
    """The figures of ``KEYS`` of C cases for many weightings, each with thresholds of its own.

    Args of the constructor:
      cases: at least one of them is positive.
      aim: as ``operating_point.choose``.
      folds: (C,) int64, as ``operating_point.cross_fitted``.
      rules: of the RSNA metric.
      candidates: most thresholds to try.
    """

    def __init__(self, cases: Cases, aim: str, *, folds: np.ndarray, rules: str = "strict", candidates: int = CANDIDATES) -> None:
        from scipy import sparse  # here, because only evaluation needs it

        self._name, self._level = parse_aim(aim)
        self._confidence = confidence_of(aim)
        # of a bound that takes exams of one patient for one
        self._patients_an_exam = len(np.unique(cases.patients[cases.positive])) / max(int(cases.positive.sum()), 1)
        names, fold = np.unique(folds, return_inverse=True)
        gains, enters = rsna.steps(cases, rules=rules)
        hit = match(cases).hit
        first = np.diff(cases.box_case, prepend=-1) > 0
        positive = cases.positive
        of_box = positive[cases.box_case]
        adds = (gains, enters, first & of_box, first & ~of_box, hit, ~hit)
        scores = _candidates(self._name, cases.scores, adds, candidates)
        # place 0 is a threshold above all scores; a detection counts from the first candidate on that it reaches
        place = 1 + np.searchsorted(-scores, -cases.scores, side="left")
        kept = place <= len(scores)  # what lies below all candidates is never kept
        # false boxes, which are by far the most, are added up at every candidate only where the choice is made by them
        summed = _SUMS if self._name == "fp_per_image" else _FALSE_BOXES
        self._shape = (len(names), summed, len(scores) + 1)
        of_sum = [np.flatnonzero((add != 0) & kept) for add in adds[:summed]]
        box, sums = np.concatenate(of_sum), np.repeat(np.arange(summed), [len(one) for one in of_sum])
        values = np.concatenate([add[one] for add, one in zip(adds, of_sum, strict=False)]).astype(np.float64)
        row = (fold[cases.box_case[box]] * summed + sums) * self._shape[2] + place[box]
        # detections of one case between two candidates are added up here, once
        self._adds = sparse.csr_matrix((values, (row, cases.box_case[box])), shape=(int(np.prod(self._shape)), len(cases)))
        self._false_boxes = None if summed == _SUMS else _Counts(cases.box_case[kept & ~hit], place[kept & ~hit], fold, self._shape[2])
        truth = np.bincount(cases.truth_case, minlength=len(cases)).astype(np.float64)
        ones = np.ones(len(cases))
        self._bases = np.stack([truth > 0, positive, ~positive, truth, ones]).astype(np.float64)
        self._in_fold = np.eye(len(names))[fold].T
        self._thresholds = np.append(np.nextafter(scores[:1], np.inf) if len(scores) else 1.0, scores)

    def __call__(self, weights: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return key -> (B,) float64 for (C, B) float64 weights >= 0; NaN where a figure, or the choice in a fold, is undefined."""
        tables, bases, places = self._places(weights)
        every_base = bases.sum(axis=0)
        sums = np.sum(
            [np.take_along_axis(table, place[None, None], axis=1)[:, 0] for table, place in zip(tables, places, strict=True)], axis=0
        )
        if self._false_boxes is not None:
            sums = np.concatenate([sums, self._false_boxes(places, weights)[None]])
        undefined = ((every_base - bases)[:, 1] == 0).any(axis=0)
        with_boxes, positives, negatives, truth, exams = every_base
        true, false = sums[_TRUE], sums[_FALSE]
        figures = {
            "rsna_metric": ratio(sums[_RSNA], with_boxes + sums[_ENTERED]),
            **image_level.rates(tp=true, fp=false, fn=positives - true, tn=negatives - false),
            "lesion.sensitivity": ratio(sums[_HITS], truth),
            "lesion.precision": ratio(sums[_HITS], sums[_HITS] + sums[_FALSE_BOXES]),
            "lesion.fp_per_image": ratio(sums[_FALSE_BOXES], exams),
        }
        return {key: np.where(undefined, np.nan, value) for key, value in figures.items()}

    def thresholds(self) -> np.ndarray:
        """Return the (F,) thresholds of the folds on all cases as they are, as ``operating_point.cross_fitted`` does where no candidate is left out."""
        return np.asarray(self._thresholds[self._places(np.ones((self._bases.shape[1], 1)))[2][:, 0]])

    def _places(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return sums (F, S, J, B) and bases (F, 5, B) of each fold, and (F, B) places of the thresholds that the other folds give."""
        count = weights.shape[1]
        tables = np.cumsum((self._adds @ weights).reshape(*self._shape, count), axis=2)
        bases = np.stack([(self._bases * inside) @ weights for inside in self._in_fold])
        every, every_base = tables.sum(axis=0), bases.sum(axis=0)
        places = [self._chosen(every - table, every_base - base) for table, base in zip(tables, bases, strict=True)]
        return tables, bases, np.stack(places)

    def _chosen(self, table: np.ndarray, base: np.ndarray) -> np.ndarray:
        """Return the (B,) place of the threshold chosen by (S, J, B) sums and (5, B) bases, as ``operating_point.choose`` does."""
        from scipy import special  # here, because only evaluation needs it

        with_boxes, positives, _, _, exams = base
        if self._name == "fp_per_image":
            # false boxes only grow as the threshold falls: those that keep the aim come first
            keeps = table[_FALSE_BOXES] <= (self._level or 0.0) * exams
            return np.maximum(np.count_nonzero(keeps, axis=0) - 1, 0)
        if self._name == "rsna":
            value = table[_RSNA] / np.maximum(with_boxes + table[_ENTERED], 1)
        elif self._name == "f1":
            value = 2 * table[_TRUE] / np.maximum(table[_TRUE] + table[_FALSE] + positives, 1)
        else:
            value = table[_TRUE] / np.maximum(positives, 1)
            if self._confidence:
                number = np.maximum(positives, 1) * self._patients_an_exam
                value = special.betaincinv(value * number + 0.5, (1 - value) * number + 0.5, 1 - self._confidence)
        best = value.max(axis=0)
        least = np.minimum(self._level or 0.0, best) if self._name == "sensitivity" else best - rsna.TIE_TOLERANCE
        # the first is the highest threshold
        return np.asarray(np.argmax(value >= least, axis=0), np.int64)


class _Counts:
    """How many of some detections of each case lie before a place, for C cases in folds: looked up where a place is known, instead of summed at all."""

    def __init__(self, case: np.ndarray, place: np.ndarray, fold: np.ndarray, places: int) -> None:
        """Count; ``case`` and ``place`` (N,) are of each detection, ``fold`` (C,) of each case."""
        self._order = np.argsort(fold, kind="stable")  # cases of one fold lie together
        self._ends = np.append(0, np.cumsum(np.bincount(fold)))
        column = np.empty_like(self._order)
        column[self._order] = np.arange(len(fold))
        counts = np.bincount(place * len(fold) + column[case], minlength=places * len(fold)).reshape(places, len(fold))
        self._counts = np.cumsum(counts, axis=0, dtype=np.uint32)

    def __call__(self, places: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the (B,) weighted counts of all folds, each at its place of (F, B), for (C, B) weights of the cases."""
        ordered = np.ascontiguousarray(weights.T[:, self._order])
        total = np.zeros(len(ordered))
        for start, end, of_fold in zip(self._ends, self._ends[1:], places, strict=False):
            total += [one[start:end] @ self._counts[place, start:end] for one, place in zip(ordered, of_fold.tolist(), strict=True)]
        return total


def resampled(refitted: Refitted, patients: np.ndarray, *, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Return key -> (R,) float64: the figures on resamples of patients, which are the same for all models; NaN where undefined."""
    chunks = in_threads(refitted, resampled_weights(patients, resamples=resamples, seed=seed), number=len(patients))
    return {key: np.concatenate([chunk[key] for chunk in chunks]) for key in KEYS}


def resampled_weights(patients: np.ndarray, *, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw patients with replacement.

    Args:
      patients: (C,) int64, the same number for the exams of one patient.
      resamples: how many.
      seed: of the draws; the same seed gives the same resamples for the same patients.

    Yields:
      (C, B) float64: how often each case is in each of the next B resamples.
    """
    rng = np.random.default_rng(seed)
    unique, patient = np.unique(patients, return_inverse=True)
    for start in range(0, resamples, _CHUNK):
        # each exam counts as often as its patient is drawn
        drawn = rng.integers(0, len(unique), (min(_CHUNK, resamples - start), len(unique)))
        yield np.stack([np.bincount(one, minlength=len(unique)) for one in drawn], axis=1)[patient].astype(np.float64)


def _candidates(name: str, scores: np.ndarray, adds: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Return falling scores of which one is the threshold: where the aim's figure can rise, all of them, or evenly many of these."""
    matters = {"rsna": adds[_RSNA] > 0, "fp_per_image": np.ones(len(scores), bool)}.get(name, adds[_TRUE] > 0)
    unique = np.unique(scores[matters])[::-1]
    return unique if len(unique) <= most else unique[np.linspace(0, len(unique) - 1, most).round().astype(int)]
