"""The journal and the state folder: whole after a kill, one worker at a time."""

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import stat

import pytest

from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.journal import Journal
from pneumodet.apps.pacs.spool import SOURCE, Folder
from pneumodet.core.errors import DataError, EnvironmentProblem


@pytest.fixture
def book(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def test_exams_are_taken_in_turn(book):
    assert book.add("1.1", study_uid="1", series_uid="1.0", now=10.0)
    assert not book.add("1.1", now=11.0)
    assert book.add("1.2", now=9.0)
    assert book.add("1.3", state=journals.REFUSED, reason="knee", now=1.0)
    assert book.due(now=8.0) is None
    assert book.due(now=9.0).sop_uid == "1.2"
    assert (book.next_turn(), book.oldest_open()) == (9.0, 9.0)
    book.begin("1.2", next_try=20.0, now=9.0)
    assert book.due(now=19.0).sop_uid == "1.1"
    assert (book.get("1.2").attempts, book.get("1.1").study_uid) == (1, "1")
    book.take_back("1.2", next_try=9.5)
    assert (book.get("1.2").attempts, book.due(now=19.0).sop_uid) == (0, "1.2")


def test_a_clock_that_is_set_back_makes_nobody_wait(book):
    """What was written down in 2036, by a clock that ran ahead, is due in 2027."""
    wrong, right = 2_100_000_000.0, 1_800_000_000.0
    book.add("1.1", now=wrong)
    book.begin("1.1", next_try=wrong + 100, now=wrong)
    book.explain("1.1", "why", now=wrong)
    book.add("1.2", now=wrong)
    book.move("1.2", journals.STORED, now=wrong)
    assert book.due(now=right).sop_uid == "1.1"
    assert (book.oldest_open(), book.get("1.1").failing_since) == (right, right)
    assert not book.stored_since(right, now=right + 1), "stored in a future that will not come soon"
    book.begin("1.1", next_try=right + journals.LONGEST_PAUSE_SECONDS, now=right)
    assert book.due(now=right - 10) is None, "a clock that is corrected by seconds changes nothing"


def test_last_states_are_left_alone_and_the_dead_can_be_revived(book):
    for number, state in enumerate(journals.STATES):
        book.add(f"1.{number}", now=0.0)
        book.move(f"1.{number}", state, reason="why", outputs=[f"2.{number}"], now=1.0)
    assert book.counts() == dict.fromkeys(journals.STATES, 1)
    taken = []
    while (exam := book.due(now=5.0)) is not None:
        taken.append(exam.state)
        book.move(exam.sop_uid, journals.STORED, now=2.0)
    assert sorted(taken) == sorted(journals.OPEN)
    assert book.reasons(journals.REFUSED) == [("why", 1)]
    assert book.is_output("2.3")
    assert not book.is_output("1.3")
    assert book.revive(now=6.0) == 1
    assert (book.due(now=6.0).attempts, book.due(now=6.0).outputs) == (0, ("2.5",))


def test_refused_ones_can_be_tried_again_by_reason(book):
    for uid, study, reason in (("1.1", "1", "has 100% knee"), ("1.2", "1", "damaged"), ("1.3", "", "has 100% knee")):
        book.add(uid, study_uid=study, series_uid="1.0", now=0.0)
        book.move(uid, journals.REFUSED, reason=reason, now=1.0)
    assert book.retry_refused("100% knee", now=2.0) == (1, 1)
    assert {uid: book.get(uid).state for uid in ("1.1", "1.2", "1.3")} == {
        "1.1": journals.SEEN,
        "1.2": journals.REFUSED,
        "1.3": journals.REFUSED,
    }
    assert book.retry_refused(now=2.0) == (1, 1)


def test_facts_are_replaced(book):
    assert book.fact("model") is None
    book.note("model", "first")
    book.note("model", "second")
    assert book.fact("model") == "second"


def _write_until_killed(path, connection):
    book = Journal(path)
    for number in range(10**6):
        book.add(f"1.{number}", now=0.0)
        book.move(f"1.{number}", journals.PREDICTED, outputs=[f"2.{number}"], now=0.0)
        connection.send(number)


def test_what_was_written_is_there_after_a_kill(tmp_path):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_write_until_killed, args=(tmp_path / "journal.sqlite", theirs))
    process.start()
    while ours.recv() < 20:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    last = 20
    while ours.poll():
        last = ours.recv()
    book = Journal(tmp_path / "journal.sqlite")
    assert book.counts()[journals.PREDICTED] >= last + 1
    assert book.get(f"1.{last}").outputs == (f"2.{last}",)
    book.close()


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match="cannot be used"):
        Journal(path)


def test_damage_inside_is_told_at_the_start(tmp_path):
    """Not hours later, when the damaged page is read."""
    path = tmp_path / "journal.sqlite"
    book = Journal(path)
    for number in range(300):
        book.add(f"1.{number}", now=0.0)
    book.close()
    data = bytearray(path.read_bytes())
    data[-3 * 4096 :] = bytes(3 * 4096)
    path.write_bytes(data)
    with pytest.raises(DataError, match="move it away and start again"):
        Journal(path)


@pytest.mark.parametrize(("version", "lacks"), [(1, ("failing_since", "digest")), (2, ("digest",))])
def test_a_journal_of_an_older_version_goes_on(tmp_path, version, lacks):
    path = tmp_path / "journal.sqlite"
    with contextlib.closing(Journal(path)) as book:
        book.add("1.1", now=1.0)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("".join(f"ALTER TABLE exam DROP COLUMN {name};" for name in lacks) + f"PRAGMA user_version = {version};")
    for _ in range(2):
        with contextlib.closing(Journal(path)) as book:
            book.explain("1.1", "why", now=5.0)
            book.explain("1.1", "why", now=6.0)
            assert (book.get("1.1").seen_at, book.get("1.1").failing_since) == (1.0, 5.0)


def test_another_version_is_told(tmp_path):
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(DataError, match="of version 7"):
        Journal(path)


def test_a_journal_that_breaks_under_way_is_told(book):
    book.close()
    with pytest.raises(EnvironmentProblem, match="cannot be used any more"):
        book.counts()


def test_one_worker_at_a_time(tmp_path):
    with Folder(tmp_path / "state").held(), pytest.raises(DataError, match="is used by another worker"), Folder(tmp_path / "state").held():
        pass
    with Folder(tmp_path / "state").held():
        pass


def test_files_are_private(tmp_path):
    (tmp_path / "state").mkdir(mode=0o755)
    with Folder(tmp_path / "state").held() as folder:
        for uid in ("1.1", "1.2"):
            folder.write(uid, SOURCE, uid.encode())
        folder.write("1.1", "sr.dcm", b"report")
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert (folder.read("1.1", SOURCE), folder.read("1.3", SOURCE)) == (b"1.1", None)
        folder.remove("1.1", [SOURCE, "gsps.dcm"])
        assert (folder.read("1.1", SOURCE), folder.read("1.1", "sr.dcm")) == (None, b"report")
        names = [path.name for path in (folder.path / "spool").iterdir()]
        assert not any("1.1" in name for name in names)


def test_a_full_disk_is_the_machines_fault(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    with Folder(tmp_path / "state").held() as folder:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentProblem, match="No space left"):
            folder.write("1.1", SOURCE, b"data")
        assert folder.read("1.1", SOURCE) is None
