"""Segmentations, read by pydicom, and by highdicom's own reader."""

import copy

import numpy as np
import pytest
from dicom_headers import COLUMNS, ROWS, made_up, read_back
from pydicom.uid import JPEGBaseline8Bit, MultiFrameGrayscaleByteSecondaryCaptureImageStorage

from pneumodet.core.errors import DataError

hd = pytest.importorskip("highdicom", reason="DICOM objects are made by highdicom")


@pytest.fixture(scope="module")
def masks():
    """Return two masks that overlap, one with a hole, as a U-Net's are."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    disc = np.hypot(rows - 140, columns - 30) < 40
    return [disc & ~(np.hypot(rows - 140, columns - 30) < 10), (rows < 130) & (columns > 20)]


def made(dataset, masks, findings):
    from pneumodet.dicom import objects

    header = copy.deepcopy(dataset)
    header.pop("PixelData", None)
    return objects.segmentation(header, masks, findings)


def test_the_pixels_come_back(radiograph, masks, two, tmp_path):
    dataset = read_back(made(radiograph, masks, two), tmp_path / "seg.dcm")
    assert (dataset.pixel_array == np.stack(masks)).all() and dataset.pixel_array.shape == (2, ROWS, COLUMNS)
    frames = [one.SegmentIdentificationSequence[0].ReferencedSegmentNumber for one in dataset.PerFrameFunctionalGroupsSequence]
    assert frames == [1, 2]
    read = hd.seg.segread(tmp_path / "seg.dcm")
    pixels = read.get_pixels_by_source_instance([radiograph.SOPInstanceUID], combine_segments=False)
    assert (pixels[0] == np.stack(masks, axis=-1)).all()


def test_what_it_says(radiograph, masks, two, tmp_path):
    dataset = read_back(made(radiograph, masks, two), tmp_path / "seg.dcm")
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    assert (dataset.Modality, dataset.SegmentationType, dataset.SeriesNumber) == ("SEG", "BINARY", 9004)
    assert (dataset.Rows, dataset.Columns) == (ROWS, COLUMNS)
    assert dataset.StudyInstanceUID == radiograph.StudyInstanceUID and dataset.PatientID == "ID-7"
    assert [one.SegmentDescription for one in dataset.SegmentSequence] == ["Score 0.875", "Score 0.4"]
    (first, _) = dataset.SegmentSequence
    assert (first.SegmentLabel, first.SegmentAlgorithmType) == ("opacity 1", "AUTOMATIC")
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "opacity"
    (algorithm,) = first.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("pneumodet my_first", "0123456789ab")
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert dataset.ContentDescription == "For research, not for diagnosis"
    assert radiograph.SOPInstanceUID in str(dataset.ReferencedSeriesSequence)


def test_where_nothing_was_detected_there_is_an_empty_segment(radiograph, none, tmp_path):
    dataset = read_back(made(radiograph, [], none), tmp_path / "seg.dcm")
    assert dataset.pixel_array.shape == (ROWS, COLUMNS) and not dataset.pixel_array.any()
    assert [one.SegmentLabel for one in dataset.SegmentSequence] == ["no opacity"]


@pytest.mark.parametrize(
    "elements",
    [
        {"NumberOfFrames": 2, "SOPClassUID": MultiFrameGrayscaleByteSecondaryCaptureImageStorage},
        {"PixelSpacing": [0.2, 0.1], "PatientName": "Yamada^Tarou=山田^太郎", "SpecificCharacterSet": ["", "ISO 2022 IR 87"]},
        {"FrameOfReferenceUID": "1.2.9", "StudyDate": None, "PatientSex": None},
    ],
    ids=["frames", "spacing", "sparse"],
)
def test_it_is_the_same_each_time(elements, masks, two, tmp_path):
    data = []
    for name in "ab":
        made(made_up(**elements), masks, two).save_as(tmp_path / name, enforce_file_format=True)
        data.append((tmp_path / name).read_bytes())
    assert data[0] == data[1]


def test_of_a_radiograph_that_was_compressed_with_loss(radiograph, masks, two):
    radiograph.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset = made(radiograph, masks, two)
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


@pytest.mark.parametrize(
    ("sop_class", "frames"), [(MultiFrameGrayscaleByteSecondaryCaptureImageStorage, 2), ("1.2.3.4.5.6", 1)], ids=["frames", "private"]
)
def test_classes_that_highdicom_does_not_take(sop_class, frames, masks, two):
    dataset = made(made_up(SOPClassUID=sop_class, NumberOfFrames=frames), masks, two)
    images = [frame.DerivationImageSequence[0].SourceImageSequence[0] for frame in dataset.PerFrameFunctionalGroupsSequence]
    assert [one.ReferencedSOPClassUID for one in images] == [sop_class] * 2
    assert [one.get("ReferencedFrameNumber") for one in images] == [1 if frames > 1 else None] * 2
    assert dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPClassUID == sop_class


def test_what_does_not_fit(radiograph, masks, two, monkeypatch):
    from pneumodet.dicom.objects import masks as module

    with pytest.raises(DataError, match="2 opacities on a radiograph of 192 x 256 px need as many masks"):
        made(radiograph, masks[:1], two)
    with pytest.raises(DataError, match=r"not \[\(192, 256\), "):
        made(radiograph, [masks[0].T, masks[1]], two)
    monkeypatch.setattr(module, "MOST_PX", ROWS * COLUMNS)
    with pytest.raises(DataError, match="2 opacities .* are more than the 1 that .* Raise the score threshold"):
        made(radiograph, masks, two)
