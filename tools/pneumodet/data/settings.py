"""What is converted, and how.

inputs = Inputs(dicom_dir=images, labels=labels, patient_map=mapping)
settings = Settings(val_fraction=0.15, test_fraction=0.15, max_side=640)
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pneumodet.core import paths
from pneumodet.core.errors import ConfigError
from pneumodet.data import images, shards, sources, splits
from pneumodet.data.label_choices import LEAVE_OUT, UNION, Choices

QUALITY = ("off", "report", "exclude")
"""What is done about radiographs with findings of the quality check."""

KEEP = "keep"
IMAGE_LEVEL = (KEEP, LEAVE_OUT)
"""What becomes of positive exams without boxes: kept, for classifiers, or left out, for detectors."""

IGNORE = "ignore"
OWN_SPLIT = (KEEP, IGNORE)
"""What becomes of the split that a data set comes with: kept, or dealt anew by patient."""

STRATA = ("class", "view", "sex")
"""What a split can be stratified by."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is converted.

    Attributes:
      dicom_dir: folder or ZIP archive of DICOM or image files, one an exam; or the URL of a folder, for ``beam_runner``.
      labels: a file or folder in one of ``formats.FORMATS``.
      class_info: stage_2_detailed_class_info.csv.
      patient_map: exam -> patient, as ``annotations.read_patient_map`` takes it.
      split_file: CSV ``patientId,split``, which decides for the patients of the exams that it names.
      label_map: must have the classes ``no-pneumonia`` and ``pneumonia``.
      pseudonym_key: where it is given, ids are replaced by keyed hashes.
    """

    dicom_dir: Path | str
    labels: Path
    class_info: Path | None = None
    patient_map: Path | None = None
    split_file: Path | None = None
    label_map: Path = paths.DEFAULT_LABEL_MAP
    pseudonym_key: bytes | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How it is converted; all of it stands in the manifest.

    Attributes:
      label_format: one of ``formats.FORMATS``.
      readers: whose boxes count, as ``label_choices.Choices``.
      uncertain: what an uncertain finding becomes, as there.
      image_level: one of ``IMAGE_LEVEL``.
      class_map: class of the labels -> class of the label map, as ``class_map.parse`` returns it.
      match: how a file's exam is identified, one of ``sources.MATCH``.
      patient_tag: the patient is the file's PatientID (0010,0020).
      patient_regex: the patient is what this matches in the exam's id.
      val_fraction: expected share of patients in ``val``.
      test_fraction: expected share of patients in ``test``, on whom nothing is chosen; they stand aside of all folds.
      own_split: one of ``OWN_SPLIT``. Where it is kept, ``val_fraction`` and ``test_fraction`` are shares of its ``train``, for what it lacks.
      folds: make so many folds instead of ``train`` and ``val``, and a record set for each in which it is ``val``.
      stratify: names of ``STRATA``; every split gets the same share of each combination.
      seed: of the split and of the records' order.
      negatives: one of ``shards.NEGATIVES``.
      max_side: px; larger images are scaled down, boxes with them.
      normalize: one of ``images.NORMALIZE``.
      masks: write a mask of each box.
      quality: one of ``QUALITY``.
      shard_mb: planned size of a shard in MiB.
      strict: an exam that cannot be used is an error.
    """

    label_format: str = "auto"
    readers: str = UNION
    uncertain: str = LEAVE_OUT
    image_level: str = KEEP
    class_map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    match: str = "auto"
    patient_tag: bool = False
    patient_regex: str | None = None
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    own_split: str = KEEP
    folds: int = 0
    stratify: tuple[str, ...] = ()
    seed: int = 0
    negatives: str = shards.BACKGROUND
    max_side: int | None = None
    normalize: str = "none"
    masks: bool = False
    quality: str = "off"
    shard_mb: int = shards.SHARD_BYTES >> 20
    strict: bool = False

    def __post_init__(self) -> None:
        self.choices()
        allowed = {
            "image_level": IMAGE_LEVEL,
            "own_split": OWN_SPLIT,
            "negatives": shards.NEGATIVES,
            "quality": QUALITY,
            "normalize": images.NORMALIZE,
            "match": sources.MATCH,
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"{name} is {getattr(self, name)!r}, must be one of {', '.join(map(repr, values))}.")
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, must be a number from 0 to 1.")
        if not self.folds and self.val_fraction + self.test_fraction > 1:
            raise ConfigError(
                f"val_fraction {self.val_fraction:g} and test_fraction {self.test_fraction:g} are more than 1 together. Give smaller ones; "
                "test_fraction 0 makes no test split."
            )
        if self.folds and self.test_fraction == 1:
            raise ConfigError("test_fraction is 1, which leaves nobody for folds. Give a smaller one.")
        if self.folds < 0 or self.folds == 1:
            raise ConfigError(f"folds is {self.folds}, must be at least 2, or 0 for none.")
        if unknown := set(self.stratify) - set(STRATA):
            raise ConfigError(f"stratify has {min(unknown)!r}, must be of {', '.join(map(repr, STRATA))}.")
        if self.patient_tag and self.patient_regex:
            raise ConfigError("patient_tag and patient_regex are two ways to identify the patient. Choose one.")

    @property
    def shares(self) -> splits.Shares:
        """Expected shares of the splits."""
        return splits.Shares(val=self.val_fraction, test=self.test_fraction)

    def choices(self) -> Choices:
        """Return what is taken of labels that say more than one thing."""
        return Choices(readers=self.readers, uncertain=self.uncertain)
