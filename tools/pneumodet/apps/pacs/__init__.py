"""PACS: new chest radiographs come in by DICOMweb or C-STORE, and structured reports and presentation states go back."""
