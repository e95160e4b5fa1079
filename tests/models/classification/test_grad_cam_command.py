"""A run explained from end to end."""

import dataclasses
import json
import shutil

import layouts
import made
import numpy as np
import pytest
from PIL import Image

from pneumodet.apps.web.heatmaps import Folder
from pneumodet.cli import evaluate, grad_cam, make_tfrecords
from pneumodet.core import runs
from pneumodet.core.run_record import DataRecord, RunRecord
from pneumodet.core.seen import Exams, Marks, Seen
from pneumodet.data import detection_files
from pneumodet.data.record_sets import RecordSet
from pneumodet.evaluation.classification import scoring
from pneumodet.models import settings
from pneumodet.models.classification.settings import ClassifierSettings

SIDE, CELL = 64, 8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return the folder of a record set of 24 synthetic exams of 128 px, more than half of them for validation."""
    return made.records(tmp_path_factory, exams=24, seed=5, val_fraction=0.6)[0]


CHOSEN = ClassifierSettings(backbone="resnet-scratch", pretrained="none", image_size=SIDE, task="three-class", metadata=True)


@pytest.fixture
def run(tmp_path, data):
    """Return a run's folder, without a checkpoint."""
    return run_on(data, tmp_path / "run")


def run_on(data, folder):
    folder.mkdir()
    settings.save(CHOSEN, folder / runs.SETTINGS)
    records = RecordSet.open(data).check_two_kinds()
    seen = Seen(trained=Marks.of(Exams.of(records.train.instances["images"])))
    about = DataRecord(folder=str(data), manifest_sha256=records.manifest_sha256)
    runs.write(folder, RunRecord(family=runs.CLASSIFICATION, data=about, seen=seen))
    return folder


@pytest.fixture
def with_weights(run):
    """Return the run's folder as training leaves it, of a classifier that takes metadata, too."""
    import keras
    import tensorflow as tf

    from pneumodet.models.classification import networks

    keras.utils.set_random_seed(0)
    checkpoint = tf.train.Checkpoint(model=networks.classifier(CHOSEN))
    tf.train.CheckpointManager(checkpoint, str(run / runs.TRAIN), max_to_keep=1).save(checkpoint_number=7)
    return run


def looking_for_brightness(*, sign):
    """A classifier that speaks for pneumonia (or against it) as much as an exam is bright; its features are mean values of 8 x 8 px."""
    import keras

    image = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="image")
    features = keras.layers.Conv2D(1, CELL, strides=CELL, kernel_initializer="ones", name="mean")(keras.layers.Rescaling(1 / 255)(image))
    head = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(sign / CELL**2))
    return keras.Model({"image": image}, {"pneumonia": head(keras.layers.GlobalAveragePooling2D()(features))})


@pytest.fixture
def bright(monkeypatch):
    """Return a function that has a classifier in every run's folder."""
    chosen = ClassifierSettings(image_size=SIDE, pretrained="none")

    def use(model):
        monkeypatch.setattr(scoring, "restored", lambda folder: scoring.Trained(model, chosen))

    return use


def explained(folder):
    return json.loads((folder / "pointing.json").read_text())


def heatmap(folder, exam):
    return np.asarray(Image.open(folder / "heatmaps" / f"{exam}.png"))


def test_a_run_is_explained_and_what_it_writes_is_taken_by_the_next_commands(with_weights, data, capsys):
    run = with_weights
    assert grad_cam.main(["--run", str(run), "--method", "grad-cam++", "--resamples", "50"]) == 0
    out = capsys.readouterr().out
    folder = run / "grad_cam_plus_plus"
    split = RecordSet.open(data).check_two_kinds().val
    report = explained(folder)
    assert report["seen"]["trained"]["exams"] == 0 and report["seen"]["warnings"] == []
    assert (report["exams"], report["positive_exams"], report["layer"]) == (len(split), split.positive.sum(), "stage3_block1_relu")
    assert report["share"]["source"].startswith("of each exam, the one that gave the greatest IoU on other patients")
    assert sorted(path.stem for path in (folder / "heatmaps").iterdir()) == sorted(split.names)
    assert len(Folder(folder / "heatmaps")._paths) == len(split)
    assert {int(heatmap(folder, exam).max()) for exam in split.names} <= {0, 255}
    detections = detection_files.by_exam(folder / "detections.json", split.names)
    assert sum(map(len, detections.values())) == report["weak_boxes"] > 0
    for one in detections.values():
        assert (one.boxes_xyxy_px >= 0).all() and (one.boxes_xyxy_px <= 128).all()
        assert set(one.classes) <= {split.category}
    shown = min(split.positive.sum(), 12) + min((~split.positive).sum(), 4)
    width, height = Image.open(folder / "overlays.jpg").size
    assert width == 4 * 448 and height > 464 * -(-shown // 4), "a strip above each tile, and what lines and colours mean at the top"
    assert f"--detections {folder / 'detections.json'}" in out and f"--heatmap {folder / 'heatmaps'}" in out
    command = next(line for line in out.splitlines() if "tools/evaluate.py" in line).split("evaluate.py ")[1].split()
    assert evaluate.main([*command, "--resamples", "20"]) == 0

    before = (folder / "pointing.json").read_bytes()
    assert grad_cam.main(["--run", str(run), "--method", "grad-cam++"]) == 2
    assert "Give --overwrite to replace it" in capsys.readouterr().err
    assert (folder / "pointing.json").read_bytes() == before


@pytest.mark.parametrize("boxes", [pytest.param(0, id="a set of whole images"), pytest.param(1, id="some with a box")])
def test_positive_exams_without_a_box_are_explained(bright, tmp_path, boxes):
    """They have no place in figures of places, and are drawn like the others."""
    layout = layouts.nih_boxes(tmp_path / "source")
    if boxes:
        places = layout.labels / "BBox_List_2017.csv"
        places.write_text("\n".join(line for line in places.read_text().splitlines() if line.startswith(("Image", layout.names[4]))))
    labels = layout.labels if boxes else layout.labels / "Data_Entry_2017_v2020.csv"
    flags = ["--image-dir", layout.images, "--labels", labels, "--split-file", layout.split_file(tmp_path), "--workers", 1]
    assert make_tfrecords.main([*map(str, [*flags, "--output-dir", tmp_path / "records"])]) == 0
    bright(looking_for_brightness(sign=1))
    run = run_on(tmp_path / "records", tmp_path / "run")
    assert grad_cam.main(["--run", str(run)]) == 0
    report = explained(run / "grad_cam")
    assert (report["exams"], report["positive_exams"], report["boxes"]) == (4, 2, boxes)
    assert len([*(run / "grad_cam" / "heatmaps").iterdir()]) == 4


def test_heat_boxes_and_points_lie_where_the_radiograph_is_bright(run, data, bright, tmp_path):
    """Nothing else than brightness speaks for pneumonia: the heatmap is the radiograph at a coarse scale."""
    bright(looking_for_brightness(sign=1))
    folder = tmp_path / "out"
    flags = ["--run", str(run), "--threshold", "0.7", "--tolerance", "0", "--resamples", "20", "--output-dir", str(folder)]
    assert grad_cam.main(flags) == 0
    split = RecordSet.open(data).check_two_kinds().val
    detections = detection_files.by_exam(folder / "detections.json", split.names)
    hits = []
    for seen in scoring.restored(run).runner(split).batches():
        for number, image, outputs in zip(seen.numbers, seen.images, seen.outputs["pneumonia"], strict=True):
            cells = image.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL).mean(axis=(1, 3))
            exam = split.names[number]
            small = np.asarray(Image.fromarray(heatmap(folder, exam)).resize((8, 8), Image.Resampling.BOX), np.float64)
            assert np.corrcoef(small.ravel(), cells.ravel())[0, 1] > 0.97
            row, column = np.unravel_index(cells.argmax(), cells.shape)
            x, y = (column + 0.5) * 16, (row + 0.5) * 16  # of 128 px
            inside = [(left <= x <= right) and (top <= y <= bottom) for left, top, right, bottom in split.boxes_xyxy_px[number]]
            hits += [any(inside)] if inside else []
            best = detections[exam].boxes_xyxy_px[0]
            assert (best[0] <= x <= best[2]) and (best[1] <= y <= best[3])
            assert detections[exam].scores[0] <= 1 / (1 + np.exp(-outputs[0])) + 1e-6
    report = explained(folder)
    assert report["figures"]["pointing"]["grad-cam"]["value"] == pytest.approx(np.mean(hits))
    assert report["share"] == {"source": "given", "lowest": 0.7, "highest": 0.7, "for_new_data": 0.7}


def test_exams_that_the_classifier_was_trained_on_are_counted(run, data, bright, tmp_path, capsys):
    bright(looking_for_brightness(sign=1))
    other = tmp_path / "other"
    shutil.copytree(data, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["splits"] |= {"train": manifest["splits"]["val"], "val": manifest["splits"]["train"]}
    (other / "manifest.json").write_text(json.dumps(manifest))
    flags = ["--run", str(run), "--data", str(other), "--resamples", "20"]
    assert grad_cam.main(flags) == 0
    report = explained(run / "grad_cam")
    assert report["seen"]["trained"]["exams"] == report["exams"] == len(RecordSet.open(data).check_two_kinds().train)
    assert f"warning: {report['exams']} of {report['exams']} exams (" in capsys.readouterr().err
    runs.write(run, dataclasses.replace(runs.read(run), seen=None))
    assert grad_cam.main([*flags, "--overwrite"]) == 0
    assert "What the run run has seen is not recorded" in capsys.readouterr().err


def test_where_nothing_speaks_for_pneumonia_there_is_no_box(run, bright, capsys):
    bright(looking_for_brightness(sign=-1))
    assert grad_cam.main(["--run", str(run), "--resamples", "20"]) == 0
    report = explained(run / "grad_cam")
    assert report["without_heat"] == {"exams": report["exams"], "positive_exams": report["positive_exams"]}
    assert json.loads((run / "grad_cam" / "detections.json").read_text()) == []
    assert not any(np.asarray(Image.open(path)).any() for path in (run / "grad_cam" / "heatmaps").iterdir())
    assert report["figures"]["pointing"]["grad-cam"]["value"] == 0
    assert report["figures"]["pointing"]["chance"]["value"] > 0
    assert f"Nothing speaks for pneumonia in {report['exams']} exams" in capsys.readouterr().out


def test_broken_weights_and_other_runs_get_a_sentence(run, bright, capsys, tmp_path):
    model = looking_for_brightness(sign=1)
    model.set_weights([value * np.nan for value in model.get_weights()])
    bright(model)
    assert grad_cam.main(["--run", str(run)]) == 2
    assert "not finite, so that its weights are broken" in capsys.readouterr().err
    assert not (run / "grad_cam").exists()
    assert grad_cam.main(["--run", str(tmp_path / "none")]) == 2
    assert "Train one with python tools/train_classifier.py" in capsys.readouterr().err
    assert grad_cam.main(["--run", str(run), "--threshold", "0"]) == 2
    assert "a threshold is a share of the maximum" in capsys.readouterr().err
