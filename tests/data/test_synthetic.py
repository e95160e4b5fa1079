"""The synthetic data set is RSNA's in form."""

import csv

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGBaseline8Bit

from pneumodet.data import annotations, dicom_images
from pneumodet.data.synthetic import draw_radiograph, make_dataset
from pneumodet.dicom import reading

SIZE = 256


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_labels_files_and_patients_agree(synthetic):
    labels = annotations.read_rsna_labels(synthetic.labels, class_info=synthetic.class_info)
    assert (len(labels.exams), labels.rejected, labels.duplicate_rows) == (12, [], 0)
    assert {path.stem for path in synthetic.dicom_dir.iterdir()} == set(labels.exams)
    patients = annotations.read_patient_map(synthetic.patient_map)
    assert patients.keys() == labels.exams.keys()
    assert 1 < len(set(patients.values())) < 12  # some patient has several exams
    assert {exam.positive for exam in labels.exams.values()} == {True, False}
    for exam in labels.exams.values():
        assert exam.positive == (exam.rsna_class == "Lung Opacity") == bool(len(exam.boxes_xyxy_px))
        assert (exam.boxes_xyxy_px >= 0).all()
        assert (exam.boxes_xyxy_px <= SIZE).all()
    for file, header in ((synthetic.labels, annotations.LABEL_COLUMNS), (synthetic.class_info, annotations.CLASS_INFO_COLUMNS)):
        with open(file, newline="") as handle:
            assert tuple(next(csv.reader(handle))) == header


def test_dicoms_are_like_rsnas(synthetic):
    for path in synthetic.dicom_dir.iterdir():
        dataset = pydicom.dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        assert (dataset.PatientID, str(dataset.PatientName)) == (path.stem, path.stem)
        assert dicom_images.encode_image(path).copied
        pixels = reading.read_pixels(path)
        assert pixels.shape == (SIZE, SIZE)
        assert pixels.std() > 20


@pytest.mark.real_data
def test_dicoms_have_the_elements_of_an_original(synthetic, shared_data):
    original = pydicom.dcmread(next((shared_data / "rsna_original").rglob("*.dcm")))
    made = pydicom.dcmread(next(synthetic.dicom_dir.iterdir()))
    assert {element.keyword for element in made} == {element.keyword for element in original}
    for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation", "SOPClassUID"):
        assert made[keyword].value == original[keyword].value


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        make_dataset(tmp_path / name, exams=3, size=128, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    dicoms = [{path.name for path in (tmp_path / name).rglob("*.dcm")} for name in "ac"]
    assert dicoms[0].isdisjoint(dicoms[1])


def test_more_exams_leave_the_first_as_they_are(tmp_path):
    few = make_dataset(str(tmp_path / "few"), exams=2, size=128)  # a path as text, as the guide gives it
    many = make_dataset(tmp_path / "many", exams=4, size=128)
    assert files(few.dicom_dir).items() <= files(many.dicom_dir).items()
    assert many.labels.read_text().startswith(few.labels.read_text())


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_positive_fraction(tmp_path, fraction):
    made = make_dataset(tmp_path, exams=4, size=128, positive_fraction=fraction)
    exams = annotations.read_rsna_labels(made.labels).exams.values()
    assert [exam.positive for exam in exams] == [fraction == 1.0] * 4


def test_an_opacity_is_brighter_than_the_lung_round_it():
    brighter = []
    for seed in range(12):
        pixels, boxes_xywh_px = draw_radiograph(np.random.default_rng(seed), positive=True, size=SIZE)
        assert 1 <= len(boxes_xywh_px) <= 2
        for x, y, width, height in boxes_xywh_px:
            middle = pixels[int(y + height / 3) : int(y + 2 * height / 3), int(x + width / 3) : int(x + 2 * width / 3)]
            # the same place of a radiograph of the same lungs without an opacity is not to be had: compare with the whole box's rim
            box = pixels[max(0, int(y)) : int(y + height), max(0, int(x)) : int(x + width)]
            brighter.append(middle.mean() > box.mean())
    assert np.mean(brighter) > 0.8


def test_a_negative_has_no_box_and_sizes_are_kept():
    for size in (97, 128):
        pixels, boxes_xywh_px = draw_radiograph(np.random.default_rng(0), positive=False, size=size)
        assert (pixels.shape, pixels.dtype, boxes_xywh_px.shape) == ((size, size), np.uint8, (0, 4))


def test_progress_sees_every_exam(tmp_path):
    seen = []
    make_dataset(tmp_path, exams=3, size=64, progress=lambda items: (seen.append(item) or item for item in items))
    assert [exam.index for exam in seen] == [0, 1, 2]
