"""DICOM application entities by name, and reports that are sent to one of them by C-STORE (PS3.4 B).

    Archive(peer("ORTHANC@127.0.0.1:4242"), access, own_title="PNEUMODET").store(study_uid, [report])

Nobody's credentials go over an association: who calls is known by its title, which anybody can write, or by its certificate (``access``).
``receiver`` takes what others send.
"""

import contextlib
import dataclasses
import logging
import re
import socket as sockets
import threading
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

from pneumodet.core import installation
from pneumodet.core.errors import ConfigError, EnvironmentProblem
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.errors import Trouble

SUCCESS = 0x0000
"""Status of what was done (PS3.7 C)."""

MAX_PDU_BYTES = 1 << 18
"""Offered to callers (PS3.8 D.1); pynetdicom itself would read one of 4 GB."""

NETWORK_SECONDS = 60.0
"""Without a word, an association ends."""

CONNECT_SECONDS = 10.0
"""For a connection to an archive, and for the TLS handshake."""

LONGEST_SECONDS = 600.0
"""Of an association with an archive, in which one exam's reports are sent, however steadily its answers drip in."""

VERIFICATION = "1.2.840.10008.1.1"
"""SOP class of C-ECHO (PS3.4 A)."""

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


def pynetdicom() -> Any:
    """Return the package.

    Raises:
      EnvironmentProblem: it is not installed.
    """
    try:
        import pynetdicom as package
    except ImportError as error:
        raise EnvironmentProblem(f"C-STORE needs the package pynetdicom. Run: {installation.command('pacs')}") from error
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # below that it writes headers into the log
    return package


def entity_of(title: str) -> Any:
    """Return an application entity of pynetdicom with our limits; raises as ``pynetdicom``."""
    entity = pynetdicom().AE(ae_title=title)
    entity.connection_timeout = CONNECT_SECONDS
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = NETWORK_SECONDS
    entity.maximum_pdu_size = MAX_PDU_BYTES
    return entity


class Archive:
    """Another application entity that takes reports."""

    def __init__(self, other: Peer, access: Access, *, own_title: str, seconds: float = LONGEST_SECONDS) -> None:
        """Prepare calls; nothing is sent.

        Args:
          other: who takes them.
          access: TLS.
          own_title: of the worker.
          seconds: of one association.

        Raises:
          ConfigError: the certificate cannot be used.
          EnvironmentProblem: pynetdicom is not installed.
        """
        self._other, self._title, self._seconds = other, own_title, seconds
        self._tls = (access.client_context(), other.host) if access.dicom_tls else None
        pynetdicom()

    def has(self, study_uid: str, sop_uid: str) -> bool:
        """Return False: C-STORE cannot ask, and an archive keeps one object of a UID however often it is sent."""
        return False

    def probe(self) -> None:
        """Send a C-ECHO (PS3.4 A).

        Raises:
          Trouble: the archive does not answer.
        """
        with self._association([(VERIFICATION, "1.2.840.10008.1.2")]) as association:
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
        with called(self._other, self._title, contexts, tls=self._tls, seconds=self._seconds) as association:
            if association is None:
                raise Trouble("the archive cannot be reached, or does not know this worker's title")
            yield association


@contextlib.contextmanager
def called(
    other: Peer,
    own_title: str,
    contexts: Sequence[tuple[str, str]],
    *,
    tls: Any = None,
    seconds: float = LONGEST_SECONDS,
    roles: Sequence[Any] = (),
    handlers: Sequence[tuple[Any, ...]] = (),
) -> Iterator[Any]:
    """Yield an association with another entity, or None where there is none; it is released in the end.

    Args:
      other: who is called.
      own_title: of who calls.
      contexts: (SOP class, transfer syntax) that are proposed.
      tls: (context, host) of TLS, or None.
      seconds: after which the connection is closed, whatever is on its way.
      roles: items of role selection (PS3.7 D.3.3.4).
      handlers: of pynetdicom's events.
    """
    entity = entity_of(own_title)
    for sop_class, syntax in contexts:
        entity.add_requested_context(sop_class, syntax)
    with contextlib.ExitStack() as stack:

        def watch(event: Any) -> None:
            # pynetdicom bounds the wait for a message, but reads a PDU of any length, and waits for its rest without any bound
            _bound(event.assoc.dul.socket)
            timer = threading.Timer(seconds, _shut, args=(event.assoc.dul.socket.socket,))
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)

        events = [(pynetdicom().evt.EVT_CONN_OPEN, watch), *handlers]
        more = {"tls_args": tls, "evt_handlers": events, "ext_neg": list(roles)}
        try:
            association = entity.associate(other.host, other.port, ae_title=other.title, **more)
        except (OSError, RuntimeError) as error:
            logger.info("no association with %s: %s", other.title, type(error).__name__)
            yield None
            return
        try:
            yield association if association.is_established else None
        finally:
            if association.is_established:
                association.release()


def _bound(socket: Any) -> None:
    receive = socket.recv

    def recv(count: int) -> bytes:
        if count > 2 * MAX_PDU_BYTES:
            raise OSError("the other end sends more than it was offered")
        read: bytes = receive(count)
        return read

    socket.recv = recv


def _shut(socket: Any) -> None:
    with contextlib.suppress(OSError):
        sockets.socket.shutdown(socket, sockets.SHUT_RDWR)
