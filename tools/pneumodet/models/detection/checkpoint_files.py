"""Read checkpoint files without TensorFlow: what is in them, and what is no checkpoint at all.

    prefix = find(Path("pretrained/mobilenet_v2"))       # …/mobilenet_v2.ckpt-1
    names(prefix)                                        # ["_CHECKPOINTABLE_OBJECT_GRAPH", "feature_extractor/…", …]

A checkpoint is a pair of files: ``ckpt-N.index``, a table of names, and ``ckpt-N.data-00000-of-00001``, the values. The table has the form
of LevelDB's (https://github.com/google/leveldb/blob/main/doc/table_format.md), which TensorFlow writes without compression.
"""

import re
import struct
from pathlib import Path

from pneumodet.core import paths, runs
from pneumodet.core.errors import CheckpointError
from pneumodet.data.tfrecord import masked_crc

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""Name of the entry that every object-based (TensorFlow 2) checkpoint has, and no name-based one."""

STATE = "checkpoint"
"""Name of the text file beside checkpoints that says which one is the newest."""

_NEWEST = re.compile(r'^model_checkpoint_path:\s*"(?P<path>[^"]+)"', re.MULTILINE)
_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
"""Bytes at a table's end: two block handles, padded, and the magic number."""

_TRAILER = 5
"""Bytes behind a block: how it is compressed (0: not), and its masked CRC32C, as in a TFRecord."""

_FOREIGN_SUFFIXES = {
    ".h5": "Keras weights (HDF5)",
    ".hdf5": "Keras weights (HDF5)",
    ".keras": "a Keras model",
    ".pth": "PyTorch weights",
    ".pt": "PyTorch weights",
    ".safetensors": "weights in safetensors form",
    ".onnx": "an ONNX model",
    ".tflite": "a TFLite model",
    ".pb": "a frozen graph or a SavedModel",
}


def folder_of_run(folder: Path) -> Path:
    """Return where a run's best checkpoint is, or its newest where no evaluation was done while it was trained."""
    best = folder / runs.BEST
    return best if (best / STATE).is_file() else folder / runs.TRAIN


def find(path: Path) -> str:
    """Return the prefix, ``…/ckpt-N``, of the checkpoint that a path means.

    Args:
      path: a prefix, one of its two files, or a folder with checkpoints, of which the newest is taken; the folder may have them in a folder
        ``checkpoint`` or ``train``, as the model zoo and a run have.

    Raises:
      CheckpointError: there is none, or what is there is something else, which is said.
    """
    prefix = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", str(path))
    if paths.is_file(Path(f"{prefix}.index")):
        return prefix
    if paths.is_dir(path):
        for folder in (path, path / "checkpoint", path / "train"):
            newest = _newest(folder)
            if newest:
                return newest
        if (path / "saved_model.pb").is_file():
            raise CheckpointError(f"{path} is {_SAVED_MODEL}, from which nothing can be restored. {_WANTED}")
        raise CheckpointError(f"There is no checkpoint in {path}. {_WANTED}")
    if paths.is_file(path):
        raise CheckpointError(f"{path} is {_form(path)}, no TensorFlow checkpoint. {_WANTED}")
    raise CheckpointError(f"There is no checkpoint {path} (no {path.name}.index). {_WANTED}")


_SAVED_MODEL = "a SavedModel, made to run"
_WANTED = "Give an object-based TensorFlow 2 checkpoint by its path up to and with ckpt-N, or the folder that it lies in."


def _newest(folder: Path) -> str | None:
    """Return the prefix of a folder's newest checkpoint: the one that its state file names, or else the one with the highest number."""
    state = folder / STATE
    if state.is_file():
        named = _NEWEST.search(state.read_text(encoding="utf-8", errors="replace"))
        if named:
            prefix = folder / Path(named["path"]).name  # the folder may have been moved since
            if paths.is_file(prefix.with_name(prefix.name + ".index")):
                return str(prefix)
    # without a state file, or with one that was copied without its checkpoint
    there = [str(path)[: -len(".index")] for path in folder.glob("*.index")]
    return max(there, key=lambda prefix: (_number(prefix), prefix), default=None)


def _number(prefix: str) -> int:
    last = prefix.rpartition("-")[2]
    return int(last) if last.isdigit() else -1


def _form(path: Path) -> str:
    """Say what a file is that is no checkpoint: by its first bytes where they are known, by its name otherwise."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start == b"\x89HDF\r\n\x1a\n":
        return _FOREIGN_SUFFIXES[".h5"]
    if path.name == "saved_model.pb":
        return _SAVED_MODEL
    if path.suffix in _FOREIGN_SUFFIXES:
        return _FOREIGN_SUFFIXES[path.suffix]
    if start[:2] == b"\x1f\x8b" or path.suffix == ".tar":
        return "an archive: unpack it first"
    # pickles, and the zip files that PyTorch has written since 1.6
    if start[:2] == b"\x80\x02" or start[:4] == b"PK\x03\x04":
        return _FOREIGN_SUFFIXES[".pth"]
    return "something else"


def check_object_based(prefix: str) -> list[str]:
    """Return the names of a checkpoint's entries.

    Raises:
      CheckpointError: it is name-based (TensorFlow 1), or its files are cut off or gone.
    """
    entries = names(prefix)
    if OBJECT_GRAPH not in entries:
        raise CheckpointError(
            f"{prefix} is a name-based checkpoint of TensorFlow 1 ({len(entries)} entries, such as {', '.join(entries[:2])}), "
            "which the Object Detection API on TensorFlow 2 cannot restore. Take one of the TF2 model zoo: --pretrained coco."
        )
    folder, name = Path(prefix).parent, Path(prefix).name
    if not any(folder.glob(f"{name}.data-*")):
        raise CheckpointError(f"{prefix}.index is there, but {name}.data-00000-of-00001 is missing. Copy both files.")
    return entries


def roots(entries: list[str]) -> set[str]:
    """Return the objects that a checkpoint was made of, such as "model" or "feature_extractor"."""
    return {name.partition("/")[0] for name in entries} - {OBJECT_GRAPH}


def names(prefix: str) -> list[str]:
    """Return the names of a checkpoint's entries, in order, from its index file.

    Raises:
      CheckpointError: the file cannot be read, or is no index.
    """
    path = Path(f"{prefix}.index")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        if len(content) < _FOOTER or struct.unpack("<Q", content[-8:])[0] != _MAGIC:
            raise ValueError
        at = len(content) - _FOOTER
        for _ in range(2):  # the handle of the meta block, which TensorFlow leaves empty
            _, at = _varint(content, at)
        # the index block has an entry for each data block, whose value is that block's handle
        entries = []
        for _, handle in _block(content, at):
            entries += [key.decode() for key, _ in _block(handle, 0, content)]
    except (ValueError, IndexError, struct.error) as error:
        raise CheckpointError(f"{path} is no index of a checkpoint, or it is cut off. Copy or download it again.") from error
    return [name for name in entries if name]  # the first entry, without a name, is the header


def _block(handle: bytes, at: int, content: bytes | None = None) -> list[tuple[bytes, bytes]]:
    """Return the (key, value) pairs of the block that a handle at ``at`` points to; a key is stored as what differs from the one before."""
    content = handle if content is None else content
    start, at = _varint(handle, at)
    size, _ = _varint(handle, at)
    block, trailer = content[start : start + size], content[start + size : start + size + _TRAILER]
    # a compressed block fails here, too: its first trailer byte is not 0
    if trailer[:1] != b"\0" or masked_crc(block + trailer[:1]) != struct.unpack("<I", trailer[1:])[0]:
        raise ValueError
    # a block ends in its restart points, each 4 bytes, and their number
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    pairs, key, at = [], b"", 0
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        pairs.append((key, block[at + own : at + own + length]))
        at += own + length
    return pairs


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return (a number of 7 bits a byte, the lowest first; the place behind it)."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
