"""Classifiers of whole radiographs, and what they looked at."""
