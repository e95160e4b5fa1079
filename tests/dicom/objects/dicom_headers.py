"""Made-up headers of radiographs, and a reader that knows pydicom alone."""

import functools

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from pneumodet.data import synthetic

ROWS, COLUMNS = 256, 192

FILLED = {
    "PatientName": "Doe^Jane",
    "PatientID": "ID-7",
    "PatientBirthDate": "19600229",
    "PatientSex": "F",
    "StudyDate": "20240131",
    "StudyTime": "101112.5",
    "ReferringPhysicianName": "House^Gregory",
    "StudyID": "S1",
    "AccessionNumber": "A-1",
    "InstanceNumber": 3,
}
"""Elements of patient and study that all objects take over, as no RSNA file has them."""


@functools.cache
def drawn():
    """Return the pixels of ``made_up()``, which are drawn once."""
    pixels, _ = synthetic.draw_radiograph(np.random.default_rng(5), positive=True, size=ROWS)
    return np.ascontiguousarray(pixels[:, :COLUMNS])


def made_up(**elements):
    """Return an uncompressed synthetic radiograph of 256 x 192 px as a pydicom dataset; None takes an element out."""
    pixels = drawn()
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3.4.5"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.Modality, dataset.SpecificCharacterSet = "CR", "ISO_IR 100"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in (FILLED | elements).items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    return dataset


def pixels_of(dataset):
    """Return the pixels of ``made_up()`` as (H, W) uint8."""
    return np.frombuffer(dataset.PixelData, np.uint8).reshape(dataset.Rows, dataset.Columns)


def read_back(dataset, path):
    """Write an object to a file and return it as pydicom reads it."""
    dataset.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)


def walk(item, path=()):
    """Yield (names of the path, item) of an SR's content tree, with ContentSequence (0040,A730) walked by hand."""
    name = item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
    yield (*path, name), item
    for child in item.get("ContentSequence", []):
        yield from walk(child, (*path, name))
