"""Packages of which an installation that was killed has left a part: pip takes them for installed when it is started again.

list(check_whole())
"""

import csv
import importlib.metadata
import os
from collections.abc import Iterable, Iterator

from pneumodet.doctor.check import ERROR, OK, Check


def check_whole(distributions: Iterable[importlib.metadata.Distribution] | None = None) -> Iterator[Check]:
    """Check that every file is there that pip has written down for a package.

    Args:
      distributions: by default all that Python imports from.
    """
    count, errors = 0, 0
    for distribution in importlib.metadata.distributions() if distributions is None else distributions:
        name = distribution.metadata["Name"] if distribution.metadata else None
        if not name:
            continue
        count += 1
        sentence = _incomplete(distribution)
        if sentence:
            errors += 1
            fix = f"pip install --force-reinstall --no-deps '{name}=={distribution.version}'"
            yield Check(f"{name} is incomplete", ERROR, sentence, fix)
    if not errors:
        yield Check("packages", OK, f"{count}, all whole")


def _incomplete(distribution: importlib.metadata.Distribution) -> str:
    """Return what is missing of a package as a sentence; "" where nothing is, or where what installed it has no such list."""
    record = distribution.read_text("RECORD")
    if record is None:
        # pip writes INSTALLER after a package's files, and RECORD last; other installers have a list of another form, or none
        killed = distribution.read_text("WHEEL") is not None and distribution.read_text("INSTALLER") is None
        return "its installation was not finished" if killed else ""
    folder, files, missing = str(distribution.locate_file("")), 0, []
    for row in csv.reader(record.splitlines()):
        if not row or row[0].endswith(".pyc"):
            continue
        files += 1
        try:
            size = os.stat(os.path.join(folder, row[0])).st_size
        except OSError:
            missing.append(row[0])
            continue
        # of another size is what another package, or a person, has written over it
        if not size and len(row) > 2 and row[2] not in ("", "0"):
            missing.append(row[0])
    return f"{len(missing):,} of its {files:,} files are missing or empty (first: {missing[0]})" if missing else ""
