"""Silent, slow and many callers: nobody is shut out by them, and the health page says so."""

import contextlib
import socket
import threading

import pytest
from certificates import certificate
from dicom_sender import echo, free_port, send
from fake_pacs import radiograph

from pneumodet.apps.pacs import callers as calling
from pneumodet.apps.pacs import dimse, receiver
from pneumodet.apps.pacs.callers import CallerLimits, Callers
from pneumodet.apps.pacs.health import Health
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.errors import Trouble
from pneumodet.inference import admission

pynetdicom = pytest.importorskip("pynetdicom")

PATIENCE_SECONDS = 20.0


@pytest.fixture
def listen(book):
    """Return a function that starts a receiver and returns (peer, health)."""
    with contextlib.ExitStack() as stack:

        def listen(access=None, **limits):
            peer, health = dimse.Peer("PNEUMODET", "127.0.0.1", free_port()), Health()
            more = {"max_bytes": 1 << 20, "profile": admission.WORKER, "limits": CallerLimits(**limits)}
            stack.enter_context(receiver.receiving(peer, book, book.folder, access or Access(), turned_away=health.turned_away, **more))
            return peer, health

        yield listen


@pytest.fixture
def connect():
    """Return a function that opens a connection, which is closed after the test."""
    with contextlib.ExitStack() as stack:

        def connect(peer, said=b"", source="127.0.0.1"):
            one = socket.create_connection((peer.host, peer.port), timeout=PATIENCE_SECONDS, source_address=(source, 0))
            stack.callback(one.close)
            one.sendall(said)
            return one

        yield connect


def ends(connection):
    """Return whether the other end closes a connection, which is waited for."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(4096):
            pass
    return True


def threads():
    return sum(one.name.startswith(("DICOM caller", "Acceptor", "Thread-")) for one in threading.enumerate())


def test_a_silent_connection_does_not_stop_the_tls_receiver(listen, connect, tmp_path):
    pem, key = certificate(tmp_path, "worker")
    access = Access(ca=pem, certificate=pem, key=key, dicom_tls=True)
    peer, health = listen(access, associate_seconds=0.5)
    silent = connect(peer)
    assert echo(peer, tls=(access.client_context(), peer.host)) == dimse.SUCCESS
    assert ends(silent), "the handshake has a time limit"
    assert health.snapshot()["callers_turned_away"] == {calling.TOO_SLOW: 1}
    assert ends(connect(peer, b"\x01\0\0\0\0\x04 no TLS"))
    assert echo(peer) == "no association"
    assert health.snapshot()["callers_turned_away"][calling.NO_TLS] >= 1


BEGUN = {
    "nothing": b"",
    "a-letter": b"\x01",
    "a-header": b"\x01\0\0\0\x10\0",
    "half-a-request": b"\x01\0\0\0\x10\0" + bytes(100),
}


@pytest.mark.parametrize("said", BEGUN.values(), ids=BEGUN)
def test_callers_that_never_come_to_an_end_do_not_block_others(listen, connect, said):
    peer, health = listen(associate_seconds=0.5)
    slow = [connect(peer, said) for _ in range(6)]
    assert send(peer, radiograph()) == dimse.SUCCESS
    assert all(map(ends, slow))
    facts = health.snapshot()
    assert facts["callers_turned_away"] == {calling.TOO_SLOW: 6}


def test_a_pdu_and_a_message_that_drip_are_ended(listen, connect):
    """The association is there, and then half a P-DATA-TF, or PDU after PDU without an end of the message."""
    peer, health = listen(pdu_seconds=0.4, message_seconds=0.8, idle_seconds=0.6)
    for said in (b"\x04\0\0\0\0\x50ab", b"\x04\0\0\0\0\x06\0\0\0\x02\x01\0", b""):
        entity = pynetdicom.AE(ae_title="MODALITY")
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate(peer.host, peer.port, ae_title=peer.title)
        assert association.is_established
        association.dul.socket.socket.sendall(said)
        association.join(PATIENCE_SECONDS)
        assert not association.is_established
    assert health.snapshot()["callers_turned_away"] == {calling.TOO_SLOW: 3}
    assert echo(peer) == dimse.SUCCESS


def test_hundreds_of_idle_connections_make_few_threads_and_shut_nobody_out(listen, connect):
    peer, health = listen(waiting_of_address=8, associate_seconds=60)
    before = threads()
    idle = [connect(peer, source="127.0.0.2") for _ in range(120)]
    assert echo(peer) == dimse.SUCCESS
    assert sum(map(ends, idle[:100])) == 100, "the oldest have to go"
    assert threads() - before <= 30
    facts = health.snapshot()
    assert facts["callers_turned_away"][calling.CROWDED] == 112
    assert facts["status"] in ("callers turned away", "stuck")


def test_associations_are_counted_by_address(listen):
    peer, health = listen(associations_of_address=2)
    held = []
    for _ in range(2):
        entity = pynetdicom.AE(ae_title="MODALITY")
        entity.add_requested_context("1.2.840.10008.1.1")
        held.append(entity.associate(peer.host, peer.port, ae_title=peer.title))
    assert echo(peer) == "rejected"
    entity = pynetdicom.AE(ae_title="MODALITY")
    entity.add_requested_context("1.2.840.10008.1.1")
    other = entity.associate(peer.host, peer.port, ae_title=peer.title, bind_address=("127.0.0.2", 0))
    assert other.is_established, "another address has places of its own"
    assert health.snapshot()["callers_turned_away"] == {calling.BUSY: 1}
    for one in (*held, other):
        one.release()


def test_an_endless_request_is_not_read(listen, connect):
    peer, health = listen()
    assert ends(connect(peer, b"\x01\0\xff\xff\xff\xff" + bytes(1000)))
    assert ends(connect(peer, b"GET / HTTP/1.1\r\n\r\n"))
    assert health.snapshot()["callers_turned_away"] == {calling.NOT_DICOM: 2}


def test_titles_that_are_not_known_are_counted(listen):
    peer, health = listen()
    assert send(peer, radiograph(), called="OTHER") is None
    assert health.snapshot()["callers_turned_away"] == {calling.UNKNOWN_TITLE: 1}


class Plug:
    """A socket that can be shut."""

    def __init__(self):
        self.one, self.other = socket.socketpair()

    def is_open(self):
        self.other.setblocking(False)
        try:
            return self.other.recv(1) != b""
        except BlockingIOError:
            return True


def test_the_address_that_has_most_gives_way():
    callers = Callers(CallerLimits(waiting=4, waiting_of_address=3), clock=lambda: 0.0)
    plugs = [Plug() for _ in range(5)]
    for plug, address in zip(plugs, ("10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2", "10.0.0.3"), strict=True):
        callers.admit(plug.one, address)
    assert [plug.is_open() for plug in plugs] == [True, False, True, True, True]
    assert len(callers) == 4


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_groups_of_addresses(address, group):
    assert calling.group_of(address) == group


@pytest.mark.parametrize("said", [b"", b"\x02\0\0\0\x10\0ab", b"\x02\0\xff\xff\xff\xff"], ids=["silent", "drips", "endless"])
def test_an_archive_that_never_comes_to_an_end_is_trouble(said):
    """pynetdicom would wait for the rest of its answer for ever."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:

        def answer():
            one, _ = server.accept()
            stack.callback(one.close)
            one.sendall(said)

        threading.Thread(target=answer, daemon=True).start()
        archive = dimse.Archive(dimse.Peer("ARCHIVE", *server.getsockname()), Access(), own_title="WORKER", seconds=0.5)
        with pytest.raises(Trouble, match="cannot be reached"):
            archive.probe()
