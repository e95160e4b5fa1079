"""Images and their paths in two TFRecord files side by side, as Keras' example on pneumonia reads them: images.tfrec, paths.tfrec.

for number, path in enumerate(paths(folder)): ...        # gs://…/train/PNEUMONIA/person1_bacteria_1.jpeg
image(str(folder / IMAGES), mtime_ns, number)            # the JPEG file's bytes
"""

import functools
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pneumodet.core.errors import DataError

if TYPE_CHECKING:
    from pneumodet.data import random_access

IMAGES, PATHS = "images.tfrec", "paths.tfrec"
"""Record n of one file is the encoded image, and of the other its path, the last folder of which is the label."""


def is_such(names: Collection[str]) -> bool:
    """Whether the two files are among the names of a folder."""
    return IMAGES in names and PATHS in names


def paths(folder: Path) -> list[str]:
    """Return the path of each image.

    Raises:
      DataError: a file is damaged, a path is no text, or there are not as many images.
    """
    from pneumodet.data import tfrecord  # here, as below: it needs a package that predicting does without

    try:
        of_images = [record.decode() for record in tfrecord.read_records(folder / PATHS)]
    except UnicodeDecodeError as error:
        raise DataError(f"{folder / PATHS}: a record is not the path of an image ({error.reason}). Get the file again.") from error
    count = len(_reader(str(folder / IMAGES), (folder / IMAGES).stat().st_mtime_ns))
    if count != len(of_images):
        raise DataError(f"{folder} has {count} images and {len(of_images)} paths. Get both files again.")
    return of_images


def short(path: str) -> str:
    """Return the end of an image's path that says what it is: split, label and name."""
    return "/".join(path.split("/")[-3:])


def image(path: str, mtime_ns: int, number: int) -> bytes:
    """Return the bytes of an image; ``mtime_ns`` is the file's time of change.

    Raises:
      DataError: the file cannot be read, or the record is damaged.
    """
    return _reader(path, mtime_ns).read(number)


def sizes(path: str, mtime_ns: int) -> list[int]:
    """Return the bytes of each image; arguments and errors as ``image``."""
    reader = _reader(path, mtime_ns)
    return [reader.size(number) for number in range(len(reader))]


@functools.lru_cache(maxsize=8)
def _reader(path: str, mtime_ns: int) -> "random_access.Reader":
    from pneumodet.data import random_access

    return random_access.Reader([Path(path)])
