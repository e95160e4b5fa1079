"""What post-processing means for an evaluation: which threshold it may be evaluated at, and what a reader has to know.

chosen, source = threshold(given=None, of_model=None, of_recipe=0.31)
sentences = notes(plan, exams, of_file=True, seen=counted)
"""

from collections.abc import Iterable

from pneumodet.core.overlap import Counted
from pneumodet.evaluation import summary
from pneumodet.inference.postprocess import ensembles
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess.recipe import Recipe

FROM_MODEL = "from the model, which chose it on other data"
FROM_RECIPE = "from the recipe, which was tuned on other data"

OTHERS = (
    "Evaluate it on others; or evaluate the detections.json that tools/postprocess.py wrote beside it, in which each exam was processed by what other patients "
    "gave."
)
OPTIMISTIC = f"The recipe was tuned on these very exams, so that the figures are optimistic. {OTHERS}"
"""Warning."""

OF_UNKNOWN_ORIGIN = (
    "The recipe does not say on which exams it was tuned. If on these, the figures are optimistic; tools/postprocess.py writes it down."
)
OF_OTHERS_AS_A_WHOLE = (
    "The recipe was made by an earlier pneumodet, which recorded its exams as a whole: it was not tuned on exactly these, but whether on some of them is "
    "not recorded. If so, the figures are optimistic. Make it again with tools/postprocess.py."
)
"""Warnings."""


def notes(plan: Recipe, exams: Iterable[str], *, of_file: bool, seen: Counted | None) -> list[str]:
    """Return what a reader has to know of the figures' post-processing, a sentence each.

    Args:
      plan: the post-processing.
      exams: that are evaluated.
      of_file: whether ``plan`` is of a recipe's file; otherwise it is the plain fusion of several models or views.
      seen: how many of the exams it was tuned on; None where its file does not say.
    """
    if not of_file:
        return [ensembles.untuned(plan)] if plan.sources > 1 else []
    sentences = []
    if seen is not None:
        if seen.tuned:
            whole = seen.tuned.exams == seen.exams
            sentences.append(OPTIMISTIC if whole else " ".join([*seen.sentences("tuned")[:1], OTHERS]))
    elif plan.exams_sha256 is None:
        sentences.append(OF_UNKNOWN_ORIGIN)
    else:
        sentences.append(OPTIMISTIC if plan.exams_sha256 == recipes.fingerprint(exams) else OF_OTHERS_AS_A_WHOLE)
    if plan.cuts:
        parts = [f"boxes that score below {plan.score_threshold:.4g}"] * (plan.score_threshold > 0)
        parts += [f"all boxes of exams whose image-level score is below {plan.gate_threshold:.4g}"] * (plan.gate == "drop")
        sentences.append(
            f"The recipe drops {' and '.join(parts)}: AP, FROC and AUC are of the list that is left, and end where it ends. They do not compare "
            "with those of a full list."
        )
    return sentences


def threshold(*, given: float | None, of_model: float | None, of_recipe: float | None) -> tuple[float | None, str]:
    """Return the threshold to evaluate at, None to cross-fit, and where it is from; that of a recipe or model has to be of other data.

    Args:
      given: by the user.
      of_model: the model's own, where it was chosen on other exams.
      of_recipe: the recipe's, where it was tuned on other exams and no other model is compared, whose scores have another scale; 0 where it
        has none.
    """
    if given is not None:
        return given, summary.GIVEN
    if of_model is not None:
        return of_model, FROM_MODEL
    if of_recipe:
        return of_recipe, FROM_RECIPE
    return None, summary.GIVEN
