"""What other libraries write stays out of the user's terminal; ``--verbose`` shows it all.

set_up(verbose=False)                    # before TensorFlow is imported
with hidden_output():                    # runtimes and converters, which write past Python's logging
    convert()
"""

import contextlib
import functools
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator

from pneumodet.core import invocation
from pneumodet.core.errors import PneumodetWarning

_STDERR = 2

_ONE_AT_A_TIME = threading.RLock()
"""Two threads that both redirect standard error would restore it to the null device."""


class Formatter(logging.Formatter):
    """Names commands in the form in which the user calls pneumodet."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return invocation.spelled(super().format(record))


def set_up(*, verbose: bool) -> None:
    """Set the levels of TensorFlow, absl and Python warnings; call it before TensorFlow is imported.

    Errors that Python raises are always shown, and so are warnings of pneumodet's own loggers.
    """
    own = logging.getLogger("pneumodet")
    own.setLevel(logging.INFO if verbose else logging.WARNING)
    warnings.simplefilter("ignore", PneumodetWarning)  # commands print these by themselves
    if verbose:
        os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
        return
    if not own.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Formatter())
        own.addHandler(handler)
        own.propagate = False
    hide_tensorflow()
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning, SyntaxWarning, UserWarning):
        warnings.simplefilter("ignore", category)


@functools.cache
def hide_tensorflow() -> None:
    """Hide the messages of TensorFlow and absl but for their errors, and of Keras what the API makes it say, once a process; call it before TensorFlow is
    imported.
    """
    from absl import logging as absl_logging

    # 3 also hides "failed call to cuInit", which TensorFlow calls an error on every machine without a GPU; the device is reported by train
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    absl_logging.get_absl_handler().setLevel(logging.ERROR)  # the handler: libraries reset the loggers' levels while they are imported
    logging.getLogger("tensorflow").addFilter(lambda record: record.levelno >= logging.ERROR)
    # the object detection API knows no other way to say that a model is being trained
    warnings.filterwarnings("ignore", message=r".*set_learning_phase.* is deprecated", category=UserWarning)


@contextlib.contextmanager
def hidden_output() -> Iterator[None]:
    """Keep what Python prints, and what C++ writes to standard error, off the terminal, unless ``set_up`` was verbose."""
    if logging.getLogger("pneumodet").isEnabledFor(logging.INFO):
        yield
        return
    with _ONE_AT_A_TIME:
        # what Python has buffered so far belongs on the terminal
        sys.stderr.flush()
        before, nowhere = os.dup(_STDERR), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDERR)  # the descriptor, since C++ does not know sys.stderr
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            sys.stderr.flush()
            os.dup2(before, _STDERR)
            os.close(before)
            os.close(nowhere)
