"""Comprehensive SR: a Measurement Report (PS3.16 TID 1500) that says whether there is an opacity, and where.

structured_report(header, findings).save_as(path, enforce_file_format=True)

The finding is "opacity" (RadLex RID28530) in the lung (SNOMED CT 39607008): this is what the boxes of the training data mark and what a
radiograph can show. Pneumonia (SNOMED CT 233604007) is a disorder; as a code it would state the diagnosis that a physician makes of an opacity,
fever and blood counts, and no model of boxes can. The score is a "Score" (SNOMED CT 246262008) without unit, not a probability or a certainty
in percent, which it would be taken for: it is not calibrated.
"""

from types import ModuleType
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from pneumodet.dicom.objects import library, objects
from pneumodet.dicom.objects.findings import FOR_RESEARCH, SCORE_DECIMALS, Findings
from pneumodet.dicom.objects.identifiers import uid
from pneumodet.dicom.objects.radiograph import Radiograph, read

OPACITY = Code("RID28530", "RADLEX", "opacity")
LUNG = Code("39607008", "SCT", "Lung")
SCORE = Code("246262008", "SCT", "Score")
NO_UNITS = Code("1", "UCUM", "no units")
PRESENT, ABSENT = Code("52101004", "SCT", "Present"), Code("272519000", "SCT", "Absent")
"""PS3.16 CID 241."""

BOUNDED_BY = Code("75958009", "SCT", "Bounded by")
"""What a box is to an opacity (PS3.16 CID 219)."""

CHEST_RADIOGRAPHY = Code("399208008", "SCT", "Plain chest X-ray")
"""The procedure that is reported."""

COMMENT = Code("121106", "DCM", "Comment")


def structured_report(source: Dataset, findings: Findings) -> Dataset:
    """Return a Comprehensive SR (1.2.840.10008.5.1.4.1.1.88.33) of a radiograph.

    It holds one group for the whole image, with opacity Present or Absent, and one for each box: a closed POLYLINE on the image in its own
    pixels (PS3.3 C.18.6), and the score. Its content is COMPLETE, its state UNVERIFIED and PRELIMINARY.

    Args:
      source: the radiograph's header.
      findings: in px of it.

    Raises:
      DataError: the header lacks what a reference needs, its SOP class is not known, or a box lies outside of the radiograph.
      EnvironmentProblem: highdicom is not installed.
    """
    hd = library.highdicom()
    radiograph = read(source)
    with objects.of_known_class(radiograph):
        made = hd.sr.ComprehensiveSR(
            evidence=[radiograph.reference()],
            content=_content(hd, radiograph, findings),
            is_complete=True,
            is_final=False,
            is_verified=False,
            **objects.identity(objects.STRUCTURED_REPORT, radiograph, findings),
        )
    radiograph.sign(made)
    return made


def _content(hd: ModuleType, radiograph: Radiograph, findings: Findings) -> Any:
    algorithm = findings.algorithm
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(
            observer_device_context=hd.sr.ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                    uid=objects.device_uid(algorithm),
                    name=algorithm.name,
                    manufacturer_name=algorithm.manufacturer,
                    model_name=algorithm.name,
                    serial_number=algorithm.version,
                ),
            )
        ),
        procedure_reported=CHEST_RADIOGRAPHY,
        imaging_measurements=[
            _whole_image(hd, radiograph, findings),
            *(_region(hd, radiograph, findings, index) for index in range(len(findings))),
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    text = f"{findings.summary}. {FOR_RESEARCH}. Found by software; not verified by a physician."
    # highdicom has no argument for it; templates that are extensible, as TID 1500 is, allow further items
    content[0].ContentSequence.append(
        hd.sr.TextContentItem(name=COMMENT, value=text, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS)
    )
    return content


def _whole_image(hd: ModuleType, radiograph: Radiograph, findings: Findings) -> Any:
    """Return the group that says whether there is an opacity (TID 1501)."""
    place = radiograph.place
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(
                place["SOPClassUID"], place["SOPInstanceUID"], referenced_frame_numbers=_frames(radiograph)
            )
        ],
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(name=OPACITY, value=PRESENT if len(findings) else ABSENT)],
        **_about(hd, radiograph, findings, "radiograph"),
    )


def _region(hd: ModuleType, radiograph: Radiograph, findings: Findings, index: int) -> Any:
    """Return the group of one box (TID 1410)."""
    place = radiograph.place
    left, top, right, bottom = findings.within(rows=radiograph.rows, columns=radiograph.columns)[index]
    region = hd.sr.ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        # the first point again at the end closes the line (PS3.3 C.18.6)
        graphic_data=np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]),
        source_image=hd.sr.SourceImageForRegion(
            place["SOPClassUID"], place["SOPInstanceUID"], referenced_frame_numbers=_frames(radiograph)
        ),
    )
    score = hd.sr.Measurement(name=SCORE, value=round(float(findings.scores[index]), SCORE_DECIMALS), unit=NO_UNITS)
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=region,
        geometric_purpose=BOUNDED_BY,
        measurements=[score],
        **_about(hd, radiograph, findings, f"opacity {index + 1}"),
    )


def _about(hd: ModuleType, radiograph: Radiograph, findings: Findings, tracked: str) -> dict[str, Any]:
    """Return what all groups say: which one it is, what was searched for and where, by which algorithm."""
    algorithm = findings.algorithm
    tracking_uid = uid("tracking", tracked, *objects.uids_of(radiograph, findings))
    return {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=tracking_uid, identifier=tracked),
        "finding_type": OPACITY,
        "finding_sites": [hd.sr.FindingSite(anatomic_location=LUNG)],
        "algorithm_id": hd.sr.AlgorithmIdentification(
            name=algorithm.name,
            version=algorithm.version,
            parameters=[f"score threshold={findings.score_threshold:.6g}", *algorithm.parameters],
        ),
    }


def _frames(radiograph: Radiograph) -> list[int] | None:
    # frame numbers are for images of several frames only (PS3.3 table 10-3)
    return [1] if radiograph.frames > 1 else None
