"""What the figures mean, for readers who know radiographs better than detectors.

html = terms("pneumonia")
"""

from markupsafe import Markup

from pneumodet.viz import templating

TERMS = {
    "Operating point": "The score from which on a detection counts. The RSNA metric, sensitivity, specificity, precision and F1 depend on it; AP, FROC and "
    "the areas under curves do not.",
    "IoU": "Intersection over union of two boxes, 0 where they are apart and 1 where they are the same. A detection hits a box of the ground truth at an "
    "IoU of at least 0.5, unless another threshold is named.",
    "RSNA metric": "Score of the RSNA Pneumonia Detection Challenge of 2018, 0 to 1: hits / (hits + false detections + missed boxes) of a radiograph, "
    "averaged over the IoU thresholds 0.40, 0.45 … 0.75, then over radiographs. One without {class} counts as 0 if anything is detected, and is left out "
    "if not.",
    "AP50, AP": "Average precision: detections are ranked by score, and the precision is averaged over all recalls. AP50 asks for an IoU of at least 0.5; AP "
    "is the mean over 0.50, 0.55 … 0.95.",
    "FROC": "Share of the boxes that are found when so many false detections an image are allowed; the mean is that over all six rates.",
    "Image ROC AUC": "How often a radiograph with {class} has a higher highest score than one without; 0.5 is chance.",
    "Image sensitivity, specificity": "Share of radiographs with {class} in which something is detected, be it in the right place or not, and of those "
    "without in which nothing is.",
    "Box sensitivity, precision": "Share of the boxes that are hit, and of the detections that are hits.",
    "False positives an image": "Detections that hit no box, as a mean over all radiographs. Those with {class} count, too, where a box lies in the wrong "
    "place: there can be many although the specificity, which is of the radiographs without, is 1.",
    "95% interval": "How far the figure would vary with other patients of the same kind. It covers neither other hospitals nor another training.",
}
"""Term -> explanation; ``{class}`` stands for the class that is evaluated."""


def terms(class_name: str) -> Markup:
    """Return the explanations, folded up."""
    return templating.part("terms", [(term, what.replace("{class}", class_name)) for term, what in TERMS.items()])
