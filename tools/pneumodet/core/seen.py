"""What a model has seen: the exams, and their patients, that it was trained, chosen and tuned on, kept as short keyed hashes.

seen = Seen(trained=Marks.of(Exams.of(train["images"])), chosen=Marks.of(Exams.of(val["images"]))) | runs.seen(pretrained)
seen.to_json()                                       # what run.json holds

An exam is known again by its SOPInstanceUID, by its pixels as its file or its record has them, or else by its id; a patient by what the patient map or the
header calls him. The key is the same everywhere, so that a run, an export and a recipe can be compared on any machine. It keeps the hashes apart
from plain ones and is no secret: whoever can guess an id can test it. docs/file-formats.md says what that means.
"""

import base64
import binascii
import dataclasses
import functools
import hashlib
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from pneumodet.core.errors import DataError

VERSION = 1
"""Of the form in run.json, model.json and recipe.json; raised where an older reader would take something wrong."""

PATIENT, SOURCE = "patient_hash", "source_sha256"
"""Fields of an image in the ground truth: ``hash_of`` its patient, in hex, and the SHA-256 of its pixels as the source file has them."""

_KEY = b"pneumodet: what a model has seen"
_BYTES = 8  # 100,000 exams against as many: one pair in 2 billion is alike by chance

_HEX = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}")


def hash_of(kind: str, text: str) -> bytes:
    """Return the 8 bytes that stand for an id; ``kind`` keeps those of exams, patients, UIDs and images apart."""
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=_BYTES, key=_KEY, person=kind.encode()).digest()


def patient_hash(patient: str) -> str:
    """Return what ``PATIENT`` of an image is for a patient's key."""
    return hash_of("patient", patient).hex()


@dataclasses.dataclass(frozen=True, eq=False)
class Exams:
    """N exams, by all that they may be known again by; hashes, as ``hash_of``.

    Attributes:
      ids: of the name.
      uids: of the SOPInstanceUID; None where it is not known.
      images: of the pixels as the record has them, and as the source file has them, as far as known.
      patients: of the patient; None where he is not known beyond this set.
      groups: equal for the exams of one patient in this set.
    """

    ids: tuple[bytes, ...]
    uids: tuple[bytes | None, ...]
    images: tuple[tuple[bytes, ...], ...]
    patients: tuple[bytes | None, ...]
    groups: tuple[Hashable, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(
        cls, images: Sequence[Mapping[str, Any]], *, patients: Mapping[str, str] | None = None, groups: Sequence[Hashable] | None = None
    ) -> "Exams":
        """Return the exams of a COCO object's images.

        Args:
          images: N of them; ``file_name`` is the exam.
          patients: exam -> patient, where a patient map was given; it goes before what the images say.
          groups: N values, equal for exams of one patient; by default ``patients``, else ``patient`` of the images, else every exam is alone.
        """
        names = [str(image["file_name"]) for image in images]
        if groups is None:
            groups = [image.get("patient", f"exam {name}") for name, image in zip(names, images, strict=True)]
            groups = groups if patients is None else [patients.get(name, f"exam {name}") for name in names]
        return cls(
            tuple(hash_of("exam", name) for name in names),
            tuple(hash_of("uid", uid) if isinstance(uid := image.get("sop_instance_uid"), str) else None for image in images),
            tuple(tuple(hash_of("image", one) for key in ("sha256", SOURCE) if (one := _hex(image.get(key)))) for image in images),
            tuple(_patient(name, image, patients) for name, image in zip(names, images, strict=True)),
            tuple(groups),
        )


def _hex(value: object) -> str | None:
    return value if isinstance(value, str) and _HEX.fullmatch(value) else None


def _patient(name: str, image: Mapping[str, Any], patients: Mapping[str, str] | None) -> bytes | None:
    if patients is not None:
        return hash_of("patient", patients[name]) if name in patients else None
    if known := _hex(image.get(PATIENT)):
        return bytes.fromhex(known)
    # a number says who belongs together in its own set; in another one it is another patient
    return hash_of("patient", patient) if isinstance(patient := image.get("patient"), str) else None


@dataclasses.dataclass(frozen=True)
class Marks:
    """A set of exams and patients, as hashes of 8 bytes, sorted, in base64; each kind of them is one text, so that a file stays small.

    Attributes:
      exams: of the exams' ids.
      uids: of their SOPInstanceUIDs, as far as known.
      images: of their pixels, as the records have them and as the source files have them, as far as known.
      patients: of their patients, as far as known beyond one set.
    """

    exams: str = ""
    uids: str = ""
    images: str = ""
    patients: str = ""

    @classmethod
    def of(cls, exams: Exams) -> "Marks":
        """Return the marks of exams."""
        images = {one for of_exam in exams.images for one in of_exam}
        return cls(_packed(set(exams.ids)), _packed(set(exams.uids) - {None}), _packed(images), _packed(set(exams.patients) - {None}))

    def __or__(self, other: "Marks") -> "Marks":
        """Return the union."""
        if not other or self == other:
            return self
        return Marks(**{name: _packed(mine | other.sets[name]) for name, mine in self.sets.items()}) if self else other

    def __bool__(self) -> bool:
        return bool(self.exams)

    def __len__(self) -> int:
        return len(self.sets["exams"])

    @functools.cached_property
    def sets(self) -> dict[str, frozenset[bytes]]:
        """Field -> its hashes.

        Raises:
          DataError: the text is damaged.
        """
        return {field.name: _unpacked(getattr(self, field.name), field.name) for field in dataclasses.fields(self)}


def _packed(hashes: set[Any] | frozenset[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(hashes))).decode("ascii")


def _unpacked(text: str, name: str) -> frozenset[bytes]:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b"?"
    if len(data) % _BYTES:
        raise DataError(
            f"What a model has seen cannot be read: its field {name} must be hashes of {_BYTES} bytes in base64. Restore the file it is from, or make it anew."
        )
    return frozenset(data[start : start + _BYTES] for start in range(0, len(data), _BYTES))


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a model has seen, with all that it was begun from.

    Attributes:
      version: of the form.
      trained: exams whose labels its weights were fitted to.
      chosen: exams whose labels its checkpoint, its score threshold or its calibration was chosen by.
      tuned: exams whose labels its post-processing was chosen by.
      unrecorded: parts of it of which nothing is recorded, such as "the run old".
    """

    version: int = VERSION
    trained: Marks = Marks()
    chosen: Marks = Marks()
    tuned: Marks = Marks()
    unrecorded: tuple[str, ...] = ()

    def __or__(self, other: "Seen") -> "Seen":
        """Return what both have seen, as of an ensemble, or of a run that begins with another one's weights."""
        return Seen(
            trained=self.trained | other.trained,
            chosen=self.chosen | other.chosen,
            tuned=self.tuned | other.tuned,
            unrecorded=tuple(dict.fromkeys((*self.unrecorded, *other.unrecorded))),
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a file holds of it; ``Fields.build`` reads it."""
        return {**dataclasses.asdict(self), "unrecorded": list(self.unrecorded)}


def united(parts: Iterable[Seen]) -> Seen:
    """Return what all of them have seen."""
    return functools.reduce(Seen.__or__, parts, Seen())
