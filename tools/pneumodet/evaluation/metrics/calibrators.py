"""Calibrators fitted on validation data: probabilities of scores.

    calibrator = fit(scores, outcomes, method=method_for(len(scores)))
    probabilities = calibrator(scores)
    saved = calibrator.to_json()                                       # stored with the model; Calibrator.from_json(saved)

Calibrators never turn two scores around:

``temperature``: sigmoid(logit(s) / T), which leaves a score of 0.5 where it is (Guo et al., ICML 2017).
``platt``: sigmoid(slope * logit(s) + intercept), fitted against Platt's smoothed targets (Platt, 1999).
``isotonic``: the non-decreasing curve of least squares (pool adjacent violators; Zadrozny and Elkan, KDD 2002), each step by Laplace's rule of
succession, (true + 1) / (count + 2): a few exams that agree are no certainty. It makes steps, so that scores become equal: compute AP and FROC on
the scores before it.
"""

import numpy as np

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.inference.probability import METHODS, Calibrator, logit

FEWEST_FOR_STEPS = 1000
"""Exams from which on isotonic regression is used; on fewer it fits their noise (Niculescu-Mizil and Caruana, ICML 2005, section 5)."""

SLOPES = (1e-2, 1e2)
"""Range of 1 / temperature, and the least slope of Platt's: a slope of 0 or below would make scores equal or turn their order around."""

_ITERATIONS = 100
_TOLERANCE = 1e-10
_ROUNDING = 1e-13

_BLOCK = 1 << 14
"""Scores at once in sums over all: what is in use then stays in the processor's cache."""

_PRODUCT = 512
"""Numbers of at most 2 that are multiplied before a logarithm is taken: 2 ** 1024 would overflow."""


def method_for(count: int) -> str:
    """Return the method for ``count`` exams: Platt's two parameters for few, steps for many."""
    return "isotonic" if count >= FEWEST_FOR_STEPS else "platt"


def fit(scores: np.ndarray, outcomes: np.ndarray, *, method: str) -> Calibrator:
    """Fit a calibrator on validation data.

    Args:
      scores: (N,) float in [0, 1].
      outcomes: (N,) bool: positive image, or hit.
      method: one of ``METHODS``.

    Raises:
      ConfigError: the method is unknown.
      DataError: there is no true or no false outcome: the probability would be a constant, and no evidence for it.
    """
    scores, outcomes = np.asarray(scores, np.float64), np.asarray(outcomes, bool)
    return fitted(scores if method == "isotonic" else logit(scores), outcomes, method=method)


def fitted(values: np.ndarray, outcomes: np.ndarray, *, method: str, start: Calibrator | None = None) -> Calibrator:
    """Return ``fit`` of values: (N,) scores for ``isotonic``, else their logits; ``start`` is the same fit to more or fewer, from which the best is near."""
    if method not in METHODS:
        raise ConfigError(f"There is no calibrator {method!r}. Calibrators: {', '.join(METHODS)}.")
    if not outcomes.any() or outcomes.all():
        raise DataError(
            f"Calibration needs true and false outcomes, but of {len(outcomes)} {int(outcomes.sum())} are true. Use a larger set."
        )
    if method == "isotonic":
        low, high, probability = _smoothed(*_pooled(values, outcomes))
        # flat within a block and straight to the next one, as np.interp reads it: no jump where a score moves a little
        corners = np.column_stack([low, high]).ravel(), np.repeat(probability, 2)
        keep = np.append(True, np.diff(corners[0]) > 0)  # a block of one score has one corner
        return Calibrator(method, {"scores": tuple(corners[0][keep].tolist()), "probabilities": tuple(corners[1][keep].tolist())})
    if method == "temperature":
        slope = 1.0 if start is None else 1 / _number(start, "temperature")
        return Calibrator(method, {"temperature": 1 / _one_slope(values, outcomes.astype(np.float64), start=slope)})
    first = None if start is None else (_number(start, "slope"), _number(start, "intercept"))
    slope, intercept = _slope_and_intercept(values, outcomes, start=first)
    return Calibrator(method, {"slope": slope, "intercept": intercept})


def _number(calibrator: Calibrator, name: str) -> float:
    """Return a parameter that is no curve."""
    return float(np.asarray(calibrator.parameters[name]))


def _pooled(scores: np.ndarray, outcomes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return lowest score, highest score, count and true outcomes of each block of pooled adjacent violators; true / count rises.

    A run of blocks, each with a lower share than the one before, ends in one block whatever is pooled first, so that whole runs are pooled at
    once: some rounds of array operations take the place of a loop over scores.
    """
    order = np.argsort(scores, kind="stable")  # one pass where they are sorted, as many scores are
    scores, outcomes = scores[order], outcomes[order].astype(np.float64)
    first = np.flatnonzero(np.append(True, np.diff(scores) > 0))
    low = high = scores[first]
    count, true = np.diff(first, append=len(scores)).astype(np.float64), np.add.reduceat(outcomes, first)
    while True:
        # shares compared by products of whole numbers, which are exact, unlike quotients
        starts = np.flatnonzero(np.append(True, true[1:] * count[:-1] > true[:-1] * count[1:]))
        if len(starts) == len(count):
            return low, high, count, true
        low, high = low[starts], high[np.append(starts[1:], len(count)) - 1]
        count, true = np.add.reduceat(count, starts), np.add.reduceat(true, starts)


def _smoothed(low: np.ndarray, high: np.ndarray, count: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lowest score, highest score and (true + 1) / (count + 2), rising, of blocks; a small one may thereby fall into the one before it."""
    blocks: list[list[float]] = []
    for block in np.column_stack([low, high, count, true]).tolist():
        blocks.append(block)
        while len(blocks) > 1 and _succession(blocks[-1]) <= _succession(blocks[-2]):
            _, last, more, hits = blocks.pop()
            first, _, fewer, so_far = blocks[-1]
            blocks[-1] = [first, last, fewer + more, so_far + hits]
    return np.array([one[0] for one in blocks]), np.array([one[1] for one in blocks]), np.array([_succession(one) for one in blocks])


def _succession(block: list[float]) -> float:
    """Return the probability of a further true outcome after those of a block (low, high, count, true), by the rule of succession."""
    return (block[3] + 1) / (block[2] + 2)


def _one_slope(logits: np.ndarray, targets: np.ndarray, *, start: float = 1.0) -> float:
    """Return the slope in ``SLOPES`` that minimizes the log loss of sigmoid(slope * logits), which is convex in it: Newton, held by bisection."""
    low, high = SLOPES
    slope = start
    for _ in range(_ITERATIONS):
        _, (gradient, _), ((curvature, _), _) = _log_loss(np.array([slope, 0.0]), logits, targets)
        # the loss is convex: where it still falls, the minimum lies above
        low, high = (slope, high) if gradient < 0 else (low, slope)
        # far out the curve is flat and Newton leaps out of the bounds: then halve between them, on a logarithmic scale
        step = slope - gradient / curvature if curvature > 0 else np.inf
        following = step if low < step < high else np.sqrt(low * high)
        # the step as well: where the start is all but right, rounding takes it over a bound
        if min(abs(step - slope), abs(following - slope)) <= _TOLERANCE * slope:
            break
        slope = float(following)
    return slope


def _slope_and_intercept(logits: np.ndarray, outcomes: np.ndarray, *, start: tuple[float, float] | None = None) -> tuple[float, float]:
    """Return the slope and intercept that minimize the log loss against Platt's targets, the slope at least ``SLOPES[0]``."""
    true = np.count_nonzero(outcomes)
    targets = np.where(outcomes, (true + 1) / (true + 2), 1 / (len(outcomes) - true + 2))  # finite also where scores part outcomes wholly
    center, spread = logits.mean(), logits.std()
    if np.ptp(logits) == 0:  # any slope fits; the spread of equal numbers need not be 0 exactly
        return 1.0, float(logit(targets.mean()) - center)
    # of mean 0 and spread 1, so that steps in slope and in intercept are of one size
    scaled = (logits - center) / spread
    first = (1.0, logit(targets.mean())) if start is None else (start[0] * spread, start[1] + start[0] * center)
    slope, intercept = _newton(scaled, targets, np.array(first))
    if slope / spread < SLOPES[0]:  # the loss is convex, so that the best that is allowed lies on the border
        slope = SLOPES[0] * spread
        intercept = _newton(scaled, targets, np.array([slope, intercept]), free=(1,))[1]
    return float(slope / spread), float(intercept - slope * center / spread)


def _newton(scaled: np.ndarray, targets: np.ndarray, start: np.ndarray, *, free: tuple[int, ...] = (0, 1)) -> np.ndarray:
    """Minimize the log loss over (slope, intercept), or over those of them that are free; steps are halved until the loss falls."""
    point, parts = start, list(free)
    value, gradient, hessian = _log_loss(point, scaled, targets)
    for _ in range(_ITERATIONS):
        step = np.zeros(2)
        # least squares, since the Hessian is singular where every probability is near 0 or 1
        step[parts] = np.linalg.lstsq(hessian[np.ix_(parts, parts)], gradient[parts])[0]
        if np.abs(step).max() <= _TOLERANCE:
            return np.asarray(point - step)  # the sums over all at this point would say the same
        size, following = 1.0, _log_loss(point - step, scaled, targets)
        most = value * (1 + _ROUNDING)  # near the best point the loss changes by less than it is rounded by
        while following[0] > most and size > _TOLERANCE:
            size /= 2
            following = _log_loss(point - size * step, scaled, targets)
        if following[0] > most:
            break
        point, (value, gradient, hessian) = point - size * step, following
        if np.abs(size * step).max() <= _TOLERANCE:
            break
    return point


def _log_loss(point: np.ndarray, scaled: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the summed log loss at (slope, intercept), its (2,) gradient and its (2, 2) Hessian, written so that nothing overflows."""
    loss, gradient, hessian = 0.0, np.zeros(2), np.zeros((2, 2))
    for begin in range(0, len(scaled), _BLOCK):
        x, target = scaled[begin : begin + _BLOCK], targets[begin : begin + _BLOCK]
        line = point[0] * x + point[1]
        small = np.exp(-np.abs(line))
        most = 1 + small
        probability = np.where(line >= 0, 1.0, small) / most
        # the sum of log(1 + small), as the logarithm of products: a logarithm takes ten times as long as a product
        logarithms = np.log(np.multiply.reduceat(most, np.arange(0, len(most), _PRODUCT)))
        loss += float(np.maximum(line, 0).sum() + logarithms.sum() - target @ line)
        error, weight = probability - target, probability * (1 - probability)
        weighted = x * weight
        cross = weighted.sum()
        gradient += (x @ error, error.sum())
        hessian += ((x @ weighted, cross), (cross, weight.sum()))
    return loss, gradient, hessian
