"""Anchors against those that the API makes, coverage against every anchor looked at, and what a fit may and may not do."""

import copy
import csv
import dataclasses
import functools
import json

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumodet.core import boxes
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.models.detection import anchor_fitting, anchors, odapi, pipeline_config

RESIZERS = {
    "square": "fixed_shape_resizer { height: 320 width: 320 }",
    "oblong": "fixed_shape_resizer { height: 200 width: 328 }",
    "kept": "keep_aspect_ratio_resizer { min_dimension: 300 max_dimension: 400 }",
    "padded": "keep_aspect_ratio_resizer { min_dimension: 300 max_dimension: 400 pad_to_max_dimension: true }",
}
SSD = """ssd {{ image_resizer {{ {resizer} }} feature_extractor {{ type: "{type}" {extra} }}
  matcher {{ argmax_matcher {{ matched_threshold: 0.5 }} }} anchor_generator {{ {anchors} }} }}"""
FASTER = """faster_rcnn {{ image_resizer {{ {resizer} }} feature_extractor {{ type: "{type}" {extra} }}
  first_stage_anchor_generator {{ {anchors} }} }}"""
GRID = "grid_anchor_generator { scales: [0.25, 0.5, 1.0] aspect_ratios: [0.5, 1.0, 2.0] height_offset: 3 width_offset: 5 }"
OCTAVES = (
    "multiscale_anchor_generator { min_level: %d max_level: %d anchor_scale: 3.5 aspect_ratios: [1.0, 2.0, 0.4] scales_per_octave: 3 %s }"
)
CASES = {
    "ssd": (SSD, "ssd_mobilenet_v2_keras", "", "ssd_anchor_generator { aspect_ratios: [1.0, 2.0, 0.5, 3.0, 0.3333] }"),
    "ssd, lowest layer whole": (
        SSD,
        "ssd_mobilenet_v1_keras",
        "",
        "ssd_anchor_generator { aspect_ratios: [1.0, 0.7] reduce_boxes_in_lowest_layer: false interpolated_scale_aspect_ratio: 0.8 }",
    ),
    "ssd, own scales": (
        SSD,
        "ssd_mobilenet_v2_keras",
        "num_layers: 3",
        """ssd_anchor_generator { num_layers: 3 scales: [0.1, 0.3, 0.7] aspect_ratios: [1.0, 0.7] interpolated_scale_aspect_ratio: 0
        base_anchor_height: 0.9 base_anchor_width: 1.2 height_stride: [16, 32, 64] width_stride: [16, 32, 64]
        height_offset: [1, 2, 3] width_offset: [4, 5, 6] }""",
    ),
    "fpn": (SSD, "ssd_mobilenet_v2_fpn_keras", "fpn { min_level: 3 max_level: 7 }", OCTAVES % (3, 7, "")),
    "bifpn": (SSD, "ssd_efficientnet-b0_bifpn_keras", "pad_to_multiple: 128 bifpn { min_level: 3 max_level: 7 }", OCTAVES % (3, 7, "")),
    "faster": (FASTER, "faster_rcnn_resnet50_keras", "first_stage_features_stride: 16", GRID),
    "faster fpn": (
        FASTER,
        "faster_rcnn_resnet50_fpn_keras",
        "fpn { min_level: 2 max_level: 6 }",
        OCTAVES % (2, 6, "normalize_coordinates: false"),
    ),
}


def make(case="ssd", resizer="square"):
    template, kind, extra, generator = CASES[case]
    text = template.format(resizer=RESIZERS[resizer], type=kind, extra=extra, anchors=generator)
    config = odapi.protos().pipeline.TrainEvalPipelineConfig()
    text_format.Parse(text, config.model)
    return config


def from_api(config, height, width, cells):
    """Return the boxes of the API's own generator, yxyx in px."""
    model = pipeline_config.architecture(config)
    is_ssd = config.model.WhichOneof("model") == "ssd"
    made = odapi.load().anchor_generator_builder.build(model.anchor_generator if is_ssd else model.first_stage_anchor_generator)
    made_by_api = made.generate(cells, im_height=height, im_width=width) if is_ssd else made.generate(cells)
    together = np.concatenate([one.get().numpy() for one in made_by_api])
    return together * np.array([height, width, height, width]) if is_ssd else together


@pytest.mark.parametrize("resizer", ["square", "oblong"])
@pytest.mark.parametrize("case", CASES)
def test_anchors_are_the_apis(case, resizer):
    config = make(case, resizer)
    size = {"square": (320, 320), "oblong": (200, 328)}[resizer]
    made = anchors.grids(config, np.array([size, size]))
    expected = from_api(config, *size, [tuple(grid.cells_hw[0].tolist()) for grid in made])
    if case.startswith("faster"):  # as faster_rcnn_meta_arch prunes them before they are trained
        expected = expected[(expected >= 0).all(axis=1) & (expected[:, 2] <= size[0]) & (expected[:, 3] <= size[1])]
    np.testing.assert_allclose(np.concatenate([grid.boxes_yxyx_px() for grid in made]), expected, rtol=1e-5, atol=2e-3)


@pytest.mark.parametrize(
    ("network", "name", "size"),
    [
        ("shallow", "ssd_mobilenet", (100, 132)),
        pytest.param("mobilenet", "ssd_mobilenet", (100, 132), marks=pytest.mark.slow),
        pytest.param("mobilenet", "ssd_mobilenet_fpnlite", (160, 224), marks=pytest.mark.slow),
    ],
    indirect=["network"],
)
def test_feature_maps_are_the_models(network, name, size):
    from pneumodet.models.detection import models

    config = pipeline_config.load(name)
    shape = "model.ssd.image_resizer.fixed_shape_resizer"
    settings_ = [f"{shape}.height={size[0]}", f"{shape}.width={size[1]}", "model.ssd.feature_extractor.depth_multiplier=0.35"]
    pipeline_config.override(config, settings_)
    model = models.build(config, is_training=False)
    ours = np.concatenate([grid.boxes_yxyx_px() for grid in anchors.grids(config, np.array([size]))])
    np.testing.assert_allclose(ours, model.anchors.get().numpy() * np.array([*size, *size]), rtol=1e-5, atol=2e-3)


@pytest.mark.parametrize("name", pipeline_config.names())
def test_every_config_has_as_many_layers_as_feature_maps(name):
    config = pipeline_config.load(name)
    size = anchors.resized_hw(config, [[1024, 1024]])[1]
    made = anchors.grids(config, size)
    expected = from_api(config, *size[0].astype(int).tolist(), [tuple(grid.cells_hw[0].tolist()) for grid in made])
    unpruned = [dataclasses.replace(grid, window_hw_px=None).boxes_yxyx_px() for grid in made]
    np.testing.assert_allclose(np.concatenate(unpruned), expected, rtol=1e-5, atol=1e-2)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(CASES)), st.integers(0, 2**32 - 1))
def test_coverage_is_that_of_the_best_of_all_anchors(case, seed):
    rng = np.random.default_rng(seed)
    config, size = make(case, "oblong"), np.array([200, 328])
    low = rng.uniform(0, 0.8, (6, 2)) * size
    high = np.minimum(low + rng.uniform(2, 250, (6, 2)), size)
    truth = np.concatenate([low, high], axis=1)
    made = anchors.grids(config, np.array([size]))
    everything = np.concatenate([grid.boxes_yxyx_px() for grid in made])
    np.testing.assert_allclose(anchors.coverage(made, truth), boxes.iou(truth, everything).max(axis=1), atol=1e-9)


@pytest.mark.parametrize("resizer", RESIZERS)
def test_boxes_of_images_of_several_sizes(resizer):
    """One call for all sizes is the same as one call a size, and boxes are where the API's resizer puts them."""
    config = make("fpn", resizer)
    sizes = [(1024, 1024), (500, 900), (3000, 2001)]
    images = [{"id": index, "height": height, "width": width} for index, (height, width) in enumerate(sizes)]
    truth = {"images": images, "annotations": [{"image_id": i, "bbox": [90.0, 130, 200 + 30 * i, 300]} for i in (2, 0, 1, 0)]}
    together = anchors.best_iou(config, truth)
    for number, row in zip(together, truth["annotations"], strict=True):
        assert anchors.best_iou(config, truth | {"annotations": [row]}) == pytest.approx([number])
    import tensorflow as tf

    import_builder = odapi.load().model_builder.image_resizer_builder
    resize = import_builder.build(pipeline_config.architecture(config).image_resizer)
    for size in sizes:
        image, true_shape = resize(tf.zeros([*size, 3]))
        resized, input_hw = anchors.resized_hw(config, [size])
        assert resized[0].tolist() == true_shape.numpy()[:2].tolist()
        assert input_hw[0].tolist() == list(image.shape[:2])


def test_threshold_is_the_matchers():
    config = make()
    assert anchors.matched_threshold(config) == 0.5
    config.model.ssd.matcher.argmax_matcher.matched_threshold = 0.6
    assert anchors.matched_threshold(config) == 0.6
    config.model.ssd.matcher.bipartite_matcher.SetInParent()
    assert anchors.matched_threshold(config) == 0.5
    assert anchors.matched_threshold(make("faster")) == 0.7


def truth_of(side_px, *, count=60, ratio=1.0, seed=0, image=1000):
    """Boxes of about one size, two an image."""
    rng = np.random.default_rng(seed)
    size = side_px * np.exp(rng.normal(0, 0.1, (count, 2))) * [np.sqrt(ratio), 1 / np.sqrt(ratio)]
    corner = rng.uniform(0, 1, (count, 2)) * (image - size)
    return {
        "images": [{"id": index, "width": image, "height": image} for index in range(count)],
        "annotations": [
            {"image_id": index // 2, "bbox": [*low, *side]}
            for index, (low, side) in enumerate(zip(corner.tolist(), size.tolist(), strict=True))
        ],
    }


@functools.cache
def fitted_to(case):
    """Return (config, what came of it) of a fit to 60 high boxes; not to be changed."""
    config = make(case)
    return config, anchor_fitting.fit(config, truth_of(300, ratio=0.45))


# one of each generator among the quick ones
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case in ("ssd, lowest layer whole", "ssd, own scales") else ()) for case in CASES]
)
def test_fit_helps_on_boxes_that_it_has_not_seen(case):
    before = make(case)
    config, fitted = fitted_to(case)
    unseen = truth_of(300, ratio=0.45, count=200, seed=9)
    old, new = (anchors.best_iou(one, unseen).mean() for one in (before, config))
    assert fitted.changed
    assert new > old + 0.02
    assert fitted.after.mean_iou == pytest.approx(anchors.best_iou(config, truth_of(300, ratio=0.45)).mean())
    for one, other in zip(anchors.grids(before, np.array([[320, 320]])), anchors.grids(config, np.array([[320, 320]])), strict=True):
        assert one.sizes_hw_px.shape == other.sizes_hw_px.shape, "heads, and with them restored weights, depend on it"
        np.testing.assert_array_equal(one.cells_hw, other.cells_hw)
    cells = [tuple(grid.cells_hw[0].tolist()) for grid in anchors.grids(config, np.array([[320, 320]]))]
    assert len(from_api(config, 320, 320, cells)) == len(from_api(before, 320, 320, cells))
    threshold = {"f": 0.7, "s": 0.5}[config.model.WhichOneof("model")[0]]
    assert fitted.sentence().startswith(
        f"Anchors: recall at IoU {threshold} {fitted.before.recall:.2f} -> {fitted.after.recall:.2f}, mean best IoU "
    )
    assert fitted.sentence().endswith(" over 60 boxes.")


@pytest.mark.slow
def test_fit_is_repeatable_and_keeps_the_order_of_ratios():
    one, other = make(), make()
    assert anchor_fitting.fit(one, truth_of(300, ratio=0.45)) == anchor_fitting.fit(other, truth_of(300, ratio=0.45))
    assert one == other
    made = anchors.generator(one)
    assert list(made.scales) == sorted(made.scales)
    assert np.argsort(made.aspect_ratios).tolist() == np.argsort([1.0, 2.0, 0.5, 3.0, 0.3333]).tolist()


def test_fit_to_fitted_anchors_leaves_them():
    before, first = fitted_to("ssd")
    assert first.changed
    config, truth = copy.deepcopy(before), truth_of(300, ratio=0.45)
    again = anchor_fitting.fit(config, truth)
    assert not again.changed
    assert config == before
    assert again.before == again.after
    assert again.sentence().startswith("Anchors: left as they are (recall at IoU 0.5 ")


@pytest.mark.slow
def test_fit_that_serves_only_the_boxes_it_saw_is_refused(monkeypatch):
    """24 boxes of all sizes: the search gains 0.10 on them and loses as much on held-out ones."""
    rng = np.random.default_rng(7)
    size = np.exp(rng.uniform(np.log(60), np.log(800), (24, 2)))
    rows = np.concatenate([rng.uniform(0, 1, (24, 2)) * (1000 - size), size], axis=1).tolist()
    images = [{"id": index, "width": 1000, "height": 1000} for index in range(24)]
    truth = {"images": images, "annotations": [{"image_id": index, "bbox": row} for index, row in enumerate(rows)]}
    config = make()
    assert not anchor_fitting.fit(config, truth).changed
    assert config == make()
    monkeypatch.setattr(anchor_fitting, "LEAST_GAIN", -9)
    fitted = anchor_fitting.fit(config, truth)
    assert fitted.after.total > fitted.before.total + 0.05
    assert fitted.held_out_after.total < fitted.held_out_before.total


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        pytest.param(
            truth_of(100, count=19), r"has 19 boxes in 10 images, .* 20 or more of several images\. Leave out --fit-anchors", id="few"
        ),
        pytest.param({"images": [], "annotations": []}, "has 0 boxes in 0 images", id="none"),
    ],
)
def test_too_few_boxes_are_refused(truth, message):
    with pytest.raises(DataError, match=message):
        anchor_fitting.fit(make(), truth)


def test_models_without_known_anchors_are_refused():
    config = make()
    config.model.ssd.anchor_generator.flexible_grid_anchor_generator.SetInParent()
    with pytest.raises(ConfigError, match="anchor generator is 'flexible_grid_anchor_generator'; known here are ssd_anchor_generator"):
        anchors.grids(config, np.array([[320, 320]]))
    config.model.center_net.SetInParent()
    with pytest.raises(ConfigError, match="Models of kind 'center_net' have no anchors"):
        anchors.generator(config)
    config = make()
    config.model.ssd.feature_extractor.num_layers = 4
    with pytest.raises(ConfigError, match="makes 6 layers of anchors, but the model has 4 feature maps"):
        anchors.grids(config, np.array([[320, 320]]))
    config.model.ssd.image_resizer.identity_resizer.SetInParent()
    with pytest.raises(ConfigError, match="image resizer is identity_resizer; pneumodet trains with fixed_shape_resizer"):
        anchors.resized_hw(config, [[1, 1]])


@pytest.mark.real_data
@pytest.mark.slow
def test_fit_to_a_hundred_boxes_serves_all_of_rsna(shared_data):
    """What 100 boxes teach holds for the 9,455 others."""
    with open(shared_data / "rsna_csv" / "stage_2_train_labels.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Target"] == "1"]
    exams = {exam: number for number, exam in enumerate(dict.fromkeys(row["patientId"] for row in rows))}
    images = [{"id": number, "width": 1024, "height": 1024} for number in exams.values()]
    truth = [{"image_id": exams[row["patientId"]], "bbox": [float(row[key]) for key in ("x", "y", "width", "height")]} for row in rows]
    assert len(truth) == 9555
    config = make()
    before = anchors.best_iou(config, {"images": images, "annotations": truth[100:]})
    assert anchor_fitting.fit(config, {"images": images, "annotations": truth[:100]}).changed
    after = anchors.best_iou(config, {"images": images, "annotations": truth[100:]})
    assert json.dumps(before.mean().round(2)) == "0.64"
    assert (after >= 0.5).mean() > (before >= 0.5).mean() + 0.01
    assert after.mean() > before.mean() + 0.01
