"""Which class of the label map each class of a label file is: ``--class-map``, and the check that comes before anything is written.

    classes = ClassMap(parse(["Lung Opacity=pneumonia", "Nodule="]))
    classes.target("Lung Opacity"), classes.target("Nodule")         # "pneumonia", None: such boxes are left out
    classes.check({"Lung Opacity": 12, "Pneumonia": 3}, path)        # DataError: 'Pneumonia' is spelled otherwise than 'pneumonia'

That a class is unknown is an error of the whole file: handled exam by exam, it would leave out the positive exams and keep the negative ones.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.formatting import counted, listed
from pneumodet.data import label_map

OTHERS = "*"
"""Stands for all classes that are neither named nor in the label map."""

FLAG = "--class-map"

MOST_CLASSES = 20
"""That a message lists."""

_NEGATIVE = frozenset(("nofinding", "nofindings", "normal", "negative", "none", "background", "healthy"))
"""What data sets call an exam without findings, as ``_plain`` has it."""

_POSITIVE = frozenset(("opacity", "lungopacity", "consolidation", "infiltration", "infiltrate"))
"""What data sets call the finding that RSNA's challenge calls pneumonia, as ``_plain`` has it; taken for a proposal only."""


def parse(texts: Iterable[str]) -> dict[str, str]:
    """Return class of the labels -> class of the label map, or "" to leave such boxes out.

    Args:
      texts: ``NAME=CLASS`` each; the last ``=`` separates, and blanks around names do not count.

    Raises:
      ConfigError: a text is of another form, or a class is given twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, target = (part.strip() for part in text.rpartition("="))
        if not equals or not name:
            raise ConfigError(f'{FLAG} is {text!r}, must be NAME=CLASS, such as "Lung Opacity=pneumonia"; NAME= leaves such boxes out.')
        if pairs.setdefault(name, target) != target:
            raise ConfigError(f"{FLAG} gives the class {name!r} twice: {pairs[name]!r} and {target!r}. Keep one of them.")
    return pairs


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """What becomes of the classes of a label file.

    Attributes:
      pairs: as ``parse`` returns them.
      known: classes that may stand in the labels as they are, and that others become.
      complete: every class must become one of ``known``, as records need; else only one that is another spelling of one of them is an error.
      wanted: some of the findings, where there are any, must be of this class.
    """

    pairs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    known: Collection[str] = (label_map.NO_PNEUMONIA, label_map.PNEUMONIA)
    complete: bool = False
    wanted: str | None = None

    def target(self, name: str) -> str | None:
        """Return what a class of the labels becomes; None where its boxes are left out, and the name itself where nothing is known of it."""
        if name in self.pairs:
            return self.pairs[name] or None
        if name in self.known or OTHERS not in self.pairs:
            return name
        return self.pairs[OTHERS] or None

    def check(self, counts: Mapping[str, int], path: Path) -> None:
        """Refuse classes that nobody knows.

        Args:
          counts: class as the labels have it -> how often it occurs there.
          path: the labels, for the message.

        Raises:
          ConfigError: the map names a class that the labels or the label map do not have.
          DataError: a class is unknown, or spelled otherwise than a known one.
        """
        # of classes that come with the labels, as COCO's do, any may be meant
        if strange := sorted(set(filter(None, self.pairs.values())) - set(self.known) - counts.keys()):
            raise ConfigError(f"{FLAG} leads to {strange[0]!r}, but the label map has {', '.join(map(repr, self.known))}.")
        if absent := sorted(self.pairs.keys() - counts.keys() - {OTHERS}):
            raise ConfigError(f"{FLAG} names the class {absent[0]!r}, but {path} has {_listed(counts) or 'no classes'}.")
        targets = {name: target for name, count in counts.items() if count and (target := self.target(name)) is not None}
        unknown = [name for name, target in targets.items() if target not in self.known]
        wrong = [name for name in unknown if self.complete or self._like(name, spelled_otherwise=True)]
        findings = {name: target for name, target in targets.items() if target != label_map.NO_PNEUMONIA}
        if self.wanted and findings and self.wanted not in findings.values():
            wrong = list(findings)
        if not wrong:
            return
        flags = [f'{FLAG} "{name}={self._like(name) or ""}"' for name in wrong[:MOST_CLASSES]]
        raise DataError(
            f"{path} has the classes {_listed(counts)}, but the label map has {', '.join(map(repr, self.known))}. Say what the others are, for "
            f'example {" ".join(flags)}; an empty name after = leaves such boxes out, and "{OTHERS}=" those of all other classes.'
        )

    def _like(self, name: str, *, spelled_otherwise: bool = False) -> str:
        """Return the known class that a name may mean, or ""; ``spelled_otherwise`` asks for another spelling, not for another finding."""
        plain = _plain(name)
        for known in self.known:
            if plain == _plain(known):
                return known
        if plain in _NEGATIVE and label_map.NO_PNEUMONIA in self.known:
            return label_map.NO_PNEUMONIA
        return label_map.PNEUMONIA if not spelled_otherwise and plain in _POSITIVE and label_map.PNEUMONIA in self.known else ""


def _plain(name: str) -> str:
    """Return a name in small letters, without blanks and punctuation."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _listed(counts: Mapping[str, int]) -> str:
    """Return the classes of a file with their numbers, the most frequent first."""
    most = sorted(counts, key=lambda name: (-counts[name], name))
    return listed((f"{name!r} ({counted(counts[name], 'object')})" for name in most), MOST_CLASSES)
