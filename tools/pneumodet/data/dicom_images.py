"""DICOM radiographs -> encoded images for records.

encoded = encode_image(source)           # the file's own JPEG stream where that is lossless and right, else a new JPEG
"""

import dataclasses
import hashlib
import re
from typing import Any

from pneumodet.core import image_limits
from pneumodet.data import encoding
from pneumodet.data.encoding import AS_IT_IS, EncodedImage, Options
from pneumodet.dicom import decoding, display, header_facts, reading
from pneumodet.dicom.elements import DicomError, Elements

UID = "sop_instance_uid"
"""Fact of a file that says which radiograph it is."""

_SOP_INSTANCE_UID = 0x00080018

_UID = re.compile(r"[0-9.]{1,64}")
"""What a UID consists of (PS3.5 9.1); anything else could be free text."""


def encode_image(source: reading.Source, options: Options = AS_IT_IS) -> EncodedImage:
    """Return a DICOM file's (first) image for a record.

    The JPEG stream is copied where the file is JPEG Baseline (1.2.840.10008.1.2.4.50), of a single frame, 8 bit, unsigned, one sample,
    MONOCHROME2, with square pixels, without rescale, LUT or window that changes values, and the options keep its size and gray values; only
    its comments and application data, which may name a patient, are left out. Any other image is decoded, brought to 8 bit and to square
    pixels (PixelSpacing (0028,0030), ImagerPixelSpacing (0018,1164), NominalScannedPixelSpacing (0018,2010) or PixelAspectRatio (0028,0034);
    square where all are absent), and written as JPEG.

    Raises:
      DataError: as ``dicom.reading.read_pixels``.
    """
    return encode_bytes(reading.read_bytes(source), source, options)


def encode_bytes(data: bytes, source: object, options: Options) -> EncodedImage:
    """Return ``encode_image`` of a file's contents; ``source`` names it in messages."""
    try:
        header, layout = reading.open_image(data, source)
        facts, doubts = _facts(header)
        aspect, notes = reading.aspect_of(header)
        notes = doubts + notes
        if header.ascii(header_facts.BURNED_IN).upper() == "YES":
            notes += (header_facts.BURNED_IN_NOTE,)
        stream = decoding.stream_of(header, layout)
        copy = stream.whole.copyable() if stream is not None and stream.whole is not None else None
        # of the stream as it would be copied, which is the same whether or not it is
        stored = copy or (stream.data if stream is not None else decoding.native_bytes(header, layout))
        more: dict[str, Any] = {"facts": facts, "source_sha256": hashlib.sha256(stored).hexdigest()}
        # copying costs no quality and no time; decoding is for files whose values or pixels would change
        passed_over = _copied_as(header, layout)
        kept = aspect == 1.0 and options.keeps(layout.rows, layout.columns)
        if passed_over is not None and kept and stream is not None and copy is not None:
            if len(copy) != len(stream.data):
                notes += ("JPEG comments left out",)
            return EncodedImage(copy, "jpeg", layout.rows, layout.columns, True, notes=notes + passed_over, **more)
        shown = decoding.show(header, layout, stream)
    except DicomError as fault:
        reading.refuse(source, fault)
    # a damaged spacing could ask for an image of any size
    height, width = layout.rows * max(1.0, aspect), layout.columns * max(1.0, 1 / aspect)
    if max(height, width) > image_limits.MAX_SIDE_PX or height * width > image_limits.MAX_PIXELS:
        aspect, notes = 1.0, (*notes, "unusable pixel spacing ignored")
    return dataclasses.replace(encoding.encode(shown.gray, options, aspect=aspect, notes=notes + shown.notes), **more)


def _facts(header: Elements) -> tuple[dict[str, str | int], tuple[str, ...]]:
    """Return (what is known of the radiograph in the usual terms, notes); whatever else is there could be free text, and stays in the file."""
    view, sex = header_facts.view_position(header.ascii(header_facts.VIEW_POSITION)), header_facts.sex(header.ascii(header_facts.SEX))
    age = header_facts.read("age", header.ascii(header_facts.AGE))
    facts: dict[str, str | int] = {}
    uid = header.ascii(_SOP_INSTANCE_UID) or ""
    if _UID.fullmatch(uid):
        facts[UID] = uid
    if view:
        facts["view_position"] = view
    if sex:
        facts["sex"] = sex
    if age.value is not None:
        facts["age"] = int(age.value)
    return facts, (f"age {age.doubt} left out",) if age.stated is not None and age.doubt else ()


def _copied_as(header: Elements, layout: decoding.Layout) -> tuple[str, ...] | None:
    """Return None where a file's JPEG stream is not what is shown, else what is passed over by copying it, for counting."""
    is_whole = (
        header.syntax == decoding.JPEG_BASELINE
        and (layout.frames, layout.samples, layout.allocated, layout.stored, layout.shift) == (1, 1, 8, 8, 0)
        and not layout.signed
        and header.ascii(display.PHOTOMETRIC) == "MONOCHROME2"
        and not display.is_inverted(header)
    )
    return display.plain_notes(header) if is_whole else None
