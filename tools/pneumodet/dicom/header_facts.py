r"""Age, sex, view position and pixel spacing: what a text of a DICOM header or a table means, and what of it is believed.

    age_years("018M")                        # 1.5
    age_years("148Y")                        # None: nobody is so old
    read("age", "148Y")                      # Fact(value=None, stated=148.0, doubt="over 110 years")
    spacing_hw_mm(r"0.143\0.15")             # (0.143, 0.15)

Every command takes these facts from here, whether they come from a DICOM file, a CSV or a record set. Only usual terms and plain numbers are
facts: anything else could be free text, such as a name in the wrong place, and is never returned.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping

from pneumodet.dicom import site_terms
from pneumodet.dicom.elements import Elements

OLDEST_YEARS = 110
"""An age above is taken for a mistake of the header. Ages from 110 on are so rare that the Gerontology Research Group verifies them one by one
(https://www.grg-supercentenarians.org); the RSNA set has five, of 148 to 155."""

LARGEST_SPACING_MM = 5.0
"""A pixel spacing above is taken for a mistake: detectors have 0.1 to 0.2 mm, and a chest detector of 430 mm
would be an image of 86 px at 5 mm a pixel, too small to read."""

SEXES: Mapping[str, str] = {"F": "female", "M": "male", "O": "other"}
"""Enumerated values of PatientSex (0010,0040) (PS3.3 C.7.1.1) -> the word, which tables have, too."""

LATERAL_VIEWS, FRONTAL_VIEWS = site_terms.LATERAL_VIEWS, site_terms.FRONTAL_VIEWS
"""Values of ViewPosition that are no frontal view, and those that are."""

VIEW_POSITIONS = FRONTAL_VIEWS | LATERAL_VIEWS
"""Terms of ViewPosition (0018,5101) (PS3.3 C.8.7.1.1.3, C.8.1.3) that are believed."""

AGE, SEX, VIEW_POSITION = 0x00101010, 0x00100040, 0x00185101
"""Tags of PatientAge (0010,1010), PatientSex (0010,0040) and ViewPosition (0018,5101)."""

MANUFACTURER = 0x00080070
"""Tag of Manufacturer (0008,0070)."""

OWN_MANUFACTURER = "pneumodet"
"""Manufacturer of what pneumodet makes; ``objects.identifiers.MANUFACTURER`` in small letters, which is not imported for a name."""

OWN = "it was made by pneumodet itself"
"""Why an object is no radiograph to predict or train on: boxes may be burned in."""

BURNED_IN = 0x00280301
"""Tag of BurnedInAnnotation: YES where letters on the image may name the patient (PS3.3 C.7.6.1)."""

BURNED_IN_NOTE = "writing burned in (BurnedInAnnotation YES)"
"""Note on such an image, for counting."""

SPACINGS = (0x00280030, 0x00181164, 0x00182010)
"""Tags of PixelSpacing, ImagerPixelSpacing and NominalScannedPixelSpacing: height and width of a pixel in mm (PS3.3 10.7.1.3)."""

NOT_READABLE = "not readable"
"""Doubt about a text that is no age, term or spacing."""

MISSING = frozenset(("", "nan", "na", "n/a", "none", "null"))
"""Texts that hold no value, in lower case."""

_AGE = re.compile(r"([0-9]{1,3}(?:\.[0-9]*)?)([DWMY]?)")
"""A value of VR AS (PS3.5 6.2); RSNA's files leave out the unit, which is then years, and tables write 43.0."""

_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12, "Y": 1, "": 1}

_SEX_OF_WORD = {word.upper(): letter for letter, word in SEXES.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """What a text means.

    Attributes:
      value: years, mm (the height of a pixel), or the usual term; None where there is none, or it is not believed.
      stated: the same as it is written, however unlikely; None where the text is not readable.
      doubt: why a value that is there is not believed, as in "5 ages are …"; else empty.
    """

    value: float | str | None = None
    stated: float | str | None = None
    doubt: str = ""


def is_missing(text: str | None) -> bool:
    """Whether a cell or element holds no value."""
    return text is None or text.strip().lower() in MISSING


def age_years(age: object) -> float | None:
    """Return the years of a PatientAge.

    Args:
      age: text such as ``051Y``, ``018M``, ``43`` or ``43.0``, or a number of years.

    Returns:
      Years from 0 to ``OLDEST_YEARS``; None where it is no age, or not believed.
    """
    years = _stated_age(age)
    return years if years is not None and years <= OLDEST_YEARS else None


def sex(text: object) -> str | None:
    """Return one of ``SEXES`` for its letter or word in capitals or not; None where it is none."""
    term = text.strip().upper() if isinstance(text, str) else ""
    return term if term in SEXES else _SEX_OF_WORD.get(term)


def is_own(manufacturer: str) -> bool:
    """Whether this is the Manufacturer of what pneumodet makes."""
    return manufacturer.strip().lower() == OWN_MANUFACTURER


def view_position(text: object) -> str | None:
    """Return one of ``VIEW_POSITIONS`` for the term as sites write it, such as AP SUPINE; None where it is none."""
    return site_terms.view_position(text) if isinstance(text, str) else None


def spacing_hw_mm(text: object) -> tuple[float, float] | None:
    r"""Return height and width of a pixel in mm.

    Args:
      text: ``0.143\0.15`` as in DICOM, ``[0.143, 0.15]`` or ``['0.143', '0.15']`` as in tables, or one number, which is both.

    Returns:
      Two numbers above 0, of ``LARGEST_SPACING_MM`` at most; None where it is something else.
    """
    hw_mm = _stated_spacing(text)
    return hw_mm if hw_mm is not None and max(hw_mm) <= LARGEST_SPACING_MM else None


def spacing_text(header: Elements) -> tuple[str, int]:
    """Return the text of a file's pixel spacing and its tag: the first of ``SPACINGS`` that is believed, else the first that has a value."""
    given = [(text, tag) for tag in SPACINGS if not is_missing(text := header.ascii(tag))]
    return next((one for one in given if spacing_hw_mm(one[0])), (given or [("", SPACINGS[0])])[0])


def read(column: str, text: object) -> Fact:
    """Return what a text means.

    Args:
      column: one of ``COLUMNS``.
      text: of a header, a table or a record set.
    """
    if text is None or (isinstance(text, str) and is_missing(text)):
        return Fact()
    believed, stated, limit = _PARSERS[column]
    what = stated(text)
    if what is None:
        return Fact(doubt=NOT_READABLE)
    value = believed(text)
    return Fact(value, what, "" if value is not None else limit)


def _stated_age(age: object) -> float | None:
    if isinstance(age, int | float) and not isinstance(age, bool):
        return float(age) if 0 <= age < math.inf else None  # NaN is in no range either
    match = _AGE.fullmatch(age.strip().upper()) if isinstance(age, str) else None
    return float(match[1]) / _A_YEAR[match[2]] if match else None


def _stated_spacing(text: object) -> tuple[float, float] | None:
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        return None
    try:
        hw_mm = [float(one.strip("'\"")) for one in re.split(r"[\\,\s]+", text.strip("[]()'\" "))]
    except ValueError:
        return None
    if len(hw_mm) > 2 or not all(0 < length < math.inf for length in hw_mm):
        return None
    return hw_mm[0], hw_mm[-1]


def _height(parse: Callable[[object], tuple[float, float] | None]) -> Callable[[object], float | None]:
    def height(text: object) -> float | None:
        hw_mm = parse(text)
        return None if hw_mm is None else hw_mm[0]

    return height


_Parser = Callable[[object], float | str | None]

_PARSERS: Mapping[str, tuple[_Parser, _Parser, str]] = {
    "age": (age_years, _stated_age, f"over {OLDEST_YEARS} years"),
    "sex": (sex, sex, ""),
    "view": (view_position, view_position, ""),
    "spacing": (_height(spacing_hw_mm), _height(_stated_spacing), f"over {LARGEST_SPACING_MM:g} mm"),
}
"""Column -> what returns the value that is believed, what returns the one that is written, and the doubt where they differ."""

COLUMNS = tuple(_PARSERS)
"""Names of the facts."""
