"""A U-Net's run: what it leaves, that a cut one ends as an uncut one, and what it refuses."""

import csv
import dataclasses
import json
import re
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest
import tensorflow as tf
import tiny_unet
from PIL import Image

from pneumodet.cli import train_segmenter
from pneumodet.core import paths, runs
from pneumodet.core.errors import CheckpointError, ConfigError, DataError, TrainingError
from pneumodet.data import detection_files
from pneumodet.data.record_sets import RecordSet
from pneumodet.evaluation.runner import Runner
from pneumodet.evaluation.segmentation.evaluation import MaskEvaluator
from pneumodet.evaluation.segmentation.figures import THRESHOLDS
from pneumodet.models import settings
from pneumodet.models.segmentation.settings import SegmenterSettings
from pneumodet.training.families import segmentation_table
from pneumodet.training.families.segmentation import DRAWN, Segmenter
from pneumodet.training.keras import experiment
from pneumodet.training.keras.experiment import Request

CONFIGS = paths.CONFIG_DIR / "segmentation"


def test_a_run_leaves_what_others_build_on(unet_run, unet_records):
    folder, outcome, metrics = unet_run
    record = json.loads((folder / "run.json").read_text())
    assert outcome.completed and record["family"] == "segmentation" and record["training_seconds"] > 0
    assert tomllib.loads((folder / "config.toml").read_text())["dropout"] == 0.3
    into = folder / "evaluation"
    assert json.loads((into / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert metrics["parameters"] == record["parameters"] and metrics["milliseconds_an_image"] > 0
    val = RecordSet.open(unet_records).check_two_kinds().val
    detections = detection_files.by_exam(into / "detections.json", val.names)
    with open(into / "scores.csv", newline="") as file:
        scores = {row["patientId"]: float(row["score"]) for row in csv.DictReader(file)}
    assert tuple(scores) == val.names
    for name, score in scores.items():
        assert score == pytest.approx(max(detections[name].scores, default=0.0), abs=1e-6)
    shown = min(DRAWN[0], int(val.positive.sum())) + min(DRAWN[1], int((~val.positive).sum()))
    width, height = Image.open(into / "masks.png").size
    assert width == 4 * 384 and height > -(-shown // 4) * 400, "a strip above each tile, and what lines and colours mean at the top"
    assert (folder / "curves.png").is_file()


def test_the_figures_are_those_of_the_best_checkpoint(unet_run, unet_records):
    folder, outcome, metrics = unet_run
    model, chosen = experiment.restored(Segmenter(), folder)
    val = RecordSet.open(unet_records).check_two_kinds().val
    evaluated = MaskEvaluator(val, size_hw=chosen.size_hw, smallest_share=chosen.smallest_share)(
        Runner(model, val, size_hw=chosen.size_hw).batches()
    )
    assert metrics["step"] == outcome.memory.best_step
    marked = evaluated.maps >= THRESHOLDS[evaluated.index][:, None, None]
    assert metrics["segmentation.iou"] == pytest.approx((evaluated.truth & marked).sum() / (evaluated.truth | marked).sum())
    assert metrics["segmentation.iou"] == pytest.approx(outcome.memory.best)


def test_another_split_is_evaluated_at_the_thresholds_of_validation(unet_run, tmp_path):
    import pneumodet
    from pneumodet.training.keras import testing

    folder, _, chosen = unet_run
    result = pneumodet.evaluate(folder, split="train", output=tmp_path / "out")
    metrics, into = result.metrics, result.folder
    assert [name for name, _ in result.rows()] == ["IoU", "F1", "IoU a positive image", "AP50", "RSNA metric", "ROC AUC"]
    assert metrics["pixel_threshold"] == dict.fromkeys(("new_data", "lowest", "highest"), chosen["pixel_threshold"]["new_data"])
    assert metrics["rsna_threshold"] == chosen["rsna_threshold"] and metrics["figures_on"].startswith("training: ")
    assert metrics["seen"]["trained"]["exams"] == metrics["images"] and any(
        "were in training" in warning for warning in metrics["warnings"]
    )
    assert metrics["checkpoint"] == chosen["checkpoint"] and metrics["images"] == len(RecordSet.open(folder_of(folder)).train)
    assert {"scores.csv", "detections.json", "masks.png", "metrics.json"} == {path.name for path in into.iterdir()}
    with pytest.raises(DataError, match="holds an earlier result"):
        testing.evaluate(Segmenter(), folder, split="train", output_dir=tmp_path / "out")


def folder_of(run):
    """Return the folder of the records that a run was trained with."""
    return Path(runs.read(run).records().folder)


# quick: keras/test_learning_experiment.py, of the engine that all families share
@pytest.mark.slow
def test_a_run_that_was_cut_ends_as_an_uncut_one(unet_run, tmp_path):
    whole, folder = unet_run[0], tmp_path / "cut"
    shutil.copytree(whole, folder)
    for path in (folder / "train").glob("ckpt-*"):
        if int(path.name.split(".")[0].removeprefix("ckpt-")) > 1:
            path.unlink()
    (folder / "train" / "checkpoint").unlink()
    tiny_unet.train(Request(run=str(folder), resume=True))
    mine, theirs = (tf.train.load_checkpoint(str(one / "train")) for one in (folder, whole))
    names = [name for name in theirs.get_variable_to_shape_map() if name.startswith(("model/", "optimizers/"))]
    assert len(names) > 50
    for name in names:
        np.testing.assert_array_equal(mine.get_tensor(name), theirs.get_tensor(name), err_msg=name)


def test_weights_of_another_run_and_of_a_file_are_taken(unet_run, tmp_path):
    folder = unet_run[0]
    model, chosen = experiment.restored(Segmenter(), folder)
    model.save_weights(tmp_path / "mine.weights.h5")
    for name in (f"run:{folder}", str(tmp_path / "mine.weights.h5"), str(next((folder / "best").glob("*.index")).with_suffix(""))):
        values = {key: getattr(chosen, key) for key in ("image_size", "filters", "depth", "dropout")} | {"pretrained": name}
        again = Segmenter().build(settings.of(SegmenterSettings, values, where="test"), pretrained=True)
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True)), name


def test_wrong_weights_are_refused(unet_run, unet_records, tmp_path):
    folder = unet_run[0]
    model, chosen = experiment.restored(Segmenter(), folder)
    model.save_weights(tmp_path / "mine.weights.h5")
    (tmp_path / "text.weights.h5").write_text("no weights")
    prefix = str(next((folder / "best").glob("*.index")).with_suffix(""))
    for pretrained, changes, message in (
        (tmp_path / "text.weights.h5", {}, "text.weights.h5 do not fit this network"),
        (tmp_path / "mine.weights.h5", {"filters": 6}, "mine.weights.h5 do not fit this network.*same convolutions"),
        (tmp_path / "mine.weights.h5", {"depth": 2}, "mine.weights.h5 do not fit this network"),
        (prefix, {"depth": 2}, "does not fit the model"),
    ):
        with pytest.raises(CheckpointError, match=message):
            Segmenter().build(dataclasses.replace(chosen, pretrained=str(pretrained), **changes), pretrained=True)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        experiment.train(Segmenter(), tiny_unet.request(unet_records, tmp_path / "new", f"pretrained={prefix}", "depth=2"))
    assert not (tmp_path / "new").exists()


def test_weights_that_are_not_there_are_refused_before_tensorflow_starts(unet_records):
    chosen = SegmenterSettings(pretrained="absent.weights.h5")
    with pytest.raises(CheckpointError, match="There are no weights absent.weights.h5"):
        Segmenter().check(chosen, RecordSet.open(unet_records).check_two_kinds(), say=lambda text: None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["image_size=36", "depth=4"], "36 x 36 px cannot be halved 4 times.*nearest size is 32 x 32"),
        (["los=dice"], "no setting 'los'. Did you mean 'loss'"),
        (["loss=iou"], "there is no loss 'iou'"),
        (["best_metric=accuracy"], "best_metric is 'accuracy'"),
        (["normalization=CLAHE"], "normalization is 'CLAHE'"),
        (["smallest_share=0.9"], "smallest_share is 0.9, must be from 0 to 0.5"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_once(unet_records, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        experiment.train(Segmenter(), tiny_unet.request(unet_records, tmp_path / "new", *overrides))


def test_records_without_positives_are_refused(unet_records, tmp_path):
    copy = tmp_path / "records"
    shutil.copytree(unet_records, copy)
    path = copy / "instances_train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    with pytest.raises(DataError, match="None of the .* training exams in .* is with pneumonia"):
        experiment.train(Segmenter(), tiny_unet.request(copy, tmp_path / "new"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_each_config_is_valid_and_tells_its_command(path):
    chosen = settings.load(SegmenterSettings, path.stem, folder=CONFIGS)
    text = path.read_text()
    assert f"python tools/train_segmenter.py --config {path.stem} --data" in text and "# Cost: " in text
    assert f"_{chosen.image_size}" in path.stem
    if chosen.encoder == "plain":
        assert path.stem.startswith(f"unet_{chosen.filters}_{chosen.convolutions}conv")
    assert (chosen.dropout > 0) == ("dropout" in path.stem)
    assert chosen.normalization == next((one for one in ("histogram", "clahe") if one in path.stem), "none")
    assert (chosen.augmentation == "none") == ("as_they_are" in path.stem)


@pytest.fixture
def started(tmp_path, monkeypatch, unet_run):
    """Return what a table's command trains: names of variants, first and second of which are there; each run is a copy of ``unet_run``.

    ``failing`` holds those whose training fails.
    """
    folder = tmp_path / "configs" / "segmentation"
    folder.mkdir(parents=True)
    for number, name in enumerate(("first", "second"), start=3):
        (folder / f"{name}.toml").write_text(tiny_unet.CONFIG.replace("filters = 4", f"filters = {number}"))
    monkeypatch.setattr(paths, "CONFIG_DIR", tmp_path / "configs")
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path / "workspace"))
    calls = SimpleNamespace(names=[], failing=[], workspace=tmp_path / "workspace")

    def train(family, request, **more):
        run = paths.run_dir(request.run)
        name = request.config or run.name.rpartition("-")[2]
        calls.names.append((name, request.resume))
        run.mkdir(parents=True, exist_ok=True)
        if not request.resume:
            settings.save(settings.load(family.settings, name, folder=family.configs, overrides=request.overrides), run / runs.SETTINGS)
            shutil.copy(unet_run[0] / "run.json", run)
        if name in calls.failing:
            raise TrainingError("The loss is not finite.")
        shutil.copytree(unet_run[0] / "evaluation", run / "evaluation")
        return run, unet_run[1], unet_run[2]

    monkeypatch.setattr(experiment, "train", create_autospec(experiment.train, side_effect=train))
    return calls


def variants_in(folder):
    rows = json.loads((folder / "table.json").read_text())["rows"]
    assert all(f"| {row['variant']} |" in (folder / "table.md").read_text() for row in rows)
    return [row["variant"] for row in rows]


def test_the_table_trains_what_is_missing_and_keeps_what_is_there(started, unet_run, unet_records, capsys):
    flags = ["--data", str(unet_records), "--run", "reports", "--steps", "3"]
    table_dir = started.workspace / "reports"
    assert train_segmenter.main(["--table", "second", *flags]) == 0
    assert variants_in(table_dir) == ["second"]
    (table_dir / "notes.txt").write_text("mine")
    assert train_segmenter.main(["--table", "first", *flags]) == 0
    assert sorted(variants_in(table_dir)) == ["first", "second"], "of an earlier start, too"
    assert train_segmenter.main(["--table", *flags]) == 0
    assert started.names == [("second", False), ("first", False)]
    assert (table_dir / "notes.txt").read_text() == "mine"
    metrics = unet_run[2]
    low, high = metrics["intervals"]["segmentation.iou"]
    row = json.loads((table_dir / "table.json").read_text())["rows"][0]
    assert row["intervals"]["segmentation.iou"] == [low, high]
    out = capsys.readouterr().out
    assert f"{metrics['segmentation.iou']:.3f} [{low:.3f}, {high:.3f}]" in out and segmentation_table.PRIOR in out
    assert train_segmenter.main(["--table", *flags[:-1], "4"]) == 2
    assert "was trained with steps=3, not 4. Choose another --run" in capsys.readouterr().err


def test_a_variant_that_fails_leaves_the_table_of_the_others(started, unet_records, capsys):
    flags = ["--table", "--data", str(unet_records), "--run", "reports"]
    started.failing.append("second")
    assert train_segmenter.main(flags) == 2
    assert "second: The loss is not finite. What is trained already stays" in capsys.readouterr().err
    assert variants_in(started.workspace / "reports") == ["first"]
    started.failing.clear()
    assert train_segmenter.main(flags) == 0
    assert started.names == [("first", False), ("second", False), ("second", True)]
    assert variants_in(started.workspace / "reports") == ["first", "second"]


def test_a_table_is_not_written_into_a_run(started, unet_records, capsys):
    """It would be noticed after all variants are trained."""
    run = started.workspace / "mine"
    run.mkdir(parents=True)
    (run / runs.SETTINGS).write_text(tiny_unet.CONFIG)
    assert train_segmenter.main(["--table", "--data", str(unet_records), "--run", "mine"]) == 2
    assert "mine is a run's. Choose another --run name for the table" in capsys.readouterr().err
    assert not started.names and [path.name for path in run.iterdir()] == [runs.SETTINGS]


def test_the_command_tells_figures_and_where_they_lie(started, unet_run, unet_records, capsys):
    assert train_segmenter.main(["--config", "first", "--data", str(unet_records), "--run", "one"]) == 0
    out, metrics = capsys.readouterr().out, unet_run[2]
    assert f"{metrics['image.roc_auc']:.3f}" in out and "image.roc_auc" in metrics["intervals_undefined"], (
        "of so few patients there is no interval"
    )
    assert f"that of one fixed mask of the training exams, {metrics['segmentation.prior']['segmentation.iou']['value']:.3f} (" in out
    for name in ("metrics.json", "masks.png", "scores.csv", "detections.json"):
        path = next(word for word in out.split() if word.endswith(name))
        assert Path(path).is_file()


def test_the_command_says_what_is_wrong(started, unet_records, tmp_path, capsys):
    flags = ["--data", str(unet_records), "--run", "other"]
    for argv, message in (
        (["--table", "frist", *flags], "There is no variant 'frist'. Did you mean 'first'?"),
        (["--table", "--resume", *flags], "leave --config and --resume out"),
        (["--table", "--data", str(tmp_path), "--run", "other"], "make_tfrecords"),
    ):
        assert train_segmenter.main(argv) == 2
        assert message in capsys.readouterr().err
    assert not started.names


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config", "unet_16_2conv_12"], "There is no config 'unet_16_2conv_12'.*Did you mean 'unet_16_2conv_128'"),
        (["--resume"], "There is no run 'nobody' in .*Train one with python tools/train_segmenter.py"),
    ],
)
def test_a_run_that_cannot_start_gets_a_sentence(argv, message, unet_records, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    data = [] if "--resume" in argv else ["--data", str(unet_records)]
    assert train_segmenter.main([*argv, *data, "--run", "nobody"]) == 2
    assert re.search(message, capsys.readouterr().err)
