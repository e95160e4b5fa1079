"""The folder of an exported model: what is in it, and what it says of itself.

one = read(Path("workspace/my_first/export"))
one.label_map, one.card.score_threshold, one.artefacts["onnx"].file
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from pneumodet.core import paths, runs
from pneumodet.core.errors import CheckpointError, ConfigError, DataError
from pneumodet.data import label_map
from pneumodet.inference import card as cards
from pneumodet.inference.card import CARD, Artefact, ModelCard

LABEL_MAP = "label_map.pbtxt"
"""The label map in an export."""

ANCHORS = "anchors.npy"
"""(N, 4) float32 yxyx_norm: what the box encodings of a quantized model are relative to."""

PARITY = "parity.json"
"""Each file against the checkpoint that it was made of."""

READ_ME = "MODEL_CARD.md"
"""The model card, for people."""

FILES = {
    "savedmodel": cards.SAVED_MODEL,
    "onnx": "model.onnx",
    "tflite": "model.tflite",
    "tflite-fp16": "model-fp16.tflite",
    "tflite-int8": "model-int8.tflite",
    "tflite-task": "model-task.tflite",
}
"""Format -> its file, or its folder, in an export."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
      model_dir: its folder.
      label_map: name -> id, of label_map.pbtxt.
      card: what model.json says.
    """

    model_dir: Path
    label_map: dict[str, int]
    card: ModelCard

    @property
    def artefacts(self) -> dict[str, Artefact]:
        """Format -> its file."""
        return self.card.artefacts

    def path(self, name: str) -> Path:
        """Return the path of a format's file."""
        return self.model_dir / self.artefacts[name].file


def is_export(path: Path) -> bool:
    """Return whether a path is the folder of an exported model, or one of the files in it."""
    return _export_of(path) is not None


def _export_of(path: Path) -> Path | None:
    # a file in an export stands for the export, so that --model may name either
    if path.name in FILES.values() and paths.is_file(path.parent / CARD):
        return path.parent
    return path if paths.is_file(path / CARD) else None


def read(model_dir: Path, *, boxes: bool = True) -> Exported:
    """Read label_map.pbtxt and model.json of an exported model.

    Args:
      model_dir: its folder, one of the files in it, or the folder of the run that was exported.
      boxes: refuse a model without boxes.

    Raises:
      CheckpointError: this is no exported model, a file of it is gone, or a field of model.json is wrong; the run was not exported yet; or it has no boxes.
    """
    folder = _folder_of(model_dir, boxes=boxes)
    for name in (LABEL_MAP, CARD):
        if not paths.is_file(folder / name):
            raise CheckpointError(f"{folder} is not an exported model (it has no {name}). Export a run by tools/export.py --run NAME.")
    try:
        classes = label_map.read_label_map(folder / LABEL_MAP)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    card = cards.read(folder / CARD)
    if boxes and not card.has_boxes:
        raise _no_boxes(folder, f"the export of a run of the family {card.family}")
    # every file, and not only the one in use: a copy that lacks one was cut short
    for artefact in card.artefacts.values():
        for name in filter(None, (artefact.file, artefact.anchors)):
            if not (folder / name).is_file() and not (folder / name).is_dir():
                raise CheckpointError(f"{folder} is not an exported model (it has no {name}). Copy it as a whole, or export the run again.")
    return Exported(folder, classes, card)


def _folder_of(model_dir: Path, *, boxes: bool) -> Path:
    """Return the folder of the export that a path stands for."""
    if export := _export_of(model_dir):
        return export
    # a run's folder stands for its export; and a path that the export would have is asked for where there is none yet
    run = model_dir if runs.is_run(model_dir) else model_dir.parent if model_dir.name == runs.EXPORT else None
    if run is None or not runs.is_run(run):
        return model_dir
    family = runs.family_of(run) or runs.DETECTION
    if family == runs.SEGMENTATION:
        raise CheckpointError(of_u_net(run))
    if family != runs.DETECTION and (boxes or family not in cards.FAMILIES):
        raise _no_boxes(run, f"a run of the family {family}")
    if not (run / runs.EXPORT / CARD).is_file():
        name = run.name if run.resolve().parent == paths.workspace_dir().resolve() else run
        raise CheckpointError(f"The run {run} was not exported yet. Export it: python tools/export.py --run {name}")
    return run / runs.EXPORT


def of_u_net(run: Path) -> str:
    """Return why a U-Net's run has no export, and what to do."""
    return (
        f"{run} is the run of a U-Net. U-Nets cannot be exported, so that they predict nothing of new radiographs; what they say of the records is in "
        f"{run.name}/{runs.EVALUATION}. For boxes with masks of new radiographs, as pictures or by --dicom-seg, train and export the config "
        "mask_rcnn_resnet50."
    )


def _no_boxes(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{folder} is {what}, which has no boxes. Name the export of a detector's run; that of a classifier is for tools/predict.py."
    )


def read_all(model_dirs: Sequence[Path], *, boxes: bool = True) -> list[Exported]:
    """Read what lies beside each of one or more exported models that are to be fused.

    Raises:
      CheckpointError: one of them is no exported model, or has no boxes where ``boxes`` are wanted.
      ConfigError: one of several has no boxes that could be fused.
      DataError: their label maps differ.
    """
    each = [read(model_dir, boxes=boxes) for model_dir in model_dirs]
    classifier = next((one for one in each if not one.card.has_boxes), None)
    if classifier is not None and len(each) > 1:
        raise ConfigError(f"{classifier.model_dir} is a classifier's, which has no boxes to fuse. Predict with it alone.")
    for one in each:
        if one.label_map != each[0].label_map:
            raise DataError(
                f"The models do not fit together: the label map of {each[0].model_dir} is {each[0].label_map}, that of {one.model_dir} is "
                f"{one.label_map}. Only models with the same classes can be fused."
            )
    return each


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder: of the sorted lines "sha256  name" of its files, as sha256sum writes them."""
    if path.is_file():
        return paths.sha256_file(path)
    # sorted: rglob gives files in the order of the file system
    names = sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())
    return hashlib.sha256("".join(f"{paths.sha256_file(path / name)}  {name}\n" for name in names).encode()).hexdigest()


def check_whole(one: Exported, name: str) -> None:
    """Check that a format's file is the one that was exported.

    Raises:
      CheckpointError: it is another one, or damaged.
    """
    path, expected = one.path(name), one.artefacts[name].sha256
    if expected is not None and sha256(path) != expected:
        raise CheckpointError(f"{path} is not the file that was exported (its SHA-256 differs). Copy it again, or export the run again.")
