"""What a DICOM object takes over from the radiograph that it is about: its place in the archive, its size, whose it is, and nothing else.

    one = read(header)
    one.reference()                          # stands for the radiograph where highdicom wants it
    one.sign(made)                           # patient, study and time into what highdicom made

highdicom copies all of the Patient and Study modules, optional elements too, and logs unusual names. So it only sees ``reference()``, and
the required elements (types 1 and 2 of PS3.3 C.7.1.1 and C.7.2.1) are added at the end, as they are: an archive compares them.

An object has the date and time of its radiograph, not of the clock. Its SOPInstanceUID is made of the radiograph, the algorithm and the threshold,
so that an archive keeps one object however often and wherever it is made; and two objects with one SOPInstanceUID must not differ (PS3.3 C.12.1,
PS3.5 9). ContentDate (0008,0023) of a report and PresentationCreationDate (0070,0082) are of type 1 (PS3.3 C.17.2, C.11.10) and may not be left
out. When a report was made, the archive knows by itself.
"""

import dataclasses
import logging
import re
from collections.abc import Mapping

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from pneumodet.core.errors import DataError
from pneumodet.dicom import header_facts
from pneumodet.dicom.objects import values

_log = logging.getLogger(__name__)

PLACE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
"""Without these nothing can refer to a radiograph."""

TEXTS = ("PatientName", "PatientID", "ReferringPhysicianName", "StudyID", "AccessionNumber")
DATES = ("PatientBirthDate", "StudyDate")
"""With StudyTime and PatientSex all elements of types 1 and 2 of patient and study, beside StudyInstanceUID."""

MOMENTS = ("Content", "Acquisition", "InstanceCreation", "Series", "Study")
"""Whose date and time a radiograph was made at, the nearest first."""

UNDATED = ("19000101", "000000")
"""Date and time of what is made of a radiograph whose header has no usable date: a dummy value, as de-identification uses it where the standard
asks for a date (action D of PS3.15 table E.1-1)."""

CREATION = (
    ("ContentDate", "ContentTime"),
    ("PresentationCreationDate", "PresentationCreationTime"),
    ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)
"""Elements that say when an object was made; highdicom fills them with the present."""

OPTIONAL = ("InstanceCreationDate", "InstanceCreationTime", "ContributingEquipmentSequence")
"""Elements of type 3 that highdicom fills with the present, and so a second run would not make the same object."""

_UID = re.compile(r"[0-9.]{1,64}")
"""Looser than PS3.5 9.1: a component with a leading zero is wrong, but the archive knows the radiograph by it."""


@dataclasses.dataclass(frozen=True)
class Radiograph:
    """What is taken over.

    Attributes:
      place: keyword of ``PLACE`` -> UID.
      rows: (0028,0010).
      columns: (0028,0011).
      frames: NumberOfFrames (0028,0008), 1 where it is absent; findings are about the first.
      instance_number: (0020,0013), 1 where it is unusable.
      patient: keyword -> text of the required elements of patient and study; empty where they are absent or unusable.
      character_set: (0008,0005).
      made: (YYYYMMDD, HHMMSS) when it was made, ``UNDATED`` where its header does not say.
    """

    place: Mapping[str, str]
    rows: int
    columns: int
    frames: int
    instance_number: int
    patient: Mapping[str, str]
    character_set: tuple[str, ...]
    made: tuple[str, str]

    def reference(self) -> Dataset:
        """Return a dataset that refers to the radiograph and says nothing of the patient."""
        reference = Dataset()
        # empty, not absent: highdicom reads these elements, and an absent one is an AttributeError
        for keyword in (*TEXTS, *DATES, "StudyTime", "PatientSex"):
            setattr(reference, keyword, None)
        for keyword, uid in self.place.items():
            reference.add(_element(keyword, uid))
        reference.Rows, reference.Columns, reference.SamplesPerPixel = self.rows, self.columns, 1
        return reference

    def sign(self, made: Dataset) -> None:
        """Add patient, study, character set, date and time to an object."""
        for keyword in OPTIONAL:
            made.pop(keyword, None)
        # of the radiograph, since the patient's texts are written with it
        made.add(_element("SpecificCharacterSet", list(self.character_set)))
        made.add(_element("StudyInstanceUID", self.place["StudyInstanceUID"]))
        for keyword, value in self.patient.items():
            made.add(_element(keyword, value))
        date, time = self.made
        for date_keyword, time_keyword in CREATION:
            if date_keyword in made:
                made.add(_element(date_keyword, date))
                made.add(_element(time_keyword, time))


def read(source: Dataset) -> Radiograph:
    """Return what is taken over from a radiograph's header.

    Raises:
      DataError: it is no image, or an element that places it is missing or no UID.
    """
    place = {keyword: values.text(source, keyword) for keyword in PLACE}
    missing = [keyword for keyword, uid in place.items() if not uid]
    if missing:
        raise DataError(
            f"{_name(place)} has no {' and no '.join(missing)}, so that nothing can refer to it. Get it from its archive again."
        )
    wrong = [keyword for keyword, uid in place.items() if not _UID.fullmatch(uid)]
    if wrong:
        raise DataError(
            f"{_name(place)} has a {' and a '.join(wrong)} that is no UID of at most 64 digits and dots, so that nothing can refer to it. "
            f"Get it from its archive again."
        )
    rows, columns = (values.integer(source, keyword, default=0) for keyword in ("Rows", "Columns"))
    if rows < 1 or columns < 1:
        raise DataError(f"{_name(place)} has no Rows or no Columns; it is not an image.")
    sex = header_facts.sex(values.text(source, "PatientSex")) or ""
    patient = {keyword: values.text(source, keyword) for keyword in TEXTS}
    patient |= {keyword: values.date(source, keyword) for keyword in DATES}
    patient |= {"StudyTime": values.time(source, "StudyTime"), "PatientSex": sex}
    for keyword, value in patient.items():
        # the keyword alone: the value could be the patient's name
        if not value and values.is_there(source, keyword):
            _log.warning("%s of a radiograph is unusable and left empty.", keyword)
    return Radiograph(
        place=place,
        rows=rows,
        columns=columns,
        frames=values.whole(source, "NumberOfFrames", default=1),
        instance_number=values.whole(source, "InstanceNumber", default=1),
        patient=patient,
        character_set=values.character_set(source),
        made=_made(source),
    )


def _made(source: Dataset) -> tuple[str, str]:
    for what in MOMENTS:
        date = values.date(source, f"{what}Date")
        if date:
            # ContentTime (0008,0033) of a report is of type 1, like its date (PS3.3 C.17.2)
            return date, values.time(source, f"{what}Time") or "000000"
    return UNDATED


def _name(place: Mapping[str, str]) -> str:
    uid = place["SOPInstanceUID"]
    return f"The radiograph {uid}" if _UID.fullmatch(uid) else "The radiograph"


def _element(keyword: str, value: str | list[str]) -> DataElement:
    # not checked again: what is wrong in the radiograph is wrong in all objects of its study, and the warnings would quote it
    tag = tag_for_keyword(keyword)
    return DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)
