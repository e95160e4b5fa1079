"""A run of a Keras 3 model: what it leaves, and that a cut one ends where an uncut one does."""

import json
import os
import shutil
import signal
import tomllib

import made
import numpy as np
import pytest
import tensorflow as tf
import tiny

from pneumodet.core import metrics_table, paths, runs
from pneumodet.core.errors import CheckpointError, ConfigError, DataError, TrainingError
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data.record_sets import RecordSet
from pneumodet.evaluation.runner import Validation
from pneumodet.models.inputs import augmentation_settings
from pneumodet.training import loop
from pneumodet.training.keras import experiment
from pneumodet.training.keras.trainer import Trainer


def final_weights(folder):
    """Return name -> value of all the newest checkpoint holds but its bookkeeping."""
    reader = tf.train.load_checkpoint(str(folder / "train" / "ckpt-10"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(("model/", "optimizers/", "random_states/"))]
    assert sum(name.startswith("random_states/") for name in names) == 1, "of dropout"
    return {name: reader.get_tensor(name) for name in names}


def test_a_run_leaves_what_others_build_on(uncut, records):
    folder, outcome, metrics = uncut
    record = json.loads((folder / "run.json").read_text())
    assert outcome.completed and record["family"] == "tiny" and record["steps_done"] == 10
    assert record["parameters"] == 4 * 9 + 4 + 4 * 4 + 4 + 1
    assert record["training_seconds"] > 0 and record["data"]["manifest_sha256"] == metrics["manifest_sha256"]
    assert tomllib.loads((folder / "config.toml").read_text())["head_steps"] == 4
    assert (folder / "curves.png").is_file() and (folder / "best" / "checkpoint").is_file()
    saved = json.loads((folder / "evaluation" / "metrics.json").read_text())
    assert saved == json.loads(json.dumps(metrics))
    splits = {split: Exams.of(json.loads((records / f"instances_{split}.json").read_text())["images"]) for split in ("train", "val")}
    assert runs.seen(folder) == Seen(trained=Marks.of(splits["train"]), chosen=Marks.of(splits["val"]))
    assert saved["seen"]["trained"]["exams"] == 0 and saved["seen"]["chosen"]["exams"] == len(splits["val"])
    assert 0 <= saved["image.roc_auc"] <= 1 and saved["milliseconds_an_image"] > 0
    rows = (folder / "evaluation" / "scores.csv").read_text().splitlines()
    assert rows[0] == "patientId,score" and len(rows) == 1 + record["data"]["val_exams"]


@pytest.mark.parametrize("steps", [pytest.param(2, id="first phase", marks=pytest.mark.slow), pytest.param(7, id="second phase")])
def test_a_run_that_was_cut_ends_as_an_uncut_one(uncut, records, tmp_path, steps):
    """Dropout, batch statistics, momentum and order continue."""
    whole = uncut[0]
    folder = tmp_path / "cut"
    shutil.copytree(whole, folder)
    for path in (folder / "train").glob("ckpt-*"):
        if int(path.name.split(".")[0].removeprefix("ckpt-")) > steps:
            path.unlink()
    (folder / "train" / "checkpoint").unlink()
    again, outcome, _ = experiment.train(tiny.Tiny(), experiment.Request(run=str(folder), resume=True))
    assert again == folder and outcome.step == 10
    assert made.losses(folder) == made.losses(whole)
    mine, theirs = final_weights(folder), final_weights(whole)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_what_a_run_refuses(uncut, records, tmp_path):
    folder = uncut[0]
    with pytest.raises(DataError, match="holds a run already.*--resume"):
        experiment.train(tiny.Tiny(), tiny.request(records, folder))
    with pytest.raises(DataError, match=r"tools/train\.py did not start. Choose another --run name"):
        runs.refuse_used(folder, "mine", family=runs.DETECTION)
    with pytest.raises(ConfigError, match="batch_size does not go with --resume"):
        experiment.train(tiny.Tiny(), experiment.Request(run=str(folder), overrides=("batch_size=2",), resume=True))
    with pytest.raises(ConfigError, match="less than the 10 steps"):
        experiment.train(tiny.Tiny(), experiment.Request(run=str(folder), overrides=("steps=5",), resume=True))
    with pytest.raises(ConfigError, match="--data is missing"):
        experiment.train(tiny.Tiny(), tiny.request(None, tmp_path / "new"))
    with pytest.raises(DataError, match="family tiny, not classification"):
        runs.find(str(folder), family="classification")
    assert not (tmp_path / "new").exists()


def test_a_file_that_has_changed_is_no_way_to_go_on_and_that_of_the_augmentation_is_kept(records, tmp_path, monkeypatch):
    """Its steps would not be those of an uncut run, and nobody would know. The augmentation is in the run, whatever becomes of its file."""
    path, varied = tmp_path / "classes.csv", tmp_path / "varied.json"
    varied.write_text('{"rotation_degrees": 5}')
    monkeypatch.setattr(tiny.TinySettings, "files", property(lambda settings: {"class_info": path}))
    path.write_text("one")
    folder, *_ = experiment.train(tiny.Tiny(), tiny.request(records, tmp_path / "run", f"augmentation={varied}", "steps=1"))
    varied.unlink()
    again = experiment.Request(run=str(folder), overrides=("steps=2",), resume=True)
    path.write_text("another")
    with pytest.raises(DataError, match=f"class_info is {path}, which is gone or another file"):
        experiment.train(tiny.Tiny(), again)
    path.write_text("one")
    assert experiment.train(tiny.Tiny(), again)[1].step == 2
    _, chosen = experiment.restored(tiny.Tiny(), folder)
    assert augmentation_settings.load(chosen.augmentation) == augmentation_settings.Augmentation(rotation_degrees=5)


# quick: ../test_loop_stubbed.py
@pytest.mark.slow
def test_too_little_memory_says_what_helps(records, tmp_path, monkeypatch):
    from pneumodet.training.keras.trainer import Trainer

    def step(self, batch):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(TrainingError, match="too little memory for 4 images at once .OOM when .*--set image_size"):
        experiment.train(tiny.Tiny(), tiny.request(records, tmp_path / "large"))


def test_a_run_that_is_not_there_is_told_beside_folders_of_others(uncut, tmp_path, monkeypatch):
    """One that is no run, though it has a config.toml, is no reason to speak of something else."""
    monkeypatch.setattr(paths, "workspace_dir", lambda: tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.toml").write_text("steps = 1")
    shutil.copytree(uncut[0], tmp_path / "mine", ignore=shutil.ignore_patterns("train", "best"))
    with pytest.raises(DataError, match="There is no run 'gone' in .* Runs: mine[.]$"):
        runs.find("gone", family="tiny")


def test_a_restored_model_scores_as_the_evaluation_did(uncut, records):
    model, settings = experiment.restored(tiny.Tiny(), uncut[0])
    from pneumodet.evaluation.runner import Runner

    runner = Runner(model, RecordSet.open(records).check_two_kinds().val, size_hw=settings.size_hw)
    scores = np.concatenate([1 / (1 + np.exp(-seen.outputs["pneumonia"][:, 0])) for seen in runner.batches()])
    rows = (uncut[0] / "evaluation" / "scores.csv").read_text().splitlines()[1:]
    np.testing.assert_allclose(scores, [float(row.split(",")[1]) for row in rows], atol=1e-6)


def test_a_checkpoint_of_another_model_is_refused(uncut, tmp_path):
    import keras

    from pneumodet.training.keras import trainer

    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5)])
    with pytest.raises(CheckpointError, match="does not fit"):
        trainer.restore(other, str(uncut[0] / "train" / "ckpt-10"))
    with pytest.raises(CheckpointError, match="cannot be read"):
        trainer.restore(other, str(tmp_path / "ckpt-1"))


def resume(folder):
    return experiment.train(tiny.Tiny(), experiment.Request(run=str(folder), resume=True))


# resumed among the slow tests; quick: test_a_run_that_was_cut_ends_as_an_uncut_one
@pytest.mark.parametrize(("number", "resumed"), [(signal.SIGTERM, False), pytest.param(signal.SIGINT, True, marks=pytest.mark.slow)])
def test_a_signal_ends_the_first_step_at_once(uncut, records, tmp_path, monkeypatch, number, resumed):
    """The first step is traced and compiled, which takes minutes for large models; nothing is lost by leaving it."""
    seen = []

    def step(self, batch):
        os.kill(os.getpid(), number)
        seen.append("the step goes on")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        folder, outcome, metrics = experiment.train(tiny.Tiny(), tiny.request(records, tmp_path / "run"))
    assert (outcome.completed, outcome.step, metrics, seen) == (False, 0, None, [])
    assert outcome.checkpoint.endswith("ckpt-0")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if resumed:
        resume(folder)
        assert made.losses(folder) == made.losses(uncut[0])


# quick: ../test_loop_stubbed.py
@pytest.mark.slow
def test_a_signal_cuts_an_evaluation_off_and_it_is_made_up_for(uncut, records, tmp_path, monkeypatch):
    def run(self):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the evaluation goes on")

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "run", run)
        folder, outcome, _ = experiment.train(tiny.Tiny(), tiny.request(records, tmp_path / "run"))
    assert (outcome.completed, outcome.step, outcome.memory.due) == (False, 5, True)
    assert outcome.checkpoint.endswith("ckpt-5")
    resume(folder)
    assert made.losses(folder) == made.losses(uncut[0])
    assert metrics_table.evaluations(folder) == metrics_table.evaluations(uncut[0]) == 2
    assert (folder / "best" / "checkpoint").read_text().split()[1] == (uncut[0] / "best" / "checkpoint").read_text().split()[1]


# quick: ../test_loop_stubbed.py
@pytest.mark.slow
def test_slow_steps_are_saved_by_time(records, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    folder, _, _ = experiment.train(tiny.Tiny(), tiny.request(records, tmp_path / "run", "checkpoint_every=1000", "steps=6"))
    assert {path.name for path in (folder / "train").glob("*.index")} == {f"ckpt-{step}.index" for step in range(7)}


def test_a_run_without_evaluations_is_evaluated_at_its_end(records, tmp_path):
    said = []
    request = tiny.request(records, tmp_path / "run", "evaluate_every=0", "steps=2")
    folder, outcome, metrics = experiment.train(tiny.Tiny(), request, on_start=said.append)
    assert metrics_table.evaluations(folder) == 0
    assert outcome.memory.best is None and not (folder / "best").exists()
    assert (metrics["step"], metrics["checkpoint"]) == (2, "ckpt-2")
    assert any("evaluating the last checkpoint" in line for line in said)
    assert said[0] == "run starts from random weights"


def test_a_batch_of_more_images_than_there_are_is_refused(records, tmp_path):
    with pytest.raises(ConfigError, match=r"--batch-size is 10000, but there are \d+ training exams"):
        experiment.train(tiny.Tiny(), tiny.request(records, tmp_path / "run", "batch_size=10000"))
    assert not (tmp_path / "run" / "run.json").exists()
