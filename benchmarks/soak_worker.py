"""The PACS worker that soak.py starts, kills, and gives a full disk and a wrong clock. Everything but the two is what tools/pacs_worker.py runs.

    python benchmarks/soak_worker.py --state FOLDER --port 11112 --archive URL --control FOLDER --health 8105 [--model EXPORT]

``full`` in the control folder makes the disk full; ``clock`` holds seconds by which the clock is wrong. Without ``--model``, an analyst stands in that makes a
small report of each radiograph, so that an hour has many exams.
"""

import argparse
import contextlib
import hashlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset

from pneumodet.apps.pacs import dimse, health, receiver, watch, worker
from pneumodet.apps.pacs.journal import Journal
from pneumodet.apps.pacs.spool import Folder
from pneumodet.core.errors import EnvironmentProblem
from pneumodet.core.signals import caught
from pneumodet.dicom.net import access, dicomweb, transport
from pneumodet.inference import admission
from pneumodet.inference.dicom_reports import Report

FULL, CLOCK = "full", "clock"

SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"


class Analyst:
    """Makes a small report of each radiograph; see ``interfaces.Analyst``."""

    kinds: Sequence[str] = ("sr",)
    name = "soak 1"

    def reports(self, data: bytes, sop_uid: str) -> list[Report]:
        """Return the report of a radiograph, the same every time."""
        source = pydicom.dcmread(BytesIO(data))
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        report = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        report.SOPClassUID, report.Modality, report.StudyInstanceUID = SR_CLASS, "SR", source.StudyInstanceUID
        report.SOPInstanceUID = f"2.25.{int(hashlib.sha256(sop_uid.encode()).hexdigest()[:30], 16)}"
        report.SeriesInstanceUID = report.SOPInstanceUID + ".1"
        item = pydicom.Dataset()
        item.ReferencedSOPInstanceUID = sop_uid
        report.ReferencedImageSequence = [item]
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SR_CLASS, report.SOPInstanceUID
        buffer = BytesIO()
        pydicom.dcmwrite(buffer, report, enforce_file_format=True)
        return [self.reopened("sr", buffer.getvalue())]

    def reopened(self, kind: str, data: bytes) -> Report:
        """Return a report that was written to a file."""
        header = pydicom.dcmread(BytesIO(data))
        return Report(kind, header.SOPInstanceUID, header.StudyInstanceUID, data)


class Faults:
    """What is wrong with this machine at the moment."""

    def __init__(self, control: Path) -> None:
        self._control = control

    def clock(self) -> float:
        """Return s since 1970, as a wrong clock has it."""
        try:
            return time.time() + float((self._control / CLOCK).read_text())
        except (OSError, ValueError):
            return time.time()

    def check_disk(self) -> None:
        """Raise where the disk is full."""
        if (self._control / FULL).exists():
            raise EnvironmentProblem("No space left on device")


def _with_full_disk(folder: Folder, faults: Faults) -> None:
    write = folder.write

    def checked(*args: Any) -> None:
        faults.check_disk()
        write(*args)

    folder.write = checked  # type: ignore[method-assign]


def main() -> int:
    """Work until stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--archive", required=True, help="URL of a DICOMweb service")
    parser.add_argument("--control", type=Path, required=True)
    parser.add_argument("--health", type=int, required=True)
    parser.add_argument("--poll-seconds", type=float, default=1.0)
    parser.add_argument("--answer-seconds", type=float, default=4.0)
    parser.add_argument("--model", type=Path)
    args = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    faults, ours, profile = Faults(args.control), access.read(os.environ), admission.WORKER
    seconds = args.answer_seconds
    limits = transport.Limits(object_bytes=8 << 20, connect_seconds=seconds / 2, read_seconds=seconds / 2, request_seconds=seconds)
    pacs = dicomweb.DicomwebClient(args.archive, ours, limits=limits)
    analyst: Any = Analyst()
    if args.model is not None:
        from pneumodet.apps.pacs.analysis import ModelAnalyst

        analyst = ModelAnalyst(args.model, profile=profile, score_threshold=0.5)
    with contextlib.ExitStack() as stack:
        stop, report = stack.enter_context(caught()), health.Health()
        folder = stack.enter_context(Folder(args.state).held())
        _with_full_disk(folder, faults)
        journal = stack.enter_context(contextlib.closing(Journal(folder.journal)))
        stack.enter_context(health.serving(report, journal, "127.0.0.1", args.health, clock=faults.clock))
        settings = watch.Settings(profile, None, poll_seconds=args.poll_seconds)
        loop = worker.Worker(journal, folder, analyst, pacs, source=pacs, settings=settings, health=report, clock=faults.clock)
        own = dimse.Peer("PNEUMODET", "127.0.0.1", args.port)
        more: dict[str, Any] = {"max_bytes": 8 << 20, "profile": profile, "turned_away": report.turned_away, "clock": faults.clock}
        stack.enter_context(receiver.receiving(own, journal, folder, ours, **more))
        try:
            loop.run(stop)
        except EnvironmentProblem as error:
            # as the command does; whoever runs it starts it again
            print(error, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
