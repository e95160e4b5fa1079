"""The algorithm that detected opacities, and the UIDs under which its objects are stored.

    algorithm = Algorithm("pneumodet my_first", "0123456789ab")
    uid("instance", source_uid, *algorithm.identity)         # the same each time, another one for anything else

A second run makes the same UIDs, so that an archive keeps one object of each kind.
"""

import dataclasses
import hashlib
import re
import uuid

from pneumodet.core.errors import DataError

MANUFACTURER = "pneumodet"
"""Manufacturer (0008,0070) of all that is written."""

LONGEST_LO = 64
"""Characters of a Long String (PS3.5 table 6.2-1)."""

_PLAIN = re.compile(r"[ -\[\]-~]+")
"""ASCII without controls and the backslash, which parts values (PS3.5 6.2): every character set has it."""


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """What detected the boxes (PS3.16 TID 4019).

    Attributes:
      name: for example ``pneumodet my_first``.
      version: of its weights.
      manufacturer: who makes it.
      parameters: what else its findings depend on, ``name=value`` each; the score threshold is added by itself.

    Raises:
      DataError: a text is empty, or has something else than printable ASCII without backslash.
    """

    name: str
    version: str
    manufacturer: str = MANUFACTURER
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        for what, text in (
            ("name", self.name),
            ("version", self.version),
            ("manufacturer", self.manufacturer),
            *(("parameter", one) for one in self.parameters),
        ):
            if not _PLAIN.fullmatch(text):
                raise DataError(f"The algorithm's {what} {text!r} must be printable ASCII without backslash, for DICOM objects to hold it.")

    @property
    def identity(self) -> tuple[str, ...]:
        """All that distinguishes it from another one."""
        return (self.manufacturer, self.name, self.version, *self.parameters)


def plain(text: str) -> str:
    """Return a text with an underscore for every letter that an ``Algorithm`` cannot have."""
    return "".join(letter if _PLAIN.fullmatch(letter) else "_" for letter in text).strip()


def uid(*parts: str) -> str:
    """Return a UID made of texts: the same for the same texts in the same order.

    It is "2.25." and a UUID as a decimal number (PS3.5 B.2), here a name-based one (RFC 9562 5.5) whose name is the SHA-256 of the texts.

    Returns:
      44 characters at most, which every system can hold.
    """
    # no text that goes in holds a NUL, so that two lists of texts never become one
    digest = hashlib.sha256("\0".join((MANUFACTURER, *parts)).encode()).hexdigest()
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, digest).int}"
