"""What the page shows of a radiograph beside its image: a short list of facts, of which none says who the patient is.

    facts = read(data)                      # Facts(modality="CR", view_position="PA", …)
    rows = table(facts, size_hw=(1024, 1024))

Only the elements named here are read, and a value is shown only where it is one of the usual terms or a plain number: any other one could
be free text, such as a name in the wrong place.
"""

import dataclasses

from pneumodet.core import image_limits
from pneumodet.data import file_kinds, image_files
from pneumodet.dicom import elements, header_facts
from pneumodet.dicom.elements import DicomError, Elements

_MODALITY, _BITS_STORED = 0x00080060, 0x00280101

MODALITIES = {
    "CR": "computed radiography",
    "DX": "digital radiography",
    "RG": "radiographic imaging",
    "RF": "fluoroscopy",
    "XA": "angiography",
    "MG": "mammography",
    "CT": "computed tomography",
    "MR": "magnetic resonance",
    "OT": "other",
}
"""Defined terms of Modality (0008,0060) (PS3.3 C.7.3.1.1.1) that a file dropped here may have."""

_MEASURED_AT = dict(zip(header_facts.SPACINGS, ("", " at the detector", " as scanned"), strict=True))
"""Tag of a pixel spacing -> what is said of it."""

OLDEST_GROUP = 90
"""From this age on there is one group (45 CFR 164.514(b)(2)(i)(C): ages over 89 may identify a person)."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of a radiograph; None where the file does not say, or not in the usual terms.

    Attributes:
      kind: ``DICOM``, or as ``image_files.kind_of`` calls it.
      modality: one of ``MODALITIES``.
      view_position: one of ``header_facts.VIEW_POSITIONS``.
      sex: one of ``header_facts.SEXES``.
      age_group: decade of years, such as ``50 to 59``.
      spacing_mm: height and width of a pixel in mm.
      spacing_of: what the spacing is measured at, empty or a word or two.
      bits: of a stored value.
    """

    kind: str
    modality: str | None = None
    view_position: str | None = None
    sex: str | None = None
    age_group: str | None = None
    spacing_mm: tuple[float, float] | None = None
    spacing_of: str = ""
    bits: int | None = None

    @property
    def is_dicom(self) -> bool:
        """Whether it is a DICOM file."""
        return self.kind == "DICOM"

    @property
    def aspect(self) -> float:
        """Height of a pixel by its width; 1.0 where that is not known, hardly differs, or cannot be."""
        height, width = self.spacing_mm or (1.0, 1.0)
        ratio = height / width
        # a ratio beyond the limit would make a strip of the picture: the pixels are shown as square
        is_usable = abs(ratio - 1) > image_limits.SQUARE_TOLERANCE and 1 / image_limits.MAX_ASPECT <= ratio <= image_limits.MAX_ASPECT
        return ratio if is_usable else 1.0


def read(data: bytes) -> Facts:
    """Return the facts of a file that ``data.images`` could read."""
    if file_kinds.is_image(data):
        return Facts(image_files.kind_of(data))
    try:
        header = elements.read(data)
    except DicomError:
        return Facts("DICOM")
    text, tag = header_facts.spacing_text(header)
    spacing = header_facts.spacing_hw_mm(text)
    modality = header.ascii(_MODALITY)
    return Facts(
        "DICOM",
        modality=modality if modality in MODALITIES else None,
        view_position=header_facts.view_position(header.ascii(header_facts.VIEW_POSITION)),
        sex=header_facts.sex(header.ascii(header_facts.SEX)),
        age_group=_age_group(header.ascii(header_facts.AGE)),
        spacing_mm=spacing,
        spacing_of=_MEASURED_AT[tag] if spacing else "",
        bits=_bits(header),
    )


def table(facts: Facts, *, size_hw: tuple[int, int], notes: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return (what, value) for the page, only of what is known; ``notes`` are those on how the pixels were made."""
    height, width = size_hw
    spacing = facts.spacing_mm
    square = spacing is not None and abs(spacing[0] - spacing[1]) < 1e-6
    rows = [
        ("File", facts.kind),
        ("Modality", facts.modality and f"{facts.modality} ({MODALITIES[facts.modality]})"),
        ("View position", facts.view_position),
        ("Size", f"{width} x {height} px"),
        ("Pixel spacing", spacing and (f"{spacing[0]:g}" if square else f"{spacing[0]:g} x {spacing[1]:g}") + f" mm{facts.spacing_of}"),
        ("Bits", facts.bits and str(facts.bits)),
        ("Age group", facts.age_group and f"{facts.age_group} years"),
        ("Sex", facts.sex and header_facts.SEXES[facts.sex]),
        ("Shown by", ", ".join(notes)),
    ]
    return [(what, value) for what, value in rows if value]


def _age_group(text: str) -> str | None:
    years = header_facts.age_years(text)
    if years is None:
        return None
    decade = int(years) // 10 * 10
    return f"{OLDEST_GROUP} or more" if decade >= OLDEST_GROUP else f"{decade} to {decade + 9}"


def _bits(header: Elements) -> int | None:
    try:
        return header.integer(_BITS_STORED)
    except DicomError:
        return None
