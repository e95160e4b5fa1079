"""Training loops, each in a process of its own, with the time of every step: the stock API's as ``model_main_tf2`` calls it, and tools/train.py.

    resolve(folder, config="ssd_mobilenet", data=records, pretrained="…/ckpt-1", steps=200)       # pipeline.config for the stock API
    answer = run("stock", {"config": str(folder / CONFIG), "model_dir": str(folder)}, log=folder / "log.txt")
    answer = run("evaluate", {"config": …, "checkpoint_dir": …, "model_dir": …, "step": 200}, log=…)
    answer = run("bare", {"config": …, "steps": 40}, log=…)                                        # the step alone, on one batch
    answer = run("ours", {"argv": ["--config", "ssd_mobilenet", …]}, log=…)
    answer["marks"]["first step"] - answer["started"], rates(answer["stamps"], batch_size=8)

What runs is unchanged; a step's end is noted by one Python call of some microseconds in the stock graph, and by what the command reports to its
progress bar every 20 steps in ours. Times are of the system's clock, so that they count from the start of the process.
"""

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from pneumodet.core.runs import CONFIG, LABEL_MAP  # noqa: E402
from pneumodet.data import label_map  # noqa: E402
from pneumodet.models.detection import pipeline_config  # noqa: E402
from pneumodet.training.families import detection_request  # noqa: E402

ITERATION = 100
"""Steps that the stock loop does in one call, which is its default; it does whole calls only, and saves and writes summaries between them."""

WINDOW = 20
"""Steps over which a rate is measured; the first so many are left out."""

WARM_UP = 3
"""Steps, or batches, before time is taken."""

STOPPED = (130, -signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit codes of a process that was asked to stop."""

Stamp = tuple[int, float, float]
"""Steps done, seconds of the system's clock, CPU seconds of the process."""


def resolve(
    folder: Path,
    *,
    config: str,
    data: Path,
    pretrained: str | None,
    steps: int,
    batch_size: int = 8,
    settings: Sequence[str] = (),
    recipe: str | None = None,
    change: Callable[[Any], None] = lambda config: None,
) -> Path:
    """Write a pipeline.config for the stock API, made of the same config, records and checkpoint as tools/train.py would make it.

    Args:
      folder: new; it gets the label map, too.
      config: name or path.
      data: record set.
      pretrained: checkpoint.
      steps: of the run and its schedule.
      batch_size: of the run.
      settings: ``KEY=VALUE``.
      recipe: "stock" for the zoo's own settings.
      change: changes the TrainEvalPipelineConfig last.

    Returns:
      The file.
    """
    folder.mkdir(parents=True)
    request = detection_request.Request(
        run=str(folder),
        config=config,
        data=data,
        pretrained=pretrained or "none",
        steps=steps,
        batch_size=batch_size,
        settings=tuple(settings),
        recipe=recipe,
        fit_anchors=False,
    )
    prepared = detection_request.new(folder, request, say=lambda text: None, on_download=lambda done, total: None)
    resolved, manifest = prepared.config, prepared.data
    change(resolved)
    label_map.write_label_map(folder / LABEL_MAP, manifest.label_map)
    pipeline_config.save(resolved, folder / CONFIG)
    return folder / CONFIG


def run(kind: str, spec: dict[str, Any], *, log: Path, script: str = __file__, seconds: float | None = None) -> dict[str, Any]:
    """Run one measurement of ``script`` in a process of its own.

    Args:
      kind: which of the script's.
      spec: its arguments.
      log: gets what it says.
      script: a file that calls ``answer``.
      seconds: after which it is asked to stop.

    Returns:
      Its answer (nothing more where it was stopped before it could answer), with ``started``, the time at which it was started, ``seconds``,
      ``cpu_seconds`` of all its processes, and ``stopped``, whether it was asked to.
    """
    command = [sys.executable, script, "--one", kind, json.dumps(spec)]
    with log.open("w", encoding="utf-8") as errors:
        started, before = time.time(), os.times()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            text, stopped = process.communicate(timeout=seconds)[0], False
        except subprocess.TimeoutExpired:
            process.terminate()
            text, stopped = process.communicate()[0], True
        finally:
            process.kill()
    took, after = time.time() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    if process.returncode and not (stopped and process.returncode in STOPPED):
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
        sys.exit("\n".join([*lines[-8:], f"{kind} failed with code {process.returncode}"]))
    lines = text.splitlines()
    last = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return {**last, "started": started, "seconds": took, "cpu_seconds": cpu, "stopped": stopped}


def answer(kinds: dict[str, Callable[..., dict[str, Any]]]) -> bool:
    """Do what ``run`` asked for, if this process is one of its, and return whether it was."""
    if sys.argv[1:2] != ["--one"]:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # leaves ``run`` in order, which takes its process along
        return False
    kind, spec = sys.argv[2], json.loads(sys.argv[3])
    outcome = kinds[kind](**spec)
    print("\n" + json.dumps({**outcome, "mib": peak_mib()}), flush=True)
    return True


def peak_mib() -> float:
    """Return the most memory that this process held, in MiB; unlike getrusage's it does not begin with the parent's."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))[1]) / 1024


def rates(stamps: Sequence[Stamp], *, batch_size: int) -> list[float]:
    """Return images/s of each window of ``WINDOW`` steps, without the first window."""
    times = {step: seconds for step, seconds, _ in stamps}
    return [
        WINDOW * batch_size / (seconds - times[step - WINDOW])
        for step, seconds in times.items()
        if step % WINDOW == 0 and step >= 2 * WINDOW and step - WINDOW in times
    ]


def rate(stamps: Sequence[Stamp], *, batch_size: int) -> float:
    """Return the median of ``rates``; over all steps but the first where there is no window."""
    speeds = rates(stamps, batch_size=batch_size)
    if speeds:
        return statistics.median(speeds)
    (first, begin, _), (last, end, _) = stamps[0], stamps[-1]
    return (last - first) * batch_size / (end - begin) if last > first else float("nan")


def cpu_a_step(stamps: Sequence[Stamp]) -> float:
    """Return CPU seconds of the process a step, without the first ``WINDOW`` steps where there are more."""
    later = [stamp for stamp in stamps if stamp[0] >= WINDOW]
    (first, _, begin), (last, _, end) = (later if len(later) > 1 else stamps)[0], stamps[-1]
    return (end - begin) / (last - first) if last > first else float("nan")


class LostError(Exception):
    """The weights are not finite."""


def stock(
    config: str,
    model_dir: str,
    *,
    checkpoint_every: int = 1000,
    summaries: bool = True,
    iteration: int = ITERATION,
    end_if_lost: bool = False,
) -> dict[str, Any]:
    """Train by the stock loop, in this process; with ``end_if_lost`` until a weight that it saves is not finite, which no later step repairs."""
    marks: dict[str, float] = {}
    stamps: list[Stamp] = []
    tracing: list[float] = []
    api = _load(marks)
    import tensorflow as tf

    lib = api.model_lib_v2
    train_step, save = lib.eager_train_step, tf.train.CheckpointManager.save

    def stamp(step: Any) -> None:
        stamps.append((int(step), time.time(), time.process_time()))

    def stamped(model: Any, features: Any, labels: Any, unpad: Any, optimizer: Any, **more: Any) -> Any:
        begin = time.time()
        losses = train_step(model, features, labels, unpad, optimizer, **more)
        tf.numpy_function(stamp, [optimizer.iterations.read_value()], [])  # read once the optimizer, which counts last, is done
        tracing.append(time.time() - begin)
        return losses

    def saved(self: Any, *args: Any, **more: Any) -> Any:
        marks.setdefault("built", time.time())
        path = save(self, *args, **more)
        marks.setdefault("saved", time.time())
        if end_if_lost and not all(tf.math.is_finite(weight).numpy().all() for weight in self.checkpoint.model.trainable_variables):
            raise LostError
        return path

    lib.eager_train_step, tf.train.CheckpointManager.save = stamped, saved
    tf.config.set_soft_device_placement(True)
    with tf.distribute.MirroredStrategy().scope(), contextlib.suppress(LostError):
        lib.train_loop(
            pipeline_config_path=config,
            model_dir=model_dir,
            checkpoint_every_n=checkpoint_every,
            record_summaries=summaries,
            num_steps_per_iteration=iteration,
        )
    marks["first step"] = stamps[0][1]
    return {"marks": marks, "stamps": stamps, "tracing": tracing}


def evaluate(config: str, checkpoint_dir: str, model_dir: str, step: int) -> dict[str, Any]:
    """Evaluate the newest checkpoint, of ``step``, as ``eval_continuously`` does, and its loop over the images once more."""
    marks: dict[str, float] = {}
    api = _load(marks)
    lib = api.model_lib_v2
    loop, seconds, ap50 = lib.eager_eval_loop, [], []

    def timed(*args: Any, **more: Any) -> Any:
        for _ in range(2):
            begin = time.time()
            returned = loop(*args, **more)
            seconds.append(time.time() - begin)
            marks.setdefault("evaluated", time.time())
            ap50.append(float(returned["DetectionBoxes_Precision/mAP@.50IOU"]))
        return returned

    lib.eager_eval_loop = timed
    lib.eval_continuously(
        pipeline_config_path=config, model_dir=model_dir, checkpoint_dir=checkpoint_dir, train_steps=step, wait_interval=1, timeout=5
    )
    return {"marks": marks, "loops": seconds, "ap50": ap50[0]}


def ours(argv: list[str]) -> dict[str, Any]:
    """Train by tools/train.py's own function, in this process."""
    from pneumodet.cli import train as command
    from pneumodet.core import progress
    from pneumodet.training.families import detection

    train, update = detection.train, progress.TrainingBar.update
    timings: dict[str, Any] = {"marks": {}, "stamps": [], "evaluations": []}

    def updated(self: Any, now: Any) -> None:
        timings["stamps"].append((now.step, time.time(), time.process_time()))
        update(self, now)

    def timed(request: Any, **more: Any) -> Any:
        begin = time.time()
        folder, outcome = train(
            request, on_evaluation=lambda step, figures: timings["evaluations"].append((step, time.time(), figures)), **more
        )
        timings["marks"]["first step"] = begin + (outcome.seconds_to_first_step or 0)
        timings["step"] = outcome.step
        return folder, outcome

    detection.train, progress.TrainingBar.update = timed, updated
    with contextlib.redirect_stdout(sys.stderr):
        code = command.main(argv)
    if code not in (0, 130):
        sys.exit(code)
    return timings


def bare(config: str, steps: int) -> dict[str, Any]:
    """Time the step and its forward half, on one batch."""
    tf, api, parsed, model = model_of(config)
    features, labels = next(iter(input_of(api, parsed, model)))
    train, lib = parsed.train_config, api.model_lib_v2
    if train.fine_tune_checkpoint:
        dataset = tf.data.Dataset.from_tensors((features, labels))
        lib.load_fine_tune_checkpoint(
            model, train.fine_tune_checkpoint, train.fine_tune_checkpoint_type, 2, True, dataset, train.unpad_groundtruth_tensors
        )
    counter = tf.Variable(0, dtype=tf.int64, trainable=False)
    optimizer, _ = api.optimizer_builder.build(train.optimizer, global_step=counter)
    if train.optimizer.use_moving_average:
        lib._ensure_model_is_built(model, tf.data.Dataset.from_tensors((features, labels)), train.unpad_groundtruth_tensors)
        optimizer.shadow_copy(model)

    @tf.function
    def step() -> Any:
        losses = lib.eager_train_step(
            model,
            features,
            labels,
            train.unpad_groundtruth_tensors,
            optimizer,
            training_step=counter,
            add_regularization_loss=train.add_regularization_loss,
            clip_gradients_value=train.gradient_clipping_by_norm or None,
        )
        counter.assign_add(1)
        return losses

    @tf.function
    def forward() -> Any:
        model._is_training = True
        tf.keras.backend.set_learning_phase(True)
        unstacked = api.model_lib.unstack_batch(labels, unpad_groundtruth_tensors=train.unpad_groundtruth_tensors)
        return lib._compute_losses_and_predictions_dicts(model, features, unstacked, training_step=counter)[0]

    return {"steps": _timed(step, steps), "forward": _timed(forward, max(1, steps // 2))}


def _timed(step: Callable[[], dict[str, Any]], count: int) -> dict[str, float]:
    for _ in range(WARM_UP):
        step()
    seconds, cpu = [], time.process_time()
    for _ in range(count):
        begin = time.perf_counter()
        step()["Loss/total_loss"].numpy()
        seconds.append(time.perf_counter() - begin)
    return {"seconds": statistics.median(seconds), "cpu": (time.process_time() - cpu) / count}


def model_of(config: str, *, threads: int = 0) -> tuple[Any, Any, Any, Any]:
    """Return (TensorFlow, the API, the config, its model)."""
    api = _load({})
    import tensorflow as tf

    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    parsed = pipeline_config.load(config)
    return tf, api, parsed, api.model_builder.build(parsed.model, is_training=True)


def input_of(api: Any, parsed: Any, model: Any) -> Any:
    """Return the API's dataset of training batches."""
    return api.inputs.train_input(
        train_config=parsed.train_config, train_input_config=parsed.train_input_reader, model_config=parsed.model, model=model
    )


def _load(marks: dict[str, float]) -> Any:
    from pneumodet.core import logs
    from pneumodet.models.detection import odapi

    logs.set_up(verbose=False)
    api = odapi.load()
    marks["imported"] = time.time()
    return api


if __name__ == "__main__":
    answer({"stock": stock, "evaluate": evaluate, "ours": ours, "bare": bare})
