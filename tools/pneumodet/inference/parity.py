"""parity.json of an export: each of its files against the checkpoint that it was made of, on the same radiographs.

parity = read(folder / exported.PARITY)
parity.reference.milliseconds, parity.artefacts["onnx"].score_largest, parity.artefacts["onnx"].outside
paths.write_json(folder / exported.PARITY, parity.to_json())
"""

import dataclasses
from pathlib import Path
from typing import Any

from pneumodet.core import json_fields
from pneumodet.core.errors import CheckpointError

FORMAT, VERSION = "pneumodet-parity", 1
"""Of the file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """The checkpoint itself; of what is None nothing is known, likewise below.

    Attributes:
      ap50: AP at IoU 0.5 of pneumonia, in [0, 1]; None where no image has a box.
      rsna_metric: at ``Parity.score_threshold``, in [0, 1]; None where there is no threshold.
      milliseconds: median time of an image …
      milliseconds_p95: … and the 95th percentile.
      images: that it ran on.
      detections: that it made.
    """

    ap50: float | None = None
    rsna_metric: float | None = None
    milliseconds: float | None = None
    milliseconds_p95: float | None = None
    images: int = 0
    detections: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A file.

    Attributes:
      detections: that it made.
      matched: of these, how many overlap one of the checkpoint.
      alike: share of both sets' detections that have a like in the other, in [0, 1].
      score_largest, score_mean: difference of scores.
      box_largest_px, box_mean_px: largest difference of a box's four sides; None where nothing matches.
      ap50, rsna_metric, rsna_metric_nearby: as ``export.parity.figures`` returns them.
      ap50_change, rsna_metric_change, rsna_metric_nearby_change: against the checkpoint.
      bytes: of the file.
      images, milliseconds, milliseconds_p95: as of ``Reference``.
      tolerance: what it may differ by, as ``export.parity.Tolerance``.
      outside: what it is outside of, as parts of a sentence.
    """

    detections: int
    matched: int
    alike: float
    score_largest: float
    score_mean: float
    box_largest_px: float | None = None
    box_mean_px: float | None = None
    ap50: float | None = None
    rsna_metric: float | None = None
    rsna_metric_nearby: float | None = None
    ap50_change: float | None = None
    rsna_metric_change: float | None = None
    rsna_metric_nearby_change: float | None = None
    bytes: int | None = None
    images: int
    milliseconds: float
    milliseconds_p95: float
    tolerance: dict[str, float] = dataclasses.field(default_factory=dict)
    outside: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """The comparison of an export.

    Attributes:
      checkpoint: its name.
      checkpoint_sha256: as in the model card.
      split: of the records.
      manifest_sha256: of the record set.
      score_threshold: of the RSNA metrics; None where no image has a box.
      threshold_is_stored: whether it is that of the model card.
      machine: that times were measured on.
      reference: the checkpoint.
      artefacts: format -> its file.
    """

    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    split: str = ""
    manifest_sha256: str | None = None
    score_threshold: float | None = None
    threshold_is_stored: bool = False
    machine: dict[str, Any] = dataclasses.field(default_factory=dict)
    reference: Reference = Reference()
    artefacts: dict[str, Comparison] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what parity.json holds."""
        return {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}


def read(path: Path) -> Parity:
    """Read a parity.json.

    Raises:
      CheckpointError: there is none, it is no JSON, a newer pneumodet wrote it, or a field is wrong, which is named.
    """
    fields = json_fields.of_file(path, what="the comparison of the export", error=CheckpointError, hint="Export with --overwrite.")
    fields.version(VERSION)
    return fields.build(Parity)
