"""Pictures, charts, heatmaps, and the kit for HTML pages."""
