"""What fuzz.py changes in an example: some bytes, words, numbers or fields, by chance.

change = of_text("a,b\n1,2\n")
change(random.Random(0))            # bytes
"""

import contextlib
import copy
import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damaged
import json_formats

from pneumodet.data import tfrecord

Change = Callable[[random.Random], bytes]

MANY = (0, 1, 1, 1, 2, 2, 3, 4)
"""Changes of an example; where there are none it must be read, which shows that it is one."""

ODD_NUMBERS = ("0", "-1", "1e400", "nan", "inf", "-0.0", "9" * 400, "1e-320", "0x10", "1_0", "٣", "99999999999", "1,5", "", " ")
ODD_TEXT = (
    "\0", "\ufeff", "\u202e", '"', "'", "\n", "\r", ",", ";", "\t", "<", "&a;", "{", "]", "%s", "../", "\\", "a" * 300, "=1+1", "é", ":", "- ", "*a", "&a",
)  # fmt: skip


def of_bytes(example: bytes) -> Change:
    """Return what changes some bytes."""

    def change(chance: random.Random) -> bytes:
        def junk() -> bytes:
            return chance.choice((chance.randbytes(chance.randint(1, 8)), chance.choice(damaged.JUNK)))

        return damaged.changed(
            example, [(chance.random() < 0.5, chance.random(), chance.choice(damaged.HOW), junk()) for _ in range(chance.choice(MANY))]
        )

    return change


def of_text(example: str) -> Change:
    """Return what changes some numbers, words, letters or lines, or bytes."""

    def change(chance: random.Random) -> bytes:
        text = example
        for _ in range(chance.choice(MANY)):
            parts = [m.span() for m in re.finditer(chance.choice((r"-?\d+(?:\.\d+)?", r"\w+", r"[^\n]*\n", r"[\s\S]")), text)]
            if not parts:
                continue
            start, end = chance.choice(parts)
            other = text[slice(*chance.choice(parts))]
            new = chance.choice((chance.choice(ODD_NUMBERS), chance.choice(ODD_TEXT), other, other + text[start:end], ""))
            text = text[:start] + new + text[end:]
        data = text.encode(errors="surrogatepass")
        return of_bytes(data)(chance) if chance.random() < 0.2 and data else data

    return change


def of_json(document: Any) -> Change:
    """Return what changes some fields, or the text."""
    paths, as_text = list(json_formats.paths_of(document)), of_text(json.dumps(document))

    def change(chance: random.Random) -> bytes:
        if chance.random() < 0.25 or not paths:
            return as_text(chance)
        whole = json.loads(json.dumps(document))
        for path in chance.sample(paths, min(len(paths), chance.choice(MANY))):
            with contextlib.suppress(KeyError, IndexError, TypeError):  # a change before this one took its place away
                place = whole
                for key in path[:-1]:
                    place = place[key]
                if chance.random() < 0.2:
                    del place[path[-1]]
                else:
                    place[path[-1]] = copy.deepcopy(chance.choice(json_formats.VALUES))  # the next change may go into it
        return json_formats.text_of(whole).encode(errors="surrogatepass")

    return change


def packed(inner: Change, name: str) -> Change:
    """Return what makes ZIP archives: of odd names, with damaged members, or themselves damaged."""

    def change(chance: random.Random) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(
            buffer, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        ) as archive:
            names = [
                name,
                f"a/{name}",
                "a",
                "a/b/",
                f"../{name}",
                f"/{name}",
                "x" * 300 + name,
                f"\u202e{name}",
                f"b\\{name}",
                name.upper(),
            ]
            for one in chance.sample(names, chance.randint(1, 4)):
                archive.writestr(one, inner(chance))
        return of_bytes(buffer.getvalue())(chance) if chance.random() < 0.6 else buffer.getvalue()

    return change


def in_records(path: Path) -> Change:
    """Return what changes records of a TFRecord file whose checksums stay right."""
    changes = [of_bytes(record) for record in tfrecord.read_records(path)]

    def change(chance: random.Random) -> bytes:
        buffer = io.BytesIO()
        writer = tfrecord.Writer(buffer)
        for one in changes:
            writer.write(one(chance))
        return buffer.getvalue()

    return change
