"""Kaggle's official client, asked for one thing: where the competition's files lie today.

    address = archive_address()
    address.url, address.size_bytes          # signed for some days; nobody else's to read

The client (package kaggle, Apache-2.0) signs in and asks; the bytes are fetched by ``download``, which resumes after a cut in another process and
never leaves half a file under a final name. The client signs in while it is imported, and says what is missing by print and exit.
"""

import contextlib
import dataclasses
import io
import tempfile
import textwrap
from typing import Any

from pneumodet.core import installation
from pneumodet.core.errors import DataError, EnvironmentProblem, first_line

COMPETITION = "rsna-pneumonia-detection-challenge"
"""Its name on Kaggle."""

PAGE = f"https://www.kaggle.com/competitions/{COMPETITION}"
RULES, FILES, TOKENS = f"{PAGE}/rules", f"{PAGE}/data", "https://www.kaggle.com/settings/api"
"""Where rules are accepted, where a browser downloads the files, and where tokens are made."""

_HOW_TO_SIGN_IN = (
    f"Make a token at {TOKENS} and put it into the environment variable KAGGLE_API_TOKEN or the file ~/.kaggle/access_token, or sign in with: "
    "kaggle auth login"
)


@dataclasses.dataclass(frozen=True)
class Address:
    """Where the archive of all files lies.

    Attributes:
      url: signed; it works for some days.
      size_bytes: of the archive; None where the server does not say.
    """

    url: str = dataclasses.field(repr=False)
    size_bytes: int | None


def archive_address() -> Address:
    """Ask Kaggle for the archive of all files of the competition.

    Raises:
      EnvironmentProblem: the client is not installed, cannot work here, or Kaggle cannot be reached.
      DataError: there are no credentials, Kaggle does not accept them, or the rules of the competition were not accepted.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):  # its advice is about its own commands
        client = _signed_in()
        from requests import RequestException  # the client needs it, too

        try:
            with tempfile.TemporaryDirectory() as nothing_comes_here:
                client.competition_download_files(COMPETITION, path=nothing_comes_here, force=True, quiet=True)
        except RequestException as error:
            raise _explained(error) from error
    response = client.response
    if response is None or not response.history:  # no other place was named, or this client no longer asks as it did
        raise EnvironmentProblem("Kaggle answers in a way that this release does not know. Try: pip install --upgrade kaggle.")
    length = response.headers.get("Content-Length")
    return Address(response.url, int(length) if length else None)


def _signed_in() -> Any:
    """Return a client that is signed in, and that keeps the answer in ``response`` instead of writing the file."""
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as error:
        raise EnvironmentProblem(
            f"The files are downloaded with the package kaggle, which is not installed. Run: {installation.command('kaggle')}."
        ) from error
    except SystemExit as error:  # clients before 2.0, as the next
        raise _no_credentials() from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise EnvironmentProblem(
                f"Kaggle's client cannot use its folder {error.filename} ({error.strerror}). Name another one by the environment variable KAGGLE_CONFIG_DIR."
            ) from error
        raise _no_credentials() from error
    from requests import RequestException

    class Asking(KaggleApi):
        response: Any = None

        def download_file(self, response: Any, *_: Any, **__: Any) -> None:
            self.response = response
            # the address is all that is wanted; its bytes are fetched by download
            response.close()

    client = Asking()
    try:
        client.authenticate()
    except SystemExit as error:
        raise _no_credentials() from error
    except RequestException as error:
        raise _explained(error) from error
    return client


def _no_credentials() -> DataError:
    with contextlib.suppress(Exception):  # a part of the client that older ones do not have
        from kagglesdk.kaggle_env import get_access_token_from_env

        if source := get_access_token_from_env()[1]:
            where = "the environment variable KAGGLE_API_TOKEN" if source == "KAGGLE_API_TOKEN" else "~/.kaggle/access_token"
            return DataError(f"Kaggle does not accept the token in {where}: it is wrong, or no longer valid. {_HOW_TO_SIGN_IN}.")
    return DataError(f"There are no credentials for Kaggle. {_HOW_TO_SIGN_IN}.")


def _explained(error: Any) -> Exception:
    """Return what to raise for an error of the client's connection."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code == 401:
        return DataError(f"Kaggle does not accept the credentials (401). {_HOW_TO_SIGN_IN}.")
    if code == 403:
        return DataError(
            f"Kaggle refuses the files (403): this account has not accepted the rules of the competition. Accept them at {RULES} while signed in "
            "(Kaggle may ask to verify a phone number first), and run the same command again."
        )
    if code == 404:
        return DataError(f"Kaggle does not know the competition (404). Check whether {PAGE} still exists.")
    if code == 429:
        return EnvironmentProblem(
            "Kaggle has had too many requests of this account (429). Wait some minutes, and run the same command again."
        )
    reason = f"it answers {code}" if code else f"{type(error).__name__}: {_cause(error)}"
    return EnvironmentProblem(f"Kaggle cannot be reached ({reason}). Check the connection and the proxy, and run the same command again.")


def _cause(error: Any) -> str:
    """Return what an error of requests says at its core: it wraps that of urllib3, which names addresses and objects before it."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    inner = getattr(inner, "reason", None) or inner
    text = first_line(inner) if isinstance(inner, BaseException) else str(inner)
    return textwrap.shorten(text.rpartition("): ")[2] or text, 200, placeholder=" …")
