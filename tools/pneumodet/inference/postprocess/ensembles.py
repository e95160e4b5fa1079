"""Which models are run on which views, and how their detections are put together: by a recipe, or without one at stated defaults.

plan = planned(recipe_path, models=2, tta=None)            # a Recipe
sets = [one for detector in detectors for one in views.detect(detector.detect, pixels, plan.views)]
fused = recipe.apply(plan, [{exam: one} for one in sets], category_id=2)
"""

from pathlib import Path

from pneumodet.core import invocation
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.formatting import counted
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess import views
from pneumodet.inference.postprocess.recipe import Recipe


def planned(path: Path | None, *, models: int, tta: str | None = None) -> Recipe:
    """Return what is done with the detections of some models: the recipe of a file, or without one weighted boxes fusion at its defaults.

    Args:
      path: recipe.json, or None.
      models: how many models there are.
      tta: views as ``views.parse`` takes them; None for those of the recipe, or for the radiograph alone.

    Raises:
      DataError: the recipe cannot be read, or takes another number of models.
      ConfigError: the recipe or the views are malformed, or the recipe has other views.
    """
    names = None if tta is None else views.parse(tta)
    if path is None:
        names = names or views.ONLY_IDENTITY
        sources = models * len(names)
        # what comes of one source alone is Recipe(), by which prediction knows that the model's calibrator fits
        return Recipe(sources=sources, views=names, fusion="wbf" if sources > 1 else "pool")
    recipe = recipes.load(path)
    # thresholds of a recipe were chosen on its own views, and do not hold for others
    if names is not None and names != recipe.views:
        raise ConfigError(
            f"--tta asks for the views {', '.join(names)}, but {path} was made with {', '.join(recipe.views)}. "
            "Leave --tta out, and the recipe's own are taken; or make a recipe with the others by tools/postprocess.py."
        )
    if models != recipe.models:
        raise DataError(f"The recipe {path} takes {counted(recipe.models, 'model')}, but got {models}. Give as many as it was made with.")
    return recipe


def described(recipe: Recipe) -> str:
    """Return as text what is fused: ``2 models, each in 3 views (identity, flip, scale=0.9)``."""
    seen = "" if recipe.views == views.ONLY_IDENTITY else f" in {len(recipe.views)} views ({', '.join(recipe.views)})"
    return counted(recipe.models, "model") + (", each" if seen and recipe.models > 1 else "") + seen


def untuned(recipe: Recipe) -> str:
    """Return the sentence that describes ``planned`` without a recipe."""
    return (
        f"No recipe was given: {described(recipe)} {'were' if recipe.models > 1 else 'was'} fused by weighted boxes fusion at IoU "
        f"{recipe.fusion_iou:g}, which nothing was tuned for. Make a recipe with {invocation.command('postprocess')}."
    )


def refuse_views(recipe: Recipe, path: Path) -> None:
    """Refuse a recipe with views where there are detections only.

    Raises:
      ConfigError: the recipe has more views than the radiograph itself.
    """
    if recipe.views != views.ONLY_IDENTITY:
        raise ConfigError(
            f"The recipe {path} has the views {', '.join(recipe.views)}, which need the detector itself and not its detections. "
            "Use tools/evaluate.py --run or --model, or tools/predict.py, with this --recipe."
        )
