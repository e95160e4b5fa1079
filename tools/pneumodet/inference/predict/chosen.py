"""Which radiographs get a picture: those with the highest scores, and a few of the lowest, which are not known before the last one was seen.

    chosen = Chosen(100)
    drawn, dropped = chosen.offer("0004cfab", 0.82)      # whether it is among them so far, and the exams that it takes the place of
    chosen.final(threshold=0.4)                          # {"0004cfab", …}, at most 100

What is chosen depends on the scores alone, not on the order in which they come: a resumed run chooses what an uncut one does.
"""

import bisect

from pneumodet.inference.predict.outputs import SHEET_TILES


class Chosen:
    """The radiographs that have a picture so far: the ``most`` highest scores, and as many of the lowest as a sheet has room for."""

    def __init__(self, most: int) -> None:
        """Take the number of pictures that there shall be in the end."""
        self._most, self._least = most, min(most, SHEET_TILES)
        # each sorted, best place first; by exam where scores are equal
        self._highest: list[tuple[float, str]] = []
        self._lowest: list[tuple[float, str]] = []

    def offer(self, exam: str, score: float) -> tuple[bool, list[str]]:
        """Take a radiograph's highest score; return (whether it is to be drawn, exams whose pictures are not needed any more)."""
        out = [*_placed(self._highest, (-score, exam), self._most), *_placed(self._lowest, (score, exam), self._least)]
        there = self._exams()
        return exam in there, [one for one in dict.fromkeys(out) if one not in there and one != exam]

    def final(self, *, threshold: float) -> set[str]:
        """Return the exams with a picture: those at the threshold or above it, then the surest negatives of the sheet, then the next scores."""
        findings = [exam for score, exam in self._highest if -score >= threshold]
        room = max(SHEET_TILES - len(findings), 0)
        surest = [exam for score, exam in self._lowest if score < threshold][:room]
        rest = [exam for _, exam in self._highest]
        return set(list(dict.fromkeys([*findings, *surest, *rest]))[: self._most])

    def _exams(self) -> set[str]:
        return {exam for _, exam in (*self._highest, *self._lowest)}


def _placed(ranks: list[tuple[float, str]], one: tuple[float, str], most: int) -> list[str]:
    """Put one into a sorted list of at most so many; return the exams that fall out, which may be itself."""
    if one in ranks:  # a radiograph that was cut off is offered again
        return []
    bisect.insort(ranks, one)
    out = [exam for _, exam in ranks[most:]]
    del ranks[most:]
    return out
