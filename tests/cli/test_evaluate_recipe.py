"""The command evaluate with a recipe, on detections in files: which warnings and which threshold."""

import json
from pathlib import Path

import pytest

from pneumodet.cli import evaluate, postprocess
from pneumodet.core import run_record, runs
from pneumodet.core.detections import image_id
from pneumodet.core.run_record import RunRecord
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.evaluation import recipe_origin
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


def test_on_all_but_one_of_the_exams_it_was_tuned_on(made, tmp_path, capsys):
    """Whose hash as a whole is another one: once these were other data."""
    _, _, folder = made
    metrics = metrics_of(capsys, tmp_path / "out", *write(tmp_path / "most", range(1, 42)), "--recipe", folder / "recipe.json")
    assert metrics["seen"]["tuned"]["exams"] == metrics["seen"]["tuned"]["by_id_alone"] == 39
    (said,) = [one for one in metrics["warnings"] if "tune the recipe" in one]
    assert said.startswith("39 of 41 exams (39 patients) were used to tune the recipe. ") and "Evaluate it on others" in said
    assert metrics["rsna_threshold_source"] != recipe_origin.FROM_RECIPE


def test_a_recipe_of_an_earlier_release_is_not_said_to_be_of_other_data(made, tmp_path, capsys):
    here, there, folder = made
    content = json.loads((folder / "recipe.json").read_text())
    del content["seen"]
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    for exams, said in ((here, recipe_origin.OPTIMISTIC), (there, recipe_origin.OF_OTHERS_AS_A_WHOLE)):
        metrics = metrics_of(capsys, tmp_path / "out", *exams, "--recipe", tmp_path / "recipe.json", "--overwrite")
        assert said in metrics["warnings"]
        assert metrics["rsna_threshold_source"] != recipe_origin.FROM_RECIPE


def test_the_recipe_keeps_what_its_models_have_seen(made, tmp_path, capsys):
    """Of detections that lie in a run's folder; what is evaluated with the recipe on exams of that run's training says so."""
    here, there, _ = made
    images = [{"file_name": f"e{n}"} for n in range(30, 60)]
    (tmp_path / "run" / "eval").mkdir(parents=True)
    run_record.write(tmp_path / "run" / runs.RECORD, RunRecord(seen=Seen(trained=Marks.of(Exams.of(images)))))
    detections = tmp_path / "run" / "eval" / "detections.json"
    detections.write_bytes(Path(here[3]).read_bytes())
    arguments = [*here[:2], "--detections", str(detections), "--folds", "2", "--output-dir", str(tmp_path / "recipe")]
    assert postprocess.main(arguments) == 0
    assert "warning: 10 of 40 exams (10 patients) were in training. They are known by the id alone" in capsys.readouterr().err
    metrics = metrics_of(capsys, tmp_path / "out", *there, "--recipe", tmp_path / "recipe" / "recipe.json")
    assert metrics["seen"]["trained"]["exams"] == 20
    assert (
        "20 of 40 exams (20 patients) were in training of the models that the recipe was made for."
        in metrics["warnings"][-1] + metrics["warnings"][0]
    )
    # applied to detections, it is copied with all of it
    arguments = ["--recipe", str(tmp_path / "recipe" / "recipe.json"), *there, "--output-dir", str(tmp_path / "applied")]
    assert postprocess.main(arguments) == 0
    assert recipe.seen_of(tmp_path / "applied" / "recipe.json") == recipe.seen_of(tmp_path / "recipe" / "recipe.json")


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
