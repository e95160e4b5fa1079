"""pretrained/registry.json and its lock file: which checkpoints can be loaded by name, and which archives were downloaded. No TensorFlow.

entries = read(folder)
entries["ssd_mobilenet_v2_320x320_coco17_tpu-8"].url
downloads(folder)["ssd_mobilenet_v2_320x320_coco17_tpu-8"].sha256
"""

import dataclasses
from pathlib import Path

from pneumodet.core import json_fields, paths

REGISTRY = "registry.json"
"""What can be loaded by name; its field ``about`` gives the sources."""

LOCK = "registry.lock.json"
"""Beside it: SHA-256 of each archive and of its files, as recorded at the first download."""

_AGAIN = "Get it again from the project."
_REMOVE = "Remove it to trust the next download."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A checkpoint that can be loaded by name.

    Attributes:
      type: "detection" or "classification", as fine_tune_checkpoint_type.
      trained_on: data set, for the user.
      side_px: longer side in px of the images that it was trained with.
      feature_extractors: of the configs that it fits.
      url: of its archive.
      file: name of the checkpoint in it, ``ckpt-0``.
      licence: of the weights.
      sha256: of the archive; None where no source publishes it.
    """

    type: str
    trained_on: str
    side_px: int
    feature_extractors: list[str]
    url: str
    file: str
    licence: str
    sha256: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Download:
    """An archive that was downloaded, or placed by hand, and unpacked.

    Attributes:
      url: where the registry said that it was.
      sha256: of the archive.
      files: name of each file of it -> SHA-256.
    """

    url: str
    sha256: str
    files: dict[str, str]


def read(folder: Path) -> dict[str, Entry]:
    """Return the registry: name -> its entry.

    Raises:
      DataError: it cannot be read, or a field is missing or wrong, which is named.
    """
    fields = json_fields.of_file(folder / REGISTRY, what="the registry of checkpoints", hint=_AGAIN)
    return {name: entry.build(Entry) for name, entry in fields.parts("checkpoints")}


def downloads(folder: Path) -> dict[str, Download]:
    """Return what was downloaded so far: name -> its archive.

    Raises:
      DataError: the file cannot be read, or a field is missing or wrong, which is named.
    """
    path = folder / LOCK
    if not path.is_file():
        return {}
    fields = json_fields.of_file(path, what="the record of downloads", hint=_REMOVE)
    return fields.values(Download)


def record(folder: Path, name: str, download: Download) -> None:
    """Write down a download; what is there of others stays."""
    every = downloads(folder) | {name: download}
    paths.write_json(folder / LOCK, {one: dataclasses.asdict(each) for one, each in every.items()})
