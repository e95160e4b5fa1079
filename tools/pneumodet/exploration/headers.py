"""Header values of a data set, exam by exam, and which of them are missing, unusable or given more than once.

    table = of_csv(Path("headers.csv.gz"))
    table = of_files(header_values.read_files(files, pool))
    table.facts["0004cfab-…"].age_years

A value in no usual form is counted as unusable, never quoted: a header may hold anything.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from pneumodet.data import header_values
from pneumodet.data.header_values import NAMES, FileFacts, Texts
from pneumodet.dicom import header_facts
from pneumodet.dicom.header_facts import Fact

KEYWORDS = {column: names[0] for column, names in NAMES.items()}
"""Column -> keyword of its DICOM element, by which the report names it."""


@dataclasses.dataclass(frozen=True, slots=True)  # there are many
class Facts:
    """What is known of an exam; None where a value is missing or unusable.

    Attributes:
      age_years: as ``header_facts`` believes it.
      sex: one of ``header_facts.SEXES``.
      view: one of ``header_facts.VIEW_POSITIONS``.
      spacing_mm: height of a pixel.
      impossible_years: an age that is written and not believed.
    """

    age_years: float | None = None
    sex: str | None = None
    view: str | None = None
    spacing_mm: float | None = None
    impossible_years: float | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """The header values of a data set.

    Attributes:
      facts: exam -> its facts; of an exam with several rows those of the first.
      rows: how many there were.
      missing: keyword, or another column of a CSV -> rows without a value.
      unusable: keyword -> exams whose value has no usual form, or is a pixel spacing that is not believed.
      repeated: exams with more than one row.
      unnamed: rows without an exam.
    """

    facts: dict[str, Facts]
    rows: int
    missing: dict[str, int]
    unusable: dict[str, list[str]]
    repeated: list[str]
    unnamed: int = 0


def of_csv(path: Path) -> Table:
    """Read a CSV as ``header_values.read_csv`` does; missing values of other columns are counted.

    Raises:
      DataError: as there.
    """
    sheet = header_values.read_csv(path)
    table = _table((row.exam, row.texts) for row in sheet.rows)
    table.missing.update({name: sum(map(header_facts.is_missing, cells)) for name, cells in sheet.others.items()})
    return table


def of_files(files: Mapping[str, FileFacts]) -> Table:
    """Return the header values of files; files whose header could not be read are left out."""
    return _table((exam, one.texts) for exam, one in files.items() if one.texts is not None)


def _table(rows: Iterable[tuple[str, Texts]]) -> Table:
    facts: dict[str, Facts] = {}
    # zeros for all, so that the report can say that nothing is missing
    missing = Counter(dict.fromkeys(KEYWORDS.values(), 0))
    unusable: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    for exam, texts in rows:
        read = {column: header_facts.read(column, texts.get(column)) for column in KEYWORDS}
        # an age that is not believed is kept beside, to be listed, and is in no figure
        impossible = read["age"].stated if read["age"].doubt else None
        for column, fact in read.items():
            if header_facts.is_missing(texts.get(column)):
                missing[KEYWORDS[column]] += 1
            elif fact.value is None and (column != "age" or impossible is None):  # impossible ages are listed with their values
                unusable.setdefault(KEYWORDS[column], []).append(exam)
        counts[exam] += 1
        if exam:
            # the first row counts, as the report says of exams with several
            facts.setdefault(exam, _facts(read, impossible))
    repeated = sorted(exam for exam, count in counts.items() if count > 1 and exam)
    return Table(facts, counts.total(), dict(missing), unusable, repeated, counts[""])


def _facts(read: Mapping[str, Fact], impossible: float | str | None) -> Facts:
    """Return an exam's facts of those that ``header_facts`` read, which are numbers of ages and spacings, and terms of sexes and views."""
    years, mm, sex, view = (read[column].value for column in ("age", "spacing", "sex", "view"))
    return Facts(
        age_years=years if isinstance(years, float) else None,
        sex=sex if isinstance(sex, str) else None,
        view=view if isinstance(view, str) else None,
        spacing_mm=mm if isinstance(mm, float) else None,
        impossible_years=impossible if isinstance(impossible, float) else None,
    )
