"""How well classifiers rank radiographs, and how well their heatmaps localize findings."""
