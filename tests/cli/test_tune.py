"""The command tune, as it is typed, with a trainer that trains nothing."""

import functools
import os

import made
import pytest
import rising_scores

from pneumodet.cli import tune
from pneumodet.core.errors import DataError
from pneumodet.training.tuning import charts, search, study


@pytest.fixture
def records(tmp_path):
    (tmp_path / "records").mkdir()
    return made.manifest(tmp_path / "records")


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path / "workspace"))
    # that takes longer than these studies; training/tuning/test_tuning_report.py draws it
    monkeypatch.setattr(charts, "draw", lambda path, *_, **__: path.write_bytes(b"\x89PNG"))
    monkeypatch.setattr(search, "search", functools.partial(search.search, trainer=rising_scores.trains))
    return tmp_path / "workspace"


def test_a_study(records, workspace, capsys):
    arguments = ["--config", "ssd_mobilenet", "--data", str(records), "--study", "mine", "--steps", "100", "--param", "batch_size=4,8,16"]
    assert tune.main([*arguments, "--trials", "2"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split()[:7] == ["trial", "0", "complete", "0.0800", "at", "step", "100"]
    assert lines[0].endswith("the config's own: batch_size 8")
    assert lines[1].startswith("trial    1  complete ")
    assert lines[3].split() == ["trial", "state", "rsna_metric", "step", "seconds", "values"]
    assert captured.err == ""

    assert tune.main([*arguments, "--trials", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 trials were done before."
    assert [line.split()[2] for line in lines[4:7]] == ["0.1600", "0.0800", "0.0400"], "the best first"
    assert lines[7].endswith("rsna_metric 0.1600 at step 100 (the config's own values: 0.0800)")
    assert lines[8] == "Weight:  batch_size 100% (PED-ANOVA importance)"
    assert lines[9].startswith("Note:    The best value is the highest of 3 on one validation split, and therefore optimistic")
    assert lines[10] == "Note:    Importances from 3 complete trials mean little; 10 are the least."
    assert lines[11] == f"Written: {workspace / 'mine' / 'table.csv'}, best.json, report.png"
    wanted = f"--config ssd_mobilenet --data {records} --run mine-best --steps 400 --batch-size 16 --positive-share 0.0"
    wanted += " --best-metric rsna_metric --seed 0 --freeze none --no-fit-anchors"
    assert lines[12] == f"Next:    python tools/train.py {wanted}"
    assert lines[13].startswith("         (its --steps are 4 times those of a trial")
    assert sorted(os.listdir(workspace / "mine")) == [".lock", "best.json", "logs", "report.png", "study.db", "study.json", "table.csv"]


def test_the_flags_of_small_sets(records, workspace, monkeypatch):
    """As train has them, for all trials."""
    plans = []

    def stopped(plan, **_):
        plans.append(plan)
        raise DataError("Seen.")

    monkeypatch.setattr(search, "search", stopped)
    arguments = ["--config", "ssd_mobilenet", "--data", str(records), "--study", "mine", "--steps", "100"]
    small = "--freeze early --freeze stem --fit-anchors --augmentation radiograph-flip --positive-share 0.5"
    assert tune.main([*arguments, *small.split()]) == 2
    (plan,) = plans
    assert (plan.freeze, plan.fit_anchors, plan.augmentation, plan.positive_share) == (("early", "stem"), True, "radiograph-flip", 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--param", "batch_size=4"], "--param batch_size: '4' is a single value", id="param"),
        pytest.param(["--config", "ssd_mobilnet"], "did you mean 'ssd_mobilenet'", id="config"),
    ],
)
def test_errors_are_one_line(records, workspace, capsys, arguments, message):
    given = ["--config", "ssd_mobilenet", "--data", str(records), "--study", "mine", "--steps", "100"]
    assert tune.main([*given, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not workspace.exists()


def test_ctrl_c_tells_how_to_go_on(records, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt("Finished trials are kept; the same command goes on.")

    monkeypatch.setattr(search, "search", stopped)
    assert tune.main(["--config", "ssd_mobilenet", "--data", str(records), "--study", "mine", "--steps", "100"]) == 130
    assert capsys.readouterr().err == "\ntune: stopped by Ctrl-C. Finished trials are kept; the same command goes on.\n"


def test_the_metrics_offered_are_those_of_a_study():
    (action,) = [one for one in tune.build_parser()._actions if one.dest == "metric"]
    assert action.choices == study.METRICS
