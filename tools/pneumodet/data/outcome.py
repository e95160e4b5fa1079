"""The results of a record set's shards, added up: ground truth, split file, statistics, manifest.

for name, content in files(plan, results): ...        # the manifest comes last
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumodet.core.errors import DataError
from pneumodet.data import planning, record_sets, splits
from pneumodet.data.planning import Plan

QUALITY_REPORT, SPLIT_FILE = "quality.json", "split.csv"


def files(plan: Plan, results: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (file name, contents) of all but the shards: ground truth, split file, quality report, and the manifest last.

    Args:
      plan: the plan.
      results: shard's name -> what ``shards.write`` returned.

    Raises:
      DataError: nothing could be converted, the split leaks, or two exams have the same image id.
    """
    skipped = {reason: list(found) for reason, found in plan.skipped.items()}
    rejected = [reason for shard in plan.all_shards() for reason in results[shard.name]["rejected"]]
    if rejected:
        skipped["DICOM rejected"] = rejected
    sides = {
        image["file_name"]: side for side, of_side in plan.shards.items() for shard in of_side for image in results[shard.name]["images"]
    }
    if not sides:
        raise DataError(f"No exam of {plan.head['arguments']['labels']['name']} could be converted. " + planning.describe(skipped))
    audit = splits.audit(sides, plan.patients) | {"same_image": _same_images(plan, results, sides)}
    numbers = {patient: number for number, patient in enumerate(dict.fromkeys(plan.patients.values()), start=1)}
    for shard in plan.all_shards():
        for image in results[shard.name]["images"]:
            image["patient"] = numbers[plan.patients[image["file_name"]]]  # who belongs together, and not who it is
    truths = {side: _truth([results[shard.name] for shard in of_side], plan.job.classes) for side, of_side in plan.shards.items()}
    entries = {}
    for side, truth in truths.items():
        text = json.dumps(truth, indent=1)
        yield f"instances_{side}.json", text
        entries[side] = _entry(truth, [results[shard.name] for shard in plan.shards[side]], plan, f"instances_{side}.json", text)
    yield SPLIT_FILE, splits.to_csv(sides)
    if plan.quality:
        yield QUALITY_REPORT, json.dumps(plan.quality.report, indent=1) + "\n"
    counts: Counter[str] = Counter()
    for shard in plan.all_shards():
        counts.update(results[shard.name]["counts"])
    head = dict(plan.head)
    duplicate_rows = head.pop("duplicate_rows")
    manifest = head | {
        "split": plan.head["split"] | audit,
        "splits": entries,
        "counts": dict(sorted(counts.items())) | {"duplicate_rows": duplicate_rows, "skipped": sum(map(len, skipped.values()))},
        "skipped": skipped,
        "quality": plan.quality and {"flagged": len(plan.quality.findings)},
        "clipped": [line for shard in plan.all_shards() for line in results[shard.name]["clipped"]],
    }
    yield from _fold_sets(plan, results, manifest, truths)
    yield record_sets.MANIFEST, json.dumps(manifest, indent=2, allow_nan=False) + "\n"


def _same_images(plan: Plan, results: Mapping[str, dict[str, Any]], sides: Mapping[str, str]) -> list[list[str]]:
    """Return the groups of exams of several patients that have the very same image and lie in several splits: a leak that ids do not show."""
    groups: dict[str, list[str]] = defaultdict(list)
    for shard in plan.all_shards():
        for image, digest in zip(results[shard.name]["images"], results[shard.name]["images_sha256"], strict=True):
            groups[digest].append(image["file_name"])
    return sorted(exams for exams in groups.values() if len({sides[exam] for exam in exams}) > 1)


def _truth(results: Sequence[dict[str, Any]], classes: Mapping[str, int]) -> dict[str, Any]:
    """Return the COCO ground truth of some shards."""
    found = [image for result in results for image in result["images"]]
    if len({image["id"] for image in found}) != len(found):
        raise DataError("Two patientIds have the same 48-bit image id. Rename one of them.")
    rows = [row for result in results for row in result["annotations"]]
    return {
        "images": found,
        "annotations": [{"id": number} | row for number, row in enumerate(rows, start=1)],
        "categories": [{"id": number, "name": name} for name, number in classes.items()],
    }


def _entry(truth: dict[str, Any], results: Sequence[dict[str, Any]], plan: Plan, name: str, text: str) -> dict[str, Any]:
    """Return what the manifest tells of a split."""
    exams = [image["file_name"] for image in truth["images"]]
    names = {number: one for one, number in plan.job.classes.items()}
    statistics = {
        "boxes_by_class": Counter(names[row["category_id"]] for row in truth["annotations"]),
        "sizes": Counter(f"{image['width']}x{image['height']}" for image in truth["images"]),
    }
    for fact in ("rsna_class", "view_position", "sex"):
        if any(fact in image for image in truth["images"]):
            statistics[f"exams_by_{fact}"] = Counter(image.get(fact, "unknown") for image in truth["images"])
    return {
        "exams": len(exams),
        "patients": len({plan.patients[exam] for exam in exams}),
        "positive_exams": sum(result["positive"] for result in results),
        "boxes": len(truth["annotations"]),
        "statistics": {key: dict(counter.most_common(50)) for key, counter in statistics.items()},
        "annotations": name,
        "annotations_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "shards": [{key: result[key] for key in ("name", "sha256", "bytes", "examples")} for result in results],
    }


def _fold_sets(
    plan: Plan, results: Mapping[str, dict[str, Any]], manifest: dict[str, Any], truths: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Yield, for every fold, a record set in which it is ``val`` and the others are ``train``; the shards are the same files."""
    folds = [splits.fold_name(number) for number in range(manifest["split"]["folds"])]
    for fold in folds:
        entries = {}
        for side, parts in ((splits.TRAIN, [other for other in folds if other != fold]), (splits.VAL, [fold])):
            of_side = [results[shard.name] | {"name": f"../{shard.name}"} for part in parts for shard in plan.shards[part]]
            truth = _truth(of_side, plan.job.classes)
            text = json.dumps(truth, indent=1)
            yield f"{fold}/instances_{side}.json", text
            entries[side] = _entry(truth, of_side, plan, f"instances_{side}.json", text)
        for side in manifest["splits"].keys() - set(folds):
            of_side = [results[shard.name] | {"name": f"../{shard.name}"} for shard in plan.shards[side]]
            text = json.dumps(truths[side], indent=1)
            entries[side] = _entry(truths[side], of_side, plan, f"../instances_{side}.json", text)
        yield f"{fold}/{record_sets.MANIFEST}", json.dumps(manifest | {"splits": entries}, indent=2, allow_nan=False) + "\n"
