"""An exported model small enough for tests, without TensorFlow: it finds bright squares where they are.

folder = make(tmp_path / "model")           # model.onnx, model.json, label_map.pbtxt
folder = make_classifier(tmp_path / "other") # likewise: it scores how bright a radiograph is
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pneumodet.core import runs
from pneumodet.data import annotations, label_map
from pneumodet.inference import card as cards
from pneumodet.inference import exported, sizes, suppression

SIDE, WINDOW, STRIDE = 64, 16, 4
"""Of the input, of the square that is looked for, and between two places where it is looked for; px."""

BRIGHT, SOFTNESS = 160.0, 12.0
"""Mean gray level of a window that scores 0.5, and what more or less brings it to 0.73 or 0.27."""

LABELS = {label_map.NO_PNEUMONIA: 1, label_map.PNEUMONIA: 2}

SETTINGS = suppression.Settings("SIGMOID", 1.0, False, (10.0, 10.0, 5.0, 5.0), 1e-8, 0.3, 100, 100, False)


MIDDLE, WIDTH = 46.0, 2.0
"""Mean gray level of a radiograph that the classifier scores 0.5, and what more or less brings it to 0.73 or 0.27."""

CLASSES = {label_map.PNEUMONIA: 1, **{name: number for number, name in enumerate(annotations.RSNA_CLASSES, start=2)}}


def make(folder: Path, *, score_threshold: float | None = 0.5) -> Path:
    """Write the model's folder and return it.

    A window of 1/4 of the image's sides scores sigmoid((its mean gray level - BRIGHT) / SOFTNESS) as pneumonia: on a dark image (below 75) nothing
    is found, and a square of level 255 and that size scores about 1.
    """
    about = {"architecture": "ssd", "postprocessing": SETTINGS}
    return _write(folder, _model(), LABELS, outputs=cards.BOXES, score_threshold=score_threshold, **about)


def make_classifier(folder: Path, *, classes: dict[str, int] = CLASSES, score_threshold: float | None = 0.5, **about: Any) -> Path:
    """Write the folder of a classifier and return it.

    A radiograph scores sigmoid((its mean gray level - MIDDLE) / WIDTH) as pneumonia, and all further classes score 1 less it.
    """
    how = {"family": runs.CLASSIFICATION, "architecture": "mobilenetv2", "label_map": classes, **about}
    return _write(folder, _classifier(len(classes)), classes, outputs=cards.SCORES, score_threshold=score_threshold, **how)


def _write(folder: Path, model: onnx.ModelProto, labels: dict[str, int], *, outputs: str, **about: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / exported.FILES["onnx"]
    onnx.save(model, path)
    label_map.write_label_map(folder / exported.LABEL_MAP, labels)
    artefacts = {"onnx": cards.Artefact(file=path.name, sha256=exported.sha256(path), outputs=outputs)}
    known = {"run": "tiny", "checkpoint": "ckpt-1", "checkpoint_sha256": "0" * 64, "size": sizes.Size((SIDE, SIDE))}
    cards.write(folder / cards.CARD, cards.ModelCard(artefacts=artefacts, **known, **about))
    return folder


def _classifier(count: int) -> onnx.ModelProto:
    node, value = helper.make_node, helper.make_tensor_value_info
    signs = np.array([[1.0] + [-1.0] * (count - 1)], np.float32)
    constants = {"middle": np.array(MIDDLE, np.float32), "signs": signs / np.float32(WIDTH)}
    nodes = [
        node("Cast", ["input_tensor"], ["levels"], to=TensorProto.FLOAT),
        node("ReduceMean", ["levels"], ["means"], axes=[1, 2, 3], keepdims=0),
        node("Sub", ["means", "middle"], ["above"]),
        node("Mul", ["above", "signs"], ["logits"]),
        node("Sigmoid", ["logits"], ["scores"]),
    ]
    return _graph(nodes, [value("scores", TensorProto.FLOAT, [1, count])], constants)


def _model() -> onnx.ModelProto:
    places = (SIDE - WINDOW) // STRIDE + 1
    count = places * places
    corners = np.arange(places, dtype=np.float32) * STRIDE / SIDE
    y, x = (one.ravel() for one in np.meshgrid(corners, corners, indexing="ij"))
    boxes = np.stack([y, x, y + WINDOW / SIDE, x + WINDOW / SIDE], axis=1)[None].astype(np.float32)
    constants = {
        "first": np.array([0], np.int64),
        "next": np.array([1], np.int64),
        "channel": np.array([3], np.int64),
        "as_map": np.array([1, 1, SIDE, SIDE], np.int64),
        "as_column": np.array([1, count, 1], np.int64),
        "bright": np.array(BRIGHT, np.float32),
        "softness": np.array(SOFTNESS, np.float32),
        "nothing": np.zeros((1, count, 1), np.float32),
        "all_boxes": boxes,
    }
    node = helper.make_node
    nodes = [
        node("Slice", ["input_tensor", "first", "next", "channel"], ["gray"]),
        node("Cast", ["gray"], ["levels"], to=TensorProto.FLOAT),
        node("Reshape", ["levels", "as_map"], ["map"]),
        node("AveragePool", ["map"], ["means"], kernel_shape=[WINDOW, WINDOW], strides=[STRIDE, STRIDE]),
        node("Sub", ["means", "bright"], ["above"]),
        node("Div", ["above", "softness"], ["logits"]),
        node("Sigmoid", ["logits"], ["probabilities"]),
        node("Reshape", ["probabilities", "as_column"], ["column"]),
        node("Concat", ["nothing", "column"], ["scores"], axis=2),
        node("Identity", ["all_boxes"], ["boxes"]),
    ]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, count, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, count, 2]),
    ]
    return _graph(nodes, outputs, constants)


def _graph(nodes: list[Any], outputs: list[Any], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("input_tensor", TensorProto.UINT8, [1, SIDE, SIDE, 3])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, [numpy_helper.from_array(value, name) for name, value in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
