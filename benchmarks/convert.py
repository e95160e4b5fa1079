"""Conversion speed against the notebook recipe and against plain copying, in turn in one run, on the same files.

    python benchmarks/convert.py --dicom-dir IMAGES --labels LABELS.csv --files 5000 --rounds 3 --full 26684

Files are replicated under new names to ``--files``, read once so that they are in the page cache, and converted by

- ``pneumodet``: ``tools/make_tfrecords.py``, a process of its own, start-up included;
- ``jpeg recipe``: what most notebooks do: pydicom's pixel_array, Pillow's JPEG, tf.train.Example, tf.io.TFRecordWriter; on one file in five, its
  imports not counted;
- ``png recipe``: the same with three-channel PNG, on one file in a hundred;
- ``cp -r`` of the files, as the physical limit.

Printed are the medians of images/s, ratios, time to the first record, and the most memory that the process tree held (PSS).
"""

import argparse
import csv
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
JPEG_SHARE, PNG_SHARE = 5, 100
"""The recipes get one file in so many: they do the same for each, and their rate is what counts."""


def replicate(dicom_dir: Path, labels: Path, folder: Path, files: int) -> tuple[Path, Path]:
    """Copy the files round by round under new names until there are ``files``; return (folder of images, labels)."""
    with open(labels, newline="") as file:
        header, *rows = csv.reader(file)
    of_exam: dict[str, list[list[str]]] = {}
    for row in rows:
        of_exam.setdefault(row[0], []).append(row[1:])
    sources = sorted(path for path in dicom_dir.rglob("*.dcm") if path.stem in of_exam)
    target = folder / "images"
    target.mkdir(parents=True)
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for index in range(files):
            source = sources[index % len(sources)]
            name = f"{index:05d}-{source.stem}"
            shutil.copyfile(source, target / f"{name}.dcm")
            writer.writerows([name, *row] for row in of_exam[source.stem])
    return target, folder / "labels.csv"


class Watch:
    """The most memory that a process and its children hold together, in MiB of proportional set size."""

    def __init__(self, pid: int) -> None:
        self.peak, self._process, self._stop = 0.0, psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            total = 0
            try:
                for one in [self._process, *self._process.children(recursive=True)]:
                    total += one.memory_full_info().pss
            except psutil.Error:
                continue
            self.peak = max(self.peak, total / 2**20)

    def stop(self) -> float:
        self._stop.set()
        self._thread.join()
        return self.peak


def pneumodet(images: Path, labels: Path, output: Path, *more: str) -> dict[str, float]:
    """Run the command; return seconds, seconds to the first bytes of a shard, and MiB."""
    command = [
        sys.executable,
        ROOT / "tools" / "make_tfrecords.py",
        "--dicom-dir",
        images,
        "--labels",
        labels,
        "--output-dir",
        output,
        *more,
    ]
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watch, first = Watch(process.pid), None
    while process.poll() is None:
        partial = output.parent / f".{output.name}.partial" / "new"
        if first is None and partial.is_dir() and any(path.stat().st_size for path in list(partial.glob(".*.tmp")) if path.exists()):
            first = time.perf_counter() - start
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return {"seconds": seconds, "first record": first or seconds, "MiB": watch.stop()}


def recipe(files: list[Path], output: Path, image_format: str) -> float:
    """The notebook's way; return seconds."""
    import pydicom
    import tensorflow as tf
    from PIL import Image

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))

    start = time.perf_counter()
    with tf.io.TFRecordWriter(str(output)) as writer:
        for path in files:
            pixels = pydicom.dcmread(path).pixel_array
            if image_format == "png":
                pixels = np.stack([pixels] * 3, axis=-1)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, image_format)
            features = {
                "image/height": feature(pixels.shape[0]),
                "image/width": feature(pixels.shape[1]),
                "image/filename": feature(path.name.encode()),
                "image/source_id": feature(path.stem.encode()),
                "image/encoded": feature(buffer.getvalue()),
                "image/format": feature(image_format.encode()),
                **{f"image/object/bbox/{side}": feature([0.25]) for side in ("xmin", "xmax", "ymin", "ymax")},
                "image/object/class/text": feature(b"pneumonia"),
                "image/object/class/label": feature(2),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return time.perf_counter() - start


def copy(images: Path, output: Path) -> float:
    """``cp -r``; return seconds."""
    os.sync()  # so that nobody pays for what another one wrote
    start = time.perf_counter()
    subprocess.run(["cp", "-r", images, output], check=True)
    return time.perf_counter() - start


def median(values) -> float:
    return statistics.median(list(values))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dicom-dir", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", type=int, default=0, help="also convert so many files once a round, as many as the whole data set has")
    parser.add_argument("--small", type=int, default=500, help="files for the memory of a small set")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        folder = Path(name)
        images, labels = replicate(args.dicom_dir, args.labels, folder / "in", args.files)
        files = sorted(images.iterdir())
        small = replicate(args.dicom_dir, args.labels, folder / "small", args.small)
        rates: dict[str, list[float]] = {}
        runs: list[dict[str, float]] = []
        for number in range(args.rounds):
            for path in files:
                path.read_bytes()
            out = folder / f"out{number}"
            out.mkdir()
            runs.append(pneumodet(images, labels, out / "records"))
            rates.setdefault("pneumodet", []).append(len(files) / runs[-1]["seconds"])
            for name, share in (("jpeg", JPEG_SHARE), ("png", PNG_SHARE)):
                some = files[::share]
                rates.setdefault(f"{name} recipe", []).append(len(some) / recipe(some, out / f"{name}.tfrecord", name))
            rates.setdefault("cp -r", []).append(len(files) / copy(images, out / "copy"))
            shutil.rmtree(out)
        print(f"{len(files)} files, medians of {args.rounds} rounds, {os.cpu_count()} processors")
        for what, values in rates.items():
            ratio = median(ours / other for ours, other in zip(rates["pneumodet"], values, strict=True))
            print(f"  {what:12} {median(values):9.1f} images/s   pneumodet is {ratio:6.2f} times as fast")
        print(f"  to the first record  {median(run['first record'] for run in runs):6.2f} s")
        print(f"  memory               {median(run['MiB'] for run in runs):6.0f} MiB")
        print(f"  memory, {args.small} files    {pneumodet(*small, folder / 'small-out')['MiB']:6.0f} MiB")
        if args.full:
            shutil.rmtree(folder / "in")
            images, labels = replicate(args.dicom_dir, args.labels, folder / "in", args.full)
            done = []
            for _ in range(args.rounds):
                for path in images.iterdir():
                    path.read_bytes()
                done.append(pneumodet(images, labels, folder / "full"))
                shutil.rmtree(folder / "full")
            print(
                f"  {args.full} files: {median(run['seconds'] for run in done):.1f} s, first record after "
                f"{median(run['first record'] for run in done):.2f} s, {median(run['MiB'] for run in done):.0f} MiB"
            )


if __name__ == "__main__":
    main()
