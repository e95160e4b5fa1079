"""Where bars are drawn: on a terminal and in a notebook, and nowhere else."""

import sys
import types

import pytest

from pneumodet.core import progress


@pytest.fixture
def shell(monkeypatch):
    """Make this process a notebook's kernel, as far as one asks."""
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    return shell


def test_nothing_in_a_pipe(capsys):
    with progress.bar(total=3) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.bar(total=3, desc="reading") as bar:
        bar.update(3)
    assert "reading" in capsys.readouterr().err


def test_a_notebook_has_bars(shell):
    assert progress.visible()
    shell.config = {}
    assert not progress.visible(), "IPython on a pipe is no notebook"


def test_no_bar_where_a_script_imports_ipython(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert not progress.visible()


def test_counting_begins_when_the_number_is_known(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.counting("detecting", "image") as start:
        advance = start(2)
        advance()
        advance()
    assert "/2" in capsys.readouterr().err


def training(step):
    return types.SimpleNamespace(step=step, total=20, loss=0.5, seconds_per_step=0.1, images_per_second=8.0)


def test_training_is_a_bar_in_a_notebook_and_lines_in_a_pipe(capsys, shell):
    with progress.TrainingBar() as bar:
        bar.update(training(2))
    assert "step 2 of 20" not in capsys.readouterr().err
    shell.config = {}
    with progress.TrainingBar() as bar:
        bar.update(training(2))
        bar.update(training(3))
    assert capsys.readouterr().err == "step 2 of 20: loss 0.500, 8.0 images/s, 2 s left\n"


def test_a_message_stands_above_the_bar_which_stays(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.TrainingBar() as bar:
        bar.update(training(2))
        capsys.readouterr()
        bar.message("step 2 of 20: rsna_metric 0.1298, the best so far")
        err = capsys.readouterr().err
    cleared, message, after = err.partition("step 2 of 20: rsna_metric 0.1298, the best so far\n")
    assert message and cleared.endswith("\r"), "at the beginning of a line that the bar has left"
    assert "training" in after and "2/20" in after


def test_work_of_minutes_prints_a_line_in_a_pipe(capsys, shell):
    def work():
        with progress.phase("onnx: converting", piped=True):
            pass
        with progress.counting("comparing", "image", piped=True) as start:
            start(34)()
        with progress.phase("reading"):
            pass

    work()
    assert "\n" not in capsys.readouterr().err.strip(), "bars in a notebook"
    shell.config = {}
    work()
    assert capsys.readouterr().err == "onnx: converting ...\ncomparing: 34 images ...\n"
