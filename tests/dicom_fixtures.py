"""DICOM files of a gray ramp, whole and changed, for the tests of several rooms."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pneumodet.data import images, synthetic

HEIGHT, WIDTH = 40, 56


def smooth(low=80, high=3300, dtype=np.uint16):
    """Return (40, 56) of 12 bits, all values different."""
    return np.linspace(low, high, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(dtype)


def image_of(path):
    """Return a file's pixels as they are shown, and the notes."""
    return images.image_of(path.read_bytes(), path)


def ramp():
    """Return (40, 56) uint8 whose left is darker than its right, and whose top is darker than its bottom."""
    return np.uint8(np.add.outer(np.arange(HEIGHT), 3 * np.arange(WIDTH)))


@pytest.fixture
def jpeg_file(tmp_path):
    """Return a JPEG Baseline file of ``ramp``."""
    path = tmp_path / "exam.dcm"
    synthetic.write_dicom(path, ramp(), patient_id="exam", rng=np.random.default_rng(0))
    return path


@pytest.fixture
def change(jpeg_file):
    """Return a function that sets elements of the JPEG file and returns its path."""

    def apply(**elements):
        dataset = pydicom.dcmread(jpeg_file)
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.save_as(jpeg_file)
        return jpeg_file

    return apply


@pytest.fixture
def native(jpeg_file, tmp_path):
    """Return a function that writes an uncompressed file of the given pixels and elements, and returns its path."""

    def write(pixels, *, syntax=ExplicitVRLittleEndian, **elements):
        dataset = pydicom.dcmread(jpeg_file)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        dataset["PixelData"].is_undefined_length = False
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
        dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.HighBit = dataset.BitsStored - 1
        path = tmp_path / "native.dcm"
        dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
        return path

    return write
