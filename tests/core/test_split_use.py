"""What figures are called, and what is said of the choice of a checkpoint."""

import dataclasses

import pytest

from pneumodet.core import metrics_table, split_use
from pneumodet.core.metrics_table import VALIDATION, MetricsTable, Row
from pneumodet.core.split_use import Choice

BEST_OF_3 = Choice(compared=3, metric="rsna_metric", best=0.125, best_step=200, last=0.078, last_step=1300)


def table(folder, *values):
    """Write metrics.csv with an evaluation of each value, at steps 100, 200 and so on."""
    written, best = MetricsTable(folder / metrics_table.FILE), None
    for number, value in enumerate(values, start=1):
        better = value is not None and (best is None or value > best)
        best = value if better else best
        written.add(Row(100 * number - 50, "train", number, None, {"loss/total": 1.0}))
        written.add(Row(100 * number, VALIDATION, number, better, {"rsna_metric": value, "image.roc_auc": 0.5}))
    return folder


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param((0.1, 0.125, 0.078), (3, 0.125, 200, 0.078, 300), id="best in the middle"),
        pytest.param((0.1, 0.2), (2, 0.2, 200, 0.2, 200), id="best is the last"),
        pytest.param((0.1,), (1, 0.1, 100, 0.1, 100), id="one"),
        pytest.param((None, None), (2, None, None, None, 200), id="undefined"),
        pytest.param((0.1, None), (2, 0.1, 100, None, 200), id="last undefined"),
    ],
)
def test_the_choice_is_read_of_metrics_csv(tmp_path, values, expected):
    choice = Choice.of_run(table(tmp_path, *values), "rsna_metric")
    assert (choice.compared, choice.best, choice.best_step, choice.last, choice.last_step) == expected


def test_a_run_without_evaluations_has_none(tmp_path):
    assert Choice.of_run(tmp_path, "rsna_metric") == Choice(metric="rsna_metric")
    assert Choice.of_run(table(tmp_path, 0.1, 0.2), None).best is None


def test_what_figures_are_called():
    facts = BEST_OF_3.facts("val", test_exams=9)
    assert split_use.figures_on(facts) == (
        "validation, used to choose this checkpoint, the best of 3 (rsna_metric 0.1250 at step 200; 0.0780 at the last, step 1,300)"
    )
    assert split_use.warning(facts) == (
        "These exams chose the checkpoint, the best of 3, so that its figures on them are too good. "
        "For figures to be published, evaluate the model that you choose once on test: --split test."
    )
    assert "make the records with a test split" in split_use.warning(BEST_OF_3.facts("val"))
    assert Choice.of_facts(facts) == BEST_OF_3
    for split, name in (
        ("test", "test: exams that nothing was chosen on"),
        ("train", "training: exams that the model learned from"),
        (None, None),
    ):
        facts = BEST_OF_3.facts(split, test_exams=9)
        assert split_use.figures_on(facts) == name
        assert split_use.warning(facts) is None
        assert facts["checkpoint_chosen_of"] is None


@pytest.mark.parametrize(
    ("corrected", "luck"),
    [pytest.param(0.11, True, id="less"), pytest.param(0.12498, False, id="the same to the digits"), pytest.param(0.13, False, id="more")],
)
def test_no_luck_and_too_good_are_not_said_at_once(corrected, luck):
    """With few patients the estimate equals the best figure, which a warning called too good in the same sentence."""
    facts = dataclasses.replace(BEST_OF_3, corrected=corrected).facts("val", test_exams=9)
    text = split_use.figures_on(facts)
    assert (f"; {corrected:.4f} on patients without a part in the choice)" in text) == luck
    assert ("; these exams do not show how much of it is luck)" in text) != luck
    assert "luck" not in split_use.warning(facts) and "0.1" not in split_use.warning(facts), "once in what a command prints"
    assert ("are too good" in split_use.warning(facts)) == luck
    assert ("may be too good" in split_use.warning(facts)) != luck


def test_one_checkpoint_was_not_chosen():
    facts = Choice(compared=1, metric="rsna_metric", best=0.1, best_step=9, last=0.1, last_step=9).facts("val", test_exams=9)
    assert split_use.figures_on(facts) == "validation; no other checkpoint was compared on it"
    assert split_use.warning(facts) is None


def test_files_of_earlier_versions_say_less():
    assert split_use.figures_on({"checkpoint_chosen_of": 10}) is None
    assert split_use.warning({"checkpoint_chosen_of": 10}).startswith("These exams chose the checkpoint, the best of 10, so that")
