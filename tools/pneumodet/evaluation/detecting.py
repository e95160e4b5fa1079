"""Detect on a split of a record set, with one or more runs or exported models, each in one or more views; and tune a recipe on what runs find.

split = RecordSet.open(data_dir).split("val")
sets, checkpoints = of_runs([Path("workspace/fold_0"), Path("workspace/fold_1")], split, views=("identity", "flip"))     # 4 of them
sets = of_models([Path("workspace/my_first/export")], split, views=("identity",))
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import folders, runs
from pneumodet.core.detections import Detections
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import label_map
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation import leaks, postprocess_files
from pneumodet.inference import detectors
from pneumodet.inference.postprocess import gates as image_gates
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess import views as view_steps

Progress = Callable[[int], Callable[[], None]]
"""Takes the number of images, and returns what to call after each."""


def data_of(run_dirs: Sequence[Path]) -> Path:
    """Return the record set that runs were trained with.

    Raises:
      ConfigError: they were trained with different ones.
    """
    data_dirs = [Path(runs.read(folder).records().folder) for folder in run_dirs]
    if len(set(data_dirs)) > 1:
        raise ConfigError(
            f"The runs were trained with different record sets ({', '.join(sorted(map(str, set(data_dirs))))}). Say by --data on which one to run "
            "them; it should hold no patient that any of them was trained on."
        )
    return data_dirs[0]


def of_runs(
    run_dirs: Sequence[Path],
    split: Split,
    *,
    views: Sequence[str] = view_steps.ONLY_IDENTITY,
    progress: Progress = lambda total: lambda: None,
) -> tuple[list[dict[str, Detections]], list[str]]:
    """Run the best checkpoint of each run over a split; each radiograph is decoded once a run.

    Args:
      run_dirs: the runs.
      split: of a record set with their label map.
      views: names of V views.
      progress: see ``Progress``.

    Returns:
      (for each run, and for each view of it, exam -> detections in px of the record's image; the checkpoints' prefixes).

    Raises:
      DataError: the label map of a run is not that of the records, or a record cannot be read.
      CheckpointError: a run has no checkpoint, or it does not fit.
    """
    for folder in run_dirs:
        classes = label_map.read_label_map(folder / runs.LABEL_MAP)
        if classes != split.label_map:
            raise DataError(
                f"The run {folder.name} was trained with the label map {classes}, but the records in {split.folder} have {split.label_map}."
            )
    from pneumodet.evaluation import checkpoint_detections  # needs the API; the exported models below do not

    done = progress(len(split) * len(run_dirs))
    sets, checkpoints = [], []
    for folder in run_dirs:
        of_views, checkpoint = checkpoint_detections.detect_run_views(folder, split, views=views, on_image=done)
        sets += of_views
        checkpoints.append(checkpoint)
    return sets, checkpoints


def of_models(
    model_dirs: Sequence[Path],
    split: Split,
    *,
    views: Sequence[str] = view_steps.ONLY_IDENTITY,
    trust: bool = False,
    progress: Progress = lambda total: lambda: None,
) -> list[dict[str, Detections]]:
    """Run exported models over a split; each radiograph is decoded once for all of them.

    Args, return value and errors as ``of_runs``; ``trust`` as ``detectors.open`` takes it. The models' label maps were compared by
    ``inference.exported.read_all``.
    """
    # all models at once, so that each radiograph is decoded once
    detector = Detectors(model_dirs, trust=trust)
    done = progress(len(split))
    sets: list[dict[str, Detections]] = [{} for _ in range(len(model_dirs) * len(views))]
    for exam, pixels in split.pixels():
        for of_set, detections in zip(sets, detector.detect(pixels, views), strict=True):
            of_set[exam] = detections
        done()
    return sets


class Detectors:
    """One or more exported models."""

    def __init__(self, model_dirs: Sequence[Path], *, trust: bool = False) -> None:
        """Load the models; ``trust`` as ``detectors.open`` takes it.

        Raises:
          CheckpointError: one of them is no exported model, or is damaged.
          EnvironmentProblem: the package that runs it is not installed.
        """
        self._each = [detectors.open(model_dir, trust=trust) for model_dir in model_dirs]

    def detect(self, pixels: np.ndarray, names: Sequence[str]) -> list[Detections]:
        """Return for each model, and for each view of it, the detections on a radiograph, (H, W) uint8, in px of it."""
        return [of_view for one in self._each for of_view in view_steps.detect(one.detect, pixels, names)]


def tune(
    run_dirs: Sequence[Path],
    output_dir: Path,
    *,
    views: tuple[str, ...],
    data_dir: Path | None = None,
    split: str = "val",
    gate: Path | None = None,
    patient_map: Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda total: lambda: None,
    **how: Any,
) -> dict[str, Any]:
    """Run one or more runs over a split in some views, and choose a recipe for what they find.

    Args:
      run_dirs: the runs.
      output_dir: as in ``files.choose``.
      views: their names.
      data_dir: the record set; by default the one that the runs were trained with.
      split: of it; not the one they were trained on.
      gate, patient_map, overwrite, how: as in ``files.tune``.
      progress: see ``Progress``.

    Returns:
      The table of ``files.choose``.

    Raises:
      ConfigError, DataError, CheckpointError: as ``data_of``, ``RecordSet``, ``of_runs`` and ``files.choose``.
    """
    folders.check_free(output_dir, marker=recipes.RECIPE, overwrite=overwrite)
    records = RecordSet.open(data_dir or data_of(run_dirs)).split(split)
    # read first: errors in it should not come after an hour of detection
    truth = postprocess_files.read_truth(records.truth, patient_map=patient_map)
    gate_scores = None if gate is None else image_gates.read_gate(gate, exams=list(truth.boxes_xyxy_px))
    sets, _ = of_runs(run_dirs, records, views=views, progress=progress)
    # by what differs: the run, the view, or both
    names = [", ".join([folder.name] * (len(run_dirs) > 1) + [view] * (len(views) > 1)) for folder in run_dirs for view in views]
    return postprocess_files.choose(
        truth,
        sets,
        output_dir,
        views=views,
        names=names,
        gate_scores=gate_scores,
        overwrite=overwrite,
        parts=leaks.of_runs(run_dirs),
        **how,
    )
