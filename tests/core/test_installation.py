"""What adds an extra, by how pneumodet was installed; where files are found, and where others go."""

import json
from pathlib import Path

import pytest

from pneumodet.core import installation, paths, resources

WHEEL = "pneumodet-0.2.0-py3-none-any.whl"


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Return a function that makes this a copy that pip installed from ``content`` of direct_url.json."""

    def install(content):
        class Distribution:
            def read_text(self, name):
                assert name == "direct_url.json"
                return content if content is None or isinstance(content, str) else json.dumps(content)

        monkeypatch.setattr(resources, "CHECKOUT", None)
        monkeypatch.setattr(installation.importlib.metadata, "distribution", lambda name: Distribution())
        monkeypatch.chdir(tmp_path)

    return install


GIT = {"url": "https://git.example/pneumodet.git", "vcs_info": {"vcs": "git", "requested_revision": "v0.2.0", "commit_id": "ab" * 20}}


@pytest.mark.parametrize(
    ("content", "command"),
    [
        pytest.param(GIT, "pip install 'pneumodet[dicom] @ git+https://git.example/pneumodet.git@v0.2.0'", id="git"),
        pytest.param(
            {"url": "https://git.example/x.git", "vcs_info": {"vcs": "git", "commit_id": "cd" * 20}},
            f"pip install 'pneumodet[dicom] @ git+https://git.example/x.git@{'cd' * 20}'",
            id="git without a tag",
        ),
        pytest.param({"url": "file:///{tmp}/my%20checkout", "dir_info": {}}, "pip install '/{tmp}/my checkout[dicom]'", id="folder"),
        pytest.param({"url": f"file:///{{tmp}}/{WHEEL}", "archive_info": {}}, f"pip install '/{{tmp}}/{WHEEL}[dicom]'", id="wheel"),
        pytest.param(
            {"url": f"https://files.example/{WHEEL}", "archive_info": {}},
            f"pip install 'pneumodet[dicom] @ https://files.example/{WHEEL}'",
            id="address of a wheel",
        ),
    ],
)
def test_an_extra_comes_from_where_the_package_came_from(installed, tmp_path, content, command):
    here = str(tmp_path).lstrip("/")
    (tmp_path / "my checkout").mkdir()
    (tmp_path / WHEEL).touch()
    installed(json.loads(json.dumps(content).replace("{tmp}", here)))
    assert installation.command("dicom") == command.replace("{tmp}", here)


@pytest.mark.parametrize(
    "content",
    [None, "", "{", "[]", '{"url": 3}', f'{{"url": "file:///gone/{WHEEL}", "archive_info": {{}}}}'],
    ids=["by name", "empty", "broken", "list", "number", "a wheel that was removed"],
)
def test_no_index_is_ever_asked_for_the_name(installed, content):
    installed(content)
    for text in (installation.command("dicom"), installation.repair()):
        assert "PATH_OF_WHEEL_OR_CHECKOUT[" in text
        assert "pneumodet[" not in text


def test_in_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "CHECKOUT", tmp_path / "a b")
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path / "a b")
    assert installation.command("dicom") == "pip install -c constraints.txt -e '.[dicom]'"
    assert installation.command() == "pip install -c constraints.txt -e ."
    assert installation.repair() == "make setup"
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a b"
    assert installation.command("dicom,app") == f"pip install -c '{folder}/constraints.txt' -e '{folder}[dicom,app]'"
    assert installation.repair() == f"make -C '{folder}' setup"


def test_a_copy_from_git_knows_its_commit(installed):
    installed(GIT)
    assert installation.commit() == "ab" * 20
    assert "from git" in installation.described()


def test_no_message_names_an_index():
    """A name on an index that is not ours is a danger to who follows it."""
    there = [
        path for path in resources.PACKAGE.rglob("*.py") if path.name != "installation.py" and "pip install 'pneumodet" in path.read_text()
    ]
    assert there == []


def test_the_workspace_of_a_checkout_is_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PNEUMODET_WORKSPACE", raising=False)
    assert paths.workspace_dir() == resources.CHECKOUT / "workspace"
    monkeypatch.setattr(resources, "CHECKOUT", None)
    assert paths.workspace_dir() == tmp_path / "workspace"
    monkeypatch.setenv("PNEUMODET_WORKSPACE", "elsewhere")
    assert paths.workspace_dir() == Path("elsewhere")


def test_downloads_go_to_the_cache_outside_of_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "PRETRAINED_DIR", tmp_path)
    assert paths.downloads_dir() == tmp_path
    monkeypatch.setattr(paths, "PRETRAINED_DIR", tmp_path / "none")  # as in an image, where the checkout belongs to root
    assert paths.downloads_dir() == tmp_path / "cache" / "pneumodet" / "pretrained"
    monkeypatch.setattr(paths, "PRETRAINED_DIR", tmp_path)
    monkeypatch.setattr(resources, "CHECKOUT", None)
    assert paths.downloads_dir() == tmp_path / "cache" / "pneumodet" / "pretrained"
