"""Labels and headers -> one table of exams: what models learn from, and whose exam each is.

table = read(labels=Path("stage_2_train_labels.csv"), headers_csv=Path("headers.csv.gz"), patient_map=Path("mapping.json"))
table.values            # (N, F) float64, NaN where a value is missing
table.notes             # what was left out or taken as missing, a sentence each
learned = table.take(~table.tested)                          # of a record set that was read with its test split
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pneumodet.core.errors import ConfigError, DataError
from pneumodet.core.formatting import counted
from pneumodet.core.processes import Pool
from pneumodet.core.split_use import TEST_SPLIT
from pneumodet.data import annotations, formats, grouping, header_values, sources
from pneumodet.data.annotations import Exam
from pneumodet.data.class_map import ClassMap
from pneumodet.data.header_values import COLUMNS, Texts
from pneumodet.data.record_sets import RecordSet
from pneumodet.dicom import header_facts

CATEGORICAL = ("sex", "view")
"""Columns whose numbers are places in ``Table.categories``."""

NAMES = {"age": "age", "sex": "sex", "view": "view position", "spacing": "pixel spacing"}
"""Columns as a reader names them."""

EXAM_IS_PATIENT = (
    "No patient map is given, so that every exam is taken for a patient of its own. In the RSNA set a patient has up to 65 exams: figures are "
    "then too good and intervals too narrow. Give --patient-map."
)

TEST_LEFT_OUT = (
    "{exams} of the test split {are} left out, and stay unseen. Once at the end, --evaluate-test evaluates the best model on them."
)
"""Note on a record set."""


@dataclasses.dataclass(frozen=True)
class Table:
    """N exams.

    Attributes:
      exams: N names (patientId).
      positive: (N,) bool: whether the exam has pneumonia.
      patients: (N,) int64, the same number for the exams of one patient.
      columns: F names of ``COLUMNS``: those of which something is known.
      values: (N, F) float64; years, mm, or the place in ``categories``; NaN where missing.
      categories: of each categorical column, its values.
      boxes_xyxy_px: of each exam (n, 4) float64; they belong to the answer, and only ``leak`` uses them.
      splits: of each exam its split in the record set; none where the labels came from elsewhere.
      notes: what was left out or taken as missing, a sentence each.
      patients_by: where patients are known from, as ``grouping`` names it.
    """

    exams: list[str]
    positive: np.ndarray
    patients: np.ndarray
    columns: tuple[str, ...]
    values: np.ndarray
    categories: dict[str, tuple[str, ...]]
    boxes_xyxy_px: list[np.ndarray]
    splits: list[str]
    notes: list[str]
    patients_by: str

    @property
    def categorical(self) -> list[bool]:
        """Whether each column holds categories."""
        return [column in CATEGORICAL for column in self.columns]

    @property
    def tested(self) -> np.ndarray:
        """(N,) bool: whether each exam is of the test split of a record set."""
        return np.array([split == TEST_SPLIT for split in self.splits], bool) if self.splits else np.zeros(len(self.exams), bool)

    def take(self, mask: np.ndarray) -> "Table":
        """Return the exams of which the (N,) bool mask is true; categories and notes stay those of all."""
        places = np.flatnonzero(mask).tolist()
        return dataclasses.replace(
            self,
            exams=[self.exams[place] for place in places],
            positive=self.positive[mask],
            # numbered as if there were no others, so that folds do not depend on exams that are in none
            patients=np.unique(self.patients[mask], return_inverse=True)[1],
            values=self.values[mask],
            boxes_xyxy_px=[self.boxes_xyxy_px[place] for place in places],
            splits=[self.splits[place] for place in places] if self.splits else [],
        )


def read(
    *,
    labels: Path | None = None,
    headers_csv: Path | None = None,
    dicom_dir: Path | None = None,
    records: Path | None = None,
    patient_map: Path | None = None,
    class_map: Mapping[str, str] | None = None,
    with_test: bool = False,
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda count, total: None,
) -> Table:
    """Read ``labels`` and one of ``headers_csv`` and ``dicom_dir``; or ``records``, which have both.

    Args:
      labels: in any format that ``formats.read_labels`` knows.
      headers_csv: as ``header_values.read_csv``; an exam may have several rows that say the same.
      dicom_dir: as ``sources.find_radiographs``; files whose header cannot be read count as without one.
      records: a folder made by make_tfrecords; it names patients, too.
      patient_map: as ``annotations.read_patient_map``.
      class_map: of the labels, as ``class_map.parse`` returns it.
      with_test: read the test split of ``records``, too, which is left out without.
      workers: processes that read headers.
      on_progress: is called with (headers read since the last time, headers in all).

    Raises:
      ConfigError: the inputs do not go together.
      DataError: a file cannot be read, no exam has both a label and a header, no column is usable, or the patient map lacks an exam.
    """
    if with_test and not records:
        raise ConfigError("--evaluate-test is for a record set, which knows its test exams. Give --data.")
    if records and (labels or headers_csv or dicom_dir):
        raise ConfigError("A record set has labels and headers of its own. Give --data alone, or --labels with --headers or --dicom-dir.")
    if records:
        exams, facts, patients, splits, notes = _of_records(records, with_test=with_test)
        by = grouping.BY_MAP if patients else grouping.BY_EXAM
    else:
        where = headers_csv or dicom_dir
        if not labels or where is None or bool(headers_csv) == bool(dicom_dir):
            raise ConfigError("Give --labels with one of --headers (a CSV) and --dicom-dir (the files), or --data (a record set).")
        exams, named, notes = _labelled(labels, ClassMap(class_map or {}))
        facts = _of_csv(where) if headers_csv else _of_files(where, exams, workers, on_progress)
        # some may lack a header, and are named; where all do, these are two different data sets
        if missing := [exam for exam in exams if exam not in facts]:
            if len(missing) == len(exams):
                raise DataError(f"None of the {len(exams)} exams of {labels} has a header in {where}. Do the two belong together?")
            notes.append(
                f"Left out, because they have no header in {where.name}: {len(missing):,} labelled exams, for example {missing[0]}."
            )
        if others := facts.keys() - exams.keys():
            notes.append(f"Left out, because they belong to no labelled exam: {len(others):,} headers, for example {min(others)}.")
        exams = {exam: one for exam, one in exams.items() if exam in facts}
        patients, splits, by = named, {}, grouping.BY_LABELS if named else grouping.BY_EXAM
    if patient_map:
        patients, by = annotations.read_patient_map(patient_map), grouping.BY_MAP
        # an exam without a patient could be of one in another fold, and the figures too good
        if missing := [exam for exam in exams if exam not in patients]:
            raise DataError(f"The patient map {patient_map} does not name {len(missing):,} exams, for example {missing[0]}. Add them.")
    if by == grouping.BY_EXAM:
        notes.append(EXAM_IS_PATIENT)
    columns, values, categories, more = _numbers([facts[exam] for exam in exams])
    return Table(
        exams=list(exams),
        # all arrays are in the order of ``exams``
        positive=np.array([one.positive for one in exams.values()], bool),
        patients=np.unique([patients.get(exam, exam) for exam in exams], return_inverse=True)[1],
        columns=columns,
        values=values,
        categories=categories,
        boxes_xyxy_px=[one.boxes_xyxy_px for one in exams.values()],
        splits=[splits[exam] for exam in exams] if splits else [],
        notes=notes + more,
        patients_by=by,
    )


def _labelled(path: Path, classes: ClassMap | None) -> tuple[dict[str, Exam], dict[str, str], list[str]]:
    """Return (exam -> its labels, exam -> patient where the labels name them, notes)."""
    labels = formats.read_labels(path, classes=classes)
    notes = []
    if labels.rejected:
        exam, reason = labels.rejected[0]
        notes.append(
            f"Left out, because their labels in {path.name} cannot be used: {len(labels.rejected):,} exams; the first is {exam}, {reason}."
        )
    return labels.exams, dict(labels.patients), notes


def _of_csv(path: Path) -> dict[str, Texts]:
    texts_of: dict[str, Texts] = {}
    for row in header_values.read_csv(path).rows:
        if not row.exam:
            raise DataError(f"{path}, line {row.line}: the row names no exam. Fill it in or remove the row.")
        # RSNA's tables have a row a box, so that an exam may occur again with the same header
        if texts_of.setdefault(row.exam, row.texts) != row.texts:
            raise DataError(f"{path}, line {row.line}: exam {row.exam} occurs twice with different values. Keep one row.")
    return texts_of


def _of_files(root: Path, exams: Mapping[str, Exam], workers: int, on_progress: Callable[[int, int], None]) -> dict[str, Texts]:
    with Pool(workers) as pool:
        # by what the labels call an exam: a file's name, its PatientID or its SOPInstanceUID
        files, _ = sources.find_radiographs(root, known=exams, pool=pool)
        files = {exam: source for exam, source in files.items() if exam in exams}
        read = header_values.read_files(files, pool, done=lambda count: on_progress(count, len(files)))
    return {exam: one.texts for exam, one in read.items() if one.texts is not None}


def _of_records(folder: Path, *, with_test: bool) -> tuple[dict[str, Exam], dict[str, Texts], dict[str, str], dict[str, str], list[str]]:
    """Return (exam -> labels, exam -> facts, exam -> patient where they are known, exam -> split, notes) of a record set."""
    records = RecordSet.open(folder)
    if with_test:
        records.split(TEST_SPLIT)  # or an error says that there is none
    exams: dict[str, Exam] = {}
    facts: dict[str, Texts] = {}
    patients: dict[str, str] = {}
    splits: dict[str, str] = {}
    notes = []
    for split in records.each_split():
        # nothing to learn from, and labels without any exam are an error of the reader
        if not len(split):
            continue
        if split.name == TEST_SPLIT and not with_test:
            notes.append(TEST_LEFT_OUT.format(exams=counted(len(split), "exam"), are="is" if len(split) == 1 else "are"))
            continue
        exams_of_split, _, more = _labelled(split.truth, None)
        images = split.instances["images"]
        exams |= exams_of_split
        facts |= header_values.of_images(images)
        patients |= {image["file_name"]: str(image["patient"]) for image in images if "patient" in image}
        splits |= dict.fromkeys(exams_of_split, split.name)
        notes += more
    # all or none: a patient map that knows some exams would take the others for patients of their own
    known = records.split_by != grouping.BY_EXAM and exams.keys() <= patients.keys()
    return exams, facts, patients if known else {}, splits, notes


def _numbers(facts: list[Texts]) -> tuple[tuple[str, ...], np.ndarray, dict[str, tuple[str, ...]], list[str]]:
    """Return (columns, (N, F) values, categories, notes); columns of which nothing is known are left out, and a note says so.

    Raises:
      DataError: nothing is known of any column.
    """
    kept, notes, categories = {}, [], {}
    for column in COLUMNS:
        texts = [one.get(column, "") for one in facts]
        values, refused = _checked(column, texts)
        if column in CATEGORICAL:
            # sorted, so that the numbers do not depend on the order of exams
            categories[column] = tuple(sorted(set(filter(None, values))))
            places = {value: float(index) for index, value in enumerate(categories[column])}
            values = [places.get(value) for value in values]
        notes += [f"{count:,} {_plural(column, count)} {reason} and taken as missing." for reason, count in refused.items()]
        numbers = np.array([np.nan if value is None else value for value in values], np.float64)
        # a column without any value says nothing, and is named in a note instead
        if np.isnan(numbers).all():
            categories.pop(column, None)
            notes.append(f"No exam has a usable {NAMES[column]}; it is left out.")
            continue
        absent = int(np.isnan(numbers).sum()) - sum(refused.values())
        if absent:
            notes.append(f"No {NAMES[column]} is known of {absent:,} of {len(facts):,} exams.")
        kept[column] = numbers
    if not kept:
        names = ", ".join(NAMES.values())
        raise DataError(f"No exam has any of {names}. Give headers with PatientAge, PatientSex, ViewPosition or PixelSpacing.")
    return tuple(kept), np.stack(list(kept.values()), axis=1), categories, notes


def _plural(column: str, count: int) -> str:
    return NAMES[column] + ("s are" if count != 1 and column != "sex" else "es are" if count != 1 else " is")


def _checked(column: str, texts: list[str]) -> tuple[list, Counter]:
    """Return (value or None of each text, reason -> number of texts that are there and not usable)."""
    facts = [header_facts.read(column, text) for text in texts]
    return [fact.value for fact in facts], Counter(fact.doubt for fact in facts if fact.doubt)
