"""Small files for the tests of the page, and a detector that needs no model."""

import io

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from pneumodet.apps.web.uploads import File
from pneumodet.core.detections import Detections

SIDE = 64


def square(level=255, *, at=(16, 24), side=16, size=SIDE):
    """Return (size, size) uint8: a gray ramp below 60 with a bright square whose upper left corner is ``at`` (x, y)."""
    pixels = np.tile(np.linspace(10, 59, size).astype(np.uint8), (size, 1))
    pixels[at[1] : at[1] + side, at[0] : at[0] + side] = level
    return pixels


def detect(pixels):
    """Find the box of all pixels above 100; its score is their mean level by 255. A second box over everything scores 0.01."""
    height, width = pixels.shape
    boxes, scores = [(0, 0, width, height)], [0.01]
    y, x = np.nonzero(pixels > 100)
    if len(y):
        boxes.insert(0, (x.min(), y.min(), x.max() + 1, y.max() + 1))
        scores.insert(0, float(pixels[pixels > 100].mean()) / 255)
    return Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.full(len(boxes), 2))


def png(pixels, name="exam.png"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return File(name, buffer.getvalue())


def dicom(pixels, name="exam.dcm", *, bits=None, **elements):
    """Return an uncompressed DICOM file of (H, W) pixels of 8 or 16 bits with these elements, by keyword."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(name, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality, dataset.PatientID, dataset.PatientName = "CR", "secret-id", "Secret^Name"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return File(name, buffer.getvalue())
