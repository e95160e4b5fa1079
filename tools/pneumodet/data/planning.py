"""Everything about a record set that is decided before its first image is written: which exam, which file, which split, which shard.

plan = make_plan(Inputs(dicom_dir=images, labels=labels), Settings())
plan.shards["train"][0].name            # train-00000-of-00016.tfrecord
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import pneumodet
from pneumodet.core import paths
from pneumodet.core.errors import DataError
from pneumodet.core.formatting import counted
from pneumodet.core.processes import Pool
from pneumodet.data import annotations, formats, grouping, images, label_map, matching, quality, shards, splits
from pneumodet.data.class_map import ClassMap
from pneumodet.data.manifest import WITHOUT_A_BOX, Grouping, Manifest
from pneumodet.data.pseudonyms import Pseudonyms
from pneumodet.data.settings import Inputs, Settings
from pneumodet.data.shards import Item, Job, Shard
from pneumodet.data.sources import Source

_LIBRARIES = ("numpy", "pillow", "pydicom")
"""What the pixels of decoded images may depend on."""

_MANY = 1000
"""From so many exams on, the processes are started before it is known what they will do: they need half a second."""


class Bar(Protocol):
    """What ``convert`` shows its progress on; tqdm's bars are such."""

    def update(self, count: int, /) -> object:
        """Take note of ``count`` more exams."""

    def close(self) -> object:
        """Remove the bar."""


class NoBar:
    """Shows nothing."""

    def update(self, count: int, /) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@dataclasses.dataclass(frozen=True)
class QualityCheck:
    """What the quality check of the images gave; exams have the names of the output.

    Attributes:
      findings: exam -> what is in question about it; exams without findings are left out.
      report: the same for quality.json.
      sources: exam -> its file.
    """

    findings: dict[str, list[quality.Finding]]
    report: dict[str, Any]
    sources: dict[str, Source]

    def read_pixels(self, exam: str) -> np.ndarray:
        """Return a radiograph, as ``images.read_pixels`` does."""
        return images.read_pixels(self.sources[exam])


@dataclasses.dataclass(frozen=True)
class Plan:
    """What will be made, decided before the first image is read.

    Attributes:
      job: what happens to every exam.
      shards: split -> its shards.
      patients: name of an exam in the output -> patient.
      origins: name of an exam in the output -> where its patient is known from, as ``grouping.ORIGINS`` has it.
      split_of: name of an exam in the output -> split.
      skipped: reason -> what cannot be used.
      duplicate_rows: of the labels.
      notes: what is known of the labels' objects and not used, or was left out -> how often.
      manifest: what is known of it already: all but the splits, counts and lists of what was done.
      quality: of the images, where that was asked for.
    """

    job: Job
    shards: dict[str, list[Shard]]
    patients: dict[str, str]
    origins: dict[str, str]
    split_of: dict[str, str]
    skipped: dict[str, list[str]]
    duplicate_rows: int
    notes: dict[str, int]
    manifest: Manifest
    quality: QualityCheck | None

    def key(self) -> str:
        """Return what is the same for two plans that give the same bytes."""
        decided = [self.manifest.to_json(), self.duplicate_rows, self.notes, self.skipped, self.quality and self.quality.report]
        # sizes and times of the files are in it, by their Source: a file that was changed makes another set
        digest = hashlib.sha256(json.dumps(decided).encode())
        for shard in self.all_shards():
            digest.update(shard.name.encode())
            for item in shard.items:
                labels = (
                    item.exam.boxes_xyxy_px.tolist(),
                    *(
                        getattr(item.exam, name)
                        for name in ("class_names", "positive", "size_hw", "rsna_class", "outlines", "difficult", "findings")
                    ),
                )
                digest.update(repr((item.name, item.source, labels)).encode())
        return digest.hexdigest()

    def all_shards(self) -> list[Shard]:
        """Return the shards of all splits."""
        return [shard for of_split in self.shards.values() for shard in of_split]


def make_plan(inputs: Inputs, settings: Settings, pool: Pool, *, progress: Callable[[int, str], Bar] = lambda total, what: NoBar()) -> Plan:
    """Read labels and headers, match files, split patients and deal exams to shards.

    Args:
      inputs: what is converted.
      settings: how.
      pool: reads headers, and images for the quality check.
      progress: as ``convert``.

    Returns:
      The plan.

    Raises:
      ConfigError, DataError: as ``convert``.
    """
    alias = Pseudonyms(inputs.pseudonym_key)
    classes = label_map.read_label_map(inputs.label_map)
    label_map.check_pneumonia(classes, inputs.label_map)
    read = formats.read_labels(
        inputs.labels,
        format=settings.label_format,
        class_info=inputs.class_info,
        classes=ClassMap(settings.class_map, known=classes, complete=True),
        choices=settings.choices(),
    )
    if len(read.exams) >= _MANY:  # they import while this process matches files
        pool.warm_up(shards.__name__)
    _refuse_without_positives(read, inputs.labels)
    read, files, skipped = matching.match(inputs, settings, read, alias, pool)

    positive = {exam for exam, one in read.exams.items() if one.positive}
    if skipped[matching.SEVERAL_IMAGES] and positive and not positive & files.keys():  # only negatives would be left
        raise DataError(
            f"No positive exam of {inputs.labels} has an image of its own: {describe({matching.SEVERAL_IMAGES: skipped[matching.SEVERAL_IMAGES]})}"
        )

    # from here on exams have the names of the output
    labels = {alias(exam): one for exam, one in read.exams.items()}
    usable = {alias(exam): files[exam] for exam in read.exams.keys() & files.keys()}
    # records stand in an order that is random, so that a shard is a sample of its split, and the same everywhere
    usable = dict(sorted(usable.items(), key=lambda item: hashlib.sha256(f"{settings.seed}/{item[0]}".encode()).digest()))
    named = splits.read_split_file(inputs.split_file) if inputs.split_file else {}
    ids = read.exams.keys() | named.keys()  # an exam that is gone still shows where its patient belongs
    groups = grouping.Groups.read(usable, labels, ids, inputs.patient_map or read.patients, settings, alias, pool)
    skipped[f"no patient by {groups.by}"] += sorted(usable.keys() - groups.patients.keys())
    usable = {exam: source for exam, source in usable.items() if exam in groups.patients}
    checked = None
    if settings.quality != "off" and usable:
        checked = _check_quality(usable, groups, pool, bar=progress(len(usable), "checking image quality"))
        if settings.quality == "exclude":
            out = quality.excluded(checked.findings)
            skipped["image quality"] += [f"{exam}: {out[exam]}" for exam in usable if exam in out]
            usable = {exam: source for exam, source in usable.items() if exam not in out}
    refuse_skipped(skipped, strict=settings.strict)
    if not usable:
        raise DataError(f"No exam of {inputs.labels} has a usable DICOM in {inputs.dicom_dir}. " + describe(skipped))

    given = {exam if exam in groups.patients else alias(exam): split for exam, split in named.items()}  # it may hold pseudonyms of this key
    if named and not {groups.patients.get(exam) for exam in given} & {groups.patients[exam] for exam in usable}:
        raise DataError(f"The split file {inputs.split_file} names none of the exams. Is it of another data set, or of other pseudonyms?")
    dealt = groups.assign(list(usable), settings, given, own={alias(exam): split for exam, split in read.splits.items()})
    split_of = dealt.split_of
    items: dict[str, list[Item]] = {split: [] for split in grouping.names(settings, split_of.values())}
    for exam, source in usable.items():
        items[split_of[exam]].append(Item(exam, labels[exam], source))
    without = sum(bool(labels[exam].findings) and not len(labels[exam].boxes_xyxy_px) for exam in usable)
    return Plan(
        job=Job(
            classes=classes,
            negatives=settings.negatives,
            options=images.Options(max_side=settings.max_side, normalize=settings.normalize),
            masks=settings.masks,
            pseudonyms=bool(alias),
            strict=settings.strict,
        ),
        shards={split: shards.deal(of_split, name=split, shard_bytes=settings.shard_mb << 20) for split, of_split in items.items()},
        patients={exam: groups.patients[exam] for exam in usable},
        origins={exam: groups.origins[exam] for exam in usable},
        split_of=split_of,
        skipped={reason: lines for reason, lines in skipped.items() if lines},
        duplicate_rows=read.duplicate_rows,
        notes=dict(read.notes) | ({WITHOUT_A_BOX: without} if without else {}),
        manifest=_manifest(inputs, settings, classes, groups.by, dealt, given=len(given.keys() & usable.keys())),
        quality=checked,
    )


def _refuse_without_positives(read: annotations.Labels, path: Path) -> None:
    """Raise DataError where labels were rejected and what is left is negative: that is an error of the whole file, not of exams."""
    if read.exams and read.rejected and not any(exam.positive for exam in read.exams.values()):
        exam, reason = read.rejected[0]
        raise DataError(
            f"{path}: the labels of {counted(len(read.rejected), 'exam')} cannot be used (first: {exam}: {reason}), and without them there is no positive "
            "exam left. Fix or remove them."
        )


def _manifest(inputs: Inputs, settings: Settings, classes: dict[str, int], by: str, dealt: grouping.Dealt, *, given: int) -> Manifest:
    """Return the manifest without what is known only of finished shards.

    Args:
      inputs: what is converted.
      settings: how.
      classes: class -> id.
      by: where patients are known from, as ``grouping`` names it.
      dealt: the splits.
      given: exams whose split the split file names.
    """
    return Manifest(
        pneumodet=pneumodet.__version__,
        versions={name: metadata.version(name) for name in _LIBRARIES},
        arguments=_arguments(inputs, settings),
        label_map=classes,
        seed=settings.seed,
        val_fraction=float(settings.val_fraction),
        test_fraction=float(settings.test_fraction),
        split=Grouping(
            by=by,
            folds=settings.folds,
            stratified_by=settings.stratify,
            given=given,
            own=dealt.own,
            own_moved=len(dealt.moved) if dealt.own else None,
        ),
        pseudonyms=inputs.pseudonym_key is not None,
    )


def _arguments(inputs: Inputs, settings: Settings) -> dict[str, Any]:
    """Return settings, and the inputs' names and checksums; no folder, which could show whose machine it was."""
    given = dataclasses.asdict(settings) | {"stratify": list(settings.stratify)}
    for name in ("labels", "class_info", "patient_map", "split_file", "label_map"):
        path = getattr(inputs, name)
        if path is None:
            given[name] = None
        elif path.is_dir():
            given[name] = {"name": path.name}
        else:
            given[name] = {"name": path.name, "sha256": paths.sha256_file(path)}
    return given


def _check_quality(exams: Mapping[str, Source], groups: grouping.Groups, pool: Pool, *, bar: Bar) -> QualityCheck:
    measured = {}
    for exam, measures in pool.run(_measure, list(exams.items())):
        bar.update(1)
        if measures is not None:
            measured[exam] = measures
    bar.close()
    findings = quality.evaluate({exam: measured[exam] for exam in exams if exam in measured}, patients=groups.patients, views=groups.views)
    return QualityCheck(findings, quality.report(findings, exams=len(measured)), dict(exams))


def _measure(what: tuple[str, Source]) -> tuple[str, quality.Measures | None]:
    exam, source = what
    try:
        return exam, quality.measure(images.read_pixels(source))
    except DataError:  # conversion will say why
        return exam, None


def refuse_skipped(skipped: Mapping[str, Sequence[str]], *, strict: bool) -> None:
    """Raise a DataError where ``strict`` and anything was skipped."""
    if strict and any(skipped.values()):
        raise DataError(f"--strict: {describe(skipped)} Fix the data, or leave out --strict to continue without these.")


def describe(skipped: Mapping[str, Sequence[str]]) -> str:
    """Return how much was skipped for which reason, with the first of each, as one sentence."""
    parts = [f"{len(items)} {reason} (first: {items[0]})" for reason, items in skipped.items() if items]
    return "; ".join(parts) + "." if parts else ""
