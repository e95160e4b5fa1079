"""Progress bars: on a terminal only, never in a pipe or a log file."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(iterable: Iterable[Any] | None = None, *, total: int | None = None, desc: str = "", unit: str = "it", initial: int = 0) -> tqdm:
    """Return a tqdm bar on standard error that is silent unless standard error is a terminal."""
    return tqdm(
        iterable, total=total, desc=desc, unit=unit, initial=initial, disable=not sys.stderr.isatty(), dynamic_ncols=True, leave=False
    )
