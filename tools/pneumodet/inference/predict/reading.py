"""Radiographs decoded, and given to the model, in several threads.

    for one in read_ahead(inputs.radiographs, then=model.detect): ...      # in the order given; one.detections, or one.reason why there are none

Each thread takes one radiograph from its file to its detections: with one core each they are faster than one model that has all cores for itself.
Threads and not processes: reading, zlib, libjpeg and the models' runtimes run without Python's lock, and pixels need not be copied over.
"""

import collections
import concurrent.futures
import dataclasses
import logging
from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np

from pneumodet.core import processes
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.data import images
from pneumodet.dicom import reading
from pneumodet.inference import admission, dicom_reports
from pneumodet.inference.predict.inputs import Source
from pneumodet.inference.predict.naming import SAME, Identities, identity_of
from pneumodet.inference.predict.remote import Unreachable

MOST_THREADS = 8
"""Threads that decode, at the most; fewer where there are fewer processors."""

_WAITING = 2
"""Radiographs a thread that may lie decoded before they are taken: what bounds memory."""

Detect = Callable[[str, np.ndarray], Detections]
"""Takes an exam and its (H, W) uint8 pixels, and returns what is on it; called by several threads at a time."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Radiograph:
    """A radiograph that was read, or could not be.

    Attributes:
      exam: its id.
      source: where it is from.
      pixels: (H, W) uint8, dark air and bright bone; None where it cannot be read.
      header: its DICOM attributes without pixels, where they were asked for.
      detections: what ``then`` made of the pixels.
      reason: why there are no pixels, or no detections.
      notes: what was done or passed over where the pixels were made, phrases for counting.
      identity: what it has in common with the same exam in other files; see ``naming.identity_of``.
    """

    exam: str
    source: Source
    pixels: np.ndarray | None = None
    header: Any = None
    detections: Detections | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    identity: str = ""


def threads_of_machine() -> int:
    """Return how many threads ``read_ahead`` has by itself: one a processor, 2 at least."""
    return min(MOST_THREADS, max(2, processes.cpus()))


def read_ahead(
    radiographs: Iterable[tuple[str, Source]],
    *,
    headers: bool = False,
    then: Detect | None = None,
    identities: Identities | None = None,
    threads: int | None = None,
) -> Generator[Radiograph]:
    """Yield radiographs in the order given, decoding the next ones meanwhile.

    Args:
      radiographs: (exam, source); only so many are asked for as are decoded.
      headers: read the DICOM header, too; an image file is then refused.
      then: called with exam and pixels of each one that has pixels, in several threads at a time; a DataError becomes its ``reason``.
      identities: of the radiographs that have a result; the same ones are not decoded again.
      threads: by default ``threads_of_machine``.

    Raises:
      Unreachable: a server no longer answers, after all radiographs that it gave before; other errors are those of one radiograph, its ``reason``.
    """
    # a queue of futures and not executor.map, which would take every source at once
    threads = threads or threads_of_machine()
    waiting: collections.deque[concurrent.futures.Future[Radiograph]] = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="decode")
    away = None
    try:
        try:
            for exam, source in radiographs:
                waiting.append(pool.submit(_detected, exam, source, headers, then, identities or Identities()))
                if len(waiting) > threads * _WAITING:
                    yield waiting.popleft().result()
        except Unreachable as error:
            away = error
        while waiting:
            yield waiting.popleft().result()
        if away is not None:
            raise away
    finally:
        # not waited for: a caller that stops early does not use what is still being decoded
        pool.shutdown(wait=False, cancel_futures=True)


def _detected(exam: str, source: Source, headers: bool, then: Detect | None, identities: Identities) -> Radiograph:
    one = _read(exam, source, headers, identities)
    if then is None or one.pixels is None:
        return one
    try:
        return dataclasses.replace(one, detections=then(exam, one.pixels))
    except DataError as error:
        return dataclasses.replace(one, pixels=None, reason=str(error))


def _read(exam: str, source: Source, headers: bool, identities: Identities) -> Radiograph:
    try:
        data = reading.read_bytes(source)
        uid = None
        # by content: DICOM files often have no suffix, or a wrong one
        if not images.is_image_file(data, source):
            uid = admission.check(data, source, admission.PREDICT).sop_uid
        elif headers:
            raise DataError(f"{source} is an image file, for which no DICOM object can be made.")
        identity = identity_of(data, uid)
        first = identities.first_of(identity, exam)
        if first is not None:
            return Radiograph(exam, source, identity=identity, reason=SAME + first)
        image = images.image_of(data, source)
        header = dicom_reports.read_header(data, source) if headers else None
        return Radiograph(exam, source, image.pixels, header, notes=image.notes, identity=identity)
    except Unreachable:
        raise
    except DataError as error:
        # the reason is listed beside the file's name, and does not repeat it
        return Radiograph(exam, source, reason=str(error).replace(str(source), source.name).removeprefix(f"{source.name}: "))
    except Exception as error:  # one file must not stop the others, whatever a decoder makes of it
        _log.info("%s cannot be decoded", source.name, exc_info=True)
        return Radiograph(exam, source, reason=f"it cannot be decoded ({type(error).__name__}); it is damaged or unusual.")
