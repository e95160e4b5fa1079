"""U-Nets on masks of the boxes."""
