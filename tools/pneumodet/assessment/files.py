"""The CSV of facts about radiographs that evaluation reads.

facts = read_facts(Path("headers.csv"))                                # exam -> {"view_position": "AP", ...}
"""

from pathlib import Path
from typing import Any

from pneumodet.data import dicom, header_values, tables
from pneumodet.errors import DataError

FACTS = {
    "view_position": ("view_position", "ViewPosition", "view"),
    "sex": ("sex", "PatientSex"),
    "age": ("age", "PatientAge"),
    "rsna_class": ("rsna_class", "class"),
}
"""What is known of a radiograph besides -> columns of a facts CSV that hold it, the first that is there."""

EXAM_COLUMNS = ("patientId", "PatientID")
"""Columns of a facts CSV that hold the exam; in RSNA's published headers PatientID is the patientId."""


def age_years(age: Any) -> int | float | None:
    """Return an age in years: a number as it is, whole years of texts such as ``051Y``, ``018M`` or ``43.0``; None for anything else."""
    if isinstance(age, int | float) and not isinstance(age, bool):
        return age
    years = dicom.age_years(age) if isinstance(age, str) else None
    return None if years is None else int(years)


def read_facts(path: Path) -> dict[str, dict[str, Any]]:
    """Read what is known of exams besides, as ``load`` takes it. An exam may have several rows, as in RSNA's class info, that do not differ.

    Raises:
      DataError: the file cannot be read, has none of the columns, or tells two different things of one exam.
    """
    table = tables.read(path)
    columns = table.columns
    exam = next((name for name in EXAM_COLUMNS if name in columns), EXAM_COLUMNS[0])
    chosen = {name: next((one for one in options if one in columns), None) for name, options in FACTS.items()}
    chosen = {name: column for name, column in chosen.items() if column}
    if not chosen:
        raise DataError(f"{path} has none of the columns {', '.join(option for options in FACTS.values() for option in options)}.")
    found: dict[str, dict[str, Any]] = {}
    for line, row in table.need((exam, *chosen.values())).rows():
        values: dict[str, Any] = {
            name: None if header_values.is_missing(row[column]) else row[column].strip() for name, column in chosen.items()
        }
        values |= {"age": age_years(values["age"])} if "age" in values else {}
        known = found.setdefault(row[exam].strip(), values)
        differs = next((name for name, value in values.items() if known[name] != value), None)
        if differs:
            raise DataError(
                f"{path}, line {line}: exam {row[exam].strip()} has the {chosen[differs]} {known[differs]!r} in an earlier row and {values[differs]!r} "
                "here. Keep one of them."
            )
    return found
