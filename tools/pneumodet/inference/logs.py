"""Runtimes and converters write to the terminal past Python; whoever wants to see it gives ``--verbose``.

with without_output():
    convert()
"""

import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator

_STDERR = 2

_ONE_AT_A_TIME = threading.RLock()
"""Two threads that both put standard error aside would put it back to nowhere."""


@contextlib.contextmanager
def without_output() -> Iterator[None]:
    """Keep what Python prints, and what C++ writes to standard error, off the terminal, unless pneumodet's loggers report everything."""
    if logging.getLogger("pneumodet").isEnabledFor(logging.INFO):
        yield
        return
    with _ONE_AT_A_TIME:
        sys.stderr.flush()
        before, nowhere = os.dup(_STDERR), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDERR)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            sys.stderr.flush()
            os.dup2(before, _STDERR)
            os.close(before)
            os.close(nowhere)
