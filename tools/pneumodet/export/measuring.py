"""Run exported files and the checkpoint on the validation records, and compare their detections.

records = Records.of_run(folder, None, limit=None)
measured = records.compare(subject, exported.read(new), ["onnx"], threshold=0.4)     # as parity.json has it
"""

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core.detections import Detections
from pneumodet.core.errors import CheckpointError, DataError
from pneumodet.data import label_map
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.export import parity, sampling
from pneumodet.export.subject import Subject
from pneumodet.inference import exported
from pneumodet.inference.detectors import Detector
from pneumodet.inference.parity import Comparison, Parity, Reference

Progress = Callable[[int], Callable[[], object]]
"""Takes the number of images, and returns what to call after each."""

SPLIT = "val"
"""What exports are compared on."""


def split_of_run(folder: Path, data_dir: Path | None, name: str) -> Split:
    """Return a split of the record set that a run was trained with, or of another one with its classes.

    Raises:
      DataError: it is gone, it has no such split, or other classes.
    """
    from pneumodet.core import runs
    from pneumodet.evaluation import detecting

    split = RecordSet.open(data_dir or detecting.data_of([folder])).split(name)
    # a classifier learns from what exams are, not from classes of boxes, and its run has no label map
    classes = label_map.read_label_map(folder / runs.LABEL_MAP) if (folder / runs.LABEL_MAP).is_file() else split.label_map
    if split.label_map != classes:
        raise DataError(f"The run was trained with the label map {classes}, but the records in {split.folder} have {split.label_map}.")
    return split


def inputs(config: Any, pixels: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Yield what the functions of ``graphs.of_model`` take of (H, W) uint8 radiographs."""
    from pneumodet.inference import sizes
    from pneumodet.models.detection import resizing

    size = resizing.of_config(config)
    for one in pixels:
        image = sizes.prepared(one, size)
        height, width = image.shape
        three = np.repeat(size.on_canvas(image)[np.newaxis, :, :, np.newaxis], 3, axis=3)
        yield [three, np.array([[height, width, 3]], np.int32)] if size.padded else [three]


@dataclasses.dataclass(frozen=True)
class Records:
    """What exports are compared on.

    Attributes:
      split: of a record set.
      instances: COCO object of the exams that are compared.
    """

    split: Split
    instances: dict[str, Any]

    @classmethod
    def of_run(cls, folder: Path, data_dir: Path | None, *, limit: int | None) -> "Records":
        """Return the validation records of a run.

        Raises:
          DataError: they are gone, or have other classes.
        """
        try:
            split = split_of_run(folder, data_dir, SPLIT)
            instances = split.instances
        except DataError as error:
            raise DataError(
                f"An export is compared with its checkpoint on the validation records: {error} Say by --data where they lie now, or export "
                "without this proof by --no-parity."
            ) from error
        # the ground truth, too: boxes of exams that nothing detects on would count as missed
        if limit is not None and limit < len(instances["images"]):
            exams = set(sampling.choose(instances["images"], {row["image_id"] for row in instances["annotations"]}, limit))
            images = [image for image in instances["images"] if image["file_name"] in exams]
            numbers = {image["id"] for image in images}
            boxes = [row for row in instances["annotations"] if row["image_id"] in numbers]
            instances = {**instances, "images": images, "annotations": boxes}
        return cls(split, instances)

    def compare(
        self,
        subject: Subject,
        one: exported.Exported,
        formats: Sequence[str],
        *,
        threshold: float | None,
        progress: Progress = lambda total: lambda: None,
    ) -> Parity:
        """Run a checkpoint and files that were made of it on the records.

        Args:
          subject: the checkpoint.
          one: the export.
          formats: which of its files.
          threshold: score threshold of the RSNA metric; None: the one that is best for the checkpoint here.
          progress: see ``Progress``.

        Returns:
          What comes out.
        """
        each: dict[str, Callable[[np.ndarray], Detections]] = {"checkpoint": subject.detect}
        each |= {name: Detector(one, name, trust=True).detect for name in formats}
        wanted = {image["file_name"] for image in self.instances["images"]}
        done = progress(len(wanted))
        detections: dict[str, dict[str, Detections]] = {name: {} for name in each}
        seconds: dict[str, list[float]] = {name: [] for name in each}
        sizes_hw = {}
        # each image through all files in turn: what slows the machine down for a while slows all of them
        for exam, pixels in self.split.pixels(wanted):
            sizes_hw[exam] = pixels.shape
            for name, detect in each.items():
                started = time.perf_counter()
                detections[name][exam] = detect(pixels)
                seconds[name].append(time.perf_counter() - started)
            done()
        # after the loop: which exams are in the records shows when they were read to their end
        if detections["checkpoint"].keys() != wanted:
            raise DataError(f"Records and ground truth in {self.split.folder} do not list the same exams. Make the records again.")
        return self._table(detections, seconds, sizes_hw, one, subject, threshold)

    def _table(
        self,
        detections: dict[str, dict[str, Detections]],
        seconds: dict[str, list[float]],
        sizes_hw: dict[str, tuple[int, int]],
        one: exported.Exported,
        subject: Subject,
        threshold: float | None,
    ) -> Parity:
        reference = detections.pop("checkpoint")
        category = one.label_map[label_map.PNEUMONIA]
        stored = threshold is not None
        # one threshold for all files, so that a change is the file's own
        if one.card.has_boxes:
            threshold = parity.threshold_for(self.instances, reference, category_id=category, own=threshold)

        def figures(of: dict[str, Detections], band: float) -> dict[str, float | None]:
            if not one.card.has_boxes:
                return dict.fromkeys(parity.FIGURES)
            return parity.figures(
                self.instances, of, class_name=label_map.PNEUMONIA, category_id=category, score_threshold=threshold, band=band
            )

        rows = {}
        for name, own in detections.items():
            tolerance = subject.tolerance(name)
            # the reference again for each format: the band of thresholds is as wide as the format's tolerance
            now, before = figures(own, tolerance.score), figures(reference, tolerance.score)
            changes = {f"{key}_change": _change(value, before[key]) for key, value in now.items()}
            same = parity.compare(reference, own, sizes_hw=sizes_hw, limit=subject.limit, tolerance=tolerance)
            measured = {**same, **now, **changes, "bytes": one.artefacts[name].bytes, "images": len(reference)}
            measured |= {**_times(seconds[name]), "tolerance": dataclasses.asdict(tolerance)}
            rows[name] = Comparison(**measured, outside=tuple(parity.outside(measured, tolerance, has_boxes=one.card.has_boxes)))
        return Parity(
            checkpoint=one.card.checkpoint,
            checkpoint_sha256=one.card.checkpoint_sha256,
            split=self.split.name,
            manifest_sha256=RecordSet.open(self.split.folder).manifest_sha256,
            score_threshold=threshold,
            threshold_is_stored=stored,
            machine={"platform": f"{platform.system()} {platform.machine()}", "cpu_cores": os.cpu_count()},
            reference=Reference(
                **{key: value for key, value in figures(reference, 0.0).items() if "nearby" not in key},
                **_times(seconds["checkpoint"]),
                images=len(reference),
                detections=sum(map(len, reference.values())),
            ),
            artefacts=rows,
        )


def _change(value: float | None, before: float | None) -> float | None:
    return None if value is None or before is None else value - before


def _times(seconds: list[float]) -> dict[str, float]:
    """Return median and 95th percentile in ms; the first image, on which a graph is traced, counts only where there is no other."""
    later = 1000 * np.array(seconds[1:] or seconds)
    return {"milliseconds": float(np.median(later)), "milliseconds_p95": float(np.percentile(later, 95))}


def refuse_unlike(measured: Parity, formats: Sequence[str]) -> None:
    """Raise CheckpointError where one of the new files is outside of its tolerance."""
    outside = {name: reasons for name in formats if (reasons := measured.artefacts[name].outside)}
    if outside:
        text = "; ".join(f"{exported.FILES[name]}: {', '.join(one)}" for name, one in outside.items())
        raise CheckpointError(
            f"Not exported, since it does not find what the checkpoint finds: {text}. Nothing was changed; leave {', '.join(outside)} out of --formats."
        )
