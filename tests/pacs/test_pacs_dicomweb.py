"""The DICOMweb client against a service of the standard library, with all that such a service can do wrong."""

import json
import logging
import socket
import time
from datetime import date

import pytest
from certificates import certificate
from fake_pacs import FakePacs, answer, radiograph

from pneumodet.pacs import dicomweb
from pneumodet.pacs.access import Access
from pneumodet.pacs.dicomweb import Dicomweb
from pneumodet.pacs.faults import Refused, Trouble

LIMIT = 100_000


@pytest.fixture
def client(pacs):
    return Dicomweb(pacs.url, Access(), max_bytes=LIMIT)


def fetched(client, number=1):
    return client.fetch(*(f"1.2.826.0.1.3680043.10.999.{kind}.{number}" for kind in (1, 2, 3)))


def test_new_instances_page_by_page(pacs, client, monkeypatch):
    monkeypatch.setattr(dicomweb, "PAGE", 3)
    uids = {pacs.put(radiograph(number)) for number in range(8)}
    pacs.put(radiograph(8, Modality="CT"))
    assert {found.sop_uid for found in client.instances("CR", since=None)} == uids
    found = next(client.instances("CR", since=None))
    assert found.attributes["00180015"]["Value"] == ["CHEST"]
    assert found.study_uid.startswith("1.2.826")


def test_only_studies_since_a_day(pacs, client):
    pacs.put(radiograph(1, StudyDate="20260101"))
    late = pacs.put(radiograph(2, StudyDate="20260102"))
    assert [found.sop_uid for found in client.instances("CR", since=date(2026, 1, 2))] == [late]


def test_a_server_that_does_not_know_offset_ends(pacs, client):
    pacs.put(radiograph())
    item = json.loads(json.dumps([found.attributes for found in client.instances("CR", since=None)]))
    pacs.spoilers.append(lambda request: answer(request, 200, json.dumps(item).encode()))
    assert len(list(client.instances("CR", since=None))) == 1


def test_uids_that_are_none_are_counted(pacs, client, caplog):
    item = [{tag: {"vr": "UI", "Value": ["1.2/../../admin"]} for tag in ("00080018", "0020000D", "0020000E")}, {"00080018": 3}]
    pacs.spoilers.append(lambda request: answer(request, 200, json.dumps(item if "offset=0" in request.path else []).encode()))
    with caplog.at_level(logging.WARNING, "pneumodet.pacs"):
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
    with pytest.raises(Refused, match="more than 0 MB, or 100000 bytes"):
        fetched(client)
    pacs.spoilers[:] = [lambda request: answer(request, 200, b"", "application/dicom", Content_Length=str(10**12))]
    started = time.monotonic()
    with pytest.raises(Refused, match="which is the limit"):
        fetched(client)
    assert time.monotonic() - started < 5
    pacs.spoilers[:] = [lambda request: answer(request, 200, b"x" * (LIMIT + 1), "application/dicom")]
    with pytest.raises(Refused, match="which is the limit"):
        fetched(client)
    pacs.spoilers[:] = [lambda request: answer(request, 200, b"x" * LIMIT, "application/dicom")]
    assert len(fetched(client)) == LIMIT


def drip(request):
    request.send_response(200)
    request.send_header("Content-Type", "application/dicom")
    request.send_header("Content-Length", "5000")
    request.end_headers()
    for _ in range(100):
        try:
            request.wfile.write(b"x")
        except OSError:
            break
        time.sleep(0.02)
    return True


def cut(request):
    answer(request, 200, b"x" * 100, "application/dicom", Content_Length="5000")
    request.close_connection = True
    return True


@pytest.mark.parametrize(
    ("spoiler", "reason"),
    [
        pytest.param(lambda request: answer(request, 503, b"secret patient"), "^the PACS answered 503$", id="busy"),
        pytest.param(lambda request: answer(request, 401, b""), "401; look at the credentials", id="unauthorized"),
        pytest.param(lambda request: answer(request, 404, b""), "404; it does not have it", id="gone"),
        pytest.param(lambda request: answer(request, 302, b"", Location="http://127.0.0.1:1/"), "answered 302", id="redirect"),
        pytest.param(lambda request: answer(request, 200, b"<html>", "text/html"), "did not answer with a DICOM object", id="html"),
        pytest.param(lambda request: answer(request, 200, b"x", "application/dicom", Content_Encoding="gzip"), "compressed", id="gzip"),
        pytest.param(drip, "takes longer than 0.2 s", id="drips"),
        pytest.param(cut, "cannot be reached|cut off", id="cut-off"),
        pytest.param(lambda request: request.connection.shutdown(socket.SHUT_RDWR) or True, "cannot be reached", id="hangs-up"),
    ],
)
def test_faults_pass_and_name_nobody(pacs, client, monkeypatch, spoiler, reason):
    monkeypatch.setattr(dicomweb, "ANSWER_SECONDS", 0.2)
    pacs.spoilers.append(spoiler)
    with pytest.raises(Trouble, match=reason) as caught:
        fetched(client)
    assert "1.2.826" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"<html>", b"[" * 100_000, b"\xff"])
def test_lists_that_are_none(pacs, client, body):
    pacs.spoilers.append(lambda request: answer(request, 200, body))
    with pytest.raises(Trouble, match="did not answer with a list"):
        client.probe()


def test_nobody_there(pacs):
    client = Dicomweb("http://127.0.0.1:9/dicom-web", Access(), max_bytes=LIMIT)
    with pytest.raises(Trouble, match="cannot be reached"):
        client.probe()


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
    Dicomweb(pacs.url, access, max_bytes=LIMIT).probe()
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
        assert fetched(Dicomweb(pacs.url, own, max_bytes=LIMIT)) == data
        for access in (Access(), Access(ca=other), Access(ca=pem), Access(ca=pem, certificate=other, key=other_key)):
            with pytest.raises(Trouble, match="cannot be reached"):
                Dicomweb(pacs.url, access, max_bytes=LIMIT).probe()
