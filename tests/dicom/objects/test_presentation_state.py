"""Presentation states, read by pydicom alone and rendered by DCMTK."""

import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from dicom_headers import COLUMNS, ROWS, made_up, read_back
from PIL import Image

from pneumodet.core.errors import DataError
from pneumodet.dicom import reading
from pneumodet.dicom.objects.findings import Findings

KIND = "presentation_state"


@pytest.fixture
def state(make, radiograph, two, tmp_path):
    return read_back(make(KIND, radiograph, two), tmp_path / "gsps.dcm")


def test_it_refers_to_the_radiograph(state, radiograph):
    assert state.SOPClassUID == "1.2.840.10008.5.1.4.1.1.11.1"
    assert (state.Modality, state.ContentLabel, state.SeriesNumber) == ("PR", "PNEUMODET", 9002)
    assert state.StudyInstanceUID == radiograph.StudyInstanceUID
    (series,) = state.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == radiograph.SeriesInstanceUID
    for sequence in (series.ReferencedImageSequence, state.GraphicAnnotationSequence[0].ReferencedImageSequence):
        (image,) = sequence
        assert (image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID) == (radiograph.SOPClassUID, radiograph.SOPInstanceUID)
        assert "ReferencedFrameNumber" not in image


def test_boxes_are_closed_polylines_in_px(state):
    (annotation,) = state.GraphicAnnotationSequence
    result = [np.array(item.GraphicData).reshape(-1, 2) for item in annotation.GraphicObjectSequence]
    np.testing.assert_array_equal(result[0], [(0, 100), (60.25, 100), (60.25, 180), (0, 180), (0, 100)])
    np.testing.assert_array_equal(result[1], [(110, 2), (170, 2), (170, 90), (110, 90), (110, 2)])
    for item in annotation.GraphicObjectSequence:
        assert (item.GraphicType, item.GraphicAnnotationUnits, item.GraphicFilled, item.NumberOfGraphicPoints) == (
            "POLYLINE",
            "PIXEL",
            "N",
            5,
        )
    (layer,) = state.GraphicLayerSequence
    assert layer.GraphicLayer == annotation.GraphicLayer


def test_scores_stand_at_their_boxes_and_the_words_at_the_bottom(state):
    texts = state.GraphicAnnotationSequence[0].TextObjectSequence
    assert [one.UnformattedTextValue for one in texts] == [
        "0.88",
        "0.40",
        "2 opacities with a score of 0.35 or more. pneumodet my_first 0123456789ab",
        "For research, not for diagnosis",
    ]
    high, low = ([*one.BoundingBoxTopLeftHandCorner, *one.BoundingBoxBottomRightHandCorner] for one in texts[:2])
    assert high[0] == 0 and high[3] == pytest.approx(100), "above its box"
    assert low[1] == pytest.approx(2), "in its box, as there is no room above"
    assert all(one.BoundingBoxBottomRightHandCorner[1] > 0.9 * ROWS for one in texts[2:])
    for one in texts:
        left, top, right, bottom = *one.BoundingBoxTopLeftHandCorner, *one.BoundingBoxBottomRightHandCorner
        assert 0 <= left < right <= COLUMNS and 0 <= top < bottom <= ROWS


def test_nothing_found_is_shown_in_words(make, radiograph, none):
    state = make(KIND, radiograph, none)
    (annotation,) = state.GraphicAnnotationSequence
    assert "GraphicObjectSequence" not in annotation
    assert annotation.TextObjectSequence[0].UnformattedTextValue.startswith("No opacity with a score of 0.35 or more.")


@pytest.mark.parametrize(
    ("elements", "ratio"),
    [
        ({}, [1, 1]),
        ({"PixelSpacing": [0.2, 0.1]}, [2, 1]),
        ({"ImagerPixelSpacing": [0.143, 0.143]}, [1, 1]),
        ({"PixelAspectRatio": [3, 4]}, [3, 4]),
        ({"PixelSpacing": [0.1, 5]}, [1, 1]),
        ({"PixelSpacing": [0, 0]}, [1, 1]),
    ],
    ids=["none", "tall", "square", "wide", "absurd", "zero"],
)
def test_all_of_the_radiograph_is_shown_in_its_proportions(make, none, elements, ratio):
    (area,) = make(KIND, made_up(**elements), none).DisplayedAreaSelectionSequence
    assert (area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner) == ([1, 1], [COLUMNS, ROWS])
    assert (area.PresentationSizeMode, area.PresentationPixelAspectRatio) == ("SCALE TO FIT", ratio)


def voi(state):
    (item,) = state.SoftcopyVOILUTSequence
    return float(item.WindowCenter), float(item.WindowWidth), item.get("VOILUTFunction")


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        pytest.param({}, (128, 256, None), id="8 bit"),
        pytest.param({"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}, (2048, 4096, None), id="12 bit"),
        pytest.param({"BitsAllocated": 16, "BitsStored": 12, "PixelRepresentation": 1}, (0, 4096, None), id="signed"),
        pytest.param({"SmallestImagePixelValue": 10, "LargestImagePixelValue": 109}, (60, 100, None), id="smallest and largest"),
        pytest.param({"RescaleSlope": 2, "RescaleIntercept": -10}, (245.5, 511, None), id="rescaled"),
        pytest.param({"WindowCenter": [100, 1], "WindowWidth": [50, 2]}, (100, 50, None), id="first of two"),
        pytest.param({"WindowCenter": 100, "WindowWidth": 0.5, "VOILUTFunction": "LINEAR_EXACT"}, (100, 0.5, "LINEAR_EXACT"), id="exact"),
        pytest.param({"WindowCenter": 100, "WindowWidth": 0}, (128, 256, None), id="unusable"),
        pytest.param({"WindowCenter": 100}, (128, 256, None), id="half"),
        pytest.param({"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "SPLINE"}, (100, 50, None), id="unknown function"),
    ],
)
def test_window(make, none, elements, expected):
    assert voi(make(KIND, made_up(**elements), none)) == expected


@pytest.mark.parametrize(
    ("elements", "shape"),
    [
        ({}, "IDENTITY"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "INVERSE"),
        ({"PresentationLUTShape": "INVERSE"}, "INVERSE"),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, "INVERSE"),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}, "INVERSE"),
    ],
)
def test_polarity(make, none, elements, shape):
    assert make(KIND, made_up(**elements), none).PresentationLUTShape == shape


def test_rescale_has_no_unit_that_the_radiograph_does_not_have(make, none):
    state = make(KIND, made_up(RescaleSlope="2", RescaleIntercept="-10"), none)
    assert (state.RescaleSlope, state.RescaleIntercept, state.RescaleType) == (2, -10, "US")
    assert "RescaleSlope" not in make(KIND, made_up(), none)
    alone = make(KIND, made_up(RescaleIntercept="-10"), none)
    assert (alone.RescaleSlope, alone.RescaleIntercept) == (1, -10)


def test_a_table_of_65536_entries_that_begins_below_zero(make, none, tmp_path):
    item = table([0] * 65535, first=-5, bits=16)
    item["LUTDescriptor"].value = [0, -5, 16]
    item.LUTData = np.arange(65536, dtype="<u2").tobytes()
    (made,) = read_back(make(KIND, made_up(VOILUTSequence=[item]), none), tmp_path / "gsps.dcm").SoftcopyVOILUTSequence[0].VOILUTSequence
    assert made.LUTDescriptor == [0, -5, 16]
    assert len(made.LUTData) == 2 * 65536


def table(entries, *, first=0, bits=8, data="OW"):
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", data, np.array(entries, "<u2").tobytes() if data == "OW" else entries)
    item.LUTExplanation = "as SECRET likes it"
    return item


@pytest.mark.parametrize("data", ["OW", "US"])
@pytest.mark.parametrize("first", [0, -5])
def test_tables_are_copied_without_their_explanation(make, none, data, first, tmp_path):
    entries = [int(value) for value in np.linspace(255, 0, 256)]
    source = made_up(
        VOILUTSequence=[table(entries, first=first, data=data)], ModalityLUTSequence=[table(entries, data=data)], RescaleSlope=2
    )
    state = read_back(make(KIND, source, none), tmp_path / "gsps.dcm")
    for item, begin in ((state.SoftcopyVOILUTSequence[0].VOILUTSequence[0], first), (state.ModalityLUTSequence[0], 0)):
        assert item.LUTDescriptor == [256, begin, 8]
        assert np.frombuffer(item.LUTData, "<u2").tolist() == entries
        assert "LUTExplanation" not in item
    assert "RescaleSlope" not in state


def test_tables_of_12_bits_become_tables_of_16(make, none, tmp_path):
    """A Modality LUT keeps its values, which windows are given in; of a VOI LUT the largest one is white."""
    entries = [0, 1024, 2048, 4095]
    source = made_up(VOILUTSequence=[table(entries, bits=12)], ModalityLUTSequence=[table(entries, bits=12)])
    state = read_back(make(KIND, source, none), tmp_path / "gsps.dcm")
    for item, expected in (
        (state.ModalityLUTSequence[0], entries),
        (state.SoftcopyVOILUTSequence[0].VOILUTSequence[0], [0, 16388, 32776, 65535]),
    ):
        assert (item.LUTDescriptor, np.frombuffer(item.LUTData, "<u2").tolist()) == ([4, 0, 16], expected)
    alone = make(KIND, made_up(ModalityLUTSequence=[table(entries, bits=12)]), none)
    assert voi(alone) == (2048, 4096, None), "all values that 12 bits have"


def test_a_broken_table_is_left_out(make, none):
    broken = table([1, 2, 3])
    broken.LUTDescriptor = [256, 0, 8]
    assert voi(make(KIND, made_up(VOILUTSequence=[broken]), none)) == (128, 256, None)


def test_colour_is_refused(make, none):
    with pytest.raises(DataError, match="this one is RGB. Ask for a structured report or a secondary capture"):
        make(KIND, made_up(SamplesPerPixel=3, PhotometricInterpretation="RGB"), none)


def test_several_frames_are_marked_on_their_first(make, two):
    state = make(KIND, made_up(NumberOfFrames=4), two)
    for sequence in (state.ReferencedSeriesSequence[0].ReferencedImageSequence, state.GraphicAnnotationSequence[0].ReferencedImageSequence):
        assert sequence[0].ReferencedFrameNumber == 1


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5000), (5000, 3)])
def test_any_size(make, none, rows, columns, algorithm):
    findings = Findings(np.array([[0, 0, columns, rows], [0, 0, 0, 0]]), np.array([0.5, 0.5]), 0.35, algorithm)
    make(KIND, made_up(Rows=rows, Columns=columns), findings)


@pytest.mark.parametrize(
    "elements",
    [
        pytest.param({}, id="plain"),
        pytest.param({"PhotometricInterpretation": "MONOCHROME1"}, id="MONOCHROME1"),
        pytest.param({"WindowCenter": 100, "WindowWidth": 90}, id="window"),
        pytest.param({"WindowCenter": 100, "WindowWidth": 90, "PhotometricInterpretation": "MONOCHROME1"}, id="window, MONOCHROME1"),
        pytest.param({"RescaleSlope": "2", "RescaleIntercept": "-10", "WindowCenter": 200, "WindowWidth": 300}, id="rescaled"),
        pytest.param({"VOILUTSequence": [table([int(v) for v in 255 * np.linspace(0, 1, 256) ** 2])]}, id="VOI LUT"),
        pytest.param({"VOILUTSequence": [table([int(v) for v in 1023 * np.linspace(0, 1, 256) ** 2], bits=10)]}, id="VOI LUT, 10 bit"),
        pytest.param(
            {
                "ModalityLUTSequence": [table([int(v) for v in np.linspace(0, 4095, 256)], bits=12)],
                "WindowCenter": 2048,
                "WindowWidth": 3000,
            },
            id="Modality LUT, 12 bit",
        ),
    ],
)
def test_dcmtk_shows_it_as_the_models_see_it(make, two, tmp_path, elements):
    """DCMTK applies the state's gray pipeline; ``dicom.reading`` applies the radiograph's."""
    if not shutil.which("dcmp2pgm"):
        pytest.skip("dcmp2pgm is not installed: apt-get install dcmtk")
    source, rendered = made_up(**elements), tmp_path / "rendered.pgm"
    source.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    make(KIND, source, two).save_as(tmp_path / "gsps.dcm", enforce_file_format=True)
    done = subprocess.run(
        ["dcmp2pgm", "-p", tmp_path / "gsps.dcm", tmp_path / "image.dcm", rendered], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    difference = np.abs(np.int64(np.asarray(Image.open(rendered))) - reading.read_pixels(tmp_path / "image.dcm"))
    assert difference.max() <= 1
