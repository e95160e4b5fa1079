"""One lock for folders of every kind."""

import contextlib
import errno

import pytest

from pneumodet.core import locks


@pytest.fixture(params=["folder", "file"])
def path(request, tmp_path):
    return tmp_path if request.param == "folder" else tmp_path / ".lock"


def test_one_process_holds_it_and_then_the_next(path):
    with locks.locked(path) as first, locks.locked(path) as second:
        assert (first, second) == (locks.HELD, locks.TAKEN)
    with locks.locked(path) as third:
        assert third is locks.HELD


def test_waiting_says_so_and_gets_it(path):
    stack = contextlib.ExitStack()
    stack.enter_context(locks.locked(path))
    with locks.locked(path, wait=stack.close) as state:  # closed by the notice, else this would wait for ever
        assert state is locks.HELD


def test_a_folder_that_its_last_owner_removed_is_nobody_s(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    folder.mkdir()
    flock = locks.fcntl.flock

    def removed_meanwhile(handle, how):
        folder.rmdir()
        flock(handle, how)

    monkeypatch.setattr(locks.fcntl, "flock", removed_meanwhile)
    with locks.locked(folder) as state:
        assert state is locks.TAKEN


@pytest.mark.parametrize("wait", [None, lambda: None])
def test_a_file_system_without_locks_is_named(path, monkeypatch, caplog, wait):
    def refuse(handle, how):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with locks.locked(path, wait=wait) as state:
        assert state is locks.UNKNOWN
    assert "has no file locks" in caplog.text


def test_a_file_that_cannot_be_made_is_an_error(tmp_path):
    with pytest.raises(OSError), locks.locked(tmp_path / "none" / ".lock"):
        pass


def test_windows_has_none(path, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    with locks.locked(path) as state:
        assert state is locks.UNKNOWN
