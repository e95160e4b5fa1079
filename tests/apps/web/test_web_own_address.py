"""The page answers under its own addresses only: what a rebound name, another port's page and a proxy of the user's get."""

import asyncio

import pytest

from pneumodet.apps.web.own_address import OwnAddress, addresses_of
from pneumodet.core.errors import ConfigError


def asked(headers, *, kind="http", more=()):
    """Return what is sent to who asks; "let through" where the page itself is asked."""
    sent = []

    async def page(scope, receive, send):
        await send({"type": "let through"})

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [(name.encode(), value.encode()) for name, value in headers]}
    asyncio.run(OwnAddress(page, addresses=addresses_of(8501, more))(scope, None, send))
    return sent[0].get("status") or sent[0].get("code") or sent[0]["type"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("host", "127.0.0.1:8501")], id="no-origin"),
        pytest.param([("Host", "LOCALHOST:8501"), ("Origin", "http://localhost:8501")], id="localhost"),
        pytest.param([("host", "127.0.0.1:8501"), ("origin", "http://127.0.0.1:8501")], id="own"),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_its_own_addresses_are_answered(headers, kind):
    assert asked(headers, kind=kind) == "let through"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("host", "evil.example"), ("origin", "http://evil.example")], id="rebound"),
        pytest.param([("host", "evil.example:8501")], id="rebound-without-origin"),
        pytest.param([("host", "127.0.0.1:8501"), ("origin", "http://127.0.0.1:8888")], id="other-port"),
        pytest.param([("host", "127.0.0.1:8501"), ("origin", "http://localhost:8501")], id="other-name"),
        pytest.param([("host", "127.0.0.1:8501"), ("origin", "https://127.0.0.1:8501")], id="other-scheme"),
        pytest.param([("host", "127.0.0.1:8501"), ("origin", "null")], id="sandbox"),
        pytest.param(
            [("host", "127.0.0.1:8501"), ("origin", "http://127.0.0.1:8501"), ("origin", "http://evil.example")], id="two-origins"
        ),
        pytest.param([("host", "127.0.0.1:8501"), ("host", "evil.example")], id="two-hosts"),
        pytest.param([("host", "127.0.0.1")], id="other-port-of-host"),
        pytest.param([], id="no-host"),
    ],
)
def test_others_are_refused(headers):
    assert (asked(headers), asked(headers, kind="websocket")) == (403, 1008)


def test_a_server_of_the_users_before_the_page():
    more = ("https://page.example/",)
    through = [("host", "page.example"), ("origin", "https://page.example")]
    assert asked(through) == 403
    assert asked(through, more=more) == "let through"
    assert asked([("host", "page.example"), ("origin", "http://page.example")], more=more) == 403


def test_what_is_no_request_is_let_through():
    assert asked([], kind="lifespan") == "let through"


@pytest.mark.parametrize(
    "address", ["page.example", "ftp://page.example", "https://", "https://page.example/path", "https://a@page.example"]
)
def test_an_address_is_one_of_a_server(address):
    with pytest.raises(ConfigError, match="is no address of a server"):
        addresses_of(8501, [address])


def test_the_port_that_browsers_leave_out():
    assert addresses_of(80)["localhost"] == "http://localhost"
