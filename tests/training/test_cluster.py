"""Several devices: two processes on loopback and two devices of one process train as one does; a worker that is lost is named; stops and resumes."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import made
import numpy as np
import pytest
import shallow
import small

from pneumodet.core import gpus
from pneumodet.core.errors import ConfigError
from pneumodet.training import batch_sizes, tf_config
from pneumodet.training.families import detection

TRAIN = Path(__file__).resolve().parents[2] / "tools" / "train.py"

SECONDS = 240
"""No process takes longer, however busy the machine is."""

STEPS = 1000
"""Of the schedule; no test goes so far."""

COMPARED = 6
"""Steps whose losses are compared."""

EXACT = (*small.SETTINGS, "model.ssd.freeze_batchnorm=true")
"""Without batch normalization by each device's own images, many devices do what one does."""


def free_addresses():
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in held]
    for one in held:
        one.close()
    return addresses


def environment(addresses, worker):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": worker}})


def start(arguments, addresses, worker):
    command = [sys.executable, *map(str, arguments)]
    more = {tf_config.TF_CONFIG: environment(addresses, worker)}
    return subprocess.Popen(command, env={**os.environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, processes):
    """Wait until ``condition()``; end at once where a process does."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        ended = [one.communicate()[1] for one in processes if one.poll() is not None]
        if ended or time.monotonic() > deadline:
            kill(processes)
            pytest.fail("ended too early: " + "\n".join(ended)[-3000:] if ended else "too slow")
        time.sleep(0.1)


def end(processes):
    """Return the exit codes and what was written to stderr."""
    try:
        err = [one.communicate(timeout=SECONDS)[1] for one in processes]
    finally:
        kill(processes)
    return [one.returncode for one in processes], err


def kill(processes):
    for one in processes:
        if one.poll() is None:
            one.kill()


def rows(folder, kind="train"):
    try:
        with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if row["kind"] == kind]
    except OSError:
        return []


def checkpoints(folder):
    return sorted(int(path.stem.partition("-")[2]) for path in (folder / "train").glob("ckpt-*.index"))


def alone(records, folder, settings, **more):
    """Return step -> total loss of one process that trains on the whole batch."""
    request = small.request(records, folder, settings=settings, steps=STEPS, batch_size=4, evaluate_every=COMPARED, **more)
    detection.train(request, on_evaluation=lambda step, figures: False)
    return made.losses(folder)


@pytest.fixture(scope="module")
def plain(records, tmp_path_factory):
    """Return the folder of a run of one process with the settings of all configs."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    alone(records, folder, small.SETTINGS)
    return folder


@pytest.fixture(scope="module")
def weights(plain):
    """Return a checkpoint to start from."""
    return str(plain / "train" / f"ckpt-{COMPARED}")


@pytest.fixture(scope="module")
def killed(records, weights, tmp_path_factory):
    """Return folder, addresses, exit codes and stderr of two workers, of which the second was killed in the midst of training."""
    folder, addresses = tmp_path_factory.mktemp("together") / "run", free_addresses()
    arguments = [TRAIN, "--config", "ssd_mobilenet", "--data", records, "--run", folder, "--steps", STEPS, "--batch-size", 4]
    arguments += ["--fine-tune-checkpoint", weights, "--evaluate-every", 4, "--checkpoint-every", 1]
    arguments += [word for setting in EXACT for word in ("--set", setting)]
    processes = [start(arguments, addresses, 0)]
    wait_for(lambda: (folder / "pipeline.config").exists(), processes)  # a run that has begun is not in use for those that belong to it
    processes.append(start(arguments, addresses, 1))
    wait_for(lambda: len(rows(folder)) >= COMPARED, processes)
    processes[1].kill()
    return folder, addresses, *end(processes)


@pytest.mark.slow
def test_two_workers_have_the_losses_of_one(killed, records, weights, tmp_path):
    """With the same batch and checkpoint to start from; to float noise where batch normalization does not use each device's own images."""
    expected, together = alone(records, tmp_path / "alone", EXACT, fine_tune_checkpoint=weights), made.losses(killed[0])
    steps = range(1, COMPARED + 1)
    assert [together[step] for step in steps] == pytest.approx([expected[step] for step in steps], rel=1e-4)
    norms = [[float(row["gradient_norm"]) for row in rows(folder)[:COMPARED]] for folder in (killed[0], tmp_path / "alone")]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named(killed):
    _, addresses, codes, err = killed
    assert codes == [2, -signal.SIGKILL], err[0][-3000:]
    last = err[0].strip().splitlines()[-1]
    assert last == (
        f"train: error: Lost worker 1 ({addresses[1]}); its own last lines may say why. Start all workers again with --resume: "
        "they continue from the last checkpoint."
    )
    assert "Traceback" not in err[0]


@pytest.mark.slow
def test_all_go_on_and_a_signal_to_one_stops_all(killed):
    folder = killed[0]
    newest, addresses = checkpoints(folder)[-1], free_addresses()
    processes = [start([TRAIN, "--run", folder, "--resume"], addresses, worker) for worker in (1, 0)]
    wait_for(lambda: int(rows(folder)[-1]["step"]) >= newest + 4, processes)
    processes[0].send_signal(signal.SIGTERM)
    codes, err = end(processes)
    assert codes == [130, 130], err
    assert all("--resume" in text for text in err)
    losses = made.losses(folder)
    assert sorted(losses) == list(range(1, max(losses) + 1)), "no step is missing or repeated"
    assert checkpoints(folder)[-1] == max(losses)
    evaluated = [int(row["step"]) for row in rows(folder, "validation")]
    assert evaluated == list(range(4, max(losses) + 1, 4))
    assert len(list((folder / "best").glob("*.index"))) == 1
    assert np.isfinite(list(losses.values())).all()


MIRRORED = """
import sys
from pathlib import Path
import tensorflow as tf
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import small
from pneumodet.training.families import detection as experiment
from pneumodet.training import cluster, validation

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
two = cluster.Cluster(strategy)
with strategy.scope():
    kinds = {"synchronization": tf.VariableSynchronization.ON_READ, "aggregation": tf.VariableAggregation.MEAN}
    mean = tf.Variable([0.0, 0.0], trainable=False, **kinds)
    weight = tf.Variable(1.0)
level = two.leveler([mean, weight])
strategy.run(lambda: mean.assign([1.0, 2.0 * tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)]))
assert mean.read_value().numpy().tolist() == [1, 0]
level()
assert [one.numpy().tolist() for one in mean.values] == [[1, 1], [1, 1]], mean

seen = {}
real = validation.Validation.run

def run(self):
    averages = [one for one in self._model.variables if one.synchronization == tf.VariableSynchronization.ON_READ]
    first, second = ([one.values[device].numpy() for one in averages] for device in (0, 1))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    seen["sum"] = sum(float(abs(one).sum()) for one in first)
    return real(self)

validation.Validation.run = run
cluster.local = lambda: two
fields = {"settings": small.SETTINGS, "steps": int(sys.argv[3]), "batch_size": 4, "evaluate_every": int(sys.argv[4])}
folder, _ = experiment.train(small.request(Path(sys.argv[1]), sys.argv[2], **fields), on_evaluation=lambda step, figures: False)

saved = tf.train.load_checkpoint(tf.train.latest_checkpoint(folder / "best"))
names = [name for name in saved.get_variable_to_shape_map() if "moving_" in name and name.startswith("model/")]
total = sum(float(abs(saved.get_tensor(name)).sum()) for name in names)
assert len(names) > 100 and abs(total - seen["sum"]) < 1e-6 * total, (total, seen)
"""


@pytest.mark.slow
def test_two_devices_of_one_process(records, plain, tmp_path):
    """Batch normalization goes by two images in place of four, so that losses agree roughly; the means of both are evaluated and saved."""
    arguments = ["-c", MIRRORED, records, tmp_path / "run", STEPS, COMPARED]
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=Path(small.__file__).parent,
        env=shallow.environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected, mirrored = made.losses(plain), made.losses(tmp_path / "run")
    steps = range(1, COMPARED + 1)
    assert [mirrored[step] for step in steps] == pytest.approx([expected[step] for step in steps], rel=0.15)
    assert mirrored != expected


JOIN = """
import sys
from pneumodet.core.errors import TrainingError
from pneumodet.training import cluster
cluster.JOIN_SECONDS = 2
try:
    with cluster.joined():
        pass
except TrainingError as error:
    sys.exit(str(error))
"""


@pytest.mark.slow
def test_who_does_not_come_is_named():
    addresses = free_addresses()
    (code,), (err,) = end([start(["-c", JOIN], addresses, 1)])
    assert code == 1
    assert re.search(rf"2 workers of TF_CONFIG did not come together within 2 s: worker 0 \({addresses[0]}\) cannot be reached\. ", err)


def test_who_is_lost_is_found_by_asking_or_by_what_tensorflow_says():
    from pneumodet.training import cluster

    away, other = free_addresses()
    with socket.create_server(("127.0.0.1", 0)) as here:
        there = f"127.0.0.1:{here.getsockname()[1]}"
        error = types.SimpleNamespace(message="aborted at /job:worker/task:0/device:CPU:0: /job:worker/replica:0/task:2 is down")
        assert "Lost worker 1 (" in cluster.Cluster(None, (other, away, there), 0).lost(error)
        assert f"Lost worker 2 ({there});" in cluster.Cluster(None, (other, there, there), 0).lost(error)
        assert "Lost another worker;" in cluster.Cluster(None, (other, there), 0).lost(types.SimpleNamespace(message=None))


def test_batch_size_auto_is_that_of_all_workers(monkeypatch):
    monkeypatch.setenv(tf_config.TF_CONFIG, environment(["a:1", "b:1", "c:1"], 0))
    monkeypatch.setattr(batch_sizes, "_in_child", lambda config, data, options, size: size)
    monkeypatch.setattr(batch_sizes, "available", lambda: 1 << 30)
    monkeypatch.setattr(gpus, "free_bytes", list)
    for count, expected in ((1000, 48), (7, 6), (1, 3)):
        assert batch_sizes.fitting(None, types.SimpleNamespace(train=[None] * count), None) == expected


def test_the_learning_rate_is_looked_for_on_one_machine(records, tmp_path, monkeypatch):
    monkeypatch.setenv(tf_config.TF_CONFIG, environment(["a:1", "b:1"], 1))
    hooks = {"on_start": print, "on_download": print, "on_progress": print}
    with pytest.raises(ConfigError, match="Unset TF_CONFIG"):
        detection.find_rate(small.request(records, tmp_path / "run"), steps=50, **hooks)
