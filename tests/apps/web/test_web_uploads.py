"""What is dropped on the page: names, archives, limits, hostile files."""

import io
import zipfile

import pytest

from pneumodet.apps.web import server, uploads
from pneumodet.apps.web.uploads import File, Room


def archive(members, *, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return buffer.getvalue()


def unpack(*files, room=Room()):  # noqa: B008 - frozen
    return uploads.unpack([File(name, data) for name, data in files], room=room)


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("exam.dcm", "exam.dcm"),
        ("C:\\scans\\exam 1.dcm", "exam 1.dcm"),
        ("../../etc/passwd", "passwd"),
        ("<img src=x onerror=alert(1)>.png", "_img src_x onerror_alert(1)_.png"),
        ("[a](javascript:x).png", "_a_(javascript_x).png"),
        ("=cmd|calc.csv", "_cmd_calc.csv"),
        ("-2+3.png", "2_3.png"),
        ("胸部.dcm", "胸部.dcm"),
        ("a\u202egnp.exe\x00\n", "a_gnp.exe__"),
        ("...", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_names_hold_no_code(name, clean):
    assert uploads.clean_name(name) == clean


def test_a_long_name_keeps_its_suffix():
    name = uploads.clean_name("x" * 500 + ".dcm")
    assert len(name) == uploads.MAX_NAME_CHARACTERS
    assert name.endswith("….dcm")


def test_an_archive_is_unpacked_in_order():
    data = archive([("a/2.dcm", b"two"), ("b/1.png", b"one"), ("__MACOSX/._1.png", b"x"), ("b/.DS_Store", b"x"), ("c/", b"")])
    files, refused = unpack(("study.zip", data), ("3.dcm", b"three"))
    assert [(one.name, one.data) for one in files] == [("2.dcm", b"two"), ("1.png", b"one"), ("3.dcm", b"three")]
    assert refused == []


def flags_set(data):
    """Set the flag of a password in an archive of one member."""
    changed = bytearray(data)
    for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[data.index(start) + offset] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (archive([("a.dcm", b"x" * 400)])[:-30], "z.zip", "damaged or cut off"),
        (archive([]), "z.zip", "empty"),
        (archive([("in.zip", archive([("a.dcm", b"x")]))]), "z.zip, in.zip", "within archives"),
        (flags_set(archive([("a.dcm", b"x" * 400)])), "z.zip, a.dcm", "password"),
        (archive([("a.dcm", b"x" * 400)], method=zipfile.ZIP_LZMA), "z.zip, a.dcm", "unusual way"),
        (archive([("a.dcm", b"")]), "z.zip, a.dcm", "empty"),
        (archive([("a.dcm", b"xy" * 400)]).replace(b"a.dcm", b"b.dcm", 1), "z.zip, a.dcm", "damaged"),
        (archive([(f"{number}.txt", b"") for number in range(uploads.MAX_MEMBERS + 1)]), "z.zip", "more than 2,000 members"),
        (b"", "z.zip", "empty"),
    ],
    ids=["cut-off", "no-members", "nested", "password", "lzma", "empty-member", "forged", "many-members", "no-bytes"],
)
def test_a_bad_archive_gets_a_sentence(data, name, reason):
    files, refused = unpack(("z.zip", data))
    assert files == []
    assert [one.name for one in refused] == [name]
    assert reason in refused[0].reason
    assert refused[0].reason.endswith(".")


def test_a_bomb_is_not_inflated(monkeypatch):
    """One member that is too large by what the archive says, and many that fit one by one but not together."""
    monkeypatch.setattr(uploads, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(uploads, "MAX_TOTAL_BYTES", 2500)
    inflated = []
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda self, n=-1: inflated.append(read(self, n)) or inflated[-1])
    data = archive([("large.dcm", bytes(1001)), *((f"{number}.dcm", bytes(900)) for number in range(9))])
    assert len(data) < 2500
    monkeypatch.setattr(uploads, "MAX_FILE_BYTES", len(data))
    files, refused = unpack(("bomb.zip", data), room=Room(uploads.MAX_FILES, 2500))
    assert sum(len(one.data) for one in files) <= 2500
    assert sum(map(len, inflated)) <= 2500, "what has no room is not unpacked"
    assert len(files) + len(refused) == 10


def test_a_member_larger_than_a_file_may_be_is_refused_unread(monkeypatch):
    data = archive([("large.dcm", bytes(100_000)), ("small.dcm", bytes(10))])
    monkeypatch.setattr(uploads, "MAX_FILE_BYTES", 50_000)
    files, refused = unpack(("bomb.zip", data))
    assert [one.name for one in files] == ["small.dcm"]
    assert [one.name for one in refused] == ["bomb.zip, large.dcm"]


def test_more_files_than_there_is_room_for_are_counted():
    data = archive([(f"{number}.dcm", b"x") for number in range(10)])
    files, refused = unpack(("first.dcm", b"x"), ("z.zip", data), ("last.dcm", b"x"), room=Room(4, 1000))
    assert len(files) == 4
    assert [one.name for one in refused] == ["z.zip, 7 files of the archive", "last.dcm"]
    assert "Remove some first" in refused[0].reason


def test_what_waits_takes_room():
    left = Room(4, 1000).without(File(f"{number}.dcm", b"x" * 300) for number in range(3))
    assert left == Room(1, 100)


def test_files_that_are_too_large_are_refused(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_FILE_BYTES", 3 << 20)
    files, refused = unpack(("a.dcm", bytes(4 << 20)), ("b.dcm", bytes(2 << 20)), room=Room(5, 1 << 20))
    assert files == []
    assert [one.reason for one in refused] == [
        "The file has 4 MB; 3 MB are allowed.",
        "All radiographs together may have 512 MB, or less where others use the page. Remove some first.",
    ]


def test_an_archive_may_be_larger_than_a_radiograph(monkeypatch):
    """A study of twenty radiographs as one ZIP was refused at 64 MB."""
    data = archive([(f"{number}.dcm", bytes(900)) for number in range(3)], method=zipfile.ZIP_STORED)
    monkeypatch.setattr(uploads, "MAX_FILE_BYTES", 1000)
    files, refused = unpack(("study.zip", data))
    assert len(data) > 1000 and (len(files), refused) == (3, [])
    monkeypatch.setattr(uploads, "MAX_ARCHIVE_BYTES", len(data) - 1)
    files, refused = unpack(("study.zip", data))
    assert files == [] and refused[0].reason.startswith("The archive has ")


def test_streamlit_takes_files_that_large():
    assert server.settings(8501)["server.maxUploadSize"] == (uploads.MAX_ARCHIVE_BYTES >> 20) - 1 == 511
