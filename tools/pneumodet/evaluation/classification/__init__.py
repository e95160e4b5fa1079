"""How well classifiers tell radiographs apart, and how well their heatmaps point at findings."""
