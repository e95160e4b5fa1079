"""Errors, paths, processes, progress, runs, detections, boxes: nothing here knows what a radiograph is."""
