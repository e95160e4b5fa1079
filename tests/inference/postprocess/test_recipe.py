"""Recipes: the file, and the order in which steps are done."""

import dataclasses
import json

import numpy as np
import pytest
import simulated

from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.inference.postprocess import fusion, steps
from pneumodet.inference.postprocess.recipe import Recipe, apply, apply_to_cases, fingerprint, load, save

EVERYTHING = Recipe(
    sources=2,
    views=("identity", "scale=0.9"),
    exams_sha256="0123",
    fusion="wbf",
    fusion_iou=0.5,
    nms="linear",
    nms_iou=0.3,
    min_side_px=60,
    max_boxes=3,
    box_scale=0.875,
    gate="multiply",
    score_threshold=0.05,
)


@pytest.fixture(scope="module")
def sources():
    truth = simulated.truth(30)
    return [simulated.detect(truth, seed=seed) for seed in range(2)]


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("boxes_xyxy_px", "scores", "box_case"))


def test_there_and_back(tmp_path):
    save(tmp_path / "recipe.json", EVERYTHING)
    assert load(tmp_path / "recipe.json") == EVERYTHING
    (tmp_path / "recipe.json").write_text('{"version": 1, "box_scale": 0.9}')
    assert load(tmp_path / "recipe.json") == Recipe(box_scale=0.9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({"version": 1, "box_scales": 0.9}, r"unknown key 'box_scales'. Did you mean 'box_scale'\?", id="near"),
        pytest.param({"version": 1, "zzz": 0.9}, r"unknown key 'zzz'. Keys: sources, views, exams_sha256, fusion,", id="far"),
        pytest.param({"version": 2}, r'no recipe of version 1: its "version" is 2', id="version"),
        pytest.param({"box_scale": 1}, r'its "version" is None', id="no version"),
        pytest.param([], r'its "version" is None', id="list"),
        pytest.param(
            {"version": 1, "box_scale": 87.5},
            r"recipe.json: box_scale of the recipe is 87.5, must be a number from 1e-06 to 2",
            id="percent",
        ),
        pytest.param({"version": 1, "box_scale": 0}, r"box_scale of the recipe is 0", id="zero"),
        pytest.param({"version": 1, "box_scale": "0.9"}, r"box_scale of the recipe is '0.9'", id="text"),
        pytest.param({"version": 1, "box_scale": True}, r"box_scale of the recipe is True", id="bool"),
        pytest.param({"version": 1, "score_threshold": 1.5}, r"score_threshold of the recipe is 1.5", id="threshold"),
        pytest.param({"version": 1, "nms_sigma": 0}, r"nms_sigma of the recipe is 0", id="sigma"),
        pytest.param({"version": 1, "nms": "soft"}, r"nms of the recipe is 'soft', must be one of none, hard, linear, gaussian", id="nms"),
        pytest.param({"version": 1, "max_boxes": 0}, r"max_boxes of the recipe is 0, must be a whole number of at least 1", id="no boxes"),
        pytest.param({"version": 1, "max_boxes": 2.0}, r"max_boxes of the recipe is 2.0, must be a whole number", id="not whole"),
        pytest.param({"version": 1, "sources": None}, r"sources of the recipe is None", id="sources"),
        pytest.param({"version": 1, "views": "flip"}, r"views of the recipe are 'flip', must be a list of names", id="views no list"),
        pytest.param({"version": 1, "views": []}, r"views of the recipe are \(\), must be a list of names", id="no views"),
        pytest.param({"version": 1, "views": ["identity", 0.9]}, r"must be a list of names", id="view no name"),
        pytest.param({"version": 1, "sources": 2, "views": ["flip", "identity"]}, r"'identity' must be the first", id="order of views"),
        pytest.param(
            {"version": 1, "sources": 2, "views": ["identity", "flop"]}, r"There is no view 'flop'. Views are identity", id="view"
        ),
        pytest.param({"version": 1, "sources": 3, "views": ["identity", "flip"]}, r"has 3 sources and 2 views", id="views and sources"),
        pytest.param({"version": 1, "exams_sha256": 5}, r"exams_sha256 of the recipe is 5, must be a text", id="fingerprint"),
    ],
)
def test_refused(tmp_path, content, message):
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "recipe.json")


def test_models_are_sources_by_views():
    assert Recipe(sources=6, views=("identity", "flip", "scale=1.2")).models == 2
    assert (Recipe(score_threshold=0.1).cuts, Recipe(gate="drop").cuts, Recipe(gate="multiply", max_boxes=1).cuts) == (True, True, False)


def test_fingerprint_is_of_the_exams_and_not_of_their_order_or_files():
    one = fingerprint(["b", "a", "c"])
    assert one == fingerprint(["c.png", "images/a.dcm", "b"])
    assert len({one, fingerprint(["a", "b"]), fingerprint(["ab", "c"])}) == 3


def test_nan_and_a_missing_file(tmp_path):
    (tmp_path / "recipe.json").write_text('{"version": 1, "min_side_px": NaN}')
    with pytest.raises(DataError, match="min_side_px is nan, which is no number in JSON"):
        load(tmp_path / "recipe.json")
    with pytest.raises(DataError, match="Cannot read the recipe"):
        load(tmp_path / "none.json")


def test_every_step_in_its_order(sources):
    gate = simulated.gate(sources[0])
    cases = fusion.weighted_boxes(sources, iou_threshold=0.5)
    cases = steps.keep_first(steps.keep_large(steps.soft_nms(cases, iou_threshold=0.3), 60), 3)
    cases = steps.gate_multiply(steps.scale_boxes(cases, 0.875), gate).above(0.05)
    by_exam = apply_to_cases(EVERYTHING, sources, gate=gate)
    assert same(by_exam, cases)
    assert 0 < len(by_exam.scores) < len(sources[0].scores)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        pytest.param(Recipe(), lambda cases: cases, id="nothing"),
        pytest.param(Recipe(nms="hard", nms_iou=0.2), lambda cases: steps.hard_nms(cases, 0.2), id="hard"),
        pytest.param(Recipe(nms="gaussian", nms_sigma=0.2), lambda cases: steps.soft_nms(cases, sigma=0.2), id="gaussian"),
        pytest.param(Recipe(fusion="wbf"), lambda cases: fusion.weighted_boxes([cases], iou_threshold=0.55), id="wbf of one"),
        pytest.param(Recipe(gate="drop", gate_threshold=0.5), lambda cases: steps.gate_drop(cases, simulated.gate(cases), 0.5), id="drop"),
    ],
)
def test_single_steps(sources, recipe, expected):
    assert same(apply_to_cases(recipe, sources[:1], gate=simulated.gate(sources[0])), expected(sources[0]))


def detections_of(cases):
    """Detections of class 2 in any order, each exam with one of class 1 between them."""
    by_exam = {}
    for exam, one in steps.from_cases(cases, category_id=2).items():
        order = np.random.default_rng(0).permutation(len(one) + 1)
        other = Detections(np.array([[0, 0, 1024, 1024]]), np.array([0.01]), np.array([1]))
        pairs = zip((one.boxes_xyxy_px, one.scores, one.classes), (other.boxes_xyxy_px, other.scores, other.classes), strict=True)
        by_exam[exam] = Detections(*(np.concatenate(pair)[order] for pair in pairs))
    return by_exam


def test_detections_of_other_classes_stay(sources):
    by_exam = [detections_of(one) for one in sources]
    gate = dict(zip(sources[0].names, simulated.gate(sources[0]).tolist(), strict=True))
    after = apply(EVERYTHING, by_exam, category_id=2, gate_scores=gate | {"not here": 0.5})
    expected = apply_to_cases(
        EVERYTHING, [steps.to_cases(one, category_id=2) for one in by_exam], gate=np.array([gate[exam] for exam in sources[0].names])
    )
    assert same(
        steps.to_cases(after, category_id=2),
        dataclasses.replace(expected, boxes_xyxy_px=expected.boxes_xyxy_px.astype(np.float32), scores=expected.scores.astype(np.float32)),
    )
    assert all(one.of_class(1).boxes_xyxy_px.tolist() == [[0, 0, 1024, 1024]] for one in after.values())


def test_what_does_not_fit(sources):
    by_exam = detections_of(sources[0])
    with pytest.raises(DataError, match=r"takes 2 sets of detections, but got 1"):
        apply(EVERYTHING, [by_exam], category_id=2)
    with pytest.raises(DataError, match=r"gates by an image-level score, but there is none"):
        apply(EVERYTHING, [by_exam, by_exam], category_id=2)
    with pytest.raises(DataError, match=r"30 of 30 exams have no image-level score, for example exam-00000"):
        apply(EVERYTHING, [by_exam, by_exam], category_id=2, gate_scores={})
    with pytest.raises(DataError, match=r"1 exams are in one set of detections only, for example exam-00003"):
        apply(EVERYTHING, [by_exam, {exam: one for exam, one in by_exam.items() if exam != "exam-00003"}], category_id=2)
