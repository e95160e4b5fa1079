"""The folder of an exported model: what is in it, and what it says of itself.

one = read(Path("workspace/my_first/export"))
one.label_map, one.score_threshold, one.artefacts["onnx"]["file"]
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumodet.core import paths
from pneumodet.core.errors import CheckpointError, DataError
from pneumodet.data import label_map

CARD = "model.json"
"""What the model is: config, data, versions, metrics, score threshold, post-processing, and the files of each format."""

LABEL_MAP = "label_map.pbtxt"
"""The label map in an export."""

ANCHORS = "anchors.npy"
"""(N, 4) float32 yxyx_norm: what the box encodings of a quantized model are relative to."""

PARITY = "parity.json"
"""Each file against the checkpoint that it was made of."""

READ_ME = "MODEL_CARD.md"
"""The model card, for people."""

FILES = {
    "savedmodel": "saved_model",
    "onnx": "model.onnx",
    "tflite": "model.tflite",
    "tflite-fp16": "model-fp16.tflite",
    "tflite-int8": "model-int8.tflite",
}
"""Format -> its file, or its folder, in an export."""

DETECTIONS, BOXES, ENCODINGS = "detections", "boxes", "encodings"
"""What an artefact answers with: detections as the API has them; boxes and scores before suppression; or, before these are decoded, the encodings
and logits of each feature map."""

FORMAT, VERSION = "pneumodet-model", 2
"""Of model.json. Version 1 knew the SavedModel alone."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
      model_dir: its folder.
      label_map: name -> id.
      score_threshold: the threshold of its evaluation, None where it was never evaluated.
      card: all of model.json.
      artefacts: format -> ``file`` (a name in the folder), ``sha256``, ``outputs`` (one of DETECTIONS, BOXES, ENCODINGS) and more. An export of
        version 1 has no sha256.
    """

    model_dir: Path
    label_map: dict[str, int]
    score_threshold: float | None
    card: dict[str, Any]
    artefacts: dict[str, dict[str, Any]]

    def path(self, name: str) -> Path:
        """Return the path of a format's file."""
        return self.model_dir / self.artefacts[name]["file"]


def read(model_dir: Path) -> Exported:
    """Read label_map.pbtxt and model.json of an exported model.

    Args:
      model_dir: its folder, or one of the files in it.

    Raises:
      CheckpointError: this is no exported model, or a file of it is gone.
    """
    folder = model_dir.parent if model_dir.name in FILES.values() and (model_dir.parent / CARD).is_file() else model_dir
    for name in (LABEL_MAP, CARD):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} is not an exported model (it has no {name}). Export a run by tools/export.py --run NAME.")
    try:
        card = paths.read_json(folder / CARD, what="the model card", hint="Export the run again.")
        classes = label_map.read_label_map(folder / LABEL_MAP)
    except DataError as error:
        raise CheckpointError(str(error)) from error
    artefacts = card.get("artefacts") if isinstance(card, dict) else {}
    if artefacts is None:  # version 1
        artefacts = {"savedmodel": {"file": FILES["savedmodel"], "outputs": DETECTIONS}}
    if not artefacts or not isinstance(artefacts, dict) or not all(isinstance(one, dict) and "file" in one for one in artefacts.values()):
        raise CheckpointError(f"{folder / CARD} names no file of a model. Export the run again.")
    for about in artefacts.values():
        if not (folder / about["file"]).exists():
            raise CheckpointError(
                f"{folder} is not an exported model (it has no {about['file']}). Copy it as a whole, or export the run again."
            )
    return Exported(folder, classes, card.get("score_threshold"), card, artefacts)


def read_all(model_dirs: Sequence[Path]) -> list[Exported]:
    """Read what lies beside each of one or more exported models that are to be fused.

    Raises:
      CheckpointError: one of them is no exported model.
      DataError: their label maps differ.
    """
    each = [read(model_dir) for model_dir in model_dirs]
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
    names = sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())
    return hashlib.sha256("".join(f"{paths.sha256_file(path / name)}  {name}\n" for name in names).encode()).hexdigest()


def check_whole(one: Exported, name: str) -> None:
    """Check that a format's file is the one that was exported.

    Raises:
      CheckpointError: it is another one, or damaged.
    """
    path, expected = one.path(name), one.artefacts[name].get("sha256")
    if expected is not None and sha256(path) != expected:
        raise CheckpointError(f"{path} is not the file that was exported (its SHA-256 differs). Copy it again, or export the run again.")
