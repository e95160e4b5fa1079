"""What can go wrong with one exam: it passes, or it does not. And names of exams that may be logged.

raise Refused("it has 12 frames; radiographs have one")       # never tried again
raise Trouble("the PACS answered 503")                        # tried again, later
"""

import hashlib
import re

from pneumodet.data.elements import is_uid as is_uid
from pneumodet.errors import PneumodetError

HASH_DIGITS = 12
"""Hex digits of an exam's short name: 48 bits tell some millions of exams apart."""

_UID_IN_TEXT = re.compile(r"(?<![\d.])(?:2\.25\.\d+|\d+(?:\.\d+){4,})(?![\d.]*\d)")
"""UIDs made of UUIDs (PS3.5 B.2), and five numbers or more; four are an IP address."""


class Refused(PneumodetError):
    """An object that will not be predicted, however often it is looked at; the message is the reason, without anything of the patient."""


class Trouble(PneumodetError):
    """Something that may pass, such as a PACS that does not answer; the message names no patient."""


def short(uid: str) -> str:
    """Return an exam's name for logs, file names and health reports: the first 12 hex digits of SHA-256 of its SOPInstanceUID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:HASH_DIGITS]


def without_uids(text: str) -> str:
    """Return a text in which every UID is replaced by its ``short`` name."""
    return _UID_IN_TEXT.sub(lambda match: short(match[0]), text)
