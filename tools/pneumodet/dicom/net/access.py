"""Who we are to a PACS: credentials and TLS, from the environment and nowhere else.

    PNEUMODET_PACS_USER, PNEUMODET_PACS_PASSWORD     HTTP basic authentication (RFC 7617)
    PNEUMODET_PACS_TOKEN                             or a bearer token (RFC 6750)
    PNEUMODET_PACS_CA                                file: certificates of the authorities that are trusted; the system's where it is absent
    PNEUMODET_PACS_CERTIFICATE, PNEUMODET_PACS_KEY   files: our own certificate (for TLS with client certificates, and to receive by TLS)
    PNEUMODET_PACS_DICOM_TLS=1                       C-STORE, both ways, by TLS (PS3.15 B.9: TLS 1.2 or newer)
    PNEUMODET_PACS_PLAIN_HTTP=1                      allows http:// to another machine; without it only https:// or this machine
    PNEUMODET_PACS_PASSWORD_FILE, PNEUMODET_PACS_TOKEN_FILE   a file that holds the secret, as Docker gives them

A command line is seen by every user of the machine and kept in histories; so a secret in a URL is refused.
"""

import dataclasses
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pneumodet.core.errors import ConfigError

PREFIX = "PNEUMODET_PACS_"
"""Of every variable."""

NO = ("", "0", "no", "false")
"""Values of a variable that mean no."""


@dataclasses.dataclass(frozen=True)
class Access:
    """Credentials and TLS; the secrets are not in its ``repr``.

    Attributes:
      user: of HTTP basic authentication, or None.
      password: its password.
      token: a bearer token, or None.
      ca: file of trusted certificates, or None for the system's.
      certificate: file of the own certificate, or None.
      key: file of its key, or None where the certificate's file holds it.
      dicom_tls: whether C-STORE goes by TLS.
      plain_http: whether http:// to another machine is allowed.
    """

    user: str | None = None
    password: str | None = dataclasses.field(default=None, repr=False)
    token: str | None = dataclasses.field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    dicom_tls: bool = False
    plain_http: bool = False

    def check_url(self, url: str) -> str:
        """Return a DICOMweb service's URL without a slash at its end.

        Raises:
          ConfigError: it is no URL, holds credentials, a query or a fragment, or leads to another machine without TLS.
        """
        try:
            parts = urlsplit(url)
            # port raises ValueError where it is no number; the messages do not quote the URL, which may hold a password
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ConfigError("The DICOMweb URL cannot be read. It looks like https://pacs.example/dicom-web.") from None
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                f"The DICOMweb URL holds a user or password, which others could read. Set {PREFIX}USER and {PREFIX}PASSWORD in the environment."
            )
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise ConfigError("The DICOMweb URL must look like https://pacs.example/dicom-web, without ? and #.")
        if parts.scheme == "http" and not self.plain_http and not _is_this_machine(host):
            raise ConfigError(
                f"The DICOMweb URL leads to {host} without TLS, so that radiographs and credentials would go in the clear. Use https://, or set "
                f"{PREFIX}PLAIN_HTTP=1 where the network between is yours alone."
            )
        return url.rstrip("/")

    def client_context(self) -> ssl.SSLContext:
        """Return TLS for calling others by C-STORE: their certificate is checked, and the own one is shown where there is one.

        Raises:
          ConfigError: a certificate or key cannot be used.
        """
        return self._filled(lambda: ssl.create_default_context(cafile=self.ca))

    def server_context(self) -> ssl.SSLContext:
        """Return TLS for being called by C-STORE; callers must show a certificate where trusted authorities are named.

        Raises:
          ConfigError: there is no certificate, or it or its key cannot be used.
        """
        if self.certificate is None:
            raise ConfigError(f"Receiving by TLS needs a certificate. Set {PREFIX}CERTIFICATE and {PREFIX}KEY to its files.")

        def made() -> ssl.SSLContext:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            if self.ca is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self.ca)
            return context

        return self._filled(made)

    def _filled(self, made: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        try:
            context = made()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"A certificate or key cannot be used ({type(error).__name__}). Check {PREFIX}CA, _CERTIFICATE, _KEY."
            ) from None
        return context


def read(environ: Mapping[str, str]) -> Access:
    """Return the access that the environment gives.

    Raises:
      ConfigError: a file is missing, a secret is given twice or by half, or a variable with this prefix is not known.
    """
    names = {"USER", "PASSWORD", "PASSWORD_FILE", "TOKEN", "TOKEN_FILE", "CA", "CERTIFICATE", "KEY", "DICOM_TLS", "PLAIN_HTTP"}
    # a variable that is misspelt would leave its setting at the default unseen
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in names)
    if unknown:
        raise ConfigError(f"{unknown[0]} is not known. Variables: {', '.join(PREFIX + name for name in sorted(names))}.")
    user, password, token = environ.get(PREFIX + "USER") or None, _secret(environ, "PASSWORD"), _secret(environ, "TOKEN")
    if (user is None) != (password is None):
        raise ConfigError(f"{PREFIX}USER and {PREFIX}PASSWORD belong together, and one of them is missing.")
    if user is not None and token is not None:
        raise ConfigError(f"Both {PREFIX}USER and {PREFIX}TOKEN are set. Set one of them.")
    ca, certificate, key = (_file(environ, name) for name in ("CA", "CERTIFICATE", "KEY"))
    flags = {name.lower(): environ.get(PREFIX + name, "").strip().lower() not in NO for name in ("DICOM_TLS", "PLAIN_HTTP")}
    return Access(user, password, token, ca, certificate, key, **flags)


def _secret(environ: Mapping[str, str], name: str) -> str | None:
    value, file = environ.get(PREFIX + name) or None, _file(environ, name + "_FILE")
    if value is not None and file is not None:
        raise ConfigError(f"Both {PREFIX}{name} and {PREFIX}{name}_FILE are set. Set one of them.")
    if file is None:
        return value
    try:
        # the line's end, which editors and echo write, is no part of a secret
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The file of {PREFIX}{name}_FILE cannot be read ({type(error).__name__}).") from None


def _file(environ: Mapping[str, str], name: str) -> Path | None:
    value = environ.get(PREFIX + name)
    if not value:
        return None
    if not Path(value).is_file():
        raise ConfigError(f"{PREFIX}{name} names a file that is not there: {value}.")
    return Path(value)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
