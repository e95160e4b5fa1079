"""The command evaluate with a recipe, on detections in files: which warnings and which threshold."""

import json

import pytest

from pneumodet.cli import evaluate, postprocess
from pneumodet.core.detections import image_id
from pneumodet.inference.postprocess import recipe


def write(folder, exams):
    """Ground truth and detections of numbered exams, of which those with odd numbers have a box that is found 30 % too large."""
    images = [{"id": image_id(f"e{n}"), "file_name": f"e{n}", "width": 900, "height": 900, "patient": n} for n in exams]
    truth = [(n, [100 + 5 * n, 200, 100, 100]) for n in exams if n % 2]
    rows = [{"id": index, "image_id": image_id(f"e{n}"), "category_id": 2, "bbox": box} for index, (n, box) in enumerate(truth)]
    result = [(n, [85 + 5 * n, 185, 130, 130], 0.5 + 0.3 * (n % 2)) for n in exams]
    result = [{"image_id": image_id(f"e{n}"), "category_id": 2, "bbox": box, "score": score} for n, box, score in result]
    categories = [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]
    folder.mkdir()
    (folder / "truth.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    (folder / "found.json").write_text(json.dumps(result))
    return ["--ground-truth", str(folder / "truth.json"), "--detections", str(folder / "found.json")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return (arguments for the exams that the recipe was tuned on, for others, folder of the recipe)."""
    folder = tmp_path_factory.mktemp("made")
    here, there = write(folder / "here", range(40)), write(folder / "there", range(40, 80))
    assert postprocess.main([*here, "--folds", "2", "--output-dir", str(folder / "recipe")]) == 0
    return here, there, folder / "recipe"


def metrics_of(capsys, output, *arguments):
    capsys.readouterr()
    assert evaluate.main([*map(str, arguments), "--resamples", "20", "--output-dir", str(output)]) == 0
    err = capsys.readouterr().err
    metrics = json.loads((output / "metrics.json").read_text())
    assert all(f"warning: {one}" in err for one in metrics["warnings"])
    return metrics


def test_on_the_very_exams_it_was_tuned_on(made, tmp_path, capsys):
    here, _, folder = made
    metrics = metrics_of(capsys, tmp_path / "out", *here, "--recipe", folder / "recipe.json")
    assert any("tuned on these very exams, so that the figures are optimistic" in one for one in metrics["warnings"])
    assert "from the recipe" not in metrics["rsna_threshold_source"]
    cut = next(one for one in metrics["warnings"] if "The recipe drops boxes that score below 0." in one)
    assert "AP, FROC and AUC are of the list that is left" in cut
    crossfitted = metrics_of(capsys, tmp_path / "honest", *here[:2], "--detections", folder / "detections.json")
    assert not any("recipe" in one.lower() for one in crossfitted["warnings"])
    assert crossfitted["postprocessing"] is None


def test_on_others_the_recipe_is_evaluated_at_its_threshold(made, tmp_path, capsys):
    _, there, folder = made
    metrics = metrics_of(capsys, tmp_path / "out", *there, "--recipe", folder / "recipe.json")
    assert not any("optimistic" in one for one in metrics["warnings"])
    chosen = recipe.load(folder / "recipe.json")
    assert metrics["rsna_threshold"] == chosen.score_threshold > 0
    assert metrics["rsna_threshold_source"] == "from the recipe, which was tuned on other data"
    assert metrics["rsna_metric"] == 1.0
    assert metrics["postprocessing"]["box_scale"] == chosen.box_scale
    given = metrics_of(capsys, tmp_path / "given", *there, "--recipe", folder / "recipe.json", "--score-threshold", "0.9")
    assert (given["rsna_threshold"], given["rsna_threshold_source"], given["rsna_metric"]) == (0.9, "given", 0.0)


def test_a_recipe_by_hand(made, tmp_path, capsys):
    _, there, _ = made
    recipe.save(tmp_path / "hand.json", recipe.Recipe(box_scale=0.8))
    metrics = metrics_of(capsys, tmp_path / "out", *there, "--recipe", tmp_path / "hand.json")
    assert any("does not say on which exams it was tuned" in one for one in metrics["warnings"])
    assert not any("drops" in one for one in metrics["warnings"]), "nothing is cut"


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        pytest.param(
            {"sources": 2, "views": ["identity", "flip"]}, [], "has the views identity, flip, which need the detector itself", id="views"
        ),
        pytest.param({"sources": 2}, [], "takes 2 models, but got 1", id="two sources"),
        pytest.param({"gate": "drop"}, [], "gates by an image-level score, but there is none", id="no gate"),
        pytest.param({}, ["--tta", "flip"], "--tta needs the detector itself: give --run or --model", id="tta"),
    ],
)
def test_recipes_that_do_not_fit(made, tmp_path, capsys, content, arguments, message):
    _, there, _ = made
    (tmp_path / "recipe.json").write_text(json.dumps({"version": 1, **content}))
    assert evaluate.main([*there, "--recipe", str(tmp_path / "recipe.json"), *arguments, "--output-dir", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--run", "a", "--run", "a"], "A --run is named twice", id="twice"),
        pytest.param(["--run", "a", "--tta", "flop"], "There is no view 'flop'", id="no view"),
        pytest.param(["--run", "a", "--run", "b"], "Give --output-dir", id="nowhere to write"),
    ],
)
def test_runs_that_do_not_go_together(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "pipeline.config").write_text("")
        (tmp_path / name / "run.json").write_text(json.dumps({"family": "detection", "config": "ssd_mobilenet"}))
    assert evaluate.main(arguments) == 2
    assert message in capsys.readouterr().err
