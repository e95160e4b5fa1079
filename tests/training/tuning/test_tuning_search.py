"""The search with trainers that train nothing: what is best, pruned, kept, refused, and what a study is after a kill."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_up_trainer
import pytest

from pneumodet.core.errors import ConfigError, DataError, TrainingError
from pneumodet.training.tuning import report, study, trial
from pneumodet.training.tuning.search import Plan, search

pytestmark = pytest.mark.usefixtures("charts_in_outline")

PARAMETERS = ("learning_rate=1e-4:0.1:log", "batch_size=4,8")


def plan(folder, records, **changes):
    given = {"config": "ssd_mobilenet", "data": records, "steps": 100, "trials": 6, "parameters": PARAMETERS, "keep": 2}
    return Plan(folder=Path(folder), **(given | changes))


def test_a_study(tmp_path, records):
    rows_given, progress = [], set()
    outcome = search(
        plan(tmp_path / "first", records, trials=8),
        trainer=made_up_trainer.diverges_at_high_rates,
        on_trial=rows_given.append,
        on_progress=lambda number, step, steps: progress.add((number, step, steps)),
    )
    rows, folder = outcome.rows, outcome.folder
    assert [row.number for row in rows] == list(range(8))
    assert rows_given == list(rows)
    assert (0, 20, 100) in progress

    assert rows[0].baseline
    assert not any(row.baseline for row in rows[1:])
    assert rows[0].values == {"learning_rate": 0.0125, "batch_size": "8"}
    first = json.loads((folder / "trial-0000" / "request.json").read_text())
    assert (first["learning_rate"], first["batch_size"], first["settings"]) == (None, None, [])
    assert (first["steps"], first["evaluate_every"], first["best_metric"], first["seed"]) == (100, 20, "rsna_metric", 0)

    states = {row.number: row.state for row in rows}
    assert set(states.values()) == {trial.COMPLETE, trial.PRUNED, trial.FAILED}
    for row in rows:
        high = (row.values["learning_rate"] if not row.baseline else 0) > 0.02
        assert (row.state == trial.FAILED) == high
        assert row.reason == ("The loss is not finite at step 12." if high else "")
        request = {"learning_rate": None if row.baseline else row.values["learning_rate"], "batch_size": int(row.values["batch_size"])}
        if row.state == trial.COMPLETE:
            assert row.best_step == 100
            assert row.value == pytest.approx(made_up_trainer.score(request | {"steps": 100}, 100))
        if row.state == trial.PRUNED:
            stopped = int((folder / f"trial-{row.number:04d}" / "stopped").read_text())
            assert row.best_step <= stopped
            assert 25 <= stopped < 100

    assert outcome.best.value == max(row.value for row in rows if row.state == trial.COMPLETE) > outcome.baseline.value
    kept = {path.parent.parent.name for path in folder.rglob("*.index")}
    assert kept == {f"trial-{row.number:04d}" for row in report.ranked(rows)[:2]}
    assert {path.parent.parent.name for path in folder.rglob("*.data-*")} == kept
    assert len(list(folder.rglob("metrics.csv"))) == sum(state != trial.FAILED for state in states.values())
    assert (folder / "logs" / "trial-0000.log").read_text() == "a word on standard output\n"

    table = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    assert list(table[0]) == ["trial", "state", "value", "best_step", "seconds", "learning_rate", "batch_size", "reason"]
    for line, row in zip(table, rows, strict=True):
        assert (int(line["trial"]), line["state"], line["reason"]) == (row.number, row.state, row.reason)
        assert line["value"] == ("" if row.value is None else str(row.value))
        assert float(line["learning_rate"]) == row.values["learning_rate"]
    best = json.loads((folder / "best.json").read_text())
    assert (best["trial"], best["value"], best["metric"]) == (outcome.best.number, outcome.best.value, "rsna_metric")
    assert best["command"] == outcome.command
    assert f"--learning-rate {outcome.best.values['learning_rate']}" in outcome.command
    assert "--run first-best --steps 400" in outcome.command
    assert (folder / "report.png").read_bytes()[:4] == b"\x89PNG"


def start(folder, records, trainer, seed=3):
    """Start a study in a process of its own, in a process group of its own."""
    code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
sys.path.insert(0, {str(Path(made_up_trainer.__file__).parent)!r})
import made_up_trainer
from pathlib import Path
from pneumodet.training.tuning.search import Plan, search
try:
    search(Plan(folder=Path({str(folder)!r}), config="ssd_mobilenet", data=Path({str(records)!r}), steps=100, trials=6,
                parameters={PARAMETERS!r}, keep=2, seed={seed}), trainer=made_up_trainer.{trainer})
except KeyboardInterrupt as stopped:
    print("stopped:", stopped)
"""
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition, seconds=60):
    for _ in range(seconds * 20):
        if condition():
            return True
        time.sleep(0.05)
    return False


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("how", [pytest.param(signal.SIGKILL, id="SIGKILL"), pytest.param(signal.SIGINT, id="Ctrl-C")])
def test_a_study_that_was_cut_ends_as_an_uncut_one(tmp_path, records, how):
    folder = tmp_path / "cut"
    process = start(folder, records, "hangs_in_third")
    assert until((folder / "child").exists), process.communicate(timeout=10)
    child = int(until(lambda: (folder / "child").read_text()) and (folder / "child").read_text())
    if how == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert until(lambda: not alive(child), 20), "the child outlived its parent"
    if how == signal.SIGINT:
        assert out == "stopped: Finished trials are kept; the same command continues.\n", err
        assert (folder / "best.json").exists()

    messages = []
    outcome = search(plan(folder, records, seed=3), trainer=made_up_trainer.hangs_in_third, on_message=messages.append)
    assert messages == ["2 trials were done before."]
    assert [row.number for row in outcome.rows if row.state == report.CUT] == [2]
    whole = search(plan(tmp_path / "whole", records, seed=3), trainer=made_up_trainer.trains)
    counted = [row for row in outcome.rows if row.state != report.CUT]
    assert [(row.values, row.state, row.value) for row in counted] == [(row.values, row.state, row.value) for row in whole.rows]
    again = search(plan(folder, records, seed=3), trainer=made_up_trainer.always_diverges)
    assert again == outcome, "nothing is left to train"


def test_failures_are_recorded_and_the_search_goes_on(tmp_path, records):
    outcome = search(plan(tmp_path / "study", records, trials=5), trainer=made_up_trainer.fails_in_many_ways)
    assert [row.state for row in outcome.rows] == [trial.COMPLETE, trial.FAILED, trial.FAILED, trial.FAILED, trial.COMPLETE]
    log = tmp_path / "study" / "logs"
    assert outcome.rows[1].reason == (
        f"Its process was ended by SIGKILL; the system does that to the largest process when memory runs out. See {log / 'trial-0001.log'}."
    )
    assert outcome.rows[2].reason == f"ValueError: shapes (3,) and (4,) do not fit. Its traceback is in {log / 'trial-0002.log'}."
    assert "Traceback" in (log / "trial-0002.log").read_text()
    assert outcome.rows[3].reason == f"Its process ended with exit code 7 and without a message. See {log / 'trial-0003.log'}."


def test_a_full_disk_is_no_fault_of_the_values(tmp_path, records):
    given = plan(tmp_path / "study", records, trials=3)
    with pytest.raises(
        DataError, match="Less than 1 GiB is free. Free some disk space. Finished trials are kept; the same command continues."
    ):
        search(given, trainer=made_up_trainer.has_no_disk_in_second)
    outcome = search(given, trainer=made_up_trainer.trains)
    assert [row.state for row in outcome.rows] == [trial.COMPLETE, report.CUT, trial.COMPLETE, trial.COMPLETE]
    assert outcome.rows[2].values == outcome.rows[1].values


def test_it_stops_where_the_first_three_fail_alike(tmp_path, records):
    rows = []
    with pytest.raises(TrainingError, match="first 3 trials failed in the same way: The loss is not finite at step .*another --study"):
        search(plan(tmp_path / "study", records), trainer=made_up_trainer.always_diverges, on_trial=rows.append)
    assert len(rows) == 3
    assert len({row.reason for row in rows}) > 1, "the sentences differ by their numbers only"


@pytest.mark.parametrize(
    ("trainer", "reason"),
    [
        pytest.param("has_no_metric", "The evaluation has no 'rsna_metric'; it has other.", id="missing"),
        pytest.param("undefined", "rsna_metric was undefined at every evaluation.", id="undefined"),
    ],
)
def test_without_a_figure_a_trial_has_failed(tmp_path, records, trainer, reason):
    started = time.monotonic()
    with pytest.raises(TrainingError, match="None of the 1 trials was completed. .*table.csv says why"):
        search(plan(tmp_path / "study", records, trials=1), trainer=getattr(made_up_trainer, trainer))
    assert time.monotonic() - started < 30, "a child of no use is ended"
    (row,) = csv.DictReader((tmp_path / "study" / "table.csv").read_text().splitlines())
    assert (row["state"], row["reason"]) == ("failed", reason)


def test_a_combination_is_trained_once(tmp_path, records):
    messages = []
    given = plan(tmp_path / "study", records, trials=9, parameters=("batch_size=4,8,16",))
    outcome = search(given, trainer=made_up_trainer.trains, on_message=messages.append)
    assert sorted(row.values["batch_size"] for row in outcome.rows) == ["16", "4", "8"]
    assert messages == ["All 3 combinations have been tried; there is nothing left for the other trials."]


def test_a_config_whose_own_value_is_not_among_the_values_is_the_baseline_all_the_same(tmp_path, records):
    messages = []
    given = plan(tmp_path / "study", records, trials=3, parameters=("batch_size=2,4",))
    outcome = search(given, trainer=made_up_trainer.trains, on_message=messages.append)
    assert messages == ["The config's own batch_size is not among its values; the first trial has it all the same."]
    assert [row.values for row in outcome.rows if row.baseline] == [{}]
    assert sorted(row.values["batch_size"] for row in outcome.rows if not row.baseline) == ["2", "4"]
    assert next(csv.DictReader((tmp_path / "study" / "table.csv").read_text().splitlines()))["batch_size"] == "config's own"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, records):
    given = plan(tmp_path_factory.mktemp("finished") / "study", records, trials=2)
    search(given, trainer=made_up_trainer.trains)
    return given


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"steps": 200}, r"was started with --steps 100, not 200. .*only --trials and --keep may change", id="steps"),
        pytest.param({"metric": "coco.pneumonia.AP50"}, "started with --metric rsna_metric, not coco.pneumonia.AP50", id="metric"),
        pytest.param({"seed": 1}, "started with --seed 0, not 1", id="seed"),
        pytest.param(
            {"parameters": PARAMETERS[:1]}, r"started with --param .*batch_size=4,8, not learning_rate=1e-4:0.1:log\.", id="param"
        ),
        pytest.param({"settings": ("train_config.max_number_of_boxes=9",)}, r"--set \(none\), not train_config.max", id="set"),
        pytest.param({"pretrained": "coco"}, r"--pretrained \(none\), not coco", id="pretrained"),
        pytest.param({"freeze": ("early",)}, r"--freeze \(none\), not early", id="freeze"),
        pytest.param({"fit_anchors": True}, r"--fit-anchors \(none\), not \(given\)", id="anchors"),
    ],
)
def test_another_study_is_refused(finished, changes, message):
    given = Plan(**(vars(finished) | {"trials": 3} | changes))
    with pytest.raises(ConfigError, match=message):
        search(given, trainer=made_up_trainer.trains)


def test_another_record_set_is_refused(finished, records, tmp_path):
    (tmp_path / "manifest.json").write_text((records / "manifest.json").read_text() + "\n")
    (tmp_path / "instances.json").write_text("{}")
    with pytest.raises(ConfigError, match="the content of --data has changed"):
        search(Plan(**(vars(finished) | {"data": tmp_path})), trainer=made_up_trainer.trains)


SMALL = {
    "freeze": ("early", "stem"),
    "fit_anchors": True,
    "augmentation": "radiograph-flip",
    "positive_share": 0.5,
    "pretrained": "imagenet",
}
"""The recipe for small sets."""


def test_every_trial_has_what_was_asked_for_all(tmp_path, records):
    """And so does the command that trains the best values for longer."""
    outcome = search(plan(tmp_path / "small", records, trials=2, **SMALL), trainer=made_up_trainer.trains)
    for number in (0, 1):
        request = json.loads((outcome.folder / f"trial-000{number}" / "request.json").read_text())
        assert {name: request[name] for name in SMALL} == SMALL | {"freeze": ["early", "stem"]}
    wanted = "--augmentation radiograph-flip --positive-share 0.5 --pretrained imagenet"
    assert wanted in outcome.command and "--freeze early --freeze stem --fit-anchors" in outcome.command


def test_an_augmentation_that_is_varied_as_well_is_refused(tmp_path, records):
    given = plan(tmp_path / "study", records, parameters=("augmentation=none,radiograph",), augmentation="radiograph-flip")
    with pytest.raises(ConfigError, match="--augmentation is the same in all trials, but --param varies it"):
        search(given, trainer=made_up_trainer.trains)


def test_a_study_of_an_earlier_pneumodet_is_continued(finished):
    record = json.loads((finished.folder / "study.json").read_text())
    (finished.folder / "study.json").write_text(
        json.dumps({name: value for name, value in record.items() if name not in SMALL} | {"pretrained": None})
    )
    assert len(search(finished, trainer=made_up_trainer.trains).rows) == finished.trials


def test_more_trials_later(finished):
    outcome = search(Plan(**(vars(finished) | {"trials": 3, "keep": 1})), trainer=made_up_trainer.trains)
    assert len(outcome.rows) == 3
    assert len(list(finished.folder.rglob("*.index"))) == 1


def test_two_at_once_are_refused(finished):
    with study.locked(finished.folder), pytest.raises(DataError, match="Another process is training in .*another --study name"):
        search(finished, trainer=made_up_trainer.trains)


def test_a_run_is_no_study(tmp_path, records):
    (tmp_path / "pipeline.config").write_text("")
    with pytest.raises(DataError, match="is a run, not a study"):
        search(plan(tmp_path, records), trainer=made_up_trainer.trains)


@pytest.fixture(scope="module")
def of_one_trial(tmp_path_factory, records):
    """Return the folder of a study, to be copied."""
    given = plan(tmp_path_factory.mktemp("one") / "study", records, trials=1)
    search(given, trainer=made_up_trainer.trains)
    return given.folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda folder: (folder / "study.db").write_bytes(b"no database" * 100), "Cannot use .*study.db", id="database"),
        pytest.param(lambda folder: (folder / "study.json").write_text("{"), "study's record .* is not valid JSON", id="record"),
        pytest.param(lambda folder: (folder / "study.json").unlink(), "study.json is not, which says what it is of", id="no record"),
    ],
)
def test_a_damaged_study_is_refused(tmp_path, records, of_one_trial, damage, message):
    given = plan(shutil.copytree(of_one_trial, tmp_path / "study"), records, trials=1)
    damage(given.folder)
    with pytest.raises(DataError, match=message):
        search(given, trainer=made_up_trainer.trains)


def test_folds_are_refused(tmp_path, records):
    manifest = json.loads((records / "manifest.json").read_text())
    manifest["splits"] = {"fold0": manifest["splits"]["train"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "instances.json").write_text("{}")
    with pytest.raises(DataError, match="has folds. Tune on one of them"):
        search(plan(tmp_path / "study", tmp_path), trainer=made_up_trainer.trains)
