"""Numbers in sentences, the same in the terminal, in messages and on pages.

counted(1, "box"), counted(1200, "box")         # "1 box", "1,200 boxes"
"""


def counted(count: int, what: str) -> str:
    """Return "1 box", "1,200 boxes"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}{'es' if what.endswith('x') else 's'}"
