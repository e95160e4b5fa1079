"""What is missing, repeated, impossible or unusual in labels, headers and files: counted by reason, and listed.

figures = missing(material)              # column -> rows without a value, of each file
figures = duplicates(material)
figures = outliers(material)
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pneumodet.core import boxes
from pneumodet.data import annotations, box_audit, formats
from pneumodet.data.tables import Table
from pneumodet.dicom import header_facts
from pneumodet.dicom.header_facts import OLDEST_YEARS
from pneumodet.exploration.gathering import Material

OUTER_FENCE = 3.0
"""Times the distance between the quartiles beyond which a value is an outlier: "far out" of Tukey (Exploratory Data Analysis, 1977, section 2E)."""

MOST_LISTED = 50
"""Exams of one kind that are named in the report's lists; explore.json has all of them."""

_BOX_COLUMNS = ("x", "y", "width", "height")


def missing(material: Material) -> dict[str, Any]:
    """Return ``labels``, ``class_info`` and ``headers`` (column -> rows without a value), and what follows from them.

    ``box_columns_tell_target`` says whether the box columns are empty in exactly the rows whose Target is 0; ``unusable_headers`` are the
    exams whose value has no usual form, by keyword; the ``exams_without_`` lists name exams of the labels.
    """
    table = material.labels.table
    missing_values: dict[str, Any] = {
        "labels": _empty_of(table),
        "class_info": _empty_cells(material.class_rows, annotations.CLASS_INFO_COLUMNS),
        "headers": dict(material.table.missing) if material.table else {},
        "unusable_headers": dict(material.table.unusable) if material.table else {},
        "box_columns_tell_target": table is not None and _tell_target(table),
    }
    ids = material.exams.ids
    if material.class_rows:
        missing_values["exams_without_class"] = [exam for exam in ids if material.labels.exams[exam].rsna_class is None]
        # rows, not usable exams: a class of a rejected exam is not without labels
        labelled = material.labels.rows.keys()
        missing_values["classes_without_labels"] = sorted({row["patientId"].strip() for row in material.class_rows} - labelled)
    if material.table:
        missing_values["exams_without_header"] = [exam for exam in ids if exam not in material.table.facts]
    if material.sources:
        missing_values["exams_without_file"] = [exam for exam in ids if exam not in material.sources]
        missing_values["files_without_labels"] = sorted(exam for exam in material.sources if exam not in material.labels.exams)
    if material.patients is not None:
        missing_values["exams_without_patient"] = [exam for exam in ids if exam not in material.patients]
    return missing_values


def duplicates(material: Material) -> dict[str, Any]:
    """Return what occurs more than once.

    ``label_rows``: rows that repeat an earlier one. ``boxes``: exams in which two boxes overlap by more than ``box_audit.SAME_IOU``.
    ``class_rows``: rows of the class info that repeat an earlier one; ``class_rows_beyond_boxes``: exams with another number of rows there
    than in the labels. ``header_rows``: exams with several. ``same_pixels``: groups of exams with the same stored pixel data, each with
    ``patients`` (how many; None without a map) and ``targets``.
    """
    exams, material_files = material.exams, material.files
    with_same_boxes = []
    for exam, of_exam in zip(exams.ids, exams.boxes_xyxy_px, strict=True):
        # below the diagonal: every box overlaps itself, and each pair is needed once
        if len(of_exam) > 1 and (np.tril(boxes.iou(of_exam, of_exam), -1) > box_audit.SAME_IOU).any():
            with_same_boxes.append(exam)
    label_counts, class_counts = material.labels.rows, Counter(row["patientId"].strip() for row in material.class_rows)
    pairs = Counter((row["patientId"].strip(), row["class"].strip()) for row in material.class_rows)
    groups: dict[str, list[str]] = defaultdict(list)
    # by stored bytes, so that no image has to be decoded
    for exam, one in material_files.items():
        if one.pixels_sha256:
            groups[one.pixels_sha256].append(exam)
    return {
        "label_rows": material.labels.duplicate_rows,
        "boxes": with_same_boxes,
        "class_rows": sum(count - 1 for count in pairs.values()),
        "class_rows_beyond_boxes": sorted(
            exam for exam, count in class_counts.items() if exam in label_counts and label_counts[exam] != count
        ),
        "header_rows": list(material.table.repeated) if material.table else [],
        "same_pixels": [_group(group, material) for group in sorted(map(sorted, groups.values())) if len(group) > 1],
    }


def outliers(material: Material) -> dict[str, Any]:
    """Return values that cannot be, and outliers.

    ``ages``: exam and age above ``OLDEST_YEARS``. ``pixel_spacing``: exam and mm, outliers by ``OUTER_FENCE`` on a logarithmic scale, of the
    exams of its own view. ``boxes_beyond_image``: exam and how many px a box reaches out. ``boxes_by_area`` and ``boxes_by_shape``: exam
    and value (share of the image; width by height), outliers likewise. The challenge's own limits are nowhere given, so that these only show
    what is unlike the rest.
    """
    exams = material.exams
    facts = material.table.facts if material.table else {}
    ages = [(exam, years) for exam in sorted(facts) if (years := facts[exam].impossible_years) is not None]
    beyond, names, areas, shapes = [], [], [], []
    for exam, of_exam, (height, width) in zip(exams.ids, exams.boxes_xyxy_px, exams.size_hw, strict=True):
        for left, top, right, bottom in of_exam:
            out = max(-left, -top, right - width, bottom - height)
            if out > 0:
                beyond.append((exam, float(out)))
            names.append(exam)
            areas.append((right - left) * (bottom - top) / (height * width))
            shapes.append((right - left) / (bottom - top))
    spacing = []
    # by view: portable machines, which take AP views, have detectors of another spacing than fixed ones
    for view in sorted(set(exams.view)):
        of_view = np.flatnonzero((exams.view == view) & ~np.isnan(exams.spacing_mm))
        spacing += outlying([exams.ids[index] for index in of_view.tolist()], exams.spacing_mm[of_view])
    return {
        "oldest_years": OLDEST_YEARS,
        "far_out": OUTER_FENCE,
        "ages": [{"exam": exam, "value": age} for exam, age in ages],
        "pixel_spacing": _rows(spacing),
        "boxes_beyond_image": _rows(beyond),
        "boxes_by_area": _rows(outlying(names, np.array(areas))),
        "boxes_by_shape": _rows(outlying(names, np.array(shapes))),
    }


def outlying(names: Sequence[str], values: np.ndarray) -> list[tuple[str, float]]:
    """Return the (name, value) whose logarithm lies more than ``OUTER_FENCE`` times the quartiles' distance outside of them.

    Args:
      names: N.
      values: (N,) float64 above 0. Where more than half of them are equal there is no distance, and no outlier.
    """
    if not len(values):
        return []
    # of ratios: half as large and twice as large are equally far from what is usual
    logs = np.log(values)
    low, high = np.quantile(logs, (0.25, 0.75))
    reach = OUTER_FENCE * (high - low)
    if not reach:
        return []
    return [(names[index], float(values[index])) for index in np.flatnonzero((logs < low - reach) | (logs > high + reach)).tolist()]


def files(material: Material) -> dict[str, Any] | None:
    """Return the DICOM files: counts by size and bits, those that are damaged, and what was refused; None without files."""
    if not material.sources:
        return None
    read = material.files
    sizes = Counter(f"{one.size_hw[1]} x {one.size_hw[0]}" for one in read.values() if one.size_hw)
    return {
        "found": len(read),
        "sizes_px": dict(sizes.most_common()),
        "bits": dict(sorted(Counter(str(one.bits) for one in read.values() if one.bits).items())),
        "faulty": [{"exam": exam, "file": one.name, "reason": one.error} for exam, one in sorted(read.items()) if one.error],
        "refused": [{"file": name.rpartition("/")[2], "reason": reason} for name, reason in material.refused],
    }


def _empty_of(table: Table | None) -> dict[str, int]:
    """Return column -> rows without a value of a CSV of labels, {} of other labels."""
    if table is None:
        return {}
    # of a table of a data set of its own, such as NIH's, all columns
    ours = (annotations.LABEL_COLUMNS, formats.CSV_COLUMNS)
    names = next((names for names in ours if set(names) <= set(table.columns)), tuple(name for name in table.columns if name))
    return {name: sum(map(header_facts.is_missing, table.column(name))) for name in names}


def _tell_target(table: Table) -> bool:
    if "Target" not in table.columns:
        return False
    # a row that lacks any of the four numbers has no box
    empty = [any(map(header_facts.is_missing, cells)) for cells in zip(*map(table.column, _BOX_COLUMNS), strict=True)]
    negative = [cell.strip() in ("0", "0.0") for cell in table.column("Target")]
    # where all or no rows have boxes, that a column is empty says nothing
    return any(empty) and not all(empty) and empty == negative


def _empty_cells(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> dict[str, int]:
    return {name: sum(header_facts.is_missing(row[name]) for row in rows) for name in columns} if rows else {}


def _group(group: Sequence[str], material: Material) -> dict[str, Any]:
    known = material.labels.exams
    patients = material.patients
    return {
        "exams": list(group),
        "patients": len({patients.get(exam, exam) for exam in group}) if patients is not None else None,
        "targets": sorted({int(known[exam].positive) for exam in group if exam in known}),
    }


def _rows(named_values: Iterable[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"exam": exam, "value": round(value, 4)} for exam, value in named_values]
