"""CSV files that are safe to open in a spreadsheet, which takes a cell that begins with = + - @ for a formula and computes it.

Writer(file).writerows([("patientId", "score"), ("=cmd|' /C calc'!A0", "0.5")])       # '=cmd… in the file
plain("'=cmd|' /C calc'!A0")                                                            # what was meant, again
is_formula("-1.5"), is_formula("-x")                                                    # False, True: a number is no formula

An apostrophe before the cell makes it text (OWASP, CSV Injection). The reader of tables takes it off again, so that our own files come back as they
were. Files whose ids other programs compare, as Kaggle's, are written without it, and have no such ids.
"""

import csv
import re
from collections.abc import Iterable
from typing import IO

STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""What spreadsheets take for the beginning of a formula; the last four are full-width letters, which they do in East Asian languages."""

_MARK = "'"

_GUARDED = re.compile(f"{_MARK}+[{re.escape(STARTS)}]")
"""A cell that a spreadsheet must take for text; an apostrophe that was there before gets another one, so that both come back."""


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may take a cell for a formula, and not for a number or a text."""
    return text[:1] in STARTS and text != "" and not _is_number(text)


def guarded(cell: object) -> object:
    """Return a cell as it is written: a text that would be a formula, or that begins as one that is guarded, has an apostrophe before it."""
    if isinstance(cell, str) and (is_formula(cell) or _GUARDED.match(cell)):
        return _MARK + cell
    return cell


def plain(cell: str) -> str:
    """Return what ``guarded`` was given."""
    return cell[1:] if _GUARDED.match(cell) else cell


def has_guarded(text: str) -> bool:
    """Whether the text of a file has a cell that may be guarded: nearly none has, and millions of cells need not be asked."""
    return _MARK in text and _GUARDED.search(text) is not None


class Writer:
    """As ``csv.writer``, of guarded cells and Unix line ends."""

    def __init__(self, file: IO[str]) -> None:
        """Take an open file."""
        self._rows = csv.writer(file, lineterminator="\n")

    def writerow(self, cells: Iterable[object]) -> None:
        """Write a row."""
        self._rows.writerow(map(guarded, cells))

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write rows."""
        for row in rows:
            self.writerow(row)


def _is_number(text: str) -> bool:
    # float takes blanks around a number, and underscores in it, which are no number to a spreadsheet
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text and text == text.strip()
