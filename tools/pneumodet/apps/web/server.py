"""Starts Streamlit with the page, on this computer only: no question for an e-mail address, no statistics sent, no file watched.

serve(Options(model=Path("workspace/my_first/export")), port=8501)         # until Ctrl-C
"""

import contextlib
import dataclasses
import importlib.util
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumodet.apps.web import own_address, uploads
from pneumodet.core import installation, signals
from pneumodet.core.errors import ConfigError, EnvironmentProblem

PORT = 8501
"""Streamlit's usual one."""

LOOPBACK = "127.0.0.1"
"""No other computer reaches it. Radiographs are no one else's business; to let others in, put a server with passwords and TLS before it."""

FORGET_AFTER_S = 30
"""A user's radiographs go so long after the page was closed; a connection that broke off may come back in this time."""

PAGE = Path(__file__).with_name("page.py")
"""The script that Streamlit runs for every view."""

_COLOURS = {
    "light": {"primaryColor": "#005a8e", "backgroundColor": "#ffffff", "secondaryBackgroundColor": "#f2f4f7", "textColor": "#0b0d10"},
    "dark": {"primaryColor": "#56b4e9", "backgroundColor": "#14171a", "secondaryBackgroundColor": "#1e2328", "textColor": "#f2f4f7"},
}
"""Those of the HTML report, but for the text: Streamlit shows captions at 60 % of it, which is to stand out by 4.5 to 1, too (WCAG 2.1, 1.4.3)."""

_HEADINGS = ["1.8rem", "1.35rem", "1.2rem", "1.1rem", "1rem", "1rem"]
"""Smaller than Streamlit's, so that a phone shows the sentence on research and the uploader at once."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What the page shows; it travels to the page's script as one argument.

    Attributes:
      model: folder of the exported model.
      backend: as ``inference.detectors.open`` takes it.
      labels: ground truth to draw, or None.
      heatmaps: folder of ``heatmaps.Folder``, or None.
      trust: as ``inference.detectors.open`` takes it.
    """

    model: Path
    backend: str = "auto"
    labels: Path | None = None
    heatmaps: Path | None = None
    trust: bool = False

    def to_argument(self) -> str:
        """Return what ``from_arguments`` reads."""
        return json.dumps({key: str(value) if isinstance(value, Path) else value for key, value in vars(self).items()})

    @classmethod
    def from_arguments(cls, argv: Sequence[str]) -> "Options":
        """Read the options in the script."""
        given = json.loads(argv[1])
        places = {key: given[key] and Path(given[key]) for key in ("model", "labels", "heatmaps")}
        return cls(backend=given["backend"], trust=given["trust"], **places)


def settings(port: int) -> dict[str, Any]:
    """Return Streamlit's settings, which go before those of any file of the user's."""
    return {
        "server.address": LOOPBACK,
        "server.port": port,
        "server.headless": True,  # opens no browser and asks no question
        "server.fileWatcherType": "none",
        # less one: Streamlit writes 512 MB as "1GB"
        "server.maxUploadSize": (max(uploads.MAX_FILE_BYTES, uploads.MAX_ARCHIVE_BYTES) >> 20) - 1,
        "server.enableXsrfProtection": True,
        "server.enableStaticServing": False,
        "server.enableAgentApi": False,
        "server.disconnectedSessionTTL": FORGET_AFTER_S,
        "browser.gatherUsageStats": False,
        "browser.serverAddress": LOOPBACK,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showSidebarNavigation": False,
        "client.showErrorLinks": False,
        "runner.magicEnabled": False,  # would show the script's own docstrings
        "global.developmentMode": False,
        "logger.level": "warning",
        "logger.hideWelcomeMessage": True,  # the command says where the page is
        "theme.headingFontSizes": _HEADINGS,
        "theme.paddingTop": "2.5rem",
        **{f"theme.{base}.{name}": colour for base, colours in _COLOURS.items() for name, colour in colours.items()},
    }


def check_ready(port: int) -> None:
    """See that Streamlit is installed and the port is free.

    Raises:
      EnvironmentProblem: Streamlit is not installed.
      ConfigError: something else listens at this port.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise EnvironmentProblem(f"The web page needs the package streamlit. Install it by {installation.command('app')}.")
    with socket.socket() as one:
        # the port of a page that has just ended is free, though connections to it are still in TIME_WAIT
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((LOOPBACK, port))
        except OSError as error:
            raise ConfigError(f"Port {port} cannot be used: {error.strerror}. Choose another one with --port.") from None


def serve(options: Options, *, port: int = PORT, addresses: Sequence[str] = ()) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
      options: what it shows.
      port: of ``LOOPBACK``.
      addresses: of servers that pass requests on to it; it answers under no others but its own.

    Raises:
      EnvironmentProblem, ConfigError: as ``check_ready`` and ``own_address.addresses_of``.
    """
    check_ready(port)
    own = own_address.addresses_of(port, addresses)
    from starlette.middleware import Middleware
    from streamlit import App

    logging.getLogger("streamlit").setLevel(logging.WARNING)
    # what the page's script finds there
    sys.argv = [str(PAGE), options.to_argument()]
    app = App(PAGE, middleware=[Middleware(own_address.OwnAddress, addresses=own)])
    # uvicorn sends the signal that has ended it once more, when all is closed: that is the wish of the user, and no fault
    with contextlib.suppress(KeyboardInterrupt), signals.handled(signal.default_int_handler):
        app.run(config=settings(port))
