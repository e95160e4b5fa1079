"""Freezing: which variables are trained.

    frozen = freeze(model, ["backbone"], train_config=config.train_config)
    trainer = Trainer(model, config, strategy, trained=frozen.trained)
    frozen.sentence()                                   # "156 of 204 trainable variables are frozen, and 52 batch normalizations with them"

A frozen variable is kept out of the gradient. The running mean and variance of a batch normalization are no trainable variables and would
drift all the same: a batch normalization all of whose variables are frozen is run as in inference.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pneumodet.core import suggest
from pneumodet.core.errors import ConfigError

REGULAR_EXPRESSION = "re:"
"""Start of a pattern that is a regular expression; any other is a glob."""

_NEAREST = 3
"""How many names a message offers for a pattern that matches nothing."""

_STEM = re.compile(r"(?:^|/)(?:Conv1|bn_Conv1|expanded_conv|conv1_(?:conv|bn)|stem_(?:conv2d|bn))(?=[/_])")
"""Layers of a backbone before its first stage: MobileNetV2's, ResNet V1's and EfficientNet's own names."""


_EARLY = re.compile(_STEM.pattern + r"|(?:^|/)(?:block_[1-5]_|conv[23]_block\d|stack_[0-2]/)")
"""The same and the stages up to a stride of 8: edges and textures, which a backbone trained on other images has learned already."""


@dataclasses.dataclass(frozen=True)
class Frozen:
    """What was frozen.

    Attributes:
      trained: the variables still to train, in the model's order.
      names: of the frozen ones.
      of: number of trainable variables before.
      batch_norms: batch normalizations that run as in inference now.
    """

    trained: tuple[tf.Variable, ...]
    names: tuple[str, ...]
    of: int
    batch_norms: int

    @property
    def count(self) -> int:
        """Number of frozen variables."""
        return len(self.names)

    def sentence(self) -> str:
        """Return it as a sentence for the user."""
        return f"{self.count} of {self.of} trainable variables are frozen, and {self.batch_norms} batch normalizations with them"


def freeze(model: Any, patterns: Sequence[str], *, train_config: Any = None) -> Frozen:
    """Choose the variables to train; to be called once, before a training step is traced.

    Args:
      model: a DetectionModel of the API with all its variables.
      patterns: of variables to freeze: "backbone"; "stem", the backbone up to its first stage; "early", up to a stride of 8; a glob for the whole name
        ("block_?_*/kernel"); or "re:" and a regular expression that matches anywhere in it. Names are without their ":0".
      train_config: its freeze_variables and update_trainable_variables are honoured as the API's TensorFlow 1 loop did it
        (``slim.filter_variables``): regular expressions that match anywhere in the name, which has its ":0" there. Its TensorFlow 2 loop
        ignores both.

    Returns:
      What is trained and what is not.

    Raises:
      ConfigError: a pattern matches nothing or is no regular expression, or nothing is left to train.
    """
    variables = list(model.trainable_variables)
    names = {id(variable): _name(variable) for variable in variables}
    held: set[int] = set()
    for pattern in patterns:
        held |= _matching(_rule(pattern, model), pattern, names, where="--freeze")
    if train_config is not None:
        kept: set[int] = set()
        full = {id(variable): variable.name for variable in variables}
        for key, chosen in (("update_trainable_variables", kept), ("freeze_variables", held)):
            for pattern in getattr(train_config, key):
                chosen |= _matching(_rule(REGULAR_EXPRESSION + pattern, model), pattern, full, where=f"train_config.{key}")
        # update_trainable_variables names what is trained, and all else is frozen
        if kept:
            held |= set(names) - kept
    trained = tuple(variable for variable in variables if id(variable) not in held)
    if not trained:
        raise ConfigError(f"All {len(variables)} trainable variables are frozen. Leave some to train: freeze 'backbone' or 'stem' only.")
    # after all patterns: only now is it known which normalizations are frozen as a whole
    batch_norms = _run_batch_norms_as_in_inference(model, held)
    return Frozen(trained, tuple(names[key] for key in names if key in held), len(variables), batch_norms)


def _name(variable: tf.Variable) -> str:
    return variable.name.rpartition(":")[0] or variable.name


def _rule(pattern: str, model: Any) -> Callable[[int, str], bool]:
    """Return (id, name of a variable) -> whether a pattern of --freeze means it."""
    if pattern in ("backbone", "early", "stem"):
        inside = {id(variable) for variable in _backbone(model).variables}
        if pattern == "backbone":
            return lambda key, name: key in inside
        part = _STEM if pattern == "stem" else _EARLY
        return lambda key, name: key in inside and part.search(name) is not None
    if pattern.startswith(REGULAR_EXPRESSION):
        text = pattern.removeprefix(REGULAR_EXPRESSION)
        try:
            search = re.compile(text).search
        except re.error as error:
            raise ConfigError(
                f"{text!r} is no regular expression: {error}. A glob such as 'block_1_*' is given to --freeze without 're:'."
            ) from error
        return lambda key, name: search(name) is not None
    return lambda key, name: fnmatch.fnmatchcase(name, pattern)


def _matching(rule: Callable[[int, str], bool], pattern: str, names: dict[int, str], *, where: str) -> set[int]:
    matching = {key for key, name in names.items() if rule(key, name)}
    if not matching:
        near = suggest.several(pattern.removeprefix(REGULAR_EXPRESSION), names.values(), count=_NEAREST)
        raise ConfigError(f"{where}: {pattern!r} matches none of the {len(names)} trainable variables. Nearest: {', '.join(near)}.")
    return matching


def _backbone(model: Any) -> Any:
    backbone = getattr(getattr(model, "_feature_extractor", None), "classification_backbone", None)
    if backbone is None:
        raise ConfigError(f"--freeze: {type(model).__name__} has no backbone by that name. Freeze by a glob of variable names.")
    return backbone


def _run_batch_norms_as_in_inference(model: Any, held: set[int]) -> int:
    """Switch off training in the batch normalizations all of whose trainable variables are held; return how many."""
    count = 0
    for thing in tf.train.TrackableView(model).descendants():
        if isinstance(thing, tf.keras.layers.Layer) and hasattr(thing, "moving_mean"):  # of several classes, two of them the API's
            own = {id(variable) for variable in thing.trainable_variables}
            if own and own <= held:
                thing.trainable = False  # Keras 2's own then go by the running mean and variance, whatever ``training`` says
                if hasattr(thing, "_training"):
                    thing._training = False  # the API's FreezableBatchNorm is of an older class, and this is its switch
                count += 1
    return count
