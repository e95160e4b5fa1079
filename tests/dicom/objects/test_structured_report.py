"""Structured reports, read by pydicom alone."""

import io
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from dicom_headers import made_up, read_back, walk

from pneumodet.dicom.objects.findings import Findings
from pneumodet.dicom.objects.identifiers import Algorithm, uid

KIND = "structured_report"
GROUP = ("Imaging Measurement Report", "Imaging Measurements", "Measurement Group")


def items(report, *names):
    """Return the items of the content tree whose path ends in ``names``."""
    return [item for path, item in walk(report) if path[-len(names) :] == names]


def code(item):
    result = item.ConceptCodeSequence[0]
    return result.CodeValue, result.CodingSchemeDesignator


def name(item):
    result = item.ConceptNameCodeSequence[0]
    return result.CodeValue, result.CodingSchemeDesignator


@pytest.fixture
def report(make, radiograph, two, tmp_path):
    return read_back(make(KIND, radiograph, two), tmp_path / "sr.dcm")


def groups_of(report):
    return [item for path, item in walk(report) if path == GROUP]


def test_it_is_an_unverified_complete_comprehensive_sr_of_the_study(report, radiograph):
    assert report.SOPClassUID == report.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    assert (report.Modality, report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "SR",
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert report.StudyInstanceUID == radiograph.StudyInstanceUID
    assert len({report.SeriesInstanceUID, report.SOPInstanceUID, radiograph.SeriesInstanceUID, radiograph.SOPInstanceUID}) == 4
    assert (report.SeriesNumber, report.InstanceNumber) == (9001, 3)
    assert "not for diagnosis" in report.SeriesDescription
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"):
        assert report[keyword].value == radiograph[keyword].value


def test_evidence_is_the_radiograph_and_nothing_else(report, radiograph):
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == radiograph.StudyInstanceUID
    assert series.SeriesInstanceUID == radiograph.SeriesInstanceUID
    assert (instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID) == (radiograph.SOPClassUID, radiograph.SOPInstanceUID)
    assert "PertinentOtherEvidenceSequence" not in report


def test_each_box_is_a_closed_polyline_on_the_radiograph(report, radiograph):
    regions = items(report, "Measurement Group", "Image Region")
    result = [np.array(item.GraphicData).reshape(-1, 2) for item in regions]
    assert [item.GraphicType for item in regions] == ["POLYLINE"] * 2
    # the first box sticks out by 4.5 px at the left, where the image ends
    np.testing.assert_array_equal(result[0], [(0, 100), (60.25, 100), (60.25, 180), (0, 180), (0, 100)])
    np.testing.assert_array_equal(result[1], [(110, 2), (170, 2), (170, 90), (110, 90), (110, 2)])
    for item in regions:
        (image,) = item.ContentSequence
        assert (image.ValueType, image.RelationshipType) == ("IMAGE", "SELECTED FROM")
        (reference,) = image.ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == radiograph.SOPInstanceUID
        assert "ReferencedFrameNumber" not in reference


def test_scores_are_numbers_without_unit(report):
    scores = items(report, "Measurement Group", "Score")
    assert [float(item.MeasuredValueSequence[0].NumericValue) for item in scores] == [0.875, 0.4]
    assert {item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue for item in scores} == {"1"}


def test_the_finding_is_an_opacity_in_the_lung_and_no_diagnosis(report):
    for group in groups_of(report):
        result = {name(item): item for item in group.ContentSequence}
        assert code(result["121071", "DCM"]) == ("RID28530", "RADLEX")
        assert code(result["363698007", "SCT"]) == ("39607008", "SCT")
    assert "233604007" not in {code(item)[0] for _, item in walk(report) if "ConceptCodeSequence" in item}


def test_algorithm_and_threshold_are_in_each_group(report):
    for group in groups_of(report):
        texts = {item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue for item in group.ContentSequence if item.ValueType == "TEXT"}
        assert texts["Algorithm Name"] == "pneumodet my_first"
        assert texts["Algorithm Version"] == "0123456789ab"
        assert texts["Algorithm Parameters"] == "score threshold=0.35"


def test_the_observer_is_a_device(report):
    assert [code(item) for item in items(report, "Observer Type")] == [("121007", "DCM")]
    (device,) = items(report, "Device Observer UID")
    assert device.UID.startswith("2.25.")
    assert [item.TextValue for item in items(report, "Device Observer Name")] == ["pneumodet my_first"]


@pytest.mark.parametrize(("which", "present", "words"), [("two", "52101004", "2 opacities"), ("none", "272519000", "No opacity")])
def test_whether_there_is_an_opacity_is_said_once_for_the_image(make, radiograph, which, present, words, request):
    findings = request.getfixturevalue(which)
    report = make(KIND, radiograph, findings)
    groups = groups_of(report)
    assert len(groups) == len(findings) + 1
    (evaluation,) = items(report, "Measurement Group", "opacity")
    assert (name(evaluation), code(evaluation)) == (("RID28530", "RADLEX"), (present, "SCT"))
    (image,) = items(report, "Measurement Group", "Source of Measurement")
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == radiograph.SOPInstanceUID
    (comment,) = items(report, "Imaging Measurement Report", "Comment")
    assert comment.TextValue.startswith(f"{words} with a score of 0.35 or more. For research, not for diagnosis.")


def test_several_frames_are_reported_on_by_their_first(make, two):
    report = make(KIND, made_up(NumberOfFrames=4), two)
    references = [item.ReferencedSOPSequence[0] for _, item in walk(report) if "ReferencedSOPSequence" in item]
    assert len(references) == 3
    assert {one.ReferencedFrameNumber for one in references} == {1}


def test_a_second_run_makes_the_same_file(make, radiograph, two):
    made = [io.BytesIO(), io.BytesIO()]
    for buffer in made:
        make(KIND, radiograph, two).save_as(buffer, enforce_file_format=True)
    assert made[0].getvalue() == made[1].getvalue()


def test_uids_do_not_depend_on_the_process():
    """Not on the hash seed, the time or the machine."""
    code = "from pneumodet.dicom.objects.identifiers import uid; print(uid('instance', '1.2.3'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == uid("instance", "1.2.3"), done.stderr


def test_the_uid_is_another_one_for_another_radiograph_algorithm_or_threshold(make, radiograph, none, algorithm):
    def made(dataset=radiograph, algorithm=algorithm, threshold=0.35, kind=KIND):
        return make(kind, dataset, Findings(np.zeros((0, 4)), np.zeros(0), threshold, algorithm)).SOPInstanceUID

    result = [
        made(),
        made(kind="presentation_state"),
        made(kind="secondary_capture"),
        made(made_up(SOPInstanceUID="1.2.3.4.6")),
        made(algorithm=Algorithm("pneumodet other", algorithm.version)),
        made(algorithm=Algorithm(algorithm.name, "ba9876543210")),
        made(algorithm=Algorithm(algorithm.name, algorithm.version, parameters=("views=2",))),
        made(threshold=0.36),
    ]
    assert len(set(result)) == len(result)


def test_the_uid_is_the_same_whatever_was_found(make, radiograph, two, none):
    """Another machine may round a score to the other side of the threshold; the archive still keeps one report."""
    assert make(KIND, radiograph, two).SOPInstanceUID == make(KIND, radiograph, none).SOPInstanceUID


def test_images_of_a_series_are_reported_in_one_series(make, none):
    reports = [make(KIND, made_up(SOPInstanceUID=f"1.2.3.4.{number}", InstanceNumber=number), none) for number in (1, 2)]
    assert reports[0].SeriesInstanceUID == reports[1].SeriesInstanceUID
    assert [one.InstanceNumber for one in reports] == [1, 2]


def test_long_names_are_whole_in_the_content_and_cut_where_dicom_wants_it(make, radiograph):
    findings = Findings(np.zeros((0, 4)), np.zeros(0), 0.35, Algorithm("pneumodet " + "x" * 200, "1"))
    report = make(KIND, radiograph, findings)
    assert len(report.ManufacturerModelName) == 64
    assert len(items(report, "Device Observer Name")[0].TextValue) == 210


def test_dsrdump_reads_it(report, tmp_path):
    """DCMTK checks value types, relationships and codes of the content tree."""
    import shutil

    if not shutil.which("dsrdump"):
        pytest.skip("dsrdump is not installed: apt-get install dcmtk")
    pydicom.dcmwrite(tmp_path / "copy.dcm", report)
    done = subprocess.run(["dsrdump", "-Er", tmp_path / "copy.dcm"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:", "F:"))], done.stderr
    assert "SCOORD" in done.stdout and "For research, not for diagnosis" in done.stdout
