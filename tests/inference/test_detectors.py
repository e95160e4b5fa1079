"""A radiograph in, detections out, with a model whose answer is known; and what is imported for it."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from tiny_export import make

from pneumodet import inference
from pneumodet.core import boxes
from pneumodet.core.errors import CheckpointError, ConfigError, EnvironmentProblem
from pneumodet.inference import backends, detectors, exported, sizes
from pneumodet.inference import card as cards


@pytest.fixture
def model(tmp_path):
    return make(tmp_path / "model")


def radiograph(height, width, xyxy_px=None):
    pixels = np.full((height, width), 60, np.uint8)
    if xyxy_px:
        left, top, right, bottom = xyxy_px
        pixels[top:bottom, left:right] = 255
    return pixels


@pytest.mark.parametrize(
    ("size_hw", "square"), [((64, 64), (16, 32, 32, 48)), ((1024, 1024), (512, 256, 768, 512)), ((600, 300), (75, 150, 150, 300))]
)
def test_a_bright_square_is_found_where_it_is(model, size_hw, square):
    detections = detectors.open(model).detect(radiograph(*size_hw, square))
    assert detections.scores[0] > 0.99
    assert detections.classes[0] == 2
    assert boxes.iou(detections.boxes_xyxy_px[:1], [square])[0, 0] > 0.9
    assert (detections.scores[:-1] >= detections.scores[1:]).all()
    assert detections.scores.min(initial=1) >= inference.SCORE_FLOOR


def test_nothing_is_found_in_the_dark(model):
    assert len(detectors.open(model).detect(radiograph(200, 100))) == 0


def test_pixels_in_any_memory_order(model):
    pixels = radiograph(64, 64, (16, 32, 32, 48))
    detector = detectors.open(model, threads=1)
    expected = detector.detect(pixels)
    turned = detector.detect(np.asfortranarray(pixels))
    np.testing.assert_array_equal(turned.boxes_xyxy_px, expected.boxes_xyxy_px)
    mirrored = detector.detect(pixels[:, ::-1])
    np.testing.assert_allclose(mirrored.boxes_xyxy_px[0, [2, 0]], 64 - expected.boxes_xyxy_px[0, [0, 2]])


def test_the_detector_says_what_it_is(model):
    detector = detectors.open(model)
    assert (detector.backend, detector.format) == ("onnx", "onnx")
    assert detector.exported.card.run == "tiny"


def with_more_files(folder, *names):
    """Add files of other formats, which none can open."""
    card = json.loads((folder / cards.CARD).read_text())
    for name in names:
        path = folder / exported.FILES[name]
        path.write_text("no model")
        card["artefacts"][name] = {"file": path.name, "outputs": cards.BOXES, "sha256": exported.sha256(path)}
    (folder / cards.CARD).write_text(json.dumps(card))


def opened(monkeypatch):
    """Record what is opened, without opening it."""
    names = []
    monkeypatch.setattr(backends, "open_file", lambda backend, path, threads: names.append((backend, path.name)))
    return names


@pytest.mark.parametrize(
    ("missing", "backend", "expected"),
    [
        ((), "auto", ("onnx", "model.onnx")),
        (("onnx",), "auto", ("tflite", "model.tflite")),
        (("onnx", "tflite"), "auto", ("savedmodel", "saved_model")),
        ((), "savedmodel", ("savedmodel", "saved_model")),
        ((), "tflite", ("tflite", "model.tflite")),
        ((), "openvino", ("openvino", "model.onnx")),
    ],
)
def test_the_fastest_one_that_is_there_is_taken(model, monkeypatch, missing, backend, expected):
    with_more_files(model, "tflite-fp16", "tflite-int8", "tflite", "savedmodel")
    names = opened(monkeypatch)
    monkeypatch.setattr(backends, "available", lambda name: name not in missing)
    detectors.open(model, backend=backend, trust=True)
    assert names == [expected]


def test_a_quantized_file_is_used_where_it_is_named(model, monkeypatch):
    with_more_files(model, "tflite-int8")
    names = opened(monkeypatch)
    with pytest.raises(CheckpointError, match="has no file for the backend tflite"):
        detectors.open(model, backend="tflite")
    detectors.open(model / "model-int8.tflite")
    assert names == [("tflite", "model-int8.tflite")]
    with pytest.raises(ConfigError, match="cannot be run by onnx"):
        detectors.open(model / "model-int8.tflite", backend="onnx")


def test_openvino_is_used_where_it_is_named_for_it_is_not_exact(model, monkeypatch):
    names = opened(monkeypatch)
    monkeypatch.setattr(backends, "available", lambda name: name == "openvino")
    with pytest.raises(EnvironmentProblem, match="None of the packages"):
        detectors.open(model)
    assert detectors.open(model / "model.onnx", backend="openvino").backend == "openvino"
    assert names == [("openvino", "model.onnx")]


def test_openvino_finds_what_onnx_runtime_finds(model):
    pytest.importorskip("openvino")
    detector, exact = detectors.open(model, backend="openvino", threads=1), detectors.open(model)
    pixels = [radiograph(64, 64, (16, 32, 32, 48)), radiograph(64, 64, (0, 0, 16, 16))]
    detections = [detector.detect(one) for one in pixels]  # the second answer does not change the first one
    for one, expected in zip(detections, map(exact.detect, pixels), strict=True):
        assert (one.classes[0], one.scores[0]) == (expected.classes[0], pytest.approx(expected.scores[0], abs=0.02))
        np.testing.assert_allclose(one.boxes_xyxy_px[0], expected.boxes_xyxy_px[0], atol=0.5)


def test_a_damaged_file_that_can_be_loaded_fails_with_a_sentence(model):
    import onnx

    path = model / exported.FILES["onnx"]
    graph = onnx.load(path)
    (pool,) = [node for node in graph.graph.node if node.op_type == "AveragePool"]
    (strides,) = [one for one in pool.attribute if one.name == "strides"]
    strides.ints[0] += 1
    onnx.save(graph, path)
    with pytest.raises(CheckpointError, match=r"^.*model\.onnx cannot be run: .*Reshape.*\. Export the run again\.$"):
        backends.open_file("onnx", path, threads=1)({backends.INPUT: np.zeros((1, 64, 64, 3), np.uint8)})


def test_every_backend_has_its_package():
    assert set(inference.BACKENDS) == {"auto", *backends.PACKAGES} == {"auto", *detectors.FORMATS_OF}


def test_an_unknown_backend(model):
    with pytest.raises(ConfigError, match="There is no backend 'torch'; there are auto, onnx"):
        detectors.open(model, backend="torch")


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_a_missing_package_is_named_with_its_extra(model, monkeypatch, backend):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(backends, "available", lambda name: False)
    with pytest.raises(EnvironmentProblem, match=r"onnxruntime.*pip install .*\[predict\]'"):
        detectors.open(model, backend=backend)


def test_a_damaged_file_is_refused(model):
    (model / "model.onnx").write_bytes((model / "model.onnx").read_bytes()[:500])
    with pytest.raises(CheckpointError, match="not the file that was exported"):
        detectors.open(model)
    with_more_files(model, "tflite")
    for name in ("onnx", "tflite", "openvino"):
        pytest.importorskip(backends.PACKAGES[name])
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            backends.open_file(name, model / exported.FILES[detectors.FORMATS_OF[name][0]], threads=1)


def test_a_file_that_needs_what_the_card_has_not(model):
    """Boxes before suppression are of no use without the settings of suppression; a SavedModel, which suppresses itself, does without."""
    card = json.loads((model / cards.CARD).read_text())
    (model / cards.CARD).write_text(json.dumps({**card, "postprocessing": None}))
    with pytest.raises(CheckpointError, match=r"model.json: the field postprocessing is missing, which model.onnx needs"):
        detectors.open(model)


def test_anchors_that_cannot_be_read(model):
    with_more_files(model, "tflite-int8")
    card = json.loads((model / cards.CARD).read_text())
    card["artefacts"]["tflite-int8"] |= {"outputs": cards.ENCODINGS, "anchors": exported.ANCHORS, "feature_maps": 1, "ranges": None}
    (model / cards.CARD).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="it has no anchors.npy"):
        detectors.open(model)
    (model / exported.ANCHORS).write_bytes(b"no array")
    with pytest.raises(CheckpointError, match=r"anchors.npy cannot be read"):
        detectors.open(model / "model-int8.tflite")


def test_nothing_heavy_is_imported_for_it(model, tmp_path):
    """Not by the import, and for detection ONNX Runtime alone."""
    heavy = ("tensorflow", "keras", "object_detection", "scipy", "matplotlib", "pandas", "ai_edge_litert")
    code = (
        "import sys\nfrom pathlib import Path\nfrom pneumodet.inference import detectors, exported, suppression\n"
        f"heavy = {heavy}\nprint([name for name in (*heavy, 'onnxruntime') if name in sys.modules])\n"
        "import numpy\ndetectors.open(Path(sys.argv[1])).detect(numpy.zeros((64, 64), numpy.uint8))\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n[]\n", done.stderr


def test_what_the_model_is_run_on_is_an_average_of_the_radiograph():
    pixels = np.zeros((256, 256), np.uint8)
    pixels[::4, ::4] = 255  # one px of 16, which sampling would find or miss
    image = sizes.prepared(pixels, sizes.Size((64, 64)))
    assert image.shape == (64, 64)
    np.testing.assert_allclose(image, 16, atol=1)
    assert sizes.prepared(cv2.merge([pixels])[:100], sizes.Size(None, 32, 48)).shape == (19, 48)
