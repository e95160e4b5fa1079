"""The loop: exact resume, the best checkpoint, early stopping, and the way back from a loss that is not finite."""

import json
import shutil
import signal
import subprocess
import sys
import time

import made
import numpy as np
import pytest
import shallow
import small

from pneumodet.core.errors import TrainingError
from pneumodet.training.families import detection

pytestmark = pytest.mark.usefixtures("shallow_backbone")


# quick: test_averaging.py, whose resumed run ends with the same weights as the run of the same seed
@pytest.mark.slow
def test_one_seed_gives_the_same_weights_bit_for_bit(records, uncut, tmp_path):
    folder, _ = detection.train(small.request(records, tmp_path / "again"))
    assert made.losses(folder) == made.losses(uncut[0])
    assert small.weights(folder / "train" / "ckpt-12") == small.weights(uncut[0] / "train" / "ckpt-12")
    other, _ = detection.train(small.request(records, tmp_path / "other", seed=1, steps=2, settings=(*small.SETTINGS,)))
    assert made.losses(other)[1] != made.losses(folder)[1]


KILLED = """
import os, signal, sys
from pathlib import Path
import shallow, small
from pneumodet.training.families import detection as experiment
def on_progress(now):
    if now.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
with shallow.backbone():
    experiment.train(small.request(Path(sys.argv[1]), sys.argv[2], checkpoint_every=3), on_progress=on_progress)
"""


# quick: test_averaging.py, from a checkpoint that lacks the last steps; of the loop alone: test_loop_stubbed.py
@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_exactly(records, uncut, tmp_path):
    """Stopped between two checkpoints; other tests kill and signal whole processes."""

    def interrupt(now):
        if now.step == 6:  # what is reported at a step comes before its checkpoint
            raise KeyboardInterrupt

    request = small.request(records, tmp_path / "cut", checkpoint_every=3)
    with pytest.raises(KeyboardInterrupt):
        detection.train(request, on_progress=interrupt)
    assert not (tmp_path / "cut" / "train" / "ckpt-6.index").exists()
    folder, outcome = detection.train(detection.Request(run=str(tmp_path / "cut"), resume=True))
    assert outcome.completed
    assert small.weights(folder / "train" / "ckpt-12") == small.weights(uncut[0] / "train" / "ckpt-12")


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_exactly(records, uncut, tmp_path):
    """Cut after its seventh step, four steps of which it has no checkpoint of, it repeats these and ends as if nothing had been."""
    script = KILLED.replace("now.step == 7", "now.step == 6")
    done = subprocess.run(
        [sys.executable, "-c", script, str(records), str(tmp_path / "cut")],
        cwd=small.__file__.rpartition("/")[0],
        env=shallow.environment(),
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert (tmp_path / "cut" / "train" / "ckpt-3.index").exists()
    folder, outcome = detection.train(detection.Request(run=str(tmp_path / "cut"), resume=True))
    assert outcome.completed
    expected = made.losses(uncut[0])
    reported = made.losses(folder)
    assert max(reported) == 12
    assert reported[12] == pytest.approx(np.mean([expected[step] for step in (10, 11, 12)]), rel=1e-6)
    assert small.weights(folder / "train" / "ckpt-12") == small.weights(uncut[0] / "train" / "ckpt-12")


def fake_figures(monkeypatch, values):
    """Let evaluations find these figures, one after the other."""
    from pneumodet.training import validation

    real, left = validation.Validation.run, iter(values)

    def run(self):
        evaluation = real(self)
        evaluation.figures["rsna_metric"] = next(left)
        return evaluation

    monkeypatch.setattr(validation.Validation, "run", run)


# quick, of the loop alone: test_loop_stubbed.py
@pytest.mark.slow
def test_the_best_checkpoint_stays_and_patience_ends_the_run(records, tmp_path, monkeypatch):
    fake_figures(monkeypatch, [None, 0.1, 0.6, 0.1, 0.2])
    seen = []
    folder, outcome = detection.train(
        small.request(records, tmp_path / "early", steps=20, evaluate_every=2, patience=2, checkpoint_every=100),
        on_evaluation=lambda step, figures: seen.append((step, figures["rsna_metric"])),
    )
    assert seen == [(2, None), (4, 0.1), (6, 0.6), (8, 0.1), (10, 0.2)]
    assert (outcome.memory.best, outcome.memory.best_step, outcome.step) == (0.6, 6, 10)
    assert outcome.completed
    assert "no better rsna_metric in 2 evaluations" in outcome.stopped_early
    assert [path.name for path in (folder / "best").glob("*.index")] == ["ckpt-6.index"]
    assert (folder / "train" / "ckpt-10.index").exists()
    assert (folder / "curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("figures", "best", "waited"),
    [
        ([0.1, 0.2, 0.3], 3, 0),
        ([0.05, 0.08, 0.17, 0.12, 0.16], 5, 0),  # one high figure among low ones is luck
        ([0.05, 0.08, 0.17, 0.12, 0.16, 0.15], 6, 1),  # of equals the later one
        ([0.3, 0.2, 0.1], 1, 2),
        ([0.2, None, 0.3, None], 3, 1),  # undefined: neither counts nor is counted
        ([0.2, 0.2], 2, 1),
    ],
)
def test_the_best_is_the_latest_of_those_with_about_the_highest_mean(figures, best, waited):
    from pneumodet.training.progress import Memory

    memory = Memory()
    for number, value in enumerate(figures, start=1):
        memory.take(value, number)
        memory = Memory.of(memory.to_text(), where="ckpt")  # as a resumed run has it
    assert (memory.best_step, memory.best, memory.waited) == (best, figures[best - 1], waited)


def test_the_estimate_of_luck_chooses_as_training_does():
    from pneumodet.core import selection
    from pneumodet.training.progress import Memory

    figures = np.random.default_rng(0).uniform(0, 1, (8, 40))
    kept = []
    for column in figures.T:
        memory = Memory()
        for number, value in enumerate(column.tolist()):
            memory.take(value, number)
        kept.append(memory.best_step)
    assert selection.of_training(figures).tolist() == kept and len(set(kept)) > 4


def test_a_run_of_an_earlier_version_keeps_its_best():
    from pneumodet.training.progress import Memory

    memory = Memory.of('{"best": 0.3, "best_step": 5, "waited": 1, "rollbacks": 0, "due": false}', where="ckpt")
    assert not memory.take(0.2, 6) and memory.best_step == 5
    assert memory.take(0.5, 7) and memory.best_step == 7


@pytest.mark.slow
def test_best_and_patience_survive_a_resume(records, tmp_path, monkeypatch):
    fake_figures(monkeypatch, [0.5, 0.3, 0.2, 0.1])
    first = small.request(records, tmp_path / "run", steps=20, evaluate_every=2, patience=3, checkpoint_every=2)
    _, outcome = detection.train(first, on_evaluation=lambda step, _: step < 4)
    assert outcome.stopped_early == "stopped at step 4 by its caller"
    _, outcome = detection.train(detection.Request(run=str(tmp_path / "run"), resume=True))
    assert (outcome.memory.best, outcome.memory.best_step, outcome.memory.waited, outcome.step) == (0.5, 2, 3, 8)


# quick, with the advice of each family: test_loop_stubbed.py
@pytest.mark.slow
def test_too_little_memory_says_what_helps(records, tmp_path, monkeypatch):
    import tensorflow as tf

    from pneumodet.training import start

    class Full(start.Trainer):
        def step(self, batch):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")

        def __setattr__(self, name, value):
            if name != "step":
                super().__setattr__(name, value)

    monkeypatch.setattr(start, "Trainer", Full)
    with pytest.raises(TrainingError, match="too little memory for 2 images at once .OOM when .*--batch-size auto"):
        detection.train(small.request(records, tmp_path / "large"))


def break_steps(monkeypatch, broken):
    """Let the loss of steps be NaN where ``broken(step, factor)`` says so."""
    from pneumodet.training import loop

    real = loop.Run._run_step

    def run_step(self, batch):
        losses = real(self, batch)
        bad = broken(self._step, float(self._trainer.rate_factor.numpy()))
        return {name: value * np.nan for name, value in losses.items()} if bad else losses

    monkeypatch.setattr(loop.Run, "_run_step", run_step)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_goes_back_with_a_lower_rate(records, uncut, tmp_path, monkeypatch):
    break_steps(monkeypatch, lambda step, factor: step == 6 and factor == 1)
    said = []
    folder, outcome = detection.train(small.request(records, tmp_path / "back"), on_start=said.append)
    assert outcome.completed
    assert outcome.memory.rollbacks == 1
    (note,) = outcome.notes
    assert "Not finite at step 6" in note
    assert "Back to step 5" in note
    assert note in said
    expected, repaired = made.losses(uncut[0]), made.losses(folder)
    assert [repaired[step] for step in range(1, 7)] == [expected[step] for step in range(1, 7)], (
        "step 6 is repeated from the weights of step 5"
    )
    assert repaired[8] != expected[8], "the rate is another one"
    record = json.loads(
        __import__("tensorflow").train.load_checkpoint(str(folder / "train" / "ckpt-12")).get_tensor("memory/.ATTRIBUTES/VARIABLE_VALUE")
    )
    assert record["rollbacks"] == 1


# quick, of the loop alone: test_loop_stubbed.py
@pytest.mark.slow
def test_the_best_checkpoint_outlives_a_return_to_an_earlier_one(records, tmp_path, monkeypatch):
    """Step 4 is evaluated twice, and worse with the lower rate that it is repeated with."""
    break_steps(monkeypatch, lambda step, factor: step == 5 and factor == 1)
    fake_figures(monkeypatch, [0.1, 0.5, 0.0, 0.1])
    folder, outcome = detection.train(small.request(records, tmp_path / "back", steps=6, evaluate_every=2, checkpoint_every=3, patience=9))
    assert "Back to step 3" in outcome.notes[0]
    memory = outcome.memory
    assert (memory.best, memory.best_step, memory.rollbacks, memory.waited) == (0.5, 4, 1, 2)
    assert [path.name for path in (folder / "best").glob("*.index")] == ["ckpt-4.index"]
    reader = __import__("tensorflow").train.load_checkpoint(str(folder / "best" / "ckpt-4"))
    assert reader.get_tensor("rate_factor/.ATTRIBUTES/VARIABLE_VALUE") == 1, "the first of the two"


@pytest.mark.slow
def test_returns_are_bounded_and_go_back_further_each_time(records, tmp_path, monkeypatch):
    break_steps(monkeypatch, lambda step, factor: step == 6)
    with pytest.raises(TrainingError, match=r"diverged at step 6, learning rate .*: .*nan.* taken back 3 times.*--learning-rate"):
        detection.train(small.request(records, tmp_path / "hot"))
    newest = max(int(path.stem.partition("-")[2]) for path in (tmp_path / "hot" / "train").glob("ckpt-*.index"))
    assert newest < 6


@pytest.mark.slow
def test_a_real_explosion_leaves_a_good_checkpoint(records, tmp_path):
    """A learning rate of 1e30 brings the weights near infinity in one step; only the checkpoint before it is good."""
    rate = "train_config.optimizer.momentum_optimizer.learning_rate.cosine_decay_learning_rate"
    hot = (f"{rate}.learning_rate_base=1e30", f"{rate}.warmup_learning_rate=1e30", "train_config.gradient_clipping_by_norm=0")
    with pytest.raises(TrainingError, match="checkpoint is that of step 0"):
        detection.train(small.request(records, tmp_path / "hot", settings=(*small.SETTINGS, *hot)))
    import tensorflow as tf

    newest = tf.train.latest_checkpoint(str(tmp_path / "hot" / "train"))
    reader = tf.train.load_checkpoint(newest)
    largest = max(float(np.abs(reader.get_tensor(name)).max()) for name in reader.get_variable_to_shape_map() if name.startswith("model/"))
    assert largest < 1e3


@pytest.mark.slow
def test_in_loop_evaluation_is_that_of_the_evaluate_command(records, tmp_path, monkeypatch):
    from pneumodet.cli import evaluate

    figures = {}
    folder, _ = detection.train(
        small.request(records, tmp_path / "run", steps=4, evaluate_every=4), on_evaluation=lambda step, evaluated: figures.update(evaluated)
    )
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    assert evaluate.main(["--run", "run", "--resamples", "2"]) == 0
    metrics = json.loads((folder / "eval" / "metrics.json").read_text())
    for key, value in figures.items():
        if value is not None and key in metrics and metrics[key] is not None:
            # a young model gives many boxes of several images the same score, which COCO's own code and ours put in another order
            assert value == pytest.approx(metrics[key], abs=0.01 if key.startswith("coco.") else 1e-9), key


@pytest.fixture
def damaged(records, tmp_path):
    """Return (a record set whose first training record is damaged, the shard that it is in)."""
    from pneumodet.data.random_access import Reader

    data = tmp_path / "records"
    shutil.copytree(records, data)
    shard = next(path for path in sorted(data.glob("train-*")) if path.stat().st_size)
    content = bytearray(shard.read_bytes())
    where = Reader([shard])._places[0]
    content[int(where[2]) + int(where[3]) // 2] ^= 0xFF
    shard.write_bytes(content)
    return data, shard


def test_damaged_records_are_named(damaged, tmp_path):
    data, shard = damaged
    with pytest.raises(Exception, match=rf"{shard.name}, record 0: the record is damaged") as caught:
        detection.train(small.request(data, tmp_path / "damaged"))
    assert type(caught.value).__name__ == "DataError"


# quick: models/inputs/test_feeding.py, of the batches
@pytest.mark.slow
def test_damaged_records_are_left_out(damaged, tmp_path):
    data, _ = damaged
    _, outcome = detection.train(small.request(data, tmp_path / "skipped", skip_corrupt=True))
    assert outcome.completed
    assert "1 corrupt records were left out." in outcome.notes


@pytest.mark.slow
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, id="ctrl-c"), pytest.param(signal.SIGTERM, id="sigterm")])
def test_a_signal_saves_and_says_how_to_go_on(records, tmp_path, number, monkeypatch):
    arguments = [
        "--config",
        "ssd_mobilenet",
        "--data",
        str(records),
        "--run",
        str(tmp_path / "cut"),
        "--steps",
        "5000",
        "--batch-size",
        "2",
        "--pretrained",
        "none",
    ]
    arguments += ["--evaluate-every", "0"] + [word for setting in small.SETTINGS for word in ("--set", setting)]
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); import shallow; from pneumodet.cli import train"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{start}\nwith shallow.backbone():\n    sys.exit(train.main({arguments!r}))"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=shallow.environment(),
    )
    deadline, seen = time.monotonic() + 240, ""
    while "images/s" not in seen and time.monotonic() < deadline and (line := process.stderr.readline()):
        seen += line
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, seen + err
    assert "--resume" in err
    newest = max(int(path.stem.partition("-")[2]) for path in (tmp_path / "cut" / "train").glob("ckpt-*.index"))
    assert 0 < newest < 5000
    assert max(made.losses(tmp_path / "cut")) == newest
