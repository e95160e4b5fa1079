"""The thread from records to detections, step by step, each against another way to the same result."""

import csv
import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
from small_runs import events, in_tensorboard

from pneumodet.cli import evaluate, export, make_tfrecords, predict, train
from pneumodet.core import detections, runs
from pneumodet.core.seen import Exams, Marks
from pneumodet.data import detection_files
from pneumodet.dicom import reading
from pneumodet.evaluation import evaluate as of_evaluation
from pneumodet.inference import exported
from pneumodet.models.detection import odapi, pipeline_config


def read(path):
    return json.loads(path.read_text())


def test_train_writes_its_runs(trained, records):
    record = read(trained / "run.json")
    assert record["parameters"] > 10_000
    assert record["steps"] == 6
    assert record["data"]["train_exams"] + record["data"]["val_exams"] == 14
    assert record["provenance"]["versions"]["tensorflow"].startswith("2.20")
    scalars, _ = events(trained / "train")
    assert {"Loss/total_loss", "learning_rate", "images_per_second", "gradient_norm"} <= scalars.keys()
    assert "training" in events(trained / "eval")[1]
    assert sorted(path.name for path in (trained / "train").glob("*.index")) == ["ckpt-0.index", "ckpt-4.index", "ckpt-6.index"]


def test_evaluate_leaves_the_curve_of_training_whole(trained):
    """Of a figure at a step below the last TensorBoard forgets all later ones of the same folder."""
    shown = in_tensorboard(trained)
    curve, later = (set(shown[run]) for run in (runs.EVAL, f"{runs.EVAL}/{of_evaluation.SCALARS}"))
    assert "image.roc_auc" in later
    assert not curve & later, "nothing beside what training wrote"


@pytest.mark.slow
def test_the_stock_api_accepts_the_resolved_config(trained):
    """As model_main_tf2 does: read the file, build input, model and optimizer from it, and restore the checkpoint."""
    api = odapi.load()
    import tensorflow as tf

    configs = api.config_util.get_configs_from_pipeline_file(str(trained / "pipeline.config"))
    model = api.model_builder.build(configs["model"], is_training=True)
    dataset = api.inputs.train_input(configs["train_config"], configs["train_input_config"], configs["model"], model=model)
    features, labels = next(iter(dataset))
    assert features["image"].shape == (2, 96, 96, 3)
    assert labels["groundtruth_classes"].shape[-1] == 2
    api.optimizer_builder.build(configs["train_config"].optimizer, global_step=tf.Variable(0, dtype=tf.int64))


@pytest.mark.slow
def test_the_stock_scripts_train_and_export_the_resolved_config(trained, tmp_path):
    """The documented commands: model_main_tf2, whose loop does 100 steps a call, then exporter_main_v2; the SavedModel detects."""
    import tensorflow as tf

    def script(name, **flags):
        words = [f"--{flag}={value}" for flag, value in flags.items()]
        done = subprocess.run([sys.executable, "-m", "pneumodet.odapi", f"object_detection.{name}", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    config = trained / "pipeline.config"
    script("model_main_tf2", pipeline_config_path=config, model_dir=tmp_path / "out", num_train_steps=1, checkpoint_every_n=1)
    assert (tmp_path / "out" / "ckpt-2.index").is_file()
    script("exporter_main_v2", pipeline_config_path=config, trained_checkpoint_dir=tmp_path / "out", output_directory=tmp_path / "export")
    found = tf.saved_model.load(str(tmp_path / "export" / "saved_model"))(tf.zeros([1, 96, 96, 3], tf.uint8))
    assert found["detection_boxes"].shape[-1] == 4 and 0 <= found["detection_scores"].numpy().max() <= 1


def test_evaluate_writes_metrics_and_detections(trained, records):
    metrics = read(trained / "eval" / "metrics.json")
    assert {"coco.pneumonia.AP", "coco.pneumonia.AP50", "rsna_metric", "rsna_threshold", "rsna_threshold_source"} <= metrics.keys()
    assert metrics["coco.no-pneumonia.AP"] is None, "a class without boxes has no AP"
    assert metrics["coco.AP"] == metrics["coco.pneumonia.AP"], "and does not drag the mean down"
    instances = read(records / "instances_val.json")
    assert metrics["images"] == len(instances["images"])
    known = {image["id"]: image["file_name"] for image in instances["images"]}
    rows = read(trained / "eval" / "detections.json")
    assert rows
    assert all(known[row["image_id"]] == row["file_name"] for row in rows)


def exams(data_dir, split):
    return {image["file_name"] for image in read(data_dir / f"instances_{split}.json")["images"]}


def test_what_a_run_has_seen_goes_along(trained, records):
    """From run.json to the figures and the export."""
    metrics, marks = read(trained / "eval" / "metrics.json"), {}
    for split in ("train", "val"):
        marks[split] = Marks.of(Exams.of(read(records / f"instances_{split}.json")["images"]))
    of_run, of_model = runs.seen(trained), exported.read(trained / "export").card.seen
    assert of_run.trained == of_model.trained == marks["train"] and of_model.chosen == marks["val"] == Marks(**metrics["scored"])
    assert of_run.unrecorded == of_model.unrecorded == ()
    assert metrics["seen"]["trained"]["exams"] == 0 and metrics["seen"]["statement"].startswith("None of the ")
    assert metrics["seen"]["statement"] in (trained / "export" / "MODEL_CARD.md").read_text()


def test_export_gives_what_evaluation_found(trained, detector, source):
    """Two ways to the same boxes: checkpoint and records in evaluate, SavedModel and DICOM here."""
    by_exam = detection_files.by_exam(trained / "eval" / "detections.json")
    exam, expected = next(iter(by_exam.items()))
    detections = detector.detect(reading.read_pixels(source.dicom_dir / f"{exam}.dcm"))
    count = min(len(detections), len(expected))
    assert count
    np.testing.assert_allclose(detections.scores[:5], expected.scores[:5], atol=5e-3)  # two JPEG decoders
    np.testing.assert_allclose(detections.boxes_xyxy_px[0], expected.boxes_xyxy_px[0], atol=4)


def test_an_exported_model_is_measured_on_records(trained, workspace, records, tmp_path):
    assert (
        evaluate.main(
            ["--model", str(trained / "export"), "--data", str(records), "--output-dir", str(tmp_path / "same"), "--resamples", "20"]
        )
        == 0
    )
    of_run, of_model = read(trained / "eval" / "metrics.json"), read(tmp_path / "same" / "metrics.json")
    assert of_model["images"] == of_run["images"]
    for key in ("highest_score", "rsna_metric", "coco.pneumonia.AP50"):
        assert of_model[key] == pytest.approx(of_run[key], abs=1e-4), "they see the same pixels, and are evaluated at the same thresholds"
    assert "from the model" not in of_model["rsna_threshold_source"], "it was chosen on these very records"


# quick: the first half above, and tests/export, where an export is evaluated on two splits
@pytest.mark.slow
def test_an_exported_model_is_measured_on_other_records(trained, workspace, records, source, tmp_path, capsys):
    flags = ["--val-fraction", "0.9", "--test-fraction", "0", "--seed", "7"]
    arguments = ["--dicom-dir", str(source.dicom_dir), "--labels", str(source.labels), *flags]
    assert make_tfrecords.main([*arguments, "--output-dir", str(tmp_path / "others")]) == 0
    command = [
        "--model",
        str(trained / "export"),
        "--data",
        str(tmp_path / "others"),
        "--output-dir",
        str(tmp_path / "other"),
        "--resamples",
        "20",
    ]
    assert evaluate.main(command) == 0
    other = read(tmp_path / "other" / "metrics.json")
    # the same exams, split otherwise
    names, own = exams(tmp_path / "others", "val"), {split: exams(records, split) for split in ("train", "val")}
    assert other["seen"]["trained"]["exams"] == len(names & own["train"]) > 0
    assert other["seen"]["chosen"]["exams"] == len(names & own["val"]) > 0
    assert f"{len(names & own['train'])} of {len(names)} exams (" in (tmp_path / "other" / "report.html").read_text()
    assert not other["rsna_threshold_source"].startswith("from the model")
    assert (tmp_path / "other" / "report.html").read_text().count("data:image/jpeg") == len(other["worst"])
    assert evaluate.main([*command, "--split", "test"]) == 2
    assert "has no split 'test'; it has train, val. Make the records again with --test-fraction 0.15." in capsys.readouterr().err


def test_export_has_the_api_signature(trained):
    import tensorflow as tf
    from tensorflow.python.saved_model import loader_impl

    (graph,) = loader_impl.parse_saved_model(str(trained / "export" / "saved_model")).meta_graphs
    signature = graph.signature_def["serving_default"]
    (spec,) = signature.inputs.values()
    assert spec.dtype == tf.uint8.as_datatype_enum
    assert [side.size for side in spec.tensor_shape.dim] == [1, -1, -1, 3]
    assert {"detection_boxes", "detection_scores", "detection_classes", "num_detections"} <= signature.outputs.keys()


def test_model_card(trained, records):
    card = read(trained / "export" / "model.json")
    assert card["checkpoint"] == "ckpt-6"
    assert card["metrics"]["step"] == 6
    assert card["score_threshold"] == card["metrics"]["rsna_threshold"]
    assert (trained / "export" / "label_map.pbtxt").read_text() == (trained / "label_map.pbtxt").read_text()


def test_export_refuses_to_replace(trained, workspace, capsys):
    before = (trained / "export" / "model.json").read_bytes()
    assert export.main(["--run", "six"]) == 2
    assert "holds an earlier result" in capsys.readouterr().err
    assert (trained / "export" / "model.json").read_bytes() == before


def test_predict(trained, workspace, source, tmp_path, capsys):
    folder = tmp_path / "dicoms"
    shutil.copytree(source.dicom_dir, folder)
    (folder / "notes.dcm").write_text("no DICOM")
    whole = next(iter(source.dicom_dir.iterdir()))
    (folder / "cut.dcm").write_bytes(whole.read_bytes()[:-2000])
    output = tmp_path / "out"
    flags = ["--model", trained / "export", "--dicom-dir", folder, "--output-dir", output, "--labels", source.labels, "--max-images", "3"]
    assert predict.main([*map(str, flags), "--score-threshold", "0.01"]) == 0
    err = capsys.readouterr().err
    assert "notes.dcm: it is not a DICOM file" in err and "cut.dcm: the same radiograph as " in err
    with open(output / "submission.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    exams = {path.stem for path in source.dicom_dir.iterdir()}
    assert {row["patientId"] for row in rows} == exams
    for row in rows:
        values = [float(value) for value in row["PredictionString"].split()]
        assert len(values) % 5 == 0
        assert all(0.01 <= score <= 1 for score in values[::5])
    rows = read(output / "detections.json")
    assert all(row["image_id"] == detections.image_id(row["file_name"]) for row in rows)
    assert len(list((output / "images").glob("*.png"))) == 3
    assert read(output / "predictions.json")["threshold_source"] == "given"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "nothing temporary is left"


@pytest.mark.slow
def test_predict_needs_no_api(trained, workspace, source, tmp_path):
    flags = ["--model", trained / "export", "--dicom-dir", source.dicom_dir, "--output-dir", tmp_path / "out", "--max-images", "0"]
    code = f"""
import sys
from pneumodet.cli import predict
assert predict.main({list(map(str, flags))!r}) == 0
assert not [name for name in sys.modules if name.split(".")[0] in ("object_detection", "official", "tf_slim")]
assert "pneumodet.training.step" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_predict_refuses_what_is_no_model(source, tmp_path, capsys):
    flags = ["--model", tmp_path, "--dicom-dir", source.dicom_dir, "--output-dir", tmp_path / "out"]
    assert predict.main(list(map(str, flags))) == 2
    assert "is not an exported model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_evaluate_unknown_run_lists_those_there_are(trained, workspace, capsys):
    assert evaluate.main(["--run", "sicks"]) == 2
    assert "There is no run 'sicks'" in (err := capsys.readouterr().err)
    assert "Runs: " in err
    assert "six" in err


def test_evaluate_refuses_another_label_map(trained, workspace, records, tmp_path, capsys):
    copy = tmp_path / "records"
    shutil.copytree(records, copy)
    manifest = read(copy / "manifest.json")
    manifest["label_map"] = {"pneumonia": 1, "no-pneumonia": 2}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert evaluate.main(["--run", "six", "--data", str(copy)]) == 2
    assert "label map" in capsys.readouterr().err


@pytest.mark.slow
def test_checkpoint_of_another_model_names_variables(trained, workspace, records, capsys):
    flags = ["--config", "ssd_mobilenet", "--data", str(records), "--run", "misfit", "--steps", "1"]
    flags += ["--fine-tune-checkpoint", str(trained / "train" / "ckpt-6"), "--fine-tune-checkpoint-type", "classification"]
    assert train.main(flags) == 2
    err = capsys.readouterr().err
    assert "does not fit this model" in err
    assert "Conv1" in err or "conv" in err.lower()


@pytest.mark.parametrize(
    "command", [pytest.param(evaluate.main, id="evaluate"), pytest.param(export.main, id="export", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda train_dir: truncate(train_dir / "ckpt-6.data-00000-of-00001"), "ckpt-6", id="cut-off"),
        pytest.param(lambda train_dir: (train_dir / "ckpt-6.index").unlink(), "is ckpt-6, but its files are gone", id="gone"),
        pytest.param(lambda train_dir: shutil.rmtree(train_dir), "There is no checkpoint", id="none"),
    ],
)
def test_damaged_checkpoint_is_named(trained, workspace, capsys, command, damage, message):
    folder = workspace / "damaged"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("export"))
    try:
        damage(folder / "train")
        assert command(["--run", "damaged"]) == 2
        *progress, line = capsys.readouterr().err.strip().splitlines()
        assert progress in ([], ["savedmodel: writing ..."])
        assert message in line
        assert not (folder / "export").exists()
    finally:
        shutil.rmtree(folder)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


@pytest.mark.slow
def test_fine_tuning_restores_every_variable(trained, workspace, records):
    from pneumodet.models.detection import checkpoints, models

    config = pipeline_config.load(str(trained / runs.CONFIG))
    config.train_config.fine_tune_checkpoint = str(trained / "train" / "ckpt-6")
    config.train_config.fine_tune_checkpoint_type = "full"
    model = models.build(config, is_training=True)
    before = [variable.numpy() for variable in model._box_predictor.trainable_variables]
    count = checkpoints.restore_fine_tune(model, config.train_config)
    assert int(count) == len(model._feature_extractor.variables) + len(model._box_predictor.variables)
    after = model._box_predictor.trainable_variables
    assert any(not np.allclose(old, new.numpy()) for old, new in zip(before, after, strict=True))


def test_rate_reaches_the_events(trained):
    scalars, _ = events(trained / "train")
    assert all(math.isfinite(value) for values in scalars.values() for value in values)
