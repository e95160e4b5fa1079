"""One runner for all: in-loop validation, evaluation of a checkpoint, exported model, and the API's own calls detect the same."""

import functools

import cv2
import numpy as np
import pytest
import shallow
from small_runs import SIDE

from pneumodet.data import record_sets, tf_example, tfrecord
from pneumodet.data.examples import Examples
from pneumodet.evaluation import checkpoint_detections
from pneumodet.inference.outputs import from_outputs
from pneumodet.models.detection import checkpoints, pipeline_config

PADDED = "{keep_aspect_ratio_resizer {min_dimension: 64 max_dimension: 96 pad_to_max_dimension: true}}"


def same(one, other, *, px, score, share=0.95):
    """Fail unless this share of detections is in both; of two with the same score either may come first and suppress what it overlaps."""
    assert len(one) > 5
    alike = np.abs(one.boxes_xyxy_px[:, None] - other.boxes_xyxy_px[None]).max(axis=2) <= px
    alike &= np.abs(one.scores[:, None] - other.scores[None]) <= score
    alike &= one.classes[:, None] == other.classes[None]
    assert alike.any(axis=1).mean() >= share
    assert alike.any(axis=0).mean() >= share


@pytest.fixture(scope="module")
def small_model(network):
    """Return a function of a resizer that gives (model, config, its runner), with weights as they were drawn; the same ones each time."""
    from pneumodet.models.detection import models
    from pneumodet.models.detection.running import DetectorRunner

    @functools.cache
    def built(resizer):
        import tensorflow as tf

        config = pipeline_config.load("ssd_mobilenet")
        maps = shallow.TWO_MAPS if network == "shallow" else ()
        pipeline_config.override(config, [f"model.ssd.image_resizer={resizer}", "model.ssd.feature_extractor.depth_multiplier=0.35", *maps])
        tf.keras.utils.set_random_seed(0)
        with shallow.builds(network):
            model = models.build(config, is_training=True)
        return model, config, DetectorRunner(model, config)

    return built


def radiograph(size_hw, *, sigma):
    noise = cv2.GaussianBlur(np.random.default_rng(3).uniform(0, 1, size_hw), (0, 0), sigma)
    return np.uint8(255 * (noise - noise.min()) / np.ptp(noise))


@pytest.mark.parametrize(
    ("resizer", "canvas_hw"),
    [
        pytest.param(f"{{fixed_shape_resizer {{height: 48 width: {SIDE}}}}}", (48, SIDE), id="fixed", marks=pytest.mark.slow),
        pytest.param(PADDED, (96, 96), id="padded"),
    ],
)
def test_a_look_is_the_apis_own(small_model, resizer, canvas_hw):
    """Padding, clipping and the boxes' frame: what the API's preprocess, predict and postprocess say of an image of the model's size."""
    import tensorflow as tf

    from pneumodet.models.detection import models

    model, _, runner = small_model(resizer)
    pixels = radiograph((48, 96), sigma=4)
    image, true_shape = runner.prepared(pixels)
    assert image.shape == (*canvas_hw, 1)
    np.testing.assert_array_equal(image[:48, :, 0], pixels)
    assert not image[48:].any()
    assert true_shape.tolist() == [48, 96, 3]
    outputs = runner.detect(image[None], true_shape[None])

    models.set_training(model, False)
    prepared, shapes = model.preprocess(tf.constant(np.repeat(pixels[None, :, :, None], 3, 3), tf.float32))
    np.testing.assert_array_equal(shapes, true_shape[None])
    expected = model.postprocess(model.predict(prepared, shapes), shapes)
    assert outputs["num_detections"] == expected["num_detections"].numpy() > 5
    np.testing.assert_allclose(outputs["detection_scores"], expected["detection_scores"], atol=1e-5)
    np.testing.assert_allclose(outputs["detection_boxes"], expected["detection_boxes"], atol=1e-4)
    np.testing.assert_array_equal(outputs["detection_classes"], expected["detection_classes"] + 1)
    assert outputs["detection_boxes"][..., 2].max() > 0.95, "relative to the image, not to its padding"


def test_a_batch_is_its_images_one_by_one(small_model):
    _, _, runner = small_model(PADDED)
    prepared = [runner.prepared(radiograph(size_hw, sigma=9)) for size_hw in ((300, 200), (128, 128), (90, 250))]
    together = runner.detect(*(np.stack(column) for column in zip(*prepared, strict=True)))
    for index, (image, true_shape) in enumerate(prepared):
        alone = runner.detect(image[None], true_shape[None])
        same(*(from_outputs(outputs, at, height=90, width=70) for outputs, at in ((together, index), (alone, 0))), px=0.02, score=1e-5)
    first = from_outputs(together, 0, height=300, width=200)
    same(runner.detect_one(radiograph((300, 200), sigma=9)), first, px=0.1, score=1e-5)


def test_validation_within_training_detects_what_evaluation_detects(trained, records):
    from pneumodet.models.detection import models
    from pneumodet.training.validation import Validation

    config = pipeline_config.load(str(trained / "pipeline.config"))
    checkpoint = checkpoints.of_run(trained)
    split = record_sets.RecordSet.open(records).val
    model = models.build(config, is_training=True)
    checkpoints.restore({"model": model}, checkpoint, hint="", averaged=pipeline_config.averaged(config))
    validation = Validation(model, config, split)
    detections = validation.run().detections
    assert model._is_training, "training continues as before"
    expected = dict(checkpoint_detections.detect_records(config, checkpoint, split))
    assert list(detections) == list(expected)
    for exam in detections:
        same(detections[exam], expected[exam], px=0.02, score=1e-5)
    again = validation.run().detections  # of the pixels that were kept
    for exam in detections:
        same(again[exam], detections[exam], px=1e-3, score=1e-6)


@pytest.mark.parametrize("suffix", [pytest.param(".png", marks=pytest.mark.slow), ".jpg"])
def test_an_exported_model_detects_what_the_run_detects(trained, detector, tmp_path, suffix):
    """On a radiograph much larger than the model's input, and not square: records and DICOMs are reduced alike, JPEG files as well."""
    pixels = radiograph((1024, 930), sigma=12)
    encoded = cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    shard = tmp_path / "val.tfrecord"
    with open(shard, "wb") as file:
        tfrecord.Writer(file).write(
            tf_example.encode(tf_example.Record("exam", encoded, "x", 1024, 930, np.zeros((0, 4)), (), (), "no-pneumonia", 1))
        )
    config = pipeline_config.load(str(trained / "pipeline.config"))
    ((_, expected),) = checkpoint_detections.detect_records(config, checkpoints.of_run(trained), Examples([shard]))
    exported = detector.detect(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE))
    same(exported, expected, px=0.1, score=2e-5)
