"""A classifier's export on new radiographs: a table of scores that a gate reads, pictures without boxes, and what is about boxes is refused."""

import csv
import json
import shutil

import numpy as np
import pytest
import squares
from PIL import Image

from pneumodet.cli import predict as command
from pneumodet.core.errors import CheckpointError, ConfigError
from pneumodet.data import listing
from pneumodet.inference import detectors, exported, sizes
from pneumodet.inference.postprocess import gates
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.predict import predicting
from pneumodet.inference.probability import Calibrator

JPEG = 12
"""By how many gray levels its compression changes a made-up radiograph at the most."""

WITH_SQUARE = {name for name, place in squares.PLACES.items() if place is not None}


@pytest.fixture(scope="module")
def classifier(model, tmp_path_factory):
    """Return the folder of a classifier of four classes, which has a calibrator."""
    import tiny_export

    about = {"calibrator": Calibrator("platt", {"slope": 1.0, "intercept": 0.0}), "metrics": {"images": 9, "patients": 8}}
    return tiny_export.make_classifier(tmp_path_factory.mktemp("classifier") / "export", **about)


def expected(exam):
    """Return the score that ``tiny_export.make_classifier`` says."""
    import tiny_export

    pixels = sizes.prepared(squares.draw(squares.PLACES[exam]), sizes.Size((tiny_export.SIDE, tiny_export.SIDE)))
    return 1 / (1 + np.exp(-(pixels.mean() - tiny_export.MIDDLE) / tiny_export.WIDTH))


@pytest.fixture(scope="module")
def written(classifier, radiographs, tmp_path_factory):
    """Return (folder of predictions by the command that a user types)."""
    folder = tmp_path_factory.mktemp("scores") / "out"
    assert command.main(["--model", str(classifier), "--input", str(radiographs), "--output-dir", str(folder)]) == 0
    return folder


def test_each_radiograph_has_its_scores_and_nothing_has_boxes(written):
    with open(written / "scores.csv", newline="") as file:
        rows = {row["patientId"]: row for row in csv.DictReader(file)}
    further = ["Normal", "No Lung Opacity / Not Normal", "Lung Opacity"]
    assert list(rows["low"]) == ["patientId", "score", "probability", "positive", *further]
    assert list(rows) == sorted(squares.PLACES)
    for exam, row in rows.items():
        assert float(row["score"]) == pytest.approx(expected(exam), abs=1e-3)
        assert float(row["probability"]) == pytest.approx(np.clip(expected(exam), 0.01, 0.99), abs=0.006)
        assert row["positive"] == str(int(exam in WITH_SQUARE))
        assert [float(row[name]) for name in further] == pytest.approx([1 - expected(exam)] * 3, abs=1e-3)
    assert {path.name for path in written.iterdir()} == {"scores.csv", "predictions.json", "gallery.html", "overview.png", "images"}
    summary = json.loads((written / "predictions.json").read_text())
    assert (summary["radiographs"], summary["positive"], summary["tables"]) == (6, 4, ["scores.csv"])
    page = (written / "gallery.html").read_text().partition("<main")[2]
    assert "Detections are solid" not in page and "box" not in page
    assert page.count('<span class="found">pneumonia</span>') == 4


def test_the_table_is_a_gate(written, model, radiographs, tmp_path):
    assert gates.read_gate(written / "scores.csv", exams=list(squares.PLACES)).keys() == squares.PLACES.keys()
    recipes.save(tmp_path / "recipe.json", recipes.Recipe(gate="drop", gate_threshold=0.5))
    how = {"recipe": tmp_path / "recipe.json", "gate": written / "scores.csv", "max_images": 0}
    summary = predicting.predict([model], radiographs, tmp_path / "out", **how)
    assert (summary.radiographs, summary.positive) == (6, 4)


def test_the_pictures_are_the_radiographs_alone(written):
    for path in (written / "images").iterdir():
        place = squares.PLACES[path.stem]
        gray = np.asarray(Image.open(path).convert("L")).astype(int)
        np.testing.assert_allclose(gray, squares.draw(place), atol=JPEG)


def test_its_own_pictures_are_no_radiographs(written):
    files, _ = listing.candidates(written, (), images=True)
    assert files == []


def test_a_killed_command_is_resumed(classifier, radiographs, written, tmp_path, monkeypatch):
    detect, done = detectors.Detector.detect, []

    def stops(self, pixels):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(pixels)
        return detect(self, pixels)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(detectors.Detector, "detect", stops)
        predicting.predict([classifier], radiographs, tmp_path / "out")
    predicting.predict([classifier], radiographs, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "scores.csv").read_bytes() == (written / "scores.csv").read_bytes()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"tta": "flip"}, "--tta"),
        ({"dicom": ["sr"]}, "a DICOM object"),
        ({"recipe": "recipe.json"}, "--recipe"),
        ({"gate": "g.csv"}, "--gate"),
    ],
    ids=["tta", "dicom", "recipe", "gate"],
)
def test_what_is_about_boxes_is_refused(classifier, radiographs, tmp_path, given, what):
    with pytest.raises(ConfigError, match=f"is a classifier's, which has no boxes, and {what} is about boxes"):
        predicting.predict([classifier], radiographs, tmp_path / "out", **given)


def test_it_is_not_fused_with_others(classifier, model, radiographs, tmp_path):
    with pytest.raises(ConfigError, match="is a classifier's, which has no boxes to fuse. Predict with it alone"):
        predicting.predict([model, classifier], radiographs, tmp_path / "out")


def test_whoever_needs_boxes_refuses_it(classifier):
    for opened in (exported.read, detectors.open):
        with pytest.raises(CheckpointError, match=r"is the export of a run of the family classification, which has no boxes"):
            opened(classifier)


def test_ground_truth_stands_at_the_left(classifier, tmp_path):
    folder = tmp_path / "in"
    squares.write(folder / "low.dcm", squares.PLACES["low"])
    (tmp_path / "labels.csv").write_text("filename,width,height,class,xmin,ymin,xmax,ymax\nlow.dcm,96,96,pneumonia,36,66,60,90\n")
    predicting.predict([classifier], folder, tmp_path / "out", labels=tmp_path / "labels.csv")
    both = np.asarray(Image.open(tmp_path / "out" / "images" / "low.png").convert("RGB"))
    assert both.shape == (96, 192, 3)
    assert (both[:, :96].max(axis=2) != both[:, :96].min(axis=2)).any(), "a box in colour"
    np.testing.assert_allclose(both[:, 96:].astype(int), squares.draw(squares.PLACES["low"])[:, :, None].repeat(3, axis=2), atol=JPEG)


def test_gray_values_are_made_even_as_in_training(classifier, tmp_path):
    other = shutil.copytree(classifier, tmp_path / "export")
    card = json.loads((other / "model.json").read_text())
    card["input"]["normalization"] = "histogram"
    (other / "model.json").write_text(json.dumps(card))
    pixels = np.random.default_rng(0).integers(20, 60, (96, 96)).astype(np.uint8)
    plain, even = (detectors.open(one, boxes=False).detect(pixels) for one in (classifier, other))
    assert plain.scores[0] < 0.2 and even.scores[0] > 0.99, "equalized, the mean gray level is about 127"
