"""A PACS by DICOMweb (PS3.18): what there is (QIDO-RS), an object (WADO-RS), and objects back (STOW-RS), each with bounds.

    pacs = DicomwebClient("https://pacs.example/dicom-web", access.read(os.environ))
    for result in pacs.instances("CR", since=None): ...
    data = pacs.fetch(result.study_uid, result.series_uid, result.sop_uid)
    if not pacs.has(study_uid, report_uid):
        pacs.store(study_uid, [report])

Every call raises ``Trouble`` where it may work later; messages hold neither URLs nor UIDs, but what the PACS says why it refuses. ``Warning`` headers
are logged. One client may be used by several threads.
"""

import collections
import dataclasses
import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from time import monotonic
from urllib.parse import urlencode

from pneumodet.dicom.elements import is_uid
from pneumodet.dicom.net import multipart, replies
from pneumodet.dicom.net.access import Access
from pneumodet.dicom.net.errors import ListLimit, Refused, Trouble
from pneumodet.dicom.net.retries import Retries
from pneumodet.dicom.net.transport import Limits, Transport, refusal_of

PAGE = 100
"""Entries asked for at a time; Azure's service answers 400 to more than 200."""

KNOWN_PAGES = 3
"""Pages in a row without anything new that end a list; fewer where a page is the same as before."""

PROBE_SECONDS = 30.0
"""For the answer to a question that costs nothing."""

DUPLICATE = 0x0111
"""Failure reason: the object is there already (PS3.7 C.5.8 "Duplicate SOP Instance"), which is what was wanted."""

SOP_CLASS, SOP_UID, PATIENT_ID, STUDY_UID, SERIES_UID = "00080016", "00080018", "00100020", "0020000D", "0020000E"
"""Tags of the attributes that are used."""

_FAILED, _REFERENCED, _FAILURE = "00081198", "00081199", "00081197"

_JSON = "application/dicom+json"
_ANY_SYNTAX = f'multipart/related; type="{multipart.DICOM}"; transfer-syntax=*'
"""The object as it is stored, not decompressed for us (PS3.18 8.7.3.5.2)."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class QueryResult:
    """An instance in a list.

    Attributes:
      sop_uid: SOPInstanceUID; empty where the list has none that can be used, and so below.
      study_uid: StudyInstanceUID.
      series_uid: SeriesInstanceUID.
      attributes: all that the list says of it, in the DICOM JSON model (PS3.18 F).
    """

    sop_uid: str
    study_uid: str
    series_uid: str
    attributes: replies.Entry

    @property
    def complete(self) -> bool:
        """Whether it can be fetched."""
        return bool(self.sop_uid and self.study_uid and self.series_uid)


@dataclasses.dataclass
class ListTime:
    """What the requests of one list, or of several that belong together, may take.

    Attributes:
      seconds: in all.
      spent: of them, until now.
    """

    seconds: float
    spent: float = 0.0


class DicomwebClient:
    """A client of one DICOMweb service.

    Attributes:
      url: of the service.
      limits: of what it may send.
      warnings: text of a ``Warning`` header, with N for its numbers -> how often it came.
    """

    def __init__(self, url: str, access: Access, *, limits: Limits | None = None, retries: Retries | None = None) -> None:
        """Prepare calls; nothing is sent.

        Args:
          url: of the service, such as https://pacs.example/dicom-web.
          access: credentials and TLS.
          limits: of what it may send.
          retries: of what is asked; storing is never tried again here. By default none.

        Raises:
          ConfigError: the URL cannot be used.
          EnvironmentProblem: requests is not installed.
        """
        self._transport = Transport(url, access, limits=limits or Limits(), retries=retries or Retries())
        self.url, self.limits, self.warnings = self._transport.url, self._transport.limits, self._transport.warnings

    def studies(self, query: str = "", *, time: "ListTime | None" = None) -> Iterator[str]:
        """Yield the StudyInstanceUIDs that fit a query (PS3.18 10.6).

        Args:
          query: without ``?``.
          time: of this list and others; by default ``limits.list_seconds`` for this one.

        Raises:
          Trouble: as ``instances``; or an entry has no UID.
        """
        for entry in self._search("studies", query, STUDY_UID, time):
            uid = replies.text_of(entry, STUDY_UID)
            if not is_uid(uid):
                raise Trouble("the PACS lists a study without a UID; is this a DICOMweb service?")
            yield uid

    def instances(self, modality: str, *, since: date | None) -> Iterator[QueryResult]:
        """Yield the instances of a modality (0008,0060), a page at a time (PS3.18 10.6).

        Args:
          modality: ``CR`` or ``DX``.
          since: the earliest StudyDate (0008,0020); None for all. No standard says when an instance came.

        Raises:
          ListLimit: the list has more pages, or takes longer, than the limits allow; what comes before it was yielded.
          Trouble: the PACS does not answer, or not with a list.
        """
        wanted = {"Modality": modality} | ({} if since is None else {"StudyDate": f"{since:%Y%m%d}-"})
        malformed = 0
        for entry in self._search("instances", urlencode(wanted), SOP_UID):
            result = _query_result(entry, None, None)
            if result.complete:
                yield result
            else:
                malformed += 1
        if malformed:
            logger.warning("%d %s instances in the list of the PACS have no usable UIDs and are left out", malformed, modality)

    def instances_of(
        self, study_uid: str, series_uid: str | None = None, *, fields: Sequence[str] = (), time: "ListTime | None" = None
    ) -> Iterator[QueryResult]:
        """Yield the instances of a study or series; those without UIDs are not ``complete``.

        Args:
          study_uid: StudyInstanceUID.
          series_uid: SeriesInstanceUID; None for all of the study.
          fields: tags of attributes that are wanted beside those that a list has by itself.
          time: as ``studies``.

        Raises:
          Trouble: as ``instances``.
        """
        path = f"studies/{study_uid}" + (f"/series/{series_uid}" if series_uid else "") + "/instances"
        for entry in self._search(path, urlencode([("includefield", tag) for tag in fields]), SOP_UID, time):
            yield _query_result(entry, study_uid, series_uid)

    def has(self, study_uid: str, sop_uid: str) -> bool:
        """Whether an instance is in a study.

        Raises:
          Trouble: the PACS does not answer, or not with a list.
        """
        # one answer is wanted, and not a list: it gets the time of one
        once = ListTime(self.limits.request_seconds)
        listed = self._search(f"studies/{study_uid}/instances", urlencode({SOP_UID: sop_uid}), SOP_UID, once)
        # compared here, too: a service that ignores the query lists all of the study
        return any(replies.text_of(entry, SOP_UID) == sop_uid for entry in listed)

    def probe(self) -> None:
        """Ask for as little as possible.

        Raises:
          Trouble: the PACS does not answer.
        """
        self._page("studies?limit=1", seconds=min(PROBE_SECONDS, self.limits.request_seconds))

    def fetch(self, study_uid: str, series_uid: str, sop_uid: str) -> bytes:
        """Return an instance as a DICOM file, as the PACS has it (PS3.18 10.4, transfer-syntax=*).

        Raises:
          Refused: the PACS says that it is larger than ``limits.object_bytes``; nothing of it was read.
          Trouble: the PACS does not answer, with something else, or with more than that, of which it said nothing: it may have no end.
        """
        most = self.limits.object_bytes
        endless = Trouble(f"the PACS sends more than {most >> 20} MB, or {most} bytes, without having said so")
        too_large = Refused(f"it has more than {most >> 20} MB, or {most} bytes, which is the limit")
        path = f"studies/{study_uid}/series/{series_uid}/instances/{sop_uid}"
        # room for the lines around the object; the object itself is measured below
        answer = self._transport.get(
            path, accept=_ANY_SYNTAX, most=most + 2 * multipart.MAX_HEADER_BYTES, too_large=endless, stated=too_large
        )
        data = multipart.only_part(answer.body, answer.content_type)
        if len(data) > most:
            raise too_large
        return data

    def store(self, study_uid: str, objects: Sequence[bytes]) -> None:
        """Store DICOM files in a study (PS3.18 10.5); one that is there already counts as stored.

        Raises:
          Trouble: the PACS did not take all of them.
        """
        body, kind = multipart.write(objects)
        answer = self._transport.post(
            f"studies/{study_uid}",
            body,
            headers={"Content-Type": kind, "Accept": _JSON},
            most=self.limits.list_bytes,
            too_large=Trouble("the PACS answers with too much"),
            # all stored, some, or none: each comes with a list that says why (PS3.18 10.5.3), and 409 may mean duplicates only
            good=(200, 202, 409),
        )
        try:
            report = replies.document(answer.body)
        except ValueError:
            report = None
        if not isinstance(report, dict):
            why = refusal_of(answer.body, answer.content_type)
            raise Trouble(f"the PACS answered {answer.status} to a report, but does not say whether it has it{why}")
        failed = [_number(item, _FAILURE) for item in replies.items_of(report, _FAILED)]
        stored = len(replies.items_of(report, _REFERENCED))
        wrong = [reason for reason in failed if reason != DUPLICATE]
        if wrong:
            raise Trouble(f"the PACS did not take a report (failure reason {', '.join(f'{one:04X}H' for one in wrong)})")
        # a status alone proves nothing; what is named neither as stored nor as failed may be lost
        if stored + len(failed) < len(objects):
            raise Trouble(f"the PACS answered {answer.status}, but names only {stored} of {len(objects)} objects as stored")

    def _search(self, path: str, query: str, key: str, time: ListTime | None = None) -> Iterator[replies.Entry]:
        """Yield the entries of a list, page after page, each once (PS3.18 8.3.4.4).

        Services may send fewer than was asked for, begin again at the end, not know ``offset``, or send everything at once. So the list ends with a page
        that is empty, or has nothing new and is the same as the one before or the first one.

        Args:
          path: of the search, below the service's URL.
          query: without ``?``, limit and offset; may be empty.
          key: tag of the UID by which an entry is known.
          time: as ``studies``.
        """
        time = time or ListTime(self.limits.list_seconds)
        known: set[str] = set()
        first: Collection[str] | None = None
        before: Collection[str] | None = None
        offset, without_new = 0, 0
        for _ in range(self.limits.pages):
            left, started = time.seconds - time.spent, monotonic()
            if left <= 0:
                raise ListLimit(f"the list of the PACS takes longer than {time.seconds:g} s; {len(known)} entries were read")
            asked = "&".join([*([query] if query else []), f"limit={PAGE}", f"offset={offset}"])
            try:
                page = self._page(f"{path}?{asked}", seconds=min(left, self.limits.request_seconds))
            except Trouble as trouble:
                if monotonic() - started < left:
                    raise
                raise ListLimit(f"the list of the PACS takes longer than {time.seconds:g} s ({trouble})") from None
            # the time of requests only: between two pages the caller works with what was yielded
            time.spent += monotonic() - started
            if not page:
                return
            names = _names(page, key)
            new = {name: entry for name, entry in zip(names, page, strict=True) if name not in known}
            known.update(new)
            yield from new.values()
            same = frozenset(names)
            without_new = 0 if new else without_new + 1
            if without_new and (same in (first, before) or without_new == KNOWN_PAGES):
                return
            first, before, offset = first or same, same, offset + len(page)
        raise ListLimit(f"the list of the PACS has more than {self.limits.pages} pages; {len(known)} entries were read")

    def _page(self, path: str, *, seconds: float) -> list[replies.Entry]:
        too_large = Trouble(f"the PACS answers with a list of more than {self.limits.list_bytes} bytes")
        # 204: nothing fits the query, and there is no body
        answer = self._transport.get(path, accept=_JSON, most=self.limits.list_bytes, too_large=too_large, good=(200, 204), seconds=seconds)
        return replies.entries(answer.body)


def _query_result(entry: replies.Entry, study_uid: str | None, series_uid: str | None) -> QueryResult:
    def uid(tag: str) -> str:
        text = replies.text_of(entry, tag)
        return text if is_uid(text) else ""

    return QueryResult(uid(SOP_UID), study_uid or uid(STUDY_UID), series_uid or uid(SERIES_UID), entry)


def _names(page: list[replies.Entry], key: str) -> list[str]:
    """Return the UIDs by which entries are known; what is in it where one has none, so that all of these are counted."""
    count = collections.Counter[str]()
    names = []
    for entry in page:
        name = replies.text_of(entry, key)
        if not is_uid(name):
            contents = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
            count[contents] += 1
            name = f"no UID: {contents} {count[contents]}"
        names.append(name)
    return names


def _number(entry: replies.Entry, tag: str) -> int:
    value = replies.value_of(entry, tag)
    return value if isinstance(value, int) else 0
