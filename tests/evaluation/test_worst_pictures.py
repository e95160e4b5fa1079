"""Pictures of the worst radiographs show what their captions say."""

import made_up
import numpy as np

from pneumodet.evaluation import summary
from pneumodet.evaluation.report import worst


def test_a_picture_has_the_detections_that_its_caption_counts(monkeypatch):
    """Thresholds are cross-fitted, so that a picture at the one for new data would show boxes that the caption knows nothing of, or lack some."""
    loaded = made_up.loaded()
    metrics = summary.summarize(loaded, resamples=2)
    drawn = []
    real = worst.pictures.draw_boxes

    def draw(image, **what):
        drawn.append(what)
        return real(image, **what)

    monkeypatch.setattr(worst.pictures, "draw_boxes", draw)
    shown = list(worst.pictures_of_worst(loaded, metrics, lambda names: ((name, np.zeros((512, 512), np.uint8)) for name in names)))
    assert len(drawn) == len(shown) == len(metrics["worst"]) > 10
    for what, one in zip(drawn, metrics["worst"], strict=True):
        assert len(what["detections"]) == one["hits"] + one["false_positives"], one["reason"]
        assert not what["panel"], "the caption says it beside the picture"
    cases = loaded.cases
    at_one = [((cases.box_case == one["case"]) & (cases.scores >= metrics["rsna_threshold"])).sum() for one in metrics["worst"]]
    assert at_one != [len(what["detections"]) for what in drawn], "otherwise this test shows nothing"
