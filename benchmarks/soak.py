"""The PACS worker under everything that goes wrong, for a bounded time: is an exam lost, is a report doubled, does memory grow?

    python benchmarks/soak.py --minutes 60
    python benchmarks/soak.py --minutes 60 --orthanc --model EXPORT --per-second 0.3 --poll-seconds 10 --calm-seconds 40

A modality sends half of the radiographs by C-STORE (pynetdicom), again until each is acknowledged, and some once more after that; the other half comes to a
DICOMweb service on loopback (soak_peer.py), where the worker looks for them and stores its reports. Meanwhile, at random moments (``--seed``):

- the worker is killed (SIGKILL) and started again, but not in the last third, in which its memory is measured; the service goes away and comes back;
- the service answers with 500, cuts answers off, lets them drip, or answers with HTML;
- the worker's disk is full; its clock is set back or ahead by up to ten years; its journal is lost, while it is down;
- callers connect to its DICOM port and say nothing, half a request, or a letter now and then.

Then all that ends, and the worker has ``--drain-seconds`` to finish. Printed are the counts, as a Markdown table: exams in (acknowledged by C-STORE, or in the
service), reports out, doubled (exams with two reports), stored twice (the same report a second time, which adds nothing), still in the queue, and lost. The
exit code is 1 where one is lost or doubled.

With ``--orthanc`` the service is an Orthanc with its DICOMweb plug-in (Debian: orthanc, orthanc-dicomweb), started here on loopback and, where the service
is to go away, killed; it gives no bad answers.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import ComputedRadiographyImageStorage

from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.journal import Journal
from pneumodet.data import synthetic
from pneumodet.dicom.net import access

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

import soak_orthanc  # noqa: E402
import soak_peer  # noqa: E402

BAD_CALLERS = 24
"""At a time."""

TEN_YEARS = 10 * 365 * 86400.0

IDLE_SECONDS = 8
"""Without work after which the worker is done, and some queries for what is new."""

BAD_SHARE = 0.03
"""Of answers of the service."""


def radiograph(chance: np.random.Generator, side: int = 64) -> tuple[str, str, FileDataset]:
    """Return (StudyInstanceUID, SOPInstanceUID, file) of a new radiograph, with a bright square."""
    pixels = np.full((side, side), 30, np.uint8)
    pixels[side // 4 : side // 2, side // 4 : side // 2] = 240
    buffer = BytesIO()
    synthetic.write_dicom(buffer, pixels, patient_id="made up", rng=chance)
    one = pydicom.dcmread(BytesIO(buffer.getvalue()))
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    return str(one.StudyInstanceUID), str(one.SOPInstanceUID), one


def encoded(one: FileDataset) -> bytes:
    """Return a file's bytes."""
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, one, enforce_file_format=True)
    return buffer.getvalue()


@dataclasses.dataclass
class Counts:
    """What was done."""

    worker_kills: int = 0
    lost_journals: int = 0
    outages: int = 0
    full_disks: int = 0
    clock_jumps: int = 0
    bad_callers: int = 0
    sent_again: int = 0
    megabytes: list[float] = dataclasses.field(default_factory=list)
    threads: list[int] = dataclasses.field(default_factory=list)


class WorkerProcess:
    """soak_worker.py, started again whenever it ends."""

    def __init__(self, folder: Path, archive: str, *, model: Path | None, poll_seconds: float, answer_seconds: float) -> None:
        self.folder, self.state, self.control = folder, folder / "state", folder / "control"
        self.control.mkdir()
        self.port, self.health = soak_orthanc.free_ports(2)
        self._command = [sys.executable, str(FOLDER / "soak_worker.py"), "--state", str(self.state), "--port", str(self.port)]
        self._command += ["--archive", archive, "--control", str(self.control), "--health", str(self.health)]
        self._command += ["--poll-seconds", str(poll_seconds), "--answer-seconds", str(answer_seconds)]
        self._command += ["--model", str(model)] if model else []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def keep(self) -> None:
        """Start it where it does not run."""
        if self.pid is None:
            with open(self.folder / "worker.log", "ab") as log:
                own = {f"{access.PREFIX}USER": soak_orthanc.USER, f"{access.PREFIX}PASSWORD": soak_orthanc.PASSWORD}
                self._process = subprocess.Popen(
                    self._command, stdout=log, stderr=log, env=os.environ | own, preexec_fn=soak_orthanc.end_with_us
                )

    def kill(self) -> None:
        """End it as the kernel does that has no memory left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def facts(self) -> dict[str, Any] | None:
        """Return what its health page says, None where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/healthz", timeout=5) as answer:
                facts: dict[str, Any] = json.load(answer)
                return facts
        except (OSError, ValueError):
            return None


class Modality:
    """Sends radiographs, again until each is acknowledged.

    Attributes:
      acknowledged: StudyInstanceUID -> SOPInstanceUID.
    """

    def __init__(self, port: int, counts: Counts, chance: random.Random) -> None:
        self.acknowledged: dict[str, str] = {}
        self._port, self._counts, self._chance = port, counts, chance
        self._images = np.random.default_rng(chance.getrandbits(64))

    def send(self, until: Callable[[], bool], per_second: float) -> None:
        """Send until ``until``; what was begun is sent until it is acknowledged."""
        waiting: list[tuple[str, FileDataset]] = []
        while waiting or not until():
            if not until():
                study, _, one = radiograph(self._images)
                waiting.append((study, one))
            waiting = [(study, one) for study, one in waiting[:20] if not self._sent(study, one)] + waiting[20:]
            time.sleep(1 / per_second)

    def _sent(self, study: str, one: FileDataset) -> bool:
        import pynetdicom

        entity = pynetdicom.AE(ae_title="MODALITY")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 5
        entity.add_requested_context(one.SOPClassUID, one.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", self._port, ae_title="PNEUMODET")
        if not association.is_established:
            return False
        try:
            for attempt in range(2 if self._chance.random() < 0.1 else 1):
                self._counts.sent_again += attempt
                if association.send_c_store(one).get("Status") == 0:
                    self.acknowledged[study] = str(one.SOPInstanceUID)
        except (RuntimeError, ValueError):  # the worker was killed between the two
            pass
        finally:
            if association.is_established:
                association.release()
        return study in self.acknowledged


def bother(port: int, counts: Counts, chance: random.Random, until: Callable[[], bool]) -> None:
    """Be many callers that say nothing, half a request, or a letter now and then."""
    begun = b"\x01\x00\x00\x00\x00\xd0\x00\x01" + bytes(60)
    callers: list[tuple[socket.socket, list[int]]] = []
    while not until():
        while len(callers) < BAD_CALLERS:
            try:
                one = socket.create_connection(("127.0.0.1", port), timeout=2, source_address=(f"127.0.0.{chance.randint(2, 5)}", 0))
                one.sendall(begun[: chance.choice((0, 1, 6, 40))])
            except OSError:
                break
            counts.bad_callers += 1
            callers.append((one, list(begun)))
        for caller in list(callers):
            try:
                if chance.random() < 0.3:
                    caller[0].sendall(bytes([caller[1].pop(0)] if caller[1] else [0]))
                caller[0].setblocking(False)
                if caller[0].recv(1) == b"":
                    raise ConnectionError
            except BlockingIOError:
                caller[0].setblocking(True)
            except OSError:
                caller[0].close()
                callers.remove(caller)
        time.sleep(0.2)
    for one, _ in callers:
        one.close()


def _measure(worker: WorkerProcess, counts: Counts) -> None:
    """Note memory and threads of the worker; Linux only."""
    with contextlib.suppress(OSError, ValueError, KeyError):  # it has just ended
        status = dict(line.split(":", 1) for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines() if ":" in line)
        counts.megabytes.append(int(status["VmRSS"].split()[0]) / 1024)
        counts.threads.append(int(status["Threads"]))


@dataclasses.dataclass
class Schedule:
    """When what happens, in s of ``time.monotonic``.

    Attributes:
      kills_end: the worker is killed no more.
      end: of everything.
      calm: between two of the things, at most.
    """

    kills_end: float
    end: float
    calm: float

    def over(self) -> bool:
        """Whether it is all over."""
        return time.monotonic() >= self.end

    def things(self) -> list[str]:
        """Return what may happen now."""
        kills = [] if time.monotonic() >= self.kills_end else ["kill", "kill", "kill", "journal"]
        return [*kills, "full", "clock", "clock", "outage"]


def disturb(worker: WorkerProcess, service: Any, counts: Counts, chance: random.Random, schedule: Schedule) -> None:
    """Do one of the things that go wrong every few seconds; the worker is started again whenever it is not there."""
    full, clock, until = worker.control / "full", worker.control / "clock", schedule.over
    while not until():
        worker.keep()
        while worker.facts() is None and not until():  # a slow machine would have it killed before it begins
            time.sleep(0.2)
            worker.keep()
        end = time.monotonic() + chance.uniform(schedule.calm / 6, schedule.calm)
        while time.monotonic() < end and not until():
            time.sleep(0.5)
            worker.keep()
            if time.monotonic() >= schedule.kills_end:
                _measure(worker, counts)
        thing = chance.choice(schedule.things())
        if thing == "kill" or thing == "journal":
            worker.kill()
            counts.worker_kills += 1
            if thing == "journal":
                counts.lost_journals += 1
                for path in worker.state.glob("journal.sqlite*"):
                    path.unlink()
        elif thing == "full":
            counts.full_disks += 1
            full.touch()
            time.sleep(chance.uniform(1, 4))
            full.unlink()
        elif thing == "clock":
            counts.clock_jumps += 1
            clock.write_text(str(chance.choice((0.0, 1.0)) and chance.uniform(-TEN_YEARS, TEN_YEARS)))
        else:
            counts.outages += 1
            service.kill()
            time.sleep(chance.uniform(1, 6))
            service.start()


def drained(worker: WorkerProcess, seconds: float, *, idle_seconds: float) -> dict[str, Any]:
    """Wait until there has been no work for a while, and return what the health page says then."""
    end, facts, idle = time.monotonic() + seconds, None, 0
    while time.monotonic() < end and idle < idle_seconds:
        worker.keep()
        facts = worker.facts() or facts
        idle = idle + 1 if facts is not None and facts.get("queue") == 0 else 0
        time.sleep(1)
    return facts or {}


def _queued(worker: WorkerProcess) -> set[str]:
    """Return the SOPInstanceUIDs of the exams that the worker, which has ended, would work on."""
    with contextlib.closing(Journal(worker.state / "journal.sqlite")) as book:
        return {exam.sop_uid for state in journals.OPEN for exam in book.of_state(state)}


def table(counts: Counts, rows: dict[str, Any]) -> str:
    """Return the table."""
    done = {
        "worker killed": counts.worker_kills,
        "of these, with its journal lost": counts.lost_journals,
        "service away": counts.outages,
        "disk full": counts.full_disks,
        "clock set": counts.clock_jumps,
        "silent and slow callers": counts.bad_callers,
        "sent again after an acknowledgement": counts.sent_again,
    }
    return "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in (done | rows).items())])


def _quarters(values: list[float]) -> str:
    if len(values) < 8:
        return "-"
    part = len(values) // 4
    return f"{statistics.median(values[:part]):.0f} / {statistics.median(values[-part:]):.0f} / {max(values):.0f}"


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="soak-") as made:
        yield Path(made)


def soak(args: argparse.Namespace, folder: Path) -> int:
    """Run for the time that was asked for; return the exit code."""
    counts, chance = Counts(), random.Random(args.seed)
    service: Any = soak_orthanc.Orthanc(folder / "orthanc") if args.orthanc else soak_peer.Peer(seed=args.seed)
    service.start()
    service.bad = BAD_SHARE
    times = {"poll_seconds": args.poll_seconds, "answer_seconds": args.answer_seconds}
    worker = WorkerProcess(folder, f"{service.url}/dicom-web", model=args.model, **times)
    modality = Modality(worker.port, counts, random.Random(args.seed + 1))
    started = time.monotonic()
    schedule = Schedule(started + 40 * args.minutes, started + 60 * args.minutes, args.calm_seconds)
    over, kept, images = schedule.over, dict[str, str](), np.random.default_rng(args.seed)

    def fill() -> None:
        while not over():
            study, sop, one = radiograph(images)
            service.put(encoded(one))
            kept[study] = sop
            time.sleep(1 / args.per_second)

    bad = random.Random(args.seed + 2)
    work: list[Callable[[], object]] = [fill, lambda: modality.send(over, args.per_second), lambda: bother(worker.port, counts, bad, over)]
    threads = [threading.Thread(target=one, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    try:
        disturb(worker, service, counts, chance, schedule)
        service.bad = 0.0
        (worker.control / "clock").unlink(missing_ok=True)
        worker.keep()
        for thread in threads:
            thread.join(args.drain_seconds)
        facts = drained(worker, args.drain_seconds, idle_seconds=IDLE_SECONDS + 2 * args.poll_seconds)
        worker.kill()  # before reports are counted, of which it may be making some
        reports = {study: service.reports_of(study) for study in kept | modality.acknowledged}
    finally:
        worker.kill()
        service.kill()
    uids, queued = kept | modality.acknowledged, _queued(worker)
    without = [uids[study] for study, one in reports.items() if not one]
    lost, doubled = sum(uid not in queued for uid in without), sum(len(one) > 1 for one in reports.values())
    rows = {
        "minutes": f"{(time.monotonic() - started) / 60:.1f}",
        "exams in, by C-STORE": len(modality.acknowledged),
        "exams in, by DICOMweb": len(kept),
        "reports out": sum(map(len, reports.values())),
        "doubled": doubled,
        "stored twice": sum(sum(one.values()) - len(one) for one in reports.values()),
        "without a report yet, in the queue": len(without) - lost,
        "lost": lost,
        "left in the journal": json.dumps({state: count for state, count in facts.get("exams", {}).items() if count}),
        "memory of the worker in the last third, MB (first quarter / last / most)": _quarters(counts.megabytes),
        "threads of the worker in the last third (first quarter / last / most)": _quarters([float(one) for one in counts.threads]),
    }
    print(table(counts, rows))
    return 1 if lost or doubled else 0


def main() -> int:
    """Parse the arguments, and soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of disturbances (default %(default)s)")
    parser.add_argument("--drain-seconds", type=float, default=300.0, help="for what is left after them (default %(default)s)")
    parser.add_argument("--per-second", type=float, default=1.0, help="radiographs, each way (default %(default)s)")
    parser.add_argument("--poll-seconds", type=float, default=1.0, help="between two queries of the worker (default %(default)s)")
    parser.add_argument("--answer-seconds", type=float, default=4.0, help="that an answer may take the service (default %(default)s)")
    parser.add_argument("--calm-seconds", type=float, default=12.0, help="between two disturbances, at most (default %(default)s)")
    parser.add_argument("--orthanc", action="store_true", help="instead of the service made here")
    parser.add_argument("--model", type=Path, help="folder made by tools/export.py (default: an analyst that makes small reports)")
    parser.add_argument("--out", type=Path, help="new folder for state and log (default: a temporary one)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.orthanc and soak_orthanc.binary() is None:
        parser.error("Orthanc or its DICOMweb plug-in is not installed (Debian: orthanc, orthanc-dicomweb)")
    with _folder(args.out) as folder:
        return soak(args, folder)


if __name__ == "__main__":
    raise SystemExit(main())
