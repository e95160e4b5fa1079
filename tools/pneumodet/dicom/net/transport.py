"""Requests to a PACS by HTTP: answers with bounds, attempts, and refusals that say why.

    transport = Transport("https://pacs.example/dicom-web", access, limits=Limits(), retries=Retries(attempts=5))
    answer = transport.get("studies?limit=1", accept="application/dicom+json", most=1 << 20, too_large=Trouble("too much"))

Every call raises ``Trouble`` where it may work later. One transport may be used by several threads.
"""

import collections
import contextlib
import dataclasses
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from pneumodet.dicom.net import replies
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.errors import NotAllowed, Trouble, Unreachable
from pneumodet.dicom.net.retries import Retries, pause
from pneumodet.dicom.net.session import Budget, open_session

BUSY = (429, 502, 503, 504)
"""Statuses of a service that may answer in a moment."""

_HINTS = {
    401: "; check the credentials",
    403: "; check the credentials",
    404: "; it does not have it, or the URL is wrong",
} | dict.fromkeys((301, 302, 303, 307, 308), "; redirects are not followed, give the URL that it leads to")

MAX_STATED_BYTES = 1 << 32
"""An answer that says it is longer is broken: no value of an object has more (PS3.5 7.1)."""

_PIECE = 1 << 16
_REFUSAL_BYTES, _REFUSAL_SECONDS = 1 << 13, 5.0
_MAX_WARNINGS = 50
"""Different ones that are logged."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of what a PACS may send.

    Attributes:
      object_bytes: of one object; an uncompressed 16-bit radiograph of 5,000 x 5,000 px has 50 MB.
      list_bytes: of one page of a list; an entry has about 2 kB, and some services send all pages at once.
      header_bytes: of the headers of one answer.
      connect_seconds: to accept a connection.
      read_seconds: between two pieces of an answer.
      request_seconds: of one request with all its attempts, however steadily the pieces of the answer drip in.
      list_seconds: of all requests for one list.
      pages: requests for one list.
    """

    object_bytes: int = 256 << 20
    list_bytes: int = 64 << 20
    header_bytes: int = 1 << 16
    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    request_seconds: float = 600.0
    list_seconds: float = 6 * 3600.0
    pages: int = 100_000


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer that was wanted.

    Attributes:
      status: of HTTP.
      content_type: its header.
      body: all of it.
    """

    status: int
    content_type: str
    body: bytes


class Transport:
    """Requests to one service.

    Attributes:
      url: of the service.
      limits: of what it may send.
      warnings: text of a ``Warning`` header, with N for its numbers -> how often it came.
    """

    def __init__(self, url: str, access: Access, *, limits: Limits, retries: Retries) -> None:
        """Prepare requests; nothing is sent.

        Args:
          url: of the service, such as https://pacs.example/dicom-web.
          access: credentials and TLS.
          limits: of what it may send.
          retries: of GET; nothing else is tried again here.

        Raises:
          ConfigError: the URL cannot be used.
          EnvironmentProblem: requests is not installed.
        """
        self.url, self.limits, self.warnings = access.check_url(url), limits, collections.Counter[str]()
        self._access, self._retries, self._chance = access, retries, random.Random()
        self._of_thread, self._lock = threading.local(), threading.Lock()  # sessions are not to be shared by threads
        # now, so that a missing package is no error of the first request
        self._session()
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # below that it writes addresses with UIDs into the log

    def get(
        self,
        path: str,
        *,
        accept: str,
        most: int,
        too_large: Exception,
        stated: Exception | None = None,
        good: Collection[int] = (200,),
        seconds: float | None = None,
    ) -> Answer:
        """Ask, and ask again where that may help and time is left.

        Args:
          path: below the service's URL, with its query.
          accept: media types that are wanted.
          most: bytes of the body.
          too_large: raised as soon as there are more.
          stated: raised instead where the service says beforehand, by a Content-Length that an object may have, that there will be more.
          good: statuses of an answer that is wanted.
          seconds: of all attempts; by default ``limits.request_seconds``.

        Raises:
          Unreachable: the service does not answer, or not to us.
          Trouble: it refuses, or its answer has no end.
        """
        seconds = self.limits.request_seconds if seconds is None else seconds
        end, attempt = time.monotonic() + seconds, 0
        large = (too_large, stated or too_large)
        while True:
            attempt += 1
            try:
                return self._answer("GET", path, {"Accept": accept}, good=good, most=most, large=large, times=(end, seconds))
            except Unreachable as error:
                wait = pause(attempt, self._retries.first_seconds, self._retries.longest_seconds, chance=self._chance)
                # no pause after which no time would be left
                if not error.retry or attempt >= self._retries.attempts or time.monotonic() + wait >= end:
                    raise
                time.sleep(wait)

    def post(self, path: str, data: bytes, *, headers: dict[str, str], most: int, too_large: Exception, good: Collection[int]) -> Answer:
        """Send data, once; the rest is as ``get`` says."""
        seconds = self.limits.request_seconds
        times = (time.monotonic() + seconds, seconds)
        return self._answer("POST", path, headers, data=data, good=good, most=most, large=(too_large, too_large), times=times)

    def _answer(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        *,
        good: Collection[int],
        most: int,
        large: tuple[Exception, Exception],
        times: tuple[float, float],
        data: bytes | None = None,
    ) -> Answer:
        session, budget = self._session()
        budget.start(*times)
        with self._explained(budget):
            timeout = (min(self.limits.connect_seconds, budget.left()), budget.wait())
            # no redirects: they could lead to another machine, with the radiograph's identifiers
            more: dict[str, Any] = {"headers": headers, "data": data, "timeout": timeout, "stream": True, "allow_redirects": False}
            with session.request(method, f"{self.url}/{path}", **more) as answer:
                self._heed(answer.headers.get("Warning", ""))
                kind = answer.headers.get("Content-Type", "")
                if answer.status_code in good:
                    return Answer(answer.status_code, kind, _read(answer, most, *large))
                # why it refuses is good to know, but worth no long wait
                budget.shorten(_REFUSAL_SECONDS)
                raise _refusal(answer.status_code, refusal_of(_beginning(answer), kind))

    @contextlib.contextmanager
    def _explained(self, budget: Budget) -> Iterator[None]:
        """Turn what goes wrong on the way into Trouble; the errors' own texts have the URL, and that the UIDs."""
        import requests
        import urllib3

        try:
            yield
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            if budget.exceeded:
                raise Trouble(f"the PACS {budget.exceeded}") from None
            why, trusted = _why(error)
            raise Unreachable(f"the PACS cannot be reached ({why})", retry=trusted) from None

    def _heed(self, header: str) -> None:
        """Log a warning of the PACS where it is new, and count it."""
        text = replies.warning_text(header)
        if not text:
            return
        kind = re.sub(r"\d+", "N", text)
        with self._lock:
            new = kind not in self.warnings and len(self.warnings) < _MAX_WARNINGS
            self.warnings[kind if new or kind in self.warnings else "others"] += 1
        if new:
            logger.warning("the PACS warns: %s (such a warning is logged once)", text)

    def _session(self) -> tuple[Any, Budget]:
        held: tuple[Any, Budget] | None = getattr(self._of_thread, "held", None)
        if held is None:
            budget = Budget(read_seconds=self.limits.read_seconds, header_bytes=self.limits.header_bytes)
            held = self._of_thread.held = (open_session(self._access, budget), budget)
        return held


def _pieces(answer: Any) -> Iterator[bytes]:
    # what has come, and not a whole piece, which a server could let drip in
    read: Callable[[int], bytes] = answer.raw.read1
    while piece := read(_PIECE):
        yield piece


def _read(answer: Any, most: int, too_large: Exception, stated: Exception) -> bytes:
    """Return an answer's body.

    Raises:
      ``stated`` where it says that it has more than ``most`` bytes, and ``too_large`` as soon as more have come.
      Trouble: it is compressed.
    """
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise Trouble("the PACS answers compressed, which was not asked for")
    length = answer.headers.get("Content-Length", "")
    # digits are counted first, since int refuses a number of thousands of them
    if length.isdecimal() and len(length) > len(str(MAX_STATED_BYTES)):
        raise too_large
    if length.isdecimal() and int(length) > most:
        raise stated if int(length) <= MAX_STATED_BYTES else too_large
    body = bytearray()
    for piece in _pieces(answer):
        body += piece
        if len(body) > most:
            raise too_large
    return bytes(body)


def _beginning(answer: Any) -> bytes:
    """Return the first bytes of a refusal's body, as many as come in a short time."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        return b""
    body = bytearray()
    # whatever happens on the way: the status is what counts
    with contextlib.suppress(Exception):
        for piece in _pieces(answer):
            body += piece
            if len(body) >= _REFUSAL_BYTES:
                break
    return bytes(body[:_REFUSAL_BYTES])


def _refusal(status: int, text: str) -> Trouble:
    message = f"the PACS answered {status}{_HINTS.get(status, '')}{text}"
    if status in (401, 403):
        return NotAllowed(message)
    return Unreachable(message, retry=True) if status in BUSY else Trouble(message)


def refusal_of(body: bytes, content_type: str) -> str:
    """Return what a refusal's body says, in brackets, to stand at the end of a message; nothing where it says nothing that can be shown."""
    text = replies.refusal_text(body[:_REFUSAL_BYTES], content_type)
    return f' ("{text}")' if text else ""


def _why(error: BaseException) -> tuple[str, bool]:
    """Return what happened without the request, whose headers hold credentials; and whether that may be otherwise in a moment."""
    name = type(error).__name__
    if "SSL" in name:
        return "its certificate is not trusted, or ours is not", False
    return {"ConnectTimeout": "no connection", "ReadTimeout": "too slow"}.get(name, name), True
