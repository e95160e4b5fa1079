"""Radiographs of a PACS by DICOMweb, as inputs of prediction.

    service = RemoteRadiographs.of("https://pacs.example/dicom-web/studies/1.2.840.1")
    for exam, instance in service.radiographs(known=(), refused=[], notes=[]): ...       # instance.read_bytes()

A URL ends in ``studies`` (and may have a query, as ``?StudyDate=20260101-``), ``studies/UID``, ``series/UID`` or ``instances/UID``. The environment says
who asks (``dicom.net.access``), never the URL; certificates are always checked. Objects are fetched one by one, when they are needed.
"""

import dataclasses
import os
from collections.abc import Container, Iterator
from typing import Any

from pneumodet.core.errors import DataError
from pneumodet.data import views
from pneumodet.dicom import header_facts
from pneumodet.dicom.net import access
from pneumodet.dicom.net.dicomweb import PATIENT_ID, SERIES_UID, DicomwebClient, ListTime, QueryResult
from pneumodet.dicom.net.errors import ListLimit, NotAllowed, Refused, Trouble
from pneumodet.dicom.net.errors import Unreachable as NoAnswer
from pneumodet.dicom.net.replies import text_of
from pneumodet.dicom.net.resources import Resource
from pneumodet.dicom.net.retries import Retries
from pneumodet.dicom.net.transport import Limits
from pneumodet.inference import admission
from pneumodet.inference.predict import naming

LIMITS = Limits()
"""Several objects are in memory at a time."""

RETRIES = Retries(attempts=5)
"""Of a request that did not reach the service, or came while it was busy."""

VIEW_POSITION = "00185101"
"""Of an object, as lists name attributes; asked for to know a patient's frontal radiograph."""

_HTTP = ("http://", "https://")


class Unreachable(DataError):
    """The service does not answer, not to us, or not with a whole list: no defect of one radiograph, and reason to stop."""


def is_dicomweb(root: Any) -> bool:
    """Whether this is the URL of a DICOMweb service; other URLs are Apache Beam's."""
    return str(root).lower().startswith(_HTTP)


@dataclasses.dataclass(frozen=True)
class Instance:
    """An object of a service, which is fetched when it is read.

    Attributes:
      study_uid: StudyInstanceUID.
      series_uid: SeriesInstanceUID.
      sop_uid: SOPInstanceUID.
      client: of the service that has it.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    client: DicomwebClient = dataclasses.field(repr=False)

    def __str__(self) -> str:
        return f"{self.client.url}/studies/{self.study_uid}/series/{self.series_uid}/instances/{self.sop_uid}"

    @property
    def name(self) -> str:
        """Its SOPInstanceUID as a file name."""
        return f"{self.sop_uid}.dcm"

    def read_bytes(self) -> bytes:
        """Return the object as a DICOM file.

        Raises:
          Unreachable: the service is away.
          DataError: it does not have the object, or sends something else.
        """
        try:
            return self.client.fetch(self.study_uid, self.series_uid, self.sop_uid)
        except NoAnswer as error:
            # one object may be broken in a service that is well: then only this one is left out
            if not _answers(self.client):
                raise _stop(self.client.url, error) from None
            raise DataError(f"{self}: the service answers, but not when it is asked for this object: {error}.") from None
        except (Trouble, Refused) as error:
            raise DataError(f"{self}: {error}.") from None


@dataclasses.dataclass(frozen=True)
class RemoteRadiographs:
    """The radiographs that a URL names.

    Attributes:
      url: as it was given.
      resource: what it names.
      client: of its service.
    """

    url: str
    resource: Resource
    client: DicomwebClient

    @classmethod
    def of(cls, url: str) -> "RemoteRadiographs":
        """Return what a URL names; nothing is asked yet.

        Raises:
          ConfigError: it is no URL of DICOMweb, has credentials in it, or leads to another machine without TLS; or the environment is not right.
          EnvironmentProblem: the package requests is not installed.
        """
        ours = access.read(os.environ)
        resource = Resource.of(url, ours)
        return cls(url, resource, DicomwebClient(resource.base, ours, limits=LIMITS, retries=RETRIES))

    def radiographs(self, *, known: Container[str], refused: list[tuple[str, str]], notes: list[str]) -> Iterator[tuple[str, Instance]]:
        """Yield (exam, object) of what the URL names, page after page.

        The exam is the SOPInstanceUID; but where ``known`` has the PatientID, as RSNA's labels do, it is that one for the patient's only object,
        or for the frontal one where the list says which that is. Those come last, when all of the list is known.

        Args:
          known: patientIds of labels.
          refused: gets (name, reason) of objects that are no radiographs.
          notes: gets what is to be said of the exams.

        Raises:
          Unreachable: the service is away or refuses, or its list cannot be read to its end; after all objects that it listed before.
          DataError: there is no radiograph.
        """
        study, series, instance = self.resource.study, self.resource.series, self.resource.instance
        if study and series and instance:
            # an object that is named by itself is not listed, and not refused by what a list says
            yield instance, Instance(study, series, instance, self.client)
            return
        of_patient: dict[str, list[tuple[str, Instance]]] = {}
        seen, away = False, None
        try:
            for result in self._admitted(refused):
                one = Instance(result.study_uid, result.series_uid, result.sop_uid, self.client)
                seen = True
                patient = text_of(result.attributes, PATIENT_ID)
                if patient and patient in known and one.sop_uid not in known:
                    of_patient.setdefault(patient, []).append((text_of(result.attributes, VIEW_POSITION), one))
                else:
                    yield one.sop_uid, one
        except Unreachable as error:
            away = error
        for patient, several in of_patient.items():
            which = [True] if len(several) == 1 else views.frontal(header_facts.view_position(view) for view, _ in several)
            if which is None:
                notes.append(f"The labels' {patient} could mean {len(several)} radiographs, which are called by their SOPInstanceUIDs.")
            for (_, one), is_meant in zip(several, which or [False] * len(several), strict=True):
                yield (patient if is_meant else one.sop_uid), one
        if away is not None:
            raise away
        if not seen:
            raise DataError(
                f"There is no radiograph at {self.url}." + (f" {len(refused)} objects there are something else." if refused else "")
            )

    def _admitted(self, refused: list[tuple[str, str]]) -> Iterator[QueryResult]:
        """Yield what the service lists and a person may want predicted, each object once."""
        seen: set[str] = set()
        for result in self._listed():
            if not result.complete:
                refused.append((f"{result.sop_uid or 'an object'} of study {result.study_uid}", "the service does not give its UIDs"))
                continue
            reason = admission.refusal(admission.facts_of_json(result.attributes), admission.PREDICT_LISTED)
            if reason is None and result.sop_uid in seen:
                reason = naming.SAME + result.sop_uid
            if reason is not None:
                refused.append((f"{result.sop_uid}.dcm", reason))
                continue
            seen.add(result.sop_uid)
            yield result

    def _listed(self) -> Iterator[QueryResult]:
        # one bound for all lists together: a list of studies without an end would have one of instances for each
        time = ListTime(self.client.limits.list_seconds)
        try:
            for study in [self.resource.study] if self.resource.study else self.client.studies(self.resource.query, time=time):
                yield from self.client.instances_of(study, self.resource.series, fields=(PATIENT_ID, SERIES_UID, VIEW_POSITION), time=time)
        except Trouble as error:
            raise _stop(self.client.url, error) from None


def _answers(client: DicomwebClient) -> bool:
    """Return whether the service answers a small question at the moment."""
    try:
        client.probe()
    except Trouble:
        return False
    return True


def _stop(url: str, error: Trouble) -> Unreachable:
    """Return why prediction stops, with what to do."""
    advice = ""
    if isinstance(error, NotAllowed):
        advice = f" Set {access.PREFIX}USER and {access.PREFIX}PASSWORD, or {access.PREFIX}TOKEN, in the environment."
    elif isinstance(error, NoAnswer):
        advice = " Check that it runs and that the URL is right."
    elif isinstance(error, ListLimit):
        advice = " Name fewer studies, as by ?StudyDate=20260101-20260131."
    return Unreachable(f"{url}: {error}.{advice}")
