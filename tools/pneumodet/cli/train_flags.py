"""Flags of the training commands: what means the same has one name, type and text, and takes defaults and choices from the settings' dataclasses.

groups = train_flags.add(parser, ClassifierSettings, configs="configs/classification/", pretrained="imagenet, none, or a file")
groups.how.add_argument(...)                   # a command's own flags, beside those that all have
given = train_flags.given(args, ("task", *train_flags.SHARED))

A flag that is not given is None: the config decides, or the dataclass that the help names.
"""

import argparse
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from pneumodet.cli import console
from pneumodet.models.detection.choices import RECIPES
from pneumodet.models.inputs import augmentation_settings
from pneumodet.models.options import TRACKERS, Options, Plan

SHARED = (
    "pretrained",
    "steps",
    "batch_size",
    "learning_rate",
    "augmentation",
    "positive_share",
    "seed",
    "skip_corrupt",
    *(field.name for field in dataclasses.fields(Plan)),
)
"""Flags of all three commands that are settings of the same name."""


@dataclasses.dataclass(frozen=True)
class Groups:
    """The parser's groups, for a command's own flags.

    Attributes:
      what, start, how, pauses: config, data and run; weights; training; when it evaluates, saves and stops.
    """

    what: Any
    start: Any
    how: Any
    pauses: Any


def add(
    parser: console.Parser,
    plan: type[Plan],
    *,
    configs: str,
    pretrained: str,
    data: str = "record set from make_tfrecords",
    run: str = "name of the run: its folder in workspace/",
    batch_size: Callable[[str], Any] = console.positive_int,
    batch_help: str = "images a step",
    defaults_of_config: bool = True,
) -> Groups:
    """Add what all training commands have.

    Args:
      parser: the command's.
      plan: has the defaults and choices.
      configs: where configs by name lie, and of which kind a path is.
      pretrained: what --pretrained takes.
      data, run: help of the flags.
      batch_size: type of --batch-size.
      batch_help: its help.
      defaults_of_config: whether a config may hold these settings, too, so that the defaults are those of a config that does not.
    """
    what = parser.add_argument_group("what")
    what.add_argument("--config", help=f"name of a config in {configs}")
    what.add_argument("--data", type=console.existing_dir, help=data)
    what.add_argument("--run", required=True, help=run)
    what.add_argument("--log-to", choices=TRACKERS, help="send the figures there, too; its package has to be installed")
    what.add_argument("--resume", action="store_true", help="continue from the run's newest checkpoint, exactly where it was")

    start = parser.add_argument_group("where it starts from")
    start.add_argument("--pretrained", metavar="FROM", help=pretrained)

    # the help names the dataclass's defaults, which a config may override
    note = "Defaults hold where the config does not say otherwise." if defaults_of_config else None
    how = parser.add_argument_group("how it trains", note)
    how.add_argument(
        "--steps", type=console.positive_int, help="in all; the learning-rate schedule is stretched with it (default: the config's)"
    )
    how.add_argument("--batch-size", type=batch_size, help=f"{batch_help} (default: the config's)")
    how.add_argument("--learning-rate", type=console.positive_float, help="peak of the learning-rate schedule (default: the config's)")
    add_samples(how)
    how.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="any field of the config; repeatable")
    how.add_argument("--seed", type=int, help=f"of weights, order and augmentation (default {Options.seed})")
    how.add_argument("--skip-corrupt", action="store_true", help="leave corrupt records out, and count them")

    pauses = _pauses(parser, plan, note)
    return Groups(what, start, how, pauses)


def add_samples(group: Any) -> None:
    """Add what is drawn from the records, and how it is varied."""
    presets = ", ".join(augmentation_settings.PRESETS)
    group.add_argument(
        "--augmentation",
        metavar="NAME",
        help=f"{presets}, or a .json file with ranges (default {augmentation_settings.DEFAULT})",
    )
    group.add_argument(
        "--positive-share",
        type=console.fraction,
        help="share of radiographs with pneumonia among the samples; 0: as in the records",
    )


def add_freezing(group: Any) -> None:
    """Add which variables of a detector are not trained."""
    group.add_argument(
        "--freeze",
        action="append",
        metavar="PATTERN",
        help="do not train: none, stem, early (to stride 8), backbone, or a pattern of names; repeatable",
    )


def add_anchors(group: Any) -> None:
    """Add whether a detector's anchors are fitted."""
    group.add_argument(
        "--fit-anchors",
        action=argparse.BooleanOptionalAction,
        help="fit the anchors' scales and aspect ratios to the training set's boxes",
    )


def add_recipe(group: Any) -> None:
    """Add the settings of another source that a detector is trained with."""
    group.add_argument(
        "--recipe",
        choices=RECIPES,
        help="stock: as the model zoo trains this config, without what is changed for radiographs and small sets; other flags and --set win over it "
        "(no recipe.json, which is what follows a detector)",
    )


def _pauses(parser: console.Parser, plan: type[Plan], note: str | None) -> Any:
    """Add the flags of when a run evaluates, saves and stops; arguments as ``add``."""
    pauses = parser.add_argument_group("when it evaluates, saves and stops", note)
    pauses.add_argument(
        "--evaluate-every",
        type=console.whole_number,
        metavar="STEPS",
        help="steps from one evaluation to the next; 0 for never (default: ten evaluations a run)",
    )
    pauses.add_argument(
        "--best-metric",
        choices=plan.METRICS,
        metavar="METRIC",
        help=f"by which the best checkpoint is kept: {', '.join(plan.METRICS)} (default {plan.best_metric})",
    )
    pauses.add_argument(
        "--patience",
        type=console.whole_number,
        metavar="N",
        help="stop after N evaluations without a better one; 0 for never (the default)",
    )
    pauses.add_argument(
        "--checkpoint-every",
        type=console.positive_int,
        metavar="STEPS",
        help=f"steps from one checkpoint to the next (default {plan.checkpoint_every})",
    )
    pauses.add_argument(
        "--keep", type=console.positive_int, metavar="N", help=f"newest checkpoints that stay, beside the best (default {plan.keep})"
    )
    return pauses


def given(args: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """Return ``KEY=VALUE`` of the flags that were given; a switch is given as true."""
    # flags that were not given stay out, or argparse's None would override the config
    values = ((name, getattr(args, name)) for name in names)
    return [f"{name}={'true' if value is True else value}" for name, value in values if value is not None and value is not False]
