"""The learning rate to start from: a range test, in which the rate rises from step to step until the loss blows up.

    suggestion = find(step)                   # step(rate) takes one training step at that rate and returns the loss before it
    suggestion.suggested, suggestion.reason            # 0.004, "a quarter of 0.016, at which the smoothed loss is lowest; it blows up at 0.12"
    to_csv(folder / "find_lr.csv", suggestion)
    draw(folder / "find_lr.png", suggestion)

Source: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017 (arXiv:1506.01186), section 3.3. The weights are spent
afterwards: who calls restores those from before.
"""

import csv
import dataclasses
import io
import math
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pneumodet.core import paths
from pneumodet.core.errors import ConfigError
from pneumodet.viz import figures

SHARE_OF_LOWEST = 0.25
"""What is suggested, as a share of the rate at which the smoothed loss is lowest. On quadratic objectives with momentum 0 that rate is about
half of the stable limit, so that the suggestion lies a factor of 8 below the limit; the customary tenth is of a loss smoothed with lag."""

FLAT_SHARE = 0.1
"""Share of the planned steps, from the first, over which nothing is expected to be learned yet: their mean is the loss before."""

FEWEST_STEPS = 20
"""Planned steps below which neither the loss before nor its noise can be measured."""

DESCENT_SIGMAS = 4.0
"""By how many standard errors the smoothed loss must fall to count as a descent."""

LEAST_DESCENT = 0.01
"""By what share of the loss before it must fall besides."""

STOP_IN_A_ROW = 3
"""Losses in a row above the limit that end the test: a single batch that is hard to learn does not."""

_HEIGHT_PX = 620
_MARGIN = 0.3  # of the height of what is smoothed, above it and below


@dataclasses.dataclass(frozen=True, eq=False)
class Suggestion:
    """A range test, and the rate that it suggests.

    Attributes:
      rates: (K,) float64, rising; those whose loss was finite.
      losses: (K,) float64, before the step at that rate.
      smoothed: (K,) float64, without lag; losses above the highest of the first rates count as that one.
      suggested: a learning rate, or None where the losses do not support one.
      reason: why, as a sentence without a full stop, for the user.
      blew_up_at: the rate at which the test stopped, or None where the loss never blew up.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggested: float | None
    reason: str
    blew_up_at: float | None


def find(
    step: Callable[[float], float],
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    smoothing: float = 0.9,
    stop_factor: float = 4.0,
) -> Suggestion:
    """Run the test. It ends early where the loss is not finite, or ``STOP_IN_A_ROW`` times above ``stop_factor`` times its lowest smoothed value.

    The suggestion is ``SHARE_OF_LOWEST`` times the rate at which the smoothed loss is lowest, provided that it fell there by more than its noise.

    Args:
      step: takes one training step at a rate and returns the loss from before the step; it may return NaN.
      lowest: first rate, above 0.
      highest: last rate.
      steps: rates, at equal ratios.
      smoothing: weight in [0, 1) of the neighbour in the exponential mean; it runs both ways, so that the curve is not shifted.
      stop_factor: above 1.

    Raises:
      ConfigError: the limits, the number of steps or the smoothing make no sense.
    """
    if not 0 < lowest < highest < math.inf:
        raise ConfigError(f"The learning rates of a range test rise from above 0, but {lowest:g} to {highest:g} were asked for.")
    if steps < FEWEST_STEPS or not 0 <= smoothing < 1 or not stop_factor > 1:
        raise ConfigError(
            f"A range test needs at least {FEWEST_STEPS} steps, a smoothing in [0, 1) and a stop factor above 1, "
            f"but got {steps}, {smoothing:g} and {stop_factor:g}."
        )
    # at equal ratios: what matters is the order of magnitude
    rates = np.geomspace(lowest, highest, steps)
    losses: list[float] = []
    blew_up_at = None
    mean, weight, best = 0.0, 0.0, math.inf
    for rate in rates.tolist():
        loss = float(step(rate))
        if not math.isfinite(loss):
            blew_up_at = rate
            break
        losses.append(loss)
        # before this loss enters the mean, whose lowest value is what it is compared with
        if len(losses) >= STOP_IN_A_ROW and min(losses[-STOP_IN_A_ROW:]) > stop_factor * best:
            blew_up_at = rate
            break
        # an exponential mean with its bias of the start divided out (as Adam does)
        mean, weight = smoothing * mean + (1 - smoothing) * loss, smoothing * weight + (1 - smoothing)
        best = min(best, mean / weight)
    return _evaluated(rates[: len(losses)], np.array(losses), blew_up_at, planned=rates, smoothing=smoothing)


def _evaluated(rates: np.ndarray, losses: np.ndarray, blew_up_at: float | None, *, planned: np.ndarray, smoothing: float) -> Suggestion:
    flat = max(STOP_IN_A_ROW, round(FLAT_SHARE * len(planned)))
    if len(losses) == 0:
        reason = f"the loss is not finite at the first step, at a rate of {planned[0]:.2g}: no rate can fix that, the weights or the data are broken"
        return Suggestion(rates, losses, losses, None, reason, blew_up_at)
    # at the lowest rates nothing moves: their mean is the loss of the weights as they are
    before = losses[:flat].mean()
    limited = np.minimum(losses, max(losses[:flat]))  # how high it flies after it blew up says nothing, but would raise what is left of it
    kernel = _two_way(np.eye(len(losses)), smoothing)
    smoothed = kernel @ limited

    def result(suggested: float | None, reason: str) -> Suggestion:
        return Suggestion(rates, losses, smoothed, suggested, reason, blew_up_at)

    if blew_up_at is not None and len(losses) <= flat + STOP_IN_A_ROW:
        return result(
            None, f"the loss blows up at {blew_up_at:.2g} already, at once after the lowest rate of {planned[0]:.2g}; begin lower"
        )
    # not among the flat ones, whose mean is what the fall is measured from
    lowest = flat + int(np.argmin(smoothed[flat:]))
    # 1.4826 makes a standard deviation of the median of absolute deviations, and a difference has sqrt(2) of one loss's noise
    noise = 1.4826 * np.median(np.abs(np.diff(limited))) / math.sqrt(2)  # of the differences, which a slow descent hardly touches
    # of the difference between a mean of ``flat`` losses and one with the weights of the kernel
    error = noise * math.sqrt(1 / flat + (kernel[lowest] ** 2).sum())
    fall = before - smoothed[lowest]
    if fall < max(DESCENT_SIGMAS * error, LEAST_DESCENT * abs(before)):
        end = f"blows up at {blew_up_at:.2g}" if blew_up_at is not None else f"continues to {rates[-1]:.2g}"
        return result(
            None, f"the loss never falls by more than its noise (from {before:.3g} by {max(fall, 0):.2g}) and {end}; try more steps"
        )
    suggested = float(SHARE_OF_LOWEST * rates[lowest])
    if blew_up_at is not None:
        end = f"it blows up at {blew_up_at:.2g}"
    elif lowest == len(rates) - 1:
        end = "it was still falling, so that a higher rate may do; end higher"
    else:
        end = f"it did not blow up until {rates[-1]:.2g}"
    return result(suggested, f"a quarter of {rates[lowest]:.2g}, at which the smoothed loss is lowest; {end}")


def _two_way(values: np.ndarray, smoothing: float) -> np.ndarray:
    """Return the mean of the exponential means from the left and from the right over the first axis of (K, …) values."""
    return (_one_way(values, smoothing) + _one_way(values[::-1], smoothing)[::-1]) / 2


def _one_way(values: np.ndarray, smoothing: float) -> np.ndarray:
    means = np.empty_like(values, dtype=np.float64)
    total, weight = np.zeros(values.shape[1:]), 0.0
    for index, value in enumerate(values):
        total, weight = smoothing * total + (1 - smoothing) * value, smoothing * weight + (1 - smoothing)
        means[index] = total / weight
    return means


def to_csv(path: Path, suggestion: Suggestion) -> None:
    """Write the columns learning_rate, loss, smoothed_loss, atomically.

    Raises:
      DataError: the file cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("learning_rate", "loss", "smoothed_loss"))
    table.writerows([f"{value:.9g}" for value in row] for row in zip(suggestion.rates, suggestion.losses, suggestion.smoothed, strict=True))
    with paths.atomic_path(path) as tmp:
        tmp.write_text(text.getvalue(), encoding="utf-8")


def draw(path: Path, suggestion: Suggestion, *, title: str = "Learning-rate range test") -> None:
    """Draw the losses over the logarithm of the rate as PNG, with the suggestion marked.

    Raises:
      DataError: the file cannot be written.
    """
    figure, ((axes,),) = figures.new_figure(1, 1, title=title, height_px=_HEIGHT_PX)
    if len(suggestion.losses):
        axes.plot(
            suggestion.rates, suggestion.losses, color=figures.COLOURS[0], alpha=0.35, linewidth=0.8, marker=".", label="loss of each step"
        )
        figures.line(axes, suggestion.rates.tolist(), suggestion.smoothed.tolist(), index=0, label="smoothed")
        low, high = suggestion.losses.min(), max(suggestion.smoothed.max(), np.median(suggestion.losses))
        margin = _MARGIN * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)  # a loss of 1e6 at the end would make a flat line of the rest
    axes.set_xscale("log")
    if suggestion.suggested is not None:
        axes.axvline(suggestion.suggested, color=figures.COLOURS[1], linestyle="--", label=f"suggested: {suggestion.suggested:.2g}")
    if suggestion.blew_up_at is not None:
        axes.axvline(suggestion.blew_up_at, color="#000000", linestyle=":", label=f"blows up: {suggestion.blew_up_at:.2g}")
    axes.set_title("\n".join(textwrap.wrap(suggestion.reason, 130)), fontsize=10, loc="left")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    figures.legend(axes)
    figures.save(path, figure)
