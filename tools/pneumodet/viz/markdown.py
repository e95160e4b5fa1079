"""Text from files in Markdown, shown as it is.

line = f"- Split: {plain(split)}"
line = f"- Recipe: {code(json.dumps(recipe))}"
"""

import re

_MARKS = str.maketrans({"&": "&amp;", "<": "&lt;"} | {mark: "\\" + mark for mark in "\\|*`["})
"""``<`` and ``&`` as entities: not every reader of Markdown takes a backslash before them."""


def plain(value: object) -> str:
    """Return anything as a text of one line that Markdown takes neither for its own marks nor for HTML."""
    return " ".join(str(value).split()).translate(_MARKS)


def code(text: str) -> str:
    """Return text as a code span, whatever backquotes it holds."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    # a span ends at the next fence of the same length; readers take one space off each end (CommonMark 6.1)
    fence = "`" * (longest + 1)
    padded = f" {text} " if longest else text
    return f"{fence}{padded}{fence}"
