"""How Streamlit is started, and the rules of the page's modules."""

import ast
import importlib.metadata
import socket
import sys
from pathlib import Path

import pytest

from pneumodet.apps.web import server
from pneumodet.apps.web.server import Options
from pneumodet.cli import app as command
from pneumodet.core.errors import ConfigError, EnvironmentProblem

FOLDER = Path(server.__file__).parent


@pytest.mark.parametrize(
    "options", [Options(Path("a/b")), Options(Path("ü <b>"), "onnx", Path("labels.csv"), Path("heat maps"))], ids=["model", "all"]
)
def test_options_travel_to_the_page(options):
    assert Options.from_arguments(["page.py", options.to_argument()]) == options


def test_streamlit_knows_every_setting():
    config = pytest.importorskip("streamlit.config", reason="streamlit is not installed")
    known = config.get_config_options()
    assert set(server.settings(8501)) <= set(known)


def test_the_page_is_for_this_computer_and_sends_nothing():
    values = server.settings(1234)
    assert values["server.address"] == "127.0.0.1"
    assert values["server.headless"] is True
    assert values["browser.gatherUsageStats"] is False
    assert values["client.showErrorDetails"] == "none"


def test_a_port_in_use_is_named():
    pytest.importorskip("streamlit", reason="streamlit is not installed")
    with socket.socket() as one:
        one.bind((server.LOOPBACK, 0))
        one.listen()
        with pytest.raises(ConfigError, match="--port"):
            server.check_ready(one.getsockname()[1])


def test_a_missing_streamlit_is_named(monkeypatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"needs the package streamlit.*\[app\]"):
        server.check_ready(8501)


def test_the_command_refuses_what_is_no_model(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(server, "check_ready", lambda port: None)
    assert command.main(["--model", str(tmp_path), "--port", "8599"]) == 2
    assert "is not an exported model" in capsys.readouterr().err


def test_the_command_refuses_bad_labels_before_the_page_is_there(tmp_path, capsys, monkeypatch):
    tiny_export = pytest.importorskip("tiny_export", reason="the package onnx is not installed")
    monkeypatch.setattr(server, "check_ready", lambda port: None)
    (tmp_path / "labels.csv").write_text("a,b\n")
    assert command.main(["--model", str(tiny_export.make(tmp_path / "model")), "--labels", str(tmp_path / "labels.csv")]) == 2
    assert "labels.csv has the columns" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_a_port_is_a_port(port, tmp_path, capsys):
    assert command.main(["--model", str(tmp_path), "--port", port]) == 2
    assert port in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--model", "--labels"])
def test_a_url_is_no_file_of_this_computer(flag, tmp_path, capsys):
    assert command.main(["--model", str(tmp_path), flag, "https://example.org/x"]) == 2
    assert "needs files of this computer" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_only_the_page_with_its_controls_and_its_server_know_streamlit(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert any(name.split(".")[0] == "streamlit" for name in names) == (path.stem in ("page", "controls", "server"))


def test_no_module_has_the_name_of_something_that_is_imported():
    """Streamlit puts the page's folder first on sys.path: a statistics.py there would be imported by every library."""
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions())
    assert {path.stem for path in FOLDER.glob("*.py")} & taken == set()
