"""What the four kinds of objects have in common: their series, their UIDs, and who made them.

made = hd.sr.ComprehensiveSR(..., **identity(STRUCTURED_REPORT, radiograph, findings))
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from pneumodet import __version__
from pneumodet.core.errors import DataError
from pneumodet.dicom.objects import values
from pneumodet.dicom.objects.findings import FOR_RESEARCH, Findings
from pneumodet.dicom.objects.identifiers import LONGEST_LO, MANUFACTURER, Algorithm, uid
from pneumodet.dicom.objects.radiograph import Radiograph

SOFTWARE = f"{MANUFACTURER} {__version__}"
"""What writes the objects; another version may write others, and so they get other UIDs."""

BODY_PART = "CHEST"
"""BodyPartExamined (0018,0015) of images and presentation states; it is no paired one, so that they need no Laterality (PS3.3 C.7.3.1)."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of object.

    Attributes:
      name: part of what its UIDs are made of.
      series_number: (0020,0011), above those of acquired series.
      what: begins SeriesDescription (0008,103E).
    """

    name: str
    series_number: int
    what: str


STRUCTURED_REPORT = Kind("structured report", 9001, "Findings")
PRESENTATION_STATE = Kind("presentation state", 9002, "Boxes and scores")
SECONDARY_CAPTURE = Kind("secondary capture", 9003, "Boxes and scores burned in")
SEGMENTATION = Kind("segmentation", 9004, "Masks")


DIRECTIONS = frozenset("APRLHF")
"""Letters of PatientOrientation (0020,0020) (PS3.3 C.7.6.1.1.1)."""

_LOSSY = {JPEGBaseline8Bit: "ISO_10918_1", JPEGExtended12Bit: "ISO_10918_1", JPEGLSNearLossless: "ISO_14495_1"}
"""Transfer syntaxes that always lose information, and their LossyImageCompressionMethod (0028,2114)."""


def uids_of(radiograph: Radiograph, findings: Findings) -> tuple[str, ...]:
    """Return what the UIDs of an object depend on, beside its kind: the radiograph, the algorithm, the threshold and the version of pneumodet.

    Of these and the findings an object is made, and of no clock: what has the same UID is the same object (PS3.5 9). The UIDs do not depend on
    the findings, which follow from the rest: another machine may round a score otherwise, and the archive shall keep one object.
    """
    return (radiograph.place["SOPInstanceUID"], *_maker(findings))


def _maker(findings: Findings) -> tuple[str, ...]:
    return (*findings.algorithm.identity, repr(findings.score_threshold), SOFTWARE)


def device_uid(algorithm: Algorithm) -> str:
    """Return the UID of an algorithm as the device that observed (PS3.16 TID 1004)."""
    return uid("device", *algorithm.identity)


@contextlib.contextmanager
def of_known_class(radiograph: Radiograph) -> Iterator[None]:
    """Say so where highdicom makes no reference to a radiograph, as its SOP class is not in the tables of the standard that highdicom has.

    Raises:
      DataError: that is so.
    """
    sop_class = radiograph.place["SOPClassUID"]
    try:
        yield
    except KeyError as error:
        # highdicom raises a bare KeyError; one about another key is a bug and keeps its traceback
        if sop_class not in str(error):
            raise
        raise DataError(
            f"A radiograph of SOP class {sop_class}, which is private, retired or damaged, gets no report and no presentation state. "
            "Ask for a secondary capture."
        ) from None


def identity(kind: Kind, radiograph: Radiograph, findings: Findings) -> dict[str, Any]:
    """Return the arguments of highdicom's constructors that identify an object.

    Images of one series get objects of one series, with the numbers of the images.
    """
    algorithm = findings.algorithm
    return {
        "series_instance_uid": uid("series", kind.name, radiograph.place["SeriesInstanceUID"], *_maker(findings)),
        "series_number": kind.series_number,
        "series_description": f"{kind.what}. {FOR_RESEARCH}"[:LONGEST_LO],
        "sop_instance_uid": uid("instance", kind.name, *uids_of(radiograph, findings)),
        "instance_number": radiograph.instance_number,
        "manufacturer": algorithm.manufacturer[:LONGEST_LO],
        "manufacturer_model_name": algorithm.name[:LONGEST_LO],
        "software_versions": [algorithm.version[:LONGEST_LO], SOFTWARE],
        "content_qualification": "RESEARCH",
    }


def remember_loss(made: Dataset, source: Dataset) -> None:
    """Say that the radiograph was compressed with loss, once and for all (PS3.3 C.7.6.1.1.5)."""
    syntax = UID(str(getattr(getattr(source, "file_meta", None), "TransferSyntaxUID", "")))
    if values.text(source, "LossyImageCompression") != "01" and syntax not in _LOSSY:
        return
    made.LossyImageCompression = "01"
    ratios = values.numbers(source, "LossyImageCompressionRatio")
    methods = values.text(source, "LossyImageCompressionMethod") or _LOSSY.get(syntax, "")
    if ratios:
        made.LossyImageCompressionRatio = [f"{ratio:.10g}" for ratio in ratios]
    if methods:
        made.LossyImageCompressionMethod = methods.split("\\")


def orientation(source: Dataset) -> list[str] | None:
    """Return PatientOrientation; None where it is not known or unusable."""
    orientation = values.text(source, "PatientOrientation").split("\\")
    usable = len(orientation) == 2 and all(one and set(one) <= DIRECTIONS for one in orientation)
    return orientation if usable else None
