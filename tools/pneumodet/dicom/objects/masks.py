"""Segmentation: the pixels of each opacity that a model with masks detected.

segmentation(header, masks, findings).save_as(path, enforce_file_format=True)
"""

from collections.abc import Sequence

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ComputedRadiographyImageStorage

from pneumodet.core.errors import DataError
from pneumodet.dicom.objects import library, objects
from pneumodet.dicom.objects.findings import FOR_RESEARCH, SCORE_DECIMALS, Findings
from pneumodet.dicom.objects.identifiers import uid
from pneumodet.dicom.objects.radiograph import Radiograph, read
from pneumodet.dicom.objects.report import LUNG, OPACITY

ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
"""What kind of thing a segment is (PS3.16 CID 7150)."""

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
"""What kind of algorithm made it (PS3.16 CID 7162)."""

MOST_PX = 2**28
"""Of all masks together: 35 of the largest radiographs. They are in memory several times while the object is made."""


def segmentation(source: Dataset, masks: Sequence[np.ndarray], findings: Findings) -> Dataset:
    """Return a Segmentation (1.2.840.10008.5.1.4.1.1.66.4), a binary one, in the radiograph's own pixels.

    Each opacity is a segment with a frame of its own, in the order of the findings, since masks may overlap; its score stands in SegmentDescription
    (0062,0006). Where nothing was detected there is one segment without a pixel, so that this, too, is on record.

    Args:
      source: the radiograph's header.
      masks: (H, W) bool of each finding.
      findings: in px of it.

    Raises:
      DataError: there are not as many masks as findings, they are too many, or of another size than the radiograph, whose header lacks what a reference
        needs.
      EnvironmentProblem: highdicom is not installed.
    """
    hd = library.highdicom()
    radiograph = read(source)
    size_hw = (radiograph.rows, radiograph.columns)
    if len(masks) != len(findings) or any(mask.shape != size_hw for mask in masks):
        raise DataError(
            f"{len(findings)} opacities on a radiograph of {size_hw[1]} x {size_hw[0]} px need as many masks of this size, not "
            f"{[mask.shape for mask in masks]}."
        )
    check_number(len(masks), size_hw)
    pixels = np.stack([np.asarray(mask, bool) for mask in masks] or [np.zeros(size_hw, bool)], axis=-1)
    algorithm = findings.algorithm
    about = objects.identity(objects.SEGMENTATION, radiograph, findings)
    # of the image's kind of object only
    about.pop("content_qualification")
    reference = radiograph.reference()
    reference.SOPClassUID = ComputedRadiographyImageStorage
    made = hd.seg.Segmentation(
        source_images=[reference],
        pixel_array=pixels[np.newaxis],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=f"opacity {number}" if len(findings) else "no opacity",
                segmented_property_category=ABNORMAL_STRUCTURE,
                segmented_property_type=OPACITY,
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=hd.AlgorithmIdentificationSequence(
                    name=algorithm.name, family=ARTIFICIAL_INTELLIGENCE, version=algorithm.version, source=algorithm.manufacturer
                ),
                # as in the structured report: the same opacity has the same number and UID
                tracking_uid=uid("tracking", f"opacity {number}", *objects.uids_of(radiograph, findings)),
                tracking_id=f"opacity {number}",
                anatomic_regions=[LUNG],
            )
            for number in range(1, pixels.shape[-1] + 1)
        ],
        device_serial_number=algorithm.version,
        content_label="OPACITIES",
        content_description=FOR_RESEARCH,
        content_creator_name=None,
        omit_empty_frames=False,
        **about,
    )
    for segment, score in zip(made.SegmentSequence, findings.scores.tolist(), strict=False):
        segment.SegmentDescription = f"Score {score:.{SCORE_DECIMALS}g}"
    _refer(made, radiograph)
    made.BodyPartExamined = objects.BODY_PART
    # of all images, where there is no frame of reference
    made.PatientOrientation = objects.orientation(source)
    # highdicom draws it by lot
    dimensions = uid("dimensions", *objects.uids_of(radiograph, findings))
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    objects.remember_loss(made, source)
    radiograph.sign(made)
    return made


def _refer(made: Dataset, radiograph: Radiograph) -> None:
    """Give references the radiograph's own class, for which highdicom would want functional groups, or know none, and its first frame."""

    def correct(item: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = radiograph.place["SOPClassUID"]
            if radiograph.frames > 1 and item is not made and "PurposeOfReferenceCodeSequence" in item:
                item.ReferencedFrameNumber = 1

    made.walk(correct)


def check_number(count: int, size_hw: tuple[int, int]) -> None:
    """Refuse more masks than go into memory, before they are made.

    Raises:
      DataError: they are too many.
    """
    most = MOST_PX // (size_hw[0] * size_hw[1])
    if count > most:
        raise DataError(
            f"{count} opacities on a radiograph of {size_hw[1]} x {size_hw[0]} px are more than the {most} that one segmentation may hold. Raise the "
            "score threshold."
        )
