"""Texts in Markdown, shown as they are, but for commands: in model cards, comparisons and on the web page.

line = f"- Split: {plain(split)}"
line = f"- Recipe: {code(json.dumps(recipe))}"
"""

import re

from pneumodet.core import invocation

_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;"})
"""Not every reader of Markdown takes a backslash before them."""

_MARKS = re.compile(
    r"([\\|*`\[~$@]"  # emphasis, code, tables, links; GitHub's and Streamlit's strikethrough, formulas and addresses
    r"|(?<![^\W_])_|_(?![^\W_])"  # within a word an underscore is itself
    r"|:(?=[A-Za-z/+-])"  # addresses, and Streamlit's colours, symbols and pictures
    r"|(?<=[Ww]{3})\.)"
)
_BLOCK = re.compile(r"^(?:([-+](?=\s|$)|-(?=[-\s]*$)|=(?==*$)|#(?=#{0,5}(?:\s|$))|>)|(\d{1,9})([.)])(?=\s|$))")
"""What makes a list, a quotation or a heading of the line that it begins."""


def plain(value: object) -> str:
    """Return anything as a text of one line that Markdown takes neither for its own marks nor for HTML, with commands as the user calls pneumodet."""
    text = _MARKS.sub(r"\\\1", " ".join(invocation.spelled(str(value)).split()).translate(_ENTITIES))
    return _BLOCK.sub(lambda block: f"\\{block[1]}" if block[1] else f"{block[2]}\\{block[3]}", text)


def code(text: str) -> str:
    """Return text as a code span, whatever backquotes it holds."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    # a span ends at the next fence of the same length; readers take one space off each end (CommonMark 6.1)
    fence = "`" * (longest + 1)
    padded = f" {text} " if longest else text
    return f"{fence}{padded}{fence}"
