"""A DICOMweb service on loopback, of the standard library and pydicom only, whose answers a test can spoil; and DICOM files to put into it."""

import contextlib
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


class FakePacs:
    """The service.

    Attributes:
      url: of it.
      files: SOPInstanceUID -> DICOM file.
      requests: "METHOD path" of every request.
      headers: of the last request.
      spoilers: functions of the request's handler, which return True where they have answered it.
    """

    def __init__(self):
        self.files, self.requests, self.headers, self.spoilers, self.posted = {}, [], {}, [], []
        self._lock = threading.Lock()

    def put(self, data):
        """Add a DICOM file; return its SOPInstanceUID."""
        uid = str(pydicom.dcmread(BytesIO(data), stop_before_pixels=True).SOPInstanceUID)
        self.files[uid] = data
        return uid

    def of_modality(self, modality):
        """Return the data sets of a modality."""
        return [one for one in map(pydicom.dcmread, map(BytesIO, self.files.values())) if one.get("Modality") == modality]

    @contextlib.contextmanager
    def running(self, port=0, *, tls=None):
        """Serve while the block runs, by TLS where a context is given."""
        pacs = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                pacs._handle(self)

            do_POST = do_GET

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
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
            self.requests.append(f"{request.command} {request.path}")
            self.headers = dict(request.headers)
            if any(spoiler(request) for spoiler in self.spoilers):
                return
            place = urlsplit(request.path)
            parts = place.path.removeprefix("/dicom-web/").split("/")
            query = {key: values[-1] for key, values in parse_qs(place.query).items()}
            if request.command == "POST":
                self._store(request, body, parts)
            elif parts[-1] == "instances" or parts == ["studies"]:
                self._list(request, parts, query)
            elif parts[-2] == "instances" and parts[-1] in self.files:
                body = b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + self.files[parts[-1]] + b"\r\n--cut--\r\n"
                answer(request, 200, body, 'multipart/related; type="application/dicom"; boundary=cut')
            else:
                answer(request, 404, b"")

    def _list(self, request, parts, query):
        found = [pydicom.dcmread(BytesIO(data), stop_before_pixels=True) for _, data in sorted(self.files.items())]
        if parts[0] == "studies" and len(parts) == 3:
            found = [one for one in found if one.StudyInstanceUID == parts[1]]
        if "Modality" in query:
            found = [one for one in found if one.Modality == query["Modality"]]
        if "StudyDate" in query:
            found = [one for one in found if one.StudyDate >= query["StudyDate"].rstrip("-")]
        if "00080018" in query:
            found = [one for one in found if one.SOPInstanceUID == query["00080018"]]
        first = int(query.get("offset", 0))
        items = [json.loads(one.to_json()) for one in found[first : first + int(query.get("limit", 10**6))]]
        if not items:
            answer(request, 204, b"")
        else:
            answer(request, 200, json.dumps(items).encode(), "application/dicom+json")

    def _store(self, request, body, parts):
        boundary = request.headers["Content-Type"].rpartition("boundary=")[2].encode()
        objects = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in body.split(b"--" + boundary)[1:-1]]
        uids = [self.put(data) for data in objects]
        self.posted += uids
        items = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in uids]
        answer(request, 200, json.dumps({"00081199": {"vr": "SQ", "Value": items}}).encode(), "application/dicom+json")


def answer(request, status, body, kind="text/plain", **headers):
    """Answer a request."""
    request.send_response(status)
    request.send_header("Content-Type", kind)
    for name, value in ({"Content_Length": str(len(body))} | headers).items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    if status != 204:
        request.wfile.write(body)
    return True
