"""What a run of a Keras 3 model tells: as ``training.watching``, with the family's own pictures."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from pneumodet.learning.validation import Found
from pneumodet.training import watching


class Watcher(watching.Watcher):
    """Writes what happens in a run into its folder, and passes it on."""

    def __init__(self, folder: Any, *, drawn: Callable[[dict[str, np.ndarray]], Image.Image], **more: Any) -> None:
        """Begin, or go on; ``drawn`` makes a picture of a training sample, all else is as ``training.watching.Watcher`` takes it."""
        super().__init__(folder, **more)
        self._drawn = drawn

    def show(self, step: int, found: Found) -> None:
        """See ``training.watching.Watcher``."""
        self._log.pictures(step, "validation", list(found.pictures))

    def drawn(self, sample: dict[str, np.ndarray]) -> Image.Image:
        """See ``training.watching.Watcher``."""
        return self._drawn(sample)
