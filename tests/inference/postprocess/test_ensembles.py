"""Which models and views belong to a recipe, and what is done without one."""

import numpy as np
import pytest

from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.inference.postprocess import ensembles, recipe
from pneumodet.inference.postprocess.recipe import Recipe

TWO_BY_TWO = Recipe(sources=4, views=("identity", "flip"), fusion="wbf", fusion_iou=0.4, score_threshold=0.1)


@pytest.fixture
def path(tmp_path):
    recipe.save(tmp_path / "recipe.json", TWO_BY_TWO)
    return tmp_path / "recipe.json"


@pytest.mark.parametrize(
    ("models", "tta", "expected", "text"),
    [
        pytest.param(1, None, Recipe(), "1 model", id="nothing to fuse"),
        pytest.param(1, "identity", Recipe(), "1 model", id="identity alone"),
        pytest.param(2, None, Recipe(sources=2, fusion="wbf"), "2 models", id="models"),
        pytest.param(
            1, "flip", Recipe(sources=2, views=("identity", "flip"), fusion="wbf"), "1 model in 2 views (identity, flip)", id="views"
        ),
        pytest.param(
            3, "flip", Recipe(sources=6, views=("identity", "flip"), fusion="wbf"), "3 models, each in 2 views (identity, flip)", id="both"
        ),
    ],
)
def test_without_a_recipe(models, tta, expected, text):
    plan = ensembles.planned(None, models=models, tta=tta)
    assert plan == expected
    assert ensembles.described(plan) == text


def test_defaults_are_said():
    assert ensembles.untuned(ensembles.planned(None, models=1, tta="flip")) == (
        "No recipe was given: 1 model in 2 views (identity, flip) was fused by weighted boxes fusion at IoU 0.55, which nothing was tuned for. "
        "Make a recipe with python tools/postprocess.py."
    )


def test_a_recipe_brings_its_views(path):
    assert ensembles.planned(path, models=2) == ensembles.planned(path, models=2, tta="flip") == TWO_BY_TWO


def test_what_does_not_fit(path):
    with pytest.raises(
        ConfigError, match=r"--tta asks for the views identity, scale=0.9, but .*recipe.json was made with identity, flip\. Leave"
    ):
        ensembles.planned(path, models=2, tta="scale=0.9")
    for models in (1, 3, 4):
        with pytest.raises(DataError, match=rf"recipe.json takes 2 models, but got {models}\."):
            ensembles.planned(path, models=models)


def test_fused_in_the_order_of_models_and_views():
    """One model finds a box in both views, the other nothing: half of the score, and the mean of the boxes."""
    both = [{"e": Detections([box], [0.8], [2])} for box in ([0, 0, 10, 10], [0, 0, 10, 12])]
    fused = recipe.apply(ensembles.planned(None, models=2, tta="flip"), [*both, *[{"e": Detections.none()}] * 2], category_id=2)["e"]
    assert fused.scores.tolist() == pytest.approx([0.4])
    np.testing.assert_allclose(fused.boxes_xyxy_px, [[0, 0, 10, 11]], atol=1e-5)
