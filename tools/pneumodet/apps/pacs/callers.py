"""Who is connected to the receiver, and how long each may take: the bounds that keep silent, slow and many callers from shutting the others out.

    callers = Callers(CallerLimits(), turned_away=health.turned_away)
    caller = callers.admit(socket, "10.0.0.7")          # may close another one, which waits longest
    if callers.associate(caller): ...                   # one of the places for associations
    callers.close_overdue()                             # every moment: whoever is too slow

A caller *waits* from its connection until its whole A-ASSOCIATE request (PS3.8 9.3.2) is there, and then has an association. Times are of a clock
that nobody sets (``time.monotonic``).
"""

import collections
import contextlib
import dataclasses
import ipaddress
import logging
import socket as sockets
import threading
import time
from collections.abc import Callable
from typing import Any

TOO_SLOW = "too slow"
CROWDED = "too many connections without an association"
BUSY = "too many associations"
NOT_DICOM = "no association was asked for"
NO_TLS = "no TLS, or a certificate that is not trusted"
UNKNOWN_TITLE = "a title that is not known"
TOO_LARGE = "more than is allowed"

LOG_SECONDS = 60.0
"""Between two log lines about callers that are turned away."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CallerLimits:
    """Bounds of what callers may take.

    Attributes:
      waiting: connections that have not asked for an association yet.
      waiting_of_address: of these, from one address.
      associations: at a time; each may hold a whole message in memory.
      associations_of_address: of these, with one address.
      associate_seconds: from the connection to the whole A-ASSOCIATE request, TLS handshake included.
      pdu_seconds: for a whole PDU, from its first byte.
      message_seconds: for all PDUs of a message, such as a C-STORE.
      idle_seconds: between two PDUs.
      associate_bytes: of an A-ASSOCIATE request; one with 128 presentation contexts has 40 kB.
      message_bytes: of all PDUs of a message.
    """

    waiting: int = 32
    waiting_of_address: int = 8
    associations: int = 8
    associations_of_address: int = 4
    associate_seconds: float = 10.0
    pdu_seconds: float = 30.0
    message_seconds: float = 600.0
    idle_seconds: float = 60.0
    associate_bytes: int = 1 << 18
    message_bytes: int = 1 << 28


class Caller:
    """A connection. The thread that reads from it says what it reads; another one closes it where that takes too long.

    Attributes:
      socket: of the connection; wrapped by TLS later on.
      address: of the other end.
      group: what has limits of its own.
      association: the association's thread, or None while the caller waits.
      closed: whether it was closed from here.
    """

    def __init__(self, socket: Any, address: str, limits: CallerLimits, clock: Callable[[], float]) -> None:
        self.socket, self.address, self.group = socket, address, group_of(address)
        self.association: threading.Thread | None = None
        self.closed = False
        self._limits, self._clock = limits, clock
        self._bytes, self._message_end = 0, float("inf")
        self._deadline = clock() + limits.associate_seconds

    @property
    def is_overdue(self) -> bool:
        """Whether it took too long."""
        return self._clock() > self._deadline

    def pdu_begins(self) -> None:
        """The first bytes of a PDU are there."""
        now = self._clock()
        self._message_end = min(self._message_end, now + self._limits.message_seconds)
        self._deadline = min(now + self._limits.pdu_seconds, self._message_end)

    def pdu_is_over(self) -> None:
        """A PDU is there as a whole."""
        self._deadline = min(self._clock() + self._limits.idle_seconds, self._message_end)

    def message_is_over(self) -> None:
        """A message is there as a whole: the next one has the whole allowance again."""
        self._bytes, self._message_end = 0, float("inf")
        self._deadline = self._clock() + self._limits.idle_seconds

    def count(self, size: int) -> None:
        """Note how many bytes are to be read.

        Raises:
          OSError: they are more than a message may have.
        """
        self._bytes += size
        if self._bytes > self._limits.message_bytes:
            raise OSError(TOO_LARGE)

    def shut(self) -> None:
        """End the connection; whichever thread waits for it goes on at once, with what has come."""
        self.closed = True
        with contextlib.suppress(OSError):
            # of the plain socket: that of TLS would take its state from under the thread that reads
            sockets.socket.shutdown(self.socket, sockets.SHUT_RDWR)


class Callers:
    """All connections of a receiver. May be used by several threads.

    Attributes:
      limits: of what callers may take.
    """

    def __init__(
        self,
        limits: CallerLimits,
        *,
        turned_away: Callable[[str], object] = lambda reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without connections.

        Args:
          limits: of what callers may take.
          turned_away: is called with the reason for each caller that is turned away.
          clock: s, of any zero.
        """
        self.limits = limits
        self._report, self._clock = turned_away, clock
        self._lock = threading.Lock()
        self._waiting: list[Caller] = []  # the oldest first
        self._associated: list[Caller] = []
        self._counts, self._logged = collections.Counter[str](), -float("inf")

    def admit(self, socket: Any, address: str) -> Caller:
        """Take a new connection in; where there are too many, the one that waits longest has to go.

        Closing the new one would let whoever came first keep all others out; one that asks at once, as senders do, is hardly ever the oldest.
        """
        caller = Caller(socket, address, self.limits, self._clock)
        with self._lock:
            self._waiting.append(caller)
            dropped = self._surplus(caller.group)
            if dropped is not None:
                self._waiting.remove(dropped)
        if dropped is not None:
            self.turn_away(dropped, CROWDED)
            dropped.shut()
        return caller

    def _surplus(self, group: str) -> Caller | None:
        of_group = [one for one in self._waiting if one.group == group]
        if len(of_group) > self.limits.waiting_of_address:
            return of_group[0]
        if len(self._waiting) > self.limits.waiting:
            largest = collections.Counter(one.group for one in self._waiting).most_common(1)[0][0]
            return next(one for one in self._waiting if one.group == largest)
        return None

    def associate(self, caller: Caller) -> bool:
        """Give a caller that waits one of the places for associations; return whether there was one."""
        with self._lock:
            if caller.closed or caller not in self._waiting:
                return False
            self._forget_ended()
            same = sum(one.group == caller.group for one in self._associated)
            if len(self._associated) >= self.limits.associations or same >= self.limits.associations_of_address:
                return False
            self._waiting.remove(caller)
            self._associated.append(caller)
            caller.pdu_is_over()
            return True

    def forget(self, caller: Caller) -> None:
        """A connection is over."""
        with self._lock:
            for several in (self._waiting, self._associated):
                if caller in several:
                    several.remove(caller)

    def close_overdue(self) -> None:
        """Close the connections that take too long, and forget associations that are over."""
        with self._lock:
            self._forget_ended()
            overdue = [one for one in (*self._waiting, *self._associated) if one.is_overdue]
            new = [one for one in overdue if not one.closed]
            self._waiting = [one for one in self._waiting if one not in overdue]
        for one in new:
            self.turn_away(one, TOO_SLOW)
        for one in overdue:
            one.shut()  # again where it was before: a thread may have begun to wait since

    def _forget_ended(self) -> None:
        # one without a thread has its place, and its thread is about to start
        self._associated = [one for one in self._associated if one.association is None or one.association.is_alive()]

    def close_all(self) -> None:
        """Close every connection."""
        with self._lock:
            every = [*self._waiting, *self._associated]
        for one in every:
            one.shut()

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting) + len(self._associated)

    def turn_away(self, caller: Caller, reason: str) -> None:
        """Count a caller that is turned away, report it, and log now and then how many there were."""
        with self._lock:
            self._counts[reason] += 1
            now = self._clock()
            due = now - self._logged >= LOG_SECONDS
            if due:
                counts, self._counts, self._logged = self._counts, collections.Counter[str](), now
        self._report(reason)
        if due:
            text = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
            logger.warning("callers were turned away: %s; the last one was %s", text, caller.address)


def group_of(address: str) -> str:
    """Return what shares the limits of an address: itself, or its network where it is of IPv6, of which one machine may have any number (RFC 4291)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
