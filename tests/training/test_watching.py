"""What a run reports reaches TensorBoard, metrics.csv, curves.png and the caller, with boxes where they belong."""

import dataclasses
import io
import json

import numpy as np
import pandas
import pytest
import tensorflow as tf
from PIL import Image
from small_runs import in_tensorboard

from pneumodet.core import selection
from pneumodet.core.split_use import Choice
from pneumodet.data.cases import Cases
from pneumodet.training import watching
from pneumodet.training.progress import Progress
from pneumodet.training.validation import Evaluation
from pneumodet.viz import pictures


def evaluation(figures=None):
    """Two exams of 800 x 400 px, shown at 400 x 400; the second one has a box in its lower right, and a detection left of the middle."""
    cases = Cases(
        ("a", "b"),
        np.array([0, 1]),
        np.array([[200.0, 500.0, 300.0, 700.0]]),
        np.array([1]),
        np.array([[40.0, 300.0, 120.0, 420.0]]),
        np.array([0.9]),
        np.array([1]),
    )
    return Evaluation(
        figures or {"rsna_metric": 0.25, "coco.pneumonia.AP50": None},
        cases,
        {},
        {"b": np.zeros((400, 400), np.uint8)},
        {"b": (800, 400)},
    )


@pytest.fixture
def reported():
    return {"progress": [], "notes": [], "evaluations": []}


@pytest.fixture
def watch(tmp_path, reported):
    def make(step=0, stop=False):
        return watching.Watcher(
            tmp_path,
            step=step,
            about={"batch_size": 8, "config": "ssd_mobilenet"},
            on_progress=reported["progress"].append,
            on_note=reported["notes"].append,
            on_evaluation=lambda step, figures: reported["evaluations"].append((step, figures)) or (False if stop else None),
        )

    return make


def around(pixels, colour, *, below):
    """Return (left, top, right, bottom) around all that is drawn in a colour below the legend."""
    rows, columns = np.nonzero(np.abs(pixels[below:].astype(int) - colour).max(axis=2) < 70)
    return columns.min(), rows.min() + below, columns.max(), rows.max() + below


def image_of(event):
    width, height, *jpegs = event[1]
    picture = Image.open(io.BytesIO(jpegs[0])).convert("RGB")
    assert picture.size == (int(width), int(height))
    return np.asarray(picture)


def test_all_of_it_arrives(watch, reported, tmp_path, drawn_curves):
    watcher = watch()
    watcher.report(
        progress := Progress(20, 40, 1.5, 33.0, 0.24), {"Loss/total_loss": 1.5, "learning_rate": 0.01, "images_per_second": 33.0}
    )
    assert watcher.evaluation(20, evaluation(), best=True) is None
    watcher.note("a sentence")
    watcher.close()
    assert reported == {
        "progress": [progress],
        "notes": ["a sentence"],
        "evaluations": [(20, {"rsna_metric": 0.25, "coco.pneumonia.AP50": None})],
    }
    there = in_tensorboard(tmp_path)
    assert there["train"]["Loss/total_loss"] == [(20, 1.5)]
    assert there["eval"]["rsna_metric"] == [(20, 0.25)]
    assert "coco.pneumonia.AP50" not in there["eval"], "undefined"
    assert there["eval"]["pneumonia/pr_curves"][0][0] == 20
    assert there["eval"]["validation"][0][0] == 20
    assert "_hparams_/session_start_info" in str(there["."].keys())
    rows = pandas.read_csv(tmp_path / "metrics.csv")
    assert rows["kind"].tolist() == ["train", "validation"]
    assert rows["best"].tolist()[1] == 1
    assert Image.open(tmp_path / "curves.png").size[0] == 1200


def test_what_moves_the_figure_of_the_choice_is_kept(tmp_path):
    nothing = dict.fromkeys(("on_progress", "on_note", "on_evaluation"), lambda *_: None)
    watcher = watching.Watcher(tmp_path, step=0, about={}, best_metric="rsna_metric", **nothing)
    for step, value in ((20, 0.25), (40, 0.5)):
        moves = np.linspace(-0.01, 0.01, 12) * value
        watcher.evaluation(step, dataclasses.replace(evaluation({"rsna_metric": value}), moves=lambda _, moves=moves: moves), best=True)
    watcher.evaluation(60, evaluation(), best=False)
    watcher.close()
    steps = [json.loads(line)["step"] for line in (tmp_path / selection.FILE).read_text().splitlines()]
    assert steps == [20, 40], "of the third nothing is known"
    assert Choice.of_run(tmp_path, "rsna_metric").corrected is None


def test_a_caller_stops_the_run(watch):
    watcher = watch(stop=True)
    assert watcher.evaluation(5, evaluation(), best=False) is False
    watcher.close()


def test_boxes_of_a_validation_picture_are_at_its_scale(watch, tmp_path):
    watcher = watch()
    watcher.evaluation(20, evaluation(), best=True)
    watcher.close()
    pixels = image_of(in_tensorboard(tmp_path)["eval"]["validation"][0])
    assert pixels.shape == (400, 400, 3)
    assert around(pixels, pictures.TRUTH_RGB, below=100) == pytest.approx((200, 250, 300, 350), abs=4)
    left, _, _, bottom = around(pixels, pictures.DETECTION_RGB, below=100)
    assert (left, bottom) == pytest.approx((40, 210), abs=4)


def test_the_first_batch_is_shown_as_the_model_sees_it(watch, tmp_path):
    batch = {
        "image": tf.zeros([6, 300, 400, 1], tf.uint8),
        "boxes_yxyx_norm": tf.constant([[[0.6, 0.5, 0.9, 0.75], [0.0, 0.0, 0.0, 0.0]]] * 6),
        "count": tf.constant([1] * 6),
    }
    watcher = watch()
    watcher.first_batch(batch, 0)
    watcher.first_batch({"image": object()}, 0)  # of several devices: left out
    watcher.close()
    shown = in_tensorboard(tmp_path)["eval"]["training"]
    assert len(shown[0][1]) == 2 + watching.PICTURES
    pixels = image_of(shown[0])
    assert around(pixels, pictures.TRUTH_RGB, below=100) == pytest.approx((200, 180, 300, 270), abs=4)


def test_resume_and_return_forget_what_came_later(watch, tmp_path):
    watcher = watch()
    for step in (10, 20, 30):
        watcher.report(Progress(step, 40, 1.0, 30.0, 0.2), {"Loss/total_loss": float(step)})
    watcher.rewind(20)
    watcher.report(Progress(30, 40, 1.0, 30.0, 0.2), {"Loss/total_loss": 99.0})
    watcher.close()
    again = watch(step=10)
    again.close()
    rows = pandas.read_csv(tmp_path / "metrics.csv")
    assert rows["step"].tolist() == [10]
    assert "_hparams_" in str(in_tensorboard(tmp_path)["."].keys()), "reported once"


def test_a_run_without_a_report_draws_nothing(watch, tmp_path, drawn_curves):
    watch().close()
    assert not (tmp_path / "curves.png").exists() or (tmp_path / "metrics.csv").exists()


def test_a_picture_less_is_no_failure(watch, reported, tmp_path, drawn_curves):
    watcher = watch()
    watcher.report(Progress(20, 40, 1.5, None, None), {"Loss/total_loss": 1.5, "images_per_second": None})
    (tmp_path / "metrics.csv").write_text("nonsense\n")
    watcher.close()
    assert len(reported["notes"]) == 1
    assert "metrics.csv" in reported["notes"][0]
