"""ASGI middleware: the page answers only under its own addresses, and no other site's script gets a session.

app = OwnAddress(app, addresses=addresses_of(8501))

A site may point its name at 127.0.0.1 (DNS rebinding): a visitor's browser then takes the page for the site's own, but still sends the site's name as
Host (RFC 9110, section 7.2). Pages of other ports of this computer are other origins, which the browser names in Origin (RFC 6454, section 7).
"""

import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

from pneumodet.core.errors import ConfigError

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

HOSTS = ("127.0.0.1", "localhost")
"""Names of this computer under which the page is reached."""

_HTTP_PORT = 80
"""Which browsers leave out."""

_POLICY_VIOLATION = 1008
"""Code with which a WebSocket is closed (RFC 6455, section 7.4.1); before it is accepted it becomes an answer 403."""

REFUSED = b"This page answers only under the address that pneumodet has printed.\n"


def addresses_of(port: int, more: Sequence[str] = ()) -> dict[str, str]:
    """Return Host -> the only Origin that goes with it.

    Args:
      port: of the page.
      more: addresses of servers that pass requests on, such as ``https://page.example``.

    Raises:
      ConfigError: one of these is no address of a server.
    """
    own = [f"http://{host}:{port}" for host in HOSTS]
    own += [f"http://{host}" for host in HOSTS if port == _HTTP_PORT]
    return {_host_of(one): one for one in [*own, *(address.rstrip("/").lower() for address in more)]}


def _host_of(address: str) -> str:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc or address != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        raise ConfigError(f"{address!r} is no address of a server; it must be like https://page.example or https://page.example:8443.")
    return parts.netloc


class OwnAddress:
    """Refuses requests and WebSockets whose Host or Origin is of elsewhere; programs that send no Origin are let through."""

    def __init__(self, app: App, *, addresses: Mapping[str, str]) -> None:
        """Take the application.

        Args:
          app: what answers.
          addresses: see ``addresses_of``.
        """
        self._app, self._addresses = app, addresses

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        """Answer, or refuse (ASGI 3.0)."""
        if scope["type"] == "lifespan" or self._is_own(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            length = str(len(REFUSED)).encode()
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSED})

    def _is_own(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given: dict[bytes, list[str]] = {b"host": [], b"origin": []}
        for name, value in headers:
            if name.lower() in given:
                given[name.lower()].append(value.decode("latin-1").lower())
        # one that is named twice could be read one way here and another way behind
        if len(given[b"host"]) != 1 or len(given[b"origin"]) > 1:
            return False
        origin = self._addresses.get(given[b"host"][0])
        return origin is not None and given[b"origin"] in ([], [origin])
