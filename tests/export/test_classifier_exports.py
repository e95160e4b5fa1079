"""A classifier's run as files: what lies in the folder, that each file answers as the checkpoint does, what predicts with it, and what is refused."""

import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
import tiny_classifier

from pneumodet.cli import export
from pneumodet.core import runs
from pneumodet.core.detections import Detections, write_coco_results
from pneumodet.core.errors import ConfigError, PneumodetError
from pneumodet.core.run_record import RunRecord
from pneumodet.data import formats, synthetic
from pneumodet.data.record_sets import RecordSet
from pneumodet.export import card as run_card
from pneumodet.export import families, parity
from pneumodet.inference import card as cards
from pneumodet.inference import detectors, exported
from pneumodet.inference.postprocess import gates
from pneumodet.inference.probability import Calibrator

FORMATS, QUICK = ("savedmodel", "onnx", "tflite", "tflite-fp16"), ("onnx", "tflite")
"""All that there are, which the slow test makes, and those of the quick tests."""

CLASSES = ["pneumonia", "Normal", "No Lung Opacity / Not Normal", "Lung Opacity"]


@pytest.fixture(scope="module", autouse=True)
def small():
    with tiny_classifier.small():
        yield


@pytest.fixture(scope="module")
def workspace(keras_records, tmp_path_factory):
    """Return a workspace with a run of two heads, "gate", and one of the task pneumonia that equalizes, "even"."""
    folder = tmp_path_factory.mktemp("workspace")
    tiny_classifier.run(folder / "gate", keras_records, task="both")
    tiny_classifier.run(folder / "even", keras_records, normalization="clahe", metrics=None)
    return folder


@pytest.fixture(scope="module")
def exports(workspace):
    """Return (the export of "gate", what the command printed)."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setenv("PNEUMODET_WORKSPACE", str(workspace))
        assert export.main(["--run", "gate", "--formats", ",".join(QUICK)]) == 0
    return workspace / "gate" / "export", said.getvalue()


@pytest.fixture
def here(workspace, monkeypatch):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(workspace))
    return workspace


def radiographs():
    drawn = [synthetic.draw_radiograph(np.random.default_rng(seed), positive=seed % 2 > 0, size=300)[0] for seed in range(4)]
    return [pixels[:, 20:260] for pixels in drawn]


def test_the_folder_says_what_the_model_is(exports):
    folder, _ = exports
    names = {*(exported.FILES[name] for name in QUICK), "config.toml", "label_map.pbtxt", "model.json", "MODEL_CARD.md", "parity.json"}
    assert {path.name for path in folder.iterdir()} == names
    one = exported.read(folder, boxes=False)
    assert (one.card.family, one.card.architecture, one.card.has_boxes) == (runs.CLASSIFICATION, "resnet-scratch", False)
    assert list(one.label_map) == list(one.card.label_map) == CLASSES
    assert {artefact.outputs for artefact in one.artefacts.values()} == {cards.SCORES}
    assert one.card.size.fixed_hw == (tiny_classifier.SIDE, tiny_classifier.SIDE)
    assert (one.card.score_threshold, one.card.calibrator) == (0.4, Calibrator("platt", {"slope": 0.5, "intercept": -1.0}))
    assert one.card.metrics["image.roc_auc"] == 0.75 and one.card.seen is not None
    assert json.loads((folder / "model.json").read_text())["version"] == 3
    text = (folder / "MODEL_CARD.md").read_text()
    assert "# Model card: pneumonia classifier" in text and "- 3: No Lung Opacity / Not Normal" in text
    assert "| image ROC AUC | 0.75" in text and "the best F1 of these exams" in text
    assert "RSNA" not in text and "AP50" not in text and "Recipe" not in text


def test_each_file_was_compared_by_its_scores(exports, keras_records):
    folder, said = exports
    measured = json.loads((folder / "parity.json").read_text())
    images = len(RecordSet.open(keras_records).split("val"))
    for name in QUICK:
        one = measured["artefacts"][name]
        assert one["outside"] == [] and one["images"] == images and one["detections"] == one["matched"] == len(CLASSES) * images
        assert one["score_largest"] <= one["tolerance"]["score"] and one["alike"] == 1
        assert one["ap50"] is None and name in said
    assert "AP50" not in said and "RSNA" not in said and "score: largest" in said and "app.py" not in said


@pytest.mark.parametrize("name", QUICK)
def test_each_file_answers_as_the_checkpoint_does(exports, here, name):
    folder, _ = exports
    detector, subject = detectors.open(folder / exported.FILES[name], boxes=False), families.of_run(folder.parent)
    answers = []
    for pixels in radiographs():
        answer, wanted = detector.detect(pixels), subject.detect(pixels)
        assert answer.classes.tolist() == [1, 2, 3, 4]
        np.testing.assert_array_equal(answer.boxes_xyxy_px, [[0, 0, 240, 300]] * 4)
        np.testing.assert_allclose(answer.scores, wanted.scores, atol=1e-4)
        assert answer.scores[1:].sum() == pytest.approx(1, abs=1e-3)
        answers.append(answer.scores)
    assert np.ptp(answers, axis=0).min() > 0.05, "radiographs that differ"


def test_the_checkpoint_is_shown_what_training_showed_it(here, keras_records):
    """Also where gray values are made even: the scores of the run's own evaluation, but for libjpeg's way of reducing while it decodes."""
    from pneumodet.evaluation.classification import scoring

    trained = scoring.restored(here / "even")
    split = RecordSet.open(keras_records).split("val")
    wanted = scoring.gathered(trained.runner(split).batches())["pneumonia"]
    subject = families.of_run(here / "even")
    scores = {exam: subject.detect(pixels).scores for exam, pixels in split.pixels()}
    np.testing.assert_allclose([scores[exam][0] for exam in split.names], wanted, atol=0.08)
    assert all(len(one) == 1 for one in scores.values()) and np.ptp(wanted) > 0.2


def test_the_api_loads_run_and_export(exports, here):
    import pneumodet

    pixels = radiographs()[1]
    of_export, of_run = pneumodet.load(exports[0]), pneumodet.load(here / "even")
    made = of_export.predict(pixels)
    assert of_export.backend == "onnx" and list(made.image_scores) == CLASSES and len(made) == 0 and made.to_coco() == []
    assert made.score == made.image_scores["pneumonia"] == pytest.approx(families.of_run(here / "gate").detect(pixels).scores[0], abs=1e-5)
    assert made.positive == (made.score >= 0.4) and 0 < made.probability < 1
    assert f"pneumonia {made.score:.3f}" in repr(made)
    assert of_run.backend == "checkpoint" and of_run.score_threshold == 0.5
    assert 0 < of_run.predict(pixels).score < 1


def test_a_format_more_changes_nothing_of_the_others(exports, here, capsys):
    from pneumodet.inference import parity as parity_file

    assert export.main(["--run", "even", "--formats", "onnx", "--limit", "2"]) == 0
    printed = capsys.readouterr()
    assert "no score threshold. Run first: python tools/train_classifier.py --run even --resume" in printed.out
    assert printed.err.splitlines()[:2] == ["onnx: converting ...", "comparing with the checkpoint: 2 images ..."], "each as it begins"
    folder = here / "even" / "export"
    before = (folder / "model.onnx").read_bytes()
    assert json.loads((folder / "model.json").read_text())["input"]["normalization"] == "clahe"
    assert export.main(["--run", "even", "--formats", "savedmodel", "--no-parity"]) == 0
    first, second = (detectors.open(folder / exported.FILES[name], boxes=False) for name in ("onnx", "savedmodel"))
    np.testing.assert_allclose(first.detect(radiographs()[0]).scores, second.detect(radiographs()[0]).scores, atol=1e-4)
    assert (folder / "model.onnx").read_bytes() == before
    assert parity_file.read(folder / "parity.json").artefacts["onnx"].images == 2
    assert export.main(["--run", "even", "--formats", "onnx"]) == 2


@pytest.mark.parametrize("name", ["tflite-int8", "tflite-task"])
def test_what_cannot_carry_a_classifier(here, capsys, name):
    assert export.main(["--run", "gate", "--formats", name, "--overwrite"]) == 2
    assert f"{name} cannot carry a classifier; savedmodel, onnx, tflite, tflite-fp16 can" in capsys.readouterr().err


def test_runs_that_are_not_exported(here, tmp_path, keras_records):
    folder = tiny_classifier.run(tmp_path / "ages", keras_records, metadata=True)
    with pytest.raises(ConfigError, match="The run ages takes age, sex and view beside the radiograph"):
        families.of_run(folder)
    runs.write(folder, RunRecord(family=runs.SEGMENTATION))
    for refused in (lambda: families.of_run(folder), lambda: exported.read(folder, boxes=False)):
        with pytest.raises(
            PneumodetError, match="U-Nets cannot be exported, so that they predict nothing .* --dicom-seg, train .* mask_rcnn_resnet50"
        ):
            refused()


def test_a_recipe_is_for_boxes(here, tmp_path, capsys):
    (tmp_path / "recipe.json").write_text("{}")
    assert export.main(["--run", "gate", "--recipe", str(tmp_path / "recipe.json")]) == 2
    assert "A recipe is for the boxes of a detector" in capsys.readouterr().err


def test_every_score_counts():
    tolerance = parity.of_scores("onnx")
    measured = {"alike": 0.999, "score_largest": 0.002, "images": 4, "ap50_change": None, "rsna_metric_nearby_change": None}
    assert parity.outside(measured, tolerance, has_boxes=False) == ["a score differs by 0.002 (0.001 is allowed)"]
    assert parity.outside(measured | {"alike": 1.0, "score_largest": 0.0009}, tolerance, has_boxes=False) == []


def test_the_card_of_a_run_that_was_not_evaluated(here):
    about, metrics = run_card.of_run(families.of_run(here / "even"))
    assert metrics is None and about.score_threshold is None
    text = run_card.read_me(dataclasses.replace(about, artefacts={}), metrics, None)
    assert "nothing is known of how well it classifies" in text and "contrast made even by clahe" in text


def boxes_of(labels, path):
    """Write as detections.json what a detector finds that is right but for one box a radiograph too much."""
    found = {}
    for exam, truth in formats.read_labels(labels).exams.items():
        boxes = np.array([*truth.boxes_xyxy_px.tolist(), [2, 2, 40, 50]])
        found[exam] = Detections(boxes, np.linspace(0.9, 0.5, len(boxes)), np.full(len(boxes), 2))
    write_coco_results(path, found)


# quick: the tests above, and tests/inference/predict/test_predicting_scores.py
@pytest.mark.slow
def test_from_training_to_a_gate_by_the_commands_that_a_user_types(classified, tmp_path, monkeypatch):
    from pneumodet.cli import postprocess, predict, train_classifier

    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    records, class_info = classified
    dicoms, labels = class_info.parent / "stage_2_train_images", class_info.parent / "stage_2_train_labels.csv"
    small = ["image_size=32", "batch_size=4", "evaluate_every=3", "warmup_steps=1", "task=both"]
    asked = ["--config", "resnet_scratch", "--data", str(records), "--run", "gate", "--steps", "6"]
    assert train_classifier.main([*asked, *(word for setting in small for word in ("--set", setting))]) == 0
    assert export.main(["--run", "gate", "--formats", ",".join(FORMATS)]) == 0
    one = exported.read(tmp_path / "gate", boxes=False)
    assert one.card.seen.unrecorded == () and one.card.seen.trained and one.card.seen.chosen, "the exams of its evaluation, too"
    scores = {}
    for name in FORMATS:
        asked = ["--model", str(one.path(name)), "--input", str(dicoms), "--output-dir", str(tmp_path / name), "--max-images", "1"]
        assert predict.main(asked) == 0
        scores[name] = gates.read_gate(tmp_path / name / "scores.csv", exams=list(formats.read_labels(labels).exams))
        np.testing.assert_allclose(list(scores[name].values()), list(scores["savedmodel"].values()), atol=5e-3)
    evaluated = gates.read_gate(one.model_dir.parent / "evaluation" / "scores.csv")
    np.testing.assert_allclose([scores["onnx"][exam] for exam in evaluated], list(evaluated.values()), atol=0.02)
    boxes_of(labels, tmp_path / "detections.json")
    gate = ["--gate", str(tmp_path / "onnx" / "scores.csv")]
    asked = ["--ground-truth", str(labels), "--detections", str(tmp_path / "detections.json"), "--output-dir", str(tmp_path / "tuned")]
    assert postprocess.main([*asked, *gate]) == 0
    assert "gate" in (tmp_path / "tuned" / "recipe.json").read_text()
