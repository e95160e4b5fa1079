"""Secondary capture: the radiograph with boxes, scores and the sentence for research burned in, for viewers that show nothing else.

secondary_capture(header, pixels, findings).save_as(path, enforce_file_format=True)
"""

import numpy as np
from pydicom.dataset import Dataset

from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.dicom.objects import library, objects
from pneumodet.dicom.objects.findings import FOR_RESEARCH, Findings
from pneumodet.dicom.objects.presentation import aspect_of
from pneumodet.dicom.objects.radiograph import read
from pneumodet.viz import pictures

SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")
"""Why an image is referred to (PS3.16 CID 7202)."""


def secondary_capture(source: Dataset, pixels: np.ndarray, findings: Findings) -> Dataset:
    """Return a Secondary Capture Image (1.2.840.10008.5.1.4.1.1.7), uncompressed RGB of the radiograph's size.

    Its Modality is OT and its ImageType DERIVED, so that nobody takes it for an acquired radiograph. BurnedInAnnotation is YES: letters are
    burned in, and those of the radiograph itself, if it has any, still are. None that are added say anything of the patient.

    Args:
      source: the radiograph's header.
      pixels: (H, W) uint8 of it, dark air and bright bone.
      findings: in px of it.

    Raises:
      DataError: the pixels are not those of the header, which lacks what a reference needs, or a box lies outside of the radiograph.
      EnvironmentProblem: highdicom is not installed.
    """
    hd = library.highdicom()
    radiograph = read(source)
    if pixels.shape != (radiograph.rows, radiograph.columns):
        raise DataError(
            f"The radiograph has {radiograph.columns} x {radiograph.rows} px, but the pixels given are of shape {pixels.shape}. "
            f"Give them as data.images.read_pixels returns them."
        )
    boxes = findings.within(rows=radiograph.rows, columns=radiograph.columns)
    detections = Detections(boxes, findings.scores, np.ones(len(findings), np.int64))
    picture = pictures.draw_boxes(pixels, detections=detections, title=FOR_RESEARCH)
    place = radiograph.place
    made = hd.sc.SCImage(
        pixel_array=np.asarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        # highdicom asks for one; the radiograph's own, or none, replaces it below
        patient_orientation=("L", "F"),
        study_instance_uid=place["StudyInstanceUID"],
        **objects.identity(objects.SECONDARY_CAPTURE, radiograph, findings),
    )
    made.PatientOrientation = objects.orientation(source)
    made.BodyPartExamined = objects.BODY_PART
    made.ConversionType = "WSD"
    made.BurnedInAnnotation = "YES"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.DerivationDescription = f"{findings.summary}. {findings.algorithm.name} {findings.algorithm.version}. {FOR_RESEARCH}."
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = place["SOPClassUID"], place["SOPInstanceUID"]
    # a reference without a frame number is to all frames (PS3.3 table 10-3)
    if radiograph.frames > 1:
        reference.ReferencedFrameNumber = 1
    reference.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept(*SOURCE_IMAGE)]
    made.SourceImageSequence = [reference]
    aspect = aspect_of(source)
    # only for other ratios than 1:1 (type 1C, PS3.3 C.7.6.3)
    if aspect != 1:
        made.PixelAspectRatio = [aspect.numerator, aspect.denominator]
    objects.remember_loss(made, source)
    radiograph.sign(made)
    return made
