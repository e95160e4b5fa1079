"""The loop: asks for new radiographs, takes one exam after the other from state to state, and waits where there is nothing to do.

    worker = Worker(journal, folder, analyst, archive, source=pacs, settings=Settings(days=3))
    worker.run(stop)                       # until the event is set; the exam at hand is finished

At least once: an exam is done again from its last state after a kill. Exactly once in the PACS: reports have the same UIDs every time, and are
stored only where they are not there yet.
"""

import contextlib
import logging
import random
import threading
import time
import traceback
from collections.abc import Callable

from pneumodet.apps.pacs import adoption
from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.health import Health
from pneumodet.apps.pacs.interfaces import Analyst, Archive, Source
from pneumodet.apps.pacs.journal import Exam, Journal
from pneumodet.apps.pacs.spool import SOURCE, Folder
from pneumodet.apps.pacs.watch import OWN, Settings, Watch
from pneumodet.core.errors import DataError, EnvironmentProblem
from pneumodet.dicom.net import errors
from pneumodet.dicom.net.errors import Refused, Trouble, short
from pneumodet.dicom.net.retries import pause
from pneumodet.inference import admission
from pneumodet.inference.dicom_reports import Report

ATTEMPTS = 10
"""An exam that failed so often by itself is dead; with the pauses below that takes half an hour or more."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, journals.LONGEST_PAUSE_SECONDS
"""Before an exam is tried again: doubled with every attempt, up to the second."""

FIRST_OUTAGE_SECONDS, LONGEST_OUTAGE_SECONDS = 1.0, 60.0
"""Before a PACS that was away is called again: likewise."""

TURN_SECONDS = 1.0
"""At least so often the journal is read, where radiographs come by C-STORE."""

LOST = "its file is no longer in the state folder; send it again"

logger = logging.getLogger(__name__)


class _LostError(Exception):
    """A file that came by C-STORE and is gone: only its sender can help."""


class Worker:
    """One worker on one state folder."""

    def __init__(
        self,
        journal: Journal,
        folder: Folder,
        analyst: Analyst,
        archive: Archive,
        *,
        source: Source | None,
        settings: Settings,
        health: Health | None = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        """Take what the loop works with, and take up what killed workers left: make it before anybody may send radiographs into the folder.

        Args:
          journal: what became of each exam.
          folder: files on their way; held by this process.
          analyst: makes reports.
          archive: takes them.
          source: is asked for new radiographs; None where they come by themselves.
          settings: how it works.
          health: keeps how it goes, for the health page.
          clock: s since 1970; somebody may set it.
          steady: s, of a clock that nobody sets: for what is waited for.
          chance: of the pauses.
        """
        self._journal, self._folder, self._analyst, self._archive, self._source = journal, folder, analyst, archive, source
        self._health, self._clock, self._steady = health or Health(), clock, steady
        self._chance = chance or random.Random()
        self._outages, self._failures, self._list_failures = 0, 0, 0
        self._watch = None if source is None else Watch(source, journal, settings, beat=self._health.beat, clock=clock, steady=steady)
        self._tidied = adoption.tidy(journal, folder, now=self._clock())

    def run(self, stop: threading.Event, *, once: bool = False) -> int:
        """Work until ``stop`` is set, or with ``once`` until there is nothing left that can be done now.

        Returns:
          How many attempts at an exam failed.

        Raises:
          EnvironmentProblem: the state folder's disk is full or broken.
        """
        self._start()
        unlisted: Trouble | None = None  # why the last query did not come to its end
        while not stop.is_set():
            self._health.beat()
            try:
                try:
                    over = self._watch is not None and self._watch.step(stop)
                except Trouble as trouble:
                    unlisted = trouble
                    self._list_failures += 1
                else:
                    if over:
                        unlisted, self._list_failures = None, 0
                        self._came_back()
                if stop.is_set():
                    break
                exam = self._journal.due(now=self._clock())
                if exam is not None:
                    # a list that fails again and again must not keep what was listed before from being predicted
                    if unlisted is not None and self._watch is not None and self._watch.seconds_to_wait() <= 0:
                        self._watch.postpone(self._outage_pause(self._list_failures))
                    self._take(exam)
                    continue
                if unlisted is not None and (once or self._watch is None or self._watch.seconds_to_wait() <= 0):
                    raise unlisted
            except Trouble as trouble:
                if once:
                    raise
                self._wait_for_the_pacs(trouble, stop)
                continue
            if self._watch is not None and self._watch.is_on:
                continue
            if once:
                break
            stop.wait(self._seconds_to_wait())
        return self._failures

    def _seconds_to_wait(self) -> float:
        turn = self._journal.next_turn()
        waits = [TURN_SECONDS] if turn is None else [TURN_SECONDS, turn - self._clock()]
        if self._watch is not None:
            waits.append(self._watch.seconds_to_wait())
        return max(min(waits), 0.01)

    def _start(self) -> None:
        self._health.beat()
        before = self._journal.fact("model")
        if before != self._analyst.name:
            if before is not None:
                logger.warning("the model is another one now (%s); exams that are done stay as they are", self._analyst.name)
            self._journal.note("model", self._analyst.name)
        counts = ", ".join(f"{count} {state}" for state, count in self._journal.counts().items())
        logger.info("at work: %s; %d leftover files removed", counts, self._tidied.removed)
        if self._tidied.radiographs or self._tidied.reports:
            logger.warning(
                "the journal did not know of %d radiographs and the reports of %d exams in the state folder; they are worked on again",
                self._tidied.radiographs,
                self._tidied.reports,
            )
        if self._tidied.aside:
            logger.warning("%d files belong to no exam that can be named; they lie in %s", self._tidied.aside, self._folder.aside)

    def _take(self, exam: Exam) -> None:
        """Bring an exam as far as it gets.

        Raises:
          Trouble: the PACS is away; the attempt does not count.
        """
        now, started, sop_uid = self._clock(), self._steady(), exam.sop_uid
        if exam.attempts >= ATTEMPTS:
            self._end(exam, journals.DEAD, exam.reason or "the process ended every time it was tried")
            return
        wait = pause(exam.attempts + 1, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, chance=self._chance)
        # counted before it is tried: an exam that ends the process each time comes to an end, too
        self._journal.begin(sop_uid, next_try=now + wait, now=now)
        try:
            self._advance(exam)
        except Refused as refused:
            self._end(exam, journals.REFUSED, str(refused))
        except _LostError as lost:
            self._end(exam, journals.DEAD, str(lost))
        except EnvironmentProblem:
            with contextlib.suppress(EnvironmentProblem):  # the journal may lie on the disk that is full
                self._journal.take_back(sop_uid, next_try=self._clock())
            raise
        except Trouble as trouble:
            try:
                # a service that answers a small question is there: then the trouble is with this exam
                for service in {self._archive, self._source}:  # one and the same service is asked once
                    if service is not None:
                        self._health.beat()
                        service.probe()
            except Trouble:
                self._journal.take_back(sop_uid, next_try=self._clock())
                raise
            self._came_back()
            self._fail(exam, str(trouble), next_try=now + wait)
        except Exception as error:  # one exam must not stop the others; what an error says may quote a header
            logger.error("exam %s: %s in %s", short(sop_uid), type(error).__name__, _where(error))
            self._fail(exam, f"{type(error).__name__} in {_where(error)}")
        else:
            self._came_back()
            self._health.succeeded(sop_uid, self._clock(), seconds=self._steady() - started)

    def _advance(self, exam: Exam) -> None:
        uid = exam.sop_uid
        reports = self._waiting(exam)
        # reports of a worker that was killed are stored as they are; all are made again where one is missing
        if not reports or len(reports) < len(exam.outputs):
            if self._journal.is_output(uid):
                raise Refused(OWN)
            data = self._folder.read(uid, SOURCE)
            if data is None:
                data = self._fetched(exam)
            reports = list(self._analyst.reports(data, uid))
            for report in reports:
                self._folder.write(uid, f"{report.kind}.dcm", report.data)
            # files, journal, and only then the radiograph goes: a kill at any point leaves enough to continue
            self._journal.move(uid, journals.PREDICTED, outputs=[report.sop_uid for report in reports], now=self._clock())
            self._folder.remove(uid, [SOURCE])
        # asked anew: a kill after the last store, and before the journal knew it, would store a report twice
        missing = []
        for report in reports:
            self._health.beat()  # each call may take as long as an answer may
            if not self._archive.has(report.study_uid, report.sop_uid):
                missing.append(report)
        if missing:
            self._health.beat()
            self._archive.store(missing[0].study_uid, [report.data for report in missing])
        self._end(exam, journals.STORED, "")

    def _waiting(self, exam: Exam) -> list[Report]:
        """Return the reports that were written before and not stored yet."""
        if not exam.outputs:
            return []
        files = {kind: self._folder.read(exam.sop_uid, f"{kind}.dcm") for kind in self._analyst.kinds}
        reports = [self._analyst.reopened(kind, data) for kind, data in files.items() if data is not None]
        return [report for report in reports if report.sop_uid in exam.outputs]  # another one was left by a worker with another model

    def _fetched(self, exam: Exam) -> bytes:
        if self._source is None or not exam.study_uid:
            raise _LostError(LOST)
        data = self._source.fetch(exam.study_uid, exam.series_uid, exam.sop_uid)
        try:
            sent = admission.facts_of_file(data, "it").sop_uid
        except DataError:
            raise Trouble("the PACS answers with what is no DICOM file, or the beginning of one") from None
        if sent != exam.sop_uid:
            raise Trouble("the PACS answers with another object than the one that was asked for")
        self._folder.write(exam.sop_uid, SOURCE, data)
        self._journal.move(exam.sop_uid, journals.FETCHED, now=self._clock())
        return data

    def _fail(self, exam: Exam, reason: str, *, next_try: float | None = None) -> None:
        """Note a failed attempt; the last one ends the exam.

        Args:
          exam: as it was before the attempt.
          reason: why it failed.
          next_try: given where the PACS failed, which answers, but may take nothing: its disk is full, it is read-only. Then the last attempt is
            not counted until another exam was stored meanwhile, which shows that it is this exam's own.
        """
        self._failures += 1
        if exam.attempts + 1 >= ATTEMPTS:
            since = exam.failing_since
            if next_try is None or since is not None and self._journal.stored_since(since, now=self._clock()):
                self._end(exam, journals.DEAD, reason)
                return
            self._journal.take_back(exam.sop_uid, next_try=next_try)
        self._journal.explain(exam.sop_uid, reason, now=self._clock())
        self._health.failed(exam.sop_uid, self._clock(), reason)
        logger.warning("exam %s: %s; attempt %d of %d", short(exam.sop_uid), errors.without_uids(reason), exam.attempts + 1, ATTEMPTS)

    def _end(self, exam: Exam, state: str, reason: str) -> None:
        """Bring an exam into a last state; its files go after that, and what a kill leaves here goes at the next start. Dead exams keep them."""
        # together: once an exam is refused, another object of its UID may come, whose file must stay
        with self._folder.changing:
            self._journal.move(exam.sop_uid, state, reason=reason, now=self._clock())
            if state != journals.DEAD:
                self._folder.remove(exam.sop_uid, [SOURCE, *(f"{kind}.dcm" for kind in self._analyst.kinds)])
        if state != journals.STORED:
            self._health.failed(exam.sop_uid, self._clock(), reason)
        text = errors.without_uids(f"{state}: {reason}" if reason else state)
        logger.log(logging.ERROR if state == journals.DEAD else logging.INFO, "exam %s %s", short(exam.sop_uid), text)

    def _wait_for_the_pacs(self, trouble: Trouble, stop: threading.Event) -> None:
        self._outages += 1
        if self._outages == 1:
            logger.warning("%s; waiting for it", trouble)
        self._health.pacs_is_away(self._clock(), str(trouble))
        end = self._steady() + self._outage_pause(self._outages)
        while not stop.is_set() and self._steady() < end:
            # in short pieces, so that the health page hears of the loop
            stop.wait(min(1.0, max(end - self._steady(), 0.01)))
            self._health.beat()

    def _outage_pause(self, times: int) -> float:
        return pause(times, FIRST_OUTAGE_SECONDS, LONGEST_OUTAGE_SECONDS, chance=self._chance)

    def _came_back(self) -> None:
        if self._outages:
            logger.warning("the PACS is back")
        self._outages = 0
        self._health.pacs_is_there()


def _where(error: Exception) -> str:
    """Return file and line at which an error was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
