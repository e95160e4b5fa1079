"""Small radiographs of every kind of file, and damage to them."""

import functools

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import get_encoder
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from pneumodet.data import synthetic

HEIGHT, WIDTH = 48, 64
HEADER_BYTES = 1100
"""About as long as the headers are, which half of the changes hit."""

KINDS = ("jpeg", "native", "implicit", "rle", "jpeg-ls", "jpeg-2000", "png", "jpg")

NO_DICOM = ("png", "jpg")

HOW = ("flip", "replace", "insert", "delete", "cut")

JUNK = (b"\xff\xff\xff\xff", b"\0\0", b"\xff\xd9", b"\x00\x80", b"\xff\x7f")


def changed(data, changes):
    """Return the data with changes: (in the header, place in [0, 1], one of ``HOW``, bytes) each."""
    data = bytearray(data)
    for in_header, place, how, junk in changes:
        at = int(place * (min(HEADER_BYTES, len(data)) if in_header else len(data)))
        if how == "flip" and at < len(data):
            data[at] ^= 1 << junk[0] % 8
        elif how == "replace":
            data[at : at + len(junk)] = junk
        elif how == "insert":
            data[at:at] = junk
        elif how == "delete":
            del data[at : at + len(junk)]
        elif how == "cut" and junk[0] < 32:
            del data[at:]
    return bytes(data)


class Bytes:
    """A source in memory."""

    def __init__(self, data):
        self.data = data

    def __str__(self):
        return "changed.dcm"

    def read_bytes(self):
        return self.data


@functools.cache
def example(kind, folder):
    """Return the bytes of a small radiograph."""
    path = folder / f"{kind}.dcm"
    pixels = np.uint8(np.add.outer(np.arange(HEIGHT), 2 * np.arange(WIDTH)) + np.random.default_rng(0).integers(0, 9, (HEIGHT, WIDTH)))
    if kind in NO_DICOM:
        Image.fromarray(pixels).save(path.with_suffix(f".{kind}"))
        return path.with_suffix(f".{kind}").read_bytes()
    synthetic.write_dicom(path, pixels, patient_id="MRN-4711", rng=np.random.default_rng(0))
    if kind == "jpeg":
        return path.read_bytes()
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset["PixelData"].is_undefined_length = False
    dataset.PixelData = (pixels.astype(np.uint16) * 15).tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleSlope, dataset.RescaleIntercept = 1500, 2000, 1, 0
    implicit = kind == "implicit"
    if implicit:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    elif kind != "native":
        syntax = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg-2000": JPEG2000Lossless}[kind]
        if not get_encoder(syntax).is_available:
            pytest.skip(f"nothing here writes {syntax.name}")
        dataset.compress(syntax)
    dataset.save_as(path, implicit_vr=implicit, little_endian=True)
    return path.read_bytes()
