"""A DICOMweb server on loopback, of the standard library: QIDO-RS for studies and instances, WADO-RS for instances; and its faults."""

import contextlib
import dataclasses
import http.server
import json
import ssl
import threading
from urllib.parse import parse_qs, urlsplit

import pydicom

BOUNDARY = "b0undary"


@dataclasses.dataclass
class Pacs:
    """What the server has and does; tests change it while it runs.

    Attributes:
      objects: (study, series, instance) -> (DICOM file, attributes that searches tell).
      page: entries that it sends at the most.
      answers: path -> (status, headers, body) instead of its own.
      busy: requests that are answered with 503 first.
      wanted: header Authorization without which it answers 401.
      seen: (path, query, headers) of all requests.
    """

    objects: dict = dataclasses.field(default_factory=dict)
    page: int = 1000
    answers: dict = dataclasses.field(default_factory=dict)
    busy: int = 0
    wanted: str = ""
    seen: list = dataclasses.field(default_factory=list)
    url: str = ""

    def add(self, path, *, study=None):
        """Add a DICOM file; return its instance's UID."""
        header = pydicom.dcmread(path, stop_before_pixels=True)
        study = study or str(header.StudyInstanceUID)
        tags = {"00080016": header.SOPClassUID, "00080018": header.SOPInstanceUID, "0020000E": header.SeriesInstanceUID}
        attributes = {tag: {"vr": "UI", "Value": [str(uid)]} for tag, uid in tags.items()}
        attributes["00100020"] = {"vr": "LO", "Value": [str(header.PatientID)]}
        self.objects[study, str(header.SeriesInstanceUID), str(header.SOPInstanceUID)] = (path.read_bytes(), attributes)
        return str(header.SOPInstanceUID)

    def answer(self, path, query):
        parts = path.removeprefix("/dicom-web/").split("/")
        if parts == ["studies"]:
            studies = dict.fromkeys(study for study, _, _ in self.objects)
            return self.listed([{"0020000D": {"vr": "UI", "Value": [study]}} for study in studies], query)
        if parts[-1] == "instances" and len(parts) in (3, 5):
            wanted = parts[1::2]
            found = [about for key, (_, about) in self.objects.items() if list(key[: len(wanted)]) == wanted]
            return self.listed(found, query)
        if len(parts) == 6 and (data := self.objects.get(tuple(parts[1::2]))):
            body = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + data[0] + f"\r\n--{BOUNDARY}--\r\n".encode()
            return 200, {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}, body
        return 404, {}, b""

    def listed(self, entries, query):
        start, limit = int(query.get("offset", ["0"])[0]), min(int(query.get("limit", ["1000"])[0]), self.page)
        some = entries[start : start + limit]
        return (200, {"Content-Type": "application/dicom+json"}, json.dumps(some).encode()) if some else (204, {}, b"")


@contextlib.contextmanager
def serving(certificate=None):
    """Yield a Pacs that listens on loopback; with TLS where a file with certificate and key is given."""
    pacs = Pacs()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):  # noqa: N802 - as the library calls it
            parts = urlsplit(self.path)
            pacs.seen.append((parts.path, parts.query, dict(self.headers)))
            if pacs.busy:
                pacs.busy -= 1
                status, headers, body = 503, {}, b""
            elif pacs.wanted and self.headers.get("Authorization") != pacs.wanted:
                status, headers, body = 401, {"WWW-Authenticate": "Basic"}, b""
            else:
                status, headers, body = pacs.answers.get(parts.path) or pacs.answer(parts.path, parse_qs(parts.query))
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    pacs.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/dicom-web"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield pacs
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
