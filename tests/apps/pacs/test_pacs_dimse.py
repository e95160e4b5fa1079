"""C-STORE in and out, with pynetdicom and, where it is installed, DCMTK at the other end."""

import contextlib
import shutil
import socket
import subprocess
from io import BytesIO

import pydicom
import pytest
from certificates import certificate
from dicom_sender import free_port, send
from fake_pacs import radiograph

from pneumodet.apps.pacs import dimse, receiver
from pneumodet.apps.pacs import journal as journals
from pneumodet.apps.pacs.spool import SOURCE
from pneumodet.core.errors import ConfigError, EnvironmentProblem
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.errors import Trouble
from pneumodet.inference import admission

pynetdicom = pytest.importorskip("pynetdicom")

LIMIT = 1 << 20


@pytest.fixture
def own(book):
    peer = dimse.Peer("PNEUMODET", "127.0.0.1", free_port())
    with receiver.receiving(peer, book, book.folder, Access(), max_bytes=LIMIT, callers=("MODALITY",), profile=admission.WORKER):
        yield peer


def test_a_radiograph_is_safe_before_it_is_acknowledged(own, book):
    data = radiograph()
    assert send(own, data) == dimse.SUCCESS
    exam = book.due(now=10**11)
    assert exam.state == journals.FETCHED
    kept, sent = (pydicom.dcmread(BytesIO(one)) for one in (book.folder.read(exam.sop_uid, SOURCE), data))
    assert kept == sent


def test_sent_again_is_acknowledged_and_not_taken_again(own, book):
    send(own, radiograph())
    book.move(book.due(now=10**11).sop_uid, journals.STORED, now=0.0)
    assert send(own, radiograph()) == dimse.SUCCESS
    assert book.counts()[journals.STORED] == 1
    assert book.due(now=10**11) is None


def test_sending_again_revives_the_dead(own, book):
    send(own, radiograph())
    uid = book.due(now=10**11).sop_uid
    book.begin(uid, next_try=1.0, now=0.0)
    book.move(uid, journals.DEAD, now=0.0)
    book.folder.remove(uid, [SOURCE])
    assert send(own, radiograph()) == dimse.SUCCESS
    assert (book.get(uid).state, book.get(uid).attempts) == (journals.FETCHED, 0)
    assert book.folder.read(uid, SOURCE) is not None


def end_as(book, state, reason=""):
    exam = book.due(now=10**11)
    book.move(exam.sop_uid, state, reason=reason, now=0.0)
    book.folder.remove(exam.sop_uid, [SOURCE])
    return exam.sop_uid


def test_a_bad_object_does_not_stand_for_a_good_one_of_its_uid(own, book):
    """Cut off, forged or of another body part: it is refused, and the radiograph that comes later is predicted."""
    for number, bad in enumerate(({"PixelData": b"\0\0"}, {"BodyPartExamined": "KNEE"}, {"PatientName": "forged"})):
        assert send(own, radiograph(number, **bad)) == dimse.SUCCESS
        uid = end_as(book, journals.REFUSED, "why")
        assert send(own, radiograph(number, **bad)) == dimse.SUCCESS, "the same again is answered as before"
        assert book.due(now=10**11) is None
        assert send(own, radiograph(number)) == dimse.SUCCESS
        exam = book.due(now=10**11)
        assert (exam.sop_uid, exam.state, exam.reason, exam.attempts) == (uid, journals.FETCHED, "", 0)
        assert pydicom.dcmread(BytesIO(book.folder.read(uid, SOURCE))).PatientName == "Mustermann^Erika"
        book.move(uid, journals.STORED, now=0.0)


@pytest.mark.parametrize("state", [journals.FETCHED, journals.PREDICTED, journals.STORED])
def test_other_contents_are_never_acknowledged_where_they_are_not_taken(own, book, state):
    assert send(own, radiograph()) == dimse.SUCCESS
    uid = book.due(now=10**11).sop_uid
    book.move(uid, state, now=0.0)
    assert send(own, radiograph(PatientName="other")) == receiver.DUPLICATE
    assert (book.get(uid).state, send(own, radiograph())) == (state, dimse.SUCCESS)


def test_refused_ones_are_taken_again_when_a_person_says_so(own, book):
    """Their files were not kept, so that they have to be sent again."""
    assert send(own, radiograph(BodyPartExamined="RIB CAGE")) == dimse.SUCCESS
    uid = end_as(book, journals.REFUSED, "it is not of the chest: BodyPartExamined is 'RIB CAGE'")
    assert book.retry_refused("KNEE", now=1.0) == (0, 0)
    assert book.retry_refused("RIB CAGE", now=1.0) == (0, 1)
    assert book.get(uid).state == journals.REFUSED
    assert send(own, radiograph(BodyPartExamined="RIB CAGE")) == dimse.SUCCESS
    assert book.get(uid).state == journals.FETCHED


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"title": "STRANGER"}, id="caller"),
        pytest.param({"called": "OTHER"}, id="called"),
    ],
)
def test_strangers_are_turned_away(own, book, more):
    assert send(own, radiograph(), **more) is None
    assert book.counts()[journals.FETCHED] == 0


def test_other_classes_are_not_negotiated(own):
    assert send(own, radiograph(SOPClassUID="1.2.840.10008.5.1.4.1.1.2")) is None


def test_too_large_ends_the_association(own, book):
    assert send(own, radiograph(side=1050)) == receiver.CANNOT_UNDERSTAND
    assert send(own, radiograph(side=2000)) is None
    assert book.counts()[journals.FETCHED] == 0
    assert send(own, radiograph()) == dimse.SUCCESS


def test_a_length_of_4_gb_is_not_waited_for(own):
    """A P-DATA-TF before any association, with a length that pynetdicom would read."""
    with socket.create_connection((own.host, own.port), timeout=10) as connection:
        connection.sendall(b"\x04\0\xff\xff\xff\xff" + b"x" * 1000)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(4096):
                pass
    assert send(own, radiograph()) == dimse.SUCCESS


def test_a_full_disk_is_told_to_the_sender(own, book, monkeypatch):
    def full(*args):
        raise EnvironmentProblem("the disk is full")

    monkeypatch.setattr(book.folder, "write", full)
    assert send(own, radiograph()) == receiver.OUT_OF_RESOURCES
    assert book.counts()[journals.FETCHED] == 0


def test_a_port_in_use_is_told(own, book):
    with (
        pytest.raises(ConfigError, match="Cannot listen"),
        receiver.receiving(own, book, book.folder, Access(), max_bytes=LIMIT, profile=admission.WORKER),
    ):
        pass


def test_dcmtk_sends(own, book, tmp_path):
    if shutil.which("storescu") is None:
        pytest.skip("DCMTK is not installed")
    (tmp_path / "one.dcm").write_bytes(radiograph(SOPInstanceUID="1.2.3.4"))
    command = ["storescu", "-aet", "MODALITY", "-aec", own.title, own.host, str(own.port), str(tmp_path / "one.dcm")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert book.get("1.2.3.4").state == journals.FETCHED


class Storage:
    """An archive by pynetdicom, which answers with ``status``."""

    def __init__(self):
        self.status, self.taken, self.peer = 0, [], dimse.Peer("ARCHIVE", "127.0.0.1", free_port())

    @contextlib.contextmanager
    def running(self, context=None):
        entity = pynetdicom.AE(ae_title="ARCHIVE")
        entity.add_supported_context("1.2.840.10008.1.1")
        entity.add_supported_context(admission.CR_IMAGE)
        entity.require_calling_aet = ["WORKER"]

        def store(event):
            self.taken.append(event.dataset.SOPInstanceUID)
            return self.status

        address = (self.peer.host, self.peer.port)
        server = entity.start_server(address, block=False, evt_handlers=[(pynetdicom.evt.EVT_C_STORE, store)], ssl_context=context)
        try:
            yield self
        finally:
            server.shutdown()


def test_reports_are_sent():
    storage = Storage()
    archive = dimse.Archive(storage.peer, Access(), own_title="WORKER")
    with storage.running():
        archive.probe()
        archive.store("1", [radiograph(1), radiograph(2)])
        assert len(set(storage.taken)) == 2
        storage.status = 0xB000
        archive.store("1", [radiograph(3)])
        storage.status = 0xA700
        with pytest.raises(Trouble, match="did not take a report .status A700H"):
            archive.store("1", [radiograph(4)])
        with pytest.raises(Trouble, match="cannot be sent a report|cannot be reached"):
            archive.store("1", [radiograph(5, SOPClassUID="1.2.840.10008.5.1.4.1.1.2")])
        with pytest.raises(Trouble, match="does not know this worker's title"):
            dimse.Archive(storage.peer, Access(), own_title="STRANGER").probe()
    with pytest.raises(Trouble, match="cannot be reached"):
        archive.probe()


def test_tls_both_ways(tmp_path, book):
    pem, key = certificate(tmp_path, "worker")
    other_pem, other_key = certificate(tmp_path, "stranger")
    access = Access(ca=pem, certificate=pem, key=key, dicom_tls=True)
    stranger = Access(ca=pem, certificate=other_pem, key=other_key, dicom_tls=True)
    peer = dimse.Peer("PNEUMODET", "127.0.0.1", free_port())
    with receiver.receiving(peer, book, book.folder, access, max_bytes=LIMIT, profile=admission.WORKER):
        assert send(peer, radiograph(), tls=(access.client_context(), peer.host)) == dimse.SUCCESS
        assert send(peer, radiograph(), tls=(stranger.client_context(), peer.host)) is None
        assert send(peer, radiograph()) is None
    storage = Storage()
    with storage.running(access.server_context()):
        dimse.Archive(storage.peer, access, own_title="WORKER").probe()
        with pytest.raises(Trouble):
            dimse.Archive(storage.peer, Access(), own_title="WORKER").probe()
        with pytest.raises(Trouble):  # its certificate is not trusted
            dimse.Archive(storage.peer, Access(ca=other_pem, dicom_tls=True), own_title="WORKER").probe()


@pytest.mark.parametrize(
    "text", ["", "ORTHANC", "ORTHANC@host", "ORTHANC@host:0", "ORTHANC@host:99999", "@host:1", "SEVENTEEN_LETTERS@host:1", "A\\B@host:1"]
)
def test_peers_that_are_none(text):
    with pytest.raises(ConfigError, match="must look like TITLE@HOST:PORT"):
        dimse.peer(text)


def test_peers():
    assert dimse.peer("MY AE@10.0.0.1:104") == dimse.Peer("MY AE", "10.0.0.1", 104)
    assert dimse.peer("A@[::1]:104") == dimse.Peer("A", "::1", 104)
