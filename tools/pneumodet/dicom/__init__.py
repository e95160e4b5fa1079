"""DICOM, the standard: what is read, written and exchanged."""
