"""The figures of an evaluation that stand first, wherever they are printed or shown, by the family of its model.

for key, name in of(metrics).items():
    print(name, metrics.get(key))
for line in without_interval(metrics): print(line)     # "No 95% interval of recall, precision: Only 4 patients …"
"""

from collections.abc import Collection, Mapping

from pneumodet.core import runs
from pneumodet.evaluation.metrics import interval
from pneumodet.evaluation.metrics_file import Metrics

BY_FAMILY = {
    runs.DETECTION: {
        "rsna_metric": "RSNA metric",
        "coco.{name}.AP50": "AP50",
        "coco.{name}.AP": "AP 0.50:0.95",
        "froc.mean_sensitivity": "FROC mean sensitivity",
        "image.roc_auc": "image ROC AUC",
        "image.sensitivity": "image sensitivity",
        "image.specificity": "image specificity",
        "lesion.fp_per_image": "false positives an image",
        "lesion.fp_per_positive_image": "  on those with findings",
        "lesion.fp_per_negative_image": "  on those without",
    },
    runs.CLASSIFICATION: {
        "image.roc_auc": "ROC AUC",
        "image.pr_auc": "PR AUC",
        "image.sensitivity": "recall",
        "image.specificity": "specificity",
        "image.precision": "precision",
        "image.f1": "F1",
        "classes.accuracy": "accuracy of 3 classes",
        "classes.macro_f1": "mean F1 of 3 classes",
    },
    runs.SEGMENTATION: {
        "segmentation.iou": "IoU",
        "segmentation.f1": "F1",
        "segmentation.iou_per_positive": "IoU a positive image",
        "coco.{name}.AP50": "AP50",
        "rsna_metric": "RSNA metric",
        "image.roc_auc": "ROC AUC",
    },
}
"""Family -> key in metrics.json, with ``{name}`` for the class -> what the figure is called."""


def of(metrics: Mapping[str, object]) -> dict[str, str]:
    """Return key in metrics.json -> what the figure is called.

    A detector has all of them, undefined ones included; of other families those that metrics.json holds: a classifier may have one head or two.
    """
    known = Metrics(metrics)
    family = known.get("family") or runs.DETECTION
    named = {key.format(name=known.class_name): name for key, name in BY_FAMILY[family].items()}
    return named if family == runs.DETECTION else {key: name for key, name in named.items() if key in known}


def without_interval(metrics: Mapping[str, object], keys: Collection[str] | None = None) -> list[str]:
    """Return a line for each reason why figures that have a value have no interval, with their names; of the main figures, or of those ``keys`` among them."""
    known = Metrics(metrics)
    named = {key: name.strip() for key, name in of(known).items() if keys is None or key in keys}
    return interval.without(
        (name, {"value": known.get(key), "low": (known.interval(key) or (None,))[0], "undefined": known.why_undefined(key)})
        for key, name in named.items()
    )
