"""What an exported model's folder must hold, and what is said where it does not."""

import dataclasses
import json
import shutil

import pytest
from tiny_export import LABELS, SETTINGS, make

from pneumodet.core import runs
from pneumodet.core.errors import CheckpointError, DataError
from pneumodet.core.run_record import DataRecord, RunRecord
from pneumodet.inference import card as cards
from pneumodet.inference import exported
from pneumodet.inference.postprocess.recipe import Recipe
from pneumodet.inference.probability import Calibrator
from pneumodet.inference.sizes import Size
from pneumodet.inference.suppression import Ranges


@pytest.fixture
def model(tmp_path):
    return make(tmp_path / "model")


def change(folder, **values):
    card = json.loads((folder / cards.CARD).read_text())
    (folder / cards.CARD).write_text(json.dumps({**card, **values}))


def test_a_folder_and_a_file_of_it_are_the_same_model(model, monkeypatch):
    one = exported.read(model)
    assert one == exported.read(model / "model.onnx")
    assert one.label_map == LABELS
    assert one.card.score_threshold == 0.5
    assert one.path("onnx") == model / "model.onnx"
    monkeypatch.chdir(model)
    assert exported.read(exported.Path("model.onnx")).path("onnx").samefile(model / "model.onnx")


@pytest.mark.parametrize("name", [cards.CARD, exported.LABEL_MAP, "model.onnx"])
def test_what_is_gone_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(CheckpointError, match=f"is not an exported model \\(it has no {name}\\)"):
        exported.read(model)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return the folder of a detector's run without an export, in a workspace."""
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    runs.write(tmp_path / "chest", RunRecord(family=runs.DETECTION))
    (tmp_path / "chest" / "label_map.pbtxt").write_text("")
    return tmp_path / "chest"


def test_a_run_stands_for_its_export(run):
    export = make(run / "export")
    assert exported.read(run) == exported.read(export)


@pytest.mark.parametrize("below", ["", "export"])
def test_a_run_without_an_export_says_how_to_make_one(run, below):
    with pytest.raises(CheckpointError, match=r"chest was not exported yet\. Export it: python tools/export\.py --run chest$"):
        exported.read(run / below)


def test_a_run_outside_of_the_workspace_is_named_by_its_path(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path / "elsewhere"))
    with pytest.raises(CheckpointError, match=f"--run {run}$"):
        exported.read(run)


def test_a_run_of_another_family_has_no_boxes(run):
    runs.write(run, RunRecord(family=runs.CLASSIFICATION))
    with pytest.raises(CheckpointError, match="is a run of the family classification, which has no boxes"):
        exported.read(run)


@pytest.mark.parametrize("text", ["{", "[]", '{"artefacts": {}}', '{"artefacts": {"onnx": {}}}'])
def test_a_broken_card_is_said_to_be_broken(model, text):
    (model / cards.CARD).write_text(text)
    with pytest.raises(CheckpointError, match="model.json"):
        exported.read(model)


EVERYTHING = cards.ModelCard(
    run="my_first",
    checkpoint="ckpt-6",
    checkpoint_sha256="0" * 64,
    checkpoint_chosen_of=3,
    architecture="ssd",
    label_map=LABELS,
    size=Size(None, 600, 1024, True),
    postprocessing=SETTINGS,
    recipe=Recipe(sources=2, views=("identity", "flip"), nms="hard"),
    config="ssd_mobilenet",
    data=DataRecord(folder="", manifest_sha256="1" * 64, train_exams=4, val_exams=0, split_by="patient", audit={"train": {"exams": 4}}),
    trained={"pneumodet": "0.1"},
    exported={"pneumodet": "0.1", "versions": {}},
    metrics={"rsna_threshold": 1, "image.f1": None},
    score_threshold=0.25,
    calibrator=Calibrator("isotonic", {"scores": (0.1, 0.5), "probabilities": (0.25, 0.75)}),
    artefacts={
        "onnx": cards.Artefact(file="model.onnx", sha256="2" * 64, bytes=5, outputs=cards.BOXES),
        "tflite-int8": cards.Artefact(
            file="model-int8.tflite",
            outputs=cards.ENCODINGS,
            anchors="anchors.npy",
            feature_maps=2,
            ranges=(Ranges((-1.0, 2.0), (-7.0, 3.5)), Ranges((-2.0, 2.0), (-7.0, 3.5))),
        ),
    },
)


def test_a_card_comes_back(tmp_path):
    cards.write(tmp_path / cards.CARD, EVERYTHING)
    assert cards.read(tmp_path / cards.CARD) == EVERYTHING
    change(tmp_path, of_a_later_release=1)
    assert cards.read(tmp_path / cards.CARD) == EVERYTHING


def test_a_classifier_s_card_comes_back(tmp_path):
    """Of another version, so that an earlier release says that it is too old; what such files answer with is known."""
    artefacts = {"onnx": cards.Artefact(file="model.onnx", sha256="2" * 64, bytes=5, outputs=cards.SCORES)}
    size = Size((224, 224), normalization="clahe")
    card = cards.ModelCard(
        family=runs.CLASSIFICATION, architecture="mobilenetv2", label_map={"pneumonia": 1}, size=size, artefacts=artefacts
    )
    path = tmp_path / cards.CARD
    cards.write(path, card)
    assert cards.read(path) == card and not card.has_boxes and json.loads(path.read_text())["version"] == 3
    for changes, message in (
        ({"family": "detection"}, "artefacts.onnx.outputs is 'scores', must be one of detections"),
        ({"family": "segmentation"}, "family is 'segmentation', must be one of detection, classification"),
        (
            {"input": {**json.loads(path.read_text())["input"], "normalization": "gamma"}},
            "input.normalization is 'gamma', must be one of none",
        ),
    ):
        cards.write(path, card)
        change(tmp_path, **changes)
        with pytest.raises(CheckpointError, match=message):
            cards.read(path)


def test_nothing_of_a_machine_is_in_it(tmp_path):
    card = dataclasses.replace(EVERYTHING, data=dataclasses.replace(EVERYTHING.data, folder="/home/a_person/records"))
    cards.write(tmp_path / cards.CARD, card)
    assert "a_person" not in (tmp_path / cards.CARD).read_text()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param("format", "onnx", r"format is 'onnx', must be 'pneumodet-model'", id="format"),
        pytest.param("version", "2", r"version is '2', must be a whole number", id="version"),
        pytest.param("version", 4, r"has the version 4, but this pneumodet knows 1 to 3", id="newer"),
        pytest.param("run", 5, r"run is 5, must be a text", id="run"),
        pytest.param("checkpoint_chosen_of", True, r"checkpoint_chosen_of is True, must be a whole number", id="bool"),
        pytest.param("score_threshold", "0.5", r"score_threshold is '0.5', must be a number", id="threshold"),
        pytest.param("score_threshold", 10**400, "is not valid JSON .score_threshold is a whole number of more than 64 bits", id="large"),
        pytest.param("label_map", {"pneumonia": "2"}, r"label_map.pneumonia is '2', must be a whole number", id="label"),
        pytest.param("input", [96, 96], r"input is \[96, 96\], must be an object", id="input"),
        pytest.param("input.padded", None, r"input.padded is missing", id="padded"),
        pytest.param("input.fixed_hw", [96], r"input.fixed_hw is \[96\], must be null, or a list of height and width", id="fixed"),
        pytest.param("input.least", 0, r"input.least is 0, must be a whole number from 1 to 16384", id="least"),
        pytest.param("postprocessing.score_converter", "RELU", r"score_converter is 'RELU', must be one of SIGMOID,", id="converter"),
        pytest.param(
            "postprocessing.box_scales", [10, 10, 5], r"postprocessing.box_scales is .*, must be a list of 4 numbers", id="scales"
        ),
        pytest.param("postprocessing.iou_threshold", None, r"postprocessing.iou_threshold is missing", id="iou"),
        pytest.param("recipe.nms", "soft", r"recipe is .* must be a recipe: nms of the recipe is 'soft'", id="recipe"),
        pytest.param("recipe.nmss", "hard", r"recipe is .* unknown key 'nmss'", id="recipe's key"),
        pytest.param("data.val_exams", 0.5, r"data.val_exams is 0.5, must be a whole number", id="data"),
        pytest.param("metrics", [], r"metrics is \[\], must be an object", id="metrics"),
        pytest.param("calibrator.method", ["platt"], r"calibrator is .*, must be a calibrator", id="calibrator"),
        pytest.param("calibrator.probabilities", [0.9, 0.1], r"calibrator is .* do not give rising probabilities", id="curve"),
        pytest.param("artefacts", None, r"artefacts is missing", id="no artefacts"),
        pytest.param("artefacts.onnx", "model.onnx", r"artefacts.onnx is 'model.onnx', must be an object", id="artefact"),
        pytest.param("artefacts.onnx.file", None, r"artefacts.onnx.file is missing", id="file"),
        pytest.param("artefacts.onnx.file", "../other/model.onnx", r"must be the name of a file in the same folder", id="elsewhere"),
        pytest.param(
            "artefacts.onnx.outputs", "masks", r"artefacts.onnx.outputs is 'masks', must be one of detections, boxes", id="outputs"
        ),
        pytest.param("artefacts.tflite-int8.anchors", None, r"artefacts.tflite-int8.anchors is missing", id="anchors"),
        pytest.param("artefacts.tflite-int8.feature_maps", 3, r"tflite-int8.ranges is .*, must be a list of 3 objects", id="maps"),
        pytest.param("artefacts.tflite-int8.ranges", [{}, {}], r"artefacts.tflite-int8.ranges\[0\].encodings is missing", id="ranges"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, place, value, message):
    """Each of these gave a traceback, or was taken as it was."""
    path = tmp_path / cards.CARD
    cards.write(path, EVERYTHING)
    content = json.loads(path.read_text())
    *parents, name = place.split(".")
    part = content
    for parent in parents:
        part = part[parent]
    part[name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"model\.json.*" + message):
        cards.read(path)


def test_a_card_of_the_first_release(tmp_path):
    """It had no calibrator, no size and no label map, and the folder of the records."""
    first = {
        "format": "pneumodet-model",
        "version": 1,
        "run": "old",
        "checkpoint": "ckpt-1",
        "architecture": "ssd",
        "config": "ssd_mobilenet",
    }
    first |= {"data": {"folder": "/data", "manifest_sha256": "ab"}, "trained": {}, "exported": {}, "metrics": None, "score_threshold": None}
    (tmp_path / cards.CARD).write_text(json.dumps(first))
    card = cards.read(tmp_path / cards.CARD)
    assert (card.run, card.data, card.size) == ("old", DataRecord(folder="", manifest_sha256="ab"), None)
    assert card.artefacts == {"savedmodel": cards.Artefact(file="saved_model", outputs=cards.DETECTIONS)}


def test_an_export_of_version_1_is_a_saved_model(model):
    change(model, artefacts=None, version=1)
    with pytest.raises(CheckpointError, match="it has no saved_model"):
        exported.read(model)
    (model / "saved_model").mkdir()
    assert list(exported.read(model).artefacts) == ["savedmodel"]


def test_models_with_other_classes_are_not_fused(model, tmp_path):
    other = shutil.copytree(model, tmp_path / "other")
    assert len(exported.read_all([model, other])) == 2
    (other / exported.LABEL_MAP).write_text("item { id: 1 name: 'pneumonia' }")
    with pytest.raises(DataError, match="do not fit together"):
        exported.read_all([model, other])


def test_a_changed_file_is_refused(model):
    one = exported.read(model)
    exported.check_whole(one, "onnx")
    data = bytearray((model / "model.onnx").read_bytes())
    data[-1] ^= 1
    (model / "model.onnx").write_bytes(data)
    with pytest.raises(CheckpointError, match="not the file that was exported"):
        exported.check_whole(one, "onnx")


def test_the_hash_of_a_folder_is_of_names_and_contents(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").write_text("1")
    (tmp_path / "a" / "two").write_text("2")
    before = exported.sha256(tmp_path / "a")
    assert before == exported.sha256(shutil.copytree(tmp_path / "a", tmp_path / "copy"))
    (tmp_path / "a" / "two").rename(tmp_path / "a" / "three")
    assert exported.sha256(tmp_path / "a") != before
