"""A JSON object that is read field by field; an error names the file, the field, its value and what it must be.

fields = of_file(path, what="the model card", error=CheckpointError, hint="Export the run again.")
fields.version(2)                                 # refuses what a newer pneumodet wrote
fields.optional("score_threshold", float)         # None where it is absent or null
fields.part("input").required("padded", bool)     # CheckpointError: "…model.json: the field input.padded is missing. Export the run again."
record = fields.build(RunRecord)                  # a dataclass, by its annotations

Every format of ours that may come from elsewhere is read by it: manifest, run record, model card, recipe, metrics, registry, parity.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pneumodet.core import json_text
from pneumodet.core.errors import DataError, PneumodetError

T = TypeVar("T", str, int, float, bool, dict[str, Any], list[Any])
Built = TypeVar("Built")

REST: Mapping[str, bool] = {"rest": True}
"""Metadata of a dataclass's field that gets what the dataclass does not know: ``field(default_factory=dict, metadata=REST)``."""

_KINDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}

_SHOWN = 100
"""Characters of a wrong value in a message; a field may hold a whole table."""


class Fields:
    """An object of a JSON file; keys that nobody asks for are left alone, so that a file with more of them can be read.

    Attributes:
      content: the object.
    """

    def __init__(self, content: object, *, where: str, error: type[PneumodetError], hint: str, path: str = "") -> None:
        """Take the parsed content.

        Args:
          content: of the file, or of a part of it.
          where: the file, for messages.
          error: what is raised.
          hint: the next step, for messages.
          path: of this object in the file, as ``artefacts.onnx``; empty for the whole.

        Raises:
          PneumodetError: (``error``) the content is no object.
        """
        self._where, self._error, self._hint, self._path = where, error, hint, path
        if not isinstance(content, Mapping):
            what = f"the field {path}" if path else "the content"
            raise error(f"{where}: {what} is {_short(content)}, must be {_KINDS[dict]}. {hint}")
        self.content: Mapping[str, Any] = content

    def __contains__(self, name: str) -> bool:
        return self.content.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def wrong(self, name: str, must: str) -> PneumodetError:
        """Return the error of a field that is missing, or whose value must be something else."""
        return self._wrong(name, self.content.get(name), must)

    def optional(self, name: str, kind: type[T]) -> T | None:
        """Return a field's value, or None where it is absent or null; a whole number is a number, too, but true is neither."""
        value = self.content.get(name)
        return None if value is None else self._plain(name, value, kind)

    def required(self, name: str, kind: type[T]) -> T:
        """Return a field's value."""
        value = self.optional(name, kind)
        if value is None:
            raise self.wrong(name, _KINDS[kind])
        return value

    def count(self, name: str, *, least: int = 0) -> int | None:
        """Return a whole number of at least ``least``, or None."""
        value = self.content.get(name)
        if value is not None and (type(value) is not int or value < least):
            raise self.wrong(name, f"a whole number of at least {least}")
        return value

    def version(self, newest: int, *, oldest: int = 1) -> int | None:
        """Return the field ``version``, or None where there is none.

        Raises:
          PneumodetError: it is no version of ``oldest`` to ``newest``.
        """
        version = self.count("version", least=oldest)
        # a newer version may mean something else by a field of the same name
        if version is not None and version > newest:
            knows = f"{oldest} to {newest}" if oldest < newest else str(newest)
            raise self._error(
                f"{self._where} has the version {version}, but this pneumodet knows {knows}. Use the pneumodet that wrote it, or a newer one."
            )
        return version

    def choice(self, name: str, allowed: Collection[str]) -> str:
        """Return a text that is one of those allowed."""
        value = self.required(name, str)
        if value not in allowed:
            raise self.wrong(name, f"one of {', '.join(allowed)}")
        return value

    def file_name(self, name: str) -> str | None:
        """Return the name of a file beside this one, or None; a path that leads elsewhere is wrong."""
        value = self.optional(name, str)
        # a card may come from elsewhere: its names must not lead to other files of this machine
        if value is not None and (
            value in ("", ".", "..") or "/" in value or "\\" in value or "\0" in value or len(value.encode(errors="replace")) > 255
        ):
            raise self.wrong(name, "the name of a file in the same folder")
        return value

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Return a list of so many numbers."""
        values = self.required(name, list)
        if len(values) != count or not all(type(value) in (int, float) for value in values):
            raise self.wrong(name, f"a list of {count} numbers")
        return tuple(self._plain(f"{name}[{place}]", value, float) for place, value in enumerate(values))

    def texts(self, name: str) -> list[str]:
        """Return a list of texts."""
        return [self._plain(f"{name}[{place}]", value, str) for place, value in enumerate(self.required(name, list))]

    def part(self, name: str) -> "Fields | None":
        """Return a field that is an object, or None."""
        value = self.optional(name, dict)
        return None if value is None else self._part(name, value)

    def parts(self, name: str) -> "Iterator[tuple[str, Fields]]":
        """Yield (key, object) of a field whose values are objects."""
        for key, value in self.required(name, dict).items():
            yield key, self._part(f"{name}.{key}", value)

    def listed(self, name: str) -> "tuple[Fields, ...] | None":
        """Return a field that is a list of objects, or None."""
        values = self.optional(name, list)
        return None if values is None else tuple(self._part(f"{name}[{place}]", value) for place, value in enumerate(values))

    def typed(self, name: str, hint: Any) -> Any:
        """Return a field of a type such as ``dict[str, int]``, as in a dataclass that ``build`` takes, or None."""
        value = self.content.get(name)
        return None if value is None else self._as(name, value, hint)

    def values(self, kind: type[Built]) -> dict[str, Built]:
        """Return all fields, each a dataclass as ``build`` makes it."""
        return {name: self._as(name, value, kind) for name, value in self.content.items()}

    def build(self, kind: type[Built]) -> Built:
        """Return a dataclass made of this object.

        Fields have the types of its annotations: text, number, ``dict[str, X]`` or Mapping, ``list[X]``, ``tuple[X, ...]``, other dataclasses, Any, and
        ``X | None``. A field that is absent or null has the dataclass's default.

        Raises:
          PneumodetError: a field without a default is missing, or one has another type.
        """
        hints, values = _hints(kind), {}  # type: ignore[arg-type]
        known = dataclasses.fields(kind)  # type: ignore[arg-type]
        for field in known:
            if field.metadata.get("rest"):
                names = {one.name for one in known}
                values[field.name] = {key: value for key, value in self.content.items() if key not in names}
                continue
            value = self.content.get(field.name)
            if value is not None:
                values[field.name] = self._as(field.name, value, hints[field.name])
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise self.wrong(field.name, "given")
        return kind(**values)

    def _as(self, name: str, value: Any, hint: Any) -> Any:
        """Return a value as an annotation has it."""
        origin, within = typing.get_origin(hint), typing.get_args(hint)
        if origin in (types.UnionType, typing.Union):  # X | None
            (hint,) = (one for one in within if one is not type(None))
            return None if value is None else self._as(name, value, hint)
        if hint is Any:
            return value
        if dataclasses.is_dataclass(hint):
            return self._part(name, value).build(hint)  # type: ignore[arg-type]
        if origin in (dict, Mapping):
            return {key: self._as(f"{name}.{key}", one, within[1]) for key, one in self._plain(name, value, dict).items()}
        if origin in (list, tuple):
            if within[0] is str and type(value) is list and all(type(one) is str for one in value):  # a manifest may list every exam
                return origin(value)
            return origin(self._as(f"{name}[{place}]", one, within[0]) for place, one in enumerate(self._plain(name, value, list)))
        return self._plain(name, value, hint)

    def _plain(self, name: str, value: Any, kind: type[T]) -> T:
        # type, not isinstance: in Python True is an int
        if kind is float and type(value) is int:
            try:
                value = float(value)
            except OverflowError:
                raise self._wrong(name, value, "a number of a double's range") from None
        if kind is list and isinstance(value, tuple):  # of what was not read from a file, as of NaN below
            value = list(value)
        # second condition: a bool passes isinstance for int
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            raise self._wrong(name, value, _KINDS[kind])
        if isinstance(value, float) and not math.isfinite(value):
            raise self._wrong(name, value, _KINDS[float])
        return value

    def _wrong(self, name: str, value: object, must: str) -> PneumodetError:
        named = f"{self._where}: the field {self._name(name)}"
        return self._error(
            f"{named} is missing. {self._hint}" if value is None else f"{named} is {_short(value)}, must be {must}. {self._hint}"
        )

    def _name(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _part(self, name: str, value: object) -> "Fields":
        return Fields(value, where=self._where, error=self._error, hint=self._hint, path=self._name(name))


def of_file(path: Path, *, what: str, hint: str, error: type[PneumodetError] = DataError) -> Fields:
    """Return the fields of a JSON file; arguments and errors as ``json_text.read``, and an error where it is no object."""
    return Fields(json_text.read(path, what=what, hint=hint, error=error), where=str(path), error=error, hint=hint)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _short(value: object) -> str:
    # ascii: a text may hold what no terminal or file can write
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
