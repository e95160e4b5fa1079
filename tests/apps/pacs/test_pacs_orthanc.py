"""The worker against a real Orthanc with its DICOMweb plug-in, both killed in the middle: every exam ends with exactly one structured report.

Orthanc is started here on loopback, with a configuration and a folder of its own, and ended here. ``make test-pacs`` installs it.
"""

import collections
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from io import BytesIO

import benchmark_modules
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

servers = benchmark_modules.load("soak_orthanc")

end_with_us, free_ports = servers.end_with_us, servers.free_ports


def wait_for(what):
    """Wait until ``what()`` is true, and return it."""
    try:
        return servers.wait_for(what)
    except TimeoutError as error:
        return pytest.fail(str(error))


def orthanc_in(folder, **more):
    """Return an Orthanc that is not started yet, or skip."""
    if servers.binary() is None:
        pytest.skip("Orthanc or its DICOMweb plug-in is not installed (Debian: orthanc, orthanc-dicomweb; make test-pacs)")
    return servers.Orthanc(folder, **more)


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
        own = {"PNEUMODET_PACS_USER": servers.USER, "PNEUMODET_PACS_PASSWORD": servers.PASSWORD}
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
    server = orthanc_in(tmp_path / "orthanc")
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
    assert len(orthanc.find(Modality="CR")) == len(wanted)


@pytest.mark.slow
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
        before = len(orthanc.find(Modality="SR"))
        assert EXAMS // 2 <= before < EXAMS
        worker.start()
        counts = wait_for(lambda: (result := worker.metrics()["exams"])["stored"] == EXAMS and result)
        assert {state: count for state, count in counts.items() if count} == {"stored": EXAMS}
        assert_one_report_each(orthanc, wanted)
        assert worker.stop() == 0
    log = worker.log.read_text()
    assert f"exam {short(made[0][0])} stored" in log
    for secret in (servers.PASSWORD, "Mustermann", "SECRET-ID", "1.2.826", "2.25.", "Traceback"):
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
    (port,) = free_ports(1)
    orthanc = orthanc_in(tmp_path / "orthanc", worker_port=port)
    tiny_export.make(tmp_path / "model")
    made = list(exams(6))
    try:
        orthanc.start()
        for _, data, _ in made:
            orthanc.put(data)
        flags = ["--listen", f"PNEUMODET@127.0.0.1:{port}", "--caller", "ORTHANC", "--send", f"ORTHANC@127.0.0.1:{orthanc.dicom}"]
        with running(tmp_path, *flags) as worker:
            for _ in range(2):  # sent twice, reported once
                answer = orthanc.session.post(f"{orthanc.url}/modalities/worker/store", json=orthanc.find(Modality="CR"), timeout=60)
                assert answer.ok, answer.text
            wait_for(lambda: worker.metrics()["exams"]["stored"] == 6)
            assert worker.stop() == 0
        assert_one_report_each(orthanc, {uid: result for uid, _, result in made})
    finally:
        orthanc.stop()
