"""VinDr-CXR and VinBigData: a CSV with the boxes of several readers of one image -> images and boxes.

labels = read(tables.read(Path("train.csv")), Choices(readers="fused"))
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from pneumodet.core import boxes
from pneumodet.core.errors import ConfigError
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import Box, Collector, exam_id, size_hw, text_number
from pneumodet.data.label_choices import INTERSECTION, OPACITY_CLASSES, READERS, UNION, USUAL, Choices, check, of_set
from pneumodet.data.tables import Table

COLUMNS = ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")
READER = "rad_id"
"""Column of the reader; the test set of VinDr-CXR, a consensus of five, has none."""

NOTHING = "no finding"
"""Class of the rows of images without findings, in any letter case."""

SAME_FINDING_IOU = 0.4
"""Boxes of one class by different readers that overlap so much are one finding; the threshold of VinBigData's metric."""


def read(table: Table, choices: Choices = USUAL, *, classes: ClassMap | None = None) -> Labels:
    """Return the labels in a table that has ``COLUMNS``, and perhaps ``READER``, width and height.

    Raises:
      ConfigError: no row is of the reader who was asked for.
    """
    table.need(COLUMNS)
    chosen = of_set(OPACITY_CLASSES, classes)
    collector = Collector(classes=chosen)
    drawn: dict[str, list[tuple[str, str, Box, str]]] = defaultdict(list)  # exam -> (reader, class, box, where)
    readers: dict[str, set[str]] = defaultdict(set)
    one_reader = choices.readers not in READERS
    for line, row in table.rows():
        where, exam = f"line {line}", exam_id(row["image_id"])
        reader = row.get(READER, "").strip()
        try:
            if not exam:
                raise ValueError("image_id is empty")
            collector.rows[exam] += 1
            readers[exam].add(reader)
            if one_reader and reader != choices.readers:
                continue
            sized = {"width", "height"} <= row.keys()
            collector.image(row["image_id"].strip(), size_hw(row["width"], row["height"], text_number) if sized else None, where)
            finding = row["class_name"].strip()
            if finding.casefold() == NOTHING:
                continue
            if (name := collector.class_of(finding)) is not None:
                drawn[exam].append((reader, name, collector.corners([row[corner].strip() for corner in COLUMNS[2:]]), where))
        except ValueError as error:
            collector.reject(exam or f"({where})", f"{where}: {error}")
    known = set().union(*readers.values())
    if one_reader and choices.readers not in known:
        raise ConfigError(
            f"No row of {table.path} is of the reader {choices.readers}; its readers are {', '.join(sorted(known - {''})) or 'not named'}."
        )
    check(chosen, classes, collector.classes, table.path)
    if unread := readers.keys() - collector.images.keys() - collector.errors.keys():
        collector.notes[f"image that {choices.readers} did not read"] = len(unread)
    for exam, of_exam in drawn.items():
        for name, box, where in _agreed(of_exam, choices.readers, readers[exam]):
            collector.add(collector.images[exam], name, box, where)
    return collector.labels(table=table)


def _agreed(drawn: Sequence[tuple[str, str, Box, str]], how: str, readers: set[str]) -> list[tuple[str, Box, str]]:
    """Return (class, box, where) of the findings of one image: as drawn, or one for each group of boxes that mean the same."""
    if how not in READERS or how == UNION:
        return [(name, box, where) for _, name, box, where in drawn]
    groups = _groups(drawn)
    if how == INTERSECTION:
        groups = [group for group in groups if group.keys() == readers]
    findings = []
    for group in groups:
        name, where = next((name, where) for _, name, _, where in group.values())
        mean = np.mean([box for _, _, box, _ in group.values()], axis=0).tolist()
        findings.append((name, (mean[0], mean[1], mean[2], mean[3]), where))
    return findings


def _groups(drawn: Sequence[tuple[str, str, Box, str]]) -> list[Mapping[str, tuple[str, str, Box, str]]]:
    """Return the boxes in groups, reader -> box: each joins the group of its class whose first box it overlaps most, if its reader is not in it yet."""
    groups: list[dict[str, tuple[str, str, Box, str]]] = []
    for one in drawn:
        reader, name, box, _ = one
        best, most = None, -math.inf
        for group in groups:
            _, first_name, first, _ = next(iter(group.values()))
            if first_name == name and reader not in group:
                overlap = float(boxes.iou(np.array([box]), np.array([first]))[0, 0])
                if overlap >= SAME_FINDING_IOU and overlap > most:
                    best, most = group, overlap
        if best is None:
            groups.append({reader: one})
        else:
            best[reader] = one
    return list(groups)
