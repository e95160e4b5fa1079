"""What a PACS answers, read with bounds: DICOM JSON (PS3.18 F), and texts, which become one line without anything of a patient.

for entry in entries(body): uid = text_of(entry, "00080018")
refusal_text(b"<html><p>Disk full</p>", "text/html")              # 'Disk full'
warning_text('299 pacs: "There are 20 additional results"')       # 'There are 20 additional results'
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from pneumodet.core import json_text
from pneumodet.dicom.net.errors import UID_IN_TEXT, Trouble

MAX_DEPTH = 32
"""Arrays and objects in one another; sequences of radiographs have 10."""

MAX_TEXT_LETTERS = 160
"""Of a text that is shown."""

MESSAGE_KEYS = frozenset(
    {"message", "details", "detail", "error", "error_description", "title", "description", "diagnostics", "errormessage"}
)
"""Of JSON objects (Orthanc, Azure, RFC 6749, RFC 9457, FHIR), whose values are shown; other values could be a patient's."""

Entry = dict[str, Any]
"""An object of the DICOM JSON model: tag -> {"vr": …, "Value": […]}."""

_NOT_SHOWN = "…"

_INVISIBLE = re.compile(r"(?is)<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)")
_TAG = re.compile(r"(?s)<[^<>]*>")
_WARNING = re.compile(r"^\s*\d{3}\s+(?:[^\s\"]+:?\s+)?")

_OF_A_PATIENT = (
    re.compile(r"(?i)\(?\b0010,?[0-9a-f]{4}\b.*|\b(?:patient|birth|name)\w*[\"']?\s*[=:].*"),  # to the end
    re.compile(r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)"),  # values that are quoted
    UID_IN_TEXT,
)
"""What is left out of texts, besides words of ``_is_of_a_patient``. A name in plain words cannot be recognized; servers quote what they name."""

_LONG_NUMBER = re.compile(r"\d{4}")

_MAX_CLEANED_LETTERS = 2000
"""Of a text before anything is left out."""


def document(body: bytes) -> Any:
    """Return what a JSON text says.

    Raises:
      ValueError: it is no JSON, or nested deeper than ``MAX_DEPTH``.
    """
    # not strict: a number of another attribute that no program can hold is no reason to pass over an exam
    return json_text.loads(body, strict=False, depth=MAX_DEPTH)


def entries(body: bytes) -> list[Entry]:
    """Return the objects of a search's answer; none where it is empty.

    Raises:
      Trouble: it is no list of objects.
    """
    try:
        page = document(body) if body else []
    except ValueError:
        page = None
    if not isinstance(page, list) or not all(isinstance(item, dict) for item in page):
        raise Trouble("the PACS did not answer with a list of DICOM objects; is this a DICOMweb service?")
    return page


def value_of(entry: Entry, tag: str) -> Any:
    """Return the first value of an attribute (PS3.18 F.2), or None."""
    attribute = entry.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values[0] if isinstance(values, list) and values else None


def text_of(entry: Entry, tag: str) -> str:
    """Return the first value of an attribute without its padding, or nothing where there is no text."""
    value = value_of(entry, tag)
    return value.strip(" \0\t\r\n") if isinstance(value, str) else ""


def items_of(entry: Entry, tag: str) -> list[Entry]:
    """Return the items of a sequence."""
    attribute = entry.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def refusal_text(body: bytes, content_type: str) -> str:
    """Return why a PACS refuses, as one line: of JSON the messages in it, of HTML the text; nothing where it says nothing that can be shown.

    Args:
      body: the beginning of the answer's body.
      content_type: of it.
    """
    kind = content_type.partition(";")[0].strip().lower()
    text = body.decode("utf-8", errors="replace")
    if kind.endswith("json") or text.lstrip()[:1] in ("{", "["):
        try:
            text = ". ".join(dict.fromkeys(message.rstrip(". ") for message in _messages(document(body))))
        except ValueError:
            return ""  # cut off, or no JSON: keys cannot be distinguished from values
    elif kind.endswith(("html", "xml")) or text.lstrip()[:1] == "<":
        text = unescape(_TAG.sub(" ", _INVISIBLE.sub(" ", text)))
    elif kind and not kind.startswith("text/"):
        return ""
    return one_line(text)


def warning_text(header: str) -> str:
    """Return the text of a ``Warning`` header (PS3.18 8.3.4.4; RFC 7234 5.5) as one line."""
    return one_line(_WARNING.sub("", header).strip().strip('"'))


def one_line(text: str) -> str:
    """Return a text as one short line, without control characters and without what may be a patient's."""
    # first of all, so that no text of a PACS keeps the patterns busy
    text = text[:_MAX_CLEANED_LETTERS]
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    for pattern in _OF_A_PATIENT:
        line = pattern.sub(_NOT_SHOWN, line)
    line = " ".join(_NOT_SHOWN if _is_of_a_patient(word) else word for word in line.split(" "))
    line = line.replace("\N{REPLACEMENT CHARACTER}", "")
    if len(line) > MAX_TEXT_LETTERS:
        line = line[: MAX_TEXT_LETTERS - 1].rstrip() + _NOT_SHOWN
    return line.rstrip(". ") if any(letter.isalnum() for letter in line) else ""


def _is_of_a_patient(word: str) -> bool:
    """Whether a word may be a person's name, a number or date of a patient, or an address, which has queries and UIDs."""
    address = "://" in word or "@" in word or word.count("/") > 1 or ("?" in word and "=" in word)
    return address or "^" in word or _LONG_NUMBER.search(word) is not None


def _messages(value: Any) -> Iterator[str]:
    """Yield the messages in a JSON value, in their order."""
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(below, str):
            if str(key).lower() in MESSAGE_KEYS and below.strip():
                yield below.strip()
        else:
            yield from _messages(below)
