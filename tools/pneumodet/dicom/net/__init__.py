"""DICOM over the network: DICOMweb with bounds, its messages, its credentials and its errors. Nothing of models is known here."""
