"""Boxes and scores as they go into DICOM objects."""

import numpy as np
import pytest

from pneumodet.core.errors import DataError
from pneumodet.dicom.objects.findings import Findings
from pneumodet.dicom.objects.identifiers import Algorithm

ALGORITHM = Algorithm("pneumodet", "1")


@pytest.mark.parametrize(
    ("boxes", "scores", "threshold", "message"),
    [
        pytest.param([[0, 0, 1, 1]], [0.2], 0.3, "0.2.* is below the threshold of 0.3", id="below"),
        pytest.param([[0, 0, 1, 1]], [0.5, 0.6], 0.3, "need boxes", id="shapes"),
        pytest.param([[0, 0, np.nan, 1]], [0.5], 0.3, "not finite", id="nan"),
        pytest.param([[5, 0, 1, 1]], [0.5], 0.3, "right < left", id="inverted"),
        pytest.param([[0, 0, 1, 1]], [1.5], 0.3, "from 0 to 1", id="score"),
        pytest.param([], [], float("nan"), "threshold must be", id="no threshold"),
        pytest.param([], [], 1.5, "threshold must be", id="percent"),
    ],
)
def test_what_cannot_be_is_refused(boxes, scores, threshold, message):
    with pytest.raises(DataError, match=message):
        Findings(np.array(boxes, float), np.array(scores, float), threshold, ALGORITHM)


def test_a_float32_score_at_the_threshold_passes_as_in_detections():
    threshold = float(np.float32(0.35))
    assert len(Findings(np.array([[0, 0, 1, 1]], np.float32), np.array([0.35], np.float32), threshold, ALGORITHM)) == 1


@pytest.mark.parametrize(("count", "text"), [(0, "No opacity with"), (1, "1 opacity with"), (3, "3 opacities with")])
def test_summary(count, text):
    result = Findings(np.tile([0.0, 0, 1, 1], (count, 1)), np.full(count, 0.5), 0.35, ALGORITHM)
    assert result.summary == f"{text} a score of 0.35 or more"


def test_boxes_are_cut_off_at_the_edges_and_outside_ones_refused():
    result = Findings(np.array([[-3, 5, 40, 120.5], [0, 0, 0, 0]]), np.array([0.5, 0.5]), 0.35, ALGORITHM)
    np.testing.assert_array_equal(result.within(rows=100, columns=30), [[0, 5, 30, 100], [0, 0, 0, 0]])
    with pytest.raises(DataError, match="outside of the radiograph of 30 x 4 px"):
        result.within(rows=4, columns=30)
