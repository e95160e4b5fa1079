"""What a user may have meant by a name that is not there.

suggest.sentence("ssd_mobilnet", names)       # "Did you mean 'ssd_mobilenet'?", or "There are: …."
suggest.clause("ssd_mobilnet", names)         # "; did you mean 'ssd_mobilenet'?", or "."
"""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like ``name``; None where none is like it."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def several(name: str, known: Iterable[str], *, count: int) -> list[str]:
    """Return the ``count`` known names most like ``name``, however unlike, the best first."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.0)


def sentence(name: str, known: Iterable[str], *, otherwise: str = "There are") -> str:
    """Return a sentence with the nearest known name, or one that begins with ``otherwise`` and lists all."""
    known = list(known)
    near = nearest(name, known)
    return f"Did you mean {near!r}?" if near else f"{otherwise}: {', '.join(known)}."


def clause(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence with the nearest known name, for where the next sentence lists all."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else "."
