"""What is taken of labels that say more than one thing: whose boxes, what uncertain means, and which of a set's findings are the class.

choices = Choices(readers="fused", uncertain="negative")
wanted = Wanted(CHEST_CLASSES, choices.classes)
wanted.of("Pneumonia"), wanted.of("Hernia")            # ("pneumonia", None)
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.label_map import PNEUMONIA

UNION, INTERSECTION, FUSED = "union", "intersection", "fused"
READERS = (UNION, INTERSECTION, FUSED)
"""Whose boxes count where several readers drew: each box, those that all readers drew, or the mean of the boxes that mean one finding."""

POSITIVE, NEGATIVE, LEAVE_OUT = "positive", "negative", "leave-out"
UNCERTAIN = (POSITIVE, NEGATIVE, LEAVE_OUT)
"""What becomes of an exam whose labels say that a finding is uncertain (-1 in CheXpert's and MIMIC-CXR-JPG's)."""

CHEST_CLASSES = {"Pneumonia": PNEUMONIA}
"""Finding of NIH's, CheXpert's and MIMIC-CXR-JPG's labels -> class."""

OPACITY_CLASSES = dict.fromkeys(("Lung Opacity", "Consolidation", "Infiltration", "Pneumonia"), PNEUMONIA)
"""Finding of VinDr-CXR's labels -> class: what RSNA's readers called a lung opacity."""

COVID_CLASSES = {"opacity": PNEUMONIA}
"""Finding of SIIM-FISABIO's labels -> class."""

FOLDER_CLASSES = {"PNEUMONIA": PNEUMONIA}
"""Folder of Kermany's set -> class."""

_READER = re.compile(r"^[A-Za-z]+\d+$")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """What is taken of labels that say more than one thing.

    Attributes:
      readers: one of ``READERS``, or the id of a reader, such as ``R8``.
      uncertain: one of ``UNCERTAIN``.
      classes: finding of the labels -> class, instead of the data set's own.

    Raises:
      ConfigError: a value is none of these.
    """

    readers: str = UNION
    uncertain: str = LEAVE_OUT
    classes: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.readers not in READERS and not _READER.match(self.readers):
            raise ConfigError(f"readers is {self.readers!r}, must be {', '.join(READERS)}, or the id of a reader, such as R8.")
        if self.uncertain not in UNCERTAIN:
            raise ConfigError(f"uncertain is {self.uncertain!r}, must be one of {', '.join(map(repr, UNCERTAIN))}.")


USUAL = Choices()
"""What is taken where nothing else is asked for."""


class Wanted:
    """Says which of a data set's findings are classes, and counts both kinds.

    Args of the constructor:
      default: finding -> class of the data set.
      given: the user's instead.
    """

    def __init__(self, default: Mapping[str, str], given: Mapping[str, str] | None) -> None:
        self._classes = {name.casefold(): to for name, to in (given or default).items()}
        self._names = list(given or default)
        self.taken: Counter[str] = Counter()
        self.others: Counter[str] = Counter()

    def of(self, finding: str) -> str | None:
        """Return the class of a finding, whatever its letter case, or None where it is not asked for."""
        name = self._classes.get(finding.casefold())
        (self.others if name is None else self.taken)[finding] += 1
        return name

    def left_out(self, path: Path) -> dict[str, int]:
        """Return the findings that are not used, in words, with their counts.

        Raises:
          DataError: none is used.
        """
        if self.others and not self.taken:
            there = ", ".join(f"{name!r} ({count:,})" for name, count in self.others.most_common())
            raise DataError(f"{path} has no finding {' or '.join(map(repr, self._names))}. It has {there}. Is this the right file?")
        return {f"finding {name!r} is none of the classes": count for name, count in sorted(self.others.items())}
