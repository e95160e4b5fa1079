"""A study's table, best.json, command and picture, from rows made by hand."""

import csv
import json
import shlex

import optuna
import pytest
from PIL import Image

from pneumodet.training.tuning import charts, report, trial
from pneumodet.training.tuning.report import Row

FIELDS = {
    "run": "/somewhere/study",
    "config": "my config.config",
    "data": "records",
    "steps": 4000,
    "seed": 5,
    "evaluate_every": None,
    "best_metric": "rsna_metric",
    "pretrained": None,
    "batch_size": 4,
    "learning_rate": 0.00123,
    "augmentation": None,
    "settings": ("a.b={c { d: 'x' }}", "e=1"),
}


def rows_of(count):
    """Return rows and the study they are of; the value depends on x, and not on y."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    rows = []
    for number in range(count):
        one = study.ask()
        values = {"x": one.suggest_float("x", 1e-3, 1, log=True), "y": one.suggest_categorical("y", ("4", "16", "8"))}
        study.tell(one, values["x"])
        rows.append(
            Row(number=number, state=trial.COMPLETE, values=values, value=values["x"], best_step=10, seconds=1.25, baseline=number == 0)
        )
    return rows, study


def write(folder, rows, study):
    return report.write(folder, rows, ["x", "y"], study=study, metric="rsna_metric", fields=FIELDS)


def test_files(tmp_path):
    rows, study = rows_of(12)
    rows += [
        Row(number=12, state=trial.FAILED, values={"x": 0.5, "y": "4"}, seconds=2.0, reason='It said "no, no".'),
        Row(number=13, state=report.CUT, values={"x": 0.5, "y": "4"}, reason="It was cut."),
    ]
    outcome = write(tmp_path / "my_study", rows, study)
    assert outcome.best.value == max(row.value for row in rows if row.value)
    assert outcome.baseline == rows[0]
    assert list(outcome.importances) == ["x", "y"], "the most important first"
    assert sum(outcome.importances.values()) == pytest.approx(1)
    assert outcome.importances["x"] > 0.7
    assert len(outcome.notes) == 1
    assert "the highest of 12 on one validation split, and therefore optimistic" in outcome.notes[0]

    table = list(csv.reader((tmp_path / "my_study" / "table.csv").read_text().splitlines()))
    assert table[0] == ["trial", "state", "value", "best_step", "seconds", "x", "y", "reason"]
    assert table[13] == ["12", "failed", "", "", "2.0", "0.5", "4", 'It said "no, no".']
    assert table[14] == ["13", "cut", "", "", "", "0.5", "4", "It was cut."]
    best = json.loads((tmp_path / "my_study" / "best.json").read_text())
    assert best["baseline_value"] == rows[0].value
    assert best["run"] == f"trial-{outcome.best.number:04d}"
    assert best["values"] == outcome.best.values
    with Image.open(tmp_path / "my_study" / "report.png") as picture:
        assert picture.format == "PNG"
    assert sorted(path.name for path in (tmp_path / "my_study").iterdir()) == ["best.json", "report.png", "table.csv"]


def test_few_trials_are_said_to_mean_little(tmp_path, charts_in_outline):
    assert write(tmp_path, *rows_of(9)).notes[1] == "Importances from 9 complete trials mean little; 10 are the least."
    assert write(tmp_path, *rows_of(1)).importances == {}


def test_command_is_one_that_a_shell_reads():
    arguments = shlex.split(report.command(FIELDS))
    assert arguments[:4] == ["python", "tools/train.py", "--config", "my config.config"]
    assert arguments[-4:] == ["--set", "a.b={c { d: 'x' }}", "--set", "e=1"]
    assert arguments[arguments.index("--learning-rate") + 1] == "0.00123"
    assert "None" not in arguments


def test_of_equal_trials_the_earlier_is_the_better():
    rows = [Row(number=number, state=trial.COMPLETE, values={}, value=value) for number, value in enumerate((0.1, 0.3, 0.3))]
    assert [row.number for row in report.ranked(rows)] == [1, 2, 0]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(
            [Row(number=0, state=trial.COMPLETE, values={}, value=0.1, baseline=True)], id="the config's own, not among the values"
        ),
        pytest.param([Row(number=0, state=trial.COMPLETE, values={"a.b.c": 1, "d": "x"}, value=0.0)], id="one trial, of no value"),
        pytest.param(
            [
                Row(number=0, state=trial.COMPLETE, values={"a.b.c": 1e-4, "d": "x" * 300}, value=0.1),
                Row(number=1, state=trial.FAILED, values={"a.b.c": 1.0, "d": "y"}, reason="r"),
                Row(number=2, state=trial.FAILED, values={"a.b.c": 0.5, "d": "y"}, reason="r", value=0.05),
                Row(number=3, state=report.CUT, values={"a.b.c": 0.5, "d": "y"}, reason="r"),
            ],
            id="all kinds",
        ),
    ],
)
def test_the_picture_of_odd_studies(tmp_path, rows):
    charts.draw(tmp_path / "a.tmp", rows, ["a.b.c", "d"], metric="m", importances={}, notes=["A note."])
    with Image.open(tmp_path / "a.tmp") as picture:
        assert picture.size[0] == 1200
