"""What an exported model's folder must hold, and what is said where it does not."""

import json
import shutil

import pytest
from tiny_export import LABELS, make

from pneumodet.core.errors import CheckpointError, DataError
from pneumodet.inference import card as cards
from pneumodet.inference import exported


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


@pytest.mark.parametrize("text", ["{", "[]", '{"artefacts": {}}', '{"artefacts": {"onnx": {}}}'])
def test_a_broken_card_is_said_to_be_broken(model, text):
    (model / cards.CARD).write_text(text)
    with pytest.raises(CheckpointError, match="model.json"):
        exported.read(model)


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


def test_a_changed_file_is_found_out(model):
    one = exported.read(model)
    exported.check_whole(one, "onnx")
    data = bytearray((model / "model.onnx").read_bytes())
    data[-1] ^= 1
    (model / "model.onnx").write_bytes(data)
    with pytest.raises(CheckpointError, match="not the file that was exported"):
        exported.check_whole(one, "onnx")


def test_the_hash_of_a_folder_tells_names_and_contents(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").write_text("1")
    (tmp_path / "a" / "two").write_text("2")
    before = exported.sha256(tmp_path / "a")
    assert before == exported.sha256(shutil.copytree(tmp_path / "a", tmp_path / "copy"))
    (tmp_path / "a" / "two").rename(tmp_path / "a" / "three")
    assert exported.sha256(tmp_path / "a") != before
