"""Test-time augmentation and ensembles, from a run's checkpoint and from exported models, through the commands."""

import json
import shutil

import numpy as np
import pytest

from pneumodet.cli import evaluate, postprocess, predict
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data import detection_files
from pneumodet.inference.postprocess import recipe

VIEWS = ("identity", "flip", "scale=0.8")


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """A recipe of three views, as tuned on other exams."""
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    elsewhere = Seen(tuned=Marks.of(Exams.of([{"file_name": "elsewhere"}])))
    steps = recipe.Recipe(sources=3, views=VIEWS, exams_sha256="0", fusion="wbf", max_boxes=5, score_threshold=1e-6)
    recipe.save(path, steps, seen=elsewhere)
    return path


@pytest.fixture(scope="module")
def twin(trained, tmp_path_factory):
    """The same exported model once more, under another name."""
    return shutil.copytree(trained / "export", tmp_path_factory.mktemp("twin") / "export")


def pneumonia_of(path):
    """The boxes of the class that a recipe is for; those of others pass as they are."""
    return {exam: detections.of_class(2) for exam, detections in detection_files.by_exam(path).items()}


def test_a_recipe_is_tuned_on_views_of_a_run(trained, workspace, tmp_path, capsys):
    assert postprocess.main(["--run", "six", "--tta", "flip,scale=0.8", "--folds", "2", "--output-dir", str(tmp_path / "out")]) == 0
    steps = [row["step"] for row in read(tmp_path / "out" / "table.json")["rows"]]
    assert steps[:5] == ["identity alone", "flip alone", "scale=0.8 alone", "views fused", "nms"]
    assert "python tools/evaluate.py or python tools/predict.py with --recipe" in capsys.readouterr().out
    saved = recipe.load(tmp_path / "out" / "recipe.json")
    assert (saved.views, saved.sources) == (VIEWS, 3)
    assert saved.exams_sha256 == recipe.fingerprint(pneumonia_of(trained / "eval" / "detections.json"))


@pytest.mark.slow
def test_two_ways_to_the_same_fused_boxes(trained, workspace, source, by_hand, tmp_path):
    """Checkpoint on records by TensorFlow's input pipeline, and exported model on DICOMs."""
    before = (trained / "eval" / "metrics.json").read_bytes()
    assert evaluate.main(["--run", "six", "--recipe", str(by_hand), "--resamples", "20"]) == 0
    assert (trained / "eval" / "metrics.json").read_bytes() == before, "the export's threshold is of the plain model"
    metrics = read(trained / "eval_processed" / "metrics.json")
    assert metrics["rsna_threshold_source"] == "from the recipe, which was tuned on other data"
    assert metrics["postprocessing"]["views"] == list(VIEWS)
    arguments = ["--model", trained / "export", "--dicom-dir", source.dicom_dir, "--recipe", by_hand, "--max-images", "0"]
    assert predict.main([*map(str, arguments), "--output-dir", str(tmp_path / "predicted")]) == 0
    plain, one, two = map(
        pneumonia_of, (folder / "detections.json" for folder in (trained / "eval", trained / "eval_processed", tmp_path / "predicted"))
    )
    assert len(one) == metrics["images"]
    for exam, detections in one.items():
        assert len(detections) == len(two[exam]) == 5
        np.testing.assert_allclose(two[exam].scores, detections.scores, atol=5e-3)  # two JPEG decoders
        assert not np.array_equal(detections.boxes_xyxy_px, plain[exam].boxes_xyxy_px[:5])
    summary = read(tmp_path / "predicted" / "predictions.json")
    assert summary["threshold_source"] == "the recipe's own"
    assert summary["postprocessing"]["views"] == list(VIEWS)


@pytest.mark.slow
def test_models_are_fused_without_a_recipe(trained, twin, records, tmp_path, capsys):
    """A model and its twin agree: fused, each box is what fusion makes of one of them, and keeps its score."""
    arguments = [
        "--model",
        trained / "export",
        "--model",
        twin,
        "--data",
        records,
        "--resamples",
        "20",
        "--output-dir",
        tmp_path / "two",
        "--trust-model",
    ]
    assert evaluate.main(list(map(str, arguments))) == 0
    assert "No recipe was given: 2 models were fused by weighted boxes fusion at IoU 0.55" in capsys.readouterr().err
    metrics = read(tmp_path / "two" / "metrics.json")
    assert (metrics["model"], metrics["checkpoint"]) == ("six, six", "ckpt-6, ckpt-6")
    assert metrics["rsna_threshold_source"] != "given"
    plain = pneumonia_of(trained / "eval" / "detections.json")
    alone = recipe.apply(recipe.Recipe(fusion="wbf"), [plain], category_id=2)
    for exam, detections in pneumonia_of(tmp_path / "two" / "detections.json").items():
        np.testing.assert_allclose(detections.scores[:3], alone[exam].scores[:3], atol=5e-3)


@pytest.mark.parametrize("command", ["predict", pytest.param("evaluate", marks=pytest.mark.slow)])
def test_models_of_other_classes_are_refused(trained, twin, records, source, tmp_path, capsys, command):
    other = shutil.copytree(twin, tmp_path / "other")
    (other / "label_map.pbtxt").write_text('item { id: 1 name: "pneumonia" }\n')
    where = {"predict": ["--dicom-dir", source.dicom_dir], "evaluate": ["--data", records]}[command]
    arguments = ["--model", trained / "export", "--model", other, *where, "--output-dir", tmp_path / "out"]
    assert {"predict": predict, "evaluate": evaluate}[command].main(list(map(str, arguments))) == 2
    err = capsys.readouterr().err
    assert "The models do not fit together: the label map of" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_as_many_models_as_the_recipe_takes(trained, twin, source, by_hand, tmp_path, capsys):
    arguments = ["--model", trained / "export", "--model", twin, "--recipe", by_hand, "--dicom-dir", source.dicom_dir]
    assert predict.main([*map(str, arguments), "--output-dir", str(tmp_path / "out")]) == 2
    assert "takes 1 model, but got 2. Give as many as it was made with" in capsys.readouterr().err


def test_runs_of_different_record_sets(trained, workspace, capsys, tmp_path):
    """Folds: which record set is meant has to be said."""
    folder = shutil.copytree(trained, workspace / "fold", ignore=shutil.ignore_patterns("export", "eval*"))
    try:
        record = read(folder / "run.json")
        record["data"]["folder"] += "_other"
        (folder / "run.json").write_text(json.dumps(record))
        assert evaluate.main(["--run", "six", "--run", "fold", "--output-dir", str(tmp_path / "out")]) == 2
        assert "The runs were trained with different record sets" in capsys.readouterr().err
    finally:
        shutil.rmtree(folder)
