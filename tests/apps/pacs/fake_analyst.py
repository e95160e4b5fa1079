"""An analyst without a model: a structured report of every radiograph, with the same UID every time."""

import hashlib
from io import BytesIO

import pydicom
from fake_pacs import SR_CLASS, radiograph

from pneumodet.inference.dicom_reports import Report


def report_uid(sop_uid, kind="sr"):
    """Return the UID of a report."""
    return f"2.25.{int(hashlib.sha256(f'{kind}{sop_uid}'.encode()).hexdigest()[:30], 16)}"


class FakeAnalyst:
    """See ``interfaces.Analyst``.

    Attributes:
      seen: SOPInstanceUIDs in the order in which they were analysed.
      error: raised instead, where it is set.
    """

    kinds = ("sr", "gsps")
    name = "fake 1"

    def __init__(self):
        self.seen, self.error = [], None

    def reports(self, data, sop_uid):
        self.seen.append(sop_uid)
        if self.error is not None:
            raise self.error
        source = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
        made = []
        for kind, modality in (("sr", "SR"), ("gsps", "PR")):
            elements = {"SOPClassUID": SR_CLASS, "Modality": modality, "PixelData": None, "StudyInstanceUID": source.StudyInstanceUID}
            file = radiograph(SOPInstanceUID=report_uid(sop_uid, kind), SeriesInstanceUID=report_uid(sop_uid, kind + "s"), **elements)
            made.append(self.reopened(kind, file))
        return made

    def reopened(self, kind, data):
        header = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
        return Report(kind, header.SOPInstanceUID, header.StudyInstanceUID, data)
