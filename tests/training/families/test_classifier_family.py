"""Classifiers end to end: two heads with metadata from records to scores, cut and resumed, and what is refused."""

import csv
import dataclasses
import functools
import json
import shutil
from pathlib import Path

import made
import numpy as np
import pytest

from pneumodet.cli import train_classifier
from pneumodet.core.errors import CheckpointError, ConfigError, DataError
from pneumodet.data.record_sets import RecordSet
from pneumodet.evaluation.classification import scoring
from pneumodet.models.classification.settings import SMALLEST_SIDE, ClassifierSettings
from pneumodet.training.families.classification import Classifier, phases
from pneumodet.training.keras import experiment

SMALL = (
    "pretrained=none",
    "image_size=32",
    "batch_size=4",
    "steps=6",
    "checkpoint_every=2",
    "keep=9",
    "evaluate_every=3",
    "warmup_steps=1",
    "head_steps=2",
)


def request(data, folder, *overrides, config="resnet_scratch"):
    return experiment.Request(run=str(folder), config=config, data=data, overrides=(*SMALL, *overrides))


@pytest.fixture(scope="module")
def small():
    """Build a ResNet of half as many blocks, and evaluate with few resamples: what a user's run takes longer for."""
    from pneumodet.evaluation import image_level
    from pneumodet.evaluation.classification import three_classes
    from pneumodet.models.classification import networks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_BLOCKS", 1)
        for module in (image_level, three_classes):
            patch.setattr(module, "summarize", functools.partial(module.summarize, resamples=20))
        yield


@pytest.fixture(scope="module")
def both(small, classified, tmp_path_factory):
    """Return (folder, outcome, metrics) of a small ResNet with two heads and metadata."""
    folder = tmp_path_factory.mktemp("runs") / "both"
    return experiment.train(Classifier(), request(classified[0], folder, "task=both", "metadata=true"))


def test_a_run_with_two_heads_leaves_figures_scores_and_pictures(both, classified):
    folder, outcome, metrics = both
    assert outcome.completed and metrics["task"] == "both" and metrics["backbone"] == "resnet-scratch"
    assert metrics["parameters"] > 100_000 and metrics["milliseconds_an_image"] > 0
    cells = metrics["image.confusion"]
    assert sum(cells.values()) == np.sum(metrics["classes"]["confusion"]) == metrics["images"]
    assert cells["tp"] + cells["fn"] == metrics["positive_images"] == sum(metrics["classes"]["confusion"][2])
    assert {"roc.png", "confusion.png", "scores.csv", "metrics.json"} <= {path.name for path in (folder / "evaluation").iterdir()}
    assert any("These exams chose the checkpoint, the best of 2, so" in warning for warning in metrics["warnings"])
    assert (metrics["figures_on"], metrics["test_exams"]) == ("validation, used to choose this checkpoint, the best of 2", 0)
    assert metrics["checkpoint_best"] == pytest.approx(outcome.memory.best, rel=1e-7) and metrics["checkpoint_last_step"] == 6
    record = json.loads((folder / "run.json").read_text())
    assert record["family"] == "classification" and sum(record["classes"]["train"]) == record["data"]["train_exams"]
    assert str(classified[1].parent) not in (folder / "run.json").read_text()


def test_another_split_is_evaluated_at_the_threshold_of_validation(both, tmp_path, capsys):
    from pneumodet.cli import evaluate

    folder, _, chosen = both
    assert evaluate.main(["--run", str(folder), "--split", "train", "--output-dir", str(tmp_path / "out")]) == 0
    assert "Figures: training: exams that the model learned from" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["threshold"] == chosen["threshold"] and metrics["operating_point"]["source"] == "chosen on validation"
    assert (metrics["split"], metrics["checkpoint"], metrics["family"]) == ("train", chosen["checkpoint"], "classification")
    assert (
        sum(metrics["image.confusion"].values())
        == metrics["images"]
        == json.loads((folder / "run.json").read_text())["data"]["train_exams"]
    )
    assert {"scores.csv", "roc.png", "confusion.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert evaluate.main(["--run", str(folder), "--split", "test"]) == 2
    assert "has no split 'test'" in capsys.readouterr().err
    assert evaluate.main(["--run", str(folder), "--split", "train", "--tta", "flip"]) == 2
    assert "--tta is for detectors, but" in capsys.readouterr().err
    assert evaluate.main(["--run", str(folder)]) == 2
    assert "is evaluated on validation at the end of its training" in capsys.readouterr().err


def test_a_restored_classifier_scores_as_the_run_did(both, classified):
    trained = scoring.restored(both[0])
    split = RecordSet.open(classified[0]).check_two_kinds().val
    outputs = scoring.gathered(trained.runner(split).batches())
    with open(both[0] / "evaluation" / "scores.csv", newline="", encoding="utf-8") as file:
        scores = {row["patientId"]: float(row["score"]) for row in csv.DictReader(file)}
    assert list(scores) == list(split.names)
    np.testing.assert_allclose(outputs["pneumonia"], list(scores.values()), atol=2e-6)
    np.testing.assert_allclose(outputs["classes"].sum(axis=1), 1)


@pytest.mark.slow
def test_a_classifier_that_was_cut_goes_on_exactly(both, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(both[0], folder)
    for path in (folder / "train").glob("ckpt-*"):
        if int(path.name.split(".")[0].removeprefix("ckpt-")) > 2:
            path.unlink()
    (folder / "train" / "checkpoint").unlink()
    _, outcome, metrics = experiment.train(Classifier(), experiment.Request(run=str(folder), resume=True))
    assert outcome.step == 6 and made.losses(folder) == made.losses(both[0])
    assert metrics["image.roc_auc"] == both[2]["image.roc_auc"]


def test_the_probability_is_that_of_the_head_or_of_the_class():
    logits = np.array([[0.3], [-1.2]], np.float32)
    classes = np.array([[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]], np.float32)
    np.testing.assert_allclose(scoring.probability({"pneumonia": logits, "classes": classes}), 1 / (1 + np.exp(-logits[:, 0])), rtol=1e-6)
    wanted = np.exp(classes[:, 2]) / np.exp(classes).sum(axis=1)
    np.testing.assert_allclose(scoring.probability({"classes": classes}), wanted, rtol=1e-6)
    np.testing.assert_array_equal(scoring.logit({"classes": classes}), classes[:, 2])


@pytest.mark.parametrize(
    ("overrides", "config", "error", "message"),
    [
        (("pretrained=/nowhere/weights.h5",), "mobilenetv2", CheckpointError, "no file /nowhere/weights.h5"),
        (("pretrained=/nowhere/ckpt-1",), "mobilenetv2", CheckpointError, "no checkpoint /nowhere/ckpt-1"),
        (("pretrained=/nowhere/ckpt-1",), "resnet50", CheckpointError, "taken for mobilenetv2 only, not for resnet50"),
        (("pretrained=imagenet",), "resnet_scratch", ConfigError, "no ImageNet weights for resnet-scratch"),
        (("backbone=resnet500",), "resnet50", ConfigError, "Did you mean 'resnet50'"),
        (("image_size=64",), "inceptionv3", ConfigError, "image_size is 64, must be at least 75"),
        (("class_info=some.csv",), "resnet_scratch", ConfigError, "class_info is for task three-class"),
        (("task=both", "class_info=/nowhere.csv"), "resnet_scratch", DataError, "nowhere.csv"),
        (("best_metric=rsna_metric",), "resnet_scratch", ConfigError, "best_metric is 'rsna_metric'"),
        (("aim=rsna",), "resnet_scratch", ConfigError, "about boxes"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(classified, tmp_path, overrides, config, error, message):
    with pytest.raises(error, match=message):
        experiment.train(Classifier(), request(classified[0], tmp_path / "run", *overrides, config=config))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("imbalance", "warned"), [("class-weights", True), ("none", False)])
def test_positives_that_are_made_up_for_twice_are_warned_of(classified, imbalance, warned):
    said = []
    chosen = ClassifierSettings(backbone="resnet-scratch", pretrained="none", positive_share=0.5, imbalance=imbalance)
    Classifier().check(chosen, RecordSet.open(classified[0]).check_two_kinds(), say=said.append)
    assert any("positive_share draws 50% positives" in sentence and "twice" in sentence for sentence in said) == warned


def test_files_that_training_reads_anew_are_known():
    assert ClassifierSettings(task="both", class_info="info.csv").files == {"class_info": Path("info.csv")}
    assert ClassifierSettings().files == {}


def test_head_steps_that_leave_none():
    with pytest.raises(ConfigError, match="leaves no step for fine-tuning"):
        ClassifierSettings(steps=10, head_steps=10).check()
    ClassifierSettings(steps=10, head_steps=10, fine_tune=0.0).check()


def test_a_run_whose_pretrained_weights_are_gone_is_still_a_run(both, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(both[0], folder)
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace('pretrained = "none"', 'pretrained = "/gone/weights.h5"'))
    assert scoring.restored(folder).settings.pretrained == "/gone/weights.h5"


def test_what_is_frozen_in_which_phase():
    import keras

    image = keras.Input((8, 8, 3))
    x = image
    for number in range(4):
        x = keras.layers.BatchNormalization(name=f"norm{number}")(keras.layers.Conv2D(2, 1, name=f"conv{number}")(x))
    backbone = keras.Model(image, x)
    head, tuning = phases(ClassifierSettings(steps=10, head_steps=3, fine_tune=0.25, learning_rate=0.5, fine_tune_rate=0.1), backbone)
    assert (head.steps, head.learning_rate, head.frozen) == (3, 0.5, (backbone,))
    assert (tuning.steps, tuning.learning_rate) == (7, 0.1)
    assert {layer.name for layer in tuning.frozen} == {f"{kind}{number}" for kind in ("conv", "norm") for number in range(4)} - {"conv3"}
    (alone,) = phases(ClassifierSettings(steps=10, fine_tune=0.0), backbone)
    assert alone.frozen == (backbone,) and alone.steps == 10
    (fresh,) = phases(ClassifierSettings(steps=10, pretrained="none"), backbone)
    assert fresh.frozen == () and fresh.steps == 10


def test_flags_are_settings():
    given = ["--config", "two_heads", "--backbone", "vgg16", "--run", "x", "--steps", "5", "--metadata", "--set", "dropout=0.5"]
    overrides = train_classifier.overrides(train_classifier.build_parser().parse_args(given))
    assert overrides == ("steps=5", "metadata=true", "backbone=vgg16", "dropout=0.5")
    alone = train_classifier.overrides(train_classifier.build_parser().parse_args(["--backbone", "vgg16", "--run", "x"]))
    assert alone == ()


@pytest.mark.parametrize("completed", [True, False])
def test_the_command_says_where_results_lie_and_what_comes_next(both, completed, monkeypatch, capsys):
    folder, outcome, metrics = both
    asked = []

    def trained(family, request, **_):
        asked.append(request)
        return folder, dataclasses.replace(outcome, completed=completed), metrics if completed else None

    monkeypatch.setattr(experiment, "train", trained)
    code = train_classifier.main(["--backbone", "resnet-scratch", "--data", str(folder), "--run", "mine", "--steps", "6"])
    out, err = capsys.readouterr()
    assert asked == [experiment.Request(run="mine", config="resnet_scratch", data=folder, overrides=("steps=6",))]
    if completed:
        low, high = metrics["intervals"].get("classes.accuracy")
        assert code == 0 and f"{metrics['classes.accuracy']:.3f} [{low:.3f}, {high:.3f}]" in out
        assert str(folder / "evaluation" / "scores.csv") in out and "grad_cam.py --run mine" in out
        assert "Figures: validation, used to choose this checkpoint, the best of" in out and "These exams chose the checkpoint" in err
    else:
        assert code == 130 and "train_classifier.py --run mine --resume" in err


def test_every_config_is_one_and_says_its_command_and_cost():
    from pneumodet.models import settings

    family = Classifier()
    names = settings.names(family.configs)
    backbones = {settings.load(family.settings, name, folder=family.configs).backbone for name in names}
    assert backbones == set(SMALLEST_SIDE)
    assert {name.replace("-", "_") for name in SMALLEST_SIDE} <= set(names)
    for name in names:
        text = (family.configs / f"{name}.toml").read_text()
        assert f"train_classifier.py --config {name} " in text and "# Cost: " in text and "COST_" not in text


def test_python_evaluates_it_as_the_command_does(both, tmp_path):
    import pneumodet

    folder, _, chosen = both
    result = pneumodet.evaluate(folder, split="train", output=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == json.loads(json.dumps(dict(result.metrics)))
    assert result.metrics["threshold"] == chosen["threshold"] and result.folder == tmp_path / "out"
    names = [name for name, _ in result.rows()]
    assert names[:2] == ["ROC AUC", "PR AUC"] and "mean F1 of 3 classes" in names and "RSNA metric" not in names
    assert "training: exams that the model learned from" in result._repr_html_() and result.report is None
    with pytest.raises(ConfigError, match=r"has no report. Its pictures are in .*out: .*roc\.png"):
        result.show()
    with pytest.raises(ConfigError, match="^data is for detectors, but both is of the family classification. With it go model, split, "):
        pneumodet.evaluate(folder, split="train", data=tmp_path)
    with pytest.raises(DataError, match="is evaluated on validation at the end of its training"):
        pneumodet.evaluate(folder)
    (tmp_path / "two").mkdir()
    shutil.copy(folder / "run.json", tmp_path / "two")
    with pytest.raises(DataError, match="is of the family classification, not detection"):
        pneumodet.evaluate([folder, tmp_path / "two"], output=tmp_path / "fused")
