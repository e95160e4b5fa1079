"""The files of the RSNA Pneumonia Detection Challenge."""
