"""What texts of headers mean and what of them is believed: the same for every command that reads them."""

import dataclasses
import math

import numpy as np
import pydicom
import pytest

from pneumodet.apps.web import facts as page_facts
from pneumodet.core.processes import Pool
from pneumodet.data import dicom_images, header_values, sources, synthetic
from pneumodet.dicom import header_facts, reading
from pneumodet.dicom.header_facts import Fact
from pneumodet.evaluation import files
from pneumodet.evaluation.metrics import slices
from pneumodet.exploration import headers
from pneumodet.exploration.baseline import table as baseline_table
from pneumodet.models.classification import metadata

AGES = {
    "43": 43,
    "43.0": 43,
    "043Y": 43,
    "018M": 1.5,
    "000D": 0,
    "026W": 26 / 52.18,
    "110": 110,
    "111Y": None,
    "115": None,
    "148": None,
    "-3": None,
    "forty": None,
    "1234": None,
    "nan": None,
    "": None,
}
"""Text -> years that are believed."""

SEXES = {"F": "F", "f": "F", "Female": "F", "male": "M", "O": "O", "X": None, "": None}
VIEWS = {"PA": "PA", "ap": "AP", "LL": "LL", "Lateral": "LATERAL", "UP": None, "": None}
VIEWS |= {
    "AP SUPINE": "AP",
    "pa_erect": "PA",
    "CHEST P.A.": "PA",
    "Left Lateral": "LATERAL",
    "AP/PA": None,
    "AP Smith": None,
    "FRONTAL": None,
}
SPACINGS = {
    "0.143": (0.143, 0.143),
    "0.14300000000000002": (0.143, 0.143),
    r"0.143\0.15": (0.143, 0.15),
    "[0.143, 0.143]": (0.143, 0.143),
    "['0.143', '0.143']": (0.143, 0.143),
    "5": (5, 5),
    "7": None,
    r"0.143\0": None,
    "0": None,
    "-0.1": None,
    "inf": None,
    "wide": None,
    "": None,
}


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a DICOM file with texts as they stand, valid or not."""

    def write(**texts):
        path = tmp_path / "exam.dcm"
        synthetic.write_dicom(path, np.zeros((20, 30), np.uint8), patient_id="exam", rng=np.random.default_rng(0))
        file = pydicom.dcmread(path)
        for keyword in ("PatientAge", "PatientSex", "ViewPosition", "PixelSpacing"):
            if keyword in file:
                del file[keyword]
        for keyword, text in texts.items():
            tag = pydicom.datadict.tag_for_keyword(keyword)
            data = (text + " " * (len(text) % 2)).encode()
            file[tag] = pydicom.dataelem.RawDataElement(
                pydicom.tag.Tag(tag), pydicom.datadict.dictionary_VR(tag), len(data), data, 0, False, True
            )
        file.save_as(path)
        return path

    return write


def of_csv(tmp_path, column, text):
    path = tmp_path / "headers.csv"
    path.write_text(f'patientId,{column},Room\nexam,"{text}",7\n')
    return path


def explored(path):
    one = headers.of_csv(path).facts["exam"]
    return {"PatientAge": one.age_years, "PatientSex": one.sex, "ViewPosition": one.view, "PixelSpacing": one.spacing_mm}


def explored_file(path):
    result, _ = sources.find_radiographs(path.parent)
    one = headers.of_files(header_values.read_files(result, Pool(1))).facts["exam"]
    return {"PatientAge": one.age_years, "PatientSex": one.sex, "ViewPosition": one.view, "PixelSpacing": one.spacing_mm}


def baseline(column, text):
    return baseline_table._checked(column, [text])[0][0]


@pytest.mark.parametrize(("text", "years"), AGES.items())
def test_every_command_believes_the_same_ages(written, tmp_path, text, years):
    fact = pytest.approx(years) if years is not None else None
    assert header_facts.read("age", text).value == fact
    csv, file = of_csv(tmp_path, "PatientAge", text), written(PatientAge=text)
    assert explored(csv)["PatientAge"] == fact
    assert explored_file(file)["PatientAge"] == fact
    assert baseline("age", text) == fact
    assert files.read_facts(csv)["exam"]["age"] == fact
    assert files.fact("age", text) == fact
    assert dicom_images.encode_image(file).facts.get("age") == (None if years is None else int(years))  # a record has whole years
    assert (slices.age_band(files.fact("age", text)) == slices.UNKNOWN) == (years is None)
    group = page_facts.read(file.read_bytes()).age_group
    decade = None if years is None else int(years) // 10 * 10
    assert group == (None if decade is None else "90 or more" if decade >= 90 else f"{decade} to {decade + 9}")
    row = dict(zip(metadata.NAMES, metadata._row(text, None, None), strict=True))
    assert (row["age_missing"], row["age"]) == (years is None, pytest.approx(0 if years is None else (years - 50) / 20))


@pytest.mark.parametrize(
    ("age", "years"), [(43, 43), (43.5, 43.5), (-1, None), (111, None), (math.nan, None), (math.inf, None), (True, None)]
)
def test_numbers_are_ages_too(age, years):
    """A COCO file of another program has numbers, and JSON even knows NaN."""
    assert header_facts.age_years(age) == files.fact("age", age) == header_facts.read("age", age).value == years
    assert (slices.age_band(age) == slices.UNKNOWN) == (years is None)


@pytest.mark.parametrize(("text", "term"), SEXES.items())
def test_every_command_believes_the_same_sexes(written, tmp_path, text, term):
    csv, file = of_csv(tmp_path, "PatientSex", text), written(PatientSex=text)
    assert explored(csv)["PatientSex"] == explored_file(file)["PatientSex"] == baseline("sex", text) == term
    assert dicom_images.encode_image(file).facts.get("sex") == reading.header(file).sex == page_facts.read(file.read_bytes()).sex == term
    assert files.read_facts(csv)["exam"]["sex"] == (term or text or None)  # slices are made by what the user names
    row = dict(zip(metadata.NAMES, metadata._row(None, text, None), strict=True))
    assert (row["sex_female"], row["sex_male"], row["sex_missing"]) == (term == "F", term == "M", term not in ("F", "M"))


@pytest.mark.parametrize(("text", "term"), VIEWS.items())
def test_every_command_believes_the_same_views(written, tmp_path, text, term):
    csv, file = of_csv(tmp_path, "ViewPosition", text), written(ViewPosition=text)
    assert explored(csv)["ViewPosition"] == explored_file(file)["ViewPosition"] == baseline("view", text) == term
    assert dicom_images.encode_image(file).facts.get("view_position") == reading.header(file).view_position == term
    assert page_facts.read(file.read_bytes()).view_position == term
    assert files.read_facts(csv)["exam"]["view_position"] == (term or text or None)
    row = dict(zip(metadata.NAMES, metadata._row(None, None, text), strict=True))
    assert (row["view_ap"], row["view_pa"]) == (term == "AP", term == "PA")


@pytest.mark.parametrize(("text", "sides"), SPACINGS.items())
def test_every_command_believes_the_same_spacings(written, tmp_path, text, sides):
    height = None if sides is None else pytest.approx(sides[0])
    assert header_facts.spacing_hw_mm(text) == (None if sides is None else pytest.approx(sides))
    assert explored(of_csv(tmp_path, "PixelSpacing", text))["PixelSpacing"] == height
    assert baseline("spacing", text) == height
    file = written(PixelSpacing=text)
    assert explored_file(file)["PixelSpacing"] == height
    assert page_facts.read(file.read_bytes()).spacing_mm == (None if sides is None else pytest.approx(sides))


@pytest.mark.parametrize(
    ("column", "text", "fact"),
    [
        ("age", "148Y", Fact(None, 148, "over 110 years")),
        ("age", "old", Fact(None, None, "not readable")),
        ("age", " ", Fact()),
        ("age", None, Fact()),
        ("spacing", "7", Fact(None, 7, "over 5 mm")),
        ("sex", "X", Fact(None, None, "not readable")),
    ],
)
def test_a_doubt_says_why(column, text, fact):
    assert dataclasses.astuple(header_facts.read(column, text)) == dataclasses.astuple(fact)


def test_an_impossible_age_is_left_out_of_a_record_and_counted(written):
    """With pseudonyms, ages above 90 become 90: of an age of 148 years that made a believable one."""
    image = dicom_images.encode_image(written(PatientAge="148Y"))
    assert ("age" in image.facts, "age over 110 years left out" in image.notes) == (False, True)
    assert dicom_images.encode_image(written(PatientAge="XXXY")).notes == ()


def test_explore_lists_what_it_does_not_believe(tmp_path):
    table = headers.of_csv(of_csv(tmp_path, "PatientAge", "148"))
    assert (table.facts["exam"].impossible_years, table.unusable) == (148, {})
    assert headers.of_csv(of_csv(tmp_path, "PixelSpacing", "7")).unusable == {"PixelSpacing": ["exam"]}
