"""Grayscale Softcopy Presentation State: boxes and scores over the radiograph, in a viewer that draws them itself.

    presentation_state(header, findings).save_as(path, enforce_file_format=True)

The radiograph is shown as it is without it: its own Modality LUT, VOI LUT or (first) window, and polarity (PS3.3 C.11.1, C.11.8, C.11.6).
"""

from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from pneumodet.dicom.objects import library, objects, presentation_lut, values
from pneumodet.dicom.objects.findings import FOR_RESEARCH, Findings
from pneumodet.dicom.objects.radiograph import Radiograph, read

LABEL = "PNEUMODET"
"""ContentLabel (0070,0080) and GraphicLayer (0070,0002)."""

ORANGE_CIELAB = (71.19, 20.07, 74.66)
"""``pictures.DETECTION_RGB`` as L*a*b* of D50 (PS3.3 C.10.7.1.1)."""

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""Height and width of a pixel, in mm or as a ratio, in the order of ``dicom.reading``."""

_LARGEST_RATIO = 10
"""A pixel that is longer is a mistake of its header; it is shown as a square."""

_TEXT_PER_ROWS = 0.025
"""Height of a line of text by that of the radiograph."""

_LETTER_PER_LINE = 0.6
"""Width of a letter by the height of its line."""


def presentation_state(source: Dataset, findings: Findings) -> Dataset:
    """Return a Grayscale Softcopy Presentation State (1.2.840.10008.5.1.4.1.1.11.1) of a radiograph.

    Each box is a closed POLYLINE with its score above it, or in it where there is no room; two lines at the bottom say how many opacities there are, at
    which threshold, by what, and that it is for research. Pixels that are not square are shown in their proportions.

    Args:
      source: the radiograph's header.
      findings: in px of it.

    Raises:
      DataError: the radiograph is no grayscale image, its header lacks what a reference needs, its SOP class is not known, or a box lies
        outside of it.
      EnvironmentProblem: highdicom is not installed.
    """
    hd = library.highdicom()
    radiograph = read(source)
    presentation_lut.check(source)
    reference = radiograph.reference()
    # highdicom takes gray transformations from here where the SOP class has several frames; presentation_lut takes the radiograph's own
    reference.SharedFunctionalGroupsSequence = reference.PerFrameFunctionalGroupsSequence = [Dataset()]
    layer = hd.pr.GraphicLayer(layer_name=LABEL, order=1, description=FOR_RESEARCH, display_color=hd.color.CIELabColor(*ORANGE_CIELAB))
    boxes, texts = _drawn(hd, radiograph, findings)
    with objects.of_known_class(radiograph):
        made = hd.pr.GrayscaleSoftcopyPresentationState(
            referenced_images=[reference],
            device_serial_number=None,
            content_label=LABEL,
            content_description=FOR_RESEARCH,
            graphic_layers=[layer],
            graphic_annotations=[hd.pr.GraphicAnnotation([reference], layer, graphic_objects=boxes, text_objects=texts)],
            **objects.identity(objects.PRESENTATION_STATE, radiograph, findings),
        )
    made.BodyPartExamined = objects.BODY_PART
    presentation_lut.show_as_it_is(made, source)
    made.DisplayedAreaSelectionSequence = [_whole(radiograph, aspect_of(source))]
    # findings are about the first frame, but without a number the references are to all (PS3.3 table 10-3)
    if radiograph.frames > 1:
        for item in (*made.ReferencedSeriesSequence[0].ReferencedImageSequence, *made.GraphicAnnotationSequence[0].ReferencedImageSequence):
            item.ReferencedFrameNumber = 1
    radiograph.sign(made)
    return made


def aspect_of(source: Dataset) -> Fraction:
    """Return the height of a pixel by its width; 1 where it is not known."""
    for keyword in SPACINGS:
        hw = values.numbers(source, keyword)
        if hw:
            # the first one that is there decides, usable or not, as in dicom.reading
            usable = len(hw) == 2 and min(hw) > 0 and max(hw) <= _LARGEST_RATIO * min(hw)
            return Fraction(hw[0] / hw[1]).limit_denominator(1000) if usable else Fraction(1)
    return Fraction(1)


def _whole(radiograph: Radiograph, aspect: Fraction) -> Dataset:
    """Return the item of the Displayed Area module that shows all of the radiograph (PS3.3 C.10.4); its pixels are counted from 1."""
    item = Dataset()
    # no TRUE SIZE, which needs the pixels' spacing in mm
    item.PresentationSizeMode = "SCALE TO FIT"
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [radiograph.columns, radiograph.rows]
    item.PresentationPixelAspectRatio = [aspect.numerator, aspect.denominator]
    return item


def _drawn(hd: ModuleType, radiograph: Radiograph, findings: Findings) -> tuple[list[Any], list[Any]]:
    """Return boxes and texts, in px whose left edge is 0 (PS3.3 C.10.5.1)."""
    rows, columns = radiograph.rows, radiograph.columns
    line = max(1.0, rows * _TEXT_PER_ROWS)
    boxes, texts = [], []
    for (left, top, right, bottom), score in zip(
        findings.within(rows=rows, columns=columns).astype(np.float64).tolist(), findings.scores.tolist(), strict=True
    ):
        # the first point again at the end closes the line (PS3.3 C.10.5)
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
        boxes.append(hd.pr.GraphicObject(graphic_type="POLYLINE", graphic_data=corners, units="PIXEL"))
        text = f"{score:.2f}" if score >= 0.1 else f"{score:.3f}"
        texts.append(_text(hd, text, left, top - line if top >= line else top, line, radiograph))
    lines = (f"{findings.summary}. {findings.algorithm.name} {findings.algorithm.version}", FOR_RESEARCH)
    for number, text in enumerate(lines):
        # smaller letters rather than a line that runs out of a narrow radiograph
        height = min(line, columns / (_LETTER_PER_LINE * len(text)))
        texts.append(_text(hd, text, 0.0, rows - (len(lines) - number) * line, height, radiograph))
    return boxes, texts


def _text(hd: ModuleType, text: str, left: float, top: float, height: float, radiograph: Radiograph) -> Any:
    """Return a text whose upper left corner is at (left, top), or as near to it as the radiograph allows."""
    width = min(height * _LETTER_PER_LINE * len(text), float(radiograph.columns))
    left, top = min(left, radiograph.columns - width), min(max(top, 0.0), radiograph.rows - height)
    return hd.pr.TextObject(
        text_value=text,
        units="PIXEL",
        bounding_box=(left, top, left + width, top + height),
        anchor_point=(left, top),
        text_justification="LEFT",
        anchor_point_visible=False,
    )
