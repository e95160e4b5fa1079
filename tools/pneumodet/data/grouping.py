"""Which patient each exam is of, what is known about both, and the split that the patient's exams go to.

groups = Groups.read(exams, files, labels.exams, patient_map, settings)
groups.origins["0004cfab"]                                       # "map", "labels", "tag", "pattern" or "none"
dealt = groups.assign(exams, settings, given, own=labels.splits)
dealt.split_of["0004cfab"]
"""

import dataclasses
import types
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pneumodet.core.errors import ConfigError
from pneumodet.core.processes import Pool
from pneumodet.data import annotations, label_map, sources, splits
from pneumodet.data.annotations import Exam
from pneumodet.data.pseudonyms import Pseudonyms
from pneumodet.data.settings import KEEP, Settings
from pneumodet.data.sources import Source
from pneumodet.dicom import reading

BY_MAP, BY_LABELS, BY_TAG, BY_REGEX, BY_EXAM = "patient map", "labels", "PatientID", "regular expression", "patientId"
"""Where the patient of an exam is known from; the last one is RSNA's name of an exam, and no patient."""

ORIGINS = {BY_MAP: "map", BY_LABELS: "labels", BY_TAG: "tag", BY_REGEX: "pattern", BY_EXAM: "none"}
"""The same of a single exam, as a record set's ground truth has it."""

UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Dealt:
    """Exams and their splits.

    Attributes:
      split_of: exam -> split.
      own: splits of the data set's own that were kept.
      moved: exams that are in another split than the data set's own, since their patient is in several of its splits.
    """

    split_of: dict[str, str]
    own: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Groups:
    """Exams and their patients.

    Attributes:
      by: one of the ``BY_`` names.
      patients: exam -> patient, also of exams without a file; exams whose patient is not known are left out.
      origins: exam -> where its patient is known from, one of the values of ``ORIGINS``.
      headers: exam -> header, where headers were read.
      classes: exam -> class for stratification.
    """

    by: str
    patients: dict[str, str]
    origins: dict[str, str]
    headers: dict[str, reading.Header]
    classes: dict[str, str]

    @classmethod
    def read(
        cls,
        files: Mapping[str, Source],
        labels: Mapping[str, Exam],
        ids: Iterable[str],
        patient_map: Path | Mapping[str, str] | None,
        settings: Settings,
        alias: Pseudonyms,
        pool: Pool,
    ) -> "Groups":
        """Find the patients of all exams that are known, and the headers of those that have a file where a setting needs them.

        Args:
          files: exam -> file.
          labels: exam -> labels.
          ids: exams and patients by their own names, as the patient map has them.
          patient_map: as ``settings.Inputs``, or exam -> patient as the labels say it, which is the last choice but the exam itself.
          settings: where patients are known from, and what is stratified by.
          alias: makes the names that exams and patients have here.
          pool: reads headers.

        Raises:
          ConfigError: the regular expression is wrong.
          DataError: the patient map cannot be read.
        """
        headers: dict[str, reading.Header] = {}
        if settings.patient_tag or settings.quality != "off" or {"view", "sex"} & set(settings.stratify):
            read = sources.read_headers(list(files.values()), pool)
            headers = {exam: header for exam, header in zip(files, read, strict=True) if header is not None}
        if settings.patient_tag:
            patients = {exam: alias(header.patient_id) for exam, header in headers.items() if header.patient_id}
            return cls(BY_TAG, patients, dict.fromkeys(patients, ORIGINS[BY_TAG]), headers, _classes(labels))
        unnamed: set[str] = set()
        if isinstance(patient_map, Path):
            by, known = BY_MAP, annotations.read_patient_map(patient_map)
        elif settings.patient_regex:
            by, known = BY_REGEX, splits.patients_by_regex(ids, settings.patient_regex)
        elif patient_map:
            # labels name the patients of some exams; of the others each counts as one
            by, known = BY_LABELS, {exam: patient_map.get(exam, exam) for exam in ids}
            unnamed = known.keys() - patient_map.keys()
        else:
            by, known = BY_EXAM, {exam: exam for exam in ids}
        patients = {alias(exam): alias(patient) for exam, patient in known.items()}
        origins = {alias(exam): ORIGINS[BY_EXAM if exam in unnamed else by] for exam in known}
        return cls(by, patients, origins, headers, _classes(labels))

    @property
    def views(self) -> dict[str, str]:
        """Exam -> ViewPosition (0018,5101), where it is known."""
        return {exam: header.view_position for exam, header in self.headers.items() if header.view_position}

    def assign(
        self,
        exams: Sequence[str],
        settings: Settings,
        split_of_exam: Mapping[str, str],
        *,
        own: Mapping[str, str] = types.MappingProxyType({}),
    ) -> Dealt:
        """Return the splits: that of the split file for the patients whom it names, by hash or stratum for the others.

        Where there is no split file, the data set's own split is kept, unless it is to be ignored; with folds only its ``test``. A split that it
        lacks is dealt out of its ``train``.

        Args:
          exams: that are dealt.
          settings: how.
          split_of_exam: exam -> split, of a split file.
          own: exam -> one of ``splits.OWN``.

        Raises:
          ConfigError: there are folds, and the split file names ``train`` or ``val``.
          DataError: a fold has no patient, or the split file has a patient in two splits.
        """
        if settings.folds and {splits.TRAIN, splits.VAL} & set(split_of_exam.values()):
            raise ConfigError("With folds, the split file may name folds and other splits, such as test, but not train or val.")
        known = {splits.fold_name(number) for number in range(settings.folds)}
        if strange := {split for split in split_of_exam.values() if splits.FOLD_NAME.match(split)} - known:
            raise ConfigError(
                f"The split file names {max(strange)}, but there are {settings.folds} folds. Say --folds with its number of folds."
            )
        patients = {exam: self.patients[exam] for exam in exams}
        given = splits.given(split_of_exam, self.patients)  # of all exams: one that is gone still shows where its patient belongs
        kept: tuple[str, ...] = ()
        moved: list[str] = []
        shares = settings.shares
        # one split is none: RSNA's and SIIM's labels are all of their train
        here = {exam: split for exam, split in own.items() if exam in patients}
        if settings.own_split == KEEP and not split_of_exam and len(set(here.values())) > 1:
            of_patient, moved = splits.own_of_patients(here, self.patients)
            there = set(of_patient.values()) - ({splits.TRAIN, splits.VAL} if settings.folds else set())
            kept = tuple(one for one in splits.OWN if one in there)
            given = {patient: split for patient, split in of_patient.items() if split in there and split != splits.TRAIN}
            shares = splits.Shares(
                val=0.0 if splits.VAL in there else settings.val_fraction, test=0.0 if splits.TEST in there else settings.test_fraction
            )
        others = {patient for patient in patients.values() if patient not in given}
        if settings.stratify:
            strata = {patient: stratum for patient, stratum in self._strata(patients, settings.stratify).items() if patient in others}
            dealt = splits.stratified(strata, shares, seed=settings.seed, number_of_folds=settings.folds)
        elif settings.folds:
            dealt = splits.folds(others, settings.folds, seed=settings.seed, test=shares.test)
        else:
            dealt = splits.assign(others, shares, seed=settings.seed)
        split_of = {exam: given.get(patient) or dealt[patient] for exam, patient in patients.items()}
        splits.check_folds(split_of, settings.folds)
        return Dealt(split_of, kept, tuple(moved))

    def _strata(self, patients: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
        """Return patient -> stratum: the class of the patient's most abnormal exam, and the most frequent view and sex."""
        of_patient: dict[str, list[str]] = defaultdict(list)
        for exam, patient in patients.items():
            of_patient[patient].append(exam)
        # a patient with one abnormal exam counts as abnormal: strata are to spread the rare exams evenly
        severity = {name: index for index, name in enumerate(("Normal", label_map.NO_PNEUMONIA, "No Lung Opacity / Not Normal"))}

        def value(exams: list[str], name: str) -> str:
            if name == "class":
                return max((self.classes[exam] for exam in exams), key=lambda one: (severity.get(one, len(severity)), one))
            field = "view_position" if name == "view" else "sex"
            counts = Counter(getattr(self.headers.get(exam), field, None) or UNKNOWN for exam in exams)
            return min(counts, key=lambda one: (-counts[one], one))

        return {patient: " / ".join(value(exams, name) for name in names) for patient, exams in of_patient.items()}


def _classes(labels: Mapping[str, Exam]) -> dict[str, str]:
    return {exam: one.rsna_class or (label_map.PNEUMONIA if one.positive else label_map.NO_PNEUMONIA) for exam, one in labels.items()}


def names(settings: Settings, used: Iterable[str]) -> list[str]:
    """Return the splits in their order: train and val, or the folds, and test, whether or not they have exams, then others of a split file."""
    first = [splits.fold_name(number) for number in range(settings.folds)] or [splits.TRAIN, splits.VAL]
    first += [splits.TEST] * bool(settings.test_fraction)
    return first + sorted(set(used) - set(first))
