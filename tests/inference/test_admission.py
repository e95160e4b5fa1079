"""Which objects are predicted by which command, by their files and by what a list says of them."""

import json
from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumodet.core.errors import DataError
from pneumodet.dicom import header_facts
from pneumodet.inference import admission
from pneumodet.inference.admission import (
    CR_IMAGE,
    DX_PRESENTATION,
    DX_PROCESSING,
    PAGE,
    PREDICT,
    PREDICT_LISTED,
    SECONDARY_CAPTURE,
    WORKER,
    facts_of_file,
    facts_of_json,
    refusal,
    worker_profile,
)

CHEST = {
    "SOPClassUID": CR_IMAGE,
    "SOPInstanceUID": "1.2.3.4.5",
    "StudyInstanceUID": "1.2.3",
    "Modality": "CR",
    "Manufacturer": "made up",
    "PatientName": "Mustermann^Erika",
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": 1,
    "Columns": 1,
}

DX = {"SOPClassUID": DX_PRESENTATION, "Modality": "DX"}

SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"


def coded(*codes):
    """Return a sequence of codes (scheme, value)."""
    items = []
    for scheme, value in codes:
        item = Dataset()
        item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning = scheme, value, "meaning"
        items.append(item)
    return items


def header_of(**elements):
    """Return a frontal chest radiograph's header; ``elements`` replace its attributes, and None removes one."""
    header = Dataset()
    for keyword, value in (CHEST | elements).items():
        if value is not None:
            setattr(header, keyword, value)
    return header


def file_of(header, syntax=ExplicitVRLittleEndian):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CR_IMAGE, "1.2.3.4.5"
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, FileDataset(None, header, file_meta=meta, preamble=b"\0" * 128), enforce_file_format=True)
    return buffer.getvalue()


def reason_of(header, profile):
    return refusal(facts_of_file(file_of(header), "exam.dcm"), profile, whole=True)


RULES = [
    # what is odd, who takes it, and why the others do not
    pytest.param({}, (PREDICT, PREDICT_LISTED, PAGE, WORKER), "", id="cr"),
    pytest.param(DX, (PREDICT, PREDICT_LISTED, PAGE, WORKER), "", id="dx"),
    pytest.param({"ViewPosition": None}, (PREDICT, PREDICT_LISTED, PAGE, WORKER), "", id="no-view"),
    pytest.param({"BodyPartExamined": "Thorax", "ViewPosition": "AP"}, (PREDICT, PREDICT_LISTED, PAGE, WORKER), "", id="thorax"),
    pytest.param({"PhotometricInterpretation": "MONOCHROME1"}, (PREDICT, PREDICT_LISTED, PAGE, WORKER), "", id="monochrome1"),
    pytest.param({"NumberOfFrames": 1}, (PREDICT, PREDICT_LISTED, PAGE, WORKER), "", id="one-frame"),
    pytest.param({"PresentationIntentType": "FOR PRESENTATION"} | DX, (PREDICT, PREDICT_LISTED, PAGE, WORKER), "", id="presentation"),
    pytest.param({"SOPClassUID": DX_PROCESSING, "Modality": "DX"}, (), "for processing, which is not meant for the eye", id="raw-class"),
    pytest.param({"PresentationIntentType": "FOR PROCESSING"}, (), "for processing, which is not meant for the eye", id="raw-intent"),
    pytest.param({"Manufacturer": "pneumodet"}, (), "it was made by pneumodet itself", id="own"),
    pytest.param({"SOPClassUID": SECONDARY_CAPTURE}, (PREDICT, PREDICT_LISTED, PAGE), "--secondary-capture allows it", id="capture"),
    pytest.param(
        {"SOPClassUID": SR_CLASS}, (PREDICT, PAGE), "no CR or DX image but of the SOP class Comprehensive SR Storage", id="report"
    ),
    pytest.param({"SOPClassUID": "1.2.3.4"}, (PREDICT, PAGE), "it is no CR or DX image", id="private-class"),
    pytest.param({"Modality": "CT"}, (PREDICT, PREDICT_LISTED, PAGE), "its modality is none of CR and DX", id="ct"),
    pytest.param({"Modality": None}, (PREDICT, PREDICT_LISTED, PAGE), "its modality is none of CR and DX", id="no-modality"),
    pytest.param({"NumberOfFrames": 12}, (PREDICT, PREDICT_LISTED, PAGE), "it has 12 frames", id="frames"),
    pytest.param({"BodyPartExamined": "KNEE"}, (PREDICT, PREDICT_LISTED, PAGE), "it is not of the chest", id="knee"),
    pytest.param(
        {"AnatomicRegionSequence": coded(("SCT", "72696002"))}, (PREDICT, PREDICT_LISTED, PAGE), "it is not of the chest", id="knee-code"
    ),
    pytest.param({"BodyPartExamined": ""}, (PREDICT, PREDICT_LISTED, PAGE), "--unnamed-body-part allows it", id="unnamed"),
    pytest.param({"ViewPosition": "LL"}, (PREDICT, PREDICT_LISTED, PAGE), "it is not a frontal view", id="lateral"),
    pytest.param(
        {"ViewCodeSequence": coded(("SCT", "399198007"))}, (PREDICT, PREDICT_LISTED, PAGE), "it is not a frontal view", id="lateral-code"
    ),
    pytest.param({"PhotometricInterpretation": "RGB"}, (PREDICT, PREDICT_LISTED, PAGE), "it is not gray", id="colour"),
    pytest.param({"BurnedInAnnotation": "YES"}, (PREDICT, PREDICT_LISTED, PAGE), "it has writing burned in", id="burned-in"),
    pytest.param({"StudyInstanceUID": None}, (PREDICT, PREDICT_LISTED, PAGE), "StudyInstanceUID is missing", id="no-study"),
    pytest.param({"StudyInstanceUID": "1.2/../3"}, (PREDICT, PREDICT_LISTED, PAGE), "missing or malformed", id="path-in-uid"),
]


@pytest.mark.parametrize("profile", [PREDICT, PREDICT_LISTED, PAGE, WORKER], ids=lambda profile: profile.name)
@pytest.mark.parametrize(("elements", "takers", "reason"), RULES)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_every_rule_in_every_profile(elements, takers, reason, profile):
    given = reason_of(header_of(**elements), profile)
    if profile in takers:
        assert given is None
    else:
        assert reason and reason in given


@pytest.mark.parametrize(
    ("elements", "profile"),
    [
        pytest.param({"SOPClassUID": SECONDARY_CAPTURE}, worker_profile(secondary_capture=True, unnamed_body_part=False), id="capture"),
        pytest.param({"BodyPartExamined": None}, worker_profile(secondary_capture=False, unnamed_body_part=True), id="unnamed"),
    ],
)
def test_the_worker_s_flags_admit_what_they_name_and_nothing_else(elements, profile):
    assert reason_of(header_of(**elements), profile) is None
    assert reason_of(header_of(**elements, ViewPosition="LL"), profile).startswith("it is not a frontal view: ViewPosition is 'LL'")
    assert worker_profile(secondary_capture=False, unnamed_body_part=False) == WORKER


@pytest.mark.parametrize("delimited", [False, True], ids=["with lengths", "with delimiters"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def test_a_file_and_a_list_say_the_same(syntax, delimited):
    regions = coded(("SCT", "818981001"), ("SRT", "T-D3000"))
    header = header_of(
        **DX,
        BodyPartExamined=None,
        AnatomicRegionSequence=regions,
        ViewCodeSequence=coded(("SNM3", "R-10214")),
        NumberOfFrames=3,
        BurnedInAnnotation="NO",
        PresentationIntentType="FOR PRESENTATION",
    )
    for element in header:
        if element.VR == "SQ":
            element.is_undefined_length = delimited
            for item in element.value:
                item.is_undefined_length_sequence_item = delimited
    facts = facts_of_file(file_of(header, syntax), "exam.dcm")
    assert facts == facts_of_json(json.loads(header.to_json()))
    assert facts.body_codes == (("SCT", "818981001"), ("SRT", "T-D3000"))
    assert facts.view_codes == (("SRT", "R-10214"),)
    del header.NumberOfFrames
    assert reason_of(header, WORKER) is None


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        pytest.param({"BodyPartExamined": "CHEST_PA", "ViewPosition": "AP SUPINE"}, None, id="chest-pa"),
        pytest.param({"BodyPartExamined": "TORAX", "ViewPosition": "FRONTAL"}, None, id="torax"),
        pytest.param({"BodyPartExamined": "T SPINE"}, "it is not of the chest: BodyPartExamined is 'T SPINE' (--body-part", id="spine"),
        pytest.param({"BodyPartExamined": "ERIKA"}, "it is not of the chest: BodyPartExamined is a text that is no term", id="name"),
        pytest.param({"ViewPosition": "RAO"}, "it is not a frontal view: ViewPosition is 'RAO' (--view", id="oblique"),
        pytest.param(
            {"BodyPartExamined": "CHEST LAT", "ViewPosition": ""},
            "it is not a frontal view: BodyPartExamined is 'CHEST LAT'",
            id="view-in-part",
        ),
        pytest.param({"BodyPartExamined": "CHEST PA LAT", "ViewPosition": "PA"}, None, id="view-decides"),
    ],
)
def test_words_of_sites(elements, reason):
    header = header_of(**elements)
    for given in (reason_of(header, WORKER), refusal(facts_of_json(json.loads(header.to_json())), WORKER, whole=True)):
        assert given is None if reason is None else given.startswith(reason)


def test_flags_add_words_of_a_site():
    header = header_of(BodyPartExamined="RIB CAGE", ViewPosition="STD")
    lenient = worker_profile(secondary_capture=False, unnamed_body_part=False, body_parts=["Rib_Cage"], views=["std"])
    assert reason_of(header, lenient) is None
    assert reason_of(header_of(BodyPartExamined="RIB"), lenient).startswith("it is not of the chest")


def test_a_list_that_says_little_refuses_nothing():
    assert refusal(facts_of_json({}), WORKER) is None
    assert refusal(facts_of_json({"00080060": {"vr": "CS", "Value": ["CR"]}}), WORKER) is None


@pytest.mark.parametrize("value", [None, [], "x", {"Value": None}, {"Value": [None]}, {"Value": {"a": 1}}, {"Value": [{"00080100": 3}]}])
def test_a_malformed_list_says_nothing(value):
    tags = ("00080016", "00080060", "00082218", "00540220", "00280008", "00185101")
    assert refusal(facts_of_json(dict.fromkeys(tags, value)), WORKER) is None


def test_check_names_the_file_and_nothing_of_its_header():
    with pytest.raises(DataError, match="^exam.dcm: it is a radiograph for processing, which is not meant for the eye.$"):
        admission.check(file_of(header_of(PresentationIntentType="FOR PROCESSING")), "exam.dcm", PREDICT)
    with pytest.raises(DataError, match="^exam.dcm: it is not a DICOM file.$"):
        admission.check(b"<html>", "exam.dcm", PREDICT)


def test_what_pneumodet_makes_is_known_by_its_manufacturer():
    from pneumodet.dicom.objects.identifiers import MANUFACTURER

    assert MANUFACTURER.lower() == header_facts.OWN_MANUFACTURER
