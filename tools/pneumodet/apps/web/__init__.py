"""The web page: radiographs in, boxes, a score slider and downloads out. Nothing but ``page`` and ``server`` imports Streamlit."""

RESEARCH_ONLY = "For research and teaching only. This is not a medical device: do not use it for diagnosis or treatment."
"""Stands on the page and in what is downloaded."""
