"""The results of a record set's shards, added up: ground truth, split file, statistics, manifest.

for name, content in files(plan, results): ...        # the manifest comes last
"""

import dataclasses
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumodet.core import seen
from pneumodet.core.errors import DataError
from pneumodet.data import coco_objects, grouping, planning, splits, tfds_files
from pneumodet.data.manifest import MANIFEST, Manifest, SplitEntry
from pneumodet.data.planning import Plan
from pneumodet.data.shards import Result

QUALITY_REPORT, SPLIT_FILE = "quality.json", "split.csv"

MOST_VALUES = 50
"""Values that a statistic lists: a set of mixed origin may have thousands of image sizes."""


def files(plan: Plan, results: Mapping[str, Result]) -> Iterator[tuple[str, str]]:
    """Yield (file name, contents) of all but the shards: ground truth, split file, quality report, and the manifest last.

    Args:
      plan: the plan.
      results: shard's name -> its result.

    Raises:
      DataError: nothing could be converted, the split leaks, or two exams have the same image id.
    """
    of_shards = [results[shard.name] for shard in plan.all_shards()]
    skipped = {reason: list(lines) for reason, lines in plan.skipped.items()}
    if rejected := [reason for result in of_shards for reason in result.rejected]:
        skipped["DICOM rejected"] = rejected
    split_of = {
        image["file_name"]: split for split, of_split in plan.shards.items() for shard in of_split for image in results[shard.name].images
    }
    if not split_of:
        raise DataError(f"No exam of {plan.manifest.arguments['labels']['name']} could be converted. " + planning.describe(skipped))
    _refuse_without_positives(plan, of_shards)
    audit = splits.audit(split_of, plan.patients)  # of what was written, and not of what was planned
    numbers = {patient: number for number, patient in enumerate(dict.fromkeys(plan.patients.values()), start=1)}
    for result in of_shards:
        for image in result.images:
            exam = image["file_name"]
            image["patient"] = numbers[plan.patients[exam]]  # who belongs together, and not who it is
            image["patient_by"] = plan.origins[exam]
            if plan.manifest.split.by != grouping.BY_EXAM:  # else the exam's own id says as much
                image[seen.PATIENT] = seen.patient_hash(plan.patients[exam])
    truths = {split: _truth([results[shard.name] for shard in of_split], plan.job.classes) for split, of_split in plan.shards.items()}
    entries = {}
    for split, truth in truths.items():
        text = json.dumps(truth, indent=1)
        yield f"instances_{split}.json", text
        entries[split] = _entry(truth, [results[shard.name] for shard in plan.shards[split]], plan, f"instances_{split}.json", text)
    yield SPLIT_FILE, splits.to_csv(split_of)
    if plan.quality:
        yield QUALITY_REPORT, json.dumps(plan.quality.report, indent=1) + "\n"
    counts: Counter[str] = Counter()
    for result in of_shards:
        counts.update(result.counts)
    counts.update({f"labels: {note}": count for note, count in plan.notes.items()})
    manifest = dataclasses.replace(
        plan.manifest,
        split=dataclasses.replace(
            plan.manifest.split,
            patients=audit.patients,
            patients_with_several_exams=audit.with_several_exams,
            patient_overlap=0,  # the audit refuses any other number
            same_image=_same_images(of_shards, split_of),
        ),
        splits=entries,
        counts=dict(sorted(counts.items())) | {"duplicate_rows": plan.duplicate_rows, "skipped": sum(map(len, skipped.values()))},
        skipped={reason: tuple(lines) for reason, lines in skipped.items()},
        flagged=len(plan.quality.findings) if plan.quality else None,
        clipped=tuple(line for result in of_shards for line in result.clipped),
    )
    yield from _fold_sets(plan, results, manifest, truths)
    yield from tfds_files.files(manifest, masks=bool(manifest.arguments.get("masks"))).items()
    yield MANIFEST, _text(manifest)


def _refuse_without_positives(plan: Plan, results: Sequence[Result]) -> None:
    """Raise DataError where every positive exam was rejected: that is an error of the whole set, and a set of its negatives would hide it."""
    planned = sum(item.exam.positive for shard in plan.all_shards() for item in shard.items)
    if planned and not any(result.positive for result in results):
        first = next(iter(reason for result in results for reason in result.rejected), "")
        raise DataError(
            f"No positive exam can be converted ({planned:,} rejected, first: {first}), so that only negative ones would be left. Are these the labels "
            "of these images?"
        )


def _text(manifest: Manifest) -> str:
    return json.dumps(manifest.to_json(), indent=2, allow_nan=False) + "\n"


def _same_images(results: Sequence[Result], split_of: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of exams of several patients that have the very same image and lie in several splits: a leak that ids do not show."""
    groups: dict[str, list[str]] = defaultdict(list)
    for result in results:
        for image, digest in zip(result.images, result.images_sha256, strict=True):
            groups[digest].append(image["file_name"])
    return tuple(sorted(tuple(exams) for exams in groups.values() if len({split_of[exam] for exam in exams}) > 1))


def _truth(results: Sequence[Result], classes: Mapping[str, int]) -> dict[str, Any]:
    """Return the COCO ground truth of some shards."""
    images = [image for result in results for image in result.images]
    if len({image["id"] for image in images}) != len(images):
        raise DataError("Two patientIds have the same 48-bit image id. Rename one of them.")
    return coco_objects.whole(images, [row for result in results for row in result.annotations], classes)


def statistics(truth: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return ``SplitEntry.statistics`` of a split's COCO object; what is known of no image is not counted."""
    names = {category["id"]: category["name"] for category in truth["categories"]}
    counters = {
        "boxes_by_class": Counter(names[row["category_id"]] for row in truth["annotations"]),
        "sizes": Counter(f"{image['width']}x{image['height']}" for image in truth["images"]),
    }
    for fact in ("rsna_class", "view_position", "sex"):
        if any(fact in image for image in truth["images"]):
            counters[f"exams_by_{fact}"] = Counter(image.get(fact, "unknown") for image in truth["images"])
    return {key: dict(counter.most_common(MOST_VALUES)) for key, counter in counters.items()}


def _entry(truth: Mapping[str, Any], results: Sequence[Result], plan: Plan, name: str, text: str) -> SplitEntry:
    """Return what the manifest says of a split.

    Args:
      truth: its ground truth.
      results: of its shards.
      plan: has the patients.
      name: of the ground truth's file.
      text: contents of that file.
    """
    exams = [image["file_name"] for image in truth["images"]]
    return SplitEntry(
        exams=len(exams),
        patients=len({plan.patients[exam] for exam in exams}),
        positive_exams=sum(result.positive for result in results),
        boxes=len(truth["annotations"]),
        statistics=statistics(truth),
        annotations=name,
        annotations_sha256=hashlib.sha256(text.encode()).hexdigest(),
        shards=tuple(result.shard() for result in results),
    )


def _fold_sets(
    plan: Plan, results: Mapping[str, Result], manifest: Manifest, truths: Mapping[str, dict[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Yield, for every fold, a record set in which it is ``val`` and the others are ``train``; the shards are the same files."""
    folds = [splits.fold_name(number) for number in range(manifest.split.folds)]
    beside = {name: dataclasses.replace(result, name=f"../{name}") for name, result in results.items()}  # seen from the fold's folder
    for fold in folds:
        entries = {}
        for split, parts in ((splits.TRAIN, [other for other in folds if other != fold]), (splits.VAL, [fold])):
            of_split = [beside[shard.name] for part in parts for shard in plan.shards[part]]
            truth = _truth(of_split, plan.job.classes)
            text = json.dumps(truth, indent=1)
            yield f"{fold}/instances_{split}.json", text
            entries[split] = _entry(truth, of_split, plan, f"instances_{split}.json", text)
        for split in manifest.splits.keys() - set(folds):
            of_split = [beside[shard.name] for shard in plan.shards[split]]
            text = json.dumps(truths[split], indent=1)
            entries[split] = _entry(truths[split], of_split, plan, f"../instances_{split}.json", text)
        yield f"{fold}/{MANIFEST}", _text(dataclasses.replace(manifest, splits=entries))
