"""The journal -> the files that users want, each written in one pass with one exam in memory.

totals = write(folder, journal.entries, plan)        # detections.json, submission.csv, scores.csv, boxes.csv; of a classifier scores.csv alone
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from pneumodet.core import csv_cells, detections, paths
from pneumodet.data import formats, label_map
from pneumodet.inference.outputs import to_scores
from pneumodet.inference.predict.journal import Entry
from pneumodet.inference.probability import Calibrator, held
from pneumodet.viz import pictures

DETECTIONS, SUBMISSION, SCORES, BOXES = "detections.json", "submission.csv", "scores.csv", "boxes.csv"
"""COCO results; the challenge's CSV; patientId, highest score, calibrated probability to a hundredth; the API's classic CSV with a score column."""

TABLES = (DETECTIONS, SUBMISSION, SCORES, BOXES)
"""All of them."""

PROBABILITY, POSITIVE = "probability", "positive"
"""Columns of ``SCORES`` beside what a gate needs; of a classifier also whether the score reaches the threshold, 1 or 0, and a column for each further
class."""

BOX_COLUMNS = (*formats.CSV_COLUMNS, "score")

IMAGES, SHEET = "images", "overview.png"
"""Pictures of the radiographs, and many of them on one sheet."""

SHEET_TILES = 12
"""Pictures on the sheet at the most."""

MAX_NAME_BYTES = 200
"""Of an exam in a file name: with a suffix it must fit the 255 bytes that file systems allow."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """How detections become results.

    Attributes:
      category_id: label-map id of pneumonia.
      score_threshold: of submission, boxes and pictures, in [0, 1].
      calibrator: makes probabilities of scores, or None.
      scored: of a classifier the classes that have a score -> id; of a detector none.
    """

    category_id: int
    score_threshold: float
    calibrator: Calibrator | None = None
    scored: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def boxes(self) -> bool:
        """Whether there are boxes: a classifier's detections are whole radiographs, which nobody draws or counts."""
        return not self.scored

    @property
    def further(self) -> tuple[str, ...]:
        """The classes that have a score besides pneumonia."""
        return tuple(name for name in self.scored if name != label_map.PNEUMONIA)

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that are written."""
        return TABLES if self.boxes else (SCORES,)

    def kept(self, entry: Entry) -> detections.Detections:
        """Return a radiograph's detections of pneumonia at the threshold."""
        return entry.detections.of_class(self.category_id).above(self.score_threshold)

    def score(self, entry: Entry) -> float:
        """Return a radiograph's highest score of pneumonia, 0 without a detection."""
        return float(entry.detections.of_class(self.category_id).scores.max(initial=0.0))

    def probability(self, score: float) -> float | None:
        """Return the probability of pneumonia as the model's validation data have it, or None where it was not calibrated."""
        return None if self.calibrator is None else float(self.calibrator(np.array([score]))[0])


@dataclasses.dataclass(frozen=True)
class Shown:
    """A radiograph that has a picture.

    Attributes:
      exam: its id.
      picture: file name in ``images/``.
      size_hw: of the radiograph, px.
      score: the highest one of pneumonia.
      probability: that belongs to it, or None.
      boxes: number of detections at the threshold; of a classifier 1 or 0.
    """

    exam: str
    picture: str
    size_hw: tuple[int, int]
    score: float
    probability: float | None
    boxes: int


@dataclasses.dataclass
class Noted:
    """Radiographs of which the same is noted.

    Attributes:
      radiographs: how many.
      first: the first one's file.
    """

    radiographs: int
    first: str


@dataclasses.dataclass
class Totals:
    """What was written.

    Attributes:
      radiographs: number of exams.
      positive: those with pneumonia at the threshold.
      problems: (file, reason) of those of which a DICOM object could not be made.
      shown: the radiographs that have a picture.
      images: what was done or passed over where pixels were made -> of which radiographs.
      not_submitted: exams that are not in the submission, because a spreadsheet would take their ids for formulas.
    """

    radiographs: int = 0
    positive: int = 0
    problems: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    shown: list[Shown] = dataclasses.field(default_factory=list)
    images: dict[str, Noted] = dataclasses.field(default_factory=dict)
    not_submitted: list[str] = dataclasses.field(default_factory=list)


def write(folder: Path, entries: Iterable[Entry], rules: Rules, *, pictured: Collection[str]) -> Totals:
    """Write the tables of ``Rules.tables``, each atomically, and remove the pictures that are not needed.

    Args:
      folder: of the results.
      entries: of the journal.
      rules: class and threshold.
      pictured: exams whose pictures stay.

    Raises:
      DataError: one cannot be written.
    """
    totals = Totals()
    with contextlib.ExitStack() as stack:
        further = () if rules.boxes else (POSITIVE, *rules.further)
        scores = stack.enter_context(detections.scores_into(folder / SCORES, PROBABILITY, *further))
        boxes = stack.enter_context(_boxes_into(folder, totals)) if rules.boxes else None
        for entry in entries:
            kept = rules.kept(entry)
            if boxes is not None:
                boxes(entry, kept)
            score = rules.score(entry)
            probability = rules.probability(score)
            scores(entry.exam, score, *_beside_score(entry, rules, probability, positive=len(kept) > 0))
            totals.radiographs += 1
            totals.positive += len(kept) > 0
            if entry.problem:
                totals.problems.append((entry.file, entry.problem))
            for note in entry.notes:
                totals.images.setdefault(note, Noted(0, entry.file)).radiographs += 1
            if entry.picture is not None and entry.exam not in pictured:
                # drawn while it was among the highest scores; others came after it
                (folder / IMAGES / entry.picture).unlink(missing_ok=True)
            elif entry.picture is not None:
                totals.shown.append(Shown(entry.exam, entry.picture, entry.size_hw, score, probability, len(kept)))
    return totals


def _beside_score(entry: Entry, rules: Rules, probability: float | None, *, positive: bool) -> tuple[Any, ...]:
    """Return the cells of an exam's row of ``SCORES`` after its score."""
    cells = ("" if probability is None else f"{held(probability):.2f}",)
    if rules.boxes:
        return cells
    of_class = to_scores(entry.detections, rules.scored)
    return (*cells, int(positive), *(detections.score_text(of_class[name]) for name in rules.further))


@contextlib.contextmanager
def _boxes_into(folder: Path, totals: Totals) -> Iterator[Callable[[Entry, detections.Detections], None]]:
    """Open the tables that hold boxes; yield what writes an entry, and those of its detections that are kept, into all of them."""
    with contextlib.ExitStack() as stack:
        coco = stack.enter_context(_opened(folder / DETECTIONS))
        submission, boxes = (csv_cells.Writer(stack.enter_context(_opened(folder / name))) for name in (SUBMISSION, BOXES))
        submission.writerow(detections.SUBMISSION_HEADER)
        boxes.writerow(BOX_COLUMNS)
        # row by row: json.dump would need the detections of all exams in memory
        before = "[\n"

        def add(entry: Entry, kept: detections.Detections) -> None:
            nonlocal before
            for row in detections.coco_rows(entry.exam, entry.detections, size_hw=entry.size_hw):
                coco.write(before + json.dumps(row, allow_nan=False))
                before = ",\n"
            if csv_cells.is_formula(entry.exam):  # Kaggle's program compares ids, which must not be changed
                totals.not_submitted.append(entry.exam)
            else:
                submission.writerow((entry.exam, detections.prediction_string(kept)))
            boxes.writerows(_box_rows(entry, kept))

        yield add
        coco.write("[]\n" if before == "[\n" else "\n]\n")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    with paths.atomic_path(path) as tmp, tmp.open("w", newline="", encoding="utf-8") as file:
        yield file


def _box_rows(entry: Entry, kept: detections.Detections) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of an exam as ``formats.read_labels`` reads them: one a box, or one that says that there is none."""
    height, width = entry.size_hw
    own = _file_of(entry)
    for box, score in zip(kept.boxes_xyxy_px.tolist(), kept.scores.tolist(), strict=True):
        yield (own, width, height, label_map.PNEUMONIA, *(f"{value:.{detections.BOX_DECIMALS}f}" for value in box), f"{score:.6g}")
    if not len(kept):
        yield (own, width, height, label_map.NO_PNEUMONIA, "", "", "", "", "")


def _file_of(entry: Entry) -> str:
    """Return what an exam is called where files are named: its file's name or path, which may have to do with the exam's id or not."""
    name = entry.file.rpartition("/")[2]
    if formats.exam_id(name) == entry.exam:
        return name
    # called by its path, without suffix or with it; otherwise by its PatientID, or another id of labels
    return entry.file if entry.exam in (entry.file, entry.file.rpartition(".")[0]) else entry.exam


def picture(pixels: np.ndarray, entry: Entry, rules: Rules, *, truth_xyxy_px: np.ndarray | None, with_truth: bool) -> Image.Image:
    """Return the picture of a radiograph with its detections; with ground truth two, side by side.

    Args:
      pixels: (H, W) uint8.
      entry: its line of the journal.
      rules: class and threshold.
      truth_xyxy_px: (N, 4) boxes, or None where the labels do not name the exam.
      with_truth: whether there are labels at all: at the left the ground truth alone, at the right the detections over it; of a classifier the radiograph.
    """
    if rules.boxes:
        drawn = pictures.draw_boxes(pixels, truth_xyxy_px=truth_xyxy_px, detections=rules.kept(entry), panel=False)
    else:
        drawn = pictures.draw_boxes(pixels, panel=False)
    if not with_truth:
        return drawn
    return _side_by_side(pictures.draw_boxes(pixels, truth_xyxy_px=truth_xyxy_px, panel=False), drawn)


def _side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def truth_words(boxes: int | None) -> str:
    """Return what is said of an exam's number of ground-truth boxes, None where the labels do not name it."""
    return "not in the labels" if boxes is None else f"ground truth {boxes}"


def write_sheet(folder: Path, shown: Iterable[Shown], *, truth_boxes: Mapping[str, int] | None, boxes: bool = True) -> Path | None:
    """Write pictures on one sheet: findings by score, then the surest negatives; with ground truth the two halves of each beside one another.

    Args:
      folder: of the predictions.
      shown: the radiographs that have a picture.
      truth_boxes: exam -> number of ground-truth boxes, where there are labels; the pictures then are pairs.
      boxes: whether the model has boxes.

    Returns:
      The sheet's path, or None without pictures.
    """
    tiles, captions, with_truth = [], [], truth_boxes is not None
    # by exam where scores are equal: the same results give the same sheet
    ranked = sorted(shown, key=lambda one: (not one.boxes, -one.score if one.boxes else one.score, one.exam))
    for one in ranked[: SHEET_TILES // (2 if with_truth else 1)]:
        image = Image.open(folder / IMAGES / one.picture).convert("RGB")
        middle = image.width // 2
        halves = [(0, 0, middle, image.height), (middle, 0, image.width, image.height)]
        tiles += [image.crop(box) for box in halves] if with_truth else [image]
        captions += [(one.exam, truth_words(truth_boxes.get(one.exam)))] if truth_boxes is not None else []
        captions.append((one.exam, f"{f'boxes {one.boxes}, ' if boxes else ''}score {one.score:.3f}"))
    if not tiles:
        return None
    sheet = pictures.contact_sheet(tiles, columns=min(4, len(tiles)), captions=captions)
    if boxes or with_truth:
        sheet = pictures.with_key(sheet, truth=with_truth, solid="detection, with its score" if boxes else "")
    pictures.save(folder / SHEET, sheet)
    return folder / SHEET


def file_name(exam: str) -> str:
    """Return an exam's id as the name of a file without suffix: a PatientID may hold a slash, be endless, or begin with a dot.

    Names that had to be changed get a part of the id's SHA-256, so that no two exams have the same.
    """
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in exam).lstrip(".")
    if safe and safe == exam and len(safe.encode()) <= MAX_NAME_BYTES:
        return safe
    # file systems count bytes; a letter that is cut in two is left out
    short = safe.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    return f"{short}-{hashlib.sha256(exam.encode(errors='surrogatepass')).hexdigest()[:8]}"
