"""A run in every format: what lies in the folder, what each file finds, and what is refused."""

import json
import shutil

import cv2
import numpy as np
import pytest

from pneumodet.cli import export
from pneumodet.data import boxes
from pneumodet.detection import pipeline_config
from pneumodet.errors import ConfigError
from pneumodet.exporting import export as exporting
from pneumodet.exporting import graphs, parity, to_onnx, to_tflite
from pneumodet.inference import detectors, exported

FORMATS = tuple(exported.FILES)


def read(path):
    return json.loads(path.read_text())


def radiograph(size_hw=(300, 260), seed=3):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).uniform(0, 1, size_hw), (0, 0), 9)
    return np.uint8(255 * (noise - noise.min()) / np.ptp(noise))


def test_every_file_is_there_and_whole(exports):
    folder, _, _ = exports
    one = exported.read(folder)
    assert tuple(one.artefacts) == FORMATS
    for name in FORMATS:
        exported.check_whole(one, name)
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *exported.FILES.values(),
        "anchors.npy",
        "checkpoint",
        "label_map.pbtxt",
        "model.json",
        "MODEL_CARD.md",
        "parity.json",
        "pipeline.config",
    }
    half, full = (one.artefacts[name]["bytes"] for name in ("tflite-fp16", "tflite"))
    assert half < 0.6 * full
    assert one.artefacts["tflite-int8"]["bytes"] < 0.5 * full


def test_a_format_more_changes_nothing_of_the_others(exports):
    folder, before, _ = exports
    assert (folder / "model.onnx").read_bytes() == before["model.onnx"]
    first = json.loads(before["parity.json"])["artefacts"]
    now = read(folder / "parity.json")["artefacts"]
    assert set(first) == {"savedmodel", "onnx"}
    assert {name: now[name] for name in first} == first
    assert set(now) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_each_file_was_measured(exports, name):
    folder, _, said = exports
    one = read(folder / "parity.json")["artefacts"][name]
    assert one["outside"] == []
    assert one["images"] == read(folder / "parity.json")["reference"]["images"] > 5
    assert one["matched"] > 100
    assert one["milliseconds"] > 0
    assert {"score_largest", "score_mean", "box_largest_px", "box_mean_px", "ap50_change", "rsna_metric_change", "bytes"} <= one.keys()
    assert name in said
    assert exported.FILES[name] in (folder / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("name", "score", "px"), [("onnx", 1e-4, 0.1), ("tflite", 1e-4, 0.1), ("tflite-fp16", 5e-3, 2), ("tflite-int8", 0.1, 15)]
)
def test_each_file_finds_what_the_saved_model_finds(exports, name, score, px):
    """On radiographs that are none of the records, larger than the model's input and not square."""
    folder, _, _ = exports
    for seed in (1, 2):
        pixels = radiograph((1000, 800), seed)
        expected = detectors.open(folder, backend="savedmodel").detect(pixels)
        found = detectors.open(folder / exported.FILES[name]).detect(pixels)
        assert len(expected) > 20
        near = np.abs(expected.boxes_xyxy_px[:, None] - found.boxes_xyxy_px[None]).max(axis=2) <= px
        near &= np.abs(expected.scores[:, None] - found.scores[None]) <= score
        near &= expected.classes[:, None] == found.classes[None]
        assert near.any(axis=1).mean() > (0.95 if name != "tflite-int8" else 0.4)


def test_the_files_say_themselves_what_they_are(exports):
    import onnx

    folder, _, _ = exports
    card = read(folder / "model.json")
    props = {one.key: one.value for one in onnx.load(folder / "model.onnx").metadata_props}
    each = [json.loads(props["pneumodet"])] + [to_tflite.metadata_of(folder / exported.FILES[name]) for name in FORMATS if "tflite" in name]
    for metadata in each:
        assert metadata["label_map"] == {"no-pneumonia": 1, "pneumonia": 2}
        assert metadata["input"]["fixed_hw"] == [96, 96]
        assert metadata["input"]["range"] == [0, 255]
        assert metadata["score_threshold"] == card["score_threshold"]
        assert metadata["calibrator"] == card["calibrator"]
        assert metadata["data"]["manifest_sha256"] == card["data"]["manifest_sha256"]
        assert metadata["checkpoint"] == "ckpt-6"
        assert metadata["exported"]["versions"]["tensorflow"]
    assert str(folder.parent) not in json.dumps(each), "no path of this machine"


def test_the_input_is_8_bit_and_normalized_within(exports):
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    folder, _, _ = exports
    (given,) = onnxruntime.InferenceSession(str(folder / "model.onnx")).get_inputs()
    assert (given.name, given.type, given.shape) == ("input_tensor", "tensor(uint8)", [1, 96, 96, 3])
    for name in ("tflite", "tflite-fp16", "tflite-int8"):
        (given,) = Interpreter(str(folder / exported.FILES[name])).get_input_details()
        assert (given["dtype"], given["shape"].tolist()) == (np.uint8, [1, 96, 96, 3])


def test_the_body_of_the_quantized_file_is_int8_and_its_outputs_have_scales_of_their_own(exports):
    from ai_edge_litert.interpreter import Interpreter

    folder, _, _ = exports
    interpreter = Interpreter(str(folder / "model-int8.tflite"), experimental_preserve_all_tensors=True)
    kinds = [one["dtype"] for one in interpreter.get_tensor_details() if one["quantization"][0]]
    assert kinds.count(np.int8) > 90
    outputs = interpreter.get_output_details()
    assert len(outputs) == 2 * read(folder / "model.json")["artefacts"]["tflite-int8"]["feature_maps"] == 12
    assert {one["dtype"] for one in outputs} == {np.float32}


def test_the_model_card_is_for_people(exports):
    text = (exports[0] / "MODEL_CARD.md").read_text()
    for words in (
        "Not a medical device",
        "| RSNA metric, strict rules |",
        "Training data",
        "SHA-256",
        "Limits",
        "96 x 96 px",
    ):
        assert words in text


def test_what_is_there_is_not_replaced_unasked(exports, workspace, capsys):
    folder, _, _ = exports
    before = (folder / "model.onnx").read_bytes()
    assert export.main(["--run", "small", "--formats", "onnx"]) == 2
    assert "holds an earlier result" in capsys.readouterr().err
    assert (folder / "model.onnx").read_bytes() == before


def test_a_file_that_finds_something_else_is_refused(exports, workspace, monkeypatch, capsys):
    """As a converter would that decodes boxes wrongly: they are 3 % off, and nothing else."""
    folder, _, _ = exports
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    right = graphs.of_model

    def wrong(model, config, *, kind):
        import tensorflow as tf

        part = right(model, config, kind=kind)
        function = tf.function(
            lambda image: {**(found := part.function(image)), "boxes": found["boxes"] + 0.03}, input_signature=part.signature
        )
        return graphs.Part(function, part.signature, part.names)

    monkeypatch.setattr(graphs, "of_model", wrong)
    assert export.main(["--run", "small", "--formats", "onnx", "--overwrite"]) == 2
    said = capsys.readouterr()
    (line,) = [one for one in said.err.splitlines() if "error" in one]
    assert "does not find what the checkpoint finds: model.onnx: only " in line
    assert "leave onnx out of --formats" in line
    assert "onnx" in said.out, "the table is shown all the same"
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".export")] == []


def test_records_that_are_gone(exports, workspace, tmp_path, capsys):
    run = workspace / "moved"
    shutil.copytree(workspace / "small", run, ignore=shutil.ignore_patterns("export"))
    record = read(run / "run.json")
    record["data"]["folder"] = str(tmp_path / "gone")
    (run / "run.json").write_text(json.dumps(record))
    try:
        assert export.main(["--run", "moved", "--formats", "onnx"]) == 2
        err = capsys.readouterr().err
        assert "--data" in err
        assert "--no-parity" in err
        assert export.main(["--run", "moved", "--formats", "tflite-int8", "--no-parity"]) == 2
        assert "takes the ranges of its values from the training records" in capsys.readouterr().err
        assert not (run / "export").exists()
        assert export.main(["--run", "moved", "--formats", "onnx", "--no-parity"]) == 0
        assert not (run / "export" / "parity.json").exists()
        assert "not compared with its checkpoint" in (run / "export" / "MODEL_CARD.md").read_text()
        assert export.main(["--run", "moved", "--formats", "tflite", "--data", str(workspace / "records"), "--limit", "2"]) == 0
        assert read(run / "export" / "parity.json")["artefacts"]["tflite"]["images"] == 2
        assert detectors.open(run / "export").format == "onnx"
    finally:
        shutil.rmtree(run)


@pytest.mark.parametrize("config", ["faster_rcnn_resnet50", "mask_rcnn_resnet50"])
def test_what_tflite_cannot_carry_is_said_in_one_sentence(config):
    loaded = pipeline_config.load(config)
    assert exporting._kind("onnx", loaded) == exported.DETECTIONS
    with pytest.raises(ConfigError, match="tflite-int8 cannot carry this model: its architecture is faster_rcnn"):
        exporting._kind("tflite-int8", loaded)


def test_what_suppression_here_does_not_do_stays_in_the_graph():
    config = pipeline_config.load("ssd_mobilenet")
    assert exporting._kind("onnx", config) == exported.BOXES
    config.model.ssd.post_processing.batch_non_max_suppression.soft_nms_sigma = 0.5
    assert graphs.settings_of(config)[1] == "its config asks for soft NMS"
    assert exporting._kind("onnx", config) == exported.DETECTIONS
    with pytest.raises(ConfigError, match="soft NMS"):
        exporting._kind("tflite", config)


def test_unknown_formats_are_refused(capsys):
    assert export.main(["--run", "x", "--formats", "onnx,coreml"]) == 2
    assert "there is no format 'coreml'" in capsys.readouterr().err


def test_the_command_knows_every_format():
    assert set(export.FORMATS) == set(FORMATS) == set(parity.TOLERANCES)


def small_model(changes):
    import tensorflow as tf

    from pneumodet.detection import models

    config = pipeline_config.load("ssd_mobilenet")
    pipeline_config.override(config, ["model.ssd.feature_extractor.depth_multiplier=0.35", *changes])
    tf.keras.utils.set_random_seed(0)
    return models.build(config, is_training=False), config


PADDED = "model.ssd.image_resizer={keep_aspect_ratio_resizer {min_dimension: 64 max_dimension: 96 pad_to_max_dimension: true}}"


def test_padding_reaches_the_files(tmp_path):
    """A radiograph that is not square, with a model that keeps its shape: as the checkpoint sees it."""
    from pneumodet.detection import resizing
    from pneumodet.detection.looking import Looker
    from pneumodet.exporting import measuring
    from pneumodet.inference import backends, suppression
    from pneumodet.inference.outputs import from_outputs

    model, config = small_model([PADDED])
    pixels = radiograph((150, 300))
    looker = Looker(model, config)
    image, true_shape = looker.prepared(pixels)
    expected = from_outputs(looker.detect(image[None], true_shape[None]), 0, height=150, width=300)
    assert len(expected) > 20
    part = graphs.of_model(model, config, kind=exported.BOXES)
    to_onnx.write(part, tmp_path / "model.onnx", metadata={})
    to_tflite.write(part, tmp_path / "model.tflite", kind="tflite", metadata={})
    settings, _ = graphs.settings_of(config)
    ((image, shape),) = measuring.inputs(config, [pixels])
    window = tuple(side / resizing.of_config(config).most for side in shape[0, :2])
    for kind, name in (("onnx", "model.onnx"), ("tflite", "model.tflite")):
        answer = backends.open_file(kind, tmp_path / name, threads=1)({"input_tensor": image, "true_shape": shape})
        found = from_outputs(
            suppression.detections(answer["boxes"][0], answer["scores"][0], settings, window_hw=window), 0, height=150, width=300
        )
        overlap = boxes.iou(expected.boxes_xyxy_px, found.boxes_xyxy_px) > 0.98
        overlap &= np.abs(expected.scores[:, None] - found.scores[None]) < 1e-4
        assert overlap.any(axis=1).mean() > 0.95
