"""A text for a model card: what the model is for, what it was measured on, what came out, and what is not known.

Its parts follow Mitchell et al., Model Cards for Model Reporting, FAccT 2019.
"""

from collections.abc import Mapping
from typing import Any

_FIGURES = {
    "rsna_metric": "RSNA metric",
    "coco.pneumonia.AP50": "AP50",
    "froc.mean_sensitivity": "FROC mean sensitivity (1/8 to 4 false positives an image)",
    "image.roc_auc": "image ROC AUC",
    "image.sensitivity": "image sensitivity at the operating point",
    "image.specificity": "image specificity at the operating point",
}


def text(metrics: Mapping[str, Any]) -> str:
    """Return the model card in Markdown.

    Args:
      metrics: as ``assessment.summary.assess`` returns them; parts that are not there are left out.
    """
    lines = [
        "# Model card: pneumonia detector for chest radiographs",
        "",
        "## Intended use",
        "",
        "Research on finding opacities that suggest pneumonia on frontal chest radiographs. Not a medical device: not for diagnosis, triage or treatment.",
        "",
        "## Evaluation data",
        "",
        f"{metrics.get('images', 0):,} radiographs of {metrics.get('patients', 0):,} patients, {metrics.get('positive_images', 0):,} with findings, "
        f"{metrics.get('boxes', 0):,} boxes." + (f" Split: {metrics['split']}." if metrics.get("split") else ""),
        "",
        "## Results",
        "",
        "| figure | value | 95 % interval |",
        "| --- | --- | --- |",
    ]
    intervals = metrics.get("intervals", {})
    for key, name in _FIGURES.items():
        value, interval = metrics.get(key), intervals.get(key)
        between = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "–"
        lines.append(f"| {name} | {'undefined' if value is None else f'{value:.3f}'} | {between} |")
    lines += ["", f"Operating point: {metrics.get('rsna_threshold_source', 'none')}"]
    if (metrics.get("bootstrap") or {}).get("method"):
        lines += ["", metrics["bootstrap"]["method"]]
    slices = metrics.get("slices") or {}
    sentences = [one["sentence"] for one in (slices.get("worst_by") or {}).values() if one]
    if sentences:
        lines += ["", "## Where it is worse", "", *(f"- {one}" for one in sentences), "", slices.get("caveat", "")]
    lines += ["", "## Limits", ""]
    lines += [f"- {one}" for one in metrics.get("warnings", ())]
    lines.append("- Measured on these radiographs only. Other hospitals, devices and patients will give other figures; measure before use.")
    return "\n".join(lines) + "\n"
