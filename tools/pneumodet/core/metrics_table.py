"""metrics.csv of a run: one row a report, readable by a spreadsheet and by pandas while the training runs.

    table = MetricsTable(run / "metrics.csv")
    table.add(Row(100, TRAIN, 42.5, None, {"loss/total": 0.71}))
    rows = read(run / "metrics.csv")         # pandas.read_csv("metrics.csv").query("kind == 'train'")

The columns are step, kind (train, validation or anchors), wall_seconds (of training, added up over resumed runs), best (1 or 0 for an
evaluation), and then one for every name that was ever reported, in order of appearance. A field is empty where a row does not have that
name, or its value is not finite. A new name gets a column by writing the whole file anew, beside and renamed; all other rows are appended.
"""

import csv
import dataclasses
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pneumodet.core import paths
from pneumodet.core.errors import DataError
from pneumodet.core.files import append

FILE = "metrics.csv"
"""In the run's folder."""

TRAIN, VALIDATION, ANCHORS = "train", "validation", "anchors"
"""Kinds of rows."""

COLUMNS = ("step", "kind", "wall_seconds", "best")
"""The columns that every row has; ``best`` is empty but for evaluations."""

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Row:
    """One report.

    Attributes:
      step: training steps done.
      kind: ``TRAIN``, ``VALIDATION`` or ``ANCHORS``.
      wall_seconds: of training, without pauses between a stop and its resumption.
      best: whether this evaluation is the best so far; None for other kinds.
      values: name -> finite value, or None where it is undefined.
    """

    step: int
    kind: str
    wall_seconds: float
    best: bool | None
    values: Mapping[str, float | None]


class MetricsTable:
    """The file, kept up to date row by row.

    Attributes:
      path: of the file.
      waiting: rows that could not be written yet; they are tried again with the next one.
      seconds: wall seconds of the last row that was kept from before.
    """

    def __init__(self, path: Path, *, last_step: int = 0) -> None:
        """Take over the rows up to ``last_step``; with 0 begin anew.

        Raises:
          DataError: the file is no such table, or cannot be read or written.
        """
        self.path = path
        self.seconds = 0.0
        self.waiting: list[Row] = []
        self._names: list[str] = []
        self._end = 0  # bytes; what a crashed writer left behind them is overwritten, not read
        there = read(path) if path.exists() else []
        self._keep([row for row in there if last_step and row.step <= last_step])

    def rewind(self, last_step: int) -> None:
        """Drop the rows after ``last_step``.

        Raises:
          DataError: as in the constructor.
        """
        there = read(self.path) if self.path.exists() else []
        self._keep([row for row in [*there, *self.waiting] if row.step <= last_step])
        self.waiting = []

    def add(self, row: Row) -> None:
        """Append a row, with those that wait.

        Raises:
          DataError: it cannot be written now; it waits for the next call.
        """
        self.waiting.append(row)
        self.flush()

    def flush(self) -> None:
        """Write the rows that wait.

        Raises:
          DataError: they cannot be written now, and keep waiting.
        """
        if not self.waiting:
            return
        names = list(dict.fromkeys([*self._names, *_names_of(self.waiting)]))
        if names != self._names or not self.path.exists():
            rows = read(self.path) if self.path.exists() else []
            self._write_all([*rows, *self.waiting], names)
        else:
            try:
                self._end = append(self.path, _text(self.waiting, self._names).encode(), at=self._end)
            except OSError as error:
                raise DataError(f"Cannot write {self.path}: {error.strerror or error}. Free some disk space.") from error
        self.waiting = []

    def _keep(self, rows: Sequence[Row]) -> None:
        self._write_all(rows, _names_of(rows))
        self.seconds = rows[-1].wall_seconds if rows else 0.0

    def _write_all(self, rows: Sequence[Row], names: Sequence[str]) -> None:
        data = (_line([*COLUMNS, *names]) + _text(rows, names)).encode()
        with paths.atomic_path(self.path) as tmp:
            tmp.write_bytes(data)
        self._names, self._end = list(names), len(data)


def read(path: Path) -> list[Row]:
    """Return the rows of a metrics.csv, which may be growing. A last line that was cut off is left out; it is no error.

    A line that cannot be read is left out with a warning that names it.

    Raises:
      DataError: the file cannot be read, or has another header.
    """
    try:
        # a byte that is torn may spoil its line, not all others
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}. It is made by python tools/train.py, in the run's folder.") from error
    lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    header = next(lines, None)
    if header is None:
        return []
    if tuple(header[: len(COLUMNS)]) != COLUMNS:
        raise DataError(f"{path} is no table of a training: its first columns must be {', '.join(COLUMNS)}. Move it away.")
    rows = []
    for fields in lines:
        try:
            rows.append(_row(header, fields))
        except ValueError:
            _LOG.warning("%s, line %d cannot be read and is left out: %r", path, lines.line_num, ",".join(fields)[:80])
    return rows


def evaluations(folder: Path) -> int:
    """Return how often a run was evaluated on its validation exams while it was trained; the best of these checkpoints is the run's.

    Raises:
      DataError: as ``read``.
    """
    return len(validations(folder))


def validations(folder: Path) -> list[Row]:
    """Return the evaluations on validation exams while a run was trained, in their order.

    Raises:
      DataError: as ``read``.
    """
    return [row for row in _of_run(folder) if row.kind == VALIDATION]


def seconds(folder: Path) -> float:
    """Return the seconds of a run's training so far, over all its starts, evaluations included, up to the last report; 0 where there is none.

    Raises:
      DataError: as ``read``.
    """
    return max((row.wall_seconds for row in _of_run(folder)), default=0.0)


def _of_run(folder: Path) -> list[Row]:
    return read(folder / FILE) if (folder / FILE).is_file() else []


def _row(header: Sequence[str], fields: Sequence[str]) -> Row:
    if len(fields) != len(header):
        raise ValueError(f"{len(fields)} fields")
    step, kind, seconds, best, *values = fields
    numbers = {name: float(value) if value else None for name, value in zip(header[len(COLUMNS) :], values, strict=True)}
    return Row(int(step), kind, float(seconds), None if best == "" else best == "1", numbers)


def _names_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.values))


def _text(rows: Sequence[Row], names: Sequence[str]) -> str:
    lines = []
    for row in rows:
        best = "" if row.best is None else int(row.best)
        lines.append(_line([row.step, row.kind, f"{row.wall_seconds:.3f}", best, *(_number(row.values.get(name)) for name in names)]))
    return "".join(lines)


def _number(value: float | None) -> str:
    """Return nine digits, which give every float32 back exactly."""
    return "" if value is None or not math.isfinite(value) else f"{value:.9g}"


def _line(fields: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue()
