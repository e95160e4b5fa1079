"""Body parts and views as sites write them."""

import pytest

from pneumodet.dicom import site_terms

CHEST = [
    "CHEST",
    "Thorax",
    "TORAX",
    "Tórax",
    "CHEST PA",
    "CHEST_PA",
    "CHEST-AP",
    "CHEST 2V",
    "TORAX AP",
    "CHEST/LUNG",
    "PORT CHEST",
    "THORAX LAT",
    "Lunge",
]

NOT_CHEST = ["KNEE", "ABDOMEN", "THORACIC SPINE", "TSPINE", "CHEST ABDOMEN", "RIBS", "PA", "MULLER", "CHESTER", ""]

FRONTAL = ["AP", "pa", "AP SUPINE", "FRONTAL", "A.P.", "P/A", "PA ERECT", "CHEST PA", "AP_PORTABLE", "Antero-Posterior", "FACE"]

NOT_FRONTAL = ["LL", "LATERAL", "LAT", "RAO", "AP AXIAL", "AP OBLIQUE", "LATERAL DECUBITUS AP", "LORDOTIC", "SUPINE", "UP", "PA SPINE", ""]


@pytest.mark.parametrize(("text", "expected"), [*((one, True) for one in CHEST), *((one, False) for one in NOT_CHEST)])
def test_chest(text, expected):
    assert site_terms.is_chest(text) == expected


@pytest.mark.parametrize(("text", "expected"), [*((one, True) for one in FRONTAL), *((one, False) for one in NOT_FRONTAL)])
def test_frontal(text, expected):
    assert site_terms.is_frontal(text) == expected


def test_words_of_a_site_are_whole_texts():
    assert site_terms.is_chest("Rib_Cage", more=["RIB CAGE"])
    assert not site_terms.is_chest("RIB", more=["RIB CAGE"])
    assert site_terms.is_frontal("std", more=["STD"])
    assert not site_terms.is_frontal("STD LL", more=["STD"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abdomen", "'ABDOMEN'"),
        ("T_SPINE", "'T SPINE'"),
        ("MUSTERMANN ERIKA", "a text that is no term"),
        ("ERIKA", "a text that is no term"),
        ("4711", "a text that is no term"),
        ("DOE^JANE", "a text that is no term"),
        ("A TEXT OF MORE THAN 16", "a text that is no term"),
    ],
)
def test_only_terms_are_quoted(text, message):
    assert site_terms.quoted(text, private=["Mustermann^Erika", "K-1"]) == message
