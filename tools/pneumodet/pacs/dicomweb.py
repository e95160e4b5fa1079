"""A PACS by DICOMweb (PS3.18): what is new (QIDO-RS), a radiograph (WADO-RS), and reports back (STOW-RS), each with bounds.

    pacs = Dicomweb("https://pacs.example/dicom-web", access.read(os.environ), max_bytes=128 << 20)
    for found in pacs.instances("CR", since=None): ...
    data = pacs.fetch(found.study_uid, found.series_uid, found.sop_uid)
    if not pacs.has(study_uid, report_uid):
        pacs.store(study_uid, [report])

Every call raises ``Trouble`` where it may work later; messages hold neither URLs nor UIDs.
"""

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from pneumodet.errors import EnvironmentProblem
from pneumodet.pacs import multipart
from pneumodet.pacs.access import Access
from pneumodet.pacs.faults import Refused, Trouble, is_uid

CONNECT_SECONDS, READ_SECONDS = 10, 60
"""How long the PACS may take to accept a connection, and between two pieces of an answer."""

ANSWER_SECONDS = 600
"""How long a whole answer may take, however steadily its pieces drip in."""

MAX_LIST_BYTES = 1 << 25
"""Of one page of a list; a hundred instances have some 200 kB."""

PAGE = 100
"""Instances asked for at a time."""

MAX_PAGES = 100_000
"""A list that has more is a server that begins again and again."""

_PIECE = 1 << 16

_SOP_CLASS, _SOP_UID, _STUDY_UID, _SERIES_UID = "00080016", "00080018", "0020000D", "0020000E"
_FAILED, _REFERENCED, _FAILURE = "00081198", "00081199", "00081197"

DUPLICATE = 0x0111
"""Failure reason: the object is there already (PS3.7 C.5.8 "Duplicate SOP Instance"), which is what was wanted."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Found:
    """An instance in a list.

    Attributes:
      sop_uid: SOPInstanceUID.
      study_uid: StudyInstanceUID.
      series_uid: SeriesInstanceUID.
      attributes: all that the list tells of it, in the DICOM JSON model (PS3.18 F).
    """

    sop_uid: str
    study_uid: str
    series_uid: str
    attributes: dict[str, Any]


class Dicomweb:
    """A DICOMweb service."""

    def __init__(self, url: str, access: Access, *, max_bytes: int) -> None:
        """Prepare calls; nothing is sent.

        Args:
          url: of the service, such as https://pacs.example/dicom-web.
          access: credentials and TLS.
          max_bytes: of a radiograph; a larger one is refused before it is read.

        Raises:
          ConfigError: the URL cannot be used.
          EnvironmentProblem: requests is not installed.
        """
        try:
            import requests
            import urllib3
        except ImportError as error:
            raise EnvironmentProblem("DICOMweb needs the package requests. Run: pip install 'pneumodet[pacs]'") from error
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # below that it writes addresses with UIDs into the log
        self._errors = requests.RequestException, urllib3.exceptions.HTTPError, OSError
        self._url = access.check_url(url)
        self._max_bytes = max_bytes
        self._session = session = requests.Session()
        session.trust_env = False  # ~/.netrc and REQUESTS_CA_BUNDLE would take the place of what the access says
        session.verify = str(access.ca) if access.ca else True
        if access.certificate is not None:
            session.cert = str(access.certificate) if access.key is None else (str(access.certificate), str(access.key))
        if access.user is not None:
            session.auth = (access.user.encode(), access.password.encode())
        # a compressed answer could unfold to any size
        session.headers = {"User-Agent": "pneumodet", "Accept-Encoding": "identity"}
        if access.token is not None:
            session.headers["Authorization"] = f"Bearer {access.token}"

    def instances(self, modality: str, *, since: date | None) -> Iterator[Found]:
        """Yield the instances of a modality (0008,0060), a page at a time (PS3.18 10.6).

        Args:
          modality: ``CR`` or ``DX``.
          since: the earliest StudyDate (0008,0020); None for all. No standard tells when an instance came.

        Raises:
          Trouble: the PACS does not answer, or not with a list.
        """
        wanted = {"Modality": modality} | ({} if since is None else {"StudyDate": f"{since:%Y%m%d}-"})
        seen: set[str] = set()
        malformed = 0
        offset = 0
        for _ in range(MAX_PAGES):
            page = self._list("instances", wanted | {"limit": str(PAGE), "offset": str(offset)})
            before = len(seen)
            for item in page:
                uids = [_text(item, tag) for tag in (_SOP_UID, _STUDY_UID, _SERIES_UID)]
                if not all(map(is_uid, uids)):
                    malformed += 1
                elif uids[0] not in seen:
                    seen.add(uids[0])
                    yield Found(*uids, item)
            offset += len(page)
            if len(seen) == before:  # no page, or a server that does not know offset and begins again
                break
        if malformed:
            logger.warning("%d %s instances in the list of the PACS have no usable UIDs and are left out", malformed, modality)

    def has(self, study_uid: str, sop_uid: str) -> bool:
        """Whether an instance is in a study.

        Raises:
          Trouble: the PACS does not answer, or not with a list.
        """
        page = self._list(f"studies/{study_uid}/instances", {_SOP_UID: sop_uid, "limit": str(PAGE)})
        return any(_text(item, _SOP_UID) == sop_uid for item in page)

    def probe(self) -> None:
        """Ask for as little as possible.

        Raises:
          Trouble: the PACS does not answer.
        """
        self._list("studies", {"limit": "1"})

    def fetch(self, study_uid: str, series_uid: str, sop_uid: str) -> bytes:
        """Return an instance as a DICOM file, as the PACS has it (PS3.18 10.4, transfer-syntax=*).

        Raises:
          Refused: it is larger than ``max_bytes``; no more than that of it was read.
          Trouble: the PACS does not answer, or with something else.
        """
        path = f"studies/{study_uid}/series/{series_uid}/instances/{sop_uid}"
        accept = f'multipart/related; type="{multipart.DICOM}"; transfer-syntax=*'
        limit = self._max_bytes + 2 * multipart.MAX_HEADER_BYTES
        too_large = Refused(f"it has more than {self._max_bytes >> 20} MB, or {self._max_bytes} bytes, which is the limit")
        with self._answer("GET", path, headers={"Accept": accept}) as answer:
            if answer.status_code != 200:
                raise _trouble(answer.status_code)
            data = multipart.only_part(_read(answer, limit, too_large), answer.headers.get("Content-Type", ""))
        if len(data) > self._max_bytes:
            raise too_large
        return data

    def store(self, study_uid: str, objects: Sequence[bytes]) -> None:
        """Store DICOM files in a study (PS3.18 10.5); one that is there already counts as stored.

        Raises:
          Trouble: the PACS did not take all of them.
        """
        body, kind = multipart.write(objects)
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        with self._answer("POST", f"studies/{study_uid}", headers=headers, data=body) as answer:
            status = answer.status_code
            contents = _read(answer, MAX_LIST_BYTES, Trouble("the PACS answers with too much"))
        if status not in (200, 202, 409):
            raise _trouble(status)
        try:
            report = json.loads(contents)
            failed = [_number(item, _FAILURE) for item in report.get(_FAILED, {}).get("Value", ())]
            stored = len(report.get(_REFERENCED, {}).get("Value", ()))
        except (ValueError, AttributeError, TypeError, RecursionError):
            raise Trouble(f"the PACS answered {status} to a report, but does not say whether it has it") from None
        wrong = [reason for reason in failed if reason != DUPLICATE]
        if wrong:
            raise Trouble(f"the PACS did not take a report (failure reason {', '.join(f'{one:04X}H' for one in wrong)})")
        if stored + len(failed) < len(objects):
            raise Trouble(f"the PACS answered {status}, but names only {stored} of {len(objects)} objects as stored")

    def _list(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        with self._answer("GET", path, headers={"Accept": "application/dicom+json"}, params=query) as answer:
            if answer.status_code == 204:  # nothing fits
                return []
            if answer.status_code != 200:
                raise _trouble(answer.status_code)
            contents = _read(answer, MAX_LIST_BYTES, Trouble("the PACS answers with an endless list"))
        try:
            page = json.loads(contents or b"[]")
        except (ValueError, RecursionError):
            raise Trouble("the PACS did not answer with a list") from None
        if not isinstance(page, list) or not all(isinstance(item, dict) for item in page):
            raise Trouble("the PACS did not answer with a list")
        return page

    @contextlib.contextmanager
    def _answer(self, method: str, path: str, **more: Any) -> Iterator[Any]:
        try:
            # no redirects: they could lead to another machine, with the radiograph's identifiers
            with self._session.request(
                method, f"{self._url}/{path}", stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS), allow_redirects=False, **more
            ) as answer:
                yield answer
        except self._errors as error:
            raise Trouble(f"the PACS cannot be reached ({type(error).__name__})") from None  # its text has the URL, and that the UIDs


def _read(answer: Any, limit: int, too_large: Exception) -> bytes:
    """Return an answer's body.

    Raises:
      ``too_large`` as soon as it is known that there are more than ``limit`` bytes.
      Trouble: it takes too long, or is compressed.
    """
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise Trouble("the PACS answers compressed, which was not asked for")
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    end = time.monotonic() + ANSWER_SECONDS
    data = bytearray()
    # what has come, and not a whole piece, which a server could let drip in for days
    while piece := answer.raw.read1(_PIECE):
        data += piece
        if len(data) > limit:
            raise too_large
        if time.monotonic() > end:
            raise Trouble(f"the PACS takes longer than {ANSWER_SECONDS} s for an answer")
    return bytes(data)


def _trouble(status: int) -> Trouble:
    hint = {401: "; look at the credentials", 403: "; look at the credentials", 404: "; it does not have it, or the URL is wrong"}.get(
        status, ""
    )
    return Trouble(f"the PACS answered {status}{hint}")


def _value(item: dict[str, Any], tag: str) -> Any:
    values = item.get(tag, {}).get("Value") if isinstance(item.get(tag, {}), dict) else None
    return values[0] if isinstance(values, list) and values else None


def _text(item: dict[str, Any], tag: str) -> str | None:
    value = _value(item, tag)
    return value.strip() if isinstance(value, str) else None


def _number(item: dict[str, Any], tag: str) -> int:
    value = _value(item, tag)
    return value if isinstance(value, int) else 0
