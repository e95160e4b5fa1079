"""Progress bars: on a terminal and in a notebook, never in a pipe or a log file."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from pneumodet.core import invocation
from pneumodet.core.formatting import counted

if TYPE_CHECKING:
    from tqdm import tqdm


class Training(Protocol):
    """How far a training is, as ``training.loop`` reports it.

    Attributes:
      step: steps done.
      total: steps in all.
      loss: the newest total loss.
      seconds_per_step: None or 0 until it is measured.
      images_per_second: likewise.
    """

    @property
    def step(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def seconds_per_step(self) -> float | None: ...
    @property
    def images_per_second(self) -> float | None: ...


def in_notebook() -> bool:
    """Return whether this process is a notebook's kernel, whose cells draw bars although its standard error is no terminal."""
    # as tqdm.auto decides it; who is in a notebook has imported IPython already
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return "IPKernelApp" in getattr(shell, "config", ())


def visible() -> bool:
    """Return whether bars are drawn."""
    return sys.stderr.isatty() or in_notebook()


def bar(
    iterable: Iterable[Any] | None = None, *, total: int | None = None, desc: str = "", unit: str = "it", initial: int = 0, **more: Any
) -> "tqdm[Any]":
    """Return a tqdm bar: a notebook's own, or text on standard error; it draws nothing unless bars are ``visible``."""
    # which kind of bar there is, is decided when this is imported
    from tqdm.auto import tqdm

    return tqdm(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        initial=initial,
        disable=not visible(),
        dynamic_ncols=True,
        leave=False,
        **more,
    )


@contextlib.contextmanager
def phase(what: str, *, piped: bool = False) -> Iterator[None]:
    """Say on a terminal what is being done where it cannot be counted; the line goes when that is over.

    Args:
      what: is done.
      piped: print a line where no bars are visible, for work of minutes.
    """
    if piped and not visible():
        sys.stderr.write(f"{what} ...\n")
    with bar(desc=what, bar_format="{desc} ..."):
        yield


@contextlib.contextmanager
def counting(desc: str, unit: str, *, piped: bool = False) -> Iterator[Callable[[int], Callable[..., None]]]:
    """Yield what takes the number of things, where it is known only later, and returns what to call after each, with whatever is known of it.

    Args:
      desc: what is done.
      unit: to what.
      piped: print a line where no bars are visible, for work of minutes.
    """
    with bar(desc=desc, unit=unit) as shown:

        def advance(*_: object) -> None:
            shown.update()

        def start(total: int) -> Callable[..., None]:
            shown.reset(total=total)
            if piped and not visible():
                sys.stderr.write(f"{desc}: {counted(total, unit)} ...\n")
            return advance

        yield start


class TrainingBar:
    """Shows training: a bar where bars are ``visible``, a line every tenth of the way otherwise."""

    def __init__(self) -> None:
        """Begin without a bar: how many steps there are is known with the first update."""
        self._bar: tqdm[Any] | None = None
        self._tenth = -1

    def __enter__(self) -> "TrainingBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def message(self, text: str) -> None:
        """Say what happens next, or what came of it; above the bar, which stays, where there is one."""
        text = invocation.spelled(text)
        if self._bar is None:
            sys.stderr.write(text + "\n")
        else:
            self._bar.write(text, file=sys.stderr)

    def update(self, now: Any) -> None:
        """Show a ``training.Progress``."""
        if visible():
            if self._bar is None:
                self._bar = bar(total=now.total, initial=now.step, desc="training", unit="step")
            self._bar.set_postfix_str(f"loss {now.loss:.3f}{_speed(now)}", refresh=False)
            self._bar.update(now.step - self._bar.n)
        elif now.step * 10 // now.total > self._tenth:
            self._tenth = now.step * 10 // now.total
            left = f", {(now.total - now.step) * now.seconds_per_step:.0f} s left" if now.seconds_per_step else ""
            self.message(f"step {now.step} of {now.total}: loss {now.loss:.3f}{_speed(now)}{left}")


def _speed(now: Any) -> str:
    return f", {now.images_per_second:.1f} images/s" if now.images_per_second else ""


class Download:
    """Shows a download: a bar where bars are ``visible``, nothing otherwise."""

    def __init__(self) -> None:
        """Begin without a bar: how many bytes there are is known with the first update."""
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> "Download":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int, total: int | None) -> None:
        """Show how many bytes are there, of how many."""
        if self._bar is None:
            self._bar = bar(total=total, desc="downloading", unit="B", unit_scale=True)
        self._bar.update(done - self._bar.n)
        # the next file gets a bar of its own
        if done == total:
            self._bar.close()
            self._bar = None
