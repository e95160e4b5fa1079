"""Runs on disk: one finder with one message for all commands, and run.json read, written, and refused by the name of the wrong field."""

import json

import pytest

from pneumodet.cli import compare, evaluate, export, grad_cam, postprocess, train, train_classifier, train_segmenter
from pneumodet.core import paths, run_record, runs
from pneumodet.core.errors import DataError
from pneumodet.core.run_record import DataRecord, RunRecord

DATA = DataRecord(folder="/records", manifest_sha256="ab" * 32, train_exams=8, val_exams=4, split_by="patientId", more={"new": 1})

WHOLE = RunRecord(
    family="classification",
    config="mobilenetv2",
    settings=("steps=3",),
    seed=1,
    steps=3,
    batch_size=4,
    data=DATA,
    training={"patience": 2},
    provenance={"pneumodet": "0.1.0"},
    files_sha256={"class_info": "cd" * 32},
    parameters=12,
    training_seconds=1.5,
    steps_done=3,
    facts={"backbone": "mobilenetv2", "pretrained": None},
)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Return a workspace with a run of each family: chest_ssd, chest_net and chest_unet."""
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path / "workspace"))
    for name, family in (("chest_ssd", runs.DETECTION), ("chest_net", runs.CLASSIFICATION), ("chest_unet", runs.SEGMENTATION)):
        runs.write(tmp_path / "workspace" / name, RunRecord(family=family, data=DATA))
    (tmp_path / "workspace" / "notes").mkdir()
    (tmp_path / "workspace" / "notes" / "config.toml").write_text("steps = 1")
    return tmp_path / "workspace"


def asked(workspace, name):
    """Return command -> (its main, its flags) of all that take a run, which is called ``name``."""
    data = str(workspace)
    config = ["--config", "ssd_mobilenet", "--data", data, "--run", "new"]
    return {
        "train": (train.main, ["--run", name, "--resume"]),
        "train_classifier": (train_classifier.main, ["--run", name, "--resume"]),
        "train_segmenter": (train_segmenter.main, ["--run", name, "--resume"]),
        "evaluate": (evaluate.main, ["--run", name]),
        "export": (export.main, ["--run", name]),
        "postprocess": (postprocess.main, ["--run", name, "--output-dir", f"{data}/out"]),
        "grad_cam": (grad_cam.main, ["--run", name]),
        "compare": (compare.main, ["--runs", name, "--output-dir", f"{data}/out"]),
        "pretrained": (train.main, [*config, "--pretrained", f"run:{name}"]),
    }


OF_FAMILY = {
    **dict.fromkeys(("train", "evaluate", "postprocess"), "chest_ssd"),
    **dict.fromkeys(("train_classifier", "grad_cam"), "chest_net"),
    "train_segmenter": "chest_unet",
}


@pytest.mark.parametrize("command", [*OF_FAMILY, "compare", "export"])
def test_every_command_says_the_same_of_a_run_that_is_not_there(workspace, command, capsys):
    main, flags = asked(workspace, "chest_nett")[command]
    assert main(flags) == 2
    there = [OF_FAMILY[command]] if command in OF_FAMILY else ["chest_net", "chest_ssd", "chest_unet"]
    near = OF_FAMILY.get(command, "chest_net")
    message = f"There is no run 'chest_nett' in {workspace}. Did you mean '{near}'? Runs: {', '.join(there)}.\n"
    assert capsys.readouterr().err.endswith(f"error: {message}")


# evaluate takes the runs of all families
@pytest.mark.parametrize("command", sorted(OF_FAMILY.keys() - {"evaluate"}))
def test_every_command_names_the_family_of_a_run_that_it_cannot_take(workspace, command, capsys):
    name = "chest_net" if OF_FAMILY[command] != "chest_net" else "chest_unet"
    main, flags = asked(workspace, name)[command]
    assert main(flags) == 2
    err = capsys.readouterr().err
    own = runs.read(workspace / name).family
    assert f"The run '{name}' is of the family {own}, not {runs.read(workspace / OF_FAMILY[command]).family}" in err
    assert f"tools/{runs.TRAINED_BY[own]}.py trained it" in err


def test_a_start_from_a_run_that_is_not_there(workspace):
    from pneumodet.models import pretrained

    with pytest.raises(DataError, match="There is no run 'chest_sd' in .*Did you mean 'chest_ssd'"):
        pretrained.resolve("run:chest_sd", config=None, label_map={})


def test_no_run_at_all_names_the_command_that_makes_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    with pytest.raises(DataError, match=r"Train one with python tools/train_segmenter\.py\.$"):
        runs.find("any", family=runs.SEGMENTATION)
    with pytest.raises(DataError, match=r"There is no run '.*gone' \(no run\.json in that folder\)"):
        runs.find(str(tmp_path / "gone"))


def test_a_record_that_is_written_is_read_again(tmp_path):
    runs.write(tmp_path, WHOLE)
    assert runs.read(tmp_path) == WHOLE
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["version"] == run_record.VERSION
    assert content["backbone"] == "mobilenetv2" and content["data"]["new"] == 1


def test_a_record_of_an_earlier_pneumodet_is_read():
    """It has no version; a detector's has no family."""
    old = {
        "config": "ssd_mobilenet",
        "settings": ["train_config.batch_size=2"],
        "seed": 0,
        "steps": 100,
        "batch_size": 2,
        "fine_tune_checkpoint_type": None,
        "data": {"folder": "/records", "manifest_sha256": "00", "train_exams": 8, "val_exams": 4, "split_by": "patientId"},
        "provenance": {"pneumodet": "0.1.0"},
    }
    record = run_record.of_json(old, where="run.json")
    assert (record.family, record.steps, record.training) == (runs.DETECTION, 100, None)
    assert record.records().split_by == "patientId" and record.facts == {"fine_tune_checkpoint_type": None}
    assert old.items() <= record.to_json().items()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"steps": "many"}, "the field steps is 'many', must be a whole number", id="text-for-number"),
        pytest.param({"steps": True}, "the field steps is True, must be a whole number", id="truth-for-number"),
        pytest.param({"settings": [1]}, r"the field settings\[0\] is 1, must be a text", id="list"),
        pytest.param({"data": "here"}, "the field data is 'here', must be an object", id="data"),
        pytest.param({"data": {"folder": 3, "manifest_sha256": "00"}}, "the field data.folder is 3, must be a text", id="nested"),
        pytest.param({"data": {"folder": "/records"}}, "the field data.manifest_sha256 is missing", id="missing"),
        pytest.param({"training_seconds": "long"}, "the field training_seconds is 'long', must be a number", id="seconds"),
        pytest.param({"version": 99}, r"has the version 99, but this pneumodet knows 1\.", id="newer"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, message):
    (tmp_path / "run.json").write_text(json.dumps(WHOLE.to_json() | change))
    with pytest.raises(DataError, match=message) as error:
        runs.read(tmp_path)
    assert str(tmp_path / "run.json") in str(error.value)


def test_a_record_that_is_a_list(tmp_path):
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(DataError, match=r"the content is \[\], must be an object"):
        runs.read(tmp_path)


def test_a_run_without_its_records_says_so():
    with pytest.raises(DataError, match="the field data is missing"):
        RunRecord().records()


@pytest.mark.parametrize(("family", "started"), [(runs.CLASSIFICATION, "train"), (runs.DETECTION, "train_classifier")])
def test_a_folder_of_another_family_is_refused(workspace, family, started):
    folder = workspace / "chest_unet"
    with pytest.raises(DataError, match=r"did not start\. Choose another --run name"):
        runs.refuse_used(folder, "chest_unet", family=family)
    runs.refuse_used(folder, "chest_unet", family=runs.SEGMENTATION)


def test_a_checkpoint_of_step_0_is_called_untrained():
    sentence = runs.untrained("first", "/workspace/first/train/ckpt-0")
    assert sentence is not None and "not trained on these records at all" in sentence
    assert sentence.endswith("python tools/train.py --run first --resume")
    assert runs.untrained("first", "ckpt-10") is None
    assert runs.untrained(None, None) is None


@pytest.mark.parametrize("name", ["../b", "{tmp}/elsewhere/b"])
@pytest.mark.parametrize("main", [train.main, train_classifier.main, train_segmenter.main], ids=["train", "classifier", "segmenter"])
def test_a_run_outside_of_the_workspace_is_said_to_be_there(workspace, tmp_path, name, main, capsys, monkeypatch):
    """It was written there without a word, though other names stand for folders of the workspace."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    main(["--run", name.replace("{tmp}", str(tmp_path)), "--data", str(workspace), "--config", "no_such_config"])
    folder = tmp_path / ("elsewhere/b" if "{tmp}" in name else "b")
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"Written to {folder}, which is outside of the workspace {workspace}."
    assert ": error: " in second, "and then what is wrong with this request"


def test_a_run_in_the_workspace_needs_no_such_line(workspace):
    assert paths.outside_workspace(paths.run_dir("new")) == paths.outside_workspace(workspace / "study" / "trial-0001") == ""
