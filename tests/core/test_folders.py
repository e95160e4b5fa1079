"""Output folders that are whole or absent, and that a killed run can go on with."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys

import pytest

from pneumodet.core import folders
from pneumodet.core.errors import DataError

MARKER = "manifest.json"


def make(final, text="new", *, overwrite=False, fail=None):
    with folders.new_folder(final, marker=MARKER, overwrite=overwrite) as folder:
        (folder / MARKER).write_text(text)
        if fail:
            raise fail


def test_appears_whole_with_usual_permissions(tmp_path):
    final = tmp_path / "some" / "where"
    make(final)
    assert (final / MARKER).read_text() == "new"
    assert os.listdir(tmp_path / "some") == ["where"]
    usual = tmp_path / "usual"
    usual.mkdir()
    assert final.stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize(
    "fail", [ValueError("x"), DataError("x"), KeyboardInterrupt(), SystemExit(1)], ids=lambda fail: type(fail).__name__
)
@pytest.mark.parametrize("earlier", [False, True], ids=["nothing before", "an earlier result"])
def test_failure_leaves_what_was(tmp_path, fail, earlier):
    final = tmp_path / "out"
    if earlier:
        make(final, "earlier")
    with pytest.raises(type(fail)):
        make(final, overwrite=True, fail=fail)
    assert os.listdir(tmp_path) == (["out"] if earlier else [])
    assert not earlier or (final / MARKER).read_text() == "earlier"


def test_full_disk_is_a_data_error(tmp_path):
    make(tmp_path / "out", "earlier")
    with pytest.raises(DataError, match=r"Cannot write .*out: No space left on device\. Free some disk space"):
        make(tmp_path / "out", overwrite=True, fail=OSError(28, os.strerror(28)))
    assert (tmp_path / "out" / MARKER).read_text() == "earlier"


def test_what_a_killed_process_was_writing_is_not_in_the_result(tmp_path):
    final = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt), folders.new_folder(final, marker=MARKER, overwrite=False, resume_key="k") as folder:
        (folder / "images").mkdir()
        (folder / "images" / "done.png").write_text("whole")
        (folder / "images" / ".half.png.123.tmp").write_text("ha")
        (folder / ".scores.csv.123.tmp").write_text("sc")
        raise KeyboardInterrupt
    with folders.new_folder(final, marker=MARKER, overwrite=False, resume_key="k") as folder:
        (folder / MARKER).write_text("new")
    assert sorted(path.name for path in final.rglob("*")) == ["done.png", "images", MARKER]


@pytest.mark.parametrize("name", ["new", "old"])
def test_failed_rename_leaves_the_earlier_result(tmp_path, monkeypatch, name):
    final = tmp_path / "out"
    make(final, "earlier")
    real = type(final).rename

    def rename(self, target):
        if (self.name == "new") if name == "new" else (os.path.basename(target) == "old"):
            raise OSError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(type(final), "rename", rename)
    with pytest.raises(DataError, match="Permission denied"):
        make(final, overwrite=True)
    assert os.listdir(tmp_path) == ["out"]
    assert (final / MARKER).read_text() == "earlier"


def test_what_may_be_replaced(tmp_path):
    final = tmp_path / "out"
    final.mkdir()
    make(final, "first")  # an empty folder is free
    with pytest.raises(DataError, match=r"holds an earlier result \(manifest.json\)\. Give --overwrite"):
        make(final, "second")
    make(final, "second", overwrite=True)
    assert (final / MARKER).read_text() == "second"
    (final / MARKER).rename(final / "thesis.txt")
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"holds other things \(no manifest.json\)"):
            make(final, overwrite=overwrite)
    assert (final / "thesis.txt").read_text() == "second"
    with pytest.raises(DataError, match="is a file"):
        make(final / "thesis.txt", overwrite=True)


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot write in .*file: .*Choose another --output-dir"):
        make(tmp_path / "file" / "out")


def test_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "disk" / "out").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "out")
    (tmp_path / "dangling").symlink_to(tmp_path / "disk" / "other")
    make(tmp_path / "link")
    make(tmp_path / "link", "second", overwrite=True)
    make(tmp_path / "dangling")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "out" / MARKER).read_text() == "second"
    assert sorted(os.listdir(tmp_path / "disk")) == ["other", "out"]


@pytest.mark.parametrize("name", [".", "sub/.."])
def test_the_current_folder_is_refused_at_once(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="is the current folder, which cannot be replaced as a whole. Choose a folder below it"):
        make(folders.Path(name), fail=AssertionError("too late"))
    make(folders.Path("below"))
    assert os.listdir(tmp_path) == ["below"]


def test_the_root_is_refused_at_once():
    with pytest.raises(DataError, match="/ is a mount point"):
        make(folders.Path("/"), overwrite=True, fail=AssertionError("too late"))


def test_an_empty_mount_point_is_refused_at_once(tmp_path, monkeypatch):
    final = tmp_path / "volume"
    final.mkdir()
    monkeypatch.setattr(folders.Path, "is_mount", lambda self: self.name == "volume")
    with pytest.raises(DataError, match="volume is a mount point, which cannot be replaced as a whole. Choose a folder below it"):
        make(final, fail=AssertionError("too late"))
    make(final / "below")


def test_leftovers_of_a_dead_process_are_removed_and_no_others(tmp_path):
    names = {
        ".out[1].new-abcd1234": "left by a killed process",
        ".out[1].new-at_work1": "locked by a living one",
        ".out[1].new-notes": "no scratch folder's name",
        ".out[1].new-abcd1234.new-abcd1234": "of another output folder",
        ".other.new-abcd1234": "of another output folder",
    }
    for name in names:
        (tmp_path / name / "new").mkdir(parents=True)
    locked = os.open(tmp_path / ".out[1].new-at_work1", os.O_RDONLY)
    fcntl.flock(locked, fcntl.LOCK_EX)
    make(tmp_path / "out[1]")
    os.close(locked)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out[1]", *names} - {".out[1].new-abcd1234"}
    make(tmp_path / "out[1]", overwrite=True)
    assert ".out[1].new-at_work1" not in os.listdir(tmp_path), "its process has gone too"


def test_a_folder_in_the_making_is_locked(tmp_path):
    with (
        pytest.raises(DataError, match="holds an earlier result"),
        folders.new_folder(tmp_path / "out", marker=MARKER, overwrite=False) as folder,
    ):
        make(tmp_path / "out", "the other was faster")
        assert folder.is_dir(), "a second process must not clean up what the first is making"
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / MARKER).read_text() == "the other was faster"


def test_killed_process_leaves_what_the_next_one_removes(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from pneumodet.core import folders\n"
        "with folders.new_folder(Path(sys.argv[1]), marker='m', overwrite=False): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], timeout=60).returncode == -9
    (leftover,) = os.listdir(tmp_path)
    assert leftover.startswith(".out.new-")
    make(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]


def test_killed_between_the_two_renames(tmp_path):
    final = tmp_path / "out"
    make(final, "earlier")
    scratch = tmp_path / ".out.new-abcd1234"
    scratch.mkdir()
    shutil.move(final, scratch / "old")
    with pytest.raises(DataError, match="holds an earlier result"):  # which is back, and not to be replaced without being asked
        make(final)
    assert (final / MARKER).read_text() == "earlier"
    assert os.listdir(tmp_path) == ["out"]


def test_what_nobody_could_resume_is_discarded(tmp_path):
    """As where a process ends in a call of C, and leaves no block."""
    with folders.new_folder(tmp_path / "a", marker="m", overwrite=False, resume_key="k") as kept:
        with contextlib.suppress(DataError), folders.new_folder(tmp_path / "b", marker="m", overwrite=False) as new:
            (new / "half").touch()
            folders.discard()
            assert not new.parent.exists() and kept.exists()
        folders.discard()
    assert (tmp_path / "a").is_dir() and not (tmp_path / "b").exists()
