"""Values of DICOM headers as they are, not as they should be.

text(source, "PatientName"), numbers(source, "PixelSpacing"), date(source, "StudyDate")

pydicom checks a value when it is asked for it, and its warnings quote what it finds. Here nothing is said, and a value that is unusable is empty.
"""

import contextlib
import datetime
import math
import re
from collections.abc import Iterable

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

_TEXTS = frozenset(("LO", "PN", "SH"))
"""Value representations that depend on SpecificCharacterSet (0008,0005), of those that are read here."""

LATIN_1 = "ISO_IR 100"
"""Stands in for a character set that is missing or unknown: it has a letter for each byte, so that all of them stay as they are."""

_PADDING = " \0"

# ASCII: by itself \d takes digits of every script
_DATE = re.compile(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)", re.ASCII)
# a leap second is 60 (PS3.5 6.2)
_TIME = re.compile(r"([01]\d|2[0-3])(?:([0-5]\d)(?:([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII)


def text(source: Dataset, keyword: str) -> str:
    """Return an element as text, its values parted by backslashes, without padding; empty where it is absent or cannot be decoded."""
    tag = tag_for_keyword(keyword)
    # get_item, not []: it gives the bytes as they are, without pydicom's conversion and its warnings
    element = source.get_item(tag)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = _decoded(source, value, dictionary_VR(tag))
    if value is None:
        return ""
    if isinstance(value, str | PersonName) or not isinstance(value, Iterable):
        return str(value).strip(_PADDING)
    return "\\".join(str(one) for one in value).strip(_PADDING)


def is_there(source: Dataset, keyword: str) -> bool:
    """Whether an element has a value, usable or not."""
    element = source.get_item(tag_for_keyword(keyword))
    value = None if element is None else element.value
    return bool(value.strip(_PADDING.encode()) if isinstance(value, bytes) else value)


def _decoded(source: Dataset, value: bytes, vr: str) -> str:
    if vr not in _TEXTS:
        return value.decode("latin-1")
    encodings = convert_encodings(list(character_set(source)))
    try:
        if vr == "PN":
            return str(PersonName(value, encodings, validation_mode=config.IGNORE))
        return str(decode_bytes(value, encodings, TEXT_VR_DELIMS))
    except Exception:  # whatever pydicom and the codecs raise on damaged text; they quote it
        return ""


def character_set(source: Dataset) -> tuple[str, ...]:
    """Return SpecificCharacterSet (0008,0005) of a radiograph, which its texts are read and written with; ``LATIN_1`` where it is unusable."""
    terms = tuple(one.strip() for one in text(source, "SpecificCharacterSet").split("\\"))
    if terms == ("",) or not all(one in python_encoding for one in terms):
        return (LATIN_1,)
    return terms


def numbers(source: Dataset, keyword: str) -> list[float]:
    """Return the finite numbers of a Decimal or Integer String; none where it is absent, or one of them is no number."""
    try:
        parsed = [float(one) for one in text(source, keyword).split("\\")]
    except ValueError:
        return []
    return parsed if all(map(math.isfinite, parsed)) else []


def whole(source: Dataset, keyword: str, *, default: int) -> int:
    """Return the first number of an element that is a positive whole one of 31 bits, else ``default``."""
    parsed = numbers(source, keyword)
    if not parsed or parsed[0] != int(parsed[0]) or not 0 < parsed[0] < 1 << 31:
        return default
    return int(parsed[0])


def integer(source: Dataset, keyword: str, *, default: int) -> int:
    """Return a binary number of one value, ``default`` where it is absent or damaged."""
    with contextlib.suppress(Exception):  # whatever pydicom raises on a damaged value; it quotes it
        return int(source[keyword].value)
    return default


def date(source: Dataset, keyword: str) -> str:
    """Return a date as YYYYMMDD; that of ACR-NEMA, YYYY.MM.DD, and YYYY-MM-DD are understood (PS3.5 6.2). Empty where it is none."""
    match = _DATE.fullmatch(text(source, keyword))
    with contextlib.suppress(ValueError):
        if match:
            datetime.date(*map(int, match.groups()))
            return "".join(match.groups())
    return ""


def time(source: Dataset, keyword: str) -> str:
    """Return a time as HHMMSS.FFFFFF or a part of it; colons are taken out (PS3.5 6.2). Empty where it is none."""
    plain = text(source, keyword).replace(":", "")
    return plain if _TIME.fullmatch(plain) else ""
