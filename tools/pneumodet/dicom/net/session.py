"""A session of ``requests`` whose answers are bounded as a whole: time from the first byte that is sent to the last one that is read, and header bytes.

    budget = Budget(read_seconds=60, header_bytes=1 << 16)
    session = open_session(access, budget)
    budget.start(time.monotonic() + 600, 600)
    with session.get(url, stream=True) as answer: ...         # TimeoutError or ConnectionError inside of requests' errors; budget.exceeded says which

``requests`` itself bounds only the time between two pieces. A server that sends a header letter by letter could hold a thread for months.
"""

import http.client
import io
import time
from typing import Any

from pneumodet.core import installation
from pneumodet.core.errors import EnvironmentProblem
from pneumodet.dicom.net.access import Access


class Budget:
    """What the answer to one request may still take. One session has one, and one thread.

    Attributes:
      exceeded: what was too much, as a part of a sentence; empty where nothing was.
    """

    def __init__(self, *, read_seconds: float, header_bytes: int) -> None:
        """Take the bounds that hold for every request.

        Args:
          read_seconds: between two pieces of an answer.
          header_bytes: of an answer's status line and headers, with those of interim answers (100 Continue).
        """
        self._read_seconds, self._header_bytes = read_seconds, header_bytes
        self._end, self._seconds = 0.0, 0.0
        self.exceeded = ""

    def start(self, end: float, seconds: float) -> None:
        """Begin a request, or a further attempt at it.

        Args:
          end: when it has to be over, by ``time.monotonic``.
          seconds: that it may take in all, for the message.
        """
        self._end, self._seconds, self.exceeded = end, seconds, ""

    def shorten(self, seconds: float) -> None:
        """Let the request at hand take no longer than so much from now on."""
        self._end = min(self._end, time.monotonic() + seconds)

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
          TimeoutError: there are none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            self.exceeded = f"takes longer than {self._seconds:.3g} s for an answer"
            raise TimeoutError(self.exceeded)
        return left

    def wait(self) -> float:
        """Return the seconds that the next piece may take; raises as ``left``."""
        return min(self._read_seconds, self.left())

    def count_header(self, size: int) -> None:
        """Note how many bytes have come before an answer's body.

        Raises:
          ConnectionError: they are too many.
        """
        if size > self._header_bytes:
            self.exceeded = f"answers with more than {self._header_bytes} bytes of headers"
            raise ConnectionError(self.exceeded)


class _BoundedStream(io.RawIOBase):
    """A socket's raw stream that asks the budget before each read."""

    def __init__(self, raw: Any, sock: Any, budget: Budget) -> None:
        self._raw, self._sock, self._budget = raw, sock, budget
        self._header: int | None = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._budget.wait())
        try:
            count: int | None = self._raw.readinto(buffer)
        except TimeoutError:
            self._budget.left()  # says so where the whole time is over, and not only that of this piece
            raise
        if self._header is not None and count:
            # with the beginning of the body where the buffer reads ahead, which is little beside the limit
            self._header += count
            self._budget.count_header(self._header)
        return count

    def header_is_over(self) -> None:
        """Count no further."""
        self._header = None

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """An answer that is read from a ``_BoundedStream``."""

    def __init__(self, budget: Budget, sock: Any, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        # nothing was read yet, so that taking the buffer off loses nothing
        self._stream = _BoundedStream(self.fp.detach(), sock, budget)
        self.fp = io.BufferedReader(self._stream)

    def begin(self) -> None:
        super().begin()
        self._stream.header_is_over()


def open_session(access: Access, budget: Budget) -> Any:
    """Return a ``requests.Session`` with credentials and TLS of the access, and no others, whose requests keep to the budget.

    Raises:
      EnvironmentProblem: requests is not installed.
    """
    try:
        import requests
        from requests.adapters import HTTPAdapter
    except ImportError as error:
        raise EnvironmentProblem(f"DICOMweb needs the package requests. Run: {installation.command('predict')}") from error
    session = requests.Session()
    adapter = HTTPAdapter(max_retries=0)
    # of this pool manager alone: other users of urllib3 in the process keep theirs
    adapter.poolmanager.pool_classes_by_scheme = _pools(budget)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    session.trust_env = False  # ~/.netrc and REQUESTS_CA_BUNDLE would take the place of what the access says
    session.verify = str(access.ca) if access.ca else True
    if access.certificate is not None:
        session.cert = str(access.certificate) if access.key is None else (str(access.certificate), str(access.key))
    if access.user is not None and access.password is not None:
        session.auth = (access.user.encode(), access.password.encode())  # type: ignore[assignment]  # as UTF-8 (RFC 7617 2.1)
    session.headers.clear()
    # a compressed answer could unfold to any size
    session.headers.update({"User-Agent": "pneumodet", "Accept-Encoding": "identity"})
    if access.token is not None:
        session.headers["Authorization"] = f"Bearer {access.token}"
    return session


def _pools(budget: Budget) -> dict[str, Any]:
    """Return urllib3's pools, by scheme, whose connections keep to a budget."""
    from urllib3 import connection, connectionpool

    class Bounded:
        """Beside a connection: its answers are bounded, and so is the time of sending."""

        sock: Any

        @staticmethod
        def response_class(sock: Any, *args: Any, **more: Any) -> _BoundedResponse:
            return _BoundedResponse(budget, sock, *args, **more)

        def connect(self) -> None:
            super().connect()  # type: ignore[misc]
            self.sock.settimeout(budget.left())

        def send(self, data: Any) -> None:
            if self.sock is not None:
                self.sock.settimeout(budget.left())  # of all that is sent at once; urllib3 would allow the time of a connection
            super().send(data)  # type: ignore[misc]

    class Plain(Bounded, connection.HTTPConnection):  # type: ignore[misc]
        pass

    class Secure(Bounded, connection.HTTPSConnection):  # type: ignore[misc]
        pass

    class PlainPool(connectionpool.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(connectionpool.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
