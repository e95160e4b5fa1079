"""The figures of the complete RSNA labels, as the project states them, and the report of real radiographs."""

import json

import pytest

from pneumodet.cli import explore
from pneumodet.exploration import radiographs

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


@pytest.fixture(scope="module")
def figures(shared_data, tmp_path_factory):
    """Return explore.json of the complete CSV files."""
    folder = shared_data / "rsna_csv"
    out = tmp_path_factory.mktemp("rsna") / "out"
    argv = ["--labels", "stage_2_train_labels.csv", "--class-info", "stage_2_detailed_class_info.csv"]
    argv += ["--headers", "stage_2_train_dicom_headers.csv.gz", "--patient-map", "rsna_to_nih.csv.gz"]
    argv = [one if one.startswith("--") else str(folder / one) for one in argv]
    assert explore.main([*argv, "--output-dir", str(out)]) == 0
    return json.loads((out / "explore.json").read_text())


def test_classes(figures):
    result = figures["classes"]
    assert (result["rows"], result["exams"], result["positive_exams"], result["boxes"]) == (30_227, 26_684, 6_012, 9_555)
    assert result["class_rows"] == {"Normal": 8_851, "No Lung Opacity / Not Normal": 11_821, "Lung Opacity": 9_555}
    assert result["rows_per_exam"] == {"1": 23_286, "2": 3_266, "3": 119, "4": 13}
    assert result["boxes_per_exam"] == {"0": 20_672, "1": 2_614, "2": 3_266, "3": 119, "4": 13}


def test_view_is_of_exams_not_rows(figures):
    shares = [figures["view"][name]["value"] for name in ("target_0", "target_1", "all")]
    assert [round(one, 4) for one in shares] == [0.3632, 0.7758, 0.4562]


def test_ages(figures):
    ages = [one["value"] for one in figures["outliers"]["ages"]]
    assert len(ages) == 5
    assert (min(ages), max(ages)) == (148, 155)
    assert figures["age"]["most"] < 110


def test_exams_are_not_patients(figures):
    result = figures["patients"]
    assert (result["with_several_exams"], result["most_exams"]) == (4_355, 65)
    assert result["patients"] == pytest.approx(11_440, abs=5)


def test_median_box(figures):
    """facts: 217 x 298 px of 1024."""
    width, height = (figures["boxes"]["groups"]["all"][name][1] * 1024 for name in ("width", "height"))
    assert (round(width), round(height)) == (217, 298)


def test_nothing_is_repeated_or_rejected(figures):
    twice = figures["duplicates"]
    assert (twice["label_rows"], twice["boxes"], twice["header_rows"], twice["class_rows_beyond_boxes"]) == (0, [], [], [])
    assert figures["rejected"] == []
    assert figures["missing"]["box_columns_tell_target"] is True


def test_what_a_reader_is_told(figures):
    told = {one["about"]: one["sentence"] for one in reversed(figures["conclusions"])}
    assert "11,439 patients" in told["patients"]
    assert "77.6% of the exams with pneumonia and 36.3% of those without" in told["view"]
    assert "by class: Normal 18.5%" in told["view"]
    assert "no difference is shown" in told["sex"]


def test_files_agree_with_the_table_of_their_headers(shared_data, figures, tmp_path, monkeypatch):
    """258 rebuilt files and the CSV of header values come from different hands."""
    monkeypatch.setattr(radiographs.Drawer, "augmented", lambda self: (None, "left out"))
    sample, table = shared_data / "rsna_sample", shared_data / "rsna_csv" / "stage_2_train_dicom_headers.csv.gz"
    result = []
    for number, more in enumerate((["--dicom-dir", sample / "stage_2_train_images"], ["--headers", table])):
        out = tmp_path / str(number)
        assert explore.main(["--labels", str(sample / "stage_2_train_labels.csv"), "--output-dir", str(out), *map(str, more)]) == 0
        result.append(json.loads((out / "explore.json").read_text()))
    by_file, by_table = result
    for name in ("view", "sex", "age", "pixel_spacing"):
        assert by_file[name] == by_table[name], name
    assert by_file["files"]["faulty"] == []
    assert by_file["duplicates"]["same_pixels"] == []
