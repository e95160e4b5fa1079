"""A journal that is lost, empty or old beside files: none of what was acknowledged is lost with it."""

import contextlib

import pydicom
import pytest
from fake_pacs import radiograph

from pneumodet.apps.pacs import adoption
from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.adoption import Tidied
from pneumodet.apps.pacs.journal import Journal
from pneumodet.apps.pacs.spool import SOURCE, Folder, name_of


@pytest.fixture
def state(tmp_path):
    """Return a state folder, held, and a function that opens its journal."""
    with Folder(tmp_path / "state").held() as folder, contextlib.ExitStack() as stack:
        yield folder, lambda: stack.enter_context(contextlib.closing(Journal(folder.journal)))


def report(of, uid):
    """Return a report that refers to a radiograph, as presentation states do."""
    image = pydicom.Dataset()
    image.ReferencedSOPInstanceUID = of
    series = pydicom.Dataset()
    series.ReferencedImageSequence = [image]
    return radiograph(SOPInstanceUID=uid, Modality="PR", PixelData=None, ReferencedSeriesSequence=[series])


def begun(folder, book):
    """Leave exams in every state that has files; return their states."""
    states = {"1.2.1": journals.FETCHED, "1.2.2": journals.PREDICTED, "1.2.3": journals.DEAD}
    for uid, now in states.items():
        book.take(uid, digest="d", now=1.0)
        if now == journals.PREDICTED:
            folder.write(uid, "sr.dcm", report(uid, uid + ".7"))
            folder.write(uid, "gsps.dcm", report(uid, uid + ".8"))
            book.move(uid, now, outputs=[uid + ".7", uid + ".8"], now=1.0)
        else:
            folder.write(uid, SOURCE, radiograph(SOPInstanceUID=uid))
            book.move(uid, now, now=1.0)
    return states


@pytest.mark.parametrize("loss", ["missing", "empty", "new"])
def test_files_beside_a_lost_journal_are_taken_up_again(state, loss):
    folder, opened = state
    begun(folder, opened())
    for end in ("", "-wal", "-shm"):
        folder.journal.with_name(folder.journal.name + end).unlink(missing_ok=True)
    if loss == "empty":
        folder.journal.touch()
    book = opened()
    assert adoption.tidy(book, folder, now=5.0) == Tidied(radiographs=2, reports=1)
    assert {uid: book.get(uid).state for uid in book.uids()} == {
        "1.2.1": journals.FETCHED,
        "1.2.2": journals.PREDICTED,
        "1.2.3": journals.FETCHED,
    }
    assert sorted(book.get("1.2.2").outputs) == ["1.2.2.7", "1.2.2.8"]
    assert book.is_output("1.2.2.7")
    assert adoption.tidy(book, folder, now=6.0) == Tidied()


def test_what_is_known_is_left_alone_and_leftovers_go(state):
    folder, opened = state
    book = opened()
    states = begun(folder, book)
    for uid, end in (("1.3.1", journals.STORED), ("1.3.2", journals.REFUSED)):
        folder.write(uid, SOURCE, radiograph(SOPInstanceUID=uid))
        book.take(uid, digest="d", now=1.0)
        book.move(uid, end, now=1.0)
    folder.write("1.3.3", SOURCE, b"no DICOM, and refused")
    book.take("1.3.3", digest="d", now=1.0)
    book.move("1.3.3", journals.REFUSED, now=1.0)
    (folder.path / "spool" / f".{name_of('1.3.4')}.source.dcm.1234.tmp").write_bytes(b"half")
    assert adoption.tidy(book, folder, now=5.0) == Tidied(removed=4)
    assert {uid: book.get(uid).state for uid in states} == states
    assert len(folder.exams()) == 3


def test_an_object_of_another_name_is_known_by_its_meta_information(state):
    """As pynetdicom writes it; the object itself may be forged, cut off or of any other kind."""
    folder, opened = state
    whole = radiograph(SOPInstanceUID="1.2.55")
    folder.write("1.2.55", SOURCE, whole[:400])
    folder.write("1.2.66", SOURCE, radiograph(SOPInstanceUID="1.2.66").replace(b"CR", b"\xff\xff", 1))
    assert adoption.tidy(opened(), folder, now=5.0).radiographs == 2


def test_what_cannot_be_named_is_kept_aside(state):
    folder, opened = state
    folder.write("1.2.1", SOURCE, b"no DICOM")
    folder.write("1.2.2", "sr.dcm", radiograph(SOPInstanceUID="1.9"))
    assert adoption.tidy(opened(), folder, now=5.0) == Tidied(aside=2)
    assert sorted(path.name for path in folder.aside.iterdir()) == sorted([f"{name_of('1.2.1')}.{SOURCE}", f"{name_of('1.2.2')}.sr.dcm"])
    assert folder.exams() == {}
