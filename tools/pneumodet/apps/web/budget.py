"""What all users of the page together may take of this computer: memory for their files and pictures, and one radiograph read at a time.

budget = Budget()
cases = Cases(model.detect, budget)             # counted as long as the session has them
with budget.turn: ...                           # decoding, detecting: waits for whoever is at it
"""

import threading
import weakref
from typing import Protocol

MAX_BYTES = 2 << 30
"""Of the files of all users; one user may have a quarter of it."""

MAX_DECODED_BYTES = 1 << 30
"""Of pictures that are kept decoded for all users; beyond it each keeps the one that is shown."""


class User(Protocol):
    """What a user has on the page."""

    @property
    def file_bytes(self) -> int:
        """Of the files."""

    @property
    def decoded_bytes(self) -> int:
        """Of the pictures that are kept decoded."""


class Budget:
    """What is taken, and the turn to take more.

    Attributes:
      turn: held while a radiograph is decoded and detected on.
    """

    def __init__(self) -> None:
        """Begin without users."""
        self.turn = threading.RLock()
        # weak: what a session had goes with it, after its page was closed
        self._users: weakref.WeakSet[User] = weakref.WeakSet()

    def add(self, user: User) -> None:
        """Count what a user has from now on."""
        self._users.add(user)

    @property
    def left(self) -> int:
        """Bytes of files that may still be added, by whomever."""
        return MAX_BYTES - sum(user.file_bytes for user in list(self._users))

    @property
    def is_full(self) -> bool:
        """Whether too much is kept decoded."""
        return sum(user.decoded_bytes for user in list(self._users)) > MAX_DECODED_BYTES
