"""Recipes of training: a config's settings as another source has them, merged into it. TensorFlow is not needed.

    recipe = load("stock", "ssd_mobilenet")                 # configs/stock/ssd_mobilenet.config
    apply(config, recipe)                                   # before flags and --set, which have the last say
    augmentation = augmentation_of(config)                  # what its data_augmentation_options mean, for tools/train.py

``stock`` is the model zoo's own. Recipes of post-processing (recipe.json) are another thing: ``inference.postprocess.recipe``.
"""

import dataclasses
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from pneumodet.core import paths, suggest
from pneumodet.core.errors import ConfigError
from pneumodet.models.detection import field_paths, odapi
from pneumodet.models.detection.choices import RECIPES
from pneumodet.models.detection.odapi import Config, Message
from pneumodet.models.inputs.augmentation_settings import Augmentation

_SSD_HOLDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Shares of a box, of which the API's ``ssd_random_crop`` draws one for each crop (Liu et al., SSD, ECCV 2016, arXiv:1512.02325)."""


def names(recipe: str) -> list[str]:
    """Return the names of the configs that have a recipe."""
    return sorted(path.stem for path in (paths.CONFIG_DIR / recipe).glob("*.config"))


def load(recipe: str, config: str) -> Config:
    """Return what a recipe has otherwise than a config of configs/.

    Args:
      recipe: one of ``choices.RECIPES``.
      config: name of the config, or the path of its file.

    Returns:
      A TrainEvalPipelineConfig with these fields alone.

    Raises:
      ConfigError: there is no such recipe, or the config has none.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"--recipe: there is no {recipe!r}. {suggest.sentence(recipe, RECIPES)}")
    path, by_path = Path(config), config.endswith(".config")
    file = paths.CONFIG_DIR / recipe / (path.name if by_path else f"{config}.config")
    # a file elsewhere may be called the same and be another one
    if (by_path and path.resolve().parent != paths.CONFIG_DIR.resolve()) or not paths.is_file(file):
        raise ConfigError(
            f"--recipe {recipe}: the config {config} has no such recipe; {' and '.join(names(recipe))} have one. Leave --recipe out, or set fields by --set."
        )
    return text_format.Parse(file.read_text(encoding="utf-8"), odapi.protos().pipeline.TrainEvalPipelineConfig())


def apply(config: Config, recipe: Config) -> None:
    """Give a config what a recipe has otherwise; lists are replaced, not appended to."""
    _clear_lists(config, recipe)
    config.MergeFrom(recipe)


def _clear_lists(config: Message, recipe: Message) -> None:
    for field, value in recipe.ListFields():
        if field_paths.is_repeated(field):
            config.ClearField(field.name)
        elif field.message_type is not None:
            _clear_lists(getattr(config, field.name), value)


def augmentation_of(config: Config) -> Augmentation:
    """Return what a config's data_augmentation_options do, as tools/train.py does it; of the API's operations flips and crops are known here.

    Raises:
      ConfigError: it has another operation, or one with settings that have no counterpart.
    """
    made = Augmentation()
    for option in config.train_config.data_augmentation_options:
        kind = option.WhichOneof("preprocessing_step")
        operation = getattr(option, kind) if kind else None
        fields = {"random_horizontal_flip": _flip, "ssd_random_crop": _ssd_crop, "random_crop_image": _crop}.get(kind, _unknown)(operation)
        if fields is None or (made.crop and "crop" in fields):
            raise ConfigError(
                f"train_config.data_augmentation_options: {str(option).strip()!r} has no counterpart in tools/train.py, which knows random_horizontal_flip, "
                "ssd_random_crop without operations, and one random_crop_image whose min_object_covered is its overlap_thresh. Give --augmentation."
            )
        made = dataclasses.replace(made, **fields)
    return made


_Fields = dict[str, Any] | None


def _flip(operation: Message) -> _Fields:
    return {"flip": operation.probability}


def _ssd_crop(operation: Message) -> _Fields:
    # as the API's function has it where the config gives no operations
    return None if operation.operations else {"crop": 0.85, "crop_area": (0.1, 1.0), "crop_aspect": (0.5, 2.0), "crop_holds": _SSD_HOLDS}


def _crop(operation: Message) -> _Fields:
    if operation.min_object_covered != operation.overlap_thresh or not operation.clip_boxes:
        return None
    return {
        "crop": 1.0 - operation.random_coef,
        "crop_area": (operation.min_area, operation.max_area),
        "crop_aspect": (operation.min_aspect_ratio, operation.max_aspect_ratio),
        "crop_holds": (operation.overlap_thresh,),
    }


def _unknown(operation: Message) -> _Fields:
    return None
