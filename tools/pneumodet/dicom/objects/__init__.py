"""The opacities that a model detected on a radiograph, as DICOM objects of its study: structured report, presentation state, secondary
capture, segmentation.

    findings = dicom_out.Findings(boxes_xyxy_px, scores, score_threshold, algorithm)
    dicom_out.structured_report(header, findings).save_as(path, enforce_file_format=True)

All four say that they are for research, name the algorithm, and are the same, byte by byte, each time they are made of the same radiograph,
algorithm, findings and threshold by the same version of pneumodet. Of the patient they hold what the standard requires, and nothing else. The
package highdicom is imported where they are made.
"""

from pneumodet.dicom.objects.capture import secondary_capture
from pneumodet.dicom.objects.findings import Findings
from pneumodet.dicom.objects.identifiers import Algorithm
from pneumodet.dicom.objects.masks import segmentation
from pneumodet.dicom.objects.presentation import presentation_state
from pneumodet.dicom.objects.report import structured_report

__all__ = ["Algorithm", "Findings", "presentation_state", "secondary_capture", "segmentation", "structured_report"]
