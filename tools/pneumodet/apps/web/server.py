"""Starts Streamlit with the page, on this computer only: no question for an e-mail address, no statistics sent, no file watched.

serve(Options(model=Path("workspace/my_first/export")), port=8501)         # until Ctrl-C
"""

import dataclasses
import importlib.util
import json
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumodet.apps.web import uploads
from pneumodet.core import installation
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
    """

    model: Path
    backend: str = "auto"
    labels: Path | None = None
    heatmaps: Path | None = None

    def to_argument(self) -> str:
        """Return what ``from_arguments`` reads."""
        return json.dumps({key: None if value is None else str(value) for key, value in dataclasses.asdict(self).items()})

    @classmethod
    def from_arguments(cls, argv: Sequence[str]) -> "Options":
        """Read the options in the script."""
        given = json.loads(argv[1])
        places = {key: given[key] and Path(given[key]) for key in ("model", "labels", "heatmaps")}
        return cls(backend=given["backend"], **places)


def settings(port: int) -> dict[str, Any]:
    """Return Streamlit's settings, which go before those of any file of the user's."""
    return {
        "server.address": LOOPBACK,
        "server.port": port,
        "server.headless": True,  # opens no browser and asks no question
        "server.fileWatcherType": "none",
        "server.maxUploadSize": max(uploads.MAX_FILE_BYTES, uploads.MAX_ARCHIVE_BYTES) >> 20,
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


def serve(options: Options, *, port: int = PORT) -> None:
    """Serve the page until Ctrl-C.

    Args:
      options: what it shows.
      port: of ``LOOPBACK``.

    Raises:
      EnvironmentProblem, ConfigError: as ``check_ready``.
    """
    check_ready(port)
    from streamlit.web import bootstrap

    logging.getLogger("streamlit").setLevel(logging.WARNING)
    # Streamlit's bootstrap takes settings as flags, with an underscore for the dot
    given = {name.replace(".", "_"): value for name, value in settings(port).items()}
    bootstrap.load_config_options(flag_options=given)
    bootstrap.run(str(PAGE), False, [options.to_argument()], given)
