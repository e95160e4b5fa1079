"""How often something is tried again, and after which pause.

pause(3, 1.0, 60.0, chance=random.Random())         # 2 to 4 s
"""

import dataclasses
import random


@dataclasses.dataclass(frozen=True)
class Retries:
    """Of a request that does not reach the PACS, or comes while it is busy.

    Attributes:
      attempts: in all; 1 where the caller tries again by itself.
      first_seconds: before the second attempt; each further pause is twice as long.
      longest_seconds: of a pause.
    """

    attempts: int = 1
    first_seconds: float = 0.5
    longest_seconds: float = 60.0


def pause(attempts: int, first: float, longest: float, *, chance: random.Random) -> float:
    """Return how long to wait, in s, after so many attempts (from 1): exponential, and between half and all of that by chance.

    Chance keeps many exams, or workers, from coming back at the same moment.
    """
    return min(longest, first * 2.0 ** min(attempts - 1, 60)) * chance.uniform(0.5, 1.0)
