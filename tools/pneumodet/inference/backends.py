"""The packages that run a model's file, each behind one call. A package is imported when a file of its kind is opened.

run = open_file("onnx", path, threads=2)
outputs = run({"input_tensor": image})                # name -> array
"""

import importlib.util
import logging
import mmap
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pneumodet.core import installation
from pneumodet.core.errors import CheckpointError, EnvironmentProblem, first_line
from pneumodet.core.logs import hidden_output

INPUT = "input_tensor"
"""Name of the image, (1, H, W, 3) uint8 in [0, 255], three equal channels, dark air and bright bone."""

TRUE_SHAPE = "true_shape"
"""Name of the second input, where a model pads images: (1, 3) int32 height, width and 3, of the image without its padding."""

Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""Takes a model's inputs by name, and returns its outputs by name."""

PACKAGES = {"onnx": "onnxruntime", "tflite": "ai_edge_litert", "savedmodel": "tensorflow", "openvino": "openvino"}
"""Backend -> the module that runs it."""

_EXTRAS = {"onnx": "predict", "tflite": "predict", "openvino": "openvino", "savedmodel": "train"}
"""Backend -> the extra of setup.cfg that brings its package."""

_log = logging.getLogger(__name__)


def available(backend: str) -> bool:
    """Return whether the package of a backend is installed; nothing is imported."""
    return importlib.util.find_spec(PACKAGES[backend]) is not None


def open_file(backend: str, path: Path, *, threads: int | None) -> Run:
    """Open a model's file, or its folder.

    Args:
      backend: one of PACKAGES.
      path: the file.
      threads: that one image may use; None: all the cores that this process may use.

    Raises:
      EnvironmentProblem: the package is not installed.
      CheckpointError: it cannot load the file; from the function that is returned: it cannot run it.
    """
    opened = {"onnx": _onnx, "tflite": _tflite, "savedmodel": _saved_model, "openvino": _openvino}[backend]
    try:
        run = opened(path, threads or len(os.sched_getaffinity(0)))
    except ImportError as error:
        other = ", or export the run with --formats onnx and use that" if backend == "savedmodel" else ""
        raise EnvironmentProblem(
            f"{path.name} needs the package {PACKAGES[backend].replace('_', '-')}, which cannot be imported ({first_line(error)}): "
            f"{installation.command(_EXTRAS[backend])}{other}."
        ) from error

    def checked(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return run(inputs)
        except Exception as error:  # a damaged file may be loaded, and fail here; the runtimes' errors have no common class but this
            raise CheckpointError(f"{path} cannot be run: {first_line(error)}. Export the run again.") from error

    return checked


def _cannot(path: Path, error: BaseException) -> CheckpointError:
    return CheckpointError(f"{path} cannot be loaded: {first_line(error)}. Export the run again.")


_EXTERNAL = b"\n\x08location\x12"
"""How an ONNX file names another file that has a part of its numbers: the key "location" of a StringStringEntryProto (onnx.proto, TensorProto)."""


def _refuse_parts_elsewhere(path: Path) -> None:
    """Refuse an ONNX file that takes numbers from other files: its SHA-256 would say nothing of them, and they could be any files of the user's.

    Raises:
      CheckpointError: it does.
    """
    if path.stat().st_size == 0:  # of which there is no map; the runtime says what is wrong
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(_EXTERNAL)
    if place >= 0:
        raise CheckpointError(f"{path} takes a part of its numbers from other files, which is not allowed. Export it as one file.")


def _onnx(path: Path, threads: int) -> Run:
    import onnxruntime

    _refuse_parts_elsewhere(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait busily take time from those that decode
    options.log_severity_level = 3  # errors; which nodes were folded is nobody's concern
    try:
        # without its second try, which is the same one and prints
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=False)
    except Exception as error:  # onnxruntime's own errors have no common class but this
        raise _cannot(path, error) from error
    # callers give every input that some model takes; ONNX Runtime refuses names that a file does not have
    wanted = {one.name for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    return lambda inputs: dict(
        zip(names, session.run(names, {name: value for name, value in inputs.items() if name in wanted}), strict=True)
    )


def _openvino(path: Path, threads: int) -> Run:
    """Run an ONNX file in bfloat16 where the processor computes in it (AVX-512 BF16, AMX), in float32 elsewhere."""
    import openvino

    _refuse_parts_elsewhere(path)
    core = openvino.Core()
    fast = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if fast else "f32",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # several models of a process would be pinned to the same core
    }
    try:
        model = core.compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise _cannot(path, error) from error
    request, wanted = model.create_infer_request(), {one.any_name for one in model.inputs}
    names = [one.any_name for one in model.outputs]

    def call(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        answer = request.infer({name: np.ascontiguousarray(value) for name, value in inputs.items() if name in wanted})
        return {name: np.array(value) for name, value in zip(names, answer.values(), strict=True)}  # the request writes over its own

    return call


def _tflite(path: Path, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with hidden_output():  # LiteRT reports every delegate
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
            # by signature, whose tensors have names: their order in the file is the converter's own
            runner = interpreter.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        raise _cannot(path, error) from error
    wanted = runner.get_input_details().keys()
    return lambda inputs: runner(**{name: value for name, value in inputs.items() if name in wanted})


def _saved_model(path: Path, threads: int) -> Run:
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:  # TensorFlow is already running, with the number it was started with
        _log.debug("TensorFlow keeps its number of threads; it was started before %s was opened", path)
    try:
        model = tf.saved_model.load(str(path))
        signature = model.signatures["serving_default"]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise _cannot(path, error) from error

    def call(
        inputs: Mapping[str, np.ndarray], _alive: object = model
    ) -> dict[str, np.ndarray]:  # a signature does not keep its variables alive
        return {key: value.numpy() for key, value in signature(**{INPUT: tf.constant(inputs[INPUT])}).items()}

    return call
