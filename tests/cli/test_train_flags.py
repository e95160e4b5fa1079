"""The three training commands: one name, type and text for what means the same, and defaults of the dataclasses alone."""

import ast
import dataclasses
from pathlib import Path

import pytest

from pneumodet.cli import train, train_classifier, train_flags, train_segmenter
from pneumodet.evaluation import main_figures
from pneumodet.models.classification.settings import IMBALANCES, SMALLEST_SIDE, TASKS, ClassifierSettings
from pneumodet.models.detection.choices import PRECISIONS
from pneumodet.models.inputs import augmentation_settings
from pneumodet.models.options import Options, Plan
from pneumodet.models.segmentation.settings import SegmenterSettings

COMMANDS = {train: Plan, train_classifier: ClassifierSettings, train_segmenter: SegmenterSettings}

OWN_TEXT = {"config", "data", "run", "pretrained", "batch_size", "best_metric"}
"""Flags whose help names what only one command has."""


def flags(command):
    return {one.dest: one for one in command.build_parser()._actions}


@pytest.mark.parametrize("dest", ["config", "data", "run", "resume", "settings", *train_flags.SHARED])
def test_a_shared_flag_is_the_same_in_all_commands(dest):
    first, *others = [flags(command)[dest] for command in COMMANDS]
    for other in others:
        assert other.option_strings == first.option_strings
        assert (type(other), other.nargs, other.metavar, other.required) == (type(first), first.nargs, first.metavar, first.required)
        assert other.default == first.default
        if dest != "batch_size":  # auto is a detector's alone
            assert other.type is first.type
        if dest not in OWN_TEXT:
            assert other.help == first.help


@pytest.mark.parametrize(("command", "plan"), COMMANDS.items(), ids=["train", "train_classifier", "train_segmenter"])
def test_defaults_and_choices_are_those_of_the_dataclass(command, plan):
    result = flags(command)
    assert tuple(result["best_metric"].choices) == plan.METRICS
    wanted = {
        field.name: getattr(plan, field.name) for field in dataclasses.fields(Plan) if field.name not in ("evaluate_every", "patience")
    }
    wanted |= {"seed": Options.seed, "augmentation": augmentation_settings.DEFAULT}
    for name, value in wanted.items():
        assert result[name].default is None, "the library decides"
        assert result[name].help.endswith(f"(default {value})")
    assert plan.patience == 0 and "0 for never (the default)" in result["patience"].help


def test_choices_of_one_command_are_the_librarys():
    result = flags(train_classifier)
    assert [tuple(result[name].choices) for name in ("backbone", "task", "imbalance")] == [tuple(SMALLEST_SIDE), TASKS, IMBALANCES]
    assert tuple(flags(train)["precision"].choices) == PRECISIONS


def test_no_default_of_a_dataclass_is_written_in_a_command_again():
    """A number or a name there would be a second truth."""
    figures = {key for named in main_figures.BY_FAMILY.values() for key in named}  # that are printed
    written = {value for settings in COMMANDS.values() for value in settings.METRICS} | {500, 3}
    for command in (*COMMANDS, train_flags):
        constants = {node.value for node in ast.walk(ast.parse(Path(command.__file__).read_text())) if isinstance(node, ast.Constant)}
        assert not {one for one in constants & written if one is not True} - figures


@pytest.mark.parametrize("command", [train_classifier, train_segmenter], ids=["train_classifier", "train_segmenter"])
def test_what_is_given_is_a_setting(command):
    given = ["--run", "x", "--evaluate-every", "60", "--patience", "0", "--checkpoint-every", "20", "--keep", "1", "--seed", "4"]
    given += ["--skip-corrupt", "--positive-share", "0.5", "--augmentation", "none", "--best-metric", COMMANDS[command].METRICS[-1]]
    assert set(command.overrides(command.build_parser().parse_args(given))) == {
        *("evaluate_every=60", "patience=0", "checkpoint_every=20", "keep=1", "seed=4"),
        *("skip_corrupt=true", "positive_share=0.5", "augmentation=none", f"best_metric={COMMANDS[command].METRICS[-1]}"),
    }


def test_every_shared_flag_is_a_setting_of_each_family():
    from pneumodet.training.families.detection_request import Request

    for settings in (ClassifierSettings, SegmenterSettings, Request):
        assert set(train_flags.SHARED) <= {field.name for field in dataclasses.fields(settings)}
