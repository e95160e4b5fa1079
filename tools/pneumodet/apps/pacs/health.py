"""How the worker is, for whoever watches it: GET /healthz as JSON and GET /metrics for Prometheus, without anything of a patient.

    health = Health()
    with serving(health, journal, "127.0.0.1", 8105): ...

/healthz answers 200 while the loop turns, and 503 where it has not for ``STUCK_SECONDS``; a PACS that is away is not the worker's illness and
is said in the body, with the counts of exams. /metrics has the same as numbers (``metrics``).
"""

import collections
import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pneumodet.apps.pacs import journal, metrics
from pneumodet.core.errors import ConfigError, PneumodetError
from pneumodet.dicom.net import errors

STUCK_SECONDS = 900.0
"""More than the longest answer of a PACS that is waited for, and the prediction after it."""

REQUEST_SECONDS = 5.0
"""How long a caller may take to ask."""

CROWDED_SECONDS = 60.0
"""So long after a DICOM caller was turned away, the status says so."""


class Health:
    """What the worker last did; its methods may be called from any thread. Times are s since 1970."""

    def __init__(self, *, steady: Callable[[], float] = time.monotonic) -> None:
        """Begin without facts; ``steady`` is a clock in s that nobody sets."""
        self._steady = steady
        self._lock = threading.Lock()
        self._last_beat, self._turned_away_at = steady(), -float("inf")
        self._turned_away = collections.Counter[str]()
        self._facts: dict[str, Any] = {
            "stored_since_start": 0,
            "seconds_of_last_exam": None,
            "last_success_at": None,
            "last_success_exam": None,
            "last_error_at": None,
            "last_error_exam": None,
            "last_error": None,
            "pacs_away_since": None,
            "pacs_error": None,
        }

    def beat(self) -> None:
        """The loop turns."""
        with self._lock:
            self._last_beat = self._steady()

    def succeeded(self, sop_uid: str, now: float, *, seconds: float) -> None:
        """An exam was finished."""
        with self._lock:
            count = self._facts["stored_since_start"] + 1
            self._facts |= {"stored_since_start": count, "seconds_of_last_exam": round(seconds, 3), "last_success_at": now}
            self._facts["last_success_exam"] = errors.short(sop_uid)

    def failed(self, sop_uid: str, now: float, reason: str) -> None:
        """An exam was not."""
        with self._lock:
            error = errors.without_uids(reason)
            self._facts |= {"last_error_at": now, "last_error_exam": errors.short(sop_uid), "last_error": error}

    def pacs_is_away(self, now: float, reason: str) -> None:
        """The PACS does not answer."""
        with self._lock:
            # the first failure counts: since when, and not when last
            self._facts |= {"pacs_away_since": self._facts["pacs_away_since"] or now, "pacs_error": errors.without_uids(reason)}

    def pacs_is_there(self) -> None:
        """The PACS answers."""
        with self._lock:
            self._facts |= {"pacs_away_since": None, "pacs_error": None}

    def turned_away(self, reason: str) -> None:
        """A DICOM caller was not heard."""
        with self._lock:
            self._turned_away[reason] += 1
            self._turned_away_at = self._steady()

    def snapshot(self) -> dict[str, Any]:
        """Return all that is known, and whether the loop turns."""
        with self._lock:
            idle = self._steady() - self._last_beat
            # stuck goes first: of a PACS a loop that does not turn knows nothing
            status = "stuck" if idle > STUCK_SECONDS else "pacs away" if self._facts["pacs_away_since"] else "ok"
            if status == "ok" and self._steady() - self._turned_away_at < CROWDED_SECONDS:
                status = "callers turned away"
            return {"status": status, "seconds_since_beat": round(idle, 3), **self._facts, "callers_turned_away": dict(self._turned_away)}


@contextlib.contextmanager
def serving(health: Health, book: journal.Journal, host: str, port: int, *, clock: Callable[[], float] = time.time) -> Iterator[int]:
    """Answer on host and port while the block runs; yield the port, which the system chooses where 0 is given.

    Raises:
      ConfigError: the port is in use, or the host is not this machine's.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS
        # versions of the server and of Python are nothing for those who scan a network
        server_version, sys_version = "pneumodet", ""

        def do_GET(self) -> None:
            if self.path == "/healthz":
                state = health.snapshot()
                # a broken journal ends the worker, and is not for this page to decide
                with contextlib.suppress(PneumodetError):
                    counts, oldest = self._queue()
                    queue = sum(counts[one] for one in journal.OPEN)
                    state |= {"queue": queue, "oldest_in_queue_seconds": oldest, "exams": counts}
                self._answer(503 if state["status"] == "stuck" else 200, state)
            elif self.path == "/metrics":
                try:
                    counts, oldest = self._queue()
                    accept = self.headers.get("Accept", "")
                    body, kind = metrics.exposition(health.snapshot(), counts=counts, oldest_seconds=oldest, accept=accept)
                    self._send(200, body, kind)
                except PneumodetError as error:
                    self._answer(503, {"error": str(error)})
            else:
                self._answer(404, {"error": "there are /healthz and /metrics"})

        def _queue(self) -> tuple[dict[str, int], float | None]:
            counts, oldest = book.counts(), book.oldest_open()
            # a clock that was set back would make it negative
            return counts, None if oldest is None else max(0.0, round(clock() - oldest, 3))

        def _answer(self, status: int, contents: dict[str, Any]) -> None:
            self._send(status, json.dumps(contents, indent=2).encode() + b"\n", "application/json")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing: a watcher asks every few seconds."""

    class Server(ThreadingHTTPServer):
        # a caller that keeps its connection open must not keep the process alive
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Print the traceback of a bug; a watcher that does not wait for the answer is none."""
            if not isinstance(sys.exc_info()[1], OSError):
                super().handle_error(request, client_address)

    try:
        server = Server((host, port), Handler)
    except OSError as error:
        raise ConfigError(
            f"The health page cannot listen on {host}:{port} ({error.strerror}). Choose another --health HOST:PORT."
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
