"""What a PACS says, as one line without anything of a patient; and its JSON, with bounds."""

import pytest

from pneumodet.dicom.net import replies


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        pytest.param("Disk full", "text/plain; charset=utf-8", "Disk full", id="text"),
        pytest.param("  Disk\tfull.\r\n\0", "", "Disk full", id="control characters"),
        pytest.param("<html><style>b {}</style><h1>Disk</h1><!-- x --><p>full &amp; hot", "text/html", "Disk full & hot", id="html"),
        pytest.param("<script>alert(1)", "text/html", "", id="script without an end"),
        pytest.param("<error><message>Disk full</message></error>", "application/xml", "Disk full", id="xml"),
        pytest.param(
            '{"Message": "Bad request", "Details": "No limit", "Uri": "/x/1.2"}', "application/json", "Bad request. No limit", id="Orthanc"
        ),
        pytest.param('{"issue": [{"diagnostics": "Disk full", "code": "x"}]}', "application/fhir+json", "Disk full", id="FHIR"),
        pytest.param('{"00100010": {"Value": ["Mustermann"]}}', "application/dicom+json", "", id="data set"),
        pytest.param('{"Message": "cut o', "application/json", "", id="JSON that is cut off"),
        pytest.param("[" * 9000, "application/json", "", id="deep JSON"),
        pytest.param("\x89PNG", "image/png", "", id="picture"),
        pytest.param("...", "text/plain", "", id="no word"),
        pytest.param("x" * 500, "text/plain", "x" * 159 + "…", id="long"),
    ],
)
def test_text_of_a_refusal(body, kind, text):
    assert replies.refusal_text(body.encode(), kind) == text


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("unknown study 1.2.826.0.1.3680043.10", "unknown study …"),
        ("Invalid value for Mustermann^Erika now", "Invalid value for … now"),
        ("Patient Name: Mustermann, Erika", "Patient …"),
        ("PatientBirthDate=19640812", ""),
        ("(0010,0020) Mustermann is wrong", ""),
        ("value 'Mustermann Erika' is too long, and can't be stored", "value … is too long, and can't be stored"),
        ("id ABC-12345 is locked", "id … is locked"),
        ("no /dicom-web/studies/1.2/series here", "no … here"),
        ("failed: https://pacs.example/x?PatientID=Muster", "failed: …"),
        ("ask erika@example.org", "ask …"),
    ],
)
def test_nothing_of_a_patient_is_shown(said, text):
    assert replies.one_line(said) == text


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ('299 pacs.example "Only literal matching has been performed."', "Only literal matching has been performed"),
        (
            "299 pacs.example: There are 20 additional results that can be requested",
            "There are 20 additional results that can be requested",
        ),
        ("299 - text", "text"),
        ("", ""),
    ],
)
def test_text_of_a_warning(header, text):
    assert replies.warning_text(header) == text


def test_values_of_entries_that_are_malformed():
    for attribute in (None, 3, [], {}, {"Value": None}, {"Value": []}, {"Value": [3]}, {"Value": {"a": 1}}):
        assert replies.text_of({"00080018": attribute}, "00080018") == ""
        assert replies.items_of({"00080018": attribute}, "00080018") == []
    assert replies.text_of({"00080018": {"Value": ["1.2\0"]}}, "00080018") == "1.2"


def test_depth_is_bounded():
    deepest = replies.MAX_DEPTH
    assert replies.document(b"[" * deepest + b"]" * deepest)
    with pytest.raises(ValueError, match="deeper than 32 levels"):
        replies.document(b"[" * (deepest + 1) + b"]" * (deepest + 1))
