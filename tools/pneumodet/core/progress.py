"""Progress bars: on a terminal only, never in a pipe or a log file."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(
    iterable: Iterable[Any] | None = None, *, total: int | None = None, desc: str = "", unit: str = "it", initial: int = 0, **more: Any
) -> tqdm:
    """Return a tqdm bar on standard error that is silent unless standard error is a terminal."""
    return tqdm(
        iterable,
        total=total,
        desc=desc,
        unit=unit,
        initial=initial,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        leave=False,
        **more,
    )


class TrainingBar:
    """Shows training: a bar on a terminal, a line every tenth of the way otherwise."""

    def __enter__(self) -> "TrainingBar":
        self._bar = None
        self._tenth = -1
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def message(self, text: str) -> None:
        """Say what happens next."""
        sys.stderr.write(text + "\n")

    def update(self, now: Any) -> None:
        """Show a ``training.Progress``."""
        if sys.stderr.isatty():
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
    """Shows a download: a bar on a terminal, nothing otherwise."""

    def __enter__(self) -> "Download":
        self._bar = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int, total: int | None) -> None:
        """Show how many bytes are there, of how many."""
        if self._bar is None:
            self._bar = bar(total=total, desc="downloading", unit="B", unit_scale=True)
        self._bar.update(done - self._bar.n)
        if done == total:
            self._bar.close()
            self._bar = None
