"""What it costs that untrusted images are checked before they are decoded, and decoded with limits: in turn with the same code without either.

    python benchmarks/limits.py --dicom-dir IMAGES --files 200 --rounds 5

Each file is read from memory: ``copied`` into a record as make_tfrecords does where it can, ``decoded`` as predict, the page and the worker do, and ``decoded
again`` after its pixels were compressed by JPEG 2000 (lossless), which is decoded in another process. Printed are medians over rounds of the
processor's milliseconds an image (of other processes, the clock's), with and without, and the cost.
"""

import argparse
import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from pneumodet.core import guarded  # noqa: E402
from pneumodet.data import dicom_images, images  # noqa: E402
from pneumodet.data.encoding import Options  # noqa: E402
from pneumodet.dicom import costs, jpeg  # noqa: E402

J2K_SHARE = 10
"""One file in so many is compressed by JPEG 2000, which takes a second each."""


@contextlib.contextmanager
def without() -> Iterator[None]:
    """Decode everything here and at once."""
    with (
        mock.patch.object(guarded, "HAS_LIMITS", False),
        mock.patch.object(costs, "refuse_scans", lambda count: None),
        mock.patch.object(costs, "refuse_codestream", lambda *_, **__: None),
        mock.patch.object(jpeg.Jpeg, "is_plain", True),
    ):
        yield


def compressed(data: bytes) -> bytes:
    """Return a DICOM file with its pixels compressed by JPEG 2000."""
    import pydicom
    from pydicom.uid import JPEG2000Lossless

    dataset = pydicom.dcmread(io.BytesIO(data))
    pixels: np.ndarray = dataset.pixel_array
    dataset.compress(JPEG2000Lossless, pixels, generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def measured(work: Callable[[bytes], object], files: list[bytes], rounds: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Return the median milliseconds an image (with, without); files take turns, so that what slows the machine down slows both."""
    of_rounds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        seconds = [0.0, 0.0]
        for index, data in enumerate(files):
            for which in (0, 1) if (index + number) % 2 else (1, 0):
                with without() if which else contextlib.nullcontext():
                    start = clock()
                    work(data)
                    seconds[which] += clock() - start
        for each, of_round in zip(of_rounds, seconds, strict=True):
            each.append(1000 * of_round / len(files))
    return statistics.median(of_rounds[0]), statistics.median(of_rounds[1])


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--dicom-dir", type=Path, required=True)
    made.add_argument("--files", type=int, default=200)
    made.add_argument("--rounds", type=int, default=5)
    return made


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    args = parser().parse_args(argv)
    files = [path.read_bytes() for path in sorted(args.dicom_dir.rglob("*.dcm"))[: args.files]]
    options = Options()
    works: list[tuple[str, Callable[[bytes], object], list[bytes], Callable[[], float]]] = [
        ("copied", lambda data: dicom_images.encode_bytes(data, "a", options), files, time.process_time),
        ("decoded", lambda data: images.image_of(data, "a"), files, time.process_time),
        ("decoded again", lambda data: images.image_of(data, "a"), [compressed(data) for data in files[::J2K_SHARE]], time.perf_counter),
    ]
    for name, work, each, clock in works:
        work(each[0])  # imports, and the other process
        ours, bare = measured(work, each, args.rounds, clock)
        print(f"{name:15}{len(each):6} files  with {ours:8.3f} ms  without {bare:8.3f} ms  {100 * (ours / bare - 1):+6.1f} %")


if __name__ == "__main__":
    main()
