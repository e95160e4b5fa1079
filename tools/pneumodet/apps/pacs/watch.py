"""The query for new radiographs, a piece at a time: what has come of a list is worked on before the list has come to its end, if it ever does.

watch = Watch(pacs, journal, Settings(days=3), beat=health.beat)
while not watch.step(stop): ...                 # once a piece; True where the query is over
watch.seconds_to_wait()                         # until the next one
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta

from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.interfaces import Source
from pneumodet.apps.pacs.journal import Journal
from pneumodet.dicom.net.dicomweb import QueryResult
from pneumodet.dicom.net.errors import ListLimit, short
from pneumodet.inference import admission

PIECE = 100
"""Entries of a list between two exams; a page has as many."""

OWN = "it was made by this worker"

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the worker works.

    Attributes:
      profile: which objects are predicted.
      days: studies of today and so many days before are asked for; None for all that there are.
      poll_seconds: between two queries for new radiographs.
    """

    profile: admission.Profile = admission.WORKER
    days: int | None = None
    poll_seconds: float = 10.0


class Watch:
    """Asks a PACS for what is new, and writes it into the journal."""

    def __init__(
        self,
        source: Source,
        journal: Journal,
        settings: Settings,
        *,
        beat: Callable[[], object],
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is asked.

        Args:
          source: is asked.
          journal: gets what is new.
          settings: what is asked for, and how often.
          beat: is called with every entry: the list of a whole archive takes long, and the health page hears of it.
          clock: s since 1970.
          steady: s, of a clock that nobody sets.
        """
        self._source, self._journal, self._settings, self._beat = source, journal, settings, beat
        self._clock, self._steady = clock, steady
        self._entries: Iterator[QueryResult] | None = None
        self._next, self._new = 0.0, 0

    @property
    def is_on(self) -> bool:
        """Whether a query is not over yet."""
        return self._entries is not None

    def seconds_to_wait(self) -> float:
        """Return how long it is until there is something to do."""
        return 0.0 if self.is_on else max(0.0, self._next - self._steady())

    def postpone(self, seconds: float) -> None:
        """Begin no query before that."""
        self._next = self._steady() + seconds

    def step(self, stop: threading.Event) -> bool:
        """Write down a piece of what is new, where it is time; return whether a query came to its end.

        Args:
          stop: ends it at the next entry.

        Raises:
          Trouble: the PACS does not answer, or not with a list. The next step begins the query anew.
        """
        if self.seconds_to_wait() > 0:
            return False
        entries, self._entries = self._entries or self._listed(), None
        for _ in range(PIECE):
            entry = next(entries, None)
            if stop.is_set():
                return False
            if entry is None:
                self._next = self._steady() + self._settings.poll_seconds
                if self._new:
                    logger.info("%d new radiographs", self._new)
                self._new = 0
                return True
            self._beat()
            self._note(entry)
        self._entries = entries
        return False

    def _note(self, listed: QueryResult) -> None:
        # first by UID: a server's list often has no manufacturer
        reason = OWN if self._journal.is_output(listed.sop_uid) else None
        reason = reason or admission.refusal(admission.facts_of_json(listed.attributes), self._settings.profile)
        state = journals.SEEN if reason is None else journals.REFUSED
        added = {"study_uid": listed.study_uid, "series_uid": listed.series_uid, "state": state, "reason": reason or ""}
        if self._journal.add(listed.sop_uid, **added, now=self._clock()):
            self._new += reason is None
            if reason is not None:
                logger.info("exam %s refused: %s", short(listed.sop_uid), reason)

    def _listed(self) -> Iterator[QueryResult]:
        """Yield what the PACS lists; a list without an end is no outage, and what was read of it is worked on."""
        days = self._settings.days
        since = None if days is None else date.fromtimestamp(self._clock()) - timedelta(days=days)
        for modality in sorted(self._settings.profile.modalities or ()):
            try:
                yield from self._source.instances(modality, since=since)
            except ListLimit as limit:
                logger.warning("%s; what follows in it is not predicted. Choose fewer --days", limit)
