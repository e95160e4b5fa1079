"""Radiographs that others send by C-STORE (PS3.4 B), and their questions whether these are safe (``commitment``).

    with receiving(Peer("PNEUMODET", "0.0.0.0", 11112), journal, folder, access, max_bytes=128 << 20, callers=("MODALITY",), profile=profile): ...

A radiograph is answered with success when it is safely in the state folder, and predicted after that.
"""

import contextlib
import dataclasses
import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pneumodet.apps.pacs import callers as calling
from pneumodet.apps.pacs import dimse, journal
from pneumodet.apps.pacs.callers import CallerLimits, Callers
from pneumodet.apps.pacs.commitment import PUSH_MODEL, Commitments
from pneumodet.apps.pacs.dimse import MAX_PDU_BYTES, SUCCESS, Peer
from pneumodet.apps.pacs.journal import Exam, Journal
from pneumodet.apps.pacs.spool import SOURCE, Folder
from pneumodet.core.errors import ConfigError, EnvironmentProblem
from pneumodet.dicom.elements import is_uid
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.errors import short
from pneumodet.inference import admission

OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000
"""Status of a C-STORE that failed (PS3.4 B.2.3)."""

DUPLICATE = 0x0111
"""Status: there is another object of this UID (PS3.7 C.5.8)."""

MIN_FREE_BYTES = 1 << 29
"""Of the state folder's disk; with less, nothing is taken in."""

TRANSFER_SYNTAXES = (
    *(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2")),
    *(f"1.2.840.10008.1.2.4.{end}" for end in (50, 57, 70, 80, 81, 90, 91)),
    "1.2.840.10008.1.2.5",
)
"""Those that are decoded: plain, JPEG Baseline, Lossless, JPEG-LS, JPEG 2000, RLE (PS3.5 A)."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def receiving(
    own: Peer,
    book: Journal,
    folder: Folder,
    access: Access,
    *,
    max_bytes: int,
    callers: Sequence[str] = (),
    profile: admission.Profile,
    limits: CallerLimits | None = None,
    turned_away: Callable[[str], object] = lambda reason: None,
    commitment_to: Sequence[Peer] = (),
    clock: Callable[[], float] = time.time,
) -> Iterator[None]:
    """Take in radiographs while the block runs.

    What is no radiograph is answered with success and refused in the journal by the worker, as everything else that it does not predict; a
    sender would only repeat it. More than ``max_bytes`` end the association before they are read.

    Args:
      own: title, and where to listen; other titles are turned away.
      book: gets every radiograph that is new.
      folder: gets its file.
      access: TLS.
      max_bytes: of a radiograph.
      callers: titles that may call; empty for all.
      profile: which SOP classes are offered.
      limits: of connections; ``message_bytes`` follows from ``max_bytes``.
      turned_away: is called with the reason for each caller that is turned away.
      commitment_to: where answers to requests for storage commitment go, by the title of who asked; by default over the association of the request.
      clock: s since 1970.

    Raises:
      ConfigError: the port is in use, the host is not this machine's, or the certificate cannot be used.
    """
    entity = dimse.entity_of(own.title)
    # a title that is not ours is turned away before anything is sent (PS3.8 9.3.4)
    entity.require_called_aet = True
    entity.require_calling_aet = list(callers)
    # bounds of our own: pynetdicom counts those that have not said a word as associations, and measures by a clock that may be set
    entity.maximum_associations, entity.network_timeout = 1 << 30, None
    for sop_class in sorted(profile.sop_classes or ()):
        entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
    entity.add_supported_context(dimse.VERIFICATION)
    entity.add_supported_context(PUSH_MODEL)
    evt = dimse.pynetdicom().evt
    # each PDU adds a header of 12 bytes to the data (PS3.8 9.3.5); twice the size is more than any sensible sender needs
    bounds = dataclasses.replace(limits or CallerLimits(), message_bytes=2 * max_bytes + MAX_PDU_BYTES)
    book_of_callers = Callers(bounds, turned_away=turned_away)

    def take(event: Any) -> int:
        try:
            return _take(event, book, folder, max_bytes=max_bytes, now=clock())
        except (EnvironmentProblem, OSError) as error:
            logger.error("a radiograph cannot be taken in: %s", type(error).__name__)
            # A700H: refused for now, and the sender may send it again (PS3.4 B.2.3)
            return OUT_OF_RESOURCES

    commitments = Commitments(book, folder, own_title=own.title, access=access, peers={one.title: one for one in commitment_to})
    handlers = [
        (evt.EVT_DIMSE_RECV, lambda event: event.assoc.dul.socket.caller.message_is_over()),
        (evt.EVT_REJECTED, lambda event: book_of_callers.turn_away(event.assoc.dul.socket.caller, calling.UNKNOWN_TITLE)),
        (evt.EVT_C_STORE, take),
        (evt.EVT_N_ACTION, commitments.ask),
    ]
    from pneumodet.apps.pacs import listener  # imports pynetdicom, which entity_of has seen to be there

    try:
        context = access.server_context() if access.dicom_tls else None
        server = listener.listen(entity, (own.host, own.port), callers=book_of_callers, handlers=handlers, context=context)
    except OSError as error:
        raise ConfigError(f"Cannot listen on {own.host}:{own.port} ({error.strerror}). Choose another --listen TITLE@HOST:PORT.") from error
    try:
        with commitments.running():
            yield
    finally:
        server.shutdown()
        entity.shutdown()


def _take(event: Any, book: Journal, folder: Folder, *, max_bytes: int, now: float) -> int:
    uid = str(event.request.AffectedSOPInstanceUID)
    if not is_uid(uid):
        return CANNOT_UNDERSTAND
    if shutil.disk_usage(folder.path).free < MIN_FREE_BYTES:
        logger.error("the disk of the state folder is almost full; nothing is taken in")
        return OUT_OF_RESOURCES
    # without the header that pynetdicom puts before it, which says who sent it
    digest = hashlib.sha256(event.request.DataSet.getbuffer()).hexdigest()
    with folder.changing:
        known = book.get(uid)
        status = _answer_to_known(known, digest)
        if status is not None:
            return status
        data = event.encoded_dataset()
        if len(data) > max_bytes:
            logger.warning("exam %s has more than %d bytes and is not taken in", short(uid), max_bytes)
            return CANNOT_UNDERSTAND
        # the file before its line: a line without a file could never be predicted
        folder.write(uid, SOURCE, data)
        book.take(uid, digest=digest, now=now)
    again = known is not None and known.state == journal.REFUSED
    logger.info("exam %s came by C-STORE%s", short(uid), " with other contents than those that were refused" if again else "")
    return SUCCESS


def _answer_to_known(known: Exam | None, digest: str) -> int | None:
    """Return the status for what is not taken in, since something of the same UID is in the journal; None where it is taken in."""
    if known is None or known.state in (journal.SEEN, journal.DEAD):
        return None
    if known.digest == digest:
        return SUCCESS  # sent again: it is on its way, done, or refused for what it is
    if known.state == journal.REFUSED:
        return None  # a bad object must not stand for a good one of the same UID
    if not known.digest:
        return SUCCESS  # came by DICOMweb, or before contents were noted
    logger.warning("exam %s came again with other contents, and is not taken in", short(known.sop_uid))
    return DUPLICATE
