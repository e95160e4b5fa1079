"""A record set, as functions take and return it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pneumodet.api import pages
from pneumodet.api.calls import Given
from pneumodet.core import given
from pneumodet.data.manifest import Manifest, SplitEntry


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """A record set: what ``convert`` made, or an earlier one by ``Records.open("records")``.

    >>> records = pneumodet.api.Records.open("records")
    >>> {name: split.exams for name, split in records.splits.items()}
    {'train': 9, 'val': 3}
    >>> sorted(records.label_map)
    ['no-pneumonia', 'pneumonia']

    Attributes:
      folder: where it lies; a URL where Beam wrote it elsewhere.
      manifest: all that it says of itself.
    """

    folder: Path | str
    manifest: Manifest

    @classmethod
    def open(cls, folder: Given) -> "Records":
        """Return an earlier record set.

        Raises:
          DataError: the folder is none, its manifest is damaged, or a file that it names is missing or of another size.
        """
        # here, since it needs packages that prediction does without
        from pneumodet.data.record_sets import RecordSet

        opened = RecordSet.open(given.folder(folder, what="records"))
        return cls(opened.folder, opened.manifest)

    @property
    def splits(self) -> Mapping[str, SplitEntry]:
        """Name -> split, with ``exams``, ``patients``, ``positive_exams`` and ``boxes``."""
        return self.manifest.splits

    @property
    def label_map(self) -> dict[str, int]:
        """Class -> id."""
        return self.manifest.label_map

    @property
    def skipped(self) -> Mapping[str, tuple[str, ...]]:
        """Reason -> what was left out for it, a line each."""
        return self.manifest.skipped

    @property
    def warnings(self) -> list[str]:
        """What one should know before training on it, a sentence each."""
        from pneumodet.data import cautions

        return cautions.of(self.manifest)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {split.exams:,}" for name, split in self.splits.items())
        return f"<Records {self.folder}: {counts} exams>"

    def _repr_html_(self) -> str:
        rows = [(name, *map(str, (one.exams, one.patients, one.positive_exams, one.boxes))) for name, one in self.splits.items()]
        left_out = [(reason, str(len(lines)), lines[0]) for reason, lines in self.skipped.items()]
        return pages.html(
            pages.table(f"Records in {self.folder}", ("split", "exams", "patients", "positive", "boxes"), rows),
            pages.table("Left out", ("reason", "exams", "the first"), left_out),
            pages.warnings(self.warnings),
        )
