"""A JSON object that is read field by field; an error names the file, the field, its value and what it must be.

fields = Fields(paths.read_json(path, what="the model card", hint=hint), where=str(path), error=CheckpointError, hint="Export the run again.")
fields.optional("score_threshold", float)         # None where it is absent or null
fields.part("input").required("padded", bool)   # CheckpointError: "…model.json: the field input.padded is missing. Export the run again."
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from pneumodet.core.errors import PneumodetError

T = TypeVar("T", str, int, float, bool, dict[str, Any], list[Any])

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
    """An object of a JSON file; keys that nobody asks for are left alone, so that a file with more of them can be read."""

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
        self._content = content

    def wrong(self, name: str, must: str) -> PneumodetError:
        """Return the error of a field that is missing, or whose value must be something else."""
        value, named = self._content.get(name), f"{self._where}: the field {self._name(name)}"
        return self._error(
            f"{named} is missing. {self._hint}" if value is None else f"{named} is {_short(value)}, must be {must}. {self._hint}"
        )

    def optional(self, name: str, kind: type[T]) -> T | None:
        """Return a field's value, or None where it is absent or null; a whole number is a number, too, but true is neither."""
        value: Any = self._content.get(name)
        if value is None:
            return None
        # type, not isinstance: in Python True is an int
        if kind is float and type(value) is int:
            try:
                value = float(value)
            except OverflowError:
                raise self.wrong(name, "a number of a double's range") from None
        # second condition: a bool passes isinstance for int
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            raise self.wrong(name, _KINDS[kind])
        return value

    def required(self, name: str, kind: type[T]) -> T:
        """Return a field's value."""
        value = self.optional(name, kind)
        if value is None:
            raise self.wrong(name, _KINDS[kind])
        return value

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
        if value is not None and (value in ("", ".", "..") or "/" in value or "\\" in value or "\0" in value):
            raise self.wrong(name, "the name of a file in the same folder")
        return value

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """Return a list of so many numbers."""
        values = self.required(name, list)
        # Python's JSON reads NaN and Infinity, which are no JSON; no comparison with NaN is True
        if len(values) != count or not all(type(value) in (int, float) and abs(value) < float("inf") for value in values):
            raise self.wrong(name, f"a list of {count} numbers")
        try:
            return tuple(map(float, values))
        except OverflowError:
            raise self.wrong(name, f"a list of {count} numbers of a double's range") from None

    def part(self, name: str) -> "Fields | None":
        """Return a field that is an object, or None."""
        value = self.optional(name, dict)
        return None if value is None else self._part(value, self._name(name))

    def parts(self, name: str) -> "Iterator[tuple[str, Fields]]":
        """Yield (key, object) of a field whose values are objects."""
        for key, value in self.required(name, dict).items():
            yield key, self._part(value, f"{self._name(name)}.{key}")

    def listed(self, name: str) -> "tuple[Fields, ...] | None":
        """Return a field that is a list of objects, or None."""
        values = self.optional(name, list)
        return None if values is None else tuple(self._part(value, f"{self._name(name)}[{place}]") for place, value in enumerate(values))

    def _name(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _part(self, value: object, path: str) -> "Fields":
        return Fields(value, where=self._where, error=self._error, hint=self._hint, path=path)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
