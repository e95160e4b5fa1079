"""An Orthanc on loopback with its DICOMweb plug-in, with a configuration and a folder of its own, that can be killed and started again.

orthanc = Orthanc(folder)
orthanc.start(); orthanc.kill(); orthanc.start()        # its files stay
orthanc.put(data)                                       # however often it takes
orthanc.reports_of(study)                               # SOPInstanceUIDs of structured reports
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pydicom
import requests

Result = TypeVar("Result")

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
"""Where Debian has it."""

USER, PASSWORD = "worker", "made-up-for-this-test"

PATIENCE_SECONDS = 300
"""Much more than is needed on a machine that has something else to do."""


def binary() -> str | None:
    """Return Orthanc's path, None where it or its plug-in is not installed."""
    result = shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    return result if PLUGIN.is_file() else None


def end_with_us() -> None:
    """Let the kernel end a child where its parent is killed (Linux: prctl(PR_SET_PDEATHSIG, SIGKILL))."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(what: Callable[[], Result], seconds: float = PATIENCE_SECONDS) -> Result:
    """Wait until ``what()`` is true, and return it; a connection that fails is no.

    Raises:
      TimeoutError: it was not.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException):
            if result := what():
                return result
        time.sleep(0.1)
    raise TimeoutError(f"waited {seconds} s in vain")


class Orthanc:
    """An Orthanc of our own.

    Attributes:
      url: of it.
      dicom: port of its DICOM service.
      session: for requests to it.
    """

    def __init__(self, folder: Path, *, worker_port: int | None = None) -> None:
        """Write its configuration into a new folder.

        Args:
          folder: is made.
          worker_port: of a DICOM service PNEUMODET that it can send to as "worker".
        """
        http, self.dicom = free_ports(2)
        self.folder = folder
        folder.mkdir()
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGIN)],
            "HttpPort": http,
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom,
            "DicomModalities": {"worker": ["PNEUMODET", "127.0.0.1", worker_port]} if worker_port else {},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.url = f"http://127.0.0.1:{http}"
        self.session = requests.Session()
        self.session.auth = USER, PASSWORD
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [binary() or "Orthanc", str(self.folder / "orthanc.json")]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, preexec_fn=end_with_us)
        wait_for(lambda: self.session.get(f"{self.url}/system", timeout=5).ok, seconds=60)

    def kill(self) -> None:
        """End it as the kernel does that has no memory left."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def put(self, data: bytes) -> None:
        """Store a file, however often it takes."""
        wait_for(lambda: self.session.post(f"{self.url}/instances", data=data, timeout=10).ok)

    def find(self, expand: bool = False, **query: str) -> list[Any]:
        """Return Orthanc's ids of the instances that have these attributes, or what it knows of each."""
        asked = {"Level": "Instance", "Expand": expand, "Query": query}
        answer = self.session.post(f"{self.url}/tools/find", json=asked, timeout=60)
        answer.raise_for_status()
        found: list[Any] = answer.json()
        return found

    def datasets(self, modality: str) -> Iterator[pydicom.Dataset]:
        """Yield the instances of a modality."""
        for one in self.find(Modality=modality):
            yield pydicom.dcmread(BytesIO(self.session.get(f"{self.url}/instances/{one}/file", timeout=60).content))

    def reports_of(self, study: str) -> dict[str, int]:
        """Return SOPInstanceUID of a study's structured reports -> 1: Orthanc keeps the same one once."""
        return {one["MainDicomTags"]["SOPInstanceUID"]: 1 for one in self.find(True, Modality="SR", StudyInstanceUID=study)}
