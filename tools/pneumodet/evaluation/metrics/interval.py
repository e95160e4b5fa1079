"""The interval of a figure, made of how much each patient moves it, by the method that holds its level for this kind of figure.

    moved = Moved(0.83, np.array([...]), kind="share", patients=12)
    of(moved)                                 # {"value": 0.83, "low": 0.55, "high": 0.96}
    difference(moved, other)                    # {"value": 0.04, "low": -0.01, "high": 0.09, "p": 0.11}: other - moved

``moved`` is as ``jackknife`` gives it: its squares add up to the figure's variance, with all exams of a patient moving together.

- ``share`` (sensitivity, specificity, precision, F1; the RSNA metric, a mean of shares): Jeffreys' interval, the binomial one whose misses are even on
  both ends (Brown, Cai and DasGupta, Stat. Sci. 2001; Cai, J. Stat. Plan. Inference 2005), of the effective number of exams, share x (1 - share) / variance,
  corrected for few patients (Korn and Graubard, Surv. Methodol. 1998). Where all or none are hits, one end is that of an exact one-sided interval of
  as many exams as there are patients (Clopper and Pearson, Biometrika 1934).
- ``curve`` (AP, FROC, areas): value -+ t x standard error of its log-odds, so that both ends lie between 0 and 1 (for areas: Pepe, The Statistical
  Evaluation of Medical Tests, 2003, section 5.2), with as many degrees of freedom as there are patients of the rarer kind, less one.
- ``rate`` (false positives an image): as a share, of a Poisson count and by the gamma distribution (Fay and Feuer, Stat. Med. 1997).
- ``mean``, and every difference: value -+ t x standard error, with as many degrees of freedom as the moves show (Satterthwaite, Biom. Bull. 1946). That
  of two shares or points of curves ends at -1 and 1, beyond which no difference lies.

A figure that no patient moves, or that too few patients make, gets no interval, and a sentence says why: none has no width.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.core.errors import ConfigError
from pneumodet.core.formatting import counted

CONFIDENCE = 0.95
"""Default level."""

FEWEST_PATIENTS = 5
"""With fewer patients that a figure is of, no interval was seen to hold its level (benchmarks/coverage.py)."""

FEWEST_DIFFER = 6
"""With fewer patients who move a difference none can be shown: all of 5 in favour of one model is no rarer than 6 % by chance."""

MOST_UNDEFINED = 0.05
"""Largest share of groups left out, or of resamples, in which a figure may have no value; beyond, the interval would speak of a selection."""

KINDS = ("share", "curve", "rate", "mean")
"""What figures are, by what values they can have: shares and points of curves lie in [0, 1], rates from 0 on, means anywhere."""

BOUNDED = ("share", "curve")
"""Those that lie in [0, 1], so that differences of them lie in [-1, 1]."""

DIFFERENCE = "difference"
"""Kind of a difference of two models."""

NO_VALUE = "These cases give the figure no value."

_ROUNDING = 1e-12

Interval = dict[str, Any]
"""``value``, ``low`` and ``high``, floats or None; ``undefined``, a sentence, where one is None; of differences ``p``."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure, and how it varies over sets of as many patients.

    Attributes:
      value: NaN where it has none.
      variance: NaN where it cannot be said.
      df: degrees of freedom of the variance.
      kind: one of ``KINDS``.
      patients: how many it is of: of sensitivity those with a positive exam. Of a difference, those in whom two models differ.
      single: every patient that it is of counts once, wholly or not at all, so that it is a binomial share.
      of_choice: the part of the variance that is of the choice of thresholds.
      bounded: it is a difference of figures of ``BOUNDED``.
      refused: why no interval is made of it although one could be.
    """

    value: float
    variance: float
    df: float
    kind: str
    patients: int
    single: bool = False
    of_choice: float = 0.0
    bounded: bool = False
    refused: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Moved:
    """A figure and what moves it.

    Attributes:
      value: NaN where it has none.
      moved: (K,) float64: by how much each patient, or each group of patients, moves it.
      kind, patients, single: as in ``Spread``.
      refitted: (R,) float64: it on resamples of patients where thresholds are chosen again in each; None where they are held fixed.
      refused: as in ``Spread``.
    """

    value: float
    moved: np.ndarray
    kind: str
    patients: int
    single: bool = False
    refitted: np.ndarray | None = None
    refused: str | None = None

    @property
    def spread(self) -> Spread:
        """How the figure varies."""
        df = degrees_of_freedom(self.moved)
        whole = variance(self.moved, self.refitted)
        return Spread(self.value, whole, df, self.kind, self.patients, self.single, self.of_choice, refused=self.refused)

    @property
    def of_choice(self) -> float:
        """The part of the variance that is of the choice of thresholds; 0 where they are held fixed."""
        return 0.0 if self.refitted is None else variance(self.moved, self.refitted) - variance(self.moved)

    def less(self, other: "Moved") -> Spread:
        """Return how this figure less that of another model on the same patients varies."""
        moved = self.moved - other.moved
        of_choice = self.of_choice + other.of_choice
        if self.refitted is not None and other.refitted is not None:
            of_choice = variance(moved, self.refitted - other.refitted) - variance(moved)
        # rounding apart, a patient on whom both agree moves nothing
        differ, fixed, value = int(np.count_nonzero(np.abs(moved) > _ROUNDING)), variance(moved), self.value - other.value
        if not differ and abs(value) > _ROUNDING:
            # all patients differ by the same: as if one more did not
            differ = min(self.patients, other.patients)
            fixed = (value / (differ + 1)) ** 2
        df = degrees_of_freedom(moved)
        refused = self.refused or other.refused
        bounded = self.kind in BOUNDED and other.kind in BOUNDED
        return Spread(value, fixed + of_choice, df, DIFFERENCE, differ, of_choice=of_choice, bounded=bounded, refused=refused)


def of(figure: Moved | Spread, *, confidence: float = CONFIDENCE) -> Interval:
    """Return ``value``, ``low`` and ``high``, and ``undefined``, the reason, where one of them is None.

    Raises:
      ConfigError: ``confidence`` is not in (0, 1).
    """
    check(confidence)
    spread = figure.spread if isinstance(figure, Moved) else figure
    if why := reason(spread):
        return {"value": None if np.isnan(spread.value) else spread.value, "low": None, "high": None, "undefined": why}
    ends = {"share": _share, "curve": _curve, "rate": _rate, "mean": _mean, DIFFERENCE: _difference}[spread.kind](
        spread, (1 - confidence) / 2
    )
    return {"value": spread.value, "low": float(ends[0]), "high": float(ends[1])}


def lower_bound(figure: Moved, *, confidence: float) -> float | None:
    """Return what a share reaches with one-sided confidence; None where too few patients make it."""
    from scipy import special  # here, because only evaluation needs it

    spread = figure.spread
    if reason(spread) or spread.value <= 0:
        return None if reason(spread) else 0.0
    number = _effective(spread, 1 - confidence)
    if spread.value >= 1:
        return float((1 - confidence) ** (1 / number))
    hits = spread.value * number
    return float(special.betaincinv(hits + 0.5, number - hits + 0.5, 1 - confidence))


def difference(a: Moved, b: Moved, *, confidence: float = CONFIDENCE, comparisons: int = 1) -> Interval:
    """Return the same of ``b`` - ``a``, two models on the same patients in the same order, and ``p``, two-sided: below 1 - confidence where 0 lies outside.

    Args:
      a, b: of the same figure; moves patient by patient, or group by group.
      confidence: in (0, 1).
      comparisons: that are made in all: the interval is one of so many that hold together, and p is for all of them (Bonferroni).

    Raises:
      ConfigError: ``confidence`` is not in (0, 1).
    """
    check(confidence)
    spread = b.less(a)
    why = reason(a.spread) or reason(b.spread)
    if why:
        return {"value": None if np.isnan(spread.value) else spread.value, "low": None, "high": None, "p": None, "undefined": why}
    return of(spread, confidence=1 - (1 - confidence) / comparisons) | {"p": p_value(spread, comparisons=comparisons)}


def p_value(spread: Spread, *, comparisons: int = 1) -> float | None:
    """Return the two-sided p value of a difference, corrected for so many comparisons (Bonferroni); None where it has no interval."""
    from scipy import special  # here, because only evaluation needs it

    if reason(spread):
        return None
    return min(1.0, comparisons * float(2 * special.stdtr(spread.df, -abs(spread.value) / np.sqrt(spread.variance))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for being so many (Holm, Scand. J. Stat. 1979), in their order."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    corrected = np.minimum(1, np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * factors))
    result = np.empty(len(order))
    result[order] = corrected
    return [float(one) for one in result]


def variance(moved: np.ndarray, refitted: np.ndarray | None = None) -> float:
    """Return the variance of a figure; where thresholds are chosen again, at least that of the figure at fixed ones; NaN where it cannot be said."""
    fixed = float(np.square(moved).sum())
    # what is left of rounding is no variance: without any there is another rule
    fixed = 0.0 if fixed < _ROUNDING**2 else fixed
    if refitted is None:
        return fixed
    defined = refitted[~np.isnan(refitted)]
    # resamples without a value are not drawn at random: they lack positives, so that the rest would be too good
    enough = len(defined) > 1 and len(defined) >= (1 - MOST_UNDEFINED) * len(refitted)
    return max(fixed, float(defined.var(ddof=1))) if enough else np.nan


def degrees_of_freedom(moved: np.ndarray) -> float:
    """Return how many degrees of freedom a sum of squares has, by the kurtosis of what is squared: few where few patients make most of it."""
    squares = np.square(moved)
    count = len(moved)
    fourth = np.square(squares).sum()
    if not fourth > 0:
        return float(max(count - 1, 1))
    carriers = squares.sum() ** 2 / fourth
    # of normal moves the kurtosis count / carriers is 3, and all count - 1 are left
    return float(np.clip(2 / max(1 / carriers - 1 / count, 1e-12), 1, max(count - 1, 1)))


def check(confidence: float) -> None:
    """Raise ConfigError where a confidence is not in (0, 1)."""
    if not 0 < confidence < 1:
        raise ConfigError(f"An interval needs a confidence between 0 and 1, not {confidence}.")


def reason(spread: Spread) -> str | None:
    """Return why a figure has no interval; None where it has one."""
    if np.isnan(spread.value):
        return NO_VALUE
    if spread.refused:
        return spread.refused
    if spread.kind == DIFFERENCE and spread.patients < FEWEST_DIFFER:
        return f"The models differ in {counted(spread.patients, 'patient')} only: too few to say which is better."
    if spread.kind != DIFFERENCE and spread.patients < FEWEST_PATIENTS:
        return f"Only {counted(spread.patients, 'patient')} of the kind that makes this figure: too few for an interval."
    return "The figure has no value without some of the patients: too few for an interval." if np.isnan(spread.variance) else None


def without(figures: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Return a line for each reason why figures that have a value have no interval, with their names.

    Args:
      figures: name -> ``Interval``, in pairs; a name may come again.
    """
    names: dict[str, dict[str, None]] = {}
    for name, one in figures:
        if one.get("value") is not None and one.get("low") is None and (why := one.get("undefined")):
            names.setdefault(why, {})[name] = None
    return [f"No 95% interval of {', '.join(of_reason)}: {why}" for why, of_reason in names.items()]


def _share(figure: Spread, tail: float) -> tuple[float, float]:
    from scipy import special

    value, number = figure.value, _effective(figure, tail)
    hits = value * number
    low = special.betaincinv(hits + 0.5, number - hits + 0.5, tail) if value > 0 else 0.0
    high = special.betaincinv(hits + 0.5, number - hits + 0.5, 1 - tail) if value < 1 else 1.0
    # nothing lies beyond 1, so that all of the error is on one end
    if value >= 1:
        low = (2 * tail) ** (1 / number)
    if value <= 0:
        high = 1 - (2 * tail) ** (1 / number)
    return min(low, value), max(high, value)


def _effective(figure: Spread, tail: float) -> float:
    """Return of how many exams a share is, were they all of different patients."""
    value, patients = figure.value, figure.patients
    if figure.variance <= 0 or not 0 < value < 1:
        # one patient more, who is not as the others, says how far another choice of thresholds would reach
        near = (value * patients + 1 - value) / (patients + 1)
        return near * (1 - near) / (near * (1 - near) / patients + figure.of_choice)
    number = value * (1 - value) / figure.variance
    # a binomial variance follows from the share itself, any other is estimated from as many patients
    return number * (patients / (patients - 1) if figure.single else _correction(figure, tail))


def _correction(figure: Spread, tail: float) -> float:
    from scipy import special

    return float((special.ndtri(tail) / special.stdtrit(figure.patients - 1, tail)) ** 2)


def _rate(figure: Spread, tail: float) -> tuple[float, float]:
    from scipy import special

    value = figure.value
    if value <= 0:
        return 0.0, -np.log(2 * tail) / figure.patients
    # a Poisson count of so many, over so many exams, has this rate and this variance; where all patients have the same, as many as patients
    hits = value**2 / (figure.variance or value / figure.patients) * _correction(figure, tail)
    scale = value / hits
    return min(special.gammaincinv(hits + 0.5, tail) * scale, value), max(special.gammaincinv(hits + 0.5, 1 - tail) * scale, value)


def _curve(figure: Spread, tail: float) -> tuple[float, float]:
    from scipy import special

    value = figure.value
    if figure.variance <= 0 or not 0 < value < 1:
        return _share(figure, tail)
    half = -special.stdtrit(figure.patients - 1, tail) * np.sqrt(figure.variance) / (value * (1 - value))
    return special.expit(special.logit(value) - half), special.expit(special.logit(value) + half)


def _mean(figure: Spread, tail: float) -> tuple[float, float]:
    from scipy import special

    half = -special.stdtrit(figure.df, tail) * np.sqrt(figure.variance)
    return figure.value - half, figure.value + half


def _difference(figure: Spread, tail: float) -> tuple[float, float]:
    low, high = _mean(figure, tail)
    return (max(low, -1.0), min(high, 1.0)) if figure.bounded else (low, high)


def as_intervals(figures: Mapping[str, Moved], *, confidence: float = CONFIDENCE) -> dict[str, Interval]:
    """Return ``of`` each figure."""
    return {key: of(figure, confidence=confidence) for key, figure in figures.items()}
