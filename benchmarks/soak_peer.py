"""A DICOMweb service on loopback for soak.py, of the standard library and pydicom, which fails when it is told to.

peer = Peer()
peer.put(data)                 # a radiograph that the worker is to find
peer.start(); peer.kill()      # its files stay
peer.reports                   # StudyInstanceUID -> SOPInstanceUID of reports -> how often each was stored
"""

import collections
import json
import random
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom

ROOT = "/dicom-web/"

JSON, DICOM = "application/dicom+json", "application/dicom"

DRIP_SECONDS = 3.0
"""That an answer takes that drips."""


class Peer:
    """The service.

    Attributes:
      port: of it.
      bad: share of requests that it answers badly, in [0, 1].
      reports: StudyInstanceUID -> SOPInstanceUID of a structured report -> how often it was stored.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.port, self.bad = 0, 0.0
        self.reports: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self._files: dict[str, tuple[str, str, bytes]] = {}  # SOPInstanceUID -> study, modality, file
        self._radiographs: list[str] = []  # entries of lists, as JSON
        self._of_study: dict[str, list[str]] = collections.defaultdict(list)
        self._lock, self._chance = threading.Lock(), random.Random(seed)
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Of the service."""
        return f"http://127.0.0.1:{self.port}"

    def put(self, data: bytes) -> None:
        """Take an object."""
        header = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
        uid, study, modality = str(header.SOPInstanceUID), str(header.StudyInstanceUID), str(header.Modality)
        with self._lock:
            if modality == "SR":
                self.reports[study][uid] += 1
            if uid in self._files:
                return
            self._files[uid] = study, modality, data
            self._of_study[study].append(uid)
            if modality == "CR":
                self._radiographs.append(_entry(header))

    def reports_of(self, study: str) -> dict[str, int]:
        """Return SOPInstanceUID of a study's structured reports -> how often it was stored."""
        return dict(self.reports.get(study, {}))

    def start(self) -> None:
        """Serve, on the same port as before."""
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                try:
                    peer._answer(self)
                except OSError:  # the worker was killed, or has enough
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def kill(self) -> None:
        """Serve no longer."""
        if self._server is not None:
            self._server.shutdown()
            socketserver.TCPServer.server_close(self._server)
            self._server = None

    def _answer(self, request: Any) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if self._server is None:
            request.close_connection = True  # a connection that outlives the service
            return
        with self._lock:
            bad = self._chance.choice(("500", "cut", "drip", "html")) if self._chance.random() < self.bad else ""
        if bad == "500":
            _send(request, 500, b"Disk full")
            return
        if bad == "drip":
            for letter in b"HTTP/1.1 200 OK\r\nX-Long: ":
                request.wfile.write(bytes([letter]))
                time.sleep(DRIP_SECONDS / 25)
            request.close_connection = True
            return
        status, contents, kind = self._contents(request, body)
        if bad == "html":
            status, contents, kind = 200, b"<html>maintenance</html>", "text/html"
        _send(request, status, contents, kind, cut=bad == "cut")

    def _contents(self, request: Any, body: bytes) -> tuple[int, bytes, str]:
        place = urlsplit(request.path)
        parts = place.path.removeprefix(ROOT).split("/")
        query = {key: values[-1] for key, values in parse_qs(place.query).items()}
        if request.command == "POST":
            boundary = request.headers["Content-Type"].rpartition("boundary=")[2].encode()
            objects = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in body.split(b"--" + boundary)[1:-1]]
            for one in objects:
                self.put(one)
            return 200, json.dumps({"00081199": {"vr": "SQ", "Value": [{}] * len(objects)}}).encode(), JSON
        with self._lock:
            if parts == ["studies"]:
                return 200, b"[]", JSON
            if parts == ["instances"]:
                first = int(query.get("offset", 0))
                entries = self._radiographs[first : first + int(query.get("limit", 100))] if query.get("Modality") == "CR" else []
                return 200, f"[{','.join(entries)}]".encode(), JSON
            if parts[-1] == "instances":
                wanted = [uid for uid in self._of_study[parts[1]] if uid == query.get("00080018", uid)]
                return 200, json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in wanted]).encode(), JSON
            if parts[-1] in self._files:
                contents = b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + self._files[parts[-1]][2] + b"\r\n--cut--\r\n"
                return 200, contents, f'multipart/related; type="{DICOM}"; boundary=cut'
        return 404, b"", "text/plain"


def _entry(header: Any) -> str:
    wanted = ("SOPClassUID", "SOPInstanceUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID", "BodyPartExamined", "ViewPosition")
    part = pydicom.Dataset()
    for keyword in wanted:
        setattr(part, keyword, header.get(keyword))
    text: str = part.to_json()
    return text


def _send(request: Any, status: int, body: bytes, kind: str = "text/plain", *, cut: bool = False) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[: len(body) // 2] if cut else body)
    if cut:
        request.close_connection = True
