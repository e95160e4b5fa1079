"""Every attribute of the objects, and why it is there: nothing of the patient beyond what the standard requires."""

import io

import pydicom
import pytest
from dicom_headers import made_up, read_back
from pydicom.datadict import DicomDictionary
from pydicom.uid import MultiFrameGrayscaleByteSecondaryCaptureImageStorage

from pneumodet.dicom.objects import radiograph as taken

KINDS = ("structured_report", "presentation_state", "secondary_capture")

PATIENT = "required by the Patient module (PS3.3 C.7.1.1, type 2): whose it is"
STUDY = "required by the General Study module (PS3.3 C.7.2.1, type 1 or 2): it belongs to the radiograph's study"
SERIES = "of the object's own series (PS3.3 C.7.3.1, C.11.9, C.17.1)"
EQUIPMENT = "who made it: the algorithm (PS3.3 C.7.5.1, C.8.6.1)"
OBJECT = "what it is (PS3.3 C.12.1)"
DOCUMENT = "state of the document (PS3.3 C.17.2)"
CONTENT = "content of the document (PS3.3 C.17.3, C.18; PS3.16 TID 1500)"
REFERENCE = "which radiograph it is about (PS3.3 C.11.11, C.7.6.1, C.17.2.1)"
SHOWN = "how the radiograph is shown, copied from it (PS3.3 C.10.4, C.11.1, C.11.6, C.11.8)"
DRAWN = "boxes and scores (PS3.3 C.10.5, C.10.7)"
PIXELS = "the picture (PS3.3 C.7.6.1, C.7.6.3, C.8.6.2)"
LOSS = "the radiograph was compressed with loss, which stays known (PS3.3 C.7.6.1.1.5)"

COMMON = {
    **dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "PatientSex"), PATIENT),
    **dict.fromkeys(("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"), STUDY),
    **dict.fromkeys(("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality"), SERIES),
    **dict.fromkeys(("Manufacturer", "ManufacturerModelName", "SoftwareVersions"), EQUIPMENT),
    **dict.fromkeys(("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "ContentQualification"), OBJECT),
    "SpecificCharacterSet": "the radiograph's, for the patient's name",
}
CODES = dict.fromkeys(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), "codes (PS3.3 8.8)")
REFERENCES = dict.fromkeys(("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "ReferencedFrameNumber", "SeriesInstanceUID"), REFERENCE)
MOMENT = "when it was made"
TABLE = dict.fromkeys(("LUTDescriptor", "LUTData"), SHOWN)

ATTRIBUTES = {
    "structured_report": COMMON
    | dict.fromkeys(("ContentDate", "ContentTime"), MOMENT)
    | dict.fromkeys(("CompletionFlag", "VerificationFlag", "PreliminaryFlag"), DOCUMENT)
    | dict.fromkeys(("PerformedProcedureCodeSequence", "ReferencedPerformedProcedureStepSequence"), "required, and empty (type 2)")
    | {"CurrentRequestedProcedureEvidenceSequence": REFERENCE}
    | dict.fromkeys(("ValueType", "ConceptNameCodeSequence", "ContinuityOfContent", "ContentTemplateSequence", "ContentSequence"), CONTENT),
    "presentation_state": COMMON
    | dict.fromkeys(("PresentationCreationDate", "PresentationCreationTime"), MOMENT)
    | dict.fromkeys(("ContentLabel", "ContentDescription"), "that it is for research (PS3.3 C.11.10)")
    | {
        "ContentCreatorName": "required, and empty (type 2): it was no person",
        "BodyPartExamined": SERIES,
        "ReferencedSeriesSequence": REFERENCE,
    }
    | dict.fromkeys(("DisplayedAreaSelectionSequence", "SoftcopyVOILUTSequence", "PresentationLUTShape"), SHOWN)
    | dict.fromkeys(("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"), SHOWN)
    | dict.fromkeys(("GraphicAnnotationSequence", "GraphicLayerSequence"), DRAWN),
    "secondary_capture": COMMON
    | dict.fromkeys(("ContentDate", "ContentTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture"), MOMENT)
    | {"BodyPartExamined": SERIES, "ConversionType": EQUIPMENT, "SourceImageSequence": REFERENCE}
    | {"PatientOrientation": "required by the General Image module (type 2C): which way up it is"}
    | dict.fromkeys(("ImageType", "DerivationDescription", "BurnedInAnnotation", "PixelAspectRatio"), PIXELS)
    | dict.fromkeys(("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "PixelData"), PIXELS)
    | dict.fromkeys(("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"), PIXELS)
    | dict.fromkeys(("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"), LOSS),
}
"""Kind of object -> keyword -> why it is there; of the data set itself."""

NESTED = {
    "structured_report": CODES
    | REFERENCES
    | dict.fromkeys(("StudyInstanceUID", "ReferencedSeriesSequence", "ReferencedSOPSequence"), REFERENCE)
    | dict.fromkeys(("ValueType", "RelationshipType", "ContinuityOfContent", "ContentTemplateSequence", "ContentSequence"), CONTENT)
    | dict.fromkeys(
        ("TemplateIdentifier", "MappingResource", "ConceptNameCodeSequence", "ConceptCodeSequence", "UID", "TextValue"), CONTENT
    )
    | dict.fromkeys(("MeasuredValueSequence", "MeasurementUnitsCodeSequence", "NumericValue", "FloatingPointValue"), CONTENT)
    | dict.fromkeys(("GraphicType", "GraphicData"), CONTENT),
    "presentation_state": REFERENCES
    | TABLE
    | {"ReferencedImageSequence": REFERENCE, "ModalityLUTType": SHOWN, "VOILUTSequence": SHOWN}
    | dict.fromkeys(("WindowCenter", "WindowWidth", "VOILUTFunction"), SHOWN)
    | dict.fromkeys(("DisplayedAreaTopLeftHandCorner", "DisplayedAreaBottomRightHandCorner", "PresentationSizeMode"), SHOWN)
    | {"PresentationPixelAspectRatio": SHOWN}
    | dict.fromkeys(("GraphicLayer", "GraphicLayerOrder", "GraphicLayerDescription", "GraphicLayerRecommendedDisplayCIELabValue"), DRAWN)
    | dict.fromkeys(("GraphicObjectSequence", "GraphicAnnotationUnits", "GraphicDimensions", "NumberOfGraphicPoints"), DRAWN)
    | dict.fromkeys(("GraphicData", "GraphicType", "GraphicFilled", "TextObjectSequence", "UnformattedTextValue"), DRAWN)
    | dict.fromkeys(("BoundingBoxAnnotationUnits", "BoundingBoxTopLeftHandCorner", "BoundingBoxBottomRightHandCorner"), DRAWN)
    | dict.fromkeys(
        ("BoundingBoxTextHorizontalJustification", "AnchorPoint", "AnchorPointAnnotationUnits", "AnchorPointVisibility"), DRAWN
    ),
    "secondary_capture": CODES
    | dict.fromkeys(("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "ReferencedFrameNumber"), REFERENCE)
    | {"PurposeOfReferenceCodeSequence": REFERENCE},
}
"""The same, of items of sequences."""

TAKEN_OVER = {
    "SpecificCharacterSet",
    "Rows",
    "Columns",
    "InstanceNumber",
    *taken.PLACE,
    *taken.TEXTS,
    *taken.DATES,
    "StudyTime",
    "PatientSex",
}
"""What ``radiograph.read`` reads."""

USED = {f"{what}{part}" for what in taken.MOMENTS for part in ("Date", "Time")} | {"NumberOfFrames"}
USED |= {"SamplesPerPixel", "PhotometricInterpretation", "PresentationLUTShape", "VOILUTFunction", "PatientOrientation"}
USED |= {"LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"}
"""What else of a radiograph is used: when it was made, how it is shown; none of it is text that anybody typed."""

SECRETS = {"AS": "088Y", "CS": "SECRET", "DA": "18880808", "DT": "18880808", "TM": "080808", "PN": "SECRET^SECRET", "UI": "1.2.888.888.888"}
SECRETS |= dict.fromkeys(("AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), "SECRET")


def full_of_secrets():
    """Return a radiograph with a secret in every element of the dictionary that can hold a text and is not used, and in private ones."""
    source, count = made_up(), 0
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr in SECRETS and keyword and keyword not in TAKEN_OVER | USED and 0x00080000 <= tag < 0x7FE00000:
            source.add_new(tag, vr, SECRETS[vr])
            count += 1
    assert count > 1700
    person = pydicom.Dataset()
    person.PersonName = person.InstitutionName = "SECRET"
    for keyword in ("ReferencedPatientSequence", "RequestAttributesSequence", "OtherPatientIDsSequence", "OriginalAttributesSequence"):
        setattr(source, keyword, [person])
    source.private_block(0x0011, "SECRET", create=True).add_new(1, "LO", "SECRET")
    return source


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["two", "none"])
def test_no_other_text_of_the_radiograph_is_in_an_object(make, kind, which, request):
    buffer = io.BytesIO()
    make(kind, full_of_secrets(), request.getfixturevalue(which)).save_as(buffer, enforce_file_format=True)
    written = buffer.getvalue()
    assert b"Doe^Jane" in written
    for secret in (b"SECRET", b"18880808", b"080808", b"088Y", b"1.2.888.888.888"):
        assert secret not in written


def everything():
    """Yield radiographs that together have all that an object may take over."""
    window = {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "SIGMOID", "RescaleSlope": 2, "RescaleIntercept": -10}
    loss = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 12, "LossyImageCompressionMethod": "ISO_10918_1"}
    frames = {"NumberOfFrames": 2, "SOPClassUID": MultiFrameGrayscaleByteSecondaryCaptureImageStorage}
    yield made_up(**window, **loss, **frames, PixelSpacing=[0.2, 0.1], PatientOrientation=["L", "F"])
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 8])
    item.add_new("LUTData", "OW", bytes(512))
    yield made_up(VOILUTSequence=[item], ModalityLUTSequence=[item])


@pytest.mark.parametrize("kind", KINDS)
def test_every_attribute_is_there_for_a_reason(make, kind, two, tmp_path):
    top, nested = set(), set()
    for source in everything():
        made = read_back(make(kind, source, two), tmp_path / "made.dcm")
        top |= {element.keyword for element in made}
        nested |= {element.keyword for sequence in made if sequence.VR == "SQ" for item in sequence.value for element in item.iterall()}
    assert top == set(ATTRIBUTES[kind])
    assert nested == set(NESTED[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_file_meta_information_says_nothing_of_the_radiograph(make, kind, two, radiograph, tmp_path):
    meta = read_back(make(kind, radiograph, two), tmp_path / "made.dcm").file_meta
    expected = {"FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID"}
    assert {element.keyword for element in meta} == expected | {"TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName"}
