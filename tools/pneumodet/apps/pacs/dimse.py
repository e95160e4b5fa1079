"""C-STORE (PS3.4 B), both ways: radiographs that others send, and reports that are sent to others.

    with receiving(Peer("PNEUMODET", "0.0.0.0", 11112), journal, folder, access, max_bytes=128 << 20, callers=("MODALITY",)): ...
    Archive(Peer("ORTHANC", "127.0.0.1", 4242), access, own_title="PNEUMODET").store(study_uid, [report])

A radiograph is answered with success when it is safely in the state folder, and predicted after that. Nobody's credentials go over an
association: who calls is known by its title, which anybody can write, or by its certificate (``access``).
"""

import contextlib
import dataclasses
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any

from pneumodet.apps.pacs import journal
from pneumodet.apps.pacs.journal import Journal
from pneumodet.apps.pacs.spool import SOURCE, Folder
from pneumodet.core import installation
from pneumodet.core.errors import ConfigError, EnvironmentProblem
from pneumodet.dicom.elements import is_uid
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.errors import Trouble, short
from pneumodet.inference import admission

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
"""Status of a C-STORE (PS3.4 B.2.3)."""

MAX_PDU_BYTES = 1 << 18
"""Offered to callers (PS3.8 D.1); pynetdicom itself would read one of 4 GB."""

MAX_CALLERS = 4
"""Associations at a time; each may hold ``max_bytes`` in memory."""

NETWORK_SECONDS = 60
"""Without a word, an association ends."""

MIN_FREE_BYTES = 1 << 29
"""Of the state folder's disk; with less, nothing is taken in."""

TRANSFER_SYNTAXES = (
    *(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2")),
    *(f"1.2.840.10008.1.2.4.{end}" for end in (50, 57, 70, 80, 81, 90, 91)),
    "1.2.840.10008.1.2.5",
)
"""Those that are decoded: plain, JPEG Baseline, Lossless, JPEG-LS, JPEG 2000, RLE (PS3.5 A)."""

_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
"""AE (PS3.5 6.2): up to 16 letters without backslash, and no spaces around them."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Peer:
    """Where an application entity listens."""

    title: str
    host: str
    port: int


def peer(text: str) -> Peer:
    """Return the peer that ``TITLE@HOST:PORT`` names.

    Raises:
      ConfigError: it is not of that form.
    """
    title, _, place = text.rpartition("@")
    host, _, port = place.rpartition(":")
    if not _TITLE.fullmatch(title) or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"{text!r} must look like TITLE@HOST:PORT, with a title of at most 16 letters, as in ORTHANC@127.0.0.1:4242.")
    return Peer(title, host.strip("[]"), int(port))


def _pynetdicom() -> Any:
    try:
        import pynetdicom
    except ImportError as error:
        raise EnvironmentProblem(f"C-STORE needs the package pynetdicom. Run: {installation.command('pacs')}") from error
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # below that it writes headers into the log
    return pynetdicom


def _entity(title: str) -> Any:
    entity = _pynetdicom().AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = NETWORK_SECONDS
    entity.maximum_pdu_size = MAX_PDU_BYTES
    return entity


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
      clock: s since 1970.

    Raises:
      ConfigError: the port is in use, the host is not this machine's, or the certificate cannot be used.
    """
    entity = _entity(own.title)
    # a title that is not ours is turned away before anything is sent (PS3.8 9.3.4)
    entity.require_called_aet = True
    entity.require_calling_aet = list(callers)
    entity.maximum_associations = MAX_CALLERS
    for sop_class in sorted(profile.sop_classes or ()):
        entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
    evt = _pynetdicom().evt
    entity.add_supported_context("1.2.840.10008.1.1")  # verification, C-ECHO

    def take(event: Any) -> int:
        try:
            return _take(event, book, folder, max_bytes=max_bytes, now=clock())
        except (EnvironmentProblem, OSError) as error:
            logger.error("a radiograph cannot be taken in: %s", type(error).__name__)
            # A700H: refused for now, and the sender may send it again (PS3.4 B.2.3)
            return OUT_OF_RESOURCES

    handlers = [
        (evt.EVT_CONN_OPEN, lambda event: _bound(event.assoc.dul, max_bytes)),
        # a message is complete: the next one has the whole allowance again
        (evt.EVT_DIMSE_RECV, lambda event: setattr(event.assoc.dul.socket, "message_bytes", 0)),
        (evt.EVT_C_STORE, take),
    ]
    try:
        context = access.server_context() if access.dicom_tls else None
        server = entity.start_server((own.host, own.port), block=False, evt_handlers=handlers, ssl_context=context)
    except OSError as error:
        raise ConfigError(f"Cannot listen on {own.host}:{own.port} ({error.strerror}). Choose another --listen TITLE@HOST:PORT.") from error
    try:
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
    known = book.get(uid)
    if known is not None and known.state not in (journal.SEEN, journal.DEAD):
        return SUCCESS  # sent again: it is on its way, or done
    data = event.encoded_dataset()
    if len(data) > max_bytes:
        logger.warning("exam %s has more than %d bytes and is not taken in", short(uid), max_bytes)
        return CANNOT_UNDERSTAND
    # the file before its entry: an entry without a file could never be predicted, and a file without an entry is removed at the next start
    folder.write(uid, SOURCE, data)
    if known is None:
        book.add(uid, state=journal.FETCHED, now=now)
    elif known.state == journal.DEAD:
        book.revive(sop_uid=uid, state=journal.FETCHED, now=now)
    else:
        book.move(uid, journal.FETCHED, now=now)
    logger.info("exam %s came by C-STORE", short(uid))
    return SUCCESS


def _bound(dul: Any, max_bytes: int) -> None:
    """Let a connection's socket end when all PDUs of a message together are larger than allowed, by the length that each says it has."""
    socket = dul.socket
    receive = socket.recv
    socket.message_bytes = 0
    # each PDU adds a header of 12 bytes to the data (PS3.8 9.3.5); twice the size is more than any sensible sender needs
    most = 2 * max_bytes + MAX_PDU_BYTES

    def recv(count: int) -> bytes:
        socket.message_bytes += count
        if socket.message_bytes > most:
            logger.warning("a caller sent more than is allowed; its association is ended")
            raise OSError("more than is allowed")
        return receive(count)

    socket.recv = recv


class Archive:
    """Another application entity that takes reports."""

    def __init__(self, other: Peer, access: Access, *, own_title: str) -> None:
        """Prepare calls; nothing is sent.

        Raises:
          ConfigError: the certificate cannot be used.
          EnvironmentProblem: pynetdicom is not installed.
        """
        self._other, self._title = other, own_title
        self._tls = (access.client_context(), other.host) if access.dicom_tls else None
        _pynetdicom()

    def has(self, study_uid: str, sop_uid: str) -> bool:
        """Return False: C-STORE cannot ask, and an archive keeps one object of a UID however often it is sent."""
        return False

    def probe(self) -> None:
        """Send a C-ECHO (PS3.4 A).

        Raises:
          Trouble: the archive does not answer.
        """
        with self._association([("1.2.840.10008.1.1", "1.2.840.10008.1.2")]) as association:
            if association.send_c_echo().get("Status") != SUCCESS:
                raise Trouble("the archive does not answer C-ECHO")

    def store(self, study_uid: str, objects: Sequence[bytes]) -> None:
        """Send DICOM files.

        Raises:
          Trouble: the archive did not take all of them.
        """
        import pydicom

        datasets = [pydicom.dcmread(BytesIO(data)) for data in objects]
        wanted = sorted({(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in datasets})
        with self._association(wanted) as association:
            for dataset in datasets:
                try:
                    status = association.send_c_store(dataset).get("Status")
                except (ValueError, RuntimeError, AttributeError) as error:  # no presentation context was accepted for it
                    raise Trouble(f"the archive cannot be sent a report ({type(error).__name__})") from None
                # B000H, B006H and B007H are warnings: it is stored (PS3.4 B.2.3)
                if status is None or status != SUCCESS and status & 0xF000 != 0xB000:
                    raise Trouble("the archive did not take a report" + ("" if status is None else f" (status {status:04X}H)"))

    @contextlib.contextmanager
    def _association(self, contexts: Sequence[tuple[str, str]]) -> Iterator[Any]:
        entity = _entity(self._title)
        for sop_class, syntax in contexts:
            entity.add_requested_context(sop_class, syntax)
        try:
            association = entity.associate(self._other.host, self._other.port, ae_title=self._other.title, tls_args=self._tls)
        except (OSError, RuntimeError) as error:
            raise Trouble(f"the archive cannot be reached ({type(error).__name__})") from None
        if not association.is_established:
            raise Trouble("the archive cannot be reached, or does not know this worker's title")
        try:
            yield association
        finally:
            if association.is_established:
                association.release()
