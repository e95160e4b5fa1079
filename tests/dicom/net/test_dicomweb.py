"""The DICOMweb client against a service of the standard library, with all that such a service can do wrong."""

import json
import logging
import socket
import time
from datetime import date

import pytest
from certificates import certificate
from fake_pacs import FakePacs, answer, radiograph

from pneumodet.dicom.net import dicomweb, transport
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.dicomweb import DicomwebClient
from pneumodet.dicom.net.errors import ListLimit, NotAllowed, Refused, Trouble, Unreachable
from pneumodet.dicom.net.retries import Retries
from pneumodet.dicom.net.transport import Limits

LIMIT = 100_000


def client_of(pacs, access=None, *, retries=None, **limits):
    return DicomwebClient(pacs.url, access or Access(), limits=Limits(**{"object_bytes": LIMIT} | limits), retries=retries)


@pytest.fixture
def client(pacs):
    return client_of(pacs)


def fetched(client, number=1):
    return client.fetch(*(f"1.2.826.0.1.3680043.10.999.{kind}.{number}" for kind in (1, 2, 3)))


def test_new_instances_page_by_page(pacs, client, monkeypatch):
    monkeypatch.setattr(dicomweb, "PAGE", 3)
    uids = {pacs.put(radiograph(number)) for number in range(8)}
    pacs.put(radiograph(8, Modality="CT"))
    assert {result.sop_uid for result in client.instances("CR", since=None)} == uids
    result = next(client.instances("CR", since=None))
    assert result.attributes["00180015"]["Value"] == ["CHEST"]
    assert result.study_uid.startswith("1.2.826")


def test_only_studies_since_a_day(pacs, client):
    pacs.put(radiograph(1, StudyDate="20260101"))
    late = pacs.put(radiograph(2, StudyDate="20260102"))
    assert [result.sop_uid for result in client.instances("CR", since=date(2026, 1, 2))] == [late]


def offsets(pacs):
    return [query.rpartition("offset=")[2] for _, query, _ in pacs.seen]


def test_pages_are_smaller_than_what_services_refuse(pacs, client):
    pacs.most_limit = 200
    uid = pacs.put(radiograph())
    assert [result.sop_uid for result in client.instances("CR", since=None)] == [uid]


def test_pages_that_are_smaller_than_was_asked_for(pacs, client):
    pacs.page = 10
    uids = {pacs.put(radiograph(number)) for number in range(30)}
    assert {result.sop_uid for result in client.instances("CR", since=None)} == uids
    assert offsets(pacs) == ["0", "10", "20", "30"]
    assert len(list(client.studies())) == 30


@pytest.mark.parametrize("page", [10, 1000])
def test_a_server_that_does_not_know_offset_ends(pacs, client, page):
    pacs.knows_offset, pacs.page = False, page
    for number in range(12):
        pacs.put(radiograph(number))
    assert len(list(client.instances("CR", since=None))) == min(page, 12)
    assert len(pacs.requests) == 2


def test_a_page_of_known_ones_is_not_the_end_where_new_ones_came_meanwhile(pacs, client):
    """A PACS that lists the newest first shows known ones again after what came between two requests."""
    uids = [f"1.2.{number}" for number in range(4)]
    pages = {"0": [0, 1, 2], "3": [1, 2], "5": [3], "6": []}
    entries = {
        name: json.dumps(
            [{"00080018": {"Value": [uids[one]]}, "0020000D": {"Value": ["1.2"]}, "0020000E": {"Value": ["1.2"]}} for one in page]
        )
        for name, page in pages.items()
    }
    pacs.spoilers.append(lambda request: answer(request, 200, entries[request.path.rpartition("offset=")[2]].encode()))
    assert [result.sop_uid for result in client.instances("CR", since=None)] == uids


def endless(request):
    """Answer with a page of new instances, whatever was asked."""
    start = int(request.path.rpartition("offset=")[2])
    tags = ("00080018", "0020000D", "0020000E")
    page = [{tag: {"Value": [f"1.2.{number}"]} for tag in tags} for number in range(start, start + 3)]
    return answer(request, 200, json.dumps(page).encode())


def test_a_list_without_an_end_is_reported(pacs):
    pacs.spoilers.append(endless)
    got = []
    with pytest.raises(ListLimit, match="the list of the PACS has more than 4 pages; 12 entries were read"):
        got.extend(client_of(pacs, pages=4).instances("CR", since=None))
    assert len(got) == 12
    got = []
    with pytest.raises(ListLimit, match="longer than 0.2 s"):
        for result in client_of(pacs, list_seconds=0.2).instances("CR", since=None):
            got.append(result.sop_uid)


def test_what_a_caller_does_between_two_pages_does_not_count(pacs, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(dicomweb, "monotonic", lambda: now[0])
    pacs.page = 1
    for number in range(3):
        pacs.put(radiograph(number))
    for _ in client_of(pacs, list_seconds=5).instances("CR", since=None):
        now[0] += 100
    assert len(pacs.requests) == 4


def test_lists_that_belong_together_share_their_time(pacs, monkeypatch):
    """As predict's list of studies and one of instances for each: without an end of the first, all would take as long as they like."""
    now = [0.0]
    monkeypatch.setattr(dicomweb, "monotonic", lambda: now.__setitem__(0, now[0] + 1) or now[0])
    for number in range(10):
        pacs.put(radiograph(number))
    client, time = client_of(pacs), dicomweb.ListTime(9.0)
    got = []
    with pytest.raises(ListLimit, match="longer than 9 s"):
        for study in client.studies(time=time):
            got += client.instances_of(study, time=time)
    assert 0 < len(got) < 10


def test_whether_something_is_there_is_no_endless_list(pacs):
    pacs.spoilers.append(endless)
    with pytest.raises(ListLimit, match="longer than 0.2 s"):
        client_of(pacs, request_seconds=0.2).has("1.2", "1.2.3.4")


def test_a_dripping_page_ends_the_list(pacs):
    pacs.spoilers.append(drip)
    with pytest.raises(ListLimit, match="takes longer than 0.15 s"):
        list(client_of(pacs, list_seconds=0.15).instances("CR", since=None))


def test_uids_that_are_none_are_counted(pacs, client, caplog):
    item = [{tag: {"vr": "UI", "Value": ["1.2/../../admin"]} for tag in ("00080018", "0020000D", "0020000E")}, {"00080018": 3}]
    pacs.spoilers.append(lambda request: answer(request, 200, json.dumps(item if "offset=0" in request.path else []).encode()))
    with caplog.at_level(logging.WARNING, "pneumodet.dicom"):
        assert list(client.instances("CR", since=None)) == []
    assert "2 CR instances" in caplog.text


def test_radiographs_come_as_they_are(pacs, client):
    data = radiograph()
    uid = pacs.put(data)
    assert fetched(client) == data
    assert client.has("1.2.826.0.1.3680043.10.999.1.1", uid)
    assert not client.has("1.2.826.0.1.3680043.10.999.1.1", uid + ".9")
    assert not client.has("1.2.826.0.1.3680043.10.999.1.2", uid)


def test_large_ones_are_refused_before_they_are_read(pacs, client):
    sent = []

    def endless(request):
        request.send_response(200)
        request.send_header("Content-Type", "application/dicom")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        try:
            while True:
                request.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent.append(65536)
        except OSError:
            return True

    pacs.spoilers.append(endless)
    with pytest.raises(Trouble, match="sends more than 0 MB, or 100000 bytes, without having said so"):
        fetched(client)
    pacs.spoilers[:] = [lambda request: answer(request, 200, b"", "application/dicom", Content_Length=str(10**12))]
    with pytest.raises(Trouble, match="without having said so"):
        fetched(client)
    pacs.spoilers[:] = [lambda request: answer(request, 200, b"x" * (LIMIT + 1), "application/dicom")]
    with pytest.raises(Refused, match="which is the limit"):
        fetched(client)
    pacs.spoilers[:] = [lambda request: answer(request, 200, b"x" * LIMIT, "application/dicom")]
    assert len(fetched(client)) == LIMIT


def dripping(first):
    """Return a spoiler that sends this, and then a letter now and then, for 2 s."""

    def drips(request):
        request.close_connection = True
        try:
            request.wfile.write(first)
            for _ in range(100):
                request.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            pass
        return True

    return drips


drip = dripping(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\nContent-Length: 5000\r\n\r\n")


def many_headers(lines, before=b""):
    """Return a spoiler that answers with these header lines."""
    return lambda request: bool(request.wfile.write(before + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines + b"\r\n")) or True


def cut(request):
    answer(request, 200, b"x" * 100, "application/dicom", Content_Length="5000")
    request.close_connection = True
    return True


@pytest.mark.parametrize(
    ("spoiler", "reason"),
    [
        pytest.param(lambda request: answer(request, 503, b""), "^the PACS answered 503$", id="busy"),
        pytest.param(lambda request: answer(request, 401, b""), "401; check the credentials", id="unauthorized"),
        pytest.param(lambda request: answer(request, 404, b""), "404; it does not have it", id="gone"),
        pytest.param(lambda request: answer(request, 302, b"", Location="http://127.0.0.1:1/"), "answered 302; redirects", id="redirect"),
        pytest.param(lambda request: answer(request, 200, b"<html>", "text/html"), "did not answer with a DICOM object", id="html"),
        pytest.param(lambda request: answer(request, 200, b"x", "application/dicom", Content_Encoding="gzip"), "compressed", id="gzip"),
        pytest.param(drip, "takes longer than 0.2 s for an answer", id="drips"),
        pytest.param(dripping(b""), "takes longer than 0.2 s for an answer", id="drips-the-status"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nX: "), "takes longer than 0.2 s for an answer", id="drips-a-header"),
        pytest.param(dripping(b"HTTP/1.1 500 OK\r\nContent-Length: 99\r\n\r\nfull"), 'answered 500 \\("fullx*"\\)', id="drips-a-refusal"),
        pytest.param(many_headers(b"X: 1\r\n" * 101), "cannot be reached", id="many-headers"),
        pytest.param(many_headers(b"X: " + b"y" * 4000 + b"\r\n"), "more than 2000 bytes of headers", id="large-headers"),
        pytest.param(many_headers(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "more than 2000 bytes of headers", id="interim-answers"),
        pytest.param(
            lambda request: answer(request, 200, b"x", "application/dicom", Content_Length="9" * 5000), "headers|without", id="huge-length"
        ),
        pytest.param(cut, "cannot be reached|cut off", id="cut-off"),
        pytest.param(lambda request: request.connection.shutdown(socket.SHUT_RDWR) or True, "cannot be reached", id="hangs-up"),
    ],
)
def test_errors_pass_and_name_nobody(pacs, monkeypatch, spoiler, reason):
    monkeypatch.setattr(transport, "_REFUSAL_SECONDS", 0.1)
    pacs.spoilers.append(spoiler)
    with pytest.raises(Trouble, match=reason) as caught:
        fetched(client_of(pacs, request_seconds=0.2 if "drip" in repr(spoiler) else 10, header_bytes=2000))
    assert "1.2.826" not in str(caught.value)


def test_a_huge_length_is_no_bug(pacs):
    pacs.spoilers.append(lambda request: answer(request, 200, b"x", "application/dicom", Content_Length="9" * 5000))
    with pytest.raises(Trouble, match="without having said so"):
        fetched(client_of(pacs))


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        pytest.param(500, b"Disk  full.\r\nTry later", "text/plain", 'answered 500 \\("Disk full. Try later"\\)$', id="text"),
        pytest.param(400, b"<html><title>limit must be at most 200</title>", "text/html", 'answered 400 \\("limit must be', id="html"),
        pytest.param(
            403, b'{"Message": "Not for you", "Uri": "/x"}', "application/json", '403; check the credentials \\("Not for', id="json"
        ),
        pytest.param(500, b"\x89PNG", "image/png", "answered 500$", id="picture"),
        pytest.param(500, b"of Mustermann^Erika, 1.2.826.0.1.3, 19640812", "", 'answered 500 \\("of … …, …"\\)$', id="patient"),
    ],
)
def test_a_refusal_says_why(pacs, client, status, body, kind, reason):
    pacs.spoilers.append(lambda request: answer(request, status, body, kind))
    for call in (client.probe, lambda: fetched(client), lambda: client.store("1.2", [b"one"])):
        with pytest.raises(Trouble, match=reason) as caught:
            call()
        assert isinstance(caught.value, NotAllowed) == (status == 403)


def test_a_warning_is_logged_and_counted(pacs, client, caplog):
    pacs.put(radiograph())
    pacs.more = {"Warning": '299 pacs.example "There are 20 additional results"'}
    with caplog.at_level(logging.WARNING, "pneumodet.dicom"):
        assert len(list(client.instances("CR", since=None))) == 1
        fetched(client)
        pacs.more = {"Warning": "299 pacs.example: There are 10 additional results"}
        client.store("1.2.3", [radiograph(2)])
    assert client.warnings == {"There are N additional results": 4}
    assert [record.getMessage() for record in caplog.records] == [
        "the PACS warns: There are 20 additional results (such a warning is logged once)"
    ]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_service_is_asked_again_where_that_is_wanted(pacs, status):
    pacs.put(radiograph())
    left = [status] * 3
    pacs.spoilers.append(lambda request: bool(left) and answer(request, left.pop(), b""))
    with pytest.raises(Unreachable, match=str(status)):
        client_of(pacs).probe()
    assert fetched(client_of(pacs, retries=Retries(attempts=3, first_seconds=0.001)))
    assert len(pacs.requests) == 4


def test_attempts_end_with_the_time_of_a_request(pacs):
    pacs.busy = 1000
    with pytest.raises(Trouble, match="503|takes longer"):  # on a slow machine it may end within an attempt
        client_of(pacs, request_seconds=0.3, retries=Retries(attempts=1000, first_seconds=0.01, longest_seconds=0.02)).probe()
    assert len(pacs.requests) < 100


def test_what_will_not_pass_and_what_is_stored_is_not_asked_again(pacs):
    client = client_of(pacs, retries=Retries(attempts=3, first_seconds=0.001))
    pacs.wanted = "Bearer hush"
    with pytest.raises(NotAllowed):
        client.probe()
    pacs.wanted, pacs.busy = "", 10
    with pytest.raises(Unreachable):
        client.store("1.2", [b"one"])
    assert len(pacs.requests) == 2


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"<html>", b"[" * 100_000, b"\xff", b'[{"a":' * 40 + b"1" + b"}]" * 40])
def test_lists_that_are_none(pacs, client, body):
    pacs.spoilers.append(lambda request: answer(request, 200, body))
    with pytest.raises(Trouble, match="did not answer with a list of DICOM objects; is this a DICOMweb service"):
        client.probe()


def test_nobody_there(pacs):
    with pytest.raises(Unreachable, match="cannot be reached"):
        DicomwebClient("http://127.0.0.1:9/dicom-web", Access()).probe()


def stored(reason=None, count=1):
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}} if reason is not None else {}
    return json.dumps(failed | {"00081199": {"vr": "SQ", "Value": [{}] * count}}).encode()


def test_reports_are_stored_to_the_byte(pacs, client):
    files = [radiograph(1), radiograph(2)]
    client.store("1.2", files)
    assert list(pacs.files.values()) == files
    assert pacs.requests == ["POST /dicom-web/studies/1.2"]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        pytest.param(409, stored(0xA700, 0), "failure reason A700H", id="full"),
        pytest.param(202, stored(0x0110, 1), "failure reason 0110H", id="one-of-two"),
        pytest.param(200, stored(count=1), "names only 1 of 2 objects", id="one-missing"),
        pytest.param(200, b"", "does not say whether it has it", id="silent"),
        pytest.param(200, b"[]", "does not say whether it has it", id="list"),
        pytest.param(500, b"", "answered 500", id="broken"),
    ],
)
def test_reports_that_are_not_stored_are_noticed(pacs, client, status, body, reason):
    pacs.spoilers.append(lambda request: answer(request, status, body, "application/dicom+json"))
    with pytest.raises(Trouble, match=reason):
        client.store("1.2", [b"one", b"two"])


def test_a_duplicate_counts_as_stored(pacs, client):
    pacs.spoilers.append(lambda request: answer(request, 409, stored(dicomweb.DUPLICATE, 1), "application/dicom+json"))
    client.store("1.2", [b"one", b"two"])


@pytest.mark.parametrize(
    ("access", "header"),
    [
        pytest.param(Access(user="worker", password="häsh"), "Basic d29ya2VyOmjDpHNo", id="basic"),
        pytest.param(Access(token="hush"), "Bearer hush", id="token"),
        pytest.param(Access(), None, id="nothing"),
    ],
)
def test_credentials_of_the_access_and_no_others(pacs, access, header, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    client_of(pacs, access).probe()
    assert pacs.headers.get("Authorization") == header
    assert pacs.headers["Accept-Encoding"] == "identity"


def test_tls_with_certificates_on_both_sides(tmp_path):
    pem, key = certificate(tmp_path, "pacs")
    other, other_key = certificate(tmp_path, "stranger")
    own = Access(ca=pem, certificate=pem, key=key)
    pacs = FakePacs()
    with pacs.running(tls=own.server_context()):
        data = radiograph()
        pacs.put(data)
        assert fetched(client_of(pacs, own)) == data
        for access in (Access(), Access(ca=other), Access(ca=pem), Access(ca=pem, certificate=other, key=other_key)):
            with pytest.raises(Trouble, match="cannot be reached"):
                client_of(pacs, access).probe()
