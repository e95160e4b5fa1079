"""Metrics of a made-up evaluation with every part that a report can have, in which some texts are hostile."""

import numpy as np

EVIL = '<script>alert("x")</script> & "quoted"'
UNCLEAR = (
    f"Another set of patients would give another threshold: no interval {EVIL} holds its level, and so on for a sentence that fills a line."
)
"""Why several figures have no interval."""


def reliability_bin(score, rate):
    return {"mean_score": score, "rate": rate, "rate_low": rate - 0.05, "rate_high": rate + 0.05}


def gains():
    """As ``evaluation.postprocess_search.search`` returns them."""
    rows = [
        {
            "step": "score threshold",
            "figure": {"value": 0.128, "low": 0.118, "high": 0.141},
            "gain": None,
            "chosen": {"score_threshold": 0.32},
        },
        {
            "step": EVIL,
            "figure": {"value": 0.139, "low": None, "high": None},
            "gain": {"value": -0.0001, "low": 0.005, "high": 0.014},
            "chosen": {"nms": "hard", "nms_iou": 0.05},
        },
    ]
    return {"objective": "rsna", "rows": rows, "total": {"value": 0.0105, "low": 0.006, "high": 0.015}, "note": "Gains are cross-fitted."}


def metrics():
    rng = np.random.default_rng(0)
    rising = np.linspace(0, 1, 20).tolist()
    return {
        "rsna_metric": 0.2134,
        "coco.pneumonia.AP": 0.1,
        "coco.pneumonia.AP50": 0.3,
        "image.roc_auc": None,
        "image.sensitivity": 0.8,
        "image.specificity": 0.7,
        "image.confusion": {"tp": 8, "fp": 3, "fn": 2, "tn": 7},
        "images": 1234,
        "patients": 600,
        "positive_images": 300,
        "boxes": 400,
        "lesion.fp_per_image": 0.2,
        "lesion.sensitivity": 0.3,
        "image.precision": None,
        "image.precision.undefined": "no case is called positive",
        "rsna_rules": "strict",
        "rsna_threshold": 0.31,
        "rsna_threshold_source": EVIL,
        "operating_point": {"threshold": 0.31, "threshold_is": "threshold for new data", "chosen": {"reached": {"rsna_metric": 0.9}}},
        "calibrator": {"method": "platt", "slope": 1.0, "intercept": 0.0},
        "intervals": {"rsna_metric": [0.19, 0.23]},
        "intervals_undefined": {
            "lesion.sensitivity": "too few patients for this one",
            **dict.fromkeys(("image.sensitivity", "image.specificity", "lesion.fp_per_image"), UNCLEAR),
        },
        "bootstrap": {"method": "By patient."},
        "curves": {
            "froc": {"fp_per_image": [value * 3 for value in rising], "sensitivity": rising, "image_sensitivity": rising},
            "roc": {"false_positive_rate": rising, "sensitivity": rising},
            "pr": {"sensitivity": rising, "precision": rising[::-1]},
            "thresholds": {"threshold": rising[::-1], "rsna": rising},
            "score_histogram": {"edges": [0, 0.5, 1], "positive": [1, 3], "negative": [5, 0]},
        },
        "slices": {
            "slices": [
                {
                    "by": "sex",
                    "slice": EVIL,
                    "exams": 5,
                    "positives": 2,
                    "small": True,
                    "figures": {"rsna_metric": {"value": 0.5, "low": 0.4, "high": 0.6}},
                }
            ],
            "worst": {"sentence": "Worst of all."},
            "worst_by": {"sex": {"sentence": "Worst sex."}},
            "left_out": {"view_position": "Not known of any exam."},
            "caveat": "Look again.",
        },
        "errors": {"errors.missed": 3, "errors.dap50.missed": None, "errors.dap50.undefined": "Every box is missed."},
        "maps": {
            "ground_truth": {"position": rng.integers(0, 9, (16, 16)).tolist(), "size": [0, 5, 3, 0]},
            "missed": {"position": np.zeros((16, 16), int).tolist(), "size": [0, 1, 3, 0]},
            "false_positives": {"position": rng.integers(0, 9, (16, 16)).tolist(), "size": [2, 0, 0, 0]},
            "size_edges": [0, 0.1, 0.2, 0.3, 0.4],
        },
        "calibration": {
            "calibration.image": {
                "raw": {"ece": 0.1, "brier": 0.2, "curve": [reliability_bin(0.2, 0.1), reliability_bin(0.8, 0.9)]},
                "platt": {"ece": 0.02, "brier": 0.15, "curve": [reliability_bin(0.1, 0.1), reliability_bin(0.9, 0.9)]},
                "isotonic": {"ece": None, "brier": None, "curve": [], "undefined": "Too few patients."},
            },
            "note": "Cross-fitted.",
        },
        "comparison": {"names": ["A", "B"], "figures": {"rsna_metric": {"a": 0.2, "b": 0.3, "sentence": "B is better by 0.1."}}},
        "warnings": [EVIL],
        "checkpoint": "ckpt-6",
    }
