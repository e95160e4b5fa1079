"""The report of evaluations in which something is missing, from files' content to the page."""

import json
import re

import html_reader
import numpy as np
import pytest

from pneumodet.evaluation import inputs, summary
from pneumodet.evaluation.report import page


def evaluated(*, exams=40, positive=lambda index: index % 2 == 0, detected=lambda index: True, patient=lambda index: index // 2):
    """Return the figures of exams with at most one box, and of two detections, of which one is near it."""
    rng = np.random.default_rng(0)
    images = [{"id": index + 1, "file_name": f"e{index}", "width": 500, "height": 500, "patient": patient(index)} for index in range(exams)]
    boxes = {index: [100, 100, 200, 150] for index in range(exams) if positive(index)}
    annotations = [{"id": n, "image_id": index + 1, "category_id": 2, "bbox": box} for n, (index, box) in enumerate(boxes.items(), 1)]
    detections = [
        {"image_id": index + 1, "category_id": 2, "bbox": (np.array(box) + rng.normal(0, 5, 4)).tolist(), "score": float(rng.random())}
        for index in range(exams)
        if detected(index)
        for box in ([100, 100, 200, 150], [300, 300, 90, 90])
    ]
    instances = {"images": images, "annotations": annotations, "categories": [{"id": 2, "name": "pneumonia"}]}
    return summary.summarize(inputs.assemble(instances, lambda *_: detections), resamples=20)


NEVER, ALWAYS = (lambda index: False), (lambda index: True)


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        pytest.param({"detected": NEVER}, ("There is no detection at all", "no detection reaches the threshold"), id="no detections"),
        pytest.param(
            {"positive": NEVER},
            ("the RSNA metric is undefined: no case has a ground-truth box.", "most figures are undefined", "no case is positive"),
            id="no positives",
        ),
        pytest.param({"positive": ALWAYS}, ("ROC AUC are undefined without negative images", "no case is negative"), id="no negatives"),
        pytest.param({"positive": NEVER, "detected": NEVER}, ("There is no detection at all", "none, since no image"), id="nothing"),
        pytest.param(
            {"patient": NEVER},
            ("On 40 radiographs of 1 patient the", "All images are of one patient", "Only 1 patient of the kind"),
            id="one patient",
        ),
        pytest.param({"exams": 1}, ("On 1 radiograph of 1 patient the",), id="one image"),
    ],
)
def test_what_is_missing_is_said(tmp_path, changes, texts):
    metrics = evaluated(**changes)
    json.dumps(metrics, allow_nan=False)
    assert all(metrics[key] is not None for key in metrics["intervals"]), "nothing undefined has an interval"
    text = re.sub(r"\s+", " ", "".join(html_reader.read(page.write_report(tmp_path, metrics)).text))
    assert not re.search(r"\b(NaN|nan|inf|None)\b", text.replace("None of", ""))
    for one in texts:
        assert one in text, one
    (figures,) = re.findall(r"<caption><span>Headline.*?</table>", (tmp_path / page.REPORT).read_text())
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', figures)
    assert len(rows) == len(page.NAMES)
    assert all(reason for _, value, reason in rows if value == "–"), "every figure without a value says why"
