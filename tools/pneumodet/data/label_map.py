"""Label maps (.pbtxt): read, write, check. Neither TensorFlow nor the API is needed.

read_label_map(path)                     # {"no-pneumonia": 1, "pneumonia": 2}
"""

import re
from pathlib import Path

from pneumodet.core import paths
from pneumodet.core.errors import DataError

NO_PNEUMONIA = "no-pneumonia"
"""Name of class 1."""

PNEUMONIA = "pneumonia"
"""Name of class 2, the one with boxes."""

# protobuf's text format, as far as label maps use it; parsing it by protobuf would need the API's generated messages
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<open>\{)|(?P<close>\})|(?P<word>[A-Za-z_]\w*)\s*:?|(?P<string>'[^'\n]*'|"[^"\n]*")|(?P<number>-?\d+)|[,;]"""
)


def read_label_map(path: Path) -> dict[str, int]:
    """Read a label map.

    Args:
      path: a text-format StringIntLabelMap, as the API reads it.

    Returns:
      name -> id, ordered by id.

    Raises:
      DataError: the file is missing or malformed, an id is below 1 (0 is the API's background), ids leave gaps, or an id or name
        occurs twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the label map {path}: {error}. label_maps/pneumonia.pbtxt is the usual one.") from error
    ids: dict[str, int] = {}
    for line, fields in _items(text, path):
        where = f"Label map {path}, the item that ends at line {line}"
        name, number = fields.get("name"), fields.get("id")
        if not isinstance(name, str) or not name or not isinstance(number, int):
            raise DataError(f"{where}: every item needs a name and an id, for example item {{ id: 2 name: 'pneumonia' }}.")
        if number < 1:
            raise DataError(f"{where}: id {number} is not allowed; ids start at 1 because 0 is the API's background.")
        if name in ids or number in ids.values():
            raise DataError(f"{where}: {name!r} or id {number} occurs twice.")
        ids[name] = number
    if not ids:
        raise DataError(f"Label map {path} has no item. Write item {{ id: 1 name: 'no-pneumonia' }} and so on.")
    # num_classes of a config is the number of items: with a gap the last class would have no output
    if sorted(ids.values()) != list(range(1, len(ids) + 1)):
        raise DataError(f"Label map {path}: ids must be 1 to {len(ids)} without a gap, but are {sorted(ids.values())}.")
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def write_label_map(path: Path, label_map: dict[str, int]) -> None:
    """Write name -> id as a .pbtxt that the API reads.

    Raises:
      DataError: a name has a character that would need an escape, or the file cannot be written.
    """
    for name in label_map:
        if not name.isprintable() or "'" in name or "\\" in name:
            raise DataError(f"The class name {name!r} cannot stand in a label map. Leave out quotes, backslashes and control characters.")
    with paths.atomic_path(path) as tmp:
        tmp.write_text("".join(f"item {{\n  id: {number}\n  name: '{name}'\n}}\n" for name, number in label_map.items()), encoding="utf-8")


def check_pneumonia(label_map: dict[str, int], path: Path) -> None:
    """Raise DataError unless the label map has the two classes that labels are written with."""
    missing = [name for name in (NO_PNEUMONIA, PNEUMONIA) if name not in label_map]
    if missing:
        raise DataError(f"Label map {path} has no {' and no '.join(map(repr, missing))}; it has {', '.join(map(repr, label_map))}.")


def _items(text: str, path: Path) -> list[tuple[int, dict[str, str | int]]]:
    items: list[tuple[int, dict[str, str | int]]] = []
    fields: dict[str, str | int] | None = None
    word = None
    position = 0

    def error(what: str) -> DataError:
        return DataError(f"Label map {path}, line {text.count(chr(10), 0, position) + 1}: {what}.")

    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise error(f"unexpected {text[position]!r}")
        if token["open"]:
            if fields is not None or word != "item":
                raise error("expected 'item {'")
            fields, word = {}, None
        elif token["close"]:
            if fields is None or word is not None:
                raise error("unexpected '}'")
            items.append((text.count("\n", 0, position) + 1, fields))
            fields = None
        elif token["word"]:
            if word is not None:
                raise error(f"{word!r} has no value")
            if fields is None and token["word"] != "item":
                raise error(f"expected 'item', got {token['word']!r}")
            word = token["word"]
        elif token["string"] or token["number"]:
            if fields is None or word is None:
                raise error(f"a value without a name: {token[0]}")
            if word in fields:
                raise error(f"{word!r} occurs twice in one item")
            fields[word] = token["string"][1:-1] if token["string"] else int(token["number"])
            word = None
        position = token.end()
    if fields is not None or word is not None:
        raise error("the last item is not closed by '}'")
    return items
