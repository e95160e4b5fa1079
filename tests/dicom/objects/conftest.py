"""Radiographs and findings to make DICOM objects of."""

import copy

import numpy as np
import pytest
from dicom_headers import made_up, pixels_of


@pytest.fixture
def radiograph():
    return made_up()


@pytest.fixture
def algorithm():
    from pneumodet.dicom.objects import Algorithm

    return Algorithm("pneumodet my_first", "0123456789ab")


@pytest.fixture
def two(algorithm):
    """Return two boxes, of which one sticks out at the left and one lies at the top."""
    from pneumodet.dicom.objects import Findings

    return Findings(np.array([[-4.5, 100, 60.25, 180], [110, 2, 170, 90]]), np.array([0.875, 0.4]), 0.35, algorithm)


@pytest.fixture
def none(algorithm):
    """Return no boxes."""
    from pneumodet.dicom.objects import Findings

    return Findings(np.zeros((0, 4)), np.zeros(0), 0.35, algorithm)


@pytest.fixture
def make():
    """Return a function that makes one kind of object of a radiograph's header, with the pixels of ``made_up()`` where it needs some."""
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    from pneumodet.dicom import objects

    def call(kind, dataset, findings, **more):
        header = copy.deepcopy(dataset)
        header.pop("PixelData", None)
        if kind == "secondary_capture":
            pixels = pixels_of(made_up())
            return objects.secondary_capture(header, pixels, findings, **more)
        if kind == "segmentation":
            boxes = [
                np.s_[max(0, int(top)) : int(bottom), max(0, int(left)) : int(right)] for left, top, right, bottom in findings.boxes_xyxy_px
            ]
            masks = np.zeros((len(boxes), header.Rows, header.Columns), bool)
            for mask, box in zip(masks, boxes, strict=True):
                mask[box] = True
            return objects.segmentation(header, list(masks), findings, **more)
        return getattr(objects, kind)(header, findings, **more)

    return call
