"""Names that labelling tools give to images when they export: Label Studio's hash before the name, and characters as %20.

renamed(labels, files)                # labels of 8a1f22c0-IM%200001 under the name IM 0001, if there is such a file
"""

import dataclasses
import re
import urllib.parse
from collections import Counter
from collections.abc import Container

from pneumodet.data.annotations import Labels

_HASH = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded file."""


def plain(name: str) -> str:
    """Return an image's name as it was before it was uploaded."""
    return _HASH.sub("", urllib.parse.unquote(name)).strip()


def renamed(labels: Labels, files: Container[str]) -> Labels:
    """Return labels under the names of the files where a labelling tool changed these.

    A name changes only where no file has it, one has the plain name, and neither other labels nor another changed name mean that file.

    Args:
      labels: of exams.
      files: names of exams that have a file.
    """
    names = {exam: plain(exam) for exam in (*labels.exams, *(exam for exam, _ in labels.rejected)) if exam not in files}
    counts = Counter(names.values())
    taken = {
        exam: name for exam, name in names.items() if name != exam and name in files and counts[name] == 1 and name not in labels.exams
    }
    if not taken:
        return labels
    exams = {taken.get(exam, exam): dataclasses.replace(one, patient_id=taken.get(exam, exam)) for exam, one in labels.exams.items()}
    return dataclasses.replace(
        labels,
        exams=exams,
        rejected=sorted((taken.get(exam, exam), reason) for exam, reason in labels.rejected),
        rows={taken.get(exam, exam): count for exam, count in labels.rows.items()},
        splits={taken.get(exam, exam): split for exam, split in labels.splits.items()},
    )
