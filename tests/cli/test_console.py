"""What all commands share: spelling of flags, exit codes, one-line errors."""

import argparse
import os
import signal
import subprocess
import sys
import types

import kept_figures
import numpy as np
import pytest
from absl import app as absl_app

import pneumodet
from pneumodet.cli import console, outcomes
from pneumodet.core import folders, installation, runs, selection
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.run_record import RunRecord


@pytest.fixture
def parser():
    parser = console.Parser("prog", "Purpose.")
    parser.add_argument("--dicom-dir")
    parser.add_argument("--output_dir")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--count", type=console.positive_int, default=1)
    return parser


@pytest.fixture
def run(parser):
    """Run a function under the parser; returns the exit code."""
    return lambda command, *argv: console.run(parser, command, list(argv))


@pytest.mark.parametrize(
    "argv",
    [
        ["--dicom-dir", "a", "--output-dir", "b"],
        ["--dicom_dir", "a", "--output_dir", "b"],
        ["--dicom_dir=a", "--output-dir=b"],
    ],
    ids=["dashes", "underscores", "equals"],
)
def test_dashes_and_underscores_are_the_same(parser, argv):
    args = parser.parse_args(argv)
    assert (args.dicom_dir, args.output_dir) == ("a", "b")


def test_a_value_keeps_its_spelling(parser):
    args = parser.parse_args(["--dicom_dir=my_data-set", "--output_dir", "other_data-set"])
    assert (args.dicom_dir, args.output_dir) == ("my_data-set", "other_data-set")


@pytest.mark.parametrize("argv", [["--dicom"], ["--nope", "1"], ["--count", "0"]], ids=["abbreviation", "unknown", "bad value"])
def test_wrong_flags_exit_with_2(run, capsys, argv):
    assert run(lambda args: pytest.fail("ran"), *argv) == 2
    assert "prog: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(["--dicom-dr", "x"], "there is no flag --dicom-dr; did you mean '--dicom-dir'? --help lists the flags.", id="near"),
        pytest.param(["--nope=1"], "there is no flag --nope. --help lists the flags.", id="nothing near"),
        pytest.param(["-strict"], "there is no flag -strict; did you mean '--strict'? --help lists the flags.", id="one dash"),
        pytest.param(["--count", "0"], "argument --count: '0' is not a whole number of at least 1.", id="value"),
        pytest.param(["--count", "-1"], "argument --count: '-1' is not a whole number of at least 1.", id="negative"),
        pytest.param(["stray"], "unrecognized arguments: stray. --help lists the flags.", id="no flag"),
    ],
)
def test_a_wrong_flag_is_one_line(run, capsys, argv, message):
    """Below twenty lines of usage nobody saw it."""
    assert run(lambda args: pytest.fail("ran"), *argv) == 2
    assert capsys.readouterr().err == f"prog: error: {message}\n"


def test_a_required_flag_that_is_misspelt_is_named(run, parser, capsys):
    parser.add_argument("--labels", required=True)
    assert run(lambda args: pytest.fail("ran"), "--lables", "x") == 2
    assert capsys.readouterr().err == "prog: error: there is no flag --lables; did you mean '--labels'? --help lists the flags.\n"
    assert run(lambda args: pytest.fail("ran")) == 2
    assert capsys.readouterr().err == "prog: error: the following arguments are required: --labels. --help lists the flags.\n"


def test_flags_after_two_dashes_are_for_others(run, parser, capsys):
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--labels", required=True)
    assert run(lambda args: pytest.fail("ran"), "--", "--runner=x") == 2
    assert "required: --labels" in capsys.readouterr().err


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (2, 2), (130, 130)])
def test_the_commands_result_is_the_exit_code(run, result, code):
    assert run(lambda args: result) == code


def test_the_command_gets_its_arguments(run):
    seen = []
    assert run(seen.append, "--dicom_dir", "a", "--count", "3") == 0
    assert (seen[0].dicom_dir, seen[0].count, seen[0].strict, seen[0].verbose) == ("a", 3, False, False)


@pytest.mark.parametrize("kind", [DataError, ConfigError])
def test_a_user_error_is_one_line_and_2(run, capsys, kind):
    def command(args):
        raise kind("labels.csv, line 3: width is 0.")

    assert run(command) == 2
    assert capsys.readouterr() == ("", "prog: error: labels.csv, line 3: width is 0.\n")


def test_verbose_keeps_the_traceback_of_a_user_error(run):
    def command(args):
        raise DataError("no")

    with pytest.raises(DataError):
        run(command, "--verbose")


def test_a_bug_keeps_its_traceback(run):
    with pytest.raises(ZeroDivisionError):
        run(lambda args: 1 // 0)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("google_crc32c", installation.command("train")),
        ("tensorflow.python", "the package tensorflow,"),
        ("google", "the package protobuf,"),
    ],
)
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(run, capsys, name, command):
    def needs_it(args):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert run(needs_it) == 2
    err = capsys.readouterr().err
    assert command in err and "doctor" in err and err.count("\n") == 1
    with pytest.raises(ModuleNotFoundError):
        run(needs_it, "--verbose")


def test_a_missing_module_of_ours_is_a_bug(run):
    def broken(args):
        import pneumodet.nothing_like_that  # noqa: F401

    with pytest.raises(ModuleNotFoundError):
        run(broken)


@pytest.mark.parametrize(
    ("count", "what", "text"),
    [(1, "radiograph", "1 radiograph"), (0, "box", "0 boxes"), (1, "box", "1 box"), (1200, "exam", "1,200 exams")],
)
def test_counted(count, what, text):
    assert console.counted(count, what) == text


def test_ctrl_c_is_130(run, capsys):
    def command(args):
        raise KeyboardInterrupt

    assert run(command) == 130
    assert capsys.readouterr().err == "\nprog: stopped by Ctrl-C.\n"


def test_sigterm_removes_what_has_a_temporary_name(run, tmp_path, capsys):
    before = signal.getsignal(signal.SIGTERM)

    def writes(args):
        with folders.new_folder(tmp_path / "export", marker="model.json", overwrite=False) as new:
            (new / "model.onnx").write_bytes(b"1")
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGTERM)  # a second one, while the first is being answered

    assert run(writes) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == "\nprog: stopped by SIGTERM.\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_several_runs_in_one_process(run):
    assert [run(lambda args: args.count, "--count", str(count)) for count in (3, 4)] == [3, 4]


def test_version_names_the_package(run, capsys):
    assert run(lambda args: pytest.fail("ran"), "--version") == 0
    assert capsys.readouterr().out.startswith(f"pneumodet {pneumodet.__version__} (")


def test_abseil_flags_are_taken(parser):
    """``--verbosity`` is absl's own; it goes to absl and not to the namespace."""
    assert not hasattr(parser.parse_args(["--verbosity", "1"]), "verbosity")
    assert absl_app.flags.FLAGS["verbosity"].present


@pytest.mark.parametrize(
    ("check", "text", "message"),
    [
        pytest.param(console.existing_dir, "{tmp}/none", "is not a folder .it does not exist", id="no folder"),
        pytest.param(console.existing_dir, "{tmp}/file", r"is not a folder$", id="file for a folder"),
        pytest.param(console.existing_file, "{tmp}", r"is not a file$", id="folder for a file"),
        pytest.param(console.existing_file, "{tmp}/none", "does not exist", id="no file"),
        pytest.param(console.existing_file, "{tmp}/fil", "does not exist.; did you mean '.*/file'", id="near file"),
        pytest.param(console.existing_path, "{tmp}/fiel", "does not exist; did you mean '.*/file'", id="near path"),
        pytest.param(console.existing_path, "{tmp}/none/file", "does not exist$", id="no folder of it"),
        pytest.param(console.positive_int, "0", "whole number of at least 1", id="zero"),
        pytest.param(console.positive_int, "1.5", "whole number of at least 1", id="no whole number"),
        pytest.param(console.fraction, "1.1", "number from 0 to 1", id="above 1"),
        pytest.param(console.fraction, "nan", "number from 0 to 1", id="NaN"),
        pytest.param(console.fraction, "half", "number from 0 to 1", id="text"),
    ],
)
def test_types_refuse(tmp_path, check, text, message):
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        check(text.replace("{tmp}", str(tmp_path)))


def test_a_model_may_be_named_by_its_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    runs.write(tmp_path / "chest", RunRecord(family=runs.DETECTION))
    assert console.model("chest") == console.model(str(tmp_path / "chest")) == tmp_path / "chest"
    # of a run that was not exported the reader of models says how
    assert console.model(str(tmp_path / "chest" / "export")) == tmp_path / "chest" / "export"
    with pytest.raises(argparse.ArgumentTypeError, match="'chestt' is neither a path nor a run; did you mean 'chest'. Runs: chest"):
        console.model("chestt")


def test_types_accept(tmp_path):
    (tmp_path / "file").touch()
    assert console.existing_dir(str(tmp_path)) == tmp_path
    assert console.existing_file(str(tmp_path / "file")) == tmp_path / "file"
    assert (console.positive_int("8"), console.fraction("0"), console.fraction("1"), console.fraction("0.25")) == (8, 0.0, 1.0, 0.25)


SCRIPT = """
import sys, time
from pneumodet.cli import console, outcomes
from pneumodet.core import installation
from pneumodet.core.errors import DataError
def command(args):
    {body}
sys.exit(console.run(console.Parser("prog", "Purpose."), command))
"""


@pytest.mark.parametrize(
    ("body", "argv", "code", "last_line"),
    [
        pytest.param("raise DataError('x is y.')", [], 2, "prog: error: x is y.", id="user error"),
        pytest.param("raise DataError('x is y.')", ["--verbose"], 1, "pneumodet.core.errors.DataError: x is y.", id="user error, verbose"),
        pytest.param("1 // 0", [], 1, "ZeroDivisionError", id="bug"),
    ],
)
def test_exit_codes_of_a_process(body, argv, code, last_line):
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(body=body), *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert done.stderr.strip().splitlines()[-1].startswith(last_line)
    assert ("Traceback" in done.stderr) == (code == 1)


def test_ctrl_c_of_a_process():
    body = "print('ready', flush=True); time.sleep(60)"
    heeded = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - a shell's background jobs are told to ignore it
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeded
    ) as process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "\nprog: stopped by Ctrl-C.\n"


def test_a_reader_that_leaves_is_no_error():
    body = "[print(number, flush=True) for number in range(100000)]"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(body=body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 141
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("spread", "expected"), [(0.0, "these exams do not show how much of it is luck"), (0.5, "on patients without a part")]
)
def test_luck_is_a_figure_only_where_some_was_seen(tmp_path, capsys, spread, expected):
    """Moves of 0 leave the same checkpoint the best on any patients, as those of a handful of positive exams nearly do."""
    moves = spread * np.random.default_rng(0).standard_normal((3, selection.GROUPS)) / selection.GROUPS
    kept_figures.write(tmp_path, [0.1, 0.125, 0.02], moves)
    best = types.SimpleNamespace(best=0.125, best_step=200)
    outcome = types.SimpleNamespace(
        images_per_second=None, memory=best, best_metric="rsna_metric", step=300, checkpoint="ckpt-300", completed=True, stopped_early=None
    )
    assert outcomes.print_trained(outcome, tmp_path, resume="")
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("Luck:")]
    assert expected in line
