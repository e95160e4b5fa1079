"""Radiographs decoded in other threads while one is in the model.

    for one in read_ahead(inputs.radiographs): ...      # in the order given; one.pixels, or one.reason why there are none

Threads and not processes: reading, zlib, libjpeg and the models' runtimes run without Python's lock, and pixels need not be copied over.
"""

import collections
import concurrent.futures
import dataclasses
import io
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pneumodet import parallel
from pneumodet.data import dicom, image_files, images
from pneumodet.errors import DataError
from pneumodet.prediction.dicomweb import Unreachable
from pneumodet.prediction.inputs import Source

MOST_THREADS = 8
"""Threads that decode, at the most; fewer where there are fewer processors."""

_WAITING = 2
"""Radiographs a thread that may lie decoded before they are taken: what bounds memory."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Radiograph:
    """A radiograph that was read, or could not be.

    Attributes:
      exam: its id.
      source: where it is from.
      pixels: (H, W) uint8, dark air and bright bone; None where it cannot be read.
      header: its DICOM attributes without pixels, where they were asked for.
      reason: why there are no pixels.
    """

    exam: str
    source: Source
    pixels: np.ndarray | None = None
    header: Any = None
    reason: str = ""


def read_ahead(radiographs: Iterable[tuple[str, Source]], *, headers: bool = False, threads: int | None = None) -> Iterator[Radiograph]:
    """Yield radiographs in the order given, decoding the next ones meanwhile.

    Args:
      radiographs: (exam, source); only so many are asked for as are decoded.
      headers: read the DICOM header, too; a PNG or JPEG file is then refused.
      threads: that decode; one a processor by default, 2 at least.

    Raises:
      Unreachable: a server no longer answers; all other faults are those of one radiograph, and become its ``reason``.
    """
    threads = threads or min(MOST_THREADS, max(2, parallel.cpus()))
    waiting: collections.deque[concurrent.futures.Future[Radiograph]] = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for exam, source in radiographs:
            waiting.append(pool.submit(_read, exam, source, headers))
            if len(waiting) > threads * _WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _read(exam: str, source: Source, headers: bool) -> Radiograph:
    try:
        data = dicom.read_bytes(source)
        if headers and image_files.is_image_file(data):
            raise DataError(f"{source} is a PNG or JPEG file, for which no DICOM object can be made.")
        pixels = images.pixels_of(data, source)
        return Radiograph(exam, source, pixels, _header(data, source) if headers else None)
    except Unreachable:
        raise
    except DataError as error:
        return Radiograph(exam, source, reason=str(error).replace(str(source), source.name).removeprefix(f"{source.name}: "))
    except Exception as error:  # one file must not stop the others, whatever a decoder makes of it
        _log.info("%s cannot be decoded", source.name, exc_info=True)
        return Radiograph(exam, source, reason=f"it cannot be decoded ({type(error).__name__}); it is damaged or unusual.")


def _header(data: bytes, source: Source) -> Any:
    import pydicom  # 0.2 s that only DICOM objects need

    try:
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    except Exception as error:
        raise DataError(f"{source}: its header cannot be read ({type(error).__name__}). Get the file again.") from None
