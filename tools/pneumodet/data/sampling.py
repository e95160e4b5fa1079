"""Which record comes when: a function of seed and position alone, so that a resumed run continues with exactly what an uncut one would see.

order = Order(26684, seed=0)
order.at(1_000_000)                                                  # the record that is the millionth sample
order = Order(26684, seed=0, positive=mask, positive_share=0.5)      # every second sample has pneumonia
"""

import functools

import numpy as np

from pneumodet.core.errors import ConfigError

_EPOCHS_KEPT = 3
"""Epochs whose order stays in memory: reading runs ahead of training by less than one."""


class Order:
    """Epochs over ``count`` records, each in its own random order."""

    def __init__(self, count: int, *, seed: int, positive: np.ndarray | None = None, positive_share: float | None = None) -> None:
        """Set up the order.

        Args:
          count: number of records, at least 1.
          seed: of all epochs.
          positive: (count,) bool, needed for ``positive_share``.
          positive_share: share of positive records in each epoch, in (0, 1); records of the class that is too rare come several times, those
            of the other in turn over the epochs. None leaves the share as it is in the records, each of which then comes once an epoch.

        Raises:
          ConfigError: the share is out of range, or one class has no record.
        """
        self.count = count
        self._seed = seed
        self._pools: list[tuple[np.ndarray, int]] | None = None  # the records of each class, and how many of them an epoch has
        if positive_share is not None:
            if positive is None:
                raise ConfigError("Sampling by class needs to know which records are positive.")
            with_class, without = np.flatnonzero(positive), np.flatnonzero(~positive)
            if not 0 < positive_share < 1:
                raise ConfigError(f"The share of positive samples is {positive_share:g}; it must lie between 0 and 1.")
            if not len(with_class) or not len(without):
                raise ConfigError("Sampling by class needs records with and without pneumonia. Leave --positive-share out.")
            drawn = min(max(round(positive_share * count), 1), count - 1)
            self._pools = [(with_class, drawn), (without, count - drawn)]
        self._epoch = functools.lru_cache(maxsize=_EPOCHS_KEPT)(self._make_epoch)

    def at(self, position: int) -> int:
        """Return the record at a position >= 0 of the run's endless sequence of samples."""
        epoch, place = divmod(position, self.count)
        return int(self._epoch(epoch)[place])

    def _make_epoch(self, epoch: int) -> np.ndarray:
        shuffle = np.random.default_rng([self._seed, epoch])
        if self._pools is None:
            return shuffle.permutation(self.count)
        return shuffle.permutation(np.concatenate([self._draw(rows, drawn, epoch) for rows, drawn in self._pools]))

    def _draw(self, rows: np.ndarray, drawn: int, epoch: int) -> np.ndarray:
        """Return the next ``drawn`` of an endless sequence of shufflings of ``rows``, so that all of them come equally often."""
        first, last = epoch * drawn, (epoch + 1) * drawn
        rounds = range(first // len(rows), -(-last // len(rows)))
        shuffled = np.concatenate([np.random.default_rng([self._seed, 1, len(rows), one]).permutation(rows) for one in rounds])
        start = first - rounds.start * len(rows)
        return shuffled[start : start + drawn]
