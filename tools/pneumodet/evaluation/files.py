"""The CSV of facts about radiographs that evaluation reads.

facts = read_facts(Path("headers.csv"))                                # exam -> {"view_position": "AP", ...}
"""

from pathlib import Path
from typing import Any

from pneumodet.core.errors import DataError
from pneumodet.data import tables
from pneumodet.dicom import header_facts

FACTS = {
    "view_position": ("view_position", "ViewPosition", "view"),
    "sex": ("sex", "PatientSex"),
    "age": ("age", "PatientAge"),
    "rsna_class": ("rsna_class", "class"),
}
"""What is known of a radiograph besides -> columns of a facts CSV that hold it, the first that is there."""

EXAM_COLUMNS = ("patientId", "PatientID")
"""Columns of a facts CSV that hold the exam; in RSNA's published headers PatientID is the patientId."""


def fact(name: str, value: Any) -> Any:
    """Return a fact as ``header_facts`` reads it: an age in years that is believed, or None; a standard term of view or sex.

    Other values of view and sex, and all other facts, stay as they are: slices are made by what the user names.
    """
    if name == "age":
        return header_facts.age_years(value)
    read = {"view_position": header_facts.view_position, "sex": header_facts.sex}.get(name)
    return (read(value) if read else None) or value


def read_facts(path: Path) -> dict[str, dict[str, Any]]:
    """Read what is known of exams besides, as ``load`` takes it. An exam may have several rows, as in RSNA's class info, that do not differ.

    Raises:
      DataError: the file cannot be read, has none of the columns, or says two different things of one exam.
    """
    table = tables.read(path)
    columns = table.columns
    exam = next((name for name in EXAM_COLUMNS if name in columns), EXAM_COLUMNS[0])
    first = {name: next((one for one in options if one in columns), None) for name, options in FACTS.items()}
    chosen = {name: column for name, column in first.items() if column}
    if not chosen:
        raise DataError(f"{path} has none of the columns {', '.join(option for options in FACTS.values() for option in options)}.")
    of_exams: dict[str, dict[str, Any]] = {}
    for line, row in table.need((exam, *chosen.values())).rows():
        values: dict[str, Any] = {
            name: None if header_facts.is_missing(row[column]) else fact(name, row[column].strip()) for name, column in chosen.items()
        }
        known = of_exams.setdefault(row[exam].strip(), values)
        # RSNA's class info repeats an exam once a box, always with the same class
        differs = next((name for name, value in values.items() if known[name] != value), None)
        if differs:
            earlier, here = (f"{one[differs]:g}" if isinstance(one[differs], float) else repr(one[differs]) for one in (known, values))
            raise DataError(
                f"{path}, line {line}: exam {row[exam].strip()} has the {chosen[differs]} {earlier} in an earlier row and {here} "
                "here. Keep one of them."
            )
    return of_exams
