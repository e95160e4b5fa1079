"""What the loop does around a step, with parts that train nothing; test_loop.py has the same of real networks."""

import importlib
import os
import signal

import pytest

from pneumodet.core.errors import TrainingError
from pneumodet.models.options import Plan


@pytest.fixture(scope="module")
def stub():
    import stub_parts

    return stub_parts


def names(folder):
    return {path.name for path in folder.glob("*.index")}


def test_the_best_checkpoint_stays_and_patience_ends_the_run(stub, tmp_path):
    plan = Plan(evaluate_every=2, patience=2, checkpoint_every=100)
    outcome, heard = stub.train(tmp_path, plan, figures=[None, 0.1, 0.6, 0.1, 0.2], total=20)
    assert heard.evaluations == [(2, None), (4, 0.1), (6, 0.6), (8, 0.1), (10, 0.2)]
    assert (outcome.memory.best, outcome.memory.best_step, outcome.step) == (0.6, 6, 10)
    assert heard.notes == [
        "step 2 of 20: rsna_metric is undefined",
        "step 4 of 20: rsna_metric 0.1000, kept as the best so far",
        "step 6 of 20: rsna_metric 0.6000 (mean of 2: 0.3500), kept as the best so far",
        "step 8 of 20: rsna_metric 0.1000 (mean of 3: 0.2667); the best is still that of step 6",
        "step 10 of 20: rsna_metric 0.2000 (mean of 3: 0.3000); the best is still that of step 6",
    ]
    assert outcome.completed
    assert "no better rsna_metric in 2 evaluations" in outcome.stopped_early
    assert names(tmp_path / "best") == {"ckpt-6.index"}
    assert "ckpt-10.index" in names(tmp_path / "train")


def test_a_run_that_was_stopped_between_checkpoints_ends_as_an_uncut_one(stub, tmp_path):
    def interrupt(step, factor):
        if step == 5:
            raise KeyboardInterrupt
        return False

    plan = Plan(checkpoint_every=3)
    _, whole = stub.train(tmp_path / "whole", plan)
    with pytest.raises(KeyboardInterrupt):
        stub.train(tmp_path / "cut", plan, trainer=stub.Trainer(interrupt))
    assert names(tmp_path / "cut" / "train") == {"ckpt-0.index", "ckpt-3.index"}
    outcome, heard = stub.train(tmp_path / "cut", plan)
    assert outcome.completed
    assert heard.losses == {step: loss for step, loss in whole.losses.items() if step > 3}


def test_best_and_patience_survive_a_resume(stub, tmp_path):
    plan = Plan(evaluate_every=2, patience=3, checkpoint_every=2)
    stub.train(tmp_path, plan, figures=[0.5, 0.3], total=4)
    outcome, heard = stub.train(tmp_path, plan, figures=[0.2, 0.1], total=20)
    assert heard.evaluations == [(6, 0.2), (8, 0.1)]
    assert (outcome.memory.best, outcome.memory.best_step, outcome.memory.waited, outcome.step) == (0.5, 2, 3, 8)


def test_a_loss_that_is_not_finite_goes_back_with_a_lower_rate(stub, tmp_path):
    plan = Plan(checkpoint_every=1)
    _, whole = stub.train(tmp_path / "whole", plan)
    trainer = stub.Trainer(lambda step, factor: step == 5 and factor == 1)
    outcome, heard = stub.train(tmp_path / "back", plan, trainer=trainer)
    assert outcome.completed
    assert outcome.memory.rollbacks == 1
    (note,) = outcome.notes
    assert "Not finite at step 6" in note and "Back to step 5" in note
    assert heard.notes == [note] and heard.rewound == [5]
    assert [heard.losses[step] for step in range(1, 6)] == [whole.losses[step] for step in range(1, 6)]
    assert heard.losses[5] > heard.losses[6] > whole.losses[6], "from the weight of step 5, at a lower rate"


def test_the_best_checkpoint_outlives_a_return_to_an_earlier_one(stub, tmp_path):
    """Step 4 is evaluated twice, and worse with the lower rate that it is repeated with."""
    import tensorflow as tf

    trainer = stub.Trainer(lambda step, factor: step == 4 and factor == 1)
    plan = Plan(evaluate_every=2, checkpoint_every=3, patience=9)
    outcome, heard = stub.train(tmp_path, plan, trainer=trainer, figures=[0.1, 0.5, 0.0, 0.1], total=6)
    assert "Back to step 3" in outcome.notes[0]
    assert heard.evaluations == [(2, 0.1), (4, 0.5), (4, 0.0), (6, 0.1)]
    memory = outcome.memory
    assert (memory.best, memory.best_step, memory.rollbacks, memory.waited) == (0.5, 4, 1, 2)
    assert names(tmp_path / "best") == {"ckpt-4.index"}
    reader = tf.train.load_checkpoint(str(tmp_path / "best" / "ckpt-4"))
    assert reader.get_tensor("rate_factor/.ATTRIBUTES/VARIABLE_VALUE") == 1, "the first of the two"


def test_returns_are_bounded_and_go_back_further_each_time(stub, tmp_path):
    trainer = stub.Trainer(lambda step, factor: step == 5)
    with pytest.raises(TrainingError, match=r"diverged at step 6, learning rate .*: .*nan.* taken back 3 times"):
        stub.train(tmp_path, Plan(checkpoint_every=1, keep=9), trainer=trainer)
    assert max(int(name[5:-6]) for name in names(tmp_path / "train")) < 5


def test_a_signal_cuts_an_evaluation_off_and_it_is_made_up_for(stub, tmp_path):
    def cut():
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the evaluation goes on")

    plan = Plan(evaluate_every=2, checkpoint_every=1)
    outcome, heard = stub.train(tmp_path, plan, figures=[0.1, cut], total=6)
    assert (outcome.completed, outcome.step, outcome.memory.due) == (False, 4, True)
    assert outcome.checkpoint.endswith("ckpt-4")
    assert heard.evaluations == [(2, 0.1)]
    outcome, heard = stub.train(tmp_path, plan, figures=[0.4, 0.1], total=6)
    assert (outcome.completed, outcome.step, outcome.memory.best_step) == (True, 6, 4)
    assert heard.evaluations == [(4, 0.4), (6, 0.1)]
    assert names(tmp_path / "best") == {"ckpt-4.index"}


def test_slow_steps_are_saved_by_time(stub, tmp_path, monkeypatch):
    from pneumodet.training import loop

    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    stub.train(tmp_path, Plan(checkpoint_every=1000, keep=20), total=6)
    assert names(tmp_path / "train") == {f"ckpt-{step}.index" for step in range(7)}


@pytest.mark.parametrize(
    ("module", "advice"), [("step", "--batch-size auto"), ("keras.trainer", "--set image_size")], ids=["detection", "keras"]
)
def test_too_little_memory_says_what_helps(stub, tmp_path, module, advice):
    import tensorflow as tf

    class Full(stub.Trainer):
        memory_advice = importlib.import_module(f"pneumodet.training.{module}").Trainer.memory_advice

        def step(self, batch):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")

    with pytest.raises(TrainingError, match=f"too little memory for 2 images at once .OOM when .*{advice}"):
        stub.train(tmp_path, Plan(), trainer=Full())
