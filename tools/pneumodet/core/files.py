"""Appending that a full disk or a kill cannot spoil: what is torn is cut off before the next piece is written.

size = append(path, b"step,loss\\n", at=0)
size = append(path, b"10,0.7\\n", at=size)
"""

import os
from pathlib import Path


def append(path: Path, data: bytes, *, at: int) -> int:
    """Write ``data`` at byte ``at``, the end of what is whole; what stands behind it is cut off first. The file is created where there is none.

    The data is with the system when this returns, so that a kill of the process loses nothing.

    Returns:
      The new end, which is ``at`` of the next call; after an error the earlier ``at`` stays good.

    Raises:
      OSError: the disk is full, or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # no mode of open() does this: a writes at the end only, w empties the file, r+ makes none
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb", buffering=0) as file:
        at = min(at, file.seek(0, os.SEEK_END))  # somebody may have shortened it, and a gap would be filled with zeros
        file.truncate(at)
        file.seek(at)
        left = memoryview(data)
        # an unbuffered file may write less than it is given
        while left:
            left = left[file.write(left) :]
    return at + len(data)
