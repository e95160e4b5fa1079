"""The port on which DICOM callers are taken: pynetdicom's server, with bounds on every connection.

    server = listen(entity, ("0.0.0.0", 11112), callers=Callers(limits), handlers=handlers, context=None)
    server.shutdown()

pynetdicom makes the TLS handshake in the thread that accepts connections, gives every connection two threads before it has said a word, and waits for
the rest of a PDU for ever: one silent connection, or a few slow ones, would shut everybody out. Here, a connection has one thread until its whole
A-ASSOCIATE request is there, and is closed by another one where it takes too long.

Imports pynetdicom, so that this module is imported only where somebody listens.
"""

import logging
import socketserver
import ssl
import struct
import threading
from collections.abc import Sequence
from typing import Any

from pynetdicom import transport

from pneumodet.apps.pacs import callers as calling
from pneumodet.apps.pacs.callers import Caller, Callers
from pneumodet.apps.pacs.messages import Messages

HEADER_BYTES = 6
"""Of a PDU: type, a reserved byte, length (PS3.8 9.3.1)."""

ASSOCIATE_REQUEST, LAST_TYPE = 0x01, 0x07
"""Types of PDU: A-ASSOCIATE-RQ is the first, A-ABORT the last (PS3.8 9.3.1)."""

NO_PLACE = bytes.fromhex("030000000004 00 02 03 02".replace(" ", ""))
"""A-ASSOCIATE-RJ: rejected for now, by the service provider, local limit exceeded (PS3.8 9.3.4)."""

LONGEST_TURN_SECONDS = 0.5
"""Between two looks for connections that take too long."""

logger = logging.getLogger(__name__)


class _CallerSocket(transport.AssociationSocket):
    """A caller's socket, of which the first PDU was read already; it notes how PDUs come in."""

    def __init__(self, plain: transport.AssociationSocket, caller: Caller, callers: Callers, first: bytes) -> None:
        # takes the place of the plain one: its own __init__ would announce the connection a second time
        self.__dict__.update(vars(plain))
        self.caller, self._callers, self._first, self._within = caller, callers, first, False

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return bool(self._first) or super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes; fewer where the connection ends. A PDU is read in two parts, its header and the rest."""
        if self._first:
            data, self._first = bytearray(self._first[:nr_bytes]), self._first[nr_bytes:]
            return data
        try:
            self.caller.count(nr_bytes)
        except OSError:
            self._callers.turn_away(self.caller, calling.TOO_LARGE)
            raise
        if not self._within:
            self.caller.pdu_begins()
        data = super().recv(nr_bytes)
        self._within = not self._within and len(data) == HEADER_BYTES and ASSOCIATE_REQUEST <= data[0] <= LAST_TYPE
        if not self._within:
            self.caller.pdu_is_over()
        return data


class _Handler(transport.RequestHandler):
    """Makes the association of a caller that has asked for one."""

    server: "Listener"

    def __init__(self, caller: Caller, first: bytes, address: Any, server: "Listener") -> None:
        self._caller, self._first = caller, first
        super().__init__(caller.socket, address, server)

    def handle(self) -> None:
        """Start the association."""
        super().handle()
        # only now: before its thread runs it would count as one that is over
        self._caller.association = self._association

    def _create_association(self) -> Any:
        self._association = super()._create_association()
        self._association.dul.socket = _CallerSocket(self._association.dul.socket, self._caller, self.server.callers, self._first)
        self._association.dimse = Messages(self._association)
        return self._association


class Listener(transport.ThreadedAssociationServer):
    """Accepts connections, and gives those an association that ask for one."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args: Any, callers: Callers, **more: Any) -> None:
        self.callers = callers
        super().__init__(*args, **more)

    def get_request(self) -> Any:
        """Accept a connection; the TLS handshake is not made here, where nobody else could be accepted meanwhile."""
        return self.socket.accept()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hear what a caller wants, in a thread of its own."""
        caller = self.callers.admit(request, str(client_address[0]))
        try:
            threading.Thread(target=self._hear, args=(caller, client_address), name="DICOM caller", daemon=True).start()
        except RuntimeError:  # no more threads
            self.callers.forget(caller)
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log that a connection could not be taken; socketserver would print the traceback."""
        logger.exception("a caller could not be taken")

    def service_actions(self) -> None:
        """Close what takes too long; serve_forever calls this every turn."""
        super().service_actions()
        self.callers.close_overdue()

    def shutdown(self) -> None:
        """End all connections, and listen no longer."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()
        self.callers.close_all()

    def _hear(self, caller: Caller, client_address: Any) -> None:
        try:
            first = self._request(caller)
            if first and not caller.closed:
                if self.callers.associate(caller):
                    _Handler(caller, first, client_address, self)  # starts the association's own threads
                    return
                caller.socket.sendall(NO_PLACE)
                self.callers.turn_away(caller, calling.BUSY)
                # the caller closes first (PS3.8 9.2.3, Sta13), or it may see an end and no answer; the clock bounds the wait
                _exactly(caller.socket, 1)
        except OSError as error:
            if not caller.closed and isinstance(error, ssl.SSLError):
                self.callers.turn_away(caller, calling.NO_TLS)
        except Exception as error:
            logger.error("a caller could not be taken: %s", type(error).__name__)
        self.callers.forget(caller)
        self.shutdown_request(caller.socket)

    def _request(self, caller: Caller) -> bytes:
        """Return a caller's whole A-ASSOCIATE request; nothing where it sends something else, or no more."""
        if self.ssl_context is not None:
            # wrapping itself neither reads nor writes
            caller.socket = self.ssl_context.wrap_socket(caller.socket, server_side=True, do_handshake_on_connect=False)
            caller.socket.do_handshake()
        header = _exactly(caller.socket, HEADER_BYTES)
        if not header:
            return b""
        kind, _, size = struct.unpack(">BBL", header)
        if kind != ASSOCIATE_REQUEST or size > self.callers.limits.associate_bytes:
            self.callers.turn_away(caller, calling.NOT_DICOM)
            return b""
        rest = _exactly(caller.socket, size)
        return header + rest if rest else b""


def _exactly(socket: Any, count: int) -> bytes:
    """Return so many bytes, or none where the connection ends before; whoever watches the clock ends it."""
    data = bytearray()
    while len(data) < count:
        piece = socket.recv(count - len(data))
        if not piece:
            return b""
        data += piece
    return bytes(data)


def listen(
    entity: Any, address: tuple[str, int], *, callers: Callers, handlers: Sequence[tuple[Any, ...]], context: ssl.SSLContext | None
) -> Listener:
    """Listen for an application entity, in a thread of its own.

    Args:
      entity: pynetdicom's AE, with its title and presentation contexts.
      address: host and port.
      callers: keeps the bounds.
      handlers: of pynetdicom's events.
      context: of TLS, or None.

    Raises:
      OSError: the port is in use, or the host is not this machine's.
    """
    server: Listener = entity.make_server(address, ssl_context=context, evt_handlers=list(handlers), server_class=Listener, callers=callers)
    turn = min(LONGEST_TURN_SECONDS, callers.limits.associate_seconds / 4, callers.limits.pdu_seconds / 4)
    threading.Thread(target=server.serve_forever, args=(turn,), name="DICOM listener", daemon=True).start()
    return server
