"""The worker against a real Orthanc with its DICOMweb plug-in, both killed in the middle: every exam ends with exactly one structured report.

Orthanc is started here on loopback, with a configuration and a folder of its own, and ended here. ``make test-pacs`` installs it.
"""

import collections
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fake_pacs import SR_CLASS, radiograph

from pneumodet.core import paths
from pneumodet.data import synthetic
from pneumodet.dicom.net.errors import short

requests = pytest.importorskip("requests")
pytest.importorskip("highdicom", reason="needs highdicom, which writes the reports")
tiny_export = pytest.importorskip("tiny_export", reason="needs onnx, which writes the model")

EXAMS = 200

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Where Debian has it."""

USER, PASSWORD = "worker", "made-up-for-this-test"

PATIENCE_SECONDS = 300
"""Much more than is needed on a machine that has something else to do."""


def binary():
    """Return Orthanc's path, or skip."""
    result = shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if result is None or not PLUGIN.is_file():
        pytest.skip("Orthanc or its DICOMweb plug-in is not installed (Debian: orthanc, orthanc-dicomweb; make test-pacs)")
    return result


def end_with_us():
    """Let the kernel end a child where the tests are killed themselves (Linux: prctl(PR_SET_PDEATHSIG, SIGKILL))."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_ports(count):
    """Return ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(what, seconds=PATIENCE_SECONDS):
    """Wait until ``what()`` is true, and return it; faults of the connection are no."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException):
            if result := what():
                return result
        time.sleep(0.1)
    pytest.fail(f"waited {seconds} s in vain")
    return None


class Orthanc:
    """An Orthanc of our own."""

    def __init__(self, folder, worker_port):
        self.http, self.dicom = free_ports(2)
        self.folder = folder
        folder.mkdir()
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": self.http,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom,
            "DicomModalities": {"worker": ["PNEUMODET", "127.0.0.1", worker_port]},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.url = f"http://127.0.0.1:{self.http}"
        self.session = requests.Session()
        self.session.auth = USER, PASSWORD
        self.process = None

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [binary(), str(self.folder / "orthanc.json")], stdout=log, stderr=log, cwd=self.folder, preexec_fn=end_with_us
            )
        wait_for(lambda: self.session.get(f"{self.url}/system", timeout=5).ok)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def put(self, data):
        """Store a file, however often it takes."""
        wait_for(lambda: self.session.post(f"{self.url}/instances", data=data, timeout=10).ok)

    def ids(self, modality):
        """Return Orthanc's ids of the instances of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality}}
        answer = self.session.post(f"{self.url}/tools/find", json=query, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def datasets(self, modality):
        """Return the instances of a modality."""
        for one in self.ids(modality):
            yield pydicom.dcmread(BytesIO(self.session.get(f"{self.url}/instances/{one}/file", timeout=60).content))


class WorkerProcess:
    """The command, as it is typed."""

    def __init__(self, folder, *flags):
        self.folder, self.flags = folder, flags
        self.health = free_ports(1)[0]
        self.log = folder / "worker.log"
        self.process = None

    def start(self):
        command = [sys.executable, paths.PROJECT_ROOT / "tools" / "pacs_worker.py", "--model", self.folder / "model"]
        command += ["--state", self.folder / "state", "--poll-seconds", "0.5", "--health", f"127.0.0.1:{self.health}", "--threads", "1"]
        own = {"PNEUMODET_PACS_USER": USER, "PNEUMODET_PACS_PASSWORD": PASSWORD}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*map(str, command), *self.flags], stdout=log, stderr=log, env=os.environ | own, preexec_fn=end_with_us
            )
        wait_for(lambda: self.metrics()["status"] in ("ok", "pacs away", "callers turned away") or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def metrics(self):
        return requests.get(f"http://127.0.0.1:{self.health}/healthz", timeout=5).json()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def orthanc(tmp_path):
    binary()
    server = Orthanc(tmp_path / "orthanc", free_ports(1)[0])
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def running(folder, *flags):
    worker = WorkerProcess(folder, *flags)
    try:
        worker.start()
        yield worker
    finally:
        if worker.process is not None and worker.process.poll() is None:
            worker.kill()


def exams(count):
    """Yield (SOPInstanceUID, file, whether the model finds something) of synthetic radiographs, some of them with a bright square."""
    drawn = [synthetic.draw_radiograph(np.random.default_rng(seed), positive=False, size=64)[0] // 4 for seed in range(4)]
    for number in range(count):
        pixels = drawn[number % len(drawn)].copy()
        if number % 2:
            pixels[16:32, 8:24] = 255
        data = radiograph(number, pixels=pixels)
        yield str(pydicom.dcmread(BytesIO(data)).SOPInstanceUID), data, bool(number % 2)


def sources_of(report):
    """Return the SOPInstanceUIDs that a report or presentation state refers to as its images."""
    evidence = report.get("CurrentRequestedProcedureEvidenceSequence") or [report]
    series = [one for item in evidence for one in item.ReferencedSeriesSequence]
    return [one.ReferencedSOPInstanceUID for item in series for one in item.get("ReferencedSOPSequence") or item.ReferencedImageSequence]


def assert_one_report_each(orthanc, wanted):
    reports = list(orthanc.datasets("SR"))
    counts = collections.Counter(uid for report in reports for uid in sources_of(report))
    assert counts == dict.fromkeys(wanted, 1)
    assert {report.SOPClassUID for report in reports} == {SR_CLASS}
    states = collections.Counter(uid for state in orthanc.datasets("PR") for uid in sources_of(state))
    assert states == {uid: 1 for uid, result in wanted.items() if result}
    assert len(orthanc.ids("CR")) == len(wanted)


def test_200_exams_with_both_sides_killed_in_the_middle(orthanc, tmp_path):
    tiny_export.make(tmp_path / "model")
    made = list(exams(EXAMS))
    wanted = {uid: result for uid, _, result in made}
    for _, data, _ in made[: EXAMS // 2]:
        orthanc.put(data)
    with running(tmp_path, "--dicomweb", f"{orthanc.url}/dicom-web", "--all-days") as worker:
        wait_for(lambda: worker.metrics()["exams"]["stored"] >= EXAMS // 8)
        orthanc.kill()
        assert len(orthanc_files(orthanc)) < 2 * EXAMS  # in the middle indeed
        wait_for(lambda: worker.metrics()["pacs_away_since"])
        orthanc.start()
        for _, data, _ in made[EXAMS // 2 :]:
            orthanc.put(data)
        wait_for(lambda: worker.metrics()["exams"]["stored"] >= EXAMS // 2)
        worker.kill()
        before = len(orthanc.ids("SR"))
        assert EXAMS // 2 <= before < EXAMS
        worker.start()
        counts = wait_for(lambda: (result := worker.metrics()["exams"])["stored"] == EXAMS and result)
        assert {state: count for state, count in counts.items() if count} == {"stored": EXAMS}
        assert_one_report_each(orthanc, wanted)
        assert worker.stop() == 0
    log = worker.log.read_text()
    assert f"exam {short(made[0][0])} stored" in log
    for secret in (PASSWORD, "Mustermann", "SECRET-ID", "1.2.826", "2.25.", "Traceback"):
        assert secret not in log


def orthanc_files(orthanc):
    """Return the files of instances in Orthanc's folder, which can be counted while it is dead."""
    return [path for path in (orthanc.folder / "storage").rglob("*") if path.is_file() and len(path.name) == 36]


def test_a_new_state_folder_makes_no_second_report(orthanc, tmp_path):
    tiny_export.make(tmp_path / "model")
    made = list(exams(4))
    for _, data, _ in made:
        orthanc.put(data)
    for _ in range(2):
        with running(tmp_path, "--dicomweb", f"{orthanc.url}/dicom-web", "--all-days") as worker:
            wait_for(lambda worker=worker: worker.metrics()["exams"]["stored"] == 4)
            assert worker.stop() == 0
        shutil.rmtree(tmp_path / "state")
    assert_one_report_each(orthanc, {uid: result for uid, _, result in made})


def test_c_store_in_and_out(tmp_path):
    pytest.importorskip("pynetdicom")
    binary()
    (port,) = free_ports(1)
    orthanc = Orthanc(tmp_path / "orthanc", port)
    tiny_export.make(tmp_path / "model")
    made = list(exams(6))
    try:
        orthanc.start()
        for _, data, _ in made:
            orthanc.put(data)
        flags = ["--listen", f"PNEUMODET@127.0.0.1:{port}", "--caller", "ORTHANC", "--send", f"ORTHANC@127.0.0.1:{orthanc.dicom}"]
        with running(tmp_path, *flags) as worker:
            for _ in range(2):  # sent twice, reported once
                answer = orthanc.session.post(f"{orthanc.url}/modalities/worker/store", json=orthanc.ids("CR"), timeout=60)
                assert answer.ok, answer.text
            wait_for(lambda: worker.metrics()["exams"]["stored"] == 6)
            assert worker.stop() == 0
        assert_one_report_each(orthanc, {uid: result for uid, _, result in made})
    finally:
        orthanc.stop()
