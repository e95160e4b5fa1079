"""Stop after the step or exam at hand, by Ctrl-C or by the SIGTERM of a scheduler that takes the machine away.

with caught() as stop:
    while not stop.is_set(): ...
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def caught() -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; a second SIGINT interrupts at once."""
    stop = threading.Event()
    # Python lets no other thread set handlers; there the event just stays unset
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {}

    def handle(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
