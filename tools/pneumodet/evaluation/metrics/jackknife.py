"""How much each patient moves a figure: what intervals and comparisons are made of.

    moved = of_figures(figures, patients)               # any figure of weighted cases: computed again without each group of patients
    moved = Ratio(hits, truth).moved(patients)        # a quotient of sums over cases, in closed form
    interval.of(moved)

A patient moves a figure by the figure with it less the figure without it. The squares of all moves add up to the figure's variance over samples of as
many patients: the jackknife (Tukey, Ann. Math. Stat. 1958; Efron and Stein, Ann. Stat. 1981), and for quotients of sums its linear part, which survey
statistics calls linearization. Exams of a patient move it together, since they resemble each other; for areas under the ROC curve that is
Obuchowski's variance for clustered data (Biometrics 1997). No set without a patient is ever built: everything is sorted and matched once, and a figure is a few
sums weighted by how often each case counts.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from pneumodet.evaluation.metrics.interval import Moved

GROUPS = 1000
"""Default of most groups of patients that are left out in turn; up to as many patients each is a group. With more the width of an interval varies by 2 % with
the seed, with 200 groups by 5 %."""

_CHUNK = 16  # weightings at once; 16 and 32 were fastest of 16 to 100, for what is in use then stays in the processor's cache

_THREADS, _MANY = 2, 2000

_FEW_NUMBERS = 1 << 16  # so many marks cost nothing

Key = TypeVar("Key")
Given = TypeVar("Given")
Result = TypeVar("Result")


def jackknifed(
    figures: Callable[[np.ndarray], Mapping[Key, np.ndarray]], patients: np.ndarray, *, groups: int = GROUPS, seed: int = 0
) -> tuple[dict[Key, float], dict[Key, np.ndarray]]:
    """Return figures on all cases, and by how much each group of patients moves them.

    Args:
      figures: returns key -> (B,) float64, NaN where a figure is undefined, of (C, B) float64 weights of the cases.
      patients: (C,) int64, the same number for the exams of one patient.
      groups: most groups, at least 2; they are dealt out by lot, so that each has as many patients as any other, or one more.
      seed: of the lot.

    Returns:
      (key -> value, key -> (G,) float64 moves); NaN where the figure is undefined without the group.
    """
    value = {key: float(one[0]) for key, one in figures(np.ones((len(patients), 1))).items()}
    group = grouped(patients, groups=groups, seed=seed)
    count = int(group.max(initial=0)) + 1

    def without(start: int) -> Mapping[Key, np.ndarray]:
        there = group[:, None] != np.arange(start, min(start + _CHUNK, count))
        return figures(there.astype(np.float64))

    parts = in_threads(without, range(0, count, _CHUNK), number=len(patients))
    # the mean of G figures without a group each is off by one part in G, hence the factor
    scale = np.sqrt((count - 1) / count)
    return value, {key: (value[key] - np.concatenate([part[key] for part in parts])) * scale for key in value}


def in_threads(function: Callable[[Given], Result], items: Iterable[Given], *, number: int, fewest: int = _MANY) -> list[Result]:
    """Return what a function gives of each item, in their order; on two processors where it works on many cases.

    Args:
      function: changes nothing that another item's call reads; most of its time is numpy's, which lets other threads run.
      items: of an iterator, taken as they are needed.
      number: of cases or scores.
      fewest: of them; with fewer threads wait for one another for longer than they compute.
    """
    if number < fewest:
        return [function(one) for one in items]
    results: list[Result] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        if isinstance(items, Sequence):
            return list(pool.map(function, items))
        left = iter(items)
        # pool.map would take all at once, and hold the weights of all resamples
        while some := list(itertools.islice(left, _THREADS)):
            results += pool.map(function, some)
    return results


def both(first: Callable[[], Given], second: Callable[[], Result], *, number: int) -> tuple[Given, Result]:
    """Return what two functions give, of which neither needs the other's; at once where they work on many cases. ``number`` as ``in_threads``."""
    if number < _MANY:
        return first(), second()
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(second)
        return first(), beside.result()


def of_figures(
    figures: Callable[[np.ndarray], Mapping[Key, np.ndarray]],
    patients: np.ndarray,
    *,
    carriers: Mapping[Key, np.ndarray],
    kind: str = "curve",
    groups: int = GROUPS,
    seed: int = 0,
) -> dict[Key, Moved]:
    """Return the figures of ``jackknifed`` with what moves them.

    Args:
      figures, patients, groups, seed: as ``jackknifed``.
      carriers: key -> (C,) bool, the cases that a figure is of, whether they move it or not: of an area under the ROC curve those of ``image_level.rarer``.
      kind: of all figures, as of ``Moved``.
    """
    value, moved = jackknifed(figures, patients, groups=groups, seed=seed)
    number = {key: len(np.unique(patients[carriers[key]])) for key in moved}
    # with few patients leaving one out moves a figure by more than it varies
    return {key: Moved(value[key], one * np.sqrt(1 - 1 / max(number[key], 2)), kind, patients=number[key]) for key, one in moved.items()}


def grouped(patients: np.ndarray, *, groups: int = GROUPS, seed: int = 0) -> np.ndarray:
    """Return the (C,) int64 group of each case; a group is a patient where there are not more than ``groups``."""
    unique, patient = np.unique(patients, return_inverse=True)
    if len(unique) <= groups:
        return np.asarray(patient, np.int64)
    return np.asarray(np.random.default_rng(seed).permutation(len(unique))[patient] % groups, np.int64)


def by_groups(moved: np.ndarray, *, groups: int, seed: int = 0) -> np.ndarray:
    """Return by how much ``grouped``'s groups of patients move a figure, (G,) float64, of (P,) moves of each patient in rising order."""
    return np.bincount(grouped(np.arange(len(moved)), groups=groups, seed=seed), weights=moved)


@dataclasses.dataclass(frozen=True, eq=False)
class Ratio:
    """A figure of C cases that is a sum over a sum; both (C,) float64, 0 in cases that do not count."""

    part: np.ndarray
    whole: np.ndarray

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the (B,) figure for (C, B) float64 weights; NaN where there is nothing to divide by."""
        return ratio(self.part @ weights, self.whole @ weights)

    def moved(self, patients: np.ndarray, *, kind: str = "share", refitted: np.ndarray | None = None) -> Moved:
        """Return the figure with what each patient, in rising order, moves it by; arguments as of ``Moved``."""
        patient = _numbered(patients)
        part, whole = (np.bincount(patient, weights=one) for one in (self.part, self.whole))
        total = whole.sum()
        value = part.sum() / total if total else np.nan
        moved = (part - whole * value) / total if total else np.full(len(part), np.nan)
        single = bool((np.isin(whole, (0, 1)) & np.isin(part, (0, 1))).all())
        number = int(np.count_nonzero(whole))
        # the figure itself was estimated from as many patients, so that they differ from it by too little
        moved *= np.sqrt(number / max(number - 1, 1))
        return Moved(float(value), moved, kind, patients=number, single=single, refitted=refitted)


def _numbered(patients: np.ndarray) -> np.ndarray:
    """Return (C,) int64 numbers from 0 on, without a gap, of (C,) patients in rising order."""
    if not len(patients) or patients.dtype.kind != "i" or patients.min() < 0 or patients.max() > _FEW_NUMBERS + len(patients):
        return np.unique(patients, return_inverse=True)[1]
    # marks and not a sort, where numbers are about as small as they are many
    there = np.zeros(int(patients.max()) + 1, np.int64)
    there[patients] = 1
    return np.asarray((np.cumsum(there) - 1)[patients])


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return (B,) numerator / denominator, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)
