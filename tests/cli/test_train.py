"""tools/train.py as a user meets it: what it says, on which stream, its exit codes, and what a failed start leaves."""

import contextlib
import io
import re
import shutil
import subprocess
import sys

import made
import pytest
import shallow

from pneumodet.cli import train
from pneumodet.core import runs
from pneumodet.training.families import detection

pytestmark = pytest.mark.usefixtures("shallow_backbone")

SMALL = [*shallow.FLAGS, "--batch-size", "2", "--pretrained", "none"]


@pytest.fixture(scope="module")
def records(synthetic, tmp_path_factory):
    """Return the folder of a record set of 12 exams."""
    return made.records_of(synthetic, tmp_path_factory.mktemp("for_train") / "records", patients=False)


@pytest.fixture(scope="module")
def module_workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture
def workspace(module_workspace, monkeypatch):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(module_workspace))
    return module_workspace


@pytest.fixture
def flags(records):
    """Return what makes the flags of a small run."""
    return lambda run, *more: ["--config", "ssd_mobilenet", "--data", str(records), "--run", run, *SMALL, *more]


def words_of(records, run):
    """Return the command line of a run of 4 steps, evaluated twice."""
    words = ["--config", "ssd_mobilenet", "--data", str(records), "--run", run, *SMALL, "--steps", "4"]
    return [*words, "--evaluate-every", "2", "--best-metric", "image.roc_auc", "--checkpoint-every", "2"]


@pytest.fixture(scope="module")
def done(records, module_workspace, shallow_backbone):
    """Return (folder, its standard output, its standard error) of such a run; its streams are no terminal."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setenv("PNEUMODET_WORKSPACE", str(module_workspace))
        code = train.main(words_of(records, "done"))
    assert code == 0, err.getvalue()
    return module_workspace / "done", out.getvalue(), err.getvalue()


@pytest.fixture
def piped(records, workspace):
    """Return the same of a process of its own, whose streams are pipes."""
    words = words_of(records, "piped")
    code = f"import sys, shallow; from pneumodet.cli import train\nwith shallow.backbone():\n    sys.exit(train.main({words!r}))"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=500, check=False, env=shallow.environment()
    )
    assert process.returncode == 0, process.stderr
    return workspace / "piped", process.stdout, process.stderr


SAID = (
    r"warning: .*",
    r"(done|piped) starts from random weights, and .*",
    r"(done|piped): 4 steps of 2 images; TensorFlow starts",
    r"training on .*",
    r"averages of the weights are kept .*",
    r"step \d of 4: loss \d+\.\d{3}(, \d+\.\d images/s, \d+ s left)?",
    r"step \d of 4: image\.roc_auc \d\.\d{4}( \(mean of \d: \d\.\d{4}\))?(, kept as the best so far|; the best is still that of step 2)",
)


# what TensorFlow's C++ writes shows only in a process of its own
@pytest.mark.parametrize("run", ["done", pytest.param("piped", marks=pytest.mark.slow)])
def test_a_pipe_gets_no_bars_and_none_of_tensorflows_noise(run, request):
    _, _, err = request.getfixturevalue(run)
    for line in err.splitlines():
        assert any(re.fullmatch(pattern, line) for pattern in SAID), line
    assert "\r" not in err
    steps = re.findall(r"step (\d) of 4: loss", err)
    assert steps and steps == sorted(set(steps))
    assert re.findall(r"step (\d) of 4: image", err) == ["2", "4"], "a figure as soon as it is there"


def test_the_outcome_is_on_standard_output(done):
    folder, out, _ = done
    assert re.search(r"First step after \d+ s; \d+\.\d images/s after it\.", out)
    (best,) = re.findall(
        r"Best:    image\.roc_auc \d\.\d{4} at step ([24]): validation, used to choose this checkpoint, the best of 2\n", out
    )
    assert re.search(r"Last:    image\.roc_auc \d\.\d{4} at step 4\n", out) is None if best == "4" else "Last: " in out
    assert f"Run:     {folder} (4 steps, checkpoint {folder / 'train' / 'ckpt-4'})" in out
    assert f"Curves:  {folder / 'curves.png'}" in out
    for what in ("tools/evaluate.py --run done", "tools/export.py --run done", f"tensorboard --logdir {folder}"):
        assert what in out
    assert (folder / "curves.png").exists()


def test_everything_is_in_tensorboard(done):
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.plugins.hparams import metadata

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(done[0]))
    multiplexer.Reload()
    tags = {run: set(content["tensors"]) for run, content in multiplexer.Runs().items()}
    losses = {f"Loss/{name}_loss" for name in ("total", "localization", "classification", "regularization")}
    assert losses | {"learning_rate", "gradient_norm", "images_per_second"} <= tags["train"]
    assert {"rsna_metric", "coco.pneumonia.AP50", "pneumonia/pr_curves", "validation", "training"} <= tags["eval"]
    (content,) = multiplexer.PluginRunToTagToContent("hparams").values()
    given = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG]).hparams
    settings = {name: getattr(value, value.WhichOneof("kind")) for name, value in given.items()}
    assert (settings["steps"], settings["batch_size"], settings["config"]) == (4, 2, "ssd_mobilenet")
    assert settings["learning_rate"] > 0
    assert settings["model.ssd.image_resizer.fixed_shape_resizer.height"] == shallow.SIDE, "what --set gave, as a number"
    speeds = [float(event.tensor_proto.float_val[0]) for event in multiplexer.Tensors("train", "images_per_second")]
    assert 0 < max(speeds) < 2000, "a first step is no measure"


# quick: the outcome above names the run's metric, and training/test_start.py has options come back from run.json
@pytest.mark.slow
def test_a_resumed_run_names_its_own_metric(done, workspace, capsys):
    shutil.copytree(done[0], workspace / "again")
    assert train.main(["--run", "again", "--resume", "--steps", "5"]) == 0
    captured = capsys.readouterr()
    assert "Best:    image.roc_auc" in captured.out
    assert "step 5 of 5" in captured.err


@pytest.mark.slow
def test_a_run_that_stopped_early_does_not_go_on_by_itself(done, workspace, monkeypatch, capsys):
    from pneumodet.training import validation

    shutil.copytree(done[0], workspace / "early")
    real = validation.Validation.run

    def worse(self):
        found = real(self)
        found.figures["image.roc_auc"] = -1.0
        return found

    monkeypatch.setattr(validation.Validation, "run", worse)
    for steps in (5, 50):
        assert train.main(["--run", "early", "--resume", "--steps", str(steps), "--patience", "1"]) == 0
        out = capsys.readouterr().out
        assert "Stopped early: no better image.roc_auc in 1 evaluations" in out
        assert "(5 steps, checkpoint" in out


@pytest.mark.slow
def test_a_removed_checkpoint_leaves_the_one_before(done, workspace, capsys):
    folder = shutil.copytree(done[0], workspace / "torn")
    data = folder / "train" / "ckpt-4.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    assert train.main(["--run", "torn", "--resume", "--steps", "6"]) == 2
    assert f"remove {folder / 'train' / 'ckpt-4'}.*, and the run continues from that" in capsys.readouterr().err
    for file in (folder / "train").glob("ckpt-4.*"):
        file.unlink()
    assert train.main(["--run", "torn", "--resume", "--steps", "6"]) == 0
    err = capsys.readouterr().err
    assert "step 4 of 6" in err
    assert "step 2 of 6" not in err, "it does not begin anew"
    state = (folder / "train" / "checkpoint").read_text()
    assert 'model_checkpoint_path: "ckpt-6"' in state


def test_a_start_that_failed_leaves_no_run(flags, workspace, capsys):
    assert train.main(flags("third_try", "--steps", "1", "--evaluate-every", "0", "--freeze", "nothing_like_that")) == 2
    assert "matches none of" in capsys.readouterr().err
    runs.refuse_used(workspace / "third_try", "third_try", family=runs.DETECTION)


@pytest.mark.slow
def test_a_start_that_failed_leaves_the_name_free(flags, workspace, capsys):
    assert train.main(flags("second_try", "--steps", "1", "--evaluate-every", "0", "--freeze", "nothing_like_that")) == 2
    assert "matches none of" in capsys.readouterr().err
    assert train.main(flags("second_try", "--steps", "1", "--evaluate-every", "0")) == 0
    assert train.main(flags("second_try", "--steps", "1", "--evaluate-every", "0")) == 2
    assert "holds a run already. Resume it: python tools/train.py --run second_try --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--find-lr", "--preview-augmentation"], "cannot be had at once; give one of them", id="both"),
        pytest.param(["--find-lr", "--find-lr-steps", "5"], "--find-lr-steps is 5; fewer than 20", id="few-steps"),
        pytest.param(["--seed", "-1"], "--seed is -1", id="seed"),
        pytest.param(["--positive-share", "1"], "--positive-share is 1; it must lie between 0 and 1", id="share"),
        pytest.param(["--fit-anchors"], "anchors are fitted to", id="few-boxes"),
        pytest.param(["--pretrained", "run:nobody"], "There is no run 'nobody'", id="no-run"),
    ],
)
def test_refused_with_one_line(flags, workspace, more, message, capsys):
    assert train.main(flags("refused", *more)) == 2
    err = capsys.readouterr().err
    assert message in err
    # what it would have started from comes first
    assert sum("error: " in line for line in err.splitlines()) == 1 and err.splitlines()[-1].startswith("train: error: ")
    assert not (workspace / "refused").exists()


@pytest.mark.parametrize("look", ["--find-lr", "--preview-augmentation"])
def test_a_look_is_for_new_runs(done, workspace, look, capsys):
    assert train.main(["--run", "done", "--resume", look]) == 2
    assert "belong before a run begins" in capsys.readouterr().err


def test_the_preview_says_where_it_is(flags, workspace, capsys):
    assert train.main(flags("looked", "--preview-augmentation")) == 0
    assert capsys.readouterr().out == f"Picture: {workspace / 'looked' / 'augmentation.png'}\n"


# quick: training/test_saving.py, of the message and of what stays
@pytest.mark.slow
def test_a_full_disk_is_told_once_and_nothing_torn_stays(done, workspace, monkeypatch, capsys):
    import tensorflow as tf

    folder = shutil.copytree(done[0], workspace / "full")

    def full(self, **_):
        (folder / "train" / "ckpt-6_temp").mkdir()
        raise tf.errors.ResourceExhaustedError(None, None, "{{function_node x}} a/b.tempstate1; No space left on device [Op:SaveV2]")

    monkeypatch.setattr(tf.train.CheckpointManager, "save", full)
    assert train.main(["--run", "full", "--resume", "--steps", "6"]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith(f"train: error: Cannot write a checkpoint in {folder / 'train'}: a/b.tempstate1; No space left on device. ")
    assert "The last good one is step 4." in err
    assert not (folder / "train" / "ckpt-6_temp").exists()


def test_every_flag_has_its_field():
    """A flag that no Request has would do nothing."""
    result = vars(train.build_parser().parse_args(["--run", "x"])).keys() - {"verbose"}
    assert result == set(detection.Request.__dataclass_fields__) | {"find_lr", "find_lr_steps", "preview_augmentation"}


def test_help_needs_no_tensorflow():
    code = "import sys; from pneumodet.cli import train; train.build_parser().format_help(); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
