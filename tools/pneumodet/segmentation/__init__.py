"""U-Nets on masks of the boxes."""

METRICS = (
    "segmentation.iou",
    "segmentation.iou_per_positive",
    "rsna_metric",
    "coco.pneumonia.AP50",
    "froc.mean_sensitivity",
    "image.roc_auc",
    "image.pr_auc",
)
"""What the best checkpoint may be chosen by; here, so that a command can name them without what the package imports."""
