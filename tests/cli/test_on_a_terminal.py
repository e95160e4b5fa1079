"""What commands show while they work: on a terminal what they are doing, in a pipe or a log file nothing."""

import io
import sys

import pytest

from pneumodet.cli import explore, predict
from pneumodet.core import progress
from pneumodet.exploration import radiographs

tiny_export = pytest.importorskip("tiny_export", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """Return what runs a command on a terminal and returns what it showed there, and in a pipe."""

    def run(main, argv, more):
        texts = []
        for stream, further in ((Terminal(), []), (io.StringIO(), more)):
            monkeypatch.setattr(sys, "stderr", stream)
            assert main([*map(str, [*argv, *further])]) == 0
            texts.append(stream.getvalue())
        return texts

    return run


def test_a_phase_goes_when_it_is_over(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress.phase("measuring"):
        assert terminal.getvalue().strip() == "measuring ..."
    assert terminal.getvalue().endswith("\r")


def test_explore(synthetic, tmp_path, shown, monkeypatch, capsys):
    """For minutes it showed nothing."""
    monkeypatch.setattr(radiographs.Drawer, "augmented", lambda self: (None, "left out"))
    argv = ["--labels", synthetic.labels, "--dicom-dir", synthetic.dicom_dir, "--output-dir", tmp_path / "out", "--workers", "1"]
    on_terminal, piped = shown(explore.main, argv, ["--overwrite"])
    parts = ("reading labels ...", "finding files ...", "reading headers:", "measuring ...", "drawing:", "writing the report ...")
    assert [part for part in parts if part not in on_terminal] == []
    assert piped == ""


def test_predict(synthetic, tmp_path, shown, capsys):
    model = tiny_export.make(tmp_path / "model")
    argv = ["--model", model, "--input", synthetic.dicom_dir, "--output-dir", tmp_path / "out", "--max-images", "1"]
    on_terminal, piped = shown(predict.main, argv, ["--overwrite"])
    parts = ("finding radiographs ...", "loading the model ...", "predicting:", "writing the results ...")
    assert [part for part in parts if part not in on_terminal] == []
    assert "..." not in piped and "predicting" not in piped
