"""Finished record sets: what a folder of shards must have, and whether it still has it.

manifest = load_manifest(folder)          # quick: names and sizes
problems = verify(folder)                 # every byte: checksums, CRCs, and that records and ground truth agree
"""

import json
from pathlib import Path
from typing import Any

from pneumodet import paths
from pneumodet.data import tf_example, tfrecord
from pneumodet.errors import DataError
from pneumodet.parallel import Pool

MANIFEST = "manifest.json"
"""Written last: a folder that has it is whole."""

FORMAT, VERSION = "pneumodet-records", 2

_HINT = "Make the records with tools/make_tfrecords.py."


def load_manifest(data_dir: Path) -> dict[str, Any]:
    """Read and check a record set's manifest.

    Returns:
      The manifest.

    Raises:
      DataError: the folder is no record set, or a file that the manifest names is missing or of another size.
    """
    manifest = _read(data_dir)
    for shard in _shards(data_dir, manifest):
        path = data_dir / shard["name"]
        if not path.is_file() or path.stat().st_size != shard["bytes"]:
            raise DataError(f"{path} is missing or not of the size that the manifest says. {_HINT}")
    for split in manifest["splits"].values():
        if not (data_dir / split["annotations"]).is_file():
            raise DataError(f"{data_dir / split['annotations']} is missing. {_HINT}")
    return manifest


def verify(data_dir: Path, *, workers: int = 1) -> list[str]:
    """Check every byte of a record set: sizes, SHA-256, the CRCs of each record, and that records and ground truth name the same exams.

    Args:
      data_dir: the record set.
      workers: processes at the most.

    Returns:
      What is wrong, a sentence each; nothing where the set is whole.

    Raises:
      DataError: there is no manifest, or it is damaged.
    """
    manifest = _read(data_dir)
    problems: list[str] = []
    exams: dict[str, list[str]] = {}
    with Pool(workers) as pool:
        for name, found, wrong in pool.run(_check_shard, [(data_dir, shard) for shard in _shards(data_dir, manifest)]):
            problems += wrong
            exams[name] = found
    names = {(data_dir / shard["name"]).name for shard in _shards(data_dir, manifest)}
    problems += [f"{path.name} is not in the manifest." for path in sorted(data_dir.glob("*.tfrecord")) if path.name not in names]
    for side, split in manifest["splits"].items():
        path = data_dir / split["annotations"]
        if not path.is_file():
            problems.append(f"{path.name} is missing.")
        elif paths.sha256_file(path) != split["annotations_sha256"]:
            problems.append(f"{path.name} was changed: its SHA-256 is not the manifest's.")
        else:
            truth = [image["file_name"] for image in json.loads(path.read_text(encoding="utf-8"))["images"]]
            if truth != [exam for shard in split["shards"] for exam in exams[shard["name"]]] and not problems:
                problems.append(f"{path.name} and the records of {side} do not name the same exams.")
            if len(truth) != split["exams"]:
                problems.append(f"{path.name} has {len(truth)} exams; the manifest says {split['exams']}.")
    return problems


def _check_shard(what: tuple[Path, dict[str, Any]]) -> tuple[str, list[str], list[str]]:
    """Return (name, exams, problems) of a shard."""
    data_dir, shard = what
    path, exams, problems = data_dir / shard["name"], [], []
    if not path.is_file():
        return shard["name"], [], [f"{path.name} is missing."]
    size = path.stat().st_size
    if size != shard["bytes"]:
        problems.append(f"{path.name} has {size} bytes; the manifest says {shard['bytes']}.")
    elif paths.sha256_file(path) != shard["sha256"]:
        problems.append(f"{path.name} was changed: its SHA-256 is not the manifest's.")
    try:
        exams += [tf_example.decode(record).patient_id for record in tfrecord.read_records(path)]
    except DataError as error:
        problems.append(str(error).replace(str(path), path.name))
    if not problems and len(exams) != shard["examples"]:
        problems.append(f"{path.name} has {len(exams)} records; the manifest says {shard['examples']}.")
    return shard["name"], exams, problems


def _read(data_dir: Path) -> dict[str, Any]:
    if not data_dir.is_dir():
        raise DataError(f"There is no record set {data_dir}. {_HINT}")
    manifest = paths.read_json(data_dir / MANIFEST, what="the manifest", hint=_HINT)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise DataError(f"{data_dir / MANIFEST} is not the manifest of a record set of this version. {_HINT}")
    return manifest


def _shards(data_dir: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all shards of a manifest whose form is what the readers rely on."""
    try:
        for split in manifest["splits"].values():
            for kind, keys in ((str, ("annotations", "annotations_sha256")), (int, ("exams", "patients", "positive_exams", "boxes"))):
                for key in keys:
                    if not isinstance(split[key], kind):
                        raise TypeError(f"{key} is {split[key]!r}")
        shards = [shard for split in manifest["splits"].values() for shard in split["shards"]]
        for shard in shards:
            for key, kind in (("name", str), ("bytes", int), ("sha256", str), ("examples", int)):
                if not isinstance(shard[key], kind):
                    raise TypeError(f"{key} is {shard[key]!r}")
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{data_dir / MANIFEST} is damaged ({error!r}). {_HINT}") from error
    return shards
