"""Runs of every family on the same exams: figures, intervals and differences against evaluate.py, scikit-learn and a jackknife by hand."""

import csv
import json
import shutil

import made_up_runs
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.evaluation.compare import comparing, matching
from pneumodet.evaluation.compare.comparing import Request
from pneumodet.evaluation.metrics import interval
from pneumodet.inference.postprocess import recipe as recipes

RESAMPLES = 100


@pytest.fixture
def compare(workspace, tmp_path):
    """Return a function that compares runs of the workspace."""

    def run(*runs, **more):
        return comparing.compare(Request(**{"runs": runs, "output_dir": tmp_path / "out", "resamples": RESAMPLES} | more))

    return run


def by_name(result):
    return {run["name"]: run for run in result["runs"]}


def labels_and_scores(workspace, truth, name):
    """Return ((C,) bool, (C,) float64) in the order of the ground truth, read by hand."""
    if (workspace / name / "eval").is_dir():
        scores = dict.fromkeys((image["file_name"] for image in truth["images"]), 0.0)
        for row in json.loads((workspace / name / "eval" / "detections.json").read_text()):
            scores[row["file_name"]] = max(scores[row["file_name"]], row["score"])
    else:
        with open(workspace / name / "evaluation" / "scores.csv") as file:
            scores = {row["patientId"]: float(row["score"]) for row in csv.DictReader(file)}
    positive = {row["image_id"] for row in truth["annotations"]}
    return (
        np.array([image["id"] in positive for image in truth["images"]]),
        np.array([scores[image["file_name"]] for image in truth["images"]]),
    )


def test_a_detector_has_the_figures_of_its_own_evaluation(runs, compare):
    """Same exams, same seed: also those at its operating point, which is chosen on other patients, and all intervals."""
    metrics = runs[2]
    figures = by_name(compare("ssd", "unet", "resnet"))["ssd"]["figures"]
    assert list(figures) == list(comparing.figures.FIGURES)
    for key, one in figures.items():
        assert one["value"] == pytest.approx(metrics[key], abs=1e-9), key
        assert [one["low"], one["high"]] == pytest.approx(metrics["intervals"][key], abs=1e-9), key


@pytest.mark.parametrize("name", ["ssd", "unet", "resnet"])
def test_areas_are_those_of_scikit_learn(name, runs, compare):
    positive, scores = labels_and_scores(runs[0], runs[1], name)
    run = by_name(compare("resnet", "ssd", "unet"))[name]
    assert run["figures"]["image.roc_auc"]["value"] == pytest.approx(sklearn_metrics.roc_auc_score(positive, scores))
    assert run["figures"]["image.pr_auc"]["value"] == pytest.approx(sklearn_metrics.average_precision_score(positive, scores))
    area = sklearn_metrics.auc(run["roc"]["false_positive_rate"], run["roc"]["sensitivity"])
    assert area == pytest.approx(sklearn_metrics.roc_auc_score(positive, scores))


def test_a_difference_is_paired_by_patient(runs, compare):
    """By hand: each patient is left out, both exams together, and scikit-learn evaluates both runs on the rest."""
    result = compare("unet", "resnet")
    positive, before = labels_and_scores(runs[0], runs[1], "unet")
    _, after = labels_and_scores(runs[0], runs[1], "resnet")
    patients = np.arange(80) // 2
    without = []
    for patient in range(40):
        rows = patients != patient
        auc = [sklearn_metrics.roc_auc_score(positive[rows], scores[rows]) for scores in (before, after)]
        without.append(auc[1] - auc[0])
    by_run = result["differences"]["resnet"]["image.roc_auc"]
    assert by_run["value"] == pytest.approx(
        sklearn_metrics.roc_auc_score(positive, after) - sklearn_metrics.roc_auc_score(positive, before)
    )
    rarer = min(len(set(patients[positive])), len(set(patients[~positive])))
    moved = (by_run["value"] - np.array(without)) * np.sqrt(39 / 40) * np.sqrt(1 - 1 / rarer)
    half = stats.t.isf(0.025, interval.degrees_of_freedom(moved)) * np.sqrt(np.square(moved).sum())
    assert [by_run["low"], by_run["high"]] == pytest.approx([by_run["value"] - half, by_run["value"] + half], abs=1e-9)
    assert (by_run["p"] < 0.05) == (by_run["low"] > 0 or by_run["high"] < 0)
    assert "coco.pneumonia.AP50" not in result["differences"]["resnet"], "a classifier has no boxes"


def test_what_each_family_has(compare):
    result = compare("ssd", "unet", "resnet", baseline="unet")
    by_run = by_name(result)
    assert [(run["family"], run["parameters"], run["training_seconds"], run["milliseconds_an_image"]) for run in result["runs"]] == [
        ("detection", None, 75.25, None),
        ("segmentation", 2_260_546, 3900.0, 12.34),
        ("classification", 2_260_546, 3900.0, 12.34),
    ]
    assert "rsna_metric" in by_run["unet"]["figures"]
    assert "rsna_metric" not in by_run["resnet"]["figures"]
    assert list(result["differences"]) == ["ssd", "resnet"]
    assert "rsna_metric" in result["differences"]["ssd"]
    assert "highest RSNA metric" in by_run["unet"]["operating_point"]["boxes"]
    assert "highest image-level F1" in by_run["unet"]["operating_point"]["images"]
    said = "These exams are validation, used to choose checkpoints: unet, the best of 3; resnet, the best of 3."
    assert any(note.startswith(said) for note in result["notes"])
    assert (result["exams"], result["patients"], result["left_out"]) == (80, 40, 0)


def test_runs_are_compared_on_test_by_their_evaluations_of_it(runs, compare, tmp_path):
    data = made_up_runs.records(tmp_path / "records", runs[1], split="test")
    for seed, name in enumerate(("one", "two")):
        made_up_runs.detection_run(tmp_path / name, data, made_up_runs.detections(runs[1], seed=seed), split="test")
        (tmp_path / name / "eval").rename(tmp_path / name / "eval_test")
    result = compare(str(tmp_path / "one"), str(tmp_path / "two"), split="test")
    assert result["exams"] == 80 and not any("used to choose" in note for note in result["notes"])
    with pytest.raises(DataError, match=r"eval_test/metrics.json is missing. Evaluate it: .*evaluate.py --run ssd --split test"):
        compare("ssd", str(tmp_path / "one"), split="test", overwrite=True)


def test_runs_are_compared_on_other_records_by_their_evaluations_of_them(runs, compare, tmp_path):
    """Which lie beside those of their own records."""
    own, others = runs[0] / "records", made_up_runs.records(tmp_path / "others", made_up_runs.instances(40, seed=7))
    truth = json.loads((others / "instances_val.json").read_text())
    for seed, name in enumerate(("one", "two")):
        folder = tmp_path / name
        made_up_runs.detection_run(folder, others, made_up_runs.detections(truth, seed=seed))
        (folder / "eval").rename(folder / "eval_on_others")
        of_own = tmp_path / "made" / name
        made_up_runs.detection_run(of_own, own, made_up_runs.detections(runs[1], seed=seed))
        shutil.copytree(of_own / "eval", folder / "eval")
        shutil.copy(of_own / "run.json", folder / "run.json")
    assert compare(str(tmp_path / "one"), str(tmp_path / "two"))["exams"] == 80
    assert compare(str(tmp_path / "one"), str(tmp_path / "two"), truth=others, overwrite=True)["exams"] == 40


def test_the_images_of_a_segmenter_are_evaluated_by_its_scores_not_its_boxes(runs, compare):
    image = by_name(compare("ssd", "unet"))["unet"]["figures"]["image.roc_auc"]["value"]
    positive, scores = labels_and_scores(runs[0], runs[1], "unet")
    highest = dict.fromkeys((one["file_name"] for one in runs[1]["images"]), 0.0)
    for row in json.loads((runs[0] / "unet" / "evaluation" / "detections.json").read_text()):
        highest[row["file_name"]] = max(highest[row["file_name"]], row["score"])
    assert image == pytest.approx(sklearn_metrics.roc_auc_score(positive, scores))
    assert image != pytest.approx(sklearn_metrics.roc_auc_score(positive, list(highest.values())))


def test_scores_that_are_the_highest_of_the_boxes_have_their_operating_point(runs, compare, tmp_path):
    """As train_segmenter.py writes them: then all figures are those of a detector of the same boxes."""
    boxes = made_up_runs.detections(runs[1])
    highest = dict.fromkeys((one["file_name"] for one in runs[1]["images"]), 0.0)
    for row in boxes:
        highest[row["file_name"]] = max(highest[row["file_name"]], round(row["score"], 6))
    how = {"family": "segmentation", "boxes": boxes, "point": {"aim": "rsna", "threshold": 0.9}}
    made_up_runs.other_run(tmp_path / "vnet", runs[0] / "records", highest, **how)
    result = by_name(compare("ssd", str(tmp_path / "vnet")))
    assert result["vnet"]["figures"] == result["ssd"]["figures"]
    highest["e000"] += 1e-3
    made_up_runs.write_scores(tmp_path / "vnet" / "evaluation" / "scores.csv", highest)
    result = by_name(compare("ssd", str(tmp_path / "vnet"), overwrite=True))
    assert "highest image-level F1" in result["vnet"]["operating_point"]["images"]


def test_a_threshold_of_other_data_is_taken_over_and_one_of_these_exams_is_not(runs, compare, tmp_path):
    data, scores = runs[0] / "records", made_up_runs.scores(runs[1])
    made_up_runs.other_run(tmp_path / "given", data, scores, point={"aim": None, "threshold": 0.7})
    made_up_runs.other_run(tmp_path / "chosen", data, scores, point={"aim": "sensitivity>=0.9", "threshold": 0.7})
    result = by_name(compare(str(tmp_path / "given"), str(tmp_path / "chosen")))
    positive = np.array([image["id"] in {row["image_id"] for row in runs[1]["annotations"]} for image in runs[1]["images"]])
    called = np.array(list(scores.values())) >= 0.7
    assert result["given"]["figures"]["image.sensitivity"]["value"] == pytest.approx(sklearn_metrics.recall_score(positive, called))
    assert result["given"]["figures"]["image.f1"]["value"] == pytest.approx(sklearn_metrics.f1_score(positive, called))
    assert "0.7" in result["given"]["operating_point"]["images"]
    assert result["chosen"]["figures"]["image.sensitivity"]["value"] > 0.8
    assert "sensitivity of at least 0.9 on other patients" in result["chosen"]["operating_point"]["images"]


def test_files_of_any_framework_have_the_figures_of_the_runs_they_are_of(runs, compare):
    """Detections and scores as NAME=FILE, rows and exams in another order; a submission has no AP beyond its boxes."""
    own = by_name(compare("ssd", "resnet"))
    folder = runs[0].parent
    rows = json.loads((runs[0] / "ssd" / "eval" / "detections.json").read_text())
    (folder / "d.json").write_text(json.dumps(rows[::-1]))
    made_up_runs.write_scores(folder / "s.csv", dict(reversed(made_up_runs.scores(runs[1], apart=2.5).items())))
    lines = {image["file_name"]: "" for image in runs[1]["images"]}
    for row in rows:
        lines[row["file_name"]] += f"{row['score']!r} " + " ".join(map(repr, row["bbox"])) + " "
    with open(folder / "k.csv", "w", newline="") as file:
        csv.writer(file).writerows([("patientId", "PredictionString"), *lines.items()])
    files = compare(f"d={folder / 'd.json'}", f"s={folder / 's.csv'}", f"k={folder / 'k.csv'}", truth=runs[0] / "records", overwrite=True)
    by_run = by_name(files)
    assert [one["family"] for one in files["runs"]] == ["boxes", "scores", "boxes"]
    assert by_run["d"]["figures"] == own["ssd"]["figures"]
    assert by_run["k"]["figures"] == own["ssd"]["figures"]
    assert by_run["s"]["figures"] == own["resnet"]["figures"]
    assert files["differences"]["k"]["rsna_metric"]["value"] == 0.0
    bare = compare(f"d={folder / 'd.json'}", truth=runs[0] / "records" / "instances_val.json", overwrite=True)
    assert by_name(bare)["d"]["figures"] == own["ssd"]["figures"]


def test_other_exams_are_refused_and_counted(runs, compare, tmp_path):
    """The second record set has exams 20 to 99, the first 0 to 79: 60 in common, of the 100 that there are."""
    truth = made_up_runs.instances(80, first=20)
    data = made_up_runs.records(tmp_path / "later", truth)
    made_up_runs.other_run(tmp_path / "vgg", data, made_up_runs.scores(truth, seed=5))
    with pytest.raises(
        DataError, match=r"of 100, ssd lacks 20 \(such as e080\); vgg lacks 20 \(such as e000\); .* Give --common .* the 60 that"
    ):
        compare("ssd", str(tmp_path / "vgg"))
    with pytest.raises(DataError, match=r"manifest [0-9a-f]{12}…: ssd; manifest [0-9a-f]{12}…: vgg"):
        compare("ssd", str(tmp_path / "vgg"))
    result = compare("ssd", str(tmp_path / "vgg"), common=True)
    assert (result["exams"], result["left_out"]) == (60, 40)
    assert any(note.startswith("40 of 100 exams are not in all runs") for note in result["notes"])
    assert any("different record sets" in note and "patientId" in note for note in result["notes"])
    positive = [image["id"] in {row["image_id"] for row in truth["annotations"]} for image in truth["images"][:60]]
    scores = list(made_up_runs.scores(truth, seed=5).values())[:60]
    assert by_name(result)["vgg"]["figures"]["image.roc_auc"]["value"] == pytest.approx(sklearn_metrics.roc_auc_score(positive, scores))


def test_no_exam_in_common(compare, tmp_path):
    truth = made_up_runs.instances(20, first=500)
    made_up_runs.other_run(tmp_path / "far", made_up_runs.records(tmp_path / "elsewhere", truth), made_up_runs.scores(truth))
    with pytest.raises(DataError, match=r"No exam is in all of ssd, far .*manifest.*Evaluate them on one record set"):
        compare("ssd", str(tmp_path / "far"), common=True)


def test_other_boxes_of_the_same_exams_are_told(runs, compare, tmp_path):
    truth = json.loads(json.dumps(runs[1]))
    truth["annotations"][0]["bbox"][0] += 5
    data = made_up_runs.records(tmp_path / "relabelled", truth)
    made_up_runs.other_run(tmp_path / "vgg", data, made_up_runs.scores(truth))
    notes = compare("ssd", str(tmp_path / "vgg"))["notes"]
    assert any("vgg: the ground truth that it was evaluated with (relabelled) has other boxes in 1 of 80 exams" in note for note in notes)


def test_exams_of_the_ground_truth_that_no_run_has_are_told(runs, compare, tmp_path):
    (tmp_path / "more.json").write_text(json.dumps(made_up_runs.instances(90)))
    result = compare("resnet", "unet", truth=tmp_path / "more.json")
    assert result["exams"] == 80
    assert any("10 of 90 exams of the ground truth more.json are in none of the runs" in note for note in result["notes"])


@pytest.mark.parametrize(("positives", "which"), [(0.0, "negative"), (1.0, "positive")])
def test_one_class_only(positives, which, compare, tmp_path):
    truth = made_up_runs.instances(12, positives=positives)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    made_up_runs.write_scores(tmp_path / "s.csv", made_up_runs.scores(truth))
    with pytest.raises(DataError, match=f"All 12 exams that are compared are {which}"):
        compare(f"s={tmp_path / 's.csv'}", truth=tmp_path / "truth.json")


def test_few_patients_get_figures_and_a_warning_in_place_of_a_choice_on_others(compare, tmp_path):
    truth = made_up_runs.instances(8, seed=9)
    positive = {row["image_id"] for row in truth["annotations"]}
    assert 0 < len(positive) < 8
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    made_up_runs.write_scores(tmp_path / "s.csv", made_up_runs.scores(truth))
    run = compare(f"s={tmp_path / 's.csv'}", truth=tmp_path / "truth.json")["runs"][0]
    assert "which flatters" in run["operating_point"]["images"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            "ssd/eval/metrics.json",
            r"The run ssd was not evaluated: eval/metrics.json is missing. Evaluate it: python tools/evaluate.py --run ssd$",
        ),
        ("ssd/eval/detections.json", r"The evaluation of the run ssd is not whole: detections.json is missing"),
        ("resnet/evaluation/metrics.json", r"not evaluated.*python tools/train_classifier.py --run resnet --resume$"),
        ("unet/evaluation/metrics.json", r"not evaluated.*python tools/train_segmenter.py --run unet --resume$"),
        ("unet/evaluation/scores.csv", r"not whole: scores.csv is missing"),
        (
            "records/manifest.json",
            r"The record set that the run ssd was evaluated on \(manifest .{12}…, split val\) is not where its run.json says",
        ),
        ("ssd/run.json", r"There is no run 'ssd' in .*Runs: resnet, unet\."),
    ],
)
def test_a_run_that_is_not_whole(broken, message, runs, tmp_path, monkeypatch):
    shutil.copytree(runs[0], tmp_path / "copy")
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path / "copy"))
    for run in ("ssd", "unet", "resnet"):
        record = json.loads((tmp_path / "copy" / run / "run.json").read_text())
        record["data"]["folder"] = str(tmp_path / "copy" / "records")
        (tmp_path / "copy" / run / "run.json").write_text(json.dumps(record))
    (tmp_path / "copy" / broken).unlink()
    with pytest.raises(DataError, match=message):
        comparing.compare(Request(runs=("ssd", "unet", "resnet"), output_dir=tmp_path / "out", resamples=10))
    assert not (tmp_path / "out").exists()


def test_records_that_have_moved_are_given(runs, compare, tmp_path):
    """The hash of the manifest shows that they are the same; another record set is refused."""
    shutil.copytree(runs[0] / "ssd", tmp_path / "moved")
    record = json.loads((tmp_path / "moved" / "run.json").read_text())
    (tmp_path / "moved" / "run.json").write_text(json.dumps(record | {"data": {**record["data"], "folder": "/gone"}}))
    assert compare(str(tmp_path / "moved"), "resnet", truth=runs[0] / "records")["exams"] == 80
    other = made_up_runs.records(tmp_path / "other", made_up_runs.instances(80, seed=9))
    with pytest.raises(DataError, match="is not where its run.json says. Give it as --truth"):
        compare(str(tmp_path / "moved"), truth=other, overwrite=True)


@pytest.mark.parametrize(
    ("runs_given", "more", "error", "message"),
    [
        (("nobody",), {}, DataError, r"There is no run 'nobody' in .*Runs: resnet, ssd, unet\."),
        (("ssd", "x=missing.json"), {}, DataError, r"'x=missing.json': there is no missing.json"),
        (("ssd", "=a.json"), {}, DataError, r"neither a run's name nor NAME=PATH"),
        (("ssd", "ssd"), {}, ConfigError, r"Two of --runs are called 'ssd'"),
        (("ssd", "unet"), {"baseline": "vgg"}, ConfigError, r"--baseline vgg: it must be one of --runs \(ssd, unet\)"),
        (("ssd", "unet"), {"gate": "unet"}, ConfigError, r"Name it by --combine"),
        (("ssd", "resnet"), {"detector": "resnet", "gate": "ssd"}, ConfigError, r"--combine resnet: it has scores and no boxes"),
        (("ssd", "resnet"), {"detector": "ssd", "gate": "unet"}, ConfigError, r"--gate unet: it must be one of --runs"),
        (("ssd", "resnet"), {"detector": "ssd", "gate": "ssd"}, ConfigError, r"--gate ssd is the detector itself"),
        (("ssd", "resnet"), {"detector": "ssd"}, ConfigError, r"--gate RUN, --fuse RUN, or both"),
        (("ssd", "unet"), {"detector": "ssd", "fused": ("ssd",)}, ConfigError, r"the detector itself"),
        (("ssd", "resnet"), {"detector": "ssd", "fused": ("resnet",)}, ConfigError, r"--fuse resnet: it has scores and no boxes"),
    ],
)
def test_bad_input(runs_given, more, error, message, compare):
    with pytest.raises(error, match=message):
        compare(*runs_given, **more)


def test_a_run_that_was_evaluated_on_what_it_was_trained_on_is_named(runs, compare, tmp_path):
    data = made_up_runs.records(tmp_path / "train", runs[1], split="train")
    made_up_runs.detection_run(tmp_path / "vain", data, made_up_runs.detections(runs[1]), split="train")
    assert any("vain was evaluated on the very exams that it was trained on" in note for note in compare(str(tmp_path / "vain"))["notes"])


def test_what_each_run_has_seen_is_said(compare, tmp_path):
    truth = made_up_runs.instances(24)
    data, images = made_up_runs.records(tmp_path / "set", truth), truth["images"]
    half, others = Exams.of(images[: len(images) // 2]), Exams.of([{"file_name": "elsewhere"}])
    known = {"leaky": Seen(trained=Marks.of(half)), "clean": Seen(trained=Marks.of(others))}
    for name, seen in known.items():
        made_up_runs.detection_run(tmp_path / name, data, made_up_runs.detections(truth), seen=seen)
    made_up_runs.detection_run(tmp_path / "old", data, made_up_runs.detections(truth))
    result = compare(*(str(tmp_path / name) for name in ("leaky", "clean", "old")), detector="clean", fused=("leaky",), folds=2)
    said = [note for note in result["notes"] if "in training" in note]
    assert len(said) == 2, said
    assert said[0].startswith(f"leaky: {len(half)} of {result['exams']} exams (") and "were in training" in said[0]
    assert said[1].startswith("old: What the run old has seen is not recorded")
    for name in (comparing.PAGE, comparing.MARKDOWN):
        assert f"leaky: {len(half)} of" in (tmp_path / "out" / name).read_text()
    # the recipe is tuned on what is compared, for boxes of a run that was trained on half of it
    seen = recipes.seen_of(tmp_path / "out" / "combination" / "recipe.json")
    assert seen.trained == Marks.of(half) | Marks.of(others) and len(seen.tuned) == result["exams"]


def test_files_alone_need_ground_truth(compare, tmp_path):
    made_up_runs.write_scores(tmp_path / "s.csv", {"e000": 0.5})
    with pytest.raises(ConfigError, match="do not say which ground truth they are of. Give --truth"):
        compare(f"s={tmp_path / 's.csv'}")


def test_an_earlier_comparison_stays_unless_it_is_to_be_replaced(compare, tmp_path):
    compare("resnet")
    before = (tmp_path / "out" / "comparison.json").read_text()
    with pytest.raises(DataError, match="holds an earlier result"):
        compare("resnet", "unet")
    assert (tmp_path / "out" / "comparison.json").read_text() == before
    assert len(compare("resnet", "unet", overwrite=True)["runs"]) == 2
    assert len(json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"]) == 2


def test_scores_as_cases_keep_their_order_and_ties():
    from pneumodet.data.cases import Cases

    nothing = (np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    base = Cases(("a", "b", "c"), np.array([0, 0, 1]), *nothing)
    assert matching.with_scores(base, np.array([0.3, 0.0, 1.0])).case_scores.tolist() == [0.3, 0.0, 1.0]
