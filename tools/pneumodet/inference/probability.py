"""From scores to probabilities: calibrators that a model brings along, and a probability as text, as pages and tables show it.

    probability = Calibrator.from_json(metrics["calibrator"])(scores)

as_text(0.742)                         # "about 74%"
rests_on(card.metrics)                  # "57 exams of 47 patients, on which the model's threshold was chosen as well"
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pneumodet.core.errors import ConfigError
from pneumodet.core.formatting import counted

METHODS = ("temperature", "platt", "isotonic")
"""Names of the calibrators."""

LEAST_SHOWN = 0.01
"""Probabilities that are shown lie this far from 0 and 1 at least: validation sets are too small to say more."""

SCORE_FLOOR = 1e-3
"""Scores are held this far from 0 and 1 before the logit, which is infinite there. Detectors answer from this score on (``inference.SCORE_FLOOR``):
exams without a detection score 0, and would bend a fitted curve were they held further away from those with a box."""

LARGEST_EXPONENT = 700.0
"""Of e; beyond about 709 it overflows."""

NO_BOX = (
    "The probability is of the radiograph as a whole. Boxes are drawn from the score threshold on, which was chosen for boxes: a radiograph without "
    "one may have a high probability, and one with a box a low one."
)
"""What explains a probability beside the boxes that are drawn."""

UNKNOWN = "exams that the model does not name"
"""What probabilities rest on where a model was calibrated, but does not say by what."""


@dataclasses.dataclass(frozen=True)
class Calibrator:
    """Turns scores into probabilities, never turning two around.

    Attributes:
      method: one of ``METHODS``.
      parameters: ``temperature``; or ``slope`` and ``intercept``; or ``scores`` and ``probabilities``, the corners of a curve, as tuples.
    """

    method: str
    parameters: Mapping[str, float | tuple[float, ...]]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Return the (N,) float64 probabilities of (N,) scores in [0, 1]."""
        scores, given = np.asarray(scores, np.float64), {name: np.asarray(value) for name, value in self.parameters.items()}
        if self.method == "isotonic":
            probabilities: np.ndarray = np.interp(scores, given["scores"], given["probabilities"])
            return probabilities
        if self.method == "temperature":
            return sigmoid(logit(scores) / given["temperature"])
        return sigmoid(given["slope"] * logit(scores) + given["intercept"])

    def to_json(self) -> dict[str, Any]:
        """Return what ``from_json`` reads: a dict of strings, floats and lists."""
        return {"method": self.method, **{key: list(one) if isinstance(one, tuple) else one for key, one in self.parameters.items()}}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Calibrator":
        """Read a calibrator.

        Steps of 0 and 1, which an earlier pneumodet made of a few exams that agreed, come back as ``LEAST_SHOWN`` and 1 less it.

        Raises:
          ConfigError: the method is unknown, a parameter is missing, unknown or out of range, or the curve is not rising.
        """
        names = {"temperature": {"temperature"}, "platt": {"slope", "intercept"}, "isotonic": {"scores", "probabilities"}}
        method = saved.get("method")
        if not isinstance(method, str) or method not in names or set(saved) - {"method"} != names[method]:
            raise ConfigError(
                f"Not a calibrator: {dict(saved)!r:.200}. It needs a method ({', '.join(METHODS)}) and that method's parameters; fit it again."
            )
        try:
            values = {key: np.asarray(saved[key], np.float64) for key in sorted(names[method])}
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"The parameters of the {method} calibrator are no numbers: {error}. Fit it again.") from error
        if not _sound(method, values):
            raise ConfigError(
                f"The parameters of the {method} calibrator do not give rising probabilities: {dict(saved)!r:.200}. Fit it again."
            )
        if method == "isotonic" and not 0 < values["probabilities"][0] <= values["probabilities"][-1] < 1:
            values["probabilities"] = np.asarray(held(values["probabilities"]))
        return cls(method, {key: tuple(one.tolist()) if one.ndim else float(one) for key, one in values.items()})


def held(probability: float | np.ndarray) -> float | np.ndarray:
    """Return probabilities as they are shown, from ``LEAST_SHOWN`` to 1 less it."""
    shown: float | np.ndarray = np.clip(probability, LEAST_SHOWN, 1 - LEAST_SHOWN)
    return shown


def logit(scores: np.ndarray | float) -> np.ndarray:
    """Return the log odds of scores in [0, 1], which are held ``SCORE_FLOOR`` from both ends."""
    inside = np.clip(scores, SCORE_FLOOR, 1 - SCORE_FLOOR)
    # log1p is exact for scores close to 0, where 1 - score is rounded
    odds: np.ndarray = np.log(inside) - np.log1p(-inside)
    return odds


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-values)), without an overflow."""
    shares: np.ndarray = 1 / (1 + np.exp(np.minimum(-values, LARGEST_EXPONENT)))
    return shares


def _sound(method: str, values: Mapping[str, np.ndarray]) -> bool:
    if not all(np.isfinite(one).all() for one in values.values()):
        return False
    if method == "isotonic":
        scores, probabilities = values["scores"], values["probabilities"]
        if scores.ndim != 1 or scores.shape != probabilities.shape or not len(scores):
            return False
        # np.interp does not check that its corners rise, and gives nonsense where they do not
        rising = (np.diff(scores) > 0).all() and (np.diff(probabilities) >= 0).all()
        return bool(rising and probabilities[0] >= 0 and probabilities[-1] <= 1)
    above_0 = values["temperature" if method == "temperature" else "slope"]
    return all(one.ndim == 0 for one in values.values()) and bool(above_0 > 0)


def as_text(probability: float) -> str:
    """Return a probability for people: "about 74%", "<1%" or ">99%", never a certainty."""
    if not LEAST_SHOWN <= probability <= 1 - LEAST_SHOWN:
        return f"<{LEAST_SHOWN:.0%}" if probability < LEAST_SHOWN else f">{1 - LEAST_SHOWN:.0%}"
    return f"about {probability:.0%}"


def rests_on(metrics: Mapping[str, Any] | None) -> str:
    """Return what a model's probabilities rest on, for a sentence: "57 exams of 47 patients, on which the model's threshold was chosen as well".

    Args:
      metrics: of the evaluation that fitted the calibrator, as an export's model.json has them.
    """
    if not metrics or metrics.get("patients") is None or metrics.get("images") is None:
        return UNKNOWN
    text = f"{counted(metrics['images'], 'exam')} of {counted(metrics['patients'], 'patient')}"
    chosen = ["threshold"] * ("chosen" in (metrics.get("operating_point") or {}))
    chosen += ["checkpoint"] * ((metrics.get("checkpoint_chosen_of") or 0) > 1)
    were = "were" if len(chosen) > 1 else "was"
    return text + (f", on which the model's {' and '.join(chosen)} {were} chosen as well" if chosen else "")
