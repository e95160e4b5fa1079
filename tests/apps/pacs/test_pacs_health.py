"""The health page: on loopback, for machines, without anything of a patient."""

import json
import queue
import socket
import struct
import sys
import threading
import urllib.error
import urllib.request

import pytest

from pneumodet.apps.pacs import health as healths
from pneumodet.apps.pacs.health import Health, serving
from pneumodet.apps.pacs.journal import Journal
from pneumodet.core.errors import ConfigError

UID = "1.2.826.0.1.3680043.10.999.3.1"


@pytest.fixture
def book(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite")
    yield journal
    journal.close()


def ask(port, path, **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


def get(port, path="/healthz"):
    status, kind, body = ask(port, path)
    assert kind == "application/json"
    return status, json.loads(body)


@pytest.fixture
def health():
    """Return facts of a worker, by a clock that stands on 10 s."""
    now = [10.0]
    one = Health(steady=lambda: now[0])
    one.turn_clock = lambda seconds: now.__setitem__(0, seconds)
    one.succeeded(UID, 90.0, seconds=1.5)
    one.failed(UID, 95.0, f"the PACS did not take {UID}")
    return one


def test_tells_queue_success_and_error(book, health):
    book.add(UID, now=40.0)
    with serving(health, book, "127.0.0.1", 0, clock=lambda: 101.0) as port:
        status, facts = get(port)
        assert (status, facts["status"]) == (200, "ok")
        assert (facts["queue"], facts["oldest_in_queue_seconds"], facts["exams"]["seen"]) == (1, 61.0, 1)
        assert (facts["last_success_at"], facts["last_error_at"], facts["stored_since_start"]) == (90.0, 95.0, 1)
        assert UID not in json.dumps(facts)
        assert facts["last_error"].startswith("the PACS did not take ")
        assert get(port, "/metrics/../journal.sqlite")[0] == 404
        assert get(port, "/")[0] == 404


def test_the_age_of_the_queue_is_never_negative(book, health):
    """The clock was set back since the exam was written down."""
    book.add(UID, now=5000.0)
    with serving(health, book, "127.0.0.1", 0, clock=lambda: 101.0) as port:
        assert get(port)[1]["oldest_in_queue_seconds"] == 0.0


def test_metrics_are_those_of_prometheus(book, health):
    parser = pytest.importorskip("prometheus_client.parser", reason="needs prometheus-client, which writes and reads the format")
    book.add(UID, now=40.0)
    health.turned_away("too slow")
    health.turned_away("too slow")
    with serving(health, book, "127.0.0.1", 0, clock=lambda: 101.0) as port:
        status, kind, text = ask(port, "/metrics")
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        samples = [one for family in parser.text_string_to_metric_families(text) for one in family.samples]
        values = {(one.name.removeprefix("pneumodet_pacs_"), *one.labels.values()): one.value for one in samples}
        assert values["exams", "seen"] == values["queue",] == values["stored_total",] == 1
        assert (values["queue_oldest_seconds",], values["last_exam_seconds",], values["away",]) == (61.0, 1.5, 0)
        assert values["callers_turned_away_total", "too slow"] == 2
        assert ("away_since_timestamp_seconds",) not in values
        assert UID not in text
        assert ask(port, "/metrics", Accept="application/openmetrics-text")[1].startswith("application/openmetrics-text")


def test_without_prometheus_client_only_the_metrics_are_missing(book, health, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with serving(health, book, "127.0.0.1", 0) as port:
        status, facts = get(port, "/metrics")
        assert status == 503
        assert "needs the package prometheus-client" in facts["error"]
        assert get(port)[0] == 200


@pytest.mark.parametrize(("seconds", "status"), [(healths.STUCK_SECONDS - 1, 200), (healths.STUCK_SECONDS + 1, 503)])
def test_a_loop_that_stands_still_is_ill(book, health, seconds, status):
    health.beat()
    health.turn_clock(10.0 + seconds)
    with serving(health, book, "127.0.0.1", 0) as port:
        assert get(port)[0] == status


def test_a_pacs_that_is_away_is_not_the_workers_illness(book, health):
    health.pacs_is_away(990.0, "the PACS answered 503")
    health.pacs_is_away(995.0, "the PACS answered 503")
    with serving(health, book, "127.0.0.1", 0) as port:
        status, facts = get(port)
        assert (status, facts["status"], facts["pacs_away_since"]) == (200, "pacs away", 990.0)
        health.pacs_is_there()
        assert get(port)[1]["status"] == "ok"


def test_callers_that_are_turned_away_are_told_for_a_while(book, health):
    health.turned_away("too slow")
    with serving(health, book, "127.0.0.1", 0) as port:
        status, facts = get(port)
        assert (status, facts["status"], facts["callers_turned_away"]) == (200, "callers turned away", {"too slow": 1})
        health.turn_clock(10.0 + healths.CROWDED_SECONDS)
        assert get(port)[1]["status"] == "ok"


def test_a_broken_journal_is_told(book, health):
    with serving(health, book, "127.0.0.1", 0) as port:
        book.close()
        assert get(port, "/metrics")[0] == 503
        assert get(port)[0] == 200


def test_a_watcher_that_does_not_wait_leaves_no_traceback(book, health, monkeypatch, capfd):
    threads, real = queue.SimpleQueue(), book.counts

    def counts():
        threads.put(threading.current_thread())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
        client.close()
        return real()

    monkeypatch.setattr(book, "counts", counts)
    with serving(health, book, "127.0.0.1", 0) as port:
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        threads.get(timeout=20).join(20)
    assert capfd.readouterr().err == ""


def test_a_port_in_use_is_told(book):
    with (
        serving(Health(), book, "127.0.0.1", 0) as port,
        pytest.raises(ConfigError, match="cannot listen"),
        serving(Health(), book, "127.0.0.1", port),
    ):
        pass
