"""End a process within seconds of Ctrl-C or SIGTERM wherever it is: TensorFlow computes for minutes without letting Python's handlers run.

    with Deadline(lambda: "The last checkpoint is that of step 500.") as deadline:
        with interrupting():         # nothing would be lost: KeyboardInterrupt at once
            first_step()
        ...
        deadline.met()               # what follows ends by itself, and must not be cut: a checkpoint is written

The system's own handler writes the signal's number into a socket (``signal.set_wakeup_fd``), also while a call of C is running; a thread reads it there.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from pneumodet.core import invocation, signals

SECONDS = 12.0
"""From the signal to the end of a process that has not ended by itself. A checkpoint that is then written takes some more."""

EXIT_CODE = 130
"""As of a command that Ctrl-C has stopped."""


class Deadline:
    """While it is open, SIGINT and SIGTERM end the process of a command after ``seconds``, unless it is left or met before."""

    def __init__(self, last_words: Callable[[], str], *, seconds: float = SECONDS) -> None:
        """Take what is to be said then, asked for when it comes to that."""
        self._last_words, self._seconds = last_words, seconds
        self._over = threading.Event()
        self._sockets: tuple[socket.socket, socket.socket] | None = None
        self._before = -1

    def met(self) -> None:
        """Let the process take its time from now on."""
        self._over.set()

    def __enter__(self) -> "Deadline":
        # a notebook's or script's process has more in it than our work; and Python lets no other thread have signals
        if not invocation.from_python() and threading.current_thread() is threading.main_thread():
            self._sockets = socket.socketpair()
            self._sockets[1].setblocking(False)  # a handler must not wait
            self._before = signal.set_wakeup_fd(self._sockets[1].fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(self._sockets[0],), name="deadline", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._sockets is not None:
            signal.set_wakeup_fd(self._before)
            # the thread reads the end of the stream, and ends; it closes its own side
            self._sockets[1].close()

    def _watch(self, side: socket.socket) -> None:
        with side:
            while numbers := side.recv(16):
                if any(number in numbers for number in signals.STOPPING):
                    break
            if numbers and not self._over.wait(self._seconds):
                _end(self._last_words())


def _end(text: str) -> None:
    """End the process from a thread, whatever its others do; locks and files are the system's to let go."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, f"\n{text}\n".encode(errors="replace"))
    os._exit(EXIT_CODE)


def interrupting() -> contextlib.AbstractContextManager[None]:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt at once, where nothing is lost by it; not in threads beside the main one."""

    def handle(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    return signals.handled(handle)
