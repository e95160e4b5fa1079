"""Downloads against a server on loopback that cuts, ignores, changes and refuses as servers do."""

import contextlib
import http.server
import re
import shutil
import threading
import urllib.error
import urllib.request

import pytest

from pneumodet.core import download
from pneumodet.core.errors import CheckpointError, DataError

BODY = bytes(range(256)) * 4096
"""1 MiB, in which every place is told from its neighbours."""

FAST = {"hint": "Copy it by hand.", "delays": (0.0, 0.0), "timeout": 5.0}


class Server:
    """What the server does, and what it was asked.

    Attributes:
      body: what it serves.
      etag: with which validator; None for none.
      ranges: whether it knows Range.
      cut_after: number of bytes after which it closes the connection, for each request in turn; then no more.
      codes: status codes that it answers first.
      requests: the Range header, or None, of each request.
    """

    def __init__(self):
        self.body, self.etag, self.ranges, self.cut_after, self.codes, self.requests = BODY, '"a"', True, [], [], []


@pytest.fixture
def server():
    """Return a Server with its ``url``."""
    does = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            does.requests.append(wanted)
            if does.codes:
                self.send_error(does.codes.pop(0))
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            if not does.ranges or self.headers.get("If-Range") != does.etag:
                start = 0
            if start > len(does.body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(does.body) - 1}/{len(does.body)}")
            if does.etag:
                self.send_header("ETag", does.etag)
            rest = does.body[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            cut = does.cut_after.pop(0) if does.cut_after else len(rest)
            with contextlib.suppress(OSError):
                self.wfile.write(rest[:cut])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        does.url = f"http://127.0.0.1:{listening.server_port}/file.tar.gz"
        yield does
        listening.shutdown()
        thread.join()


def test_a_whole_file_arrives_and_nothing_else(server, tmp_path):
    told = []
    download.fetch(server.url, tmp_path / "sub" / "file", on_progress=lambda *now: told.append(now), **FAST)
    assert (tmp_path / "sub" / "file").read_bytes() == BODY
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["file"]
    assert told[-1] == (len(BODY), len(BODY))
    assert server.requests == [None]


def test_a_cut_connection_goes_on_where_it_was(server, tmp_path):
    server.cut_after = [300_000, 1, 0, 400_000]
    download.fetch(server.url, tmp_path / "file", **FAST)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.requests == [None, "bytes=300000-", "bytes=300001-", "bytes=300001-", "bytes=700001-"]


def test_every_further_attempt_is_told(server, tmp_path, monkeypatch):
    """Half a minute of silence looks like a command that hangs."""
    told = []
    monkeypatch.setattr(download._log, "warning", lambda text, *values: told.append(text % values))
    server.cut_after = [0, 0, 0]
    with pytest.raises(CheckpointError):
        download.fetch(server.url, tmp_path / "file", **FAST)
    assert [text.partition(";")[2] for text in told] == [" attempt 2 of 3 in 0 s", " attempt 3 of 3 in 0 s"]
    assert all(text.startswith("file: the connection ended after 0 of") for text in told)


def test_attempts_are_bounded_and_the_next_process_goes_on(server, tmp_path):
    server.cut_after = [1000, 0, 0, 0]
    with pytest.raises(CheckpointError, match=rf"ended after 1000 of {len(BODY)} bytes\. Copy it by hand"):
        download.fetch(server.url, tmp_path / "file", **FAST)
    assert not (tmp_path / "file").exists()
    assert (tmp_path / "file.part").read_bytes() == BODY[:1000]
    server.cut_after, server.requests = [], []
    download.fetch(server.url, tmp_path / "file", **FAST)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.requests == ["bytes=1000-"]


def test_a_server_that_ignores_range_and_cuts_is_given_up(server, tmp_path):
    server.ranges, server.cut_after = False, [1000] * 20
    with pytest.raises(CheckpointError, match="ended after 1000"):
        download.fetch(server.url, tmp_path / "file", **FAST)
    assert len(server.requests) == 3


def test_a_server_that_ignores_range_sends_all_again(server, tmp_path):
    server.ranges, server.cut_after = False, [1000]
    download.fetch(server.url, tmp_path / "file", **FAST)
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"a"', None, 'W/"a"'], ids=["validator", "none", "weak"])
def test_a_file_that_changed_meanwhile_is_not_mixed(server, tmp_path, etag):
    server.etag, server.cut_after = etag, [1000, 0, 0, 0]
    with pytest.raises(CheckpointError):
        download.fetch(server.url, tmp_path / "file", **FAST)
    server.body, server.cut_after = BODY[::-1], []
    server.etag = etag and etag.replace("a", "b")
    download.fetch(server.url, tmp_path / "file", **FAST)
    assert (tmp_path / "file").read_bytes() == BODY[::-1]


def test_a_part_of_another_url_is_not_gone_on_with(server, tmp_path):
    server.cut_after = [1000, 0, 0, 0]
    with pytest.raises(CheckpointError):
        download.fetch(server.url, tmp_path / "file", **FAST)
    server.requests, server.cut_after = [], []
    download.fetch(server.url + "?v=2", tmp_path / "file", **FAST)
    assert server.requests == [None]


def test_a_part_that_was_whole_is_only_renamed(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download.fetch(server.url, tmp_path / "file", **FAST)
    monkeypatch.undo()
    download.fetch(server.url, tmp_path / "file", **FAST)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.requests == [None]


def interrupted(source, target, *, real=download.os.replace):
    if str(source).endswith(".part"):
        raise KeyboardInterrupt
    real(source, target)


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (403, 1)])
def test_a_refusal_is_final(server, tmp_path, code, requests):
    server.codes = [code] * 9
    with pytest.raises(CheckpointError, match=rf"{re.escape(server.url)}: the server answers {code}.*Copy it by hand"):
        download.fetch(server.url, tmp_path / "file", **FAST)
    assert len(server.requests) == requests


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.codes = [503, 429]
    download.fetch(server.url, tmp_path / "file", **FAST)
    assert (tmp_path / "file").read_bytes() == BODY
    assert len(server.requests) == 3


def test_nobody_listens(server, tmp_path):
    url = server.url.replace(server.url.split(":")[2].partition("/")[0], "9")
    with pytest.raises(CheckpointError, match=r"Cannot download http://127\.0\.0\.1:9/.*refused.*Copy it by hand"):
        download.fetch(url, tmp_path / "file", **FAST)


def test_a_silent_server_is_given_up(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        with pytest.raises(CheckpointError, match="timed out"):
            download.fetch(url, tmp_path / "file", hint="", delays=(), timeout=0.2)


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.rpartition("/")[0])
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    download.fetch("http://zoo.invalid/file.tar.gz", tmp_path / "file", **FAST)
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_disk_without_room_is_told_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(DataError, match=r"more than the disk has left\. Free some disk space"):
        download.fetch(server.url, tmp_path / "file", **FAST)
    assert not (tmp_path / "file").exists()


def test_a_disk_that_fills_up_keeps_what_arrived(server, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    real, count = download.os.fsync, []

    def sync(handle):
        count.append(handle)
        return full(handle) if len(count) == 2 else real(handle)  # the first is of the notes

    server.cut_after = [500_000]
    monkeypatch.setattr(download.os, "fsync", sync)
    with pytest.raises(DataError, match=r"No space left on device\. Free some disk space\. What has arrived is kept in file\.part"):
        download.fetch(server.url, tmp_path / "file", **FAST)
    monkeypatch.undo()
    download.fetch(server.url, tmp_path / "file", **FAST)
    assert (tmp_path / "file").read_bytes() == BODY
    assert server.requests == [None, "bytes=500000-"]


def test_a_redirect_keeps_tls():
    def redirected(url, to):
        return download.KeepTls().redirect_request(urllib.request.Request(url), None, 302, "Found", {}, to)

    with pytest.raises(urllib.error.HTTPError, match="without TLS, which is not followed"):
        redirected("https://zoo.example/a", "http://elsewhere.example/a")
    assert redirected("https://zoo.example/a", "https://elsewhere.example/a").full_url == "https://elsewhere.example/a"
    assert redirected("http://zoo.example/a", "http://elsewhere.example/a").full_url == "http://elsewhere.example/a"
