"""Body parts and views as sites write them: what a word of BodyPartExamined or ViewPosition means.

    is_chest("TORAX AP")                     # True
    is_frontal("AP SUPINE")                  # True
    quoted("Thorax_PA")                      # "'THORAX PA'", to be put into a message

DICOM has CHEST, AP and PA (PS3.16 Annex L, PS3.3 C.8.7.1.1.3); devices and sites write these in their language, with the view in the body part,
with the patient's position in the view, and with any sign between the words. What has a word besides that is not known here means nothing.
"""

import re
import unicodedata
from collections.abc import Collection

LATERAL_VIEWS = frozenset(("LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL", "LAT"))
"""Values of ViewPosition that are no frontal view: DICOM's terms for lateral, decubitus and oblique (PS3.3 C.8.1.1), and two used besides."""

FRONTAL_VIEWS = frozenset(("AP", "PA"))
"""Values of ViewPosition that are a frontal view."""

CHEST_WORDS = frozenset(
    ("CHEST", "THORAX", "TORAX", "TORACE", "THORACIC", "TORACICO", "TORACICA", "LUNG", "LUNGS", "LUNGE", "LUNGEN", "POUMON", "POUMONS")
    + ("PULMON", "PULMONES", "PULMAO", "PULMOES", "POLMONE", "POLMONI", "PULMONARY", "BRUSTKORB", "CXR", "CHST", "THX")
)
"""Chest, thorax and lungs: English, Spanish, Portuguese, Italian, German, French, and short forms. Accents count for nothing."""

FRONTAL_WORDS = FRONTAL_VIEWS | frozenset(
    ("FRONTAL", "FRONT", "FRONTALE", "FACE", "FRENTE", "ANTEROPOSTERIOR", "POSTEROANTERIOR", "ANTERO", "POSTERO", "ANTERIOR", "POSTERIOR")
    + ("DV", "VD")
)
"""Views from the front or the back."""

OTHER_VIEW_WORDS = LATERAL_VIEWS | frozenset(
    ("LLAT", "RLAT", "LAO", "RAO", "LPO", "RPO", "OBLIQUE", "OBL", "OBLICUA", "DECUBITUS", "DECUB", "LORDOTIC", "APICAL", "AXIAL")
    + ("SEITLICH", "PERFIL", "PROFIL", "LATERALE")
)
"""Any other view; one of these words decides."""

POSITION_WORDS = frozenset(
    (
        "SUPINE",
        "ERECT",
        "UPRIGHT",
        "STANDING",
        "SITTING",
        "SEMI",
        "SEMIERECT",
        "SEMIUPRIGHT",
        "PRONE",
        "PORTABLE",
        "PORT",
        "MOBILE",
        "BEDSIDE",
    )
    + ("BED", "STEHEND", "LIEGEND", "SITZEND", "DEBOUT", "COUCHE", "LIGGEND", "STAAND", "GRID", "NOGRID", "INSP", "INSPIRATION", "EXP")
    + (
        "EXPIRATION",
        "ADULT",
        "CHILD",
        "BABY",
        "PED",
        "PEDS",
        "PEDIATRIC",
        "PAEDIATRIC",
        "NEONATE",
        "ROUTINE",
        "VIEW",
        "VIEWS",
        "SINGLE",
        "XR",
    )
    + ("CR", "DX", "DR", "XRAY", "RX", "RAD", "V", "DE")
)
"""Words beside: how the patient stands or lies, how old, which device."""

_OF_FRONTAL_VIEWS = CHEST_WORDS | FRONTAL_WORDS | POSITION_WORDS
"""Words that are known in a frontal view."""

_OF_BODY_PARTS = _OF_FRONTAL_VIEWS | OTHER_VIEW_WORDS
"""Words that are known in a body part."""

_TERM_OF_WORD = {"ANTEROPOSTERIOR": "AP", "POSTEROANTERIOR": "PA"}
"""Words for DICOM's terms."""

_SIDES = frozenset(("L", "R", "LEFT", "RIGHT"))
"""Words beside a lateral view."""

_LONGEST = 16
"""Characters of a code string (PS3.5 6.2); what is longer is free text, and might name somebody."""

_CODE = re.compile(r"[^\W\d_]+(?:[ /.-][\w.]+)*")
"""Words of letters and, after the first, of digits: a number alone may be a patient's."""

_WORD = re.compile(r"[A-Z]+|[0-9]+")


def words(text: str) -> tuple[str, ...]:
    """Return a text's words in capitals, without accents, signs and numbers between 1 and 9."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().upper()
    # A.P. and P/A are words of one letter each
    joined = re.sub(r"\b(A P|P A)\b", lambda match: match[0].replace(" ", ""), " ".join(_WORD.findall(plain)))
    return tuple(word for word in joined.split() if not (word.isdigit() and len(word) == 1))


def is_chest(text: str, *, more: Collection[str] = ()) -> bool:
    """Return whether a body part is the chest: a word for it is there, and none that is not known.

    Args:
      text: BodyPartExamined (0018,0015), not empty.
      more: what a site calls the chest besides, in any letter case.
    """
    each = words(text)
    if each in {words(one) for one in more}:
        return True
    return not CHEST_WORDS.isdisjoint(each) and _OF_BODY_PARTS.issuperset(each)


def is_frontal(text: str, *, more: Collection[str] = ()) -> bool:
    """Return whether a view is a frontal one: a word for it is there, and none that is not known.

    Args:
      text: ViewPosition (0018,5101), not empty.
      more: what a site calls a frontal view besides, in any letter case.
    """
    each = words(text)
    return each in {words(one) for one in more} or (not FRONTAL_WORDS.isdisjoint(each) and _OF_FRONTAL_VIEWS.issuperset(each))


def view_position(text: str) -> str | None:
    """Return the term of ``FRONTAL_VIEWS`` or ``LATERAL_VIEWS`` that a text means; None where it means none, or two.

    Args:
      text: ViewPosition (0018,5101), such as ``AP SUPINE``.
    """
    if (term := text.strip().upper()) in FRONTAL_VIEWS | LATERAL_VIEWS:
        return term
    each = {_TERM_OF_WORD.get(word, word) for word in words(text)}
    named = each & (FRONTAL_VIEWS | LATERAL_VIEWS)
    # free text may name somebody, and hold such letters by chance
    return next(iter(named)) if len(named) == 1 and each <= _OF_BODY_PARTS | _SIDES else None


def names_other_view(text: str) -> bool:
    """Return whether a text names a view that is not frontal, as some sites do in BodyPartExamined (0018,0015)."""
    return not OTHER_VIEW_WORDS.isdisjoint(words(text))


def quoted(text: str, *, private: Collection[str] = ()) -> str:
    """Return a text to be put into a message: in quotation marks where it can be a code string, else that there is one.

    Args:
      text: of the header.
      private: texts that name the patient; what shares a word with them is not quoted.
    """
    code = " ".join(text.replace("_", " ").upper().split())
    names = {word for one in private for word in words(one) if len(word) > 1}
    if len(code) > _LONGEST or not _CODE.fullmatch(code) or not names.isdisjoint(words(code)):
        return "a text that is no term"
    return f"'{code}'"
