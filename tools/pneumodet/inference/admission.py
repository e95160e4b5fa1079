"""Which DICOM objects are predicted: one policy, with a profile for each way in.

    reason = refusal(facts_of_json(entry), WORKER)   # from a server's list, before anything is fetched: None, or why it is refused
    check(data, source, PREDICT)                     # from the file itself; DataError with the reason

No profile admits what is for processing and so not meant for the eye, nor what pneumodet made itself. A person chooses what ``tools/predict.py``
and the web page get, so that they admit all else that can be decoded; nobody chooses what the worker gets.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from pneumodet.core.errors import DataError
from pneumodet.dicom import elements, header_facts, site_terms
from pneumodet.dicom.elements import DicomError, is_uid

CR_IMAGE, DX_PRESENTATION, DX_PROCESSING = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOP classes (PS3.4 B.5). Pictures of other origin, among them RSNA's, are secondary captures."""

FOR_PROCESSING = "FOR PROCESSING"
"""Value of PresentationIntentType (0008,0068) of raw images, which are made into those for presentation (PS3.3 C.8.11.1)."""

BODY_CODES = frozenset((("SCT", "816094009"), ("SCT", "51185008"), ("SCT", "39607008"), ("SRT", "T-D3000"), ("SRT", "T-28000")))
"""AnatomicRegionSequence (0008,2218): chest or thorax, an older code for it, lung; and the two in SNOMED RT (PS3.16 CID 4031)."""

VIEW_CODES = frozenset(
    (("SCT", "399348003"), ("SCT", "272479007"), ("SCT", "399033003"), ("SRT", "R-10206"), ("SRT", "R-10214"), ("SRT", "R-10202"))
)
"""ViewCodeSequence (0054,0220): antero-posterior, postero-anterior, frontal; and in SNOMED RT (PS3.16 CID 4010)."""

MONOCHROME = frozenset(("MONOCHROME1", "MONOCHROME2"))

_SCHEMES = {"SNM3": "SRT", "99SDM": "SRT"}
"""Older designators of SNOMED RT (PS3.16 8)."""

_SOP_CLASS, _SOP_INSTANCE, _STUDY, _MODALITY, _INTENT, _MANUFACTURER = (
    0x00080016,
    0x00080018,
    0x0020000D,
    0x00080060,
    0x00080068,
    header_facts.MANUFACTURER,
)
_BODY_PART, _BODY_CODES, _VIEW, _VIEW_CODES = 0x00180015, 0x00082218, 0x00185101, 0x00540220
_PATIENT_NAME, _PATIENT_ID = 0x00100010, 0x00100020
_FRAMES, _PHOTOMETRIC, _BURNED_IN = 0x00280008, 0x00280004, header_facts.BURNED_IN
_CODE_VALUE, _CODE_SCHEME = 0x00080100, 0x00080102


@dataclasses.dataclass(frozen=True)
class Profile:
    """What is admitted.

    Attributes:
      name: of the way in.
      sop_classes: SOPClassUID (0008,0016) must be one of them; None for any.
      modalities: Modality (0008,0060) must be one of them (PS3.3 C.7.3.1.1.1); None for any.
      chest_only: another body part is refused.
      named_body_part: the body part must be named.
      frontal_only: a view other than AP, PA and frontal is refused; one that is not named is taken.
      single_frame: several frames are refused.
      gray_only: colour is refused.
      unmarked_only: BurnedInAnnotation (0028,0301) YES is refused.
      with_uids: the UIDs of object and study must be there, and well formed.
      body_parts: what a site writes for the chest besides what ``dicom.site_terms`` knows.
      views: what a site writes for a frontal view besides.
    """

    name: str
    sop_classes: frozenset[str] | None = None
    modalities: frozenset[str] | None = None
    chest_only: bool = False
    named_body_part: bool = False
    frontal_only: bool = False
    single_frame: bool = False
    gray_only: bool = False
    unmarked_only: bool = False
    with_uids: bool = False
    body_parts: frozenset[str] = frozenset()
    views: frozenset[str] = frozenset()


PREDICT = Profile("predict")
"""Files that ``tools/predict.py`` is given, in folders and archives or by name, and objects of a server when they have come."""

PREDICT_LISTED = Profile("predict, listed", sop_classes=frozenset((CR_IMAGE, DX_PRESENTATION, SECONDARY_CAPTURE)))
"""Objects that a DICOMweb server lists for ``tools/predict.py``: studies hold reports, presentation states and other images as well."""

PAGE = Profile("page")
"""Files that are dropped on the web page."""

_WORKER_CLASSES = frozenset((CR_IMAGE, DX_PRESENTATION))

WORKER = Profile(
    "worker",
    sop_classes=_WORKER_CLASSES,
    modalities=frozenset(("CR", "DX")),
    chest_only=True,
    named_body_part=True,
    frontal_only=True,
    single_frame=True,
    gray_only=True,
    unmarked_only=True,
    with_uids=True,
)
"""What ``tools/pacs_worker.py`` sees of an archive: single frontal chest radiographs by imaging plate (CR) or detector (DX), and nothing else."""


def worker_profile(
    *, secondary_capture: bool, unnamed_body_part: bool, body_parts: Collection[str] = (), views: Collection[str] = ()
) -> Profile:
    """Return ``WORKER`` with what its flags admit beside it.

    Args:
      secondary_capture: admit secondary captures.
      unnamed_body_part: admit radiographs that do not say what they are of.
      body_parts: what the site writes for the chest, as whole texts.
      views: what the site writes for a frontal view, as whole texts.
    """
    classes = _WORKER_CLASSES | {SECONDARY_CAPTURE} if secondary_capture else _WORKER_CLASSES
    return dataclasses.replace(
        WORKER, sop_classes=classes, named_body_part=not unnamed_body_part, body_parts=frozenset(body_parts), views=frozenset(views)
    )


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of an object; None or empty where it is not said.

    Attributes:
      sop_uid: SOPInstanceUID (0008,0018).
      study_uid: StudyInstanceUID (0020,000D).
      sop_class: SOPClassUID (0008,0016).
      modality: (0008,0060).
      intent: PresentationIntentType (0008,0068), in capitals.
      manufacturer: (0008,0070).
      body_part: BodyPartExamined (0018,0015), in capitals.
      body_codes: (scheme, value) of AnatomicRegionSequence (0008,2218).
      view: ViewPosition (0018,5101), in capitals.
      view_codes: (scheme, value) of ViewCodeSequence (0054,0220).
      private: texts that name the patient, PatientName (0010,0010) and PatientID (0010,0020); messages must not quote them.
      frames: NumberOfFrames (0028,0008).
      photometric: PhotometricInterpretation (0028,0004).
      burned_in: BurnedInAnnotation (0028,0301), in capitals.
    """

    sop_uid: str = ""
    study_uid: str = ""
    sop_class: str = ""
    modality: str = ""
    intent: str = ""
    manufacturer: str = ""
    body_part: str = ""
    body_codes: tuple[tuple[str, str], ...] = ()
    view: str = ""
    view_codes: tuple[tuple[str, str], ...] = ()
    private: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    frames: int | None = None
    photometric: str = ""
    burned_in: str = ""


def refusal(facts: Facts, profile: Profile, *, whole: bool = False) -> str | None:
    """Return why an object is refused, or None where nothing speaks against it; terms for body part and view are quoted, and nothing else.

    Args:
      facts: what is known of it.
      profile: what is admitted.
      whole: whether this is all that there is to know; otherwise what is missing may still come.
    """
    return _refused_class(facts, profile, whole=whole) or _refused_content(facts, profile, whole=whole)


def _refused_class(facts: Facts, profile: Profile, *, whole: bool) -> str | None:
    """Return what is wrong with the kind of object."""
    # first, for every profile: a secondary capture with boxes drawn in would be predicted in its turn
    if header_facts.is_own(facts.manufacturer):
        return header_facts.OWN
    if facts.sop_class == DX_PROCESSING or facts.intent == FOR_PROCESSING:
        return "it is a radiograph for processing, which is not meant for the eye"
    # a server's list may leave attributes out: what is missing counts only when the file itself is there
    if profile.modalities is not None and (facts.modality or whole) and facts.modality not in profile.modalities:
        return f"its modality is none of {' and '.join(sorted(profile.modalities))}"
    if profile.sop_classes is not None and (facts.sop_class or whole) and facts.sop_class not in profile.sop_classes:
        if facts.sop_class == SECONDARY_CAPTURE:
            return "it is a secondary capture; --secondary-capture allows it"
        return "it is no CR or DX image" + _class_name(facts.sop_class)
    return None


def _refused_content(facts: Facts, profile: Profile, *, whole: bool) -> str | None:
    """Return what is wrong with the image."""
    if profile.single_frame and facts.frames is not None and facts.frames > 1:
        return f"it has {facts.frames} frames; a radiograph has one"
    if reason := profile.chest_only and _refused_body_part(facts, profile) or profile.frontal_only and _refused_view(facts, profile):
        return reason
    if profile.gray_only and (facts.photometric or whole) and facts.photometric not in MONOCHROME:
        return "it is not gray"
    if profile.unmarked_only and facts.burned_in == "YES":
        return "it has writing burned in"
    if profile.named_body_part and whole and not facts.body_part and not facts.body_codes:
        return "it does not say what body part it is of; --unnamed-body-part allows it"
    if profile.with_uids and whole and not (is_uid(facts.sop_uid) and is_uid(facts.study_uid)):
        return "its SOPInstanceUID or StudyInstanceUID is missing or malformed"
    return None


def _refused_body_part(facts: Facts, profile: Profile) -> str | None:
    # by text and by code: devices write the one, the other or both
    if facts.body_part and not site_terms.is_chest(facts.body_part, more=profile.body_parts):
        word = site_terms.quoted(facts.body_part, private=facts.private)
        return f"it is not of the chest: BodyPartExamined is {word} (--body-part adds a word of your site)"
    if facts.body_codes and not BODY_CODES & set(facts.body_codes):
        return "it is not of the chest: AnatomicRegionSequence has another code"
    return None


def _refused_view(facts: Facts, profile: Profile) -> str | None:
    if facts.view and not site_terms.is_frontal(facts.view, more=profile.views):
        word = site_terms.quoted(facts.view, private=facts.private)
        return f"it is not a frontal view: ViewPosition is {word} (--view adds a word of your site)"
    if facts.view_codes and not VIEW_CODES & set(facts.view_codes):
        return "it is not a frontal view: ViewCodeSequence has another code"
    # some sites write the view there, and nowhere else
    if not facts.view and not facts.view_codes and site_terms.names_other_view(facts.body_part):
        return f"it is not a frontal view: BodyPartExamined is {site_terms.quoted(facts.body_part, private=facts.private)}"
    return None


def _class_name(sop_class: str) -> str:
    """Return `` but of the SOP class Comprehensive SR Storage`` where the standard has the class; a UID of anybody's could hold anything."""
    from pydicom.uid import UID_dictionary  # here: importing pydicom takes 0.2 s

    return f" but of the SOP class {UID_dictionary[sop_class][0]}" if sop_class in UID_dictionary else ""


def check(data: bytes, source: object, profile: Profile) -> Facts:
    """Check that a DICOM file is admitted, and return what is known of it.

    Args:
      data: its contents.
      source: names it in messages.
      profile: what is admitted.

    Raises:
      DataError: it is not admitted, no DICOM file, or damaged before its pixel data.
    """
    facts = facts_of_file(data, source)
    reason = refusal(facts, profile, whole=True)
    if reason is not None:
        raise DataError(f"{source}: {reason}.")
    return facts


def facts_of_file(data: bytes, source: object) -> Facts:
    """Return what a DICOM file says of itself; values that are damaged count as missing.

    Args:
      data: its contents.
      source: names it in messages.

    Raises:
      DataError: it is no DICOM file, or damaged before its pixel data.
    """
    try:
        file = elements.read(data)
    except DicomError as fault:  # without the cause, which may quote the header
        raise DataError(f"{source}: {fault}") from None

    def codes(tag: int) -> tuple[tuple[str, str], ...]:
        try:
            each = [_code(one.ascii(_CODE_SCHEME), one.ascii(_CODE_VALUE)) for one in file.items(tag)]
        except DicomError:
            return ()
        return tuple(code for code in each if code[1])

    try:
        frames = file.integer(_FRAMES)
    except DicomError:
        frames = None
    return _facts(file.ascii, codes, frames)


def facts_of_json(item: dict[str, Any]) -> Facts:
    """Return what a server's list says of an instance, in the DICOM JSON model (PS3.18 F); what is malformed counts as missing."""

    def values(tag: int, of: dict[str, Any] = item) -> list[Any]:
        attribute = of.get(f"{tag:08X}")
        several = attribute.get("Value") if isinstance(attribute, dict) else None
        return several if isinstance(several, list) else []

    def text(tag: int, of: dict[str, Any] = item) -> str:
        first = next(iter(values(tag, of)), None)
        if isinstance(first, dict):  # a person name (PS3.18 F.2.2)
            first = first.get("Alphabetic")
        return first.strip() if isinstance(first, str) else ""

    def codes(tag: int) -> tuple[tuple[str, str], ...]:
        each = [_code(text(_CODE_SCHEME, one), text(_CODE_VALUE, one)) for one in values(tag) if isinstance(one, dict)]
        return tuple(code for code in each if code[1])

    frames = next(iter(values(_FRAMES)), None)
    try:
        # a server may write an IS as a number or as a string (PS3.18 F.2.3)
        count = None if frames is None else int(frames)
    except (TypeError, ValueError, OverflowError):  # the last for Infinity
        count = None
    return _facts(text, codes, count)


def _facts(text: Callable[[int], str], codes: Callable[[int], tuple[tuple[str, str], ...]], frames: int | None) -> Facts:
    return Facts(
        sop_uid=text(_SOP_INSTANCE),
        study_uid=text(_STUDY),
        sop_class=text(_SOP_CLASS),
        modality=text(_MODALITY),
        intent=text(_INTENT).upper(),
        manufacturer=text(_MANUFACTURER),
        body_part=text(_BODY_PART).upper(),
        body_codes=codes(_BODY_CODES),
        view=text(_VIEW).upper(),
        view_codes=codes(_VIEW_CODES),
        private=tuple(filter(None, (text(_PATIENT_NAME), text(_PATIENT_ID)))),
        frames=frames,
        photometric=text(_PHOTOMETRIC),
        burned_in=text(_BURNED_IN).upper(),
    )


def _code(scheme: str, value: str) -> tuple[str, str]:
    return _SCHEMES.get(scheme.strip(), scheme.strip()), value.strip()
