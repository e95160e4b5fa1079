"""CSV files -> tables of text cells with the line of each row, read by pandas' C parser where cells are quoted.

Most files have no quotes, RSNA's among them, and importing pandas takes longer than reading them.

    table = read(Path("stage_2_train_labels.csv.zip"), ("patientId", "Target"))
    for line, row in table.rows(): row["patientId"]

Cells stay text: what is empty, "NaN" or a number is for the caller to decide, who can name the line.
"""

import dataclasses
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pneumodet.core import csv_cells
from pneumodet.core.errors import DataError
from pneumodet.data import text_files

SEPARATORS = (",", "\t", ";")
"""The first one in the header counts: Excel writes tabs with UTF-16, and semicolons where the comma is the decimal sign."""

MOST_COLUMNS = 4096
"""A row with more cells is an error of the file."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_SAW = re.compile(r"saw (\d+)")


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A CSV file.

    Attributes:
      path: the file.
      columns: names in the header, without blanks around them.
      lines: number of the last line of each row, from 1; rows without any text are left out.
      cells: of each column its cells; "" where a row is too short.
      too_long: line -> number of cells of the rows that have more than the header.
    """

    path: Path
    columns: tuple[str, ...]
    lines: Sequence[int]
    cells: Sequence[Sequence[str]]
    too_long: Mapping[int, int]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> Sequence[str]:
        """Return the cells of a column."""
        return self.cells[self.columns.index(name)]

    def need(self, columns: Sequence[str]) -> "Table":
        """Return this table.

        Raises:
          DataError: it has no header, or a column is missing or occurs more than once.
        """
        if not self.columns:
            raise DataError(f"{self.path} is empty. It needs the columns {', '.join(columns)}.")
        if missing := [name for name in columns if name not in self.columns]:
            raise DataError(f"{self.path} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, self.columns))}.")
        repeated = next((name for name in columns if self.columns.count(name) > 1), None)
        if repeated:
            raise DataError(f"{self.path} has the column {repeated!r} twice. Remove the one that is not meant.")
        return self

    def stripped(self, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield (line, cells of some columns without blanks around them) of each row."""
        for line, *cells in zip(self.lines, *map(self.column, columns), strict=True):
            yield line, tuple(cell.strip() for cell in cells)

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield (line, column -> cell) of each row."""
        columns = self.columns
        for line, *cells in zip(self.lines, *self.cells, strict=True):
            yield line, dict(zip(columns, cells, strict=True))


def read(path: Path, columns: Sequence[str] = (), what: str = "") -> Table:
    """Read a CSV file; gzip, a ZIP archive with one file, and encodings as ``text_files.read_text``.

    Args:
      path: the file.
      columns: names that the header must have; none: it may be any, or none at all.
      what: as there.

    Raises:
      DataError: the file cannot be read, is no CSV, or lacks a column.
    """
    table = parse(text_files.read_text(path, what), path)
    return table.need(columns) if columns else table


def parse(text: str, path: Path) -> Table:
    """Return the table in a text; ``path`` is for messages. Errors as ``read``."""
    lead = len(text) - len(text.lstrip("\ufeff \t\r\n"))
    first = len(_LINE_END.findall(text[:lead]))
    text = text[lead:]
    if not text:
        return Table(path, (), [], [], {})
    header = text[: match.start() if (match := _LINE_END.search(text)) else len(text)]
    separator = next((one for one in SEPARATORS if one in header), ",")
    # quoted names may hold the separator: only then is the header worth a parser of its own
    width = len(_cells(text, path, separator, None)) if '"' in header else header.count(separator) + 1
    columns = _cells(text, path, separator, width + 1)  # one more column shows rows that are too long
    if csv_cells.has_guarded(text):
        columns = [[csv_cells.plain(cell) for cell in cells] for cells in columns]
    names = [cells[0].strip() for cells in columns[:width]]
    lines: Sequence[int] = range(first + 1, first + 1 + len(columns[0]))
    if len(columns[0]) != len(_LINE_END.findall(text)) + (text[-1] not in "\r\n"):
        lines = _lines(columns, first)
    too_long = {lines[row]: count for row, count in _too_long(columns, width).items() if row}
    unnamed = [row for row, cell in enumerate(columns[0]) if not cell.strip()]
    blank = {row for row in unnamed if not any(cells[row].strip() for cells in columns)}
    if not blank:
        return Table(path, tuple(names), lines[1:], [cells[1:] for cells in columns[:width]], too_long)
    kept = [row for row in range(1, len(columns[0])) if row not in blank]
    return Table(path, tuple(names), [lines[row] for row in kept], [[cells[row] for row in kept] for cells in columns[:width]], too_long)


def _cells(text: str, path: Path, separator: str, width: int | None) -> list[list[str]]:
    """Return the cells of each column, header and empty lines among them.

    Args:
      text: the file.
      path: for messages.
      separator: of cells.
      width: number of columns, more where a row is longer; None: the header alone, with as many as it has.
    """
    if width is not None and '"' not in text:
        return _plain_cells(text, path, separator, width)
    import pandas as pd

    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=None,
            names=None if width is None else range(width),
            nrows=1 if width is None else None,
            index_col=False,
            dtype=str,
            keep_default_na=False,  # "NA" is a name, and "NaN" is for the caller
            na_filter=False,
            skip_blank_lines=False,  # lines are counted by rows
            engine="c",
        )
    except pd.errors.ParserError as error:
        longest = int(match[1]) if (match := _SAW.search(str(error))) else 0
        if width and width < longest <= MOST_COLUMNS:
            return _cells(text, path, separator, max(longest, min(2 * width, MOST_COLUMNS)))
        raise DataError(f"{path} is not a CSV file ({str(error).removeprefix('Error tokenizing data. C error: ')}).") from error
    return [frame[column].tolist() for column in frame.columns]


def _plain_cells(text: str, path: Path, separator: str, width: int) -> list[list[str]]:
    """Return the same of a text without quotes, in which every line is a row and every separator ends a cell."""
    rows = [line.split(separator) for line in _LINE_END.split(text)]
    if text[-1] in "\r\n":
        rows.pop()
    longest = max(map(len, rows))
    if longest > MOST_COLUMNS:
        line = next(number for number, cells in enumerate(rows, start=1) if len(cells) > MOST_COLUMNS)
        raise DataError(f"{path} is not a CSV file (line {line} has {len(rows[line - 1])} cells).")
    rows.append([""] * max(width, longest))  # all columns are there, also where no row has so many cells
    return [list(cells[:-1]) for cells in itertools.zip_longest(*rows, fillvalue="")]


def _lines(columns: Sequence[Sequence[str]], first: int) -> list[int]:
    """Return the number of the last line of each row, some of which have line ends in their cells."""
    lines, line = [], first
    for cells in zip(*columns, strict=True):
        line += 1 + sum(len(_LINE_END.findall(cell)) for cell in cells if "\n" in cell or "\r" in cell)
        lines.append(line)
    return lines


def _too_long(columns: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """Return row -> number of its cells, up to the last one with text, of rows that have more than the header."""
    counts: dict[int, int] = {}
    for index in range(width, len(columns)):
        counts |= {row: index + 1 for row, cell in enumerate(columns[index]) if cell.strip()}
    return counts
