"""A calibrated probability in words, as pages and tables show it, and what it rests on.

in_words(0.742)                         # "about 74%"
rests_on(card["metrics"])               # "57 exams of 47 patients, on which the model's threshold was chosen as well"
"""

from collections.abc import Mapping

from pneumodet.core.formatting import counted
from pneumodet.evaluation.metrics.calibration import LEAST_SHOWN

UNKNOWN = "exams that the model does not tell of"
"""What probabilities rest on where a model was calibrated, but does not say by what."""


def in_words(probability: float) -> str:
    """Return a probability for people: "about 74%", "<1%" or ">99%", never a certainty."""
    if not LEAST_SHOWN <= probability <= 1 - LEAST_SHOWN:
        return f"<{LEAST_SHOWN:.0%}" if probability < LEAST_SHOWN else f">{1 - LEAST_SHOWN:.0%}"
    return f"about {probability:.0%}"


def rests_on(metrics: Mapping | None) -> str:
    """Return what a model's probabilities rest on, for a sentence: "57 exams of 47 patients, on which the model's threshold was chosen as well".

    Args:
      metrics: of the evaluation that fitted the calibrator, as an export's model.json has them.
    """
    if not metrics or metrics.get("patients") is None:
        return UNKNOWN
    text = f"{counted(metrics['images'], 'exam')} of {counted(metrics['patients'], 'patient')}"
    chosen = ["threshold"] * ("chosen" in (metrics.get("operating_point") or {}))
    chosen += ["checkpoint"] * ((metrics.get("checkpoint_chosen_of") or 0) > 1)
    were = "were" if len(chosen) > 1 else "was"
    return text + (f", on which the model's {' and '.join(chosen)} {were} chosen as well" if chosen else "")
