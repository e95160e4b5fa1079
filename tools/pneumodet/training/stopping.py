"""What SIGINT and SIGTERM do to a run: it ends after the step at hand, at once where nothing is lost, and within seconds wherever it is.

    with Stopping(alone=True, last_words=lambda: "The last checkpoint is that of step 500.") as stopping:
        with stopping.at_once():             # KeyboardInterrupt
            first_step()
        if stopping.asked():
            stopping.finish()                # the checkpoint that follows is not cut

Workers that train together stop together, which takes until their next report: none of them interrupts itself or ends before.
"""

import contextlib
import threading
from collections.abc import Callable

from pneumodet.core import signals
from pneumodet.core.deadline import Deadline, interrupting


class Stopping:
    """Takes the signals while it is open."""

    def __init__(self, *, alone: bool, last_words: Callable[[], str]) -> None:
        """Take whether no other process trains with this one, and what is said where a step is cut off."""
        self._alone = alone
        self._deadline = Deadline(last_words)
        self._open = contextlib.ExitStack()
        self._event = threading.Event()

    def __enter__(self) -> "Stopping":
        self._event = self._open.enter_context(signals.caught())
        if self._alone:
            self._open.enter_context(self._deadline)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def asked(self) -> bool:
        """Return whether a signal came in."""
        return self._event.is_set()

    def at_once(self) -> contextlib.AbstractContextManager[None]:
        """Let a signal raise KeyboardInterrupt, and one that came in before do so now."""
        if not self._alone:
            return contextlib.nullcontext()
        if self.asked():
            raise KeyboardInterrupt
        return interrupting()

    def finish(self) -> None:
        """Let what follows take its time."""
        self._deadline.met()
