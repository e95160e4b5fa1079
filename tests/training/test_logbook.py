import csv
import io
import logging
import os
import resource
import signal
import socket
import subprocess
import sys

import numpy as np
import pandas
import pytest
from PIL import Image
from small_runs import in_tensorboard
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from pneumodet.core import metrics_table
from pneumodet.core.errors import DataError
from pneumodet.core.files import append
from pneumodet.data import tfrecord
from pneumodet.data.cases import Cases
from pneumodet.training import logbook
from pneumodet.training.logbook import Logbook


class Clock:
    """Seconds that only pass when they are moved on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def scalars(folder, run, tag):
    return [(step, float(value)) for step, value in in_tensorboard(folder)[run][tag]]


def table(folder):
    return pandas.read_csv(folder / "metrics.csv")


def steps_of(folder):
    return table(folder)["step"].tolist()


def test_what_is_reported_is_in_tensorboard_and_in_the_table(tmp_path):
    clock = Clock()
    log = Logbook(tmp_path, clock=clock)
    clock.now += 2.5
    log.steps(10, {"loss/total": np.float32(1 / 3), "learning_rate": 0.004})
    clock.now += 1
    log.evaluation(10, {"rsna_metric": 0.25}, best=True)
    log.steps(20, {"loss/total": 0.5, "learning_rate": 0.002})
    log.evaluation(20, {"rsna_metric": 0.125}, best=False)
    log.close()
    assert scalars(tmp_path, "train", "loss/total") == [(10, pytest.approx(1 / 3)), (20, 0.5)]
    assert scalars(tmp_path, "eval", "rsna_metric") == [(10, 0.25), (20, 0.125)]
    rows = table(tmp_path)
    assert rows.columns.tolist() == ["step", "kind", "wall_seconds", "best", "loss/total", "learning_rate", "rsna_metric"]
    assert rows["kind"].tolist() == ["train", "validation", "train", "validation"]
    assert rows["wall_seconds"].tolist() == [2.5, 3.5, 3.5, 3.5]
    assert rows.query("best == 1")["step"].tolist() == [10]
    assert np.float32(rows["loss/total"][0]) == np.float32(1 / 3), "a float32 is written so that it can be read back exactly"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), np.float32("nan")], ids=["none", "nan", "inf", "float32-nan"])
def test_undefined_values_are_empty_cells_and_no_events(tmp_path, value):
    log = Logbook(tmp_path)
    log.evaluation(5, {"auc": value, "ap": 0.5}, best=False)
    log.evaluation(6, {"auc": value}, best=False)
    assert set(in_tensorboard(tmp_path)["eval"]) == {"ap"}
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [row["auc"] for row in rows] == ["", ""]
    assert metrics_table.read(tmp_path / "metrics.csv")[0].values == {"auc": None, "ap": 0.5}


def test_resume_drops_what_came_after_the_checkpoint(tmp_path):
    """Steps 30 and 40 were reported, then the training was killed; the last checkpoint is of step 20."""
    clock = Clock()
    log = Logbook(tmp_path, clock=clock)
    for step in (10, 20, 30, 40):
        clock.now += 1
        log.steps(step, {"loss/total": float(step)})
        log.evaluation(step, {"ap": step / 100}, best=True)
    clock.now = 0.0
    again = Logbook(tmp_path, step=20, clock=clock)
    clock.now += 1
    again.steps(30, {"loss/total": 3000.0})
    assert scalars(tmp_path, "train", "loss/total") == [(10, 10), (20, 20), (30, 3000)]
    assert scalars(tmp_path, "eval", "ap") == [(10, pytest.approx(0.1)), (20, pytest.approx(0.2))], "before the first new evaluation, too"
    rows = table(tmp_path)
    assert rows["step"].tolist() == [10, 10, 20, 20, 30]
    assert rows["wall_seconds"].tolist() == [1, 1, 2, 2, 3], "the pause does not count"


def test_a_fresh_start_drops_all(tmp_path):
    log = Logbook(tmp_path)
    log.anchors(0, {"anchors/best_iou_mean": 0.5})
    log.steps(10, {"loss/total": 1.0})
    log = Logbook(tmp_path)
    log.steps(5, {"other": 2.0})
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == "step,kind,wall_seconds,best,other"
    assert steps_of(tmp_path) == [5]
    assert not in_tensorboard(tmp_path)["train"].get("loss/total")


def test_rewind_drops_the_steps_that_are_taken_again_and_keeps_the_start(tmp_path):
    log = Logbook(tmp_path)
    log.anchors(0, {"anchors/best_iou_mean": 0.5})
    log.steps(10, {"loss/total": 1.0})
    log.steps(20, {"loss/total": 9.0})
    log.rewind(10)
    log.steps(20, {"loss/total": 0.5})
    assert scalars(tmp_path, "train", "loss/total") == [(10, 1.0), (20, 0.5)]
    log.rewind(0)
    assert steps_of(tmp_path) == [0]
    assert scalars(tmp_path, "train", "anchors/best_iou_mean") == [(0, 0.5)]


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_line_that_a_kill_tore_is_cut_off(tmp_path, cut):
    log = Logbook(tmp_path)
    log.steps(10, {"loss/total": 1.25})
    log.steps(20, {"loss/total": 2.25})
    path = tmp_path / "metrics.csv"
    os.truncate(path, path.stat().st_size - cut)
    assert [row.step for row in metrics_table.read(path)] == [10], "and a reader does not take 2.2 for 2.25"
    Logbook(tmp_path, step=20).steps(30, {"loss/total": 3.25})
    assert steps_of(tmp_path) == [10, 30]


def test_a_damaged_line_is_named_and_the_others_are_kept(tmp_path, caplog):
    log = Logbook(tmp_path)
    for step in (10, 20, 30):
        log.steps(step, {"loss/total": 1.5})
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text().replace("20,train", "2\0,train"))
    assert [row.step for row in metrics_table.read(path)] == [10, 30]
    assert "metrics.csv, line 3 cannot be read" in caplog.text


def test_a_metrics_csv_of_something_else_is_not_overwritten(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("patientId,score\na,0.5\n")
    with pytest.raises(DataError, match=r"metrics\.csv is no table of a training: its first columns must be step, kind"):
        Logbook(tmp_path)
    assert path.read_text() == "patientId,score\na,0.5\n"


def test_a_table_that_was_removed_begins_again(tmp_path):
    log = Logbook(tmp_path)
    log.steps(10, {"loss/total": 1.0})
    (tmp_path / "metrics.csv").unlink()
    log.steps(20, {"loss/total": 1.0})
    assert steps_of(tmp_path) == [20]


KILLED = """
import os, signal, sys
from pathlib import Path
from pneumodet.training.logbook import Logbook
log = Logbook(Path(sys.argv[1]))
for step in range(1, 51):
    log.steps(step, {"loss/total": 1.0})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert steps_of(tmp_path) == list(range(1, 51))
    assert [step for step, _ in scalars(tmp_path, "train", "loss/total")] == list(range(1, 51))


class FullDisk:
    """No file of this process may grow beyond a size: a write goes as far as it can and then fails, as on a full disk."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


@pytest.mark.parametrize("extra", [{}, {"a new column": 1.0}], ids=["append", "new-column"])
def test_a_full_disk_warns_once_and_training_goes_on(tmp_path, caplog, extra):
    log = Logbook(tmp_path)
    log.steps(10, {"loss/total": 1.0})
    full = (tmp_path / "metrics.csv").stat().st_size + 5
    with FullDisk(full):
        log.steps(20, {"loss/total": 2.0, **extra})
        log.evaluation(20, {"ap": 0.5}, best=True)
        log.steps(30, {"loss/total": 3.0, **extra})
        assert (tmp_path / "metrics.csv").stat().st_size <= full
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "Cannot write" in caplog.text
    assert "Training continues." in caplog.text
    log.steps(40, {"loss/total": 4.0, **extra})
    assert steps_of(tmp_path) == [10, 20, 20, 30, 40], "there is space again: the table has all rows"
    assert table(tmp_path)["ap"].tolist()[2] == 0.5
    (events,) = (tmp_path / "train").iterdir()
    assert len(list(tfrecord.read_records(events))) >= 4, "and no torn record stands in the middle"
    assert (40, 4.0) in scalars(tmp_path, "train", "loss/total")


def test_close_tries_again_and_says_what_is_missing(tmp_path, caplog):
    log = Logbook(tmp_path)
    with FullDisk(20):
        log.steps(10, {"loss/total": 1.0})
        log.steps(20, {"loss/total": 1.0})
        log.close()
    assert "2 rows are missing in" in caplog.text
    log.close()
    assert steps_of(tmp_path) == [10, 20]


def test_append_cuts_off_what_is_torn_and_leaves_no_gap(tmp_path):
    path = tmp_path / "new" / "file"
    end = append(path, b"one\n", at=0)
    with open(path, "ab") as file:
        file.write(b"torn, and longer than what comes")
    end = append(path, b"two\n", at=end)
    assert (path.read_bytes(), end) == (b"one\ntwo\n", 8)
    assert append(path, b"x", at=100) == 9
    assert path.read_bytes() == b"one\ntwo\nx"


def cases_of(truth, detections):
    """Build cases from lists of boxes and of (box, score), one entry a case."""
    boxes = [np.array([box for box, _ in rows], float).reshape(-1, 4) for rows in detections]
    return Cases(
        tuple(str(index) for index in range(len(truth))),
        np.arange(len(truth)),
        np.concatenate([np.array(rows, float).reshape(-1, 4) for rows in truth]),
        np.repeat(np.arange(len(truth)), [len(rows) for rows in truth]),
        np.concatenate(boxes),
        np.array([score for rows in detections for _, score in rows]),
        np.repeat(np.arange(len(detections)), [len(rows) for rows in detections]),
    )


def test_the_pr_curve_counts_what_a_reader_counts(tmp_path):
    here, far = (0, 0, 10, 10), (50, 50, 60, 60)
    cases = cases_of([[here, far], [here], []], [[(here, 0.9), (here, 0.6)], [(far, 0.5), (here, 0.03)], [(far, 0.7)]])
    Logbook(tmp_path).pr_curve(100, cases)
    ((step, rows),) = in_tensorboard(tmp_path)["eval"]["pneumonia/pr_curves"]
    assert step == 100
    assert rows.shape == (6, logbook.PR_THRESHOLDS)
    # tp, fp, tn, fn, precision, recall of three boxes
    for threshold, expected in {
        0.0: (2, 3, 0, 1, 2 / 5, 2 / 3),
        0.03: (2, 3, 0, 1, 2 / 5, 2 / 3),
        0.031: (1, 3, 0, 2, 1 / 4, 1 / 3),
        0.65: (1, 1, 0, 2, 1 / 2, 1 / 3),
        0.9: (1, 0, 0, 2, 1, 1 / 3),
        1.0: (0, 0, 0, 3, 0, 0),
    }.items():
        assert rows[:, round(threshold * 1000)] == pytest.approx(expected), threshold


def test_pr_curves_need_ground_truth_but_no_detections(tmp_path):
    log = Logbook(tmp_path)
    log.pr_curve(1, cases_of([[], []], [[((0, 0, 1, 1), 0.5)], []]))
    log.pr_curve(2, cases_of([[(0, 0, 1, 1)]], [[]]))
    ((step, rows),) = in_tensorboard(tmp_path)["eval"]["pneumonia/pr_curves"]
    assert step == 2
    assert rows[3].tolist() == [1.0] * logbook.PR_THRESHOLDS
    assert not rows[[0, 1, 2, 4, 5]].any()


def test_pictures_are_made_small(tmp_path):
    log = Logbook(tmp_path)
    log.pictures(7, "validation", [Image.new("L", (1024, 2048), 200), Image.new("RGB", (100, 50))])
    log.pictures(8, "validation", [])
    ((step, parts),) = in_tensorboard(tmp_path)["eval"]["validation"]
    assert step == 7
    assert parts[:2].tolist() == [b"512", b"1024"], "width and height of the first, before the pictures"
    assert [Image.open(io.BytesIO(part)).size for part in parts[2:]] == [(512, 1024), (100, 50)]


def test_texts_and_settings_are_in_tensorboard(tmp_path):
    log = Logbook(tmp_path, step=0)
    log.text("command", "tools/train.py")
    log.hparams({"batch_size": 8, "optimizer": "adam", "clip": None, "rate": np.float32(0.5), "augment": True})
    assert in_tensorboard(tmp_path)["train"]["command"][0][1].item() == b"tools/train.py"
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    (content,) = multiplexer.PluginRunToTagToContent("hparams").values()
    values = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG]).hparams
    assert (values["batch_size"].number_value, values["optimizer"].string_value, values["rate"].number_value) == (8, "adam", 0.5)
    assert (values["clip"].string_value, values["augment"].bool_value) == ("None", True)


def test_no_file_name_has_the_machine_in_it(tmp_path):
    log = Logbook(tmp_path)
    log.hparams({"a": 1})
    names = [path.name for path in tmp_path.rglob("*.v2")]
    assert len(names) == 3
    assert all("tfevents" in name and socket.gethostname() not in name for name in names)


@pytest.mark.slow
def test_tensorflow_reads_the_events(tmp_path):
    """The format is TensorFlow's; its own reader must agree, in a process of its own, because it takes long to start."""
    log = Logbook(tmp_path)
    log.steps(10, {"loss/total": 0.25})
    (events,) = (tmp_path / "train").iterdir()
    code = (
        "import sys, tensorflow as tf\n"
        "events = list(tf.compat.v1.train.summary_iterator(sys.argv[1]))\n"
        "print([(e.step, e.WhichOneof('what')) for e in events], tf.make_ndarray(events[-1].summary.value[0].tensor))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(events)], capture_output=True, text=True, timeout=300)
    assert done.stdout == "[(0, 'file_version'), (0, 'session_log'), (10, 'summary')] 0.25\n", done.stderr
