"""``python -m pneumodet.odapi``: what runs, with which arguments, and what is said where nothing can. test_thread.py runs the stock scripts."""

import sys

import pytest

from pneumodet import odapi


@pytest.fixture(autouse=True)
def process_as_before(monkeypatch):
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_a_file_runs_as_python_runs_it_and_finds_the_api_bridged(tmp_path, capsys):
    (tmp_path / "beside.py").write_text("NUMBER = 3\n")
    script = tmp_path / "mine.py"
    script.write_text(
        "import sys\n"
        "from object_detection.utils import metrics\n"
        "import beside\n"
        "print(__name__, sys.argv, beside.NUMBER, metrics.compute_average_precision(None, None))\n"
        "sys.exit(5)\n"
    )
    with pytest.raises(SystemExit) as done:
        odapi.main([str(script), "--flag", "a b"])
    assert done.value.code == 5
    assert capsys.readouterr().out == f"__main__ {[str(script), '--flag', 'a b']} 3 nan\n"


def test_a_module_runs_with_its_edits(tmp_path, monkeypatch, capsys):
    """Run as a script it is compiled from its source again, not taken from what was imported."""
    from pneumodet.models.detection import odapi as bridges
    from pneumodet.models.detection import odapi_edits

    (tmp_path / "stock_script.py").write_text("import sys\nprint(__name__, sys.argv[1:], 'old')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(bridges, "load", lambda: None)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(odapi_edits._FINDER, "edits", {})
    odapi_edits._apply([odapi_edits.Edit("stock_script", "'old'", "'new'")])
    assert odapi.main(["stock_script", "--steps", "2"]) == 0
    assert capsys.readouterr().out == "__main__ ['--steps', '2'] new\n"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "object_detection.model_main_tf",
            "There is no module object_detection.model_main_tf. Did you mean 'object_detection.model_main_tf2'?",
        ),
        ("model_main_tf2", "Did you mean 'object_detection.model_main_tf2'?"),
        ("no.such.module", "The scripts of the API are, among others: "),
        ("folder/model_main_tf2.py", "There is no file folder/model_main_tf2.py."),
    ],
)
def test_what_is_not_there_is_named_before_the_api_is_imported(target, message, monkeypatch, capsys):
    from pneumodet.models.detection import odapi as bridges

    monkeypatch.setattr(bridges, "load", lambda: pytest.fail("imported"))
    assert odapi.main([target]) == 2
    assert message in capsys.readouterr().err


def test_usage(capsys):
    assert odapi.main([]) == 2
    assert capsys.readouterr().err == odapi.USAGE + "\n"
    assert odapi.main(["--help"]) == 0
    assert "object_detection.exporter_main_v2" in capsys.readouterr().out


def test_an_api_that_cannot_be_imported_is_the_users_to_fix(monkeypatch, capsys):
    from pneumodet.core.errors import EnvironmentProblem
    from pneumodet.models.detection import odapi as bridges

    def refuse():
        raise EnvironmentProblem("TensorFlow is missing.")

    monkeypatch.setattr(bridges, "load", refuse)
    assert odapi.main(["object_detection.model_main_tf2"]) == 2
    assert capsys.readouterr().err == "pneumodet.odapi: error: TensorFlow is missing.\n"
