"""How the learning rate goes over the steps, and what is trained when: two-phase fine-tuning, as numbers. No TensorFlow.

    phases = (Phase(steps=200, learning_rate=1e-3, frozen=(backbone,)), Phase(steps=800, learning_rate=1e-4))
    at(phases, 250)                       # (1, 50): the second phase, 50 steps into it
    phases[1].rate(50)

Warm-up is linear; then the rate falls to 0 along a cosine (Loshchilov and Hutter, SGDR, 2017, arXiv:1608.03983, without restarts).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from pneumodet.core.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of training with a schedule of its own.

    Attributes:
      steps: of this phase, at least 1.
      learning_rate: its peak.
      warmup_steps: over which the rate rises to the peak; at most half of the phase, so that it falls again.
      frozen: Keras layers or models within the model that are not trained: their weights stay, and they run in inference mode, so that the
        statistics of batch normalizations stay, too. All else is trained.
    """

    steps: int
    learning_rate: float
    warmup_steps: int = 0
    frozen: tuple[Any, ...] = ()

    def rate(self, step: int) -> float:
        """Return the learning rate of the step after ``step`` steps of this phase."""
        warmup = min(self.warmup_steps, self.steps // 2)
        if step < warmup:
            # from step + 1, since a step at a rate of 0 would be lost
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(self.steps - warmup, 1)
        return self.learning_rate * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def total(phases: Sequence[Phase]) -> int:
    """Return the steps of all phases.

    Raises:
      ConfigError: there is none, or one has no step.
    """
    if not phases or any(phase.steps < 1 for phase in phases):
        raise ConfigError(f"Training needs phases of at least one step each, got {[phase.steps for phase in phases]}.")
    return sum(phase.steps for phase in phases)


def at(phases: Sequence[Phase], step: int) -> tuple[int, int]:
    """Return (number of the phase, steps done in it) of the step after ``step`` steps; the last phase has no end."""
    for number, phase in enumerate(phases[:-1]):
        if step < phase.steps:
            return number, step
        step -= phase.steps
    return len(phases) - 1, step
