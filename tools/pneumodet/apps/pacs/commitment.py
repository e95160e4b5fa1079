"""Storage commitment (PS3.4 J): whoever sent a radiograph by C-STORE may ask whether it is safe here, and then needs its own copy for us no longer.

    with Commitments(journal, folder, own_title="PNEUMODET", access=access, peers={"MODALITY": Peer("MODALITY", "10.0.0.7", 104)}).running() as commitments:
        status, _ = commitments.ask(event)         # of N-ACTION; the answer itself, an N-EVENT-REPORT, follows

The answer goes to the application entity that ``peers`` names for the caller's title, or over the association on which it was asked. Safe is what waits
in the state folder for its prediction or for its reports to be stored, and what is done; not what was refused, which is not kept. A worker is no archive.
"""

import contextlib
import dataclasses
import heapq
import itertools
import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pneumodet.apps.pacs import dimse
from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.dimse import SUCCESS, Peer
from pneumodet.apps.pacs.journal import Journal
from pneumodet.apps.pacs.spool import SOURCE, Folder
from pneumodet.core.errors import PneumodetError
from pneumodet.dicom.elements import is_uid
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.retries import pause

PUSH_MODEL, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
"""SOP class and its one instance (PS3.4 J.3)."""

REQUEST = 1
"""Action type (PS3.4 J.3.2)."""

ALL_SAFE, SOME_FAILED = 1, 2
"""Event types (PS3.4 J.3.3)."""

PROCESSING_FAILURE, NO_SUCH_OBJECT = 0x0110, 0x0112
"""Reasons of failure (PS3.3 C.14.1.1): it was refused; it never came, or is lost."""

NO_SUCH_INSTANCE, INVALID_VALUE, NO_SUCH_ACTION, RESOURCE_LIMIT = 0x0112, 0x0115, 0x0123, 0x0213
"""Status of an N-ACTION that failed (PS3.7 10.1.4)."""

MAX_REQUEST_BYTES, MAX_WAITING = 1 << 20, 64
"""Of a request, about 8,000 objects; and requests that wait for their answer."""

GRACE_SECONDS = 0.3
"""Before the answer goes over the same association: a caller that waits for none there has released it by then."""

ATTEMPTS, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 6, 2.0, 120.0
"""Of reaching another entity; after that the caller has to ask again."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Transaction:
    """A request that waits for its answer.

    Attributes:
      uid: TransactionUID (0008,1195).
      objects: (SOP class, SOPInstanceUID) that it asks for.
      title: of the caller.
      association: on which it was asked; its messages are ``messages.Messages``.
      attempts: made so far.
    """

    uid: str
    objects: tuple[tuple[str, str], ...]
    title: str
    association: Any
    attempts: int = 0


class Commitments:
    """Answers requests, one after the other, in a thread of its own."""

    def __init__(
        self,
        book: Journal,
        folder: Folder,
        *,
        own_title: str,
        access: Access,
        peers: Mapping[str, Peer],
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """Take what is asked for answers.

        Args:
          book: the journal.
          folder: has the files.
          own_title: of the worker.
          access: TLS.
          peers: title of a caller -> where its answers go.
          grace_seconds: see ``GRACE_SECONDS``.
        """
        self._book, self._folder, self._title, self._access, self._peers = book, folder, own_title, access, peers
        self._grace = grace_seconds
        self._waiting: list[tuple[float, int, Transaction]] = []
        self._numbers, self._chance = itertools.count(), random.Random()
        self._changed, self._stopped = threading.Condition(), False

    @contextlib.contextmanager
    def running(self) -> Iterator["Commitments"]:
        """Answer while the block runs."""
        thread = threading.Thread(target=self._run, name="storage commitment", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            with self._changed:
                self._stopped = True
                self._changed.notify()

    def ask(self, event: Any) -> tuple[int, None]:
        """Take a request (N-ACTION); return its status. The answer follows later."""
        if event.action_type != REQUEST:
            return NO_SUCH_ACTION, None
        if event.request.RequestedSOPInstanceUID != INSTANCE:
            return NO_SUCH_INSTANCE, None
        information = event.request.ActionInformation
        if information is None or information.getbuffer().nbytes > MAX_REQUEST_BYTES:
            return INVALID_VALUE, None
        try:
            asked = event.action_information
            objects = tuple((str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID)) for one in asked.ReferencedSOPSequence)
            transaction = Transaction(str(asked.TransactionUID), objects, event.assoc.requestor.ae_title.strip(), event.assoc)
        except Exception:  # whatever a request of anybody's does to a reader
            return INVALID_VALUE, None
        if not objects or not all(is_uid(uid) for uid in (transaction.uid, *itertools.chain(*objects))):
            return INVALID_VALUE, None
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                return RESOURCE_LIMIT, None
        self._put(transaction, 0.0 if transaction.title in self._peers else self._grace)
        return SUCCESS, None

    def failure(self, sop_uid: str) -> int | None:
        """Return why an object is not safe here, or None where it is."""
        exam = self._book.get(sop_uid)
        if exam is None or exam.study_uid or exam.state == journals.SEEN:  # by DICOMweb, it is the PACS that has it
            return NO_SUCH_OBJECT
        if exam.state == journals.REFUSED:
            return PROCESSING_FAILURE
        if exam.state in (journals.PREDICTED, journals.STORED) or exam.outputs:
            return None
        return None if self._folder.has(sop_uid, SOURCE) else NO_SUCH_OBJECT

    def _put(self, transaction: Transaction, seconds: float) -> None:
        with self._changed:
            heapq.heappush(self._waiting, (time.monotonic() + seconds, next(self._numbers), transaction))
            self._changed.notify()

    def _run(self) -> None:
        while (transaction := self._next()) is not None:
            try:
                answered = self._answer(transaction)
            except Exception as error:  # one request must not end all others
                logger.error("storage commitment failed: %s", type(error).__name__)
                answered = False
            if answered:
                continue
            attempts = transaction.attempts + 1
            if transaction.title in self._peers and attempts < ATTEMPTS:
                wait = pause(attempts, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, chance=self._chance)
                self._put(dataclasses.replace(transaction, attempts=attempts), wait)
            else:
                logger.warning(
                    "a storage commitment could not be reported to %s; --commitment-to says where it listens, and it has to ask again",
                    transaction.title,
                )

    def _next(self) -> Transaction | None:
        """Return the transaction whose turn it is, which is waited for; None at the end."""
        with self._changed:
            while not self._stopped:
                wait = None if not self._waiting else self._waiting[0][0] - time.monotonic()
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._waiting)[2]
                self._changed.wait(wait)
        return None

    def _answer(self, transaction: Transaction) -> bool:
        """Report what is safe and what is not; return whether it was taken."""
        try:
            failures = {uid: self.failure(uid) for _, uid in transaction.objects}
        except PneumodetError:  # the journal is broken, which ends the worker
            return False
        report = _report(transaction, failures)
        kind = SOME_FAILED if any(failures.values()) else ALL_SAFE
        peer = self._peers.get(transaction.title)
        if peer is None:
            return bool(transaction.association.dimse.notify(report, kind, PUSH_MODEL, INSTANCE) == SUCCESS)
        package = dimse.pynetdicom()
        roles = [package.build_role(PUSH_MODEL, scp_role=True)]  # we call, and are the provider all the same (PS3.7 D.3.3.4)
        tls = (self._access.client_context(), peer.host) if self._access.dicom_tls else None
        with dimse.called(peer, self._title, [(PUSH_MODEL, "1.2.840.10008.1.2.1")], tls=tls, roles=roles) as association:
            return association is not None and _send(association, report, kind)


def _report(transaction: Transaction, failures: Mapping[str, int | None]) -> Any:
    """Return the event information (PS3.4 J.3.3.1.1)."""
    from pydicom.dataset import Dataset

    report = Dataset()
    report.TransactionUID = transaction.uid
    safe: list[Any] = []
    failed: list[Any] = []
    for sop_class, uid in transaction.objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        if failures[uid] is not None:
            item.FailureReason = failures[uid]
        (safe if failures[uid] is None else failed).append(item)
    if safe:
        report.ReferencedSOPSequence = safe
    if failed:
        report.FailedSOPSequence = failed
    return report


def _send(association: Any, report: Any, kind: int) -> bool:
    """Send a report over an association of our own, which nobody else uses; return whether it was taken."""
    try:
        status, _ = association.send_n_event_report(report, kind, PUSH_MODEL, INSTANCE)
    except (ValueError, RuntimeError):  # no presentation context was accepted for it, or it has just ended
        return False
    return bool(status.get("Status") == SUCCESS)
