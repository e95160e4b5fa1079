"""The evaluation report: one HTML file with everything in it, and a model card."""
