"""Radiographs of a PACS by DICOMweb: what there is by QIDO-RS (PS3.18 10.6), the objects by WADO-RS (PS3.18 10.4).

    server = Server.of("https://pacs.example/dicom-web/studies/1.2.840.1")
    for exam, instance in server.radiographs(url, known=(), refused=[]): ...       # instance.read_bytes()

A URL ends in ``studies`` (and may have a query, as ``?StudyDate=20260101-``), ``studies/UID``, ``series/UID`` or ``instances/UID``. Who asks is
told by the environment (``pacs.access``), never by the URL; certificates are always checked. Objects are fetched one by one, when they are needed.
"""

import dataclasses
import json
import os
import re
import threading
from collections.abc import Container, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from pneumodet.data import sources
from pneumodet.errors import ConfigError, DataError, EnvironmentProblem
from pneumodet.inference import admission
from pneumodet.pacs import access, multipart
from pneumodet.pacs.faults import Trouble, is_uid

PAGE = 500
"""Entries that are asked for at a time."""

SURELY_LAST = 20
"""A page with fewer entries is the last one; servers may send less than was asked for (PS3.18 8.3.4.4), but no page is as short as this."""

MAX_OBJECT_BYTES = 256 << 20
"""Of one object; several are in memory at a time. An uncompressed 16-bit radiograph of 5,000 x 5,000 px has 50 MB."""

MAX_LIST_BYTES = 64 << 20
"""Of one page; an entry has about 2 kB."""

SECONDS = (10, 60)
"""To connect, and between two pieces of an answer."""

RETRIES = 4
"""Of a request that found the server away or busy."""

PAUSE_SECONDS = 0.5
"""Before the second one of them; each further pause is twice as long."""

_RESOURCE = re.compile(r"^(?P<base>.*)/studies(?:/(?P<study>[^/]+)(?:/series/(?P<series>[^/]+)(?:/instances/(?P<instance>[^/]+))?)?)?/?$")

_SOP_INSTANCE, _PATIENT_ID, _STUDY, _SERIES = "00080018", "00100020", "0020000D", "0020000E"

_ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""The object as it is stored, not decompressed for us (PS3.18 8.7.3.5.2)."""

_HTTP = ("http://", "https://")
_MIB = 1 << 20


class Unreachable(DataError):
    """The server does not answer, or not to us: no fault of one radiograph, and reason to stop."""


def is_dicomweb(root: Any) -> bool:
    """Whether this is the URL of a DICOMweb service; other URLs are Apache Beam's."""
    return str(root).lower().startswith(_HTTP)


@dataclasses.dataclass(frozen=True)
class Instance:
    """An object on a server, which is fetched when it is read.

    Attributes:
      url: of it.
      server: that has it.
    """

    url: str
    server: "Server" = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """Its SOPInstanceUID as a file name."""
        return self.url.rpartition("/")[2] + ".dcm"

    def read_bytes(self) -> bytes:
        """Return the object as a DICOM file.

        Raises:
          Unreachable: the server is away.
          DataError: it does not have the object, or sends something else.
        """
        try:
            body, kind = self.server.get(self.url, accept=_ANY_SYNTAX, most=MAX_OBJECT_BYTES)
        except Unreachable as error:
            if not self.server.answers():
                raise
            raise DataError(
                f"{self}: the server answers, but not when it is asked for this object ({error.__cause__ or 'not allowed'})."
            ) from None
        try:
            return multipart.only_part(body, kind)
        except Trouble as error:
            raise DataError(f"{self}: {error}.") from None


class Server:
    """A DICOMweb service."""

    def __init__(self, base: str, who: access.Access) -> None:
        """Take the service's URL, which ends before ``/studies``, and who asks."""
        self.base = base
        self._access = who
        self._of_thread = threading.local()  # sessions are not to be shared by threads

    @classmethod
    def of(cls, url: str) -> "Server":
        """Return the service that a URL leads to.

        Raises:
          ConfigError: it is no URL of DICOMweb, has credentials in it, or leads to another machine without TLS; or the environment is not right.
          EnvironmentProblem: the package requests is not installed.
        """
        who = access.read(os.environ)
        parts = urlsplit(url)
        bare = who.check_url(urlunsplit(parts._replace(query="", fragment="")))
        matched = _RESOURCE.match(bare)
        if matched is None:
            raise ConfigError(
                f"{bare} is no DICOMweb URL. It must end in /studies, /studies/UID, /studies/UID/series/UID or /studies/UID/series/UID/instances/UID."
            )
        if {"limit", "offset"} & {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}:
            raise ConfigError(f"Leave limit and offset out of the query {parts.query!r}: all pages are asked for.")
        wrong = next((uid for uid in (matched["study"], matched["series"], matched["instance"]) if uid and not is_uid(uid)), None)
        if wrong:
            raise ConfigError(f"{wrong!r} in {bare} is no DICOM UID.")
        try:
            import requests  # noqa: F401
        except ImportError as error:
            raise EnvironmentProblem("DICOMweb needs the package requests: pip install 'pneumodet[predict]'.") from error
        return cls(matched["base"], who)

    def radiographs(self, url: str, *, known: Container[str], refused: list[tuple[str, str]]) -> Iterator[tuple[str, Instance]]:
        """Yield (exam, object) of what a URL names, page after page.

        The exam is the PatientID where ``known`` has it, as RSNA's labels do; else the SOPInstanceUID.

        Args:
          url: as the module tells.
          known: patientIds of labels.
          refused: gets (name, reason) of objects that are no radiographs.

        Raises:
          DataError: the server is away or refuses, its list cannot be read, or there is no radiograph.
        """
        parts = urlsplit(url)
        found = _RESOURCE.match(parts.path.rstrip("/"))
        study, series, instance = found["study"], found["series"], found["instance"]
        if instance:
            yield instance, Instance(f"{self.base}/studies/{study}/series/{series}/instances/{instance}", self)
            return
        seen: set[str] = set()
        studies = [study] if study else self._uids(f"{self.base}/studies", parts.query, _STUDY)
        for one in studies:
            below = f"{self.base}/studies/{one}" + (f"/series/{series}" if series else "") + "/instances"
            for entry in self._list(below, f"includefield={_PATIENT_ID}&includefield={_SERIES}"):
                uid, of_series = _text(entry, _SOP_INSTANCE), series or _text(entry, _SERIES)
                if not is_uid(uid) or not is_uid(of_series):
                    refused.append((f"{uid or 'an object'} of study {one}", "the server does not tell its UIDs"))
                    continue
                reason = admission.refusal(admission.facts_of_json(entry), admission.PREDICT_LISTED)
                if reason is not None:
                    refused.append((f"{uid}.dcm", reason))
                    continue
                patient = _text(entry, _PATIENT_ID)
                exam = patient if patient and patient in known else uid
                if exam in seen:
                    refused.append((f"{uid}.dcm", sources.SECOND_FILE + exam))
                    continue
                seen.add(exam)
                yield exam, Instance(f"{self.base}/studies/{one}/series/{of_series}/instances/{uid}", self)
        if not seen:
            raise DataError(f"There is no radiograph at {url}." + (f" {len(refused)} objects there are something else." if refused else ""))

    def _uids(self, url: str, query: str, tag: str) -> Iterator[str]:
        for entry in self._list(url, query):
            uid = _text(entry, tag)
            if not is_uid(uid):
                raise DataError(f"{url} lists an entry without a UID. Is this a DICOMweb service?")
            yield uid

    def _list(self, url: str, query: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of a search, page after page (PS3.18 8.3.4.4); a server that knows no pages sends all at once, and is noticed."""
        offset, last = 0, None
        while True:
            asked = "&".join([*([query] if query else []), f"limit={PAGE}", f"offset={offset}"])
            body, _ = self.get(f"{url}?{asked}", accept="application/dicom+json", most=MAX_LIST_BYTES)
            try:
                entries = json.loads(body) if body else []
            except ValueError:
                entries = None
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise DataError(f"{url} does not answer with a list of DICOM objects. Is this a DICOMweb service?")
            if entries == last:
                return
            yield from entries
            if len(entries) < SURELY_LAST:
                return
            offset, last = offset + len(entries), entries

    def get(self, url: str, *, accept: str, most: int) -> tuple[bytes, str]:
        """Return (body, Content-Type) of a URL of this service.

        Args:
          url: of it.
          accept: media types that are wanted.
          most: bytes; an answer that is longer is not read to its end.

        Raises:
          Unreachable: no answer, or none to us.
          DataError: another answer than 200, or one that is too long.
        """
        import requests
        import urllib3

        session = self._session()
        try:
            with session.get(url, headers={"Accept": accept}, timeout=SECONDS, stream=True, allow_redirects=False) as answer:
                if answer.status_code in (401, 403):
                    raise Unreachable(
                        f"{self.base} refuses us (HTTP {answer.status_code}). Set {access.PREFIX}USER and {access.PREFIX}PASSWORD, or "
                        f"{access.PREFIX}TOKEN, in the environment."
                    )
                if answer.status_code == 204:
                    return b"", ""
                if answer.status_code != 200:
                    raise DataError(f"{_bare(url)} answers with HTTP {answer.status_code}, but 200 was expected.")
                body = bytearray()
                for piece in answer.iter_content(_MIB):
                    body += piece
                    if len(body) > most:
                        raise DataError(f"{_bare(url)} sends more than {most >> 20} MiB.")
                return bytes(body), answer.headers.get("Content-Type", "")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            why = OSError(_why(error))  # and not the error itself, which may hold the request with its credentials
            raise Unreachable(f"{self.base} does not answer ({why}). Look whether it runs and whether the URL is right.") from why

    def answers(self) -> bool:
        """Return whether the service answers a small question at the moment."""
        try:
            self.get(f"{self.base}/studies?limit=1", accept="application/dicom+json", most=MAX_LIST_BYTES)
        except DataError:
            return False
        return True

    def _session(self) -> Any:
        session = getattr(self._of_thread, "session", None)
        if session is None:
            session = self._of_thread.session = _new_session(self._access)
        return session


def _new_session(who: access.Access) -> Any:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    session = requests.Session()
    retry = Retry(
        total=RETRIES,
        backoff_factor=PAUSE_SECONDS,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=("GET",),
        respect_retry_after_header=False,
    )
    for scheme in _HTTP:
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    session.headers["Accept-Encoding"] = "identity"  # a compressed answer could unfold to any size
    session.trust_env = False  # ~/.netrc and REQUESTS_CA_BUNDLE would take the place of what the access says
    if who.user is not None:
        session.auth = (who.user.encode(), who.password.encode())
    if who.token is not None:
        session.headers["Authorization"] = f"Bearer {who.token}"
    session.verify = True if who.ca is None else str(who.ca)
    if who.certificate is not None:
        session.cert = str(who.certificate) if who.key is None else (str(who.certificate), str(who.key))
    return session


def _text(entry: dict[str, Any], tag: str) -> str:
    """Return the first value of an attribute of the DICOM JSON model (PS3.18 F.2), or nothing."""
    attribute = entry.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values[0].strip() if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _bare(url: str) -> str:
    return quote(url.partition("?")[0], safe=":/")


def _why(error: BaseException) -> str:
    """Return what happened without the request, whose headers hold credentials."""
    name = type(error).__name__
    return (
        "its certificate is not trusted"
        if "SSL" in name
        else {"ConnectTimeout": "no connection", "ReadTimeout": "too slow"}.get(name, name)
    )
