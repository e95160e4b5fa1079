"""How a radiograph's gray values are shown, carried over into a presentation state.

check(source)
show_as_it_is(state, source)

The same rules as those of ``dicom.lut``, which shows radiographs to the models: a VOI LUT before a window, the first of several, polarity once.
"""

import contextlib

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from pneumodet.core.errors import DataError
from pneumodet.dicom.objects import values

MODALITY_UNSPECIFIED = "US"
"""Rescale Type and Modality LUT Type of values without a unit (PS3.3 C.11.1.1.2)."""

WHOLE_BYTES = (8, 16)
"""Bits of a table's entries (PS3.3 C.11.1.1.1 and C.11.2.1.1; for a VOI LUT all between them are allowed, but dciodvfy refuses them)."""

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
"""Enumerated values of VOILUTFunction (0028,1056) (PS3.3 C.11.2.1.3)."""

_GRAY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
"""Values of PhotometricInterpretation (0028,0004) (PS3.3 C.7.6.3.1.2); no other text is quoted, as damaged headers may have a name there."""


def check(source: Dataset) -> None:
    """Check that a grayscale presentation state may be about a radiograph.

    Raises:
      DataError: it is in colour.
    """
    samples, photometric = values.integer(source, "SamplesPerPixel", default=1), values.text(source, "PhotometricInterpretation")
    if samples != 1 or photometric not in (*_GRAY, ""):
        raise DataError(
            f"A grayscale presentation state is about a radiograph in shades of gray, but this one is "
            f"{photometric if photometric in _COLOUR else 'not'}. "
            f"Ask for a structured report or a secondary capture."
        )


def show_as_it_is(state: Dataset, source: Dataset) -> None:
    """Add the Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT modules.

    Where the radiograph has no usable VOI LUT and no usable window, the window goes from its smallest to its largest value:
    SmallestImagePixelValue (0028,0106) and LargestImagePixelValue (0028,0107), or what BitsStored (0028,0101) allows.

    Args:
      state: the presentation state.
      source: the radiograph's header.
    """
    modality = _lut(source, "ModalityLUTSequence")
    if modality:
        # its values stay: they are what windows are given in, and where there is no window, one is made of the bits it has
        low, high = 0.0, float((1 << int(modality.LUTDescriptor[2])) - 1)
        modality.LUTDescriptor[2] = next(bits for bits in WHOLE_BYTES if bits >= modality.LUTDescriptor[2])
    slopes, intercepts = (values.numbers(source, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    # a slope of 0 would make one value of all of them
    rescaled = bool(slopes or intercepts) and (not slopes or slopes[0] != 0)
    slope, intercept = (slopes or [1.0])[0], (intercepts or [0.0])[0]
    # either, never both: Rescale Intercept must be absent where there is a Modality LUT Sequence (PS3.3 table C.11-1)
    if modality:
        modality.ModalityLUTType = MODALITY_UNSPECIFIED
        state.ModalityLUTSequence = [modality]
    elif rescaled:
        state.RescaleSlope, state.RescaleIntercept = _decimal(slope), _decimal(intercept)
        state.RescaleType = MODALITY_UNSPECIFIED
    table = _lut(source, "VOILUTSequence")
    if table and table.LUTDescriptor[2] not in WHOLE_BYTES:
        _stretch(table)
    voi = _window(source)
    if table:
        voi = Dataset()
        voi.VOILUTSequence = [table]
    elif not voi:
        if not modality:
            low, high = _range(source)
            if rescaled:
                low, high = sorted(slope * value + intercept for value in (low, high))
        voi = Dataset()
        # LINEAR ends at center - 0.5 minus and plus (width - 1) / 2 (PS3.3 C.11.2.1.2)
        voi.WindowCenter, voi.WindowWidth = _decimal((low + high + 1) / 2), _decimal(high - low + 1)
    state.SoftcopyVOILUTSequence = [voi]
    # both say the same, and together turn gray values over once; a DX image of MONOCHROME1 has both (PS3.3 C.8.11.3)
    inverse = values.text(source, "PhotometricInterpretation") == "MONOCHROME1" or values.text(source, "PresentationLUTShape") == "INVERSE"
    state.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"


def _window(source: Dataset) -> Dataset | None:
    """Return the first window, None where there is none or it is unusable."""
    center, width = (values.numbers(source, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    function = values.text(source, "VOILUTFunction")
    # LINEAR needs a width of 1 at least, the other two one above 0 (PS3.3 C.11.2.1.2 and C.11.2.1.3)
    if not center or not width or not (width[0] >= 1 or (width[0] > 0 and function in FUNCTIONS[1:])):
        return None
    item = Dataset()
    item.WindowCenter, item.WindowWidth = _decimal(center[0]), _decimal(width[0])
    if function in FUNCTIONS:
        item.VOILUTFunction = function
    return item


def _range(source: Dataset) -> tuple[int, int]:
    """Return the smallest and largest stored value that a pixel has, or can have."""
    low, high = (values.integer(source, keyword, default=0) for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"))
    if low < high:
        return low, high
    signed, bits = values.integer(source, "PixelRepresentation", default=0) == 1, values.integer(source, "BitsStored", default=8)
    # a damaged BitsStored gives a window that is too wide, which still shows all of the radiograph
    bits = bits if 1 <= bits <= 16 else 16
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _lut(source: Dataset, keyword: str) -> Dataset | None:
    """Return the first table of a sequence without its explanation, which is free text; None where there is none or it is unusable."""
    with contextlib.suppress(Exception):  # whatever pydicom raises on a damaged sequence
        item = source.get(keyword)[0]
        descriptor = [int(one) for one in item.LUTDescriptor]
        # 0 stands for 65,536 (PS3.3 C.11.1.1); read as a signed number, a large count is negative
        count = (descriptor[0] & 0xFFFF) or 1 << 16
        data = item.LUTData
        if isinstance(data, bytes):
            data = np.frombuffer(data, "<u2" if source.original_encoding[1] in (True, None) else ">u2")
        entries = np.asarray(data).astype("<u2")
        if len(descriptor) == 3 and 1 <= descriptor[2] <= 16 and len(entries) >= count:
            table = Dataset()
            # the first value mapped may be negative, and then all three values are SS
            vr, kind = ("SS", np.int16) if descriptor[1] < 0 else ("US", np.uint16)
            # 65,536 does not fit and is written as 0
            table.add(DataElement("LUTDescriptor", vr, np.array(descriptor).astype(kind).tolist()))
            table.add(DataElement("LUTData", "OW", entries[:count].tobytes()))
            return table
    return None


def _stretch(table: Dataset) -> None:
    """Write the entries of a VOI LUT with 16 bits: black stays 0, and white becomes the largest value (PS3.3 C.11.2.1.1)."""
    white = (1 << int(table.LUTDescriptor[2])) - 1
    entries = np.frombuffer(table.LUTData, "<u2").astype(np.float64)
    table.LUTData = np.rint(np.minimum(entries / white, 1) * 0xFFFF).astype("<u2").tobytes()
    table.LUTDescriptor[2] = 16


def _decimal(number: float) -> str:
    """Return a number as a Decimal String of at most 16 characters."""
    return f"{number:.10g}"
