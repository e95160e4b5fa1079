"""The one parser of JSON, for files and answers that others may have written: whatever they hold, it is a value or one sentence.

value = read(path, what="the model card", hint="Export the run again.")         # DataError where it cannot be used
value = loads(body, strict=False)                                                # ValueError where it is no JSON
rows = alike(body, {"image_id": int, "score": float})                            # a list of millions of objects; None where one is another

``json.loads`` ends in a RecursionError for nested lists, and takes NaN, Infinity and whole numbers of any length, which end in an OverflowError
where they are used. ``core.json_fields`` checks the fields of what is read here.
"""

import contextlib
import functools
import gc
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pneumodet.core import paths
from pneumodet.core.errors import DataError, PneumodetError

MAX_DEPTH = 64
"""Lists and objects in one another. What is written here has 8 at most, and Python's own limit is too near to the depth at which it cannot write again."""

MAX_BYTES = 256 << 20
"""Of a file that describes something; 100,000 lines of a manifest have 20 MB."""

_NESTING = frozenset((dict, list))

_INT64 = 1 << 63
"""Whole numbers from here on are no numbers to numpy, and most programs round them (RFC 8259, section 6)."""

_ESCAPED = range(0xDC80, 0xDD00)
"""How Python keeps the bytes of a path that is not UTF-8."""

_SURROGATES = range(0xD800, 0xE000)

_SUSPICIOUS = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""How a JSON text writes a byte 0, and surrogates, which may be whole pairs."""


def loads(text: str | bytes, *, strict: bool = True, depth: int = MAX_DEPTH) -> Any:
    """Return the value of a JSON text.

    Args:
      text: or its bytes, in UTF-8.
      strict: refuse what JSON has no word for (NaN, Infinity), whole numbers beyond 64 bits, and texts that cannot be written or name a file: with half a
        character or a byte 0. False is for long tables, whose entries are checked one by one, and costs less.
      depth: lists and objects in one another.

    Raises:
      ValueError: it is no such JSON; the message, without a full stop, says why and where.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        with _not_collecting():
            value = json.loads(text)
            plain = _check(value, depth, numbers=strict)
            if strict and ((texts := _SUSPICIOUS.search(text) is not None) or not plain):
                for problem in _problems(value, "", texts=texts):
                    raise ValueError(problem)
            return value
    except RecursionError:
        raise ValueError(_too_deep(depth)) from None


def read(path: Path, *, what: str, hint: str, error: type[PneumodetError] = DataError) -> Any:
    """Read a JSON file that describes something: a manifest, a card, a record.

    Args:
      path: the file.
      what: what the file is, for the message ("the data manifest").
      hint: the next step, for the message ("Run make_tfrecords first.").
      error: what is raised.

    Raises:
      PneumodetError: (``error``) the file is missing, larger than ``MAX_BYTES``, or no JSON as ``loads`` takes it.
    """
    path = Path(path)
    try:
        if kind := paths.special(os.stat(path).st_mode):
            raise error(f"{what[0].upper()}{what[1:]} {path} is {kind}. {hint}")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise error(f"{what[0].upper()}{what[1:]} {path} has more than {MAX_BYTES >> 20} MiB, and is not read. {hint}")
        return loads(data)
    except OSError as problem:
        raise error(f"Cannot read {what} {path}: {problem.strerror}. {hint}") from problem
    except ValueError as problem:
        raise error(f"{what[0].upper()}{what[1:]} {path} is not valid JSON ({problem}). {hint}") from problem


def alike(
    data: bytes, fields: Mapping[str, Any], *, optional: Mapping[str, Any] = MappingProxyType({}), none_of: Sequence[str] = ()
) -> list[Any] | None:
    """Return the objects in a JSON list of objects that are all alike, in a fifth of the time and of the memory that ``loads`` takes.

    A list that is other than that, or damaged, is left to ``loads``, which takes all or says what is wrong.

    Args:
      data: the text in UTF-8.
      fields: name -> type of what each object has; of ``int``, ``float``, ``str`` and tuples of these. Whole numbers are floats, too; true is neither.
      optional: likewise, of what an object may have or not; None then.
      none_of: names that no object has. Others are passed over.

    Returns:
      Objects with the fields as attributes; None where one has not these fields or types, or msgspec, a part of ``[evaluate]``, is not installed.
    """
    try:
        import msgspec  # optional, and here because ``--help`` needs no parser
    except ImportError:
        return None
    kind = _kind(tuple(fields.items()), tuple(optional.items()), tuple(none_of))
    with _not_collecting(), contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
        rows: list[Any] = msgspec.json.decode(data, type=list[kind])  # type: ignore[valid-type]
        return rows
    return None


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Yield a JSON list of objects as lists of about ``size`` bytes each: the same entries in the same order, where each piece is JSON and none is empty.

    It is cut behind a "}" that a comma follows, which need not be the end of an entry. Where it is not, the piece in front of the cut ends within a text, a
    list or an object, and is no JSON.

    Args:
      data: the text in UTF-8.
      size: bytes after which the next cut is made.
    """
    start, opening, view = 0, b"", memoryview(data)  # a view, so that each byte is copied once
    while (cut := data.find(b"},", start + size)) >= 0:
        yield b"".join((opening, view[start : cut + 1], b"]"))
        start, opening = cut + 2, b"["
    yield b"".join((opening, view[start:]))


@functools.cache
def _kind(fields: tuple[tuple[str, Any], ...], optional: tuple[tuple[str, Any], ...], none_of: tuple[str, ...]) -> Any:
    import msgspec

    absent = [(name, msgspec.UnsetType, msgspec.UNSET) for name in none_of]
    return msgspec.defstruct("Row", [*fields, *((name, of | None, None) for name, of in optional), *absent], gc=False)


@contextlib.contextmanager
def _not_collecting() -> Iterator[None]:
    """Keep Python from searching millions of small objects that live on for cycles, which takes longer than reading them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _too_deep(depth: int) -> str:
    return f"it is nested deeper than {depth} levels"


def _check(value: Any, depth: int, *, numbers: bool) -> bool:
    """Return whether all numbers, where these are asked for, are finite and have 64 bits; ValueError where lists and objects are nested too deeply."""
    plain, parents = True, [[value]]
    # level by level, as a walk that calls itself could come to Python's own limit; what is below is not kept, since tables have millions of numbers
    for _ in range(depth + 1):
        if numbers and plain:
            plain = all(-_INT64 <= one < _INT64 for one in _level(parents) if type(one) is float or type(one) is int)  # False for NaN, too
        if _NESTING.isdisjoint(map(type, _level(parents))):
            return plain
        parents = [one for one in _level(parents) if type(one) in _NESTING]
    raise ValueError(_too_deep(depth))


def _level(parents: list[Any]) -> Iterator[Any]:
    return itertools.chain.from_iterable(map(_below, parents))


def _below(parent: Any) -> Any:
    return parent.values() if type(parent) is dict else parent


def _problems(value: Any, name: str, *, texts: bool) -> Iterator[str]:
    """Yield what is wrong with the values in a value, which is called ``name``."""
    if isinstance(value, dict):
        for key, below in value.items():
            if texts and _is_bad(key):
                yield f"{name or 'it'} has a field whose name is no text: {ascii(key)}"
            yield from _problems(below, f"{name}.{key}" if name else key, texts=texts)
    elif isinstance(value, list):
        for place, below in enumerate(value):
            if type(below) is not str or texts:
                yield from _problems(below, f"{name}[{place}]", texts=texts)
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{name or 'it'} is {value}, which is no number in JSON or too large"
    elif type(value) is int:
        if not -_INT64 <= value < _INT64:
            yield f"{name or 'it'} is a whole number of more than 64 bits"
    elif texts and isinstance(value, str) and _is_bad(value):
        yield f"{name or 'it'} is {ascii(value)[:100]}, which has half a character or a byte 0"


def _is_bad(text: str) -> bool:
    return any(letter == "\0" or (ord(letter) in _SURROGATES and ord(letter) not in _ESCAPED) for letter in text)
