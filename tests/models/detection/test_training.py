"""Training: resume, stop by a signal, refusal of what cannot work, and the stop at a loss that is not finite."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from small_runs import SMALL

from pneumodet.cli import train
from pneumodet.core.errors import DataError


def flags(records, name, *more, steps=6):
    return [
        "--config",
        "ssd_mobilenet",
        "--data",
        str(records),
        "--run",
        name,
        "--steps",
        str(steps),
        "--evaluate-every",
        "0",
        *(() if "--fine-tune-checkpoint" in more else ("--pretrained", "none")),
        *SMALL,
        *more,
    ]


@pytest.fixture
def copy(trained, workspace):
    """Return a copy of the session's run under the name ``copy``."""
    folder = workspace / "copy"
    shutil.copytree(trained, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_resume_goes_on_from_the_checkpoint(copy):
    assert train.main(["--run", "copy", "--resume", "--steps", "8"]) == 0
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(copy / "train"))
    assert reader.get_tensor("step/.ATTRIBUTES/VARIABLE_VALUE") == 8
    assert tf.train.latest_checkpoint(str(copy / "train")).endswith("ckpt-8")
    momenta = [name for name in reader.get_variable_to_shape_map() if "momentum" in name and "OPTIMIZER_SLOT" in name]
    assert momenta, "the optimizer's state is in the checkpoint"


@pytest.mark.slow
def test_resume_of_a_finished_run_changes_nothing(copy):
    before = (copy / "train" / "ckpt-6.index").read_bytes()
    assert train.main(["--run", "copy", "--resume"]) == 0
    assert (copy / "train" / "ckpt-6.index").read_bytes() == before


def test_resume_refuses_other_settings(trained, workspace, records, capsys):
    assert train.main(["--run", "six", "--resume", "--batch-size", "4"]) == 2
    assert "--batch-size does not go with --resume" in capsys.readouterr().err


def test_a_used_runs_is_refused(trained, workspace, records, capsys):
    before = (trained / "run.json").read_bytes()
    assert train.main(flags(records, "six")) == 2
    err = capsys.readouterr().err
    assert "holds a run already" in err
    assert "--resume" in err
    assert (trained / "run.json").read_bytes() == before


def test_a_locked_run_is_refused(copy, capsys):
    from pneumodet.core import runs

    with runs.locked(copy):
        assert train.main(["--run", "copy", "--resume", "--steps", "9"]) == 2
    assert "Another process is training" in capsys.readouterr().err


REFUSED = {
    "config": (["--config", "ssd_mobilnet"], "did you mean 'ssd_mobilenet'"),
    "setting": (["--set", "train_config.batch=3"], "no field 'batch'"),
    "run-name": (["--run", "a b"], "Run name 'a b'"),
    "pretrained": (["--pretrained", "cocoo"], "There is no pretrained checkpoint 'cocoo'"),
    "patience": (["--patience", "3", "--evaluate-every", "0"], "--patience counts evaluations"),
    "augmentation": (["--augmentation", "radiogaph"], "Did you mean 'radiograph'?"),
    "no-checkpoint": (["--fine-tune-checkpoint", "nowhere/ckpt-1", "--fine-tune-checkpoint-type", "full"], "There is no checkpoint"),
}


@pytest.fixture(scope="module")
def refused(records, tmp_path_factory):
    """Return case -> (exit code, standard error, whether TensorFlow was imported, whether there is a folder), all from one process."""
    workspace = tmp_path_factory.mktemp("refused")
    code = f"""
import contextlib, io, json, pathlib, sys
from pneumodet.cli import train
answers = {{}}
for name, words in {[(name, flags(records, "refused", *change)) for name, (change, _) in REFUSED.items()]!r}:
    with contextlib.redirect_stderr(io.StringIO()) as err:
        code = train.main(words)
    answers[name] = code, err.getvalue(), "tensorflow" in sys.modules, pathlib.Path({str(workspace / "refused")!r}).exists()
print(json.dumps(answers))
"""
    env = {**os.environ, "PNEUMODET_WORKSPACE": str(workspace)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_tensorflow_starts(refused, case):
    code, err, has_tensorflow, has_folder = refused[case]
    assert (code, has_tensorflow, has_folder) == (2, False, False), err
    assert REFUSED[case][1] in err
    assert len(err.strip().splitlines()) == 1


def test_a_manifest_that_changed_is_refused_on_resume(trained, workspace, tmp_path, records, capsys):
    folder = workspace / "moved"
    shutil.copytree(trained, folder)
    data = tmp_path / "records"
    shutil.copytree(records, data)
    (data / "manifest.json").write_text((data / "manifest.json").read_text() + "\n")
    record = json.loads((folder / "run.json").read_text())
    record["data"]["folder"] = str(data)
    (folder / "run.json").write_text(json.dumps(record))
    assert train.main(["--run", "moved", "--resume", "--steps", "8"]) == 2
    assert "another one than the run was started with" in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint(copy, monkeypatch, capsys):
    import tensorflow as tf

    def full(self, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.train.CheckpointManager, "save", full)
    assert train.main(["--run", "copy", "--resume", "--steps", "7"]) == 2
    err = capsys.readouterr().err
    assert "No space left on device" in err
    assert "last good one is step 6" in err
    assert DataError.__name__ not in err
