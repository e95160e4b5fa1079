"""Try TensorFlow and the Object Detection API in a process of their own.

    run_probe()["api"]                       # {"value": "imports with all bridges"}, or {"error": "ImportError: …"}

A wrong TensorFlow does not raise, it crashes (a CPU without AVX, a library of another CUDA) or hangs; neither may take its caller along.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pneumodet.core import installation, resources
from pneumodet.doctor.check import ERROR, INFO, OK, Check
from pneumodet.doctor.extras import PREDICT, RUNTIMES
from pneumodet.doctor.packages import SETUP_API, TENSORFLOW

PROBE_SECONDS = 300
"""Time that TensorFlow and the API may take; about 10 s is usual, a cold network disk takes longer."""

PROBE = """
import json, sys
def say(stage, **outcome):
    print("\\n@@" + json.dumps({"stage": stage, **outcome}), flush=True)
def attempt(stage, action):
    try:
        say(stage, value=action())
    except BaseException as error:
        lines = str(error).strip().splitlines()
        say(stage, error=type(error).__name__ + (": " + lines[0] if lines else ""))
        sys.exit(0)
def import_tensorflow():
    global tf
    import pneumodet.models.detection
    import tensorflow as tf
    return tf.__version__
def graph():
    x = tf.Variable(tf.ones([1, 8, 8, 3]))
    with tf.GradientTape() as tape:
        y = tf.function(lambda v: tf.reduce_sum(tf.nn.conv2d(v, tf.ones([3, 3, 3, 2]), 1, "VALID")))(x)
    got = float(y), float(tape.gradient(y, x)[0, 4, 4, 0])
    if got != (1944.0, 18.0):
        raise ArithmeticError(f"a convolution and its gradient gave {got}, not (1944.0, 18.0)")
    return "a convolution and its gradient are right"
def gpus():
    names = []
    for device in tf.config.list_physical_devices("GPU"):
        names.append(tf.config.experimental.get_device_details(device).get("device_name", device.name))
    return names
def api():
    from pneumodet.models.detection import odapi
    odapi.load()
    return "imports with all bridges"
attempt("import", import_tensorflow)
attempt("gpus", gpus)
attempt("graph", graph)
attempt("api", api)
"""
"""Run by ``run_probe``: one line "@@{json}" for each stage that was reached."""

TRY_RUNTIMES = """
import importlib, importlib.metadata, json
for name, module in (("onnxruntime", "onnxruntime"), ("ai-edge-litert", "ai_edge_litert.interpreter")):
    try:
        importlib.import_module(module)
        outcome = {"value": importlib.metadata.version(name)}
    except Exception as error:
        outcome = {"error": f"{type(error).__name__}: {error}"}
    print("@@" + json.dumps({"stage": name} | outcome), flush=True)
"""
"""Run by ``run_probe`` where TensorFlow is not: a line for each of ``RUNTIMES``."""


def run_probe(*, code: str = PROBE, seconds: float = PROBE_SECONDS) -> dict[str, Any]:
    """Run ``code`` in a Python process of its own.

    Returns:
      stage -> {"value": …} or {"error": text}, for every stage that was reached, and "end" -> how the process ended:
      "" where it ended by itself, else a text.
    """
    package_parent = str(resources.PACKAGE.parent)
    inherited = os.environ.get("PYTHONPATH")
    search = os.pathsep.join([package_parent, inherited] if inherited else [package_parent])
    # the probe imports this very pneumodet, also where it is not installed
    environment = {**os.environ, "PYTHONPATH": search, "TF_CPP_MIN_LOG_LEVEL": "3"}
    # -P: the working directory is not on the path, so that no file there is taken for a package
    command = [sys.executable, "-P", "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds, env=environment)
        output, end = done.stdout, _ending(done.returncode, done.stderr)
    except subprocess.TimeoutExpired as error:
        # TimeoutExpired has bytes even where text was asked for; what was written before the end still counts
        raw = error.stdout or b""
        output, end = raw.decode(errors="replace") if isinstance(raw, bytes) else raw, f"did not end within {seconds:g} s"
    stages = {}
    for line in output.splitlines():
        # TensorFlow writes lines of its own between those of the probe
        if line.startswith("@@"):
            stage = json.loads(line[2:])
            stages[stage.pop("stage")] = stage
    return {**stages, "end": end}


def _ending(code: int, stderr: str) -> str:
    if code == 0:
        return ""
    # subprocess returns the signal that ended a process as a negative number
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"crashed with signal {name}" + (" (this TensorFlow needs a CPU with AVX)" if name == "SIGILL" else "")
    return f"ended with code {code}: " + (stderr.strip().splitlines() or ["no message"])[-1]


def check_probe(probe: Mapping[str, Any], *, nvidia: bool) -> Iterator[Check]:
    """Check what ``run_probe`` returned.

    Args:
      probe: its result.
      nvidia: whether the machine has an NVIDIA GPU.
    """
    reinstall = f"pip install --force-reinstall '{TENSORFLOW}', or in a new environment: {installation.repair()}"
    names = {
        "import": ("TensorFlow", reinstall),
        "gpus": ("GPU", reinstall),
        "graph": ("TensorFlow computes", reinstall),
        "api": ("Object Detection API", f"what is an ERROR above, then {SETUP_API}"),
    }
    for stage, (name, fix) in names.items():
        result = probe.get(stage)
        if result is None or "error" in result:
            yield Check(name, ERROR, result["error"] if result else f"the attempt {probe.get('end') or 'ended without an answer'}", fix)
            return  # what follows needs it
        if stage != "gpus":
            yield Check(name, OK, result["value"])
        elif result["value"]:
            yield Check(name, OK, ", ".join(result["value"]))
        elif nvidia:
            sentence = "this machine has an NVIDIA GPU, but TensorFlow does not see it"
            cuda = TENSORFLOW.replace("tensorflow", "tensorflow[and-cuda]")
            yield Check(name, ERROR, sentence, f"pip install '{cuda}'; nvidia-smi must show a driver of at least 525")
        else:
            yield Check(name, INFO, "none; training on the CPU works, but slowly")


def check_runtimes(probe: Mapping[str, Any]) -> Iterator[Check]:
    """Check what ``run_probe`` returned of ``TRY_RUNTIMES``."""
    for name in RUNTIMES:
        result = probe.get(name)
        if result is None or "error" in result:
            reason = result["error"] if result else f"the attempt {probe.get('end') or 'ended without an answer'}"
            yield Check(f"{name} works", ERROR, reason, installation.command(PREDICT, options="--force-reinstall"))
        else:
            yield Check(f"{name} works", OK, result["value"])
