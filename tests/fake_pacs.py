"""A DICOMweb service on loopback, of the standard library and pydicom only, whose answers a test can spoil; and DICOM files to put into it."""

import contextlib
import functools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"


def radiograph(number=1, *, side=64, bright=True, pixels=None, **elements):
    """Return a CR file of a chest; ``elements`` replace its attributes, and None removes one. Without pixels it is dark, with a bright square."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    study, series, sop = (f"1.2.826.0.1.3680043.10.999.{kind}.{number}" for kind in (1, 2, 3))
    if pixels is None:
        pixels = np.full((side, side), 30, np.uint8)
        if bright:
            pixels[side // 4 : side // 2, side // 4 : side // 2] = 240
    values = {
        "SpecificCharacterSet": "ISO_IR 100",
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": sop,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "StudyID": "1",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "Modality": "CR",
        "Manufacturer": "made up",
        "PatientName": "Mustermann^Erika",
        "PatientID": "SECRET-ID",
        "PatientBirthDate": "19640812",
        "PatientSex": "F",
        "PatientOrientation": "",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "PixelSpacing": [0.2, 0.2],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", ComputedRadiographyImageStorage)
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", sop)
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@functools.lru_cache(maxsize=2048)
def header_of(data):
    """Return a DICOM file's data set without pixels, not to be changed."""
    return pydicom.dcmread(BytesIO(data), stop_before_pixels=True)


@functools.lru_cache(maxsize=2048)
def json_of(data):
    """Return the same as text of the DICOM JSON model."""
    return header_of(data).to_json()


def place_of(data):
    """Return a DICOM file's (StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID)."""
    header = header_of(data)
    return str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID)


class FakePacs:
    """The service, and what it does wrong: tests change that while it runs.

    Attributes:
      url: of it.
      files: SOPInstanceUID -> DICOM file.
      posted: SOPInstanceUIDs of what was stored.
      requests: "METHOD path" of every request.
      seen: (path, query, headers) of every request.
      headers: of the last request.
      spoilers: functions of the request's handler, which return True where they have answered it.
      answers: path -> (status, headers, body) instead of its own.
      attributes: SOPInstanceUID -> attributes that lists show instead of the file's; None leaves one out.
      page: entries that it sends at the most.
      most_limit: 400 to a greater limit.
      knows_offset: whether it heeds offset.
      busy: requests that are answered with 503 first.
      wanted: header Authorization without which it answers 401.
      more: headers of every answer.
    """

    def __init__(self):
        self.files, self.requests, self.headers, self.spoilers, self.posted = {}, [], {}, [], []
        self.seen, self.answers, self.attributes, self.more = [], {}, {}, {}
        self.page, self.most_limit, self.knows_offset, self.busy, self.wanted = 10**6, 10**6, True, 0, ""
        self._lock = threading.Lock()

    def put(self, data):
        """Add a DICOM file; return its SOPInstanceUID."""
        uid = place_of(data)[2]
        self.files[uid] = data
        return uid

    def path_of(self, uid):
        """Return the path of an instance."""
        study, series, _ = place_of(self.files[uid])
        return f"/dicom-web/studies/{study}/series/{series}/instances/{uid}"

    def of_modality(self, modality):
        """Return the data sets of a modality."""
        return [one for one in map(pydicom.dcmread, map(BytesIO, self.files.values())) if one.get("Modality") == modality]

    @contextlib.contextmanager
    def running(self, port=0, *, tls=None):
        """Serve while the block runs, by TLS where a context is given."""
        pacs = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two writes

            def do_GET(self):
                with contextlib.suppress(ConnectionError):  # a client that has enough
                    pacs._handle(self)

            do_POST = do_GET

            def end_headers(self):
                for name, value in pacs.more.items():
                    self.send_header(name, value)
                super().end_headers()

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *args: None  # handshakes that fail
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}/dicom-web"
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def _handle(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        with self._lock:
            place = urlsplit(request.path)
            self.requests.append(f"{request.command} {request.path}")
            self.headers = dict(request.headers)
            self.seen.append((place.path, place.query, self.headers))
            if any(spoiler(request) for spoiler in self.spoilers):
                return
            parts = place.path.removeprefix("/dicom-web/").split("/")
            query = {key: values[-1] for key, values in parse_qs(place.query).items()}
            if self.busy:
                self.busy -= 1
                answer(request, 503, b"")
            elif self.wanted and self.headers.get("Authorization") != self.wanted:
                answer(request, 401, b"", WWW_Authenticate="Basic")
            elif place.path in self.answers:
                status, headers, contents = self.answers[place.path]
                answer(request, status, contents, **{name.replace("-", "_"): value for name, value in headers.items()})
            elif request.command == "POST":
                self._store(request, body)
            elif parts[-1] in ("instances", "studies"):
                self._list(request, parts, query)
            elif parts[-2] == "instances" and parts[-1] in self.files:
                contents = b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + self.files[parts[-1]] + b"\r\n--cut--\r\n"
                answer(request, 200, contents, 'multipart/related; type="application/dicom"; boundary=cut')
            else:
                answer(request, 404, b"")

    def _list(self, request, parts, query):
        limit = int(query.get("limit", 10**6))
        if limit > self.most_limit:
            answer(request, 400, f"limit must be at most {self.most_limit}".encode())
            return
        wanted = [data for _, data in sorted(self.files.items()) if self._fits(data, parts[1::2], query)]
        if parts == ["studies"]:
            wanted = list({place_of(data)[0]: data for data in wanted}.values())
        first = int(query.get("offset", 0)) if self.knows_offset else 0
        items = [self._entry(data) for data in wanted[first : first + min(limit, self.page)]]
        if not items:
            answer(request, 204, b"")
        else:
            answer(request, 200, json.dumps(items).encode(), "application/dicom+json")

    def _fits(self, data, uids, query):
        header = header_of(data)
        return (
            list(place_of(data)[: len(uids)]) == uids
            and header.Modality == query.get("Modality", header.Modality)
            and (header.StudyDate or "99999999") >= query.get("StudyDate", "").rstrip("-")
            and query.get("00080018", header.SOPInstanceUID) == header.SOPInstanceUID
        )

    def _entry(self, data):
        entry = json.loads(json_of(data)) | self.attributes.get(place_of(data)[2], {})
        return {tag: value for tag, value in entry.items() if value is not None}

    def _store(self, request, body):
        boundary = request.headers["Content-Type"].rpartition("boundary=")[2].encode()
        objects = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in body.split(b"--" + boundary)[1:-1]]
        uids = [self.put(data) for data in objects]
        self.posted += uids
        items = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in uids]
        answer(request, 200, json.dumps({"00081199": {"vr": "SQ", "Value": items}}).encode(), "application/dicom+json")


def answer(request, status, body, kind="text/plain", **headers):
    """Answer a request."""
    request.send_response(status)
    for name, value in ({"Content_Type": kind, "Content_Length": str(len(body))} | headers).items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    if status != 204:
        request.wfile.write(body)
    return True
