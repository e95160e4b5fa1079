"""Which header values of a data set are missing, unusable or given more than once."""

import pytest

from pneumodet.exploration import headers


def read(tmp_path, text):
    path = tmp_path / "headers.csv"
    path.write_text(text)
    return headers.of_csv(path)


def test_unusable_values_are_counted_by_exam_and_nothing_is_known_of_them(tmp_path):
    table = read(tmp_path, "PatientID,PatientAge\na,forty\nb,43\n")
    assert (table.facts["a"].age_years, table.facts["b"].age_years) == (None, 43)
    assert table.unusable == {"PatientAge": ["a"]}


@pytest.mark.parametrize("text", ["", "nan", "NaN", "None", " "])
def test_missing_values_are_not_unusable(tmp_path, text):
    table = read(tmp_path, f"PatientID,PatientAge,ViewPosition,Room\na,{text},{text},{text}\nb,1,PA,7\n")
    assert table.facts["a"] == headers.Facts()
    assert (table.missing["PatientAge"], table.missing["ViewPosition"], table.missing["Room"], table.unusable) == (1, 1, 1, {})
    assert table.missing["PixelSpacing"] == 2  # there is no such column


def test_of_several_rows_the_first_counts_and_rows_without_exam_are_counted(tmp_path):
    table = read(tmp_path, "patientId,PatientSex\na,F\na,M\n,M\n")
    assert (table.facts, table.repeated, table.unnamed) == ({"a": headers.Facts(sex="F")}, ["a"], 1)
