"""Headers that are not as the standard wants them."""

import io
import logging
import warnings

import numpy as np
import pydicom
import pytest
from dicom_headers import made_up, read_back
from pydicom.dataelem import RawDataElement

from pneumodet.core.errors import DataError
from pneumodet.dicom.objects import radiograph, values
from pneumodet.dicom.objects.findings import Findings

KINDS = ("structured_report", "presentation_state", "secondary_capture")


def written(dataset):
    """Return a dataset as it is read from a file: raw elements, decoded when they are asked for."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return pydicom.dcmread(buffer)


def raw(keyword, value):
    """Return ``made_up()`` with an element whose bytes pydicom would refuse to write."""
    return overwrite(written(made_up()), pydicom.tag.Tag(keyword), value)


def overwrite(source, tag, value):
    """Put bytes into a dataset as if they had been read from a file."""
    vr = pydicom.datadict.dictionary_VR(tag)
    source._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True, True)
    return source


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        pytest.param("StudyDate", b"2024.01.31", "20240131", id="ACR-NEMA date"),
        pytest.param("StudyDate", b"2024-01-31", "20240131", id="ISO date"),
        pytest.param("StudyDate", b"20240231", "", id="no such day"),
        pytest.param("StudyDate", b"yesterday ", "", id="no date"),
        pytest.param("StudyTime", b"10:11:12", "101112", id="ACR-NEMA time"),
        pytest.param("StudyTime", b"2511", "", id="no such time"),
        pytest.param("PatientSex", b"f ", "F", id="small letter"),
        pytest.param("PatientSex", b"female", "F", id="word"),
        pytest.param("PatientSex", b"girl", "", id="not a term"),
        pytest.param("PatientName", b"Doe^Jane\0", "Doe^Jane", id="null padding"),
        pytest.param("AccessionNumber", b"A-1234567890123456789 ", "A-1234567890123456789", id="longer than SH"),
        pytest.param("PatientID", b"", "", id="empty"),
    ],
)
def test_values_are_mended_or_left_empty(keyword, value, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert radiograph.read(raw(keyword, value)).patient[keyword] == expected


def test_what_is_left_empty_is_logged_without_its_value(caplog):
    with caplog.at_level(logging.WARNING):
        radiograph.read(raw("StudyDate", b"31.1.2024 "))
    assert caplog.messages == ["StudyDate of a radiograph is unusable and left empty."]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_of_the_patient_on_the_way(make, two, kind, caplog):
    """Neither in warnings nor in the log: highdicom quotes names that look odd, pydicom values that do not fit."""
    source = raw("PatientName", b"SECRET")
    source.PatientAge = "51"
    with warnings.catch_warnings(record=True) as result, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        made = make(kind, source, two)
    assert str(made.PatientName) == "SECRET"
    assert "SECRET" not in caplog.text + "".join(str(one.message) for one in result)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sparse_header_is_enough(make, two, kind, tmp_path):
    optional = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyTime", "ReferringPhysicianName", "StudyID")
    sparse = made_up(**dict.fromkeys((*optional, "AccessionNumber", "InstanceNumber", "SpecificCharacterSet", "Modality")))
    result = read_back(make(kind, sparse, two), tmp_path / "made.dcm")
    for keyword in (*optional, "AccessionNumber"):
        assert keyword in result and not result[keyword].value, "type 2: there, but empty"
    assert result.InstanceNumber == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keyword", radiograph.PLACE)
@pytest.mark.parametrize("value", [None, "", "1." * 33 + "1", "1.2.x"])
def test_a_radiograph_that_cannot_be_referred_to_is_one_clear_error(make, none, kind, keyword, value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = made_up(**{keyword: value})
    with pytest.raises(DataError, match=f"has (no|a) {keyword}.*Get it from its archive again"):
        make(kind, source, none)


def test_all_that_is_missing_is_in_one_sentence():
    with pytest.raises(DataError, match="The radiograph 1.2.3.4.5 has no StudyInstanceUID and no SeriesInstanceUID, so that"):
        radiograph.read(made_up(StudyInstanceUID=None, SeriesInstanceUID=None))


def test_a_uid_with_a_leading_zero_is_referred_to_as_it_is(make, none):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = make("structured_report", made_up(StudyInstanceUID="1.02.3"), none)
    assert made.StudyInstanceUID == "1.02.3"


@pytest.mark.parametrize("sop_class", ["1.2.826.0.1.3680043.10.999", "1.2.840.10008.5.1.1.30"], ids=["private", "retired"])
@pytest.mark.parametrize("kind", ["structured_report", "presentation_state"])
def test_a_class_that_highdicom_does_not_know_is_told(make, none, kind, sop_class):
    with pytest.raises(DataError, match="private, retired or damaged, gets no report"):
        make(kind, made_up(SOPClassUID=sop_class), none)
    assert make("secondary_capture", made_up(SOPClassUID=sop_class), none).Modality == "OT"


def test_what_is_no_image_is_refused():
    with pytest.raises(DataError, match="it is not an image"):
        radiograph.read(made_up(Rows=None))


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        pytest.param("ISO_IR 100", "Müller^Jörg", id="Latin 1"),
        pytest.param("ISO_IR 144", "Люкceмбypг", id="Cyrillic"),
        pytest.param("ISO_IR 192", "王^小東=王^小东", id="UTF-8"),
        pytest.param("GB18030", "Wang^XiaoDong=王^小东", id="GB18030"),
        pytest.param(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", id="Japanese"),
        pytest.param(["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう", id="Japanese with half-width kana"),
        pytest.param(["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", id="Korean"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_names_of_all_character_sets(make, none, kind, charset, name, tmp_path):
    source = written(made_up(SpecificCharacterSet=charset, PatientName=name))
    result = read_back(make(kind, source, none), tmp_path / "made.dcm")
    assert result.SpecificCharacterSet == source.SpecificCharacterSet
    assert str(result.PatientName) == name


@pytest.mark.parametrize("charset", [None, "", "ISO_IR 999", "klingon"])
def test_bytes_of_an_unknown_character_set_stay_as_they_are(make, none, charset, tmp_path):
    source = raw("PatientName", b"M\xfcller^J\xf6rg")
    del source.SpecificCharacterSet
    if charset is not None:
        source.add_new("SpecificCharacterSet", "CS", charset)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = read_back(make("structured_report", source, none), tmp_path / "made.dcm")
    assert result.SpecificCharacterSet == "ISO_IR 100"
    assert result.get_item("PatientName").value.strip() == b"M\xfcller^J\xf6rg"


def test_the_nearest_date_of_the_radiograph_is_the_report_s():
    dates = {"ContentDate": "20240102", "ContentTime": "030405", "AcquisitionDate": "20240103", "SeriesDate": "20240104"}
    assert radiograph.read(made_up(**dates)).made == ("20240102", "030405")
    assert radiograph.read(made_up(**dates | {"ContentDate": ""})).made == ("20240103", "000000")
    assert radiograph.read(made_up()).made == ("20240131", "101112.5")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, ("20240131", "101112.5")),
        ({"StudyDate": "", "StudyTime": ""}, radiograph.UNDATED),
        ({"StudyDate": "20249999"}, radiograph.UNDATED),
    ],
    ids=["dated", "undated", "no-day"],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_an_object_has_the_date_of_its_radiograph_and_none_of_the_clock(make, none, kind, elements, expected):
    made = make(kind, made_up(**elements), none)
    there = [(made[date].value, made[time].value) for date, time in radiograph.CREATION if date in made]
    assert there and set(there) == {expected}


@pytest.mark.parametrize(("value", "expected"), [(b"3 ", 3), (b"-3", 1), (b"x ", 1), (b"", 1), (b"99999999999 ", 1), (b"2.5 ", 1)])
def test_instance_number(value, expected):
    assert radiograph.read(raw("InstanceNumber", value)).instance_number == expected


@pytest.mark.parametrize(("value", "expected"), [(b"0.1\\0.2", [0.1, 0.2]), (b"0.1\\nan", []), (b"mm", []), (b"", []), (b"\\", [])])
def test_numbers(value, expected):
    assert values.numbers(raw("PixelSpacing", value), "PixelSpacing") == expected


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["in_turn", "every"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_header_gives_an_object_or_a_sentence(make, algorithm, kind, every):
    """Random bytes in one element after the other; few and many of them take turns, or each element gets both."""
    rng = np.random.default_rng(0)
    findings = Findings(np.array([[1, 1, 50, 50]]), np.array([0.5]), 0.35, algorithm)
    template = written(made_up(PixelSpacing=[0.1, 0.2], WindowCenter=128, WindowWidth=256, NumberOfFrames=1))
    tags = [tag for tag in list(template.keys()) if tag < 0x7FE00000]
    made = 0
    for place, tag in enumerate(tags):
        for size in (2, 80) if every else ((2, 80)[place % 2],):
            source = overwrite(written(template), tag, rng.bytes(size))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    make(kind, source, findings).save_as(io.BytesIO(), enforce_file_format=True)
                    made += 1
                except DataError as error:
                    assert "\n" not in str(error)
    assert made > len(tags) * (1 if every else 0.5)
