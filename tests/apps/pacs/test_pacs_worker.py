"""The loop: every exam ends with one report, whatever fails in between, and nothing of a patient is logged."""

import contextlib
import logging
import random
import threading

import pytest
from fake_analyst import FakeAnalyst, report_uid
from fake_pacs import FakePacs, answer, radiograph

from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs import watch
from pneumodet.apps.pacs import worker as workers
from pneumodet.apps.pacs.health import Health
from pneumodet.apps.pacs.journal import DEAD, REFUSED, STORED, Journal
from pneumodet.apps.pacs.spool import SOURCE, Folder
from pneumodet.apps.pacs.watch import Settings
from pneumodet.apps.pacs.worker import Worker
from pneumodet.core.errors import EnvironmentProblem
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.dicomweb import DicomwebClient, QueryResult
from pneumodet.dicom.net.errors import Refused, Trouble, short
from pneumodet.dicom.net.transport import Limits


class Clock:
    """A clock that a test turns."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


class Stop:
    """An event whose waiting turns the clock, and which is set after some turns."""

    def __init__(self, clock, turns):
        self.clock, self.turns = clock, turns

    def is_set(self):
        return self.turns <= 0

    def wait(self, seconds):
        self.turns -= 1
        self.clock.now += seconds


class Setup:
    """A worker on a state folder, which can be made again as after a kill."""

    def __init__(self, path, pacs):
        self.pacs, self.path, self.clock, self.analyst = pacs, path, Clock(), FakeAnalyst()
        self.health = Health(steady=self.clock)
        self.client = DicomwebClient(pacs.url, Access(), limits=Limits(object_bytes=10**6))
        self.archive = self.source = self.client
        self.settings, self.wall = Settings(), None

    @contextlib.contextmanager
    def opened(self):
        with Folder(self.path).held() as folder, contextlib.closing(Journal(folder.journal)) as journal:
            self.folder, self.journal = folder, journal
            yield Worker(
                journal,
                folder,
                self.analyst,
                self.archive,
                source=self.source,
                settings=self.settings,
                health=self.health,
                clock=self.wall or self.clock,
                steady=self.clock,
                chance=random.Random(0),
            )

    def turn(self, turns=50):
        """Work through some waits, and return the counts."""
        with self.opened() as worker:
            worker.run(Stop(self.clock, turns))
            return {state: count for state, count in self.journal.counts().items() if count}

    def left(self):
        return sorted(path.name.partition(".")[2] for path in (self.path / "spool").iterdir())


@pytest.fixture
def setup(tmp_path, pacs):
    return Setup(tmp_path / "state", pacs)


def test_every_exam_gets_its_reports_once(setup, pacs):
    uids = [pacs.put(radiograph(number)) for number in range(5)]
    assert setup.turn() == {STORED: 5}
    assert sorted(pacs.posted) == sorted(report_uid(uid, kind) for uid in uids for kind in ("sr", "gsps"))
    late = pacs.put(radiograph(6))
    assert setup.turn() == {STORED: 6}
    assert (sorted(setup.analyst.seen), len(pacs.posted), setup.left()) == (sorted([*uids, late]), 12, [])
    state = setup.health.snapshot()
    assert (state["status"], state["stored_since_start"], state["last_success_exam"]) == ("ok", 6, short(late))


def test_a_lost_journal_makes_no_second_report(setup, pacs):
    pacs.put(radiograph())
    setup.turn()
    (setup.path / "journal.sqlite").unlink()
    assert setup.turn() == {STORED: 1}
    assert (len(setup.analyst.seen), len(pacs.posted)) == (2, 2)


def test_only_what_is_missing_is_stored(setup, pacs):
    uid = pacs.put(radiograph())
    setup.turn()
    (setup.path / "journal.sqlite").unlink()
    del pacs.files[report_uid(uid, "gsps")], pacs.posted[:]
    setup.turn()
    assert pacs.posted == [report_uid(uid, "gsps")]


@pytest.mark.parametrize("place", ["begin", "fetch", "move", "reports", "write", "has", "store", "_end", "remove"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_anywhere_loses_and_doubles_nothing(setup, pacs, place, when):
    """A BaseException stands for the kill: nothing in the worker catches it, and the next worker has only what is on the disk."""
    uid = pacs.put(radiograph())

    class Kill(BaseException):
        pass

    with setup.opened() as worker:
        owners = (setup.journal, setup.client, setup.analyst, setup.folder, worker)
        owner = next(owner for owner in owners if hasattr(owner, place))
        original = getattr(owner, place)

        def killed(*args, **more):
            if when == "after":
                original(*args, **more)
            raise Kill

        setattr(owner, place, killed)
        with pytest.raises(Kill):
            worker.run(Stop(setup.clock, 5))
        delattr(owner, place)
    assert setup.turn() == {STORED: 1}
    assert sorted(pacs.files) == sorted([uid, report_uid(uid), report_uid(uid, "gsps")])
    assert sorted(pacs.posted) == sorted([report_uid(uid), report_uid(uid, "gsps")])
    assert setup.left() == []


def test_an_outage_counts_against_no_exam(setup, pacs, tmp_path, caplog):
    for number in range(20):
        pacs.put(radiograph(number))
    away = []
    pacs.spoilers.append(lambda request: bool(away) and answer(request, 503, b""))
    with setup.opened() as worker:
        original = setup.client.store

        def store(study_uid, objects):
            original(study_uid, objects)
            if len(pacs.posted) == 10:
                away.append(True)

        setup.client.store = store
        with caplog.at_level(logging.INFO, "pneumodet.apps.pacs"):
            worker.run(Stop(setup.clock, 300))
        counts = setup.journal.counts()
        assert (counts[STORED], counts[DEAD], counts[journals.SEEN] + counts[journals.FETCHED] + counts[journals.PREDICTED]) == (5, 0, 15)
        assert max(exam.attempts for exam in setup.journal.of_state(journals.SEEN)) == 0
        assert setup.health.snapshot()["status"] == "pacs away"
        away.clear()
        worker.run(Stop(setup.clock, 100))
    assert setup.turn() == {STORED: 20}
    assert len(pacs.posted) == len(set(pacs.posted)) == 40
    assert [record.message for record in caplog.records if "waiting for it" in record.message] == ["the PACS answered 503; waiting for it"]
    assert setup.health.snapshot()["status"] == "ok"


def test_one_bad_exam_dies_alone_and_can_be_revived(setup, pacs):
    setup.settings = Settings(poll_seconds=300)  # a turn of the loop is a second all the same
    bad = pacs.put(radiograph(1))
    others = [pacs.put(radiograph(number)) for number in range(2, 6)]
    pacs.spoilers.append(lambda request: request.path.endswith(f"/instances/{bad}") and answer(request, 500, b""))
    start = setup.clock()
    assert setup.turn(4000) == {STORED: 4, DEAD: 1}
    assert sorted(setup.analyst.seen) == sorted(others)
    with setup.opened():
        (exam,) = setup.journal.of_state(DEAD)
        assert (exam.sop_uid, exam.attempts, exam.reason) == (bad, workers.ATTEMPTS, "the PACS answered 500")
        fetches = [one for one in pacs.requests if one.endswith(bad)]
        assert len(fetches) == workers.ATTEMPTS
        assert setup.clock() - start > 60
        pacs.spoilers.clear()
        setup.journal.revive(now=setup.clock())
    assert setup.turn() == {STORED: 5}


def test_a_pacs_that_answers_but_takes_nothing_for_hours_kills_no_exam(setup, pacs):
    """Its disk is full: lists and radiographs come, reports get a 500."""
    setup.settings = Settings(poll_seconds=300)  # a turn of the loop is a second all the same
    for number in range(3):
        pacs.put(radiograph(number))
    pacs.spoilers.append(lambda request: request.command == "POST" and answer(request, 500, b""))
    assert setup.turn(8000) == {journals.PREDICTED: 3}
    tried = sum(request.startswith("POST") for request in pacs.requests)
    assert 3 * workers.ATTEMPTS < tried < 3 * 8000 / 300, "tried on, at longer and longer pauses"
    pacs.spoilers.clear()
    setup.clock.now += workers.LONGEST_PAUSE_SECONDS
    assert setup.turn() == {STORED: 3}
    assert len(pacs.posted) == 6


def test_an_exam_that_ends_the_process_is_given_up(setup, pacs):
    setup.settings = Settings(poll_seconds=300)  # a turn of the loop is a second all the same
    uid = pacs.put(radiograph())
    setup.analyst.error = SystemExit()
    for _ in range(workers.ATTEMPTS):
        with pytest.raises(SystemExit):
            setup.turn(1500)
    assert setup.turn(1500) == {DEAD: 1}
    with setup.opened():
        assert "the process ended" in setup.journal.get(uid).reason


def test_pauses_grow_and_differ():
    chance = random.Random(1)
    pauses = [[workers.pause(attempts, 5, 900, chance=chance) for _ in range(50)] for attempts in (1, 2, 3, 9, 500)]
    for longest, each in zip((5, 10, 20, 900, 900), pauses, strict=True):
        assert longest / 2 <= min(each) < max(each) <= longest
        assert len(set(each)) == 50


def test_refused_exams_are_never_fetched_or_tried_again(setup, pacs):
    pacs.put(radiograph(1, BodyPartExamined="KNEE"))
    setup.analyst.error = Refused("it is damaged")
    pacs.put(radiograph(2))
    assert setup.turn() == {REFUSED: 2}
    assert len(setup.analyst.seen) == 1
    assert sum("/series/" in request for request in pacs.requests) == 1
    assert setup.turn() == {REFUSED: 2}
    assert (len(setup.analyst.seen), setup.left()) == (1, [])


BROKEN = {
    "html": (b"<html>login</html>", {}),
    "another-object": (radiograph(7), {}),
    "beginning": (radiograph(1)[:300], {}),
    "endless": (bytes(10**6 + 20_000), {"Transfer_Encoding": "chunked", "Content_Length": "x"}),
    "says-a-terabyte": (b"x", {"Content_Length": str(10**12)}),
    "says-more": (b"x", {"Content_Length": "9" * 5000}),
}


@pytest.mark.parametrize(("body", "headers"), BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_no_fault_of_the_exam(setup, pacs, body, headers):
    """It is asked for again, and predicted once the answer is whole."""
    uid = pacs.put(radiograph(1))
    if "Transfer_Encoding" in headers:
        body = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    pacs.spoilers.append(
        lambda request: request.path.endswith(f"/instances/{uid}") and answer(request, 200, body, "application/dicom", **headers)
    )
    assert setup.turn(3) == {journals.SEEN: 1}
    with setup.opened():
        assert "PACS" in setup.journal.get(uid).reason
    pacs.spoilers.clear()
    assert setup.turn() == {STORED: 1}


def test_what_the_pacs_says_is_too_large_is_refused_until_a_person_says_otherwise(setup, pacs):
    uid = pacs.put(radiograph(side=1100))
    assert setup.turn() == {REFUSED: 1}
    setup.source = setup.archive = setup.client = DicomwebClient(pacs.url, Access())
    assert setup.turn() == {REFUSED: 1}
    with setup.opened():
        assert "more than 0 MB" in setup.journal.get(uid).reason
        assert setup.journal.retry_refused("MB", now=setup.clock()) == (1, 0)
    assert setup.turn() == {STORED: 1}


def test_own_output_is_never_predicted(setup, pacs):
    """Not even where a PACS gives it the modality of a radiograph."""
    uid = pacs.put(radiograph(1))
    setup.turn()
    for kind in ("sr", "gsps"):
        pacs.files[report_uid(uid, kind)] = radiograph(9, SOPInstanceUID=report_uid(uid, kind))
    assert setup.turn() == {STORED: 1, REFUSED: 2}
    assert setup.analyst.seen == [uid]


def test_own_output_that_comes_by_c_store_is_refused(setup, pacs):
    uid = pacs.put(radiograph(1))
    setup.turn()
    setup.source = None
    with setup.opened():
        setup.journal.add(report_uid(uid), state=journals.FETCHED, now=setup.clock())
        setup.folder.write(report_uid(uid), SOURCE, radiograph(9, SOPInstanceUID=report_uid(uid)))
    assert setup.turn() == {STORED: 1, REFUSED: 1}
    assert setup.analyst.seen == [uid]


def test_a_bug_with_one_exam_does_not_stop_the_others_and_quotes_nothing(setup, pacs, caplog):
    pacs.put(radiograph(1))
    setup.analyst.error = ValueError("Mustermann^Erika")
    with caplog.at_level(logging.DEBUG, "pneumodet"):
        assert setup.turn(3) == {journals.FETCHED: 1}
    assert "ValueError in fake_analyst.py" in caplog.text
    assert "Mustermann" not in caplog.text
    setup.analyst.error = None
    assert setup.turn() == {STORED: 1}


def test_logs_name_no_patient_and_no_uid(setup, pacs, caplog):
    uid = pacs.put(radiograph(1))
    pacs.put(radiograph(2, ViewPosition="LL"))
    pacs.spoilers.append(
        lambda request: request.path.endswith("/instances/" + uid) and len(pacs.requests) < 9 and answer(request, 500, b"")
    )
    with caplog.at_level(logging.DEBUG, "pneumodet"), caplog.at_level(logging.DEBUG):  # of all libraries, too
        assert setup.turn(100) == {STORED: 1, REFUSED: 1}
    assert f"exam {short(uid)} stored" in caplog.text
    assert "attempt 1 of 10" in caplog.text
    for secret in ("1.2.826", "2.25.", "Mustermann", "SECRET-ID", "1964"):
        assert secret not in caplog.text


def test_a_stop_finishes_the_exam_at_hand(setup, pacs):
    for number in range(5):
        pacs.put(radiograph(number))
    stop = threading.Event()
    original = setup.analyst.reports

    def reports(*args):
        stop.set()
        return original(*args)

    setup.analyst.reports = reports
    with setup.opened() as worker:
        worker.run(stop)
        assert (setup.journal.counts()[STORED], setup.journal.counts()[journals.SEEN]) == (1, 4)
    assert len(pacs.posted) == 2


def test_a_full_disk_stops_the_worker_however_often_it_is_started_and_counts_against_no_exam(setup, pacs):
    pacs.put(radiograph())

    def full(*args):
        raise EnvironmentProblem("the disk is full")

    for _ in range(workers.ATTEMPTS + 1):
        with setup.opened() as worker:
            setup.folder.write = full
            with pytest.raises(EnvironmentProblem):
                worker.run(Stop(setup.clock, 2000))
    assert setup.turn() == {STORED: 1}


def test_what_comes_while_the_worker_starts_is_no_leftover(setup):
    """A sender's radiograph is in the folder a moment before it is in the journal."""
    setup.source = None
    with setup.opened() as worker:
        setup.folder.write("1.2", SOURCE, radiograph(SOPInstanceUID="1.2"))
        worker.run(Stop(setup.clock, 1))
        setup.journal.add("1.2", state=journals.FETCHED, now=setup.clock())
        worker.run(Stop(setup.clock, 1))
        assert setup.journal.counts()[STORED] == 1


def test_a_report_that_another_model_left_does_not_keep_the_exam_from_going_on(setup, pacs):
    """By C-STORE there is no second copy of the radiograph."""
    setup.source = None
    with setup.opened():
        setup.folder.write("1.2", SOURCE, radiograph(SOPInstanceUID="1.2"))
        setup.journal.add("1.2", state=journals.FETCHED, now=setup.clock())
        setup.folder.write("1.2", "gsps.dcm", radiograph(SOPInstanceUID="1.9"))  # and then it was killed
    original = setup.analyst.reports
    setup.analyst.reports = lambda *args: original(*args)[:1]  # the other model finds nothing to show
    pacs.spoilers.append(lambda request: request.command == "POST" and answer(request, 500, b""))
    assert setup.turn(3) == {journals.PREDICTED: 1}
    pacs.spoilers.clear()
    assert setup.turn(100) == {STORED: 1}
    assert pacs.posted == [report_uid("1.2")]


def test_a_list_without_an_end_is_reported_and_worked_on(setup, pacs, caplog, monkeypatch):
    """It is no outage, which would keep the worker waiting for ever."""
    monkeypatch.setattr(logging.getLogger("pneumodet.apps.pacs"), "propagate", True)
    for number in range(6):
        pacs.put(radiograph(number))
    pacs.page = 2
    setup.source = DicomwebClient(pacs.url, Access(), limits=Limits(pages=2))
    with caplog.at_level(logging.WARNING, "pneumodet.apps.pacs"):
        assert setup.turn() == {STORED: 4}
    assert "the list of the PACS has more than 2 pages; 4 entries were read; what follows in it is not predicted" in caplog.text


def test_a_clock_that_is_set_back_stops_nothing(setup, pacs):
    """Neither queued exams nor the next query nor the wait for a PACS."""
    wall = Clock()
    setup.wall = lambda: wall.now
    pacs.put(radiograph(1))
    pacs.spoilers.append(lambda request: request.command == "POST" and answer(request, 500, b""))
    assert setup.turn(3) == {journals.PREDICTED: 1}
    wall.now -= 10 * 365 * 86400
    pacs.spoilers.clear()
    pacs.put(radiograph(2))
    assert setup.turn(30) == {STORED: 2}
    assert setup.health.snapshot()["status"] == "ok"
    with setup.opened() as worker:
        worker.run(Stop(setup.clock, 2))
        wall.now -= 10 * 365 * 86400
        pacs.put(radiograph(3))
        worker.run(Stop(setup.clock, 30))
        assert setup.journal.counts()[STORED] == 3


def test_what_has_come_of_an_endless_list_is_predicted(setup, pacs, monkeypatch):
    """A list that never ends, or fails at its second page every time, keeps nothing from being predicted."""
    monkeypatch.setattr(watch, "PIECE", 2)
    uids = [pacs.put(radiograph(number)) for number in range(6)]
    client, original = setup.client, setup.client.instances

    def endless(modality, *, since):
        yield from original(modality, since=since)
        while True:
            yield QueryResult(uids[0], "1.2", "1.2.3", {})

    client.instances = endless
    assert setup.turn(0) == {}
    with setup.opened() as worker:
        stop = Stop(setup.clock, 5)
        done = setup.archive.store
        setup.archive.store = lambda *args: done(*args) or (len(pacs.posted) == 12 and setattr(stop, "turns", 0))
        worker.run(stop)
        assert setup.journal.counts()[STORED] == 6


def test_a_list_that_fails_keeps_nothing_from_being_predicted(setup, pacs, monkeypatch):
    uids = [pacs.put(radiograph(number)) for number in range(4)]
    original = setup.client.instances

    def fails(modality, *, since):
        yield from original(modality, since=since)
        raise Trouble("the PACS answered 500")

    monkeypatch.setattr(watch, "PIECE", 4)
    setup.client.instances = fails
    assert setup.turn(10) == {STORED: 4}
    assert sorted(setup.analyst.seen) == sorted(uids)
    assert setup.health.snapshot()["status"] == "pacs away", "and the list is still to come"
    with setup.opened() as worker, pytest.raises(Trouble):
        worker.run(threading.Event(), once=True)


def test_a_stop_ends_a_long_query(setup, pacs):
    uids = sorted(pacs.put(radiograph(number)) for number in range(5))
    stop = threading.Event()
    original = setup.client.instances

    def instances(*args, **more):
        for each in original(*args, **more):
            yield each
            setup.clock.now += 1000
            if each.sop_uid == uids[1]:
                stop.set()

    setup.client.instances = instances
    with setup.opened() as worker:
        worker.run(stop)
        assert setup.journal.counts()[journals.SEEN] == 2
    assert setup.health.snapshot()["seconds_since_beat"] <= 1000


def test_once_does_what_can_be_done_and_tells_of_an_outage(setup, pacs):
    pacs.put(radiograph())
    with setup.opened() as worker:
        assert worker.run(threading.Event(), once=True) == 0
        assert setup.journal.counts()[STORED] == 1
        pacs.spoilers.append(lambda request: answer(request, 503, b""))
        setup.clock.now += 100
        with pytest.raises(Trouble):
            worker.run(threading.Event(), once=True)


def test_once_says_how_many_attempts_failed(setup, pacs):
    bad = pacs.put(radiograph(1))
    pacs.put(radiograph(2))
    pacs.spoilers.append(lambda request: request.path.endswith(f"/instances/{bad}") and answer(request, 500, b""))
    with setup.opened() as worker:
        assert worker.run(threading.Event(), once=True) == 1
        assert [setup.journal.counts()[state] for state in (journals.SEEN, STORED)] == [1, 1]


def test_days_bound_what_is_looked_at(setup, pacs):
    """The clock stands on 2027-01-15."""
    setup.settings = Settings(days=2)
    for number, day in enumerate(("20270112", "20270113", "20270115")):
        pacs.put(radiograph(number, StudyDate=day))
    assert setup.turn() == {STORED: 2}


def test_what_came_by_c_store_and_is_lost_is_told(setup, pacs):
    setup.source = None
    with setup.opened():
        setup.journal.add("1.1", state=journals.FETCHED, now=setup.clock())
        setup.journal.add("1.2", state=journals.FETCHED, now=setup.clock())
        setup.folder.write("1.2", SOURCE, radiograph(SOPInstanceUID="1.2"))
    assert setup.turn() == {STORED: 1, DEAD: 1}
    with setup.opened():
        assert "send it again" in setup.journal.get("1.1").reason


def test_what_came_by_c_store_outlives_the_journal(setup, pacs, caplog):
    setup.source = None
    with setup.opened():
        setup.journal.take("1.2", digest="d", now=setup.clock())
        setup.folder.write("1.2", SOURCE, radiograph(SOPInstanceUID="1.2"))
    (setup.path / "journal.sqlite").unlink()
    with caplog.at_level(logging.WARNING, "pneumodet.apps.pacs"):
        assert setup.turn() == {STORED: 1}
    assert "the journal did not know of 1 radiographs" in caplog.text
    assert (sorted(pacs.posted), setup.left()) == (sorted([report_uid("1.2"), report_uid("1.2", "gsps")]), [])


def test_another_model_leaves_what_is_done(setup, pacs, caplog):
    pacs.put(radiograph(1))
    setup.turn()
    setup.analyst.name = "fake 2"
    with caplog.at_level(logging.WARNING, "pneumodet.apps.pacs"):
        assert setup.turn() == {STORED: 1}
    assert "the model is another one now" in caplog.text
    assert len(setup.analyst.seen) == 1


def test_a_pacs_that_comes_late_is_waited_for(tmp_path):
    pacs = FakePacs()
    with pacs.running():
        port = pacs.port
    setup = Setup(tmp_path / "state", pacs)
    pacs.put(radiograph())
    assert setup.turn(5) == {}
    with pacs.running(port):
        assert setup.turn(200) == {STORED: 1}
