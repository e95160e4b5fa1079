"""What benchmarks/coverage.py did, as Markdown: one table of intervals and one of comparisons.

Intervals and p values are made here, by the library, of the spreads that are on file: a change of their formulas needs no new sets. Both detectors of a
set count. A set whose figure gets no interval, which the library says why, is left out of coverage and counted apart.
"""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import special

from pneumodet.evaluation.metrics import interval
from pneumodet.evaluation.metrics.interval import Spread

LEVEL, LEAST = 0.95, 0.935
"""The nominal coverage, and what another method has to reach to be compared by width."""

FEWEST = 100
"""A cell with fewer intervals of a figure has no row: half of its sets lack the patients for one."""


@dataclasses.dataclass(frozen=True)
class Held:
    """Intervals of one figure in one cell.

    Attributes:
      coverage: share that hold the truth.
      below, above: shares that lie below and above it.
      width: mean.
    """

    coverage: float
    below: float
    above: float
    width: float


def read(out: Path) -> dict[str, tuple[dict[str, float], list[dict]]]:
    """Return cell -> (true figures at the fixed threshold, sets)."""
    cells = {}
    for path in sorted(out.glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        truth = json.loads(path.with_suffix(".truth.json").read_text(encoding="utf-8"))
        cells[lines[0]["cell"]] = (truth, [one for line in lines for one in line["sets"]])
    return cells


def spread(row: list) -> Spread:
    """Return what ``coverage._row`` wrote."""
    *numbers, refused = row
    return Spread(*(np.nan if one is None else one for one in numbers), refused=refused)


def held(low: np.ndarray, high: np.ndarray, true: float) -> Held:
    """Return how often intervals hold a figure; NaN where there is none."""
    made = ~np.isnan(low)
    below, above = float((high[made] < true).mean()), float((low[made] > true).mean())
    return Held(1 - below - above, below, above, float((high - low)[made].mean()))


def ours(spreads: Iterable[Spread]) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends of the library's intervals, NaN where it gives none."""
    made = [interval.of(one) for one in spreads]
    return tuple(np.array([np.nan if one[end] is None else one[end] for one in made], float) for end in ("low", "high"))


def _logit(value: np.ndarray, variance: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    half = t * np.sqrt(variance) / (value * (1 - value))
    return special.expit(special.logit(value) - half), special.expit(special.logit(value) + half)


def _wilson(value: np.ndarray, variance: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    number = value * (1 - value) / variance
    middle, half = value + t * t / 2 / number, t * np.sqrt(value * (1 - value) / number + t * t / 4 / number**2)
    return (middle - half) / (1 + t * t / number), (middle + half) / (1 + t * t / number)


def _exact(value: np.ndarray, variance: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    number = value * (1 - value) / variance * (special.ndtri((1 - LEVEL) / 2) / t) ** 2
    hits, tail = value * number, (1 - LEVEL) / 2
    return special.betaincinv(hits, number - hits + 1, tail), special.betaincinv(hits + 1, number - hits, 1 - tail)


def _plain(value: np.ndarray, variance: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return value - t * np.sqrt(variance), value + t * np.sqrt(variance)


OTHERS = {"log-odds and t": _logit, "Wilson": _wilson, "Clopper-Pearson": _exact, "value -+ t": _plain}
"""Other methods, of the same variance, for the width."""


def others(spreads: list[Spread], made: tuple[np.ndarray, np.ndarray], true: float) -> list[Held]:
    """Return how the other methods do where the library gives an interval; where they have none of their own, its one is taken."""
    value, variance, patients = (np.array([getattr(one, name) for one in spreads], float) for name in ("value", "variance", "patients"))
    own = np.isnan(made[0]) | (variance <= 0) | (value <= 0) | ((value >= 1) & (spreads[0].kind != "rate"))
    t = -special.stdtrit(np.maximum(patients - 1, 1), (1 - LEVEL) / 2)
    results = []
    for formula in [_plain] if spreads[0].kind == "rate" else OTHERS.values():
        with np.errstate(all="ignore"):
            low, high = formula(value, variance, t)
        results.append(held(np.where(own, made[0], low), np.where(own, made[1], high), true))
    return results


def table(out: Path) -> str:
    """Return both tables."""
    cells = read(out)
    keys = {(way, key): None for _, sets in cells.values() for one in sets for way in one for key in one[way]}
    sizes = sorted({int(name.split("/")[0]) for name in cells})
    head = [
        "| figure | thresholds | patients | cells | sets a cell | coverage | misses below / above | widest against the best that covers | without an interval |"
    ]
    head += ["| --- " * 9 + "|"]
    second = ["| figure | thresholds | patients | cells | called a difference | without a comparison |", "| --- " * 6 + "|"]
    for way, key in keys:
        for size in sizes:
            of_size = {name: one for name, one in cells.items() if name.startswith(f"{size}/")}
            head += _intervals(way, key, size, of_size)
            second += _comparisons(way, key, size, of_size)
    return "\n".join([*head, "", *second])


def _rows(sets: Iterable[dict], way: str, key: str) -> list[list]:
    return [one[way][key] for one in sets if way in one]


def _intervals(way: str, key: str, size: int, cells: dict) -> list[str]:
    done, widths, numbers, without = [], [], [], []
    for truth, sets in cells.values():
        rows = _rows(sets, way, key)
        spreads = [spread(row[place]) for row in rows for place in (0, 1)]
        made = ours(spreads) if spreads else (np.zeros(0), np.zeros(0))
        count = int((~np.isnan(made[0])).sum())
        without.append(1 - count / (2 * len(sets)))
        if count < FEWEST:
            continue
        true = truth[key] if way == "fixed" else float(np.nanmean([row[place] for row in rows for place in (3, 4)]))
        result = held(*made, true)
        rivals = [one.width for one in others(spreads, made, true) if one.coverage >= LEAST]
        widths.append(result.width / min(rivals) if rivals else np.nan)
        done.append(result)
        numbers.append(len(sets))
    if not done:
        return []
    coverage = [one.coverage for one in done]
    below, above = (np.mean([getattr(one, name) for one in done]) for name in ("below", "above"))
    row = [key, way, f"{size:,}", len(done), f"{min(numbers)}", f"{min(coverage):.3f} to {max(coverage):.3f}, mean {np.mean(coverage):.3f}"]
    row += [f"{below:.3f} / {above:.3f}", f"{np.nanmax(widths):.2f}" if np.isfinite(widths).any() else "–", f"{np.mean(without):.0%}"]
    return ["| " + " | ".join(map(str, row)) + " |"]


def _comparisons(way: str, key: str, size: int, cells: dict) -> list[str]:
    rates, without = [], []
    for _, sets in cells.values():
        p = [interval.p_value(spread(row[2])) for row in _rows(sets, way, key) if not any(interval.reason(spread(one)) for one in row[:2])]
        made = np.array([one for one in p if one is not None])
        without.append(1 - len(made) / len(sets))
        if len(made) >= FEWEST / 2:
            rates.append(float((made < 1 - LEVEL).mean()))
    if not rates:
        return []
    row = [key, way, f"{size:,}", len(rates), f"{min(rates):.3f} to {max(rates):.3f}, mean {np.mean(rates):.3f}", f"{np.mean(without):.0%}"]
    return ["| " + " | ".join(map(str, row)) + " |"]
