"""Speed of the exploration report on DICOM files against a notebook's loop over their headers, in turn in one run, on the same files.

    python benchmarks/explore.py --dicom-dir IMAGES --labels LABELS.csv --files 26684 --rounds 3

Files are replicated under new names to ``--files`` and read once so that they are in the page cache. Then

- ``explore``: ``tools/explore.py``, a process of its own: every header and the checksum of every file's pixels, figures, pictures, the page;
- ``loop``: ``pydicom.dcmread(path, stop_before_pixels=True)`` of each file and four values of each, its imports not counted; no figure, no page.

Printed are the medians of seconds and the median of the ratios of each round.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from convert import replicate

ROOT = Path(__file__).resolve().parents[1]


def explore(images: Path, labels: Path, output: Path) -> float:
    """Run the command; return seconds."""
    command = [sys.executable, ROOT / "tools" / "explore.py", "--dicom-dir", images, "--labels", labels, "--output-dir", output]
    start = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def loop(images: Path) -> float:
    """Read the headers as a notebook does; return seconds."""
    import pydicom

    start = time.perf_counter()
    rows = []
    for path in sorted(images.iterdir()):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        rows.append((header.get("PatientAge"), header.get("PatientSex"), header.get("ViewPosition"), header.get("PixelSpacing")))
    return time.perf_counter() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dicom-dir", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--files", type=int, default=26684)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        folder = Path(name)
        images, labels = replicate(args.dicom_dir, args.labels, folder / "in", args.files)
        for path in images.iterdir():
            path.read_bytes()
        ours, loops = [], []
        for _ in range(args.rounds):
            ours.append(explore(images, labels, folder / "out"))
            loops.append(loop(images))
            shutil.rmtree(folder / "out")
        ratio = statistics.median(other / own for own, other in zip(ours, loops, strict=True))
        print(f"{args.files} files, medians of {args.rounds} rounds, {os.cpu_count()} processors")
        print(f"  explore, the whole report  {statistics.median(ours):6.1f} s")
        print(f"  loop over the headers      {statistics.median(loops):6.1f} s, {ratio:.2f} times as long")


if __name__ == "__main__":
    main()
