"""The API: what it has, what it asks of the library, what it refuses and how, and what a notebook shows of its results."""

import dataclasses
import inspect
import json
import shutil
import subprocess
import sys
import types
import typing
import warnings

import numpy as np
import pytest
import tiny_export
from PIL import Image

import pneumodet
from pneumodet import api
from pneumodet.core import runs
from pneumodet.core.errors import CheckpointError, ConfigError, DataError, EnvironmentProblem, PneumodetWarning
from pneumodet.core.run_record import RunRecord


def test_import_takes_nothing_before_it_is_used():
    code = "import pneumodet, sys; print([name for name in ('numpy', 'pandas', 'tensorflow', 'absl', 'pneumodet.core') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_prediction_takes_no_package_of_training():
    code = (
        "import pneumodet, sys; pneumodet.load, pneumodet.predict; "
        "print([name for name in ('tensorflow', 'google_crc32c', 'scipy', 'sklearn', 'matplotlib', 'hotcoco', 'pandas') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_names_are_there_and_no_others():
    assert set(dir(pneumodet)) == {*pneumodet.__all__, "__version__", "api"}
    for name in pneumodet.__all__:
        assert getattr(pneumodet, name) is getattr(api, name)
    for name in api.__all__:
        assert inspect.getdoc(getattr(api, name))


def test_warnings_name_arguments_where_commands_name_flags(tmp_path):
    """metrics.json keeps the flags: it is read by whoever has it."""
    from pneumodet.api.evaluating import Result
    from pneumodet.core import split_use
    from pneumodet.evaluation.metrics_file import Metrics

    for test_exams, expected in ((9, 'once on test: split="test".'), (0, "with a test split (test_fraction=0.15), or")):
        warning = split_use.warning({"checkpoint_chosen_of": 3, "test_exams": test_exams})
        result = Result(Metrics({"warnings": [warning]}), tmp_path, None)
        assert expected in result.warnings[0] and "--" not in result.warnings[0]
        assert "--" in result.metrics.warnings[0]


def test_what_the_detection_api_makes_keras_say_is_hidden():
    """The command hides it, and a notebook had it in red at each evaluation."""
    from pneumodet.core import logs

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        logs.hide_tensorflow.__wrapped__()
        warnings.warn("`tf.keras.backend.set_learning_phase` is deprecated and will be removed after 2020-10-11.", stacklevel=1)
        warnings.warn("of something else", stacklevel=1)
    assert [str(one.message) for one in seen] == ["of something else"]


@pytest.mark.parametrize(
    ("name", "hint"), [("tune", "the command tune"), ("compare", "the command compare"), ("nothing", "no attribute 'nothing'")]
)
def test_a_name_that_is_not_there(name, hint):
    with pytest.raises(AttributeError, match=hint):
        getattr(pneumodet, name)


WITH_SETTINGS = [
    pneumodet.convert,
    pneumodet.evaluate,
    pneumodet.explore,
    pneumodet.load,
    pneumodet.predict,
    pneumodet.train,
    api.Model.predict,
    api.Run.export,
]


@pytest.mark.parametrize("function", WITH_SETTINGS, ids=lambda function: function.__qualname__)
def test_a_setting_that_is_not_there_names_the_nearest(function):
    """Of the function's own parameters and of those that stand in its TypedDict."""
    own = [name for name, one in inspect.signature(function).parameters.items() if one.kind is not one.VAR_KEYWORD and name != "self"]
    for name in own:
        with pytest.raises(TypeError, match=rf"^{function.__name__}\(\) has no setting '{name}_'\. Did you mean '{name}'\?$"):
            function(**{f"{name}_": None})


def test_every_function_names_the_nearest():
    functions = {name for name in pneumodet.__all__ if inspect.isfunction(getattr(pneumodet, name))}
    assert functions == {function.__name__ for function in WITH_SETTINGS if "." not in function.__qualname__}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: pneumodet.evaluate("first", splt="test"), "evaluate() has no setting 'splt'. Did you mean 'split'?", id="own"),
        pytest.param(
            lambda: pneumodet.convert("a", labels="b", output="c", patient_mpa="d"),
            "convert() has no setting 'patient_mpa'. Did you mean 'patient_map'?",
            id="nearer than a field",
        ),
        pytest.param(
            lambda: pneumodet.load("first", tta="flip"),
            "load() has no setting 'tta'. There are: model, backend, threads, trust.",
            id="none",
        ),
    ],
)
def test_the_text_for_a_setting_that_is_not_there(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == message


def given_to(function):
    """Return the TypedDict of a function's settings."""
    module = sys.modules[function.__module__]
    return {"convert": "ConvertOptions", "train": "TrainOptions", "evaluate": "EvaluateOptions"}[function.__name__], module


@pytest.mark.parametrize(
    ("function", "module", "name", "explicit"),
    [
        pytest.param("convert", "pneumodet.data.settings", "Settings", set(), id="convert"),
        pytest.param("train", "pneumodet.training.families.detection_request", "Request", {"run", "config", "data", "resume"}, id="train"),
        pytest.param("evaluate", "pneumodet.evaluation.results", "Options", {"split"}, id="evaluate"),
    ],
)
def test_every_setting_of_the_library_can_be_given(function, module, name, explicit):
    import importlib

    options, own = given_to(getattr(pneumodet, function))
    typed = typing.get_type_hints(getattr(own, options))
    fields = {field.name for field in dataclasses.fields(getattr(importlib.import_module(module), name))}
    assert set(typed) == fields - explicit


def test_conversion_warns_of_exams_for_patients(here, tmp_path):
    with pytest.warns(PneumodetWarning, match="a patient may be in train and in val") as seen:
        records = pneumodet.convert("data/stage_2_train_images", labels="data/stage_2_train_labels.csv", output=tmp_path / "new", workers=1)
    assert seen[0].filename == __file__, "at the user's own line"
    assert any("shares of few patients differ from those asked for. stratify class deals" in str(one.message) for one in seen)
    assert records.warnings[0] in records._repr_html_().replace("&#39;", "'")


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        pytest.param(
            lambda: pneumodet.convert("nowhere", labels="x", output="y"), ConfigError, "images: 'nowhere' does not exist", id="no folder"
        ),
        pytest.param(
            lambda: pneumodet.convert("data", labels="data", output="y", val_frac=0.1),
            TypeError,
            r"convert\(\) has no setting 'val_frac'. Did you mean 'val_fraction'\?",
            id="no setting",
        ),
        pytest.param(lambda: pneumodet.convert("data", labels="data", output="y", val_fraction=2), ConfigError, "from 0 to 1", id="value"),
        pytest.param(
            lambda: pneumodet.convert("data", labels="data", output="y", patient_map="records/split.csv", patient_tag=True),
            ConfigError,
            "patient_map, patient_tag are different ways",
            id="two patients",
        ),
        pytest.param(
            lambda: pneumodet.convert("data", labels="data", output="y", for_config="ssd_mobilenet", max_side=100),
            ConfigError,
            "for_config and max_side",
            id="two sizes",
        ),
        pytest.param(
            lambda: pneumodet.convert("data", labels="data", output="y", pseudonymize="y/key"), ConfigError, "The key lies in", id="key"
        ),
        pytest.param(
            lambda: pneumodet.train("ssd_mobilenet", run="new", data="nowhere"), ConfigError, "data: 'nowhere' is not a folder", id="data"
        ),
        pytest.param(lambda: pneumodet.evaluate(), ConfigError, "Say what is measured", id="nothing"),
        pytest.param(lambda: pneumodet.evaluate("frist"), DataError, "There is no run 'frist'", id="no run"),
        pytest.param(
            lambda: pneumodet.evaluate(detections="submission.csv"),
            ConfigError,
            "detections needs ground_truth and output as well",
            id="no truth",
        ),
        pytest.param(
            lambda: pneumodet.evaluate("workspace/first/export"), ConfigError, "^model needs data and output as well", id="no data"
        ),
        pytest.param(
            lambda: pneumodet.evaluate("workspace/first/export", detections="submission.csv"),
            ConfigError,
            "detections with ground_truth",
            id="both",
        ),
        pytest.param(
            lambda: pneumodet.evaluate("workspace/first/export", data="records", output="x", class_map={"a": "pneumonia"}),
            ConfigError,
            "^class_map is for the labels of ground_truth;",
            id="class map",
        ),
        pytest.param(
            lambda: pneumodet.load("frist"), CheckpointError, "frist is no exported model .* There is no run 'frist'", id="no model"
        ),
        pytest.param(lambda: pneumodet.load("workspace/first/export", backend="onx"), ConfigError, "Did you mean 'onnx'", id="backend"),
        pytest.param(
            lambda: pneumodet.load("workspace/first/export", backend="checkpoint"),
            ConfigError,
            "only a run has a checkpoint",
            id="checkpoint",
        ),
        pytest.param(
            lambda: pneumodet.load("workspace/first/export").predict("radiographs/torn.dcm"), DataError, "torn.dcm: ", id="no radiograph"
        ),
        pytest.param(
            lambda: pneumodet.load("workspace/first/export").predict(np.zeros((9, 9, 3), np.uint8)),
            ConfigError,
            r"\(9, 9, 3\) uint8",
            id="color",
        ),
        pytest.param(lambda: pneumodet.load("workspace/first/export").predict(np.zeros((9, 9))), ConfigError, "float64", id="float"),
        pytest.param(
            lambda: pneumodet.load("workspace/first/export").predict(["radiograph.png", np.zeros((9, 9), np.uint8)]),
            ConfigError,
            "not both",
            id="mixed",
        ),
    ],
)
def test_refusals(here, call, kind, message):
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize(
    ("text", "in_python"),
    [
        ("Give --overwrite, or choose another --output-dir.", "Give overwrite=True, or choose another output."),
        ("--model needs --data; Say --trust-model.", "model needs data; Say trust=True."),
        ("Leave --score-threshold and --rsna-rules out.", "Leave threshold and rules out."),
        ("Say --resamples 20 or --seed 1.5.", "Say resamples=20 or seed=1.5."),
        ("It has no --body-part, --data-x or x--data.", "It has no --body-part, --data-x or x--data."),
        ("Run python tools/export.py --run x --data y.json. Give --data.", "Run python tools/export.py --run x --data y.json. Give data."),
        ("Run tools/train.py --run x --overwrite; or give --overwrite", "Run tools/train.py --run x --overwrite; or give overwrite=True"),
        ("Make it: pneumodet make-tfrecords --overwrite", "Make it: pneumodet make-tfrecords --overwrite"),
    ],
)
def test_messages_name_keywords_in_place_of_flags(text, in_python):
    from pneumodet.api import calls

    assert calls.in_python(text, pneumodet.evaluate) == in_python


def test_commands_that_call_the_api_name_their_flags(here, tmp_path, capsys):
    from pneumodet.cli import explore

    (tmp_path / "mine.txt").touch()
    labels = "data/stage_2_train_labels.csv"
    assert explore.main(["--labels", labels, "--output-dir", str(tmp_path)]) == 2
    assert "Choose an empty or new --output-dir." in capsys.readouterr().err
    with pytest.raises(DataError, match=r"Choose an empty or new output\."):
        pneumodet.explore(labels, output=tmp_path)


def test_a_missing_package_is_an_error_that_names_the_command(here, monkeypatch):

    def needs_it(*_, **__):
        raise ModuleNotFoundError("No module named 'somebody'", name="somebody.else")

    monkeypatch.setattr("pneumodet.inference.detectors.open", needs_it)
    with pytest.raises(EnvironmentProblem, match="This needs the package somebody, which is not installed here"):
        pneumodet.load("workspace/first/export")


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Let ``train`` stop before TensorFlow, and return what it was asked for; ``completed`` says how it ends."""
    from pneumodet.training.families import detection

    seen = types.SimpleNamespace(request=None, completed=True)

    def train(request, **_):
        seen.request = request
        return tmp_path / request.run, types.SimpleNamespace(completed=seen.completed, notes=[])

    monkeypatch.setattr(detection, "train", train)
    return seen


def test_a_training_is_asked_for_as_the_command_asks(here, trained):
    records = api.Records.open("records")
    run = pneumodet.train(
        "ssd_mobilenet",
        data=records,
        run="new",
        pretrained="none",
        steps=20,
        freeze="early",
        settings={"train_config.add_regularization_loss": False, "train_config.batch_size": 2},
    )
    assert run.name == "new"
    from pneumodet.training.families import detection

    assert trained.request == detection.Request(
        run="new",
        config="ssd_mobilenet",
        data=records.folder,
        pretrained="none",
        steps=20,
        freeze=("early",),
        settings=("train_config.add_regularization_loss=false", "train_config.batch_size=2"),
    )


def test_a_training_that_was_stopped_stops_the_cells_below(here, trained):
    trained.completed = False
    with pytest.raises(KeyboardInterrupt, match=r"pneumodet.train\(run='new', resume=True\)"):
        pneumodet.train("ssd_mobilenet", data="records", run="new")


@pytest.fixture
def run(here, tmp_path):
    """Return the folder of a run that has an export of its best checkpoint."""
    from pneumodet.export import card as run_card

    folder = tmp_path / "second"
    tiny_export.make(folder / "export")
    (folder / "best").mkdir()
    for name in ("ckpt-4.index", "ckpt-4.data-00000-of-00001", "checkpoint"):
        (folder / "best" / name).write_text('model_checkpoint_path: "ckpt-4"\n')
    card = json.loads((folder / "export" / "model.json").read_text())
    card["checkpoint_sha256"] = run_card.sha256_of(str(folder / "best" / "ckpt-4"))
    (folder / "export" / "model.json").write_text(json.dumps(card))
    runs.write(folder, RunRecord(config="ssd_mobilenet", steps=4))
    return folder


def test_a_run_is_loaded_from_the_export_of_its_best_checkpoint(run, monkeypatch):
    from pneumodet.api import loading

    monkeypatch.setattr(loading, "_of_checkpoint", lambda folder: "the checkpoint")
    model = pneumodet.load(run)
    assert (model.source, model.backend) == (run / "export", "onnx")
    assert pneumodet.load(api.Run.find(run)).source == run / "export"
    assert pneumodet.load(run, backend="checkpoint") == "the checkpoint"
    (run / "best" / "ckpt-4.data-00000-of-00001").write_text("trained further")
    assert pneumodet.load(run) == "the checkpoint"
    with pytest.raises(CheckpointError, match="no export of its best checkpoint for onnx"):
        pneumodet.load(run, backend="onnx")
    shutil.rmtree(run / "best")
    assert pneumodet.load(run).backend == "onnx", "whose checkpoints were removed, but not its export"


def test_a_damaged_checkpoint_is_refused_where_it_is_loaded(run, monkeypatch):
    from pneumodet.export import card as run_card
    from pneumodet.export import families
    from pneumodet.inference.card import ModelCard

    class Damaged:
        @property
        def model(self):
            raise CheckpointError("Checkpoint ckpt-4 is damaged.")

        def detect(self, pixels):
            raise AssertionError("a radiograph came to a model that was never restored")

    monkeypatch.setattr(families, "of_run", lambda folder: Damaged())
    monkeypatch.setattr(run_card, "of_run", lambda subject: (ModelCard(label_map={"pneumonia": 1}), None))
    with pytest.raises(CheckpointError, match="ckpt-4 is damaged"):
        pneumodet.load(run, backend="checkpoint")


def test_files_are_predicted_by_a_runs_export(run, tmp_path):
    written = pneumodet.predict("radiographs", model=api.Run.find(run), output=tmp_path / "out")
    assert (written.summary.radiographs, written.summary.positive) == (2, 1)
    assert written.submission.is_file() and written.detections.is_file()
    html = written._repr_html_()
    assert "torn.dcm" in html and "data:image/jpeg;base64," in html
    shutil.rmtree(run / "export")
    with pytest.raises(CheckpointError, match="The run second has no export"):
        pneumodet.predict("radiographs", model=str(run), output=tmp_path / "other")


def test_arrays_files_and_folders_are_predicted_alike(here):
    model = pneumodet.load("workspace/first/export")
    with Image.open("radiograph.png") as picture:
        pixels = np.asarray(picture)
    by_file, by_array = model.predict("radiograph.png"), model.predict(pixels, name="mine")
    in_list, in_folder = model.predict([pixels, pixels])[1], model.predict("radiographs")["square"]
    for one in (by_array, in_list, in_folder):
        np.testing.assert_array_equal(one.boxes_xyxy_px, by_file.boxes_xyxy_px)
        np.testing.assert_array_equal(one.scores, by_file.scores)
    assert (by_file.exam, by_array.exam, in_list.exam, by_file.size_hw) == ("radiograph", "mine", "radiograph 2", (256, 256))
    assert len(by_file) == len(by_file.classes) and by_file.classes[0] == model.label_map["pneumonia"]


def test_pictures_show_what_counts(here):
    model = pneumodet.load("workspace/first/export")
    prediction = model.predict("radiograph.png")
    plain = np.asarray(prediction.plot(score_threshold=1.1))
    drawn = np.asarray(prediction.plot())
    assert drawn.shape == (256, 256, 3)
    box = (slice(60, 70), slice(80, 110))
    assert (drawn[box] != plain[box]).any(), "the box's upper edge"
    sheet = model.predict("radiographs").plot(columns=2)
    assert sheet.width == 2 * 384


def test_what_a_notebook_shows_is_escaped(here):
    model = pneumodet.load("workspace/first/export")
    prediction = model.predict(np.zeros((64, 64), np.uint8), name="<script>alert(1)</script>")
    for shown in (prediction._repr_html_(), api.Predictions((prediction,), [("<b>", "<i>")])._repr_html_()):
        assert "&lt;script&gt;" in shown
        assert "<script>" not in shown and "<b>" not in shown
    assert "onnx" in model._repr_html_()


def test_reports_are_shown_in_a_frame(here, tmp_path):
    explored = pneumodet.explore("data/stage_2_train_labels.csv", output=tmp_path / "out")
    assert explored.conclusions[0].partition("'")[0] in explored._repr_html_()
    frame = explored.show(height_px=300)._repr_html_()
    assert frame.startswith("<iframe srcdoc=") and 'height="300"' in frame
    assert "<html" not in frame, "its content is an attribute"


def test_the_submission_is_measured(here, tmp_path):
    result = pneumodet.evaluate(
        ground_truth="data/stage_2_train_labels.csv",
        detections="submission.csv",
        output=tmp_path / "out",
        resamples=20,
        patient_map="data/patient_map.csv",
    )
    assert dict(result.rows())["AP50"].startswith("1.0000")
    assert "What the model of these detections has seen is not recorded" in result._repr_html_()
    assert "RSNA metric" in result._repr_html_() and str(result.report) in result._repr_html_()
    with pytest.raises(DataError, match="Give overwrite=True to replace it, or choose another output\\."):
        pneumodet.evaluate(ground_truth="data/stage_2_train_labels.csv", detections="submission.csv", output=tmp_path / "out")


@pytest.mark.slow
def test_from_records_to_a_model_and_back(here, tmp_path, monkeypatch):
    """Train, evaluate, predict from the checkpoint, export, predict from the export: the same detections."""
    import shallow

    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    with shallow.backbone():
        run = pneumodet.train(
            "ssd_mobilenet",
            data="records",
            run="third",
            pretrained="none",
            steps=6,
            batch_size=2,
            settings=shallow.SETTINGS,
            evaluate_every=3,
        )
        assert run.best is not None and run.best[0] in (3, 6)
        assert set(run.history()["kind"]) >= {"train", "validation"}
        assert run.plot().width > 500 and "third" in run._repr_html_()
        result = pneumodet.evaluate(run, resamples=20)
        assert result.folder == run.folder / "eval" and result.rsna_metric is not None
        model = pneumodet.load("third")
        assert (model.backend, model.run_dir) == ("checkpoint", run.folder)
        assert model.card.score_threshold == result.score_threshold
        before = model.predict("radiograph.png")
        export = run.export(formats="onnx", limit=2)
        assert export.files["onnx"].is_file() and "onnx" in export._repr_html_()
        after = pneumodet.load(run)
        assert after.backend == "onnx"
        np.testing.assert_allclose(after.predict("radiograph.png").scores[:5], before.scores[:5], atol=1e-4)
        again = pneumodet.evaluate(after, data="records", output=tmp_path / "of_export", resamples=20)
        assert again.metrics["images"] == result.metrics["images"]
        with pytest.warns(PneumodetWarning, match="exams .* were in training"):
            trained_on = pneumodet.evaluate(after, data="records", split="train", output=tmp_path / "of_training", resamples=20)
        assert trained_on.metrics["seen"]["trained"]["exams"] == trained_on.metrics["images"]
