"""Numbers in sentences, the same in the terminal, in messages and on pages.

counted(1, "box"), counted(1200, "box")         # "1 box", "1,200 boxes"
with_interval(0.1184, (0.083, 0.155))           # "0.118 [0.083, 0.155]"
figure({"value": 0.1184, "low": None})          # "0.118"
listed(["a", "b", "c"], 2)                      # "a, b and 1 more"
notes = Footnotes(); notes.dash("too few")      # "–¹"; notes.lines: ["¹ too few"]
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

Interval = Sequence[float | None] | None
"""Lower and upper end of a figure's interval; None, or two None, where it has none."""


def counted(count: int, what: str) -> str:
    """Return "1 box", "1,200 boxes"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}{'es' if what.endswith('x') else 's'}"


def listed(names: Iterable[str], most: int) -> str:
    """Return the first ``most`` names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def fixed(value: float, form: str = ".3f") -> str:
    """Return a number, and none that is -0.000.

    Args:
      value: any.
      form: format of a float, such as ``+.4f``.
    """
    sign = form[:1] if form[:1] in ("+", "-", " ") else ""
    # z makes 0 of -0 (PEP 682), and its place is behind the sign
    return f"{value:{sign}z{form.removeprefix(sign)}}"


def between(interval: Interval, *, form: str = ".3f") -> str:
    """Return "0.083 to 0.155", for a column or a sentence of its own; nothing where there is no interval."""
    low, high = interval or (None, None)
    return "" if low is None or high is None else f"{fixed(low, form)} to {fixed(high, form)}"


def with_interval(value: float | None, interval: Interval, *, form: str = ".3f", undefined: str = "undefined") -> str:
    """Return "0.213 [0.190, 0.235]" of a figure, without brackets where it has no interval."""
    if value is None:
        return undefined
    low, high = interval or (None, None)
    return fixed(value, form) + ("" if low is None or high is None else f" [{fixed(low, form)}, {fixed(high, form)}]")


def p_value(p: float) -> str:
    """Return "p = 0.013", or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def figure(one: Mapping[str, float | None], *, form: str = ".3f", undefined: str = "undefined") -> str:
    """Return ``with_interval`` of ``value``, ``low`` and ``high``, as ``evaluation.metrics.interval.of`` gives them."""
    return with_interval(one.get("value"), (one.get("low"), one.get("high")), form=form, undefined=undefined)


@dataclasses.dataclass(frozen=True)
class Footnotes:
    """Why cells of a table are empty: each reason is written once, below it.

    Attributes:
      numbers: reason -> its number, from 1.
    """

    numbers: dict[str, int] = dataclasses.field(default_factory=dict)

    def dash(self, reason: str | None) -> str:
        """Return what stands in a cell without a value: a dash, with the number of the reason where there is one."""
        return "–" + (_raised(self.numbers.setdefault(reason, len(self.numbers) + 1)) if reason else "")

    @property
    def lines(self) -> list[str]:
        """The footnotes, by number."""
        return [f"{_raised(number)} {reason}" for reason, number in self.numbers.items()]


def _raised(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
