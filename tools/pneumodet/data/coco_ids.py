"""Ids of COCO files, as tools write them: whole numbers, text, and numbers that a spreadsheet or a database made of other kinds.

value("7"), value(7.0), value(7)            # 7, 7, 7: what is equal by value is one id
value("0004cfab"), value(None)              # the text; ValueError
"""

import re
from typing import Any

from pneumodet.data.collector import shown

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
"""A whole number as JSON writes it; "007" is a name."""

Id = int | str


def value(number: Any, name: str = "id") -> Id:
    """Return what an id is equal by; ValueError where it is neither a whole number nor text.

    Args:
      number: as the file has it.
      name: of the field, for the message.
    """
    if isinstance(number, str):
        text = number.strip()
        return int(text) if _WHOLE.fullmatch(text) else number
    if isinstance(number, float) and number.is_integer():
        return int(number)
    if not isinstance(number, int) or isinstance(number, bool):  # True == 1
        raise ValueError(f"{name} is {shown(number)}, must be a whole number")
    return number


def of_entry(entry: Any, name: str) -> Id:
    """Return ``value`` of an entry's field; ValueError where it is missing, too, or the entry is no object."""
    if not isinstance(entry, dict):
        raise ValueError(f"the entry is {shown(entry)}, must be an object")
    return value(entry.get(name), name)
