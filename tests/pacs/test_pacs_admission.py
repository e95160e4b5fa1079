"""Which objects are predicted, by their headers and by what a list tells of them."""

import json
from io import BytesIO

import pydicom
import pytest
from fake_pacs import radiograph
from pydicom.dataset import Dataset

from pneumodet.pacs import admission
from pneumodet.pacs.admission import Rules, facts_of_dataset, facts_of_json, refusal


def coded(scheme, value):
    item = Dataset()
    item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning = scheme, value, "meaning"
    return [item]


DX = {"SOPClassUID": admission.DX_PRESENTATION, "Modality": "DX"}


@pytest.mark.parametrize(
    ("elements", "rules"),
    [
        pytest.param({}, Rules(), id="cr"),
        pytest.param(DX, Rules(), id="dx"),
        pytest.param({"ViewPosition": None}, Rules(), id="no-view"),
        pytest.param({"ViewPosition": "AP", "BodyPartExamined": "Thorax"}, Rules(), id="thorax"),
        pytest.param({"PhotometricInterpretation": "MONOCHROME1"}, Rules(), id="monochrome1"),
        pytest.param({"NumberOfFrames": 1}, Rules(), id="one-frame"),
        pytest.param(
            DX
            | {"BodyPartExamined": None, "AnatomicRegionSequence": coded("SRT", "T-D3000"), "ViewCodeSequence": coded("SNM3", "R-10214")},
            Rules(),
            id="coded",
        ),
        pytest.param({"SOPClassUID": admission.SECONDARY_CAPTURE}, Rules(secondary_capture=True), id="secondary-capture"),
        pytest.param({"BodyPartExamined": None}, Rules(unnamed_body_part=True), id="unnamed"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")  # in small letters, as devices write it
def test_frontal_chest_radiographs_are_taken(elements, rules):
    header = pydicom.dcmread(BytesIO(radiograph(**elements)), stop_before_pixels=True)
    assert refusal(facts_of_dataset(header), rules, whole=True) is None
    assert facts_of_json(json.loads(header.to_json())) == facts_of_dataset(header)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        pytest.param({"Modality": "CT"}, "its modality is none of CR and DX", id="ct"),
        pytest.param({"Modality": None}, "its modality is none of CR and DX", id="no-modality"),
        pytest.param({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, "it is a radiograph for processing", id="raw"),
        pytest.param({"SOPClassUID": admission.SECONDARY_CAPTURE}, "--secondary-capture allows it", id="secondary-capture"),
        pytest.param({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}, "it is no CR or DX image", id="mammogram"),
        pytest.param({"NumberOfFrames": 12}, "it has 12 frames", id="frames"),
        pytest.param({"BodyPartExamined": "KNEE"}, "it is not of the chest", id="knee"),
        pytest.param({"AnatomicRegionSequence": coded("SCT", "72696002")}, "it is not of the chest", id="knee-coded"),
        pytest.param({"BodyPartExamined": ""}, "--unnamed-body-part allows it", id="unnamed"),
        pytest.param({"ViewPosition": "LL"}, "it is not a frontal view", id="lateral"),
        pytest.param({"ViewCodeSequence": coded("SCT", "399198007")}, "it is not a frontal view", id="lateral-coded"),
        pytest.param({"PhotometricInterpretation": "RGB"}, "it is not gray", id="colour"),
        pytest.param({"BurnedInAnnotation": "YES"}, "it has writing burned in", id="burned-in"),
        pytest.param({"Manufacturer": "pneumodet"}, "it was made by pneumodet itself", id="own"),
        pytest.param({"StudyInstanceUID": None}, "StudyInstanceUID is missing", id="no-study"),
        pytest.param({"StudyInstanceUID": "1.2/../3"}, "StudyInstanceUID is missing or malformed", id="path-in-uid"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_everything_else_is_refused(elements, reason):
    header = pydicom.dcmread(BytesIO(radiograph(**elements)), stop_before_pixels=True)
    assert reason in refusal(facts_of_dataset(header), Rules(), whole=True)


def test_a_list_that_tells_little_refuses_nothing():
    assert refusal(facts_of_json({}), Rules()) is None
    assert refusal(facts_of_json({"00080060": {"vr": "CS", "Value": ["CR"]}}), Rules()) is None


@pytest.mark.parametrize("value", [None, [], "x", {"Value": None}, {"Value": [None]}, {"Value": {"a": 1}}, {"Value": [{"00080100": 3}]}])
def test_a_malformed_list_tells_nothing(value):
    tags = ("00080016", "00080060", "00082218", "00540220", "00280008", "00185101")
    assert refusal(facts_of_json(dict.fromkeys(tags, value)), Rules()) is None
