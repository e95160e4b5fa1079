"""Classifiers of whole radiographs, and heatmaps of what their scores rest on."""
