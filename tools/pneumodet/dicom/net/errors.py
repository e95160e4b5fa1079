"""What can go wrong with a PACS: it passes, or it does not. And short names of UIDs, which may be logged.

raise Refused("it has 12 frames; radiographs have one")       # never tried again
raise Trouble("the PACS answered 503")                        # tried again, later
"""

import hashlib
import re

from pneumodet.core.errors import PneumodetError

HASH_DIGITS = 12
"""Hex digits of a UID's short name: 48 bits distinguish some millions of exams."""

UID_IN_TEXT = re.compile(r"(?<![\d.])(?:2\.25\.\d+|\d+(?:\.\d+){4,})(?![\d.]*\d)")
"""UIDs made of UUIDs (PS3.5 B.2), and five numbers or more; four are an IP address."""


class Refused(PneumodetError):
    """An object that will not be taken, however often it is tried; the message is the reason, without anything of the patient."""


class Trouble(PneumodetError):
    """Something that may pass, such as a PACS that does not answer; the message names no patient."""


class Unreachable(Trouble):
    """The PACS does not answer, or not to us: the next request will most likely fail, too.

    Attributes:
      retry: whether asking again in a moment may help.
    """

    def __init__(self, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.retry = retry


class NotAllowed(Unreachable):
    """The PACS answers 401 or 403: the credentials are missing or wrong."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=False)


class ListLimit(Trouble):
    """A list has more pages, or takes longer, than is allowed; what was read of it is not all there is."""


def short(uid: str) -> str:
    """Return an exam's name for logs, file names and health reports: the first 12 hex digits of SHA-256 of its SOPInstanceUID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:HASH_DIGITS]


def without_uids(text: str) -> str:
    """Return a text in which every UID is replaced by its ``short`` name."""
    return UID_IN_TEXT.sub(lambda match: short(match[0]), text)
