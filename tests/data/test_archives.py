"""Archives of strangers: every way to break one ends in a sentence, wherever it is read."""

import contextlib
import io
import random
import zipfile
import zlib

import pytest

from pneumodet.apps.web import uploads
from pneumodet.core.errors import DataError, PneumodetError
from pneumodet.data import archives, sources, text_files
from pneumodet.data.kaggle import archive as kaggle


def zipped(members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, content in members:
            made.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("names", "bad"),
    [
        (["a/b.dcm", "a/c.dcm", "d.dcm"], None),
        (["a", "a/b"], ("a/b", "is one of a file and of a folder")),
        (["a/b", "a"], ("a", "is one of a file and of a folder")),
        (["a/b/c", "a"], ("a", "is one of a file and of a folder")),
        (["a", "b", "a"], ("a", "occurs twice")),
        (["a/b", "a//b"], ("a//b", "occurs twice")),
        (["x" * 255], None),
        (["x" * 256], ("x" * 256, "is longer than 255 bytes")),
        (["a/" + "ä" * 150], ("a/" + "ä" * 150, "is longer than 255 bytes")),
        (["../a"], ("../a", "leads out of its folder")),
        (["/a"], ("/a", "leads out of its folder")),
        (["c:a"], ("c:a", "leads out of its folder")),
        (["a\\b"], ("a\\b", "leads out of its folder")),
        ([""], ("", "leads out of its folder")),
    ],
)
def test_names_that_no_folder_may_have(names, bad):
    assert archives.bad_name(names) == bad


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a", b"1"), ("a/b", b"2")], "'a/b'.*Kaggle"),
        ([("x" * 300, b"1")], "is longer than 255 bytes: 'xxx"),
        ([("a", b"1"), ("b/../../c", b"")], "leads out"),
    ],
)
def test_kaggle_archives_with_such_names(tmp_path, members, message):
    (tmp_path / "a.zip").write_bytes(zipped(members))
    with pytest.raises(DataError, match=message):
        kaggle.open_archive(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("name", "hidden"), [("__MACOSX/a/._b.dcm", True), (".git/a", True), ("a/.b", True), ("a/b.dcm", False), ("./a", False)]
)
def test_hidden_members(name, hidden):
    assert archives.is_hidden(name) == hidden


def read_everywhere(path, data, folder):
    """Do all that is done with archives; the errors that users may see are fine."""
    path.write_bytes(data)

    def by_sources():
        files, _ = sources.find_radiographs(path)
        for source in files.values():
            source.read_bytes()

    def by_kaggle():
        kaggle.unpack(path, kaggle.open_archive(path), folder)

    for use in (by_sources, by_kaggle, lambda: text_files.read_text(path)):
        with contextlib.suppress(PneumodetError):
            use()
    uploads.unpack([uploads.File("a.zip", data)], room=uploads.Room())


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["stored", "deflated", "bzip2", "lzma"]
)
def test_changed_bytes_are_no_traceback(tmp_path, method):
    """Bytes of an archive of one file, which is radiograph, table and member, set to other values; and the archive cut off anywhere."""
    good, rng = zipped([("a.dcm", b"\0" * 40 + b"patientId,x\n" * 9)], method), random.Random(0)
    for place in range(len(good)):
        value = (0, 255, rng.randrange(256))[place % 3]
        read_everywhere(tmp_path / "a.zip", good[:place] + bytes([value]) + good[place + 1 :], tmp_path / "out")
    for end in range(0, len(good), 5):
        read_everywhere(tmp_path / "a.zip", good[:end], tmp_path / "out")


def test_what_is_caught_is_what_broken_members_raise():
    assert {zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError} <= set(archives.ERRORS)
    assert not issubclass(OSError, archives.ERRORS), "which may as well be the disk's"
