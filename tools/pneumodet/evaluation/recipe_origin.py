"""What post-processing means for an evaluation: which threshold it may be evaluated at, and what a reader has to know.

chosen, source = threshold(plan, exams, given=None, of_model=None, compared=False)
sentences = notes(plan, exams, tuned=True)
"""

from collections.abc import Iterable

from pneumodet.evaluation import summary
from pneumodet.inference.postprocess import ensembles
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess.recipe import Recipe

FROM_MODEL = "from the model, which chose it on other data"
FROM_RECIPE = "from the recipe, which was tuned on other data"

OPTIMISTIC = (
    "The recipe was tuned on these very exams, so that the figures are optimistic. Evaluate it on others; or evaluate the detections.json that "
    "postprocess.py wrote beside it, in which each exam was processed by what other patients gave."
)
"""Warning."""

OF_UNKNOWN_ORIGIN = (
    "The recipe does not say on which exams it was tuned. If on these, the figures are optimistic; postprocess.py writes it down."
)
"""Warning."""


def notes(plan: Recipe, exams: Iterable[str], *, tuned: bool) -> list[str]:
    """Return what a reader has to know of the figures' post-processing, a sentence each.

    Args:
      plan: the post-processing.
      exams: that are evaluated.
      tuned: whether ``plan`` is of a recipe's file; otherwise it is the plain fusion of several models or views.
    """
    if not tuned:
        return [ensembles.untuned(plan)] if plan.sources > 1 else []
    sentences = []
    if plan.exams_sha256 is None:
        sentences.append(OF_UNKNOWN_ORIGIN)
    elif plan.exams_sha256 == recipes.fingerprint(exams):
        sentences.append(OPTIMISTIC)
    if plan.cuts:
        parts = [f"boxes that score below {plan.score_threshold:.4g}"] * (plan.score_threshold > 0)
        parts += [f"all boxes of exams whose image-level score is below {plan.gate_threshold:.4g}"] * (plan.gate == "drop")
        sentences.append(
            f"The recipe drops {' and '.join(parts)}: AP, FROC and AUC are of the list that is left, and end where it ends. They do not compare "
            "with those of a full list."
        )
    return sentences


def threshold(
    plan: Recipe, exams: Iterable[str], *, given: float | None, of_model: float | None, compared: bool
) -> tuple[float | None, str]:
    """Return the threshold to evaluate at, None to cross-fit, and where it is from; that of a recipe or model has to be of other data.

    Args:
      plan: the post-processing.
      exams: that are evaluated.
      given: by the user.
      of_model: the model's own, where it was chosen on other data.
      compared: whether another model is compared, whose scores have another scale.
    """
    if given is not None:
        return given, summary.GIVEN
    if of_model is not None:
        return of_model, FROM_MODEL
    # a recipe that does not say its exams may be of these, so that its threshold is not trusted
    of_others = plan.exams_sha256 not in (None, recipes.fingerprint(exams))
    if plan.score_threshold > 0 and of_others and not compared:
        return plan.score_threshold, FROM_RECIPE
    return None, summary.GIVEN
