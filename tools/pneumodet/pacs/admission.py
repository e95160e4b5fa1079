"""Which objects are predicted: single frontal chest radiographs that are shown to people, and nothing else.

facts = facts_of_json(found.attributes)              # from a list, before anything is fetched
reason = refusal(facts, Rules())                     # None, or why it is refused
facts = facts_of_dataset(header)                     # from the file itself
reason = refusal(facts, Rules(), whole=True)         # now what is missing counts, too
"""

import dataclasses
from typing import Any

from pneumodet.dicom.net import errors

MODALITIES = ("CR", "DX")
"""Modality (0008,0060) of radiographs (PS3.3 C.7.3.1.1.1): by imaging plate and by detector."""

CR_IMAGE, DX_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOP classes (PS3.4 B.5). Pictures of other origin, among them RSNA's, are secondary captures."""

_NAMES = {
    "1.2.840.10008.5.1.4.1.1.1.1.1": "a radiograph for processing, which is not meant for the eye",
    SECONDARY_CAPTURE: "a secondary capture",
}

BODY_PARTS = frozenset(("CHEST", "THORAX", "LUNG", "LUNGS"))
"""BodyPartExamined (0018,0015): PS3.16 L has CHEST and LUNG; devices write the others, too."""

BODY_CODES = frozenset((("SCT", "816094009"), ("SCT", "51185008"), ("SCT", "39607008"), ("SRT", "T-D3000"), ("SRT", "T-28000")))
"""AnatomicRegionSequence (0008,2218): chest or thorax, an older code for it, lung; and the two in SNOMED RT (PS3.16 CID 4031)."""

VIEWS = frozenset(("AP", "PA"))
"""ViewPosition (0018,5101) of frontal radiographs (PS3.3 C.8.7.1.1.3)."""

VIEW_CODES = frozenset(
    (("SCT", "399348003"), ("SCT", "272479007"), ("SCT", "399033003"), ("SRT", "R-10206"), ("SRT", "R-10214"), ("SRT", "R-10202"))
)
"""ViewCodeSequence (0054,0220): antero-posterior, postero-anterior, frontal; and in SNOMED RT (PS3.16 CID 4010)."""

MONOCHROME = frozenset(("MONOCHROME1", "MONOCHROME2"))

OWN_MANUFACTURER = "pneumodet"
"""Manufacturer (0008,0070) of what pneumodet makes."""

_SCHEMES = {"SNM3": "SRT", "99SDM": "SRT"}
"""Older designators of SNOMED RT (PS3.16 8)."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """What is allowed beside the usual.

    Attributes:
      secondary_capture: whether objects of this SOP class are predicted.
      unnamed_body_part: whether radiographs are predicted that do not say what they are of.
    """

    secondary_capture: bool = False
    unnamed_body_part: bool = False


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of an object; None or empty where it is not said.

    Attributes:
      sop_uid: SOPInstanceUID (0008,0018).
      study_uid: StudyInstanceUID (0020,000D).
      sop_class: SOPClassUID (0008,0016).
      modality: (0008,0060).
      manufacturer: (0008,0070).
      body_part: BodyPartExamined (0018,0015), in capitals.
      body_codes: (scheme, value) of AnatomicRegionSequence (0008,2218).
      view: ViewPosition (0018,5101), in capitals.
      view_codes: (scheme, value) of ViewCodeSequence (0054,0220).
      frames: NumberOfFrames (0028,0008).
      photometric: PhotometricInterpretation (0028,0004).
      burned_in: BurnedInAnnotation (0028,0301).
    """

    sop_uid: str = ""
    study_uid: str = ""
    sop_class: str = ""
    modality: str = ""
    manufacturer: str = ""
    body_part: str = ""
    body_codes: tuple[tuple[str, str], ...] = ()
    view: str = ""
    view_codes: tuple[tuple[str, str], ...] = ()
    frames: int | None = None
    photometric: str = ""
    burned_in: str = ""


def refusal(facts: Facts, rules: Rules, *, whole: bool = False) -> str | None:
    """Return why an object is refused, without a value of its header, or None where nothing speaks against it.

    Args:
      facts: what is known of it.
      rules: what is allowed beside the usual.
      whole: whether this is all that there is to know; otherwise what is missing may still come.
    """
    allowed = {CR_IMAGE, DX_PRESENTATION} | ({SECONDARY_CAPTURE} if rules.secondary_capture else set())
    if facts.manufacturer.lower() == OWN_MANUFACTURER:
        return "it was made by pneumodet itself"
    if facts.modality and facts.modality not in MODALITIES or whole and not facts.modality:
        return "its modality is none of CR and DX"
    if facts.sop_class and facts.sop_class not in allowed or whole and not facts.sop_class:
        hint = "; --secondary-capture allows it" if facts.sop_class == SECONDARY_CAPTURE else ""
        return f"it is {_NAMES.get(facts.sop_class, 'no CR or DX image')}{hint}"
    if facts.frames is not None and facts.frames > 1:
        return f"it has {facts.frames} frames; a radiograph has one"
    if facts.body_part and facts.body_part not in BODY_PARTS or facts.body_codes and not BODY_CODES & set(facts.body_codes):
        return "it is not of the chest"
    if facts.view and facts.view not in VIEWS or facts.view_codes and not VIEW_CODES & set(facts.view_codes):
        return "it is not a frontal view"
    if facts.photometric and facts.photometric not in MONOCHROME or whole and not facts.photometric:
        return "it is not gray"
    if facts.burned_in == "YES":
        return "it has writing burned in"
    if whole and not rules.unnamed_body_part and not facts.body_part and not facts.body_codes:
        return "it does not say what body part it is of; --unnamed-body-part allows it"
    if whole and not (errors.is_uid(facts.sop_uid) and errors.is_uid(facts.study_uid)):
        return "its SOPInstanceUID or StudyInstanceUID is missing or malformed"
    return None


def facts_of_json(item: dict[str, Any]) -> Facts:
    """Return what a list of the PACS tells of an instance, in the DICOM JSON model (PS3.18 F); what is malformed counts as missing."""

    def values(tag: str, of: dict = item) -> list:
        found = of.get(tag)
        found = found.get("Value") if isinstance(found, dict) else None
        return found if isinstance(found, list) else []

    def text(tag: str, of: dict = item) -> str:
        found = values(tag, of)
        return found[0].strip() if found and isinstance(found[0], str) else ""

    def codes(tag: str) -> tuple[tuple[str, str], ...]:
        found = [_code(text("00080102", one), text("00080100", one)) for one in values(tag) if isinstance(one, dict)]
        return tuple(code for code in found if code[1])

    frames = values("00280008")
    return Facts(
        sop_uid=text("00080018"),
        study_uid=text("0020000D"),
        sop_class=text("00080016"),
        modality=text("00080060"),
        manufacturer=text("00080070"),
        body_part=text("00180015").upper(),
        body_codes=codes("00082218"),
        view=text("00185101").upper(),
        view_codes=codes("00540220"),
        frames=_whole(frames[0]) if frames else None,
        photometric=text("00280004"),
        burned_in=text("00280301").upper(),
    )


def facts_of_dataset(header: Any) -> Facts:
    """Return what a file tells of itself.

    Args:
      header: pydicom's data set, which may lack the pixels.
    """

    def text(keyword: str) -> str:
        value = header.get(keyword)
        return str(value).strip() if value is not None else ""

    def codes(keyword: str) -> tuple[tuple[str, str], ...]:
        items = header.get(keyword) or ()
        found = [_code(str(one.get("CodingSchemeDesignator", "")), str(one.get("CodeValue", ""))) for one in items]
        return tuple(code for code in found if code[1])

    return Facts(
        sop_uid=text("SOPInstanceUID"),
        study_uid=text("StudyInstanceUID"),
        sop_class=text("SOPClassUID"),
        modality=text("Modality"),
        manufacturer=text("Manufacturer"),
        body_part=text("BodyPartExamined").upper(),
        body_codes=codes("AnatomicRegionSequence"),
        view=text("ViewPosition").upper(),
        view_codes=codes("ViewCodeSequence"),
        frames=_whole(header.get("NumberOfFrames")),
        photometric=text("PhotometricInterpretation"),
        burned_in=text("BurnedInAnnotation").upper(),
    )


def _code(scheme: str, value: str) -> tuple[str, str]:
    return _SCHEMES.get(scheme.strip(), scheme.strip()), value.strip()


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
