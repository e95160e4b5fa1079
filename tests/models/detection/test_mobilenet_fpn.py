"""Faster R-CNN with MobileNetV2 and a pyramid, which the API has no extractor for: built of its parts, trained, evaluated and exported."""

import json

import numpy as np
import pytest

from pneumodet.models.detection import anchors, pipeline_config

NAME, SIDE = "faster_rcnn_mobilenet_fpn", 128


def test_its_feature_maps_are_those_that_have_anchors():
    import tensorflow as tf

    from pneumodet.models.detection import odapi, odapi_mobilenet_fpn

    config = pipeline_config.load(NAME)
    builder = odapi.load().model_builder
    extractor = builder._build_faster_rcnn_keras_feature_extractor(config.model.faster_rcnn.feature_extractor, is_training=False)
    maps = extractor.get_proposal_feature_extractor_model(name="FirstStage")(tf.zeros([1, SIDE, SIDE, 3]))
    assert [tuple(one.shape) for one in maps] == [(1, 16, 16, 128), (1, 8, 8, 128), (1, 4, 4, 128)]
    assert [grid.cells_hw[0].tolist() for grid in anchors.grids(config, [[SIDE, SIDE]])] == [[16, 16], [8, 8], [4, 4]]
    # as MobileNetV2 of ImageNet was trained, not as the ResNet whose class it is made of
    np.testing.assert_allclose(extractor.preprocess(np.float32([[[[0, 127.5, 255]]]])), [[[[-1, 0, 1]]]], atol=1e-6)
    # as its siblings: the API's own tests make each from a config without hyperparameters
    assert builder.FASTER_RCNN_KERAS_FEATURE_EXTRACTOR_CLASS_MAP[odapi_mobilenet_fpn.TYPE](is_training=True)
    assert extractor.classification_backbone.get_layer("block_12_add").output.shape[-1] == 96


@pytest.mark.slow
def test_it_is_trained_evaluated_and_exported(records, tmp_path, monkeypatch, capsys):
    from pneumodet.cli import evaluate, export, train

    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    model = "model.faster_rcnn"
    small = [
        f"{model}.image_resizer.fixed_shape_resizer.height={SIDE}",
        f"{model}.image_resizer.fixed_shape_resizer.width={SIDE}",
        f"{model}.first_stage_max_proposals=32",
        # of weights that differ so little, proposals tie, and rounding decides which of them the second stage sees
        f"{model}.first_stage_box_predictor_conv_hyperparams.initializer.truncated_normal_initializer.stddev=0.1",
    ]
    flags = [word for setting in small for word in ("--set", setting)]
    start = ["--config", NAME, "--data", str(records), "--run", "frcnn", "--pretrained", "none"]
    assert train.main([*start, "--steps", "3", "--evaluate-every", "0", *flags]) == 0
    assert evaluate.main(["--run", "frcnn"]) == 0
    metrics = json.loads((tmp_path / "frcnn" / "eval" / "metrics.json").read_text())
    assert metrics["images"] and json.loads((tmp_path / "frcnn" / "eval" / "detections.json").read_text())
    capsys.readouterr()
    assert export.main(["--run", "frcnn", "--formats", "savedmodel,onnx", "--limit", "2"]) == 0
    parity = json.loads((tmp_path / "frcnn" / "export" / "parity.json").read_text())
    assert {name: one["images"] for name, one in parity["artefacts"].items()} == {"savedmodel": 2, "onnx": 2}
