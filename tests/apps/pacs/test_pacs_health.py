"""The health page: on loopback, for machines, without anything of a patient."""

import json
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


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_tells_queue_success_and_error(book):
    health = Health()
    book.add(UID, now=40.0)
    health.beat(100.0)
    health.succeeded(UID, 90.0, seconds=1.5)
    health.failed(UID, 95.0, f"the PACS did not take {UID}")
    with serving(health, book, "127.0.0.1", 0, clock=lambda: 101.0) as port:
        status, facts = get(port, "/metrics")
        assert status == 200
        assert (facts["queue"], facts["oldest_in_queue_seconds"], facts["exams"]["seen"]) == (1, 61.0, 1)
        assert (facts["last_success_at"], facts["last_error_at"], facts["stored_since_start"]) == (90.0, 95.0, 1)
        assert UID not in json.dumps(facts)
        assert facts["last_error"].startswith("the PACS did not take ")
        assert get(port, "/healthz")[0] == 200
        assert get(port, "/metrics/../journal.sqlite")[0] == 404
        assert get(port, "/")[0] == 404


@pytest.mark.parametrize(("seconds", "status"), [(healths.STUCK_SECONDS - 1, 200), (healths.STUCK_SECONDS + 1, 503)])
def test_a_loop_that_stands_still_is_ill(book, seconds, status):
    health = Health()
    health.beat(1000.0)
    with serving(health, book, "127.0.0.1", 0, clock=lambda: 1000.0 + seconds) as port:
        assert get(port, "/healthz")[0] == status


def test_a_pacs_that_is_away_is_not_the_workers_illness(book):
    health = Health()
    health.beat(1000.0)
    health.pacs_is_away(990.0, "the PACS answered 503")
    health.pacs_is_away(995.0, "the PACS answered 503")
    with serving(health, book, "127.0.0.1", 0, clock=lambda: 1000.0) as port:
        status, facts = get(port, "/healthz")
        assert (status, facts["status"], facts["pacs_away_since"]) == (200, "pacs away", 990.0)
        health.pacs_is_there()
        assert get(port, "/healthz")[1]["status"] == "ok"


def test_a_broken_journal_is_told(book):
    health = Health()
    health.beat(1.0)
    with serving(health, book, "127.0.0.1", 0, clock=lambda: 1.0) as port:
        book.close()
        assert get(port, "/metrics")[0] == 503
        assert get(port, "/healthz")[0] == 200


def test_a_port_in_use_is_told(book):
    with (
        serving(Health(), book, "127.0.0.1", 0) as port,
        pytest.raises(ConfigError, match="cannot listen"),
        serving(Health(), book, "127.0.0.1", port),
    ):
        pass
