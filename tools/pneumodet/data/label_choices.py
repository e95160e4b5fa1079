"""What is taken of labels that say more than one thing: whose boxes, what uncertain means, and which of a set's findings are the class.

choices = Choices(readers="fused", uncertain="negative")
classes = of_set(CHEST_CLASSES, None)
classes.target("Pneumonia"), classes.target("Hernia")            # ("pneumonia", None)
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data.class_map import FLAG, OTHERS, ClassMap
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

    Raises:
      ConfigError: a value is none of these.
    """

    readers: str = UNION
    uncertain: str = LEAVE_OUT

    def __post_init__(self) -> None:
        if self.readers not in READERS and not _READER.match(self.readers):
            raise ConfigError(f"readers is {self.readers!r}, must be {', '.join(READERS)}, or the id of a reader, such as R8.")
        if self.uncertain not in UNCERTAIN:
            raise ConfigError(f"uncertain is {self.uncertain!r}, must be one of {', '.join(map(repr, UNCERTAIN))}.")


USUAL = Choices()
"""What is taken where nothing else is asked for."""


def of_set(default: Mapping[str, str], given: ClassMap | None) -> ClassMap:
    """Return what becomes of the findings of a data set: those that are named are classes, and all others are none.

    Args:
      default: finding -> class of the data set.
      given: the user's, which counts instead where it names any.
    """
    given = given or ClassMap()
    return dataclasses.replace(given, pairs={OTHERS: "", **(given.pairs or default)})


def check(classes: ClassMap, given: ClassMap | None, counts: Mapping[str, int], path: Path) -> None:
    """Refuse a data set in which no finding is a class, and a map of classes that names what is not there.

    Args:
      classes: as ``of_set`` returns it.
      given: the user's.
      counts: finding -> how often it occurs.
      path: the labels, for the message.

    Raises:
      ConfigError, DataError: as ``ClassMap.check``; or nothing that occurs is a class.
    """
    if given and given.pairs:
        classes.check(counts, path)
    if any(counts.values()) and not any(count and classes.target(name) for name, count in counts.items()):
        names = ", ".join(f"{name!r} ({count:,})" for name, count in Counter(counts).most_common())
        wanted = " or ".join(repr(name) for name in classes.pairs if name != OTHERS)
        raise DataError(
            f'{path} has no finding {wanted}. It has {names}. Say which is pneumonia, such as {FLAG} "Consolidation=pneumonia".'
        )
