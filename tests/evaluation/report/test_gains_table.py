"""The table of gains: text for everything that a recipe can hold, and a change named once."""

import dataclasses
import json
import re

import numpy as np
import pytest

from pneumodet.data.cases import Cases
from pneumodet.evaluation import postprocess_search
from pneumodet.evaluation.metrics.operating_point import patient_folds
from pneumodet.evaluation.report import steps
from pneumodet.inference.postprocess import recipe as recipes

FIGURE = {"value": 0.1, "low": 0.05, "high": 0.2}


def table(*rows, objective="rsna"):
    """Of (step, chosen) rows; the first has no gain."""
    named = [{"step": step, "figure": FIGURE, "gain": FIGURE if index else None, "chosen": one} for index, (step, one) in enumerate(rows)]
    return {"objective": objective, "rows": named, "total": FIGURE, "note": "A <note>."}


def rows_of(html):
    """Return (step, what was chosen) of each row."""
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html)
    return [(step, re.findall(r"<td[^>]*>(.*?)</td>", cells)[-1]) for step, cells in rows]


def test_each_row_tells_what_is_new_and_the_last_one_all():
    html = steps.gains(
        table(
            ("score threshold", {"score_threshold": 0.5}),
            ("nms", {"nms": "hard", "nms_iou": 0.3, "score_threshold": 0.4}),
            ("box scale", {"nms": "hard", "nms_iou": 0.3, "box_scale": 0.875, "score_threshold": 0.4}),
            ("minimum size", {"nms": "hard", "nms_iou": 0.3, "box_scale": 0.875, "score_threshold": 0.4}),
            ("gate", {"box_scale": 0.9, "gate": "multiply"}),
        )
    )
    dropped = "the less confident of two boxes dropped, above IoU 0.3"
    assert rows_of(html) == [
        ("score threshold alone", "score at least 0.5"),
        ("suppression of duplicates (NMS)", f"{dropped}, score at least 0.4"),
        ("box scale", "sides times 0.875"),
        ("minimum size", "as before: not worth it"),
        ("gate by an image-level score", "sides times 0.9, scores multiplied by the image-level score"),
        ("all steps", "sides times 0.9, scores multiplied by the image-level score"),
    ]
    assert ">RSNA metric</th>" in html and "A &lt;note&gt;." in html
    assert steps.gains(None) == ""


def test_what_was_tried_alone_is_told_in_full():
    """Rows of single detectors come first, and what follows builds on the best of them, not on the last."""
    alone = table(
        ("a alone", {"score_threshold": 0.5}), ("b alone", {"score_threshold": 0.4}), ("fusion", {"score_threshold": 0.4, "sources": 2})
    )
    alone["rows"][1]["gain"] = None
    assert [text for _, text in rows_of(steps.gains(alone))] == [
        "score at least 0.5",
        "score at least 0.4",
        *["score at least 0.4, sources 2"] * 2,
    ]


def test_every_field_of_a_recipe_has_words():
    named = {field for field, _ in steps.CHOICES} | set(steps.FIELDS)
    assert {field.name for field in dataclasses.fields(recipes.Recipe)} - {"sources", "views", "exams_sha256"} == named
    for field, kinds in (("fusion", recipes.FUSIONS), ("nms", recipes.NMS_KINDS), ("gate", recipes.GATES)):
        assert {value for name, value in steps.CHOICES if name == field} == set(kinds)
    assert set(steps.OBJECTIVES) == set(postprocess_search.OBJECTIVES)


@pytest.mark.parametrize("objective", postprocess_search.OBJECTIVES)
def test_a_table_as_the_search_writes_it(objective):
    """Two detectors of 40 exams, each with a shifted copy of every box, and a gate."""
    rng = np.random.default_rng(0)
    truth = np.tile([100.0, 100, 300, 300], (20, 1))
    sources = []
    for _ in range(2):
        boxes = np.tile([95.0, 105, 310, 290], (80, 1)) + rng.normal(0, 5, (80, 1))
        scores = np.sort(rng.random((40, 2)))[:, ::-1].ravel()
        sources.append(Cases(tuple(map(str, range(40))), np.arange(40), truth, np.arange(20), boxes, scores, np.repeat(np.arange(40), 2)))
    folds = patient_folds(sources[0], 2)
    result = postprocess_search.search(sources, folds=folds, gate=rng.random(40), objective=objective, resamples=20)
    html = steps.gains(json.loads(json.dumps(result.table)))
    rows = rows_of(html)
    assert len(rows) == len(result.table["rows"]) + 1 >= 8
    assert all(text for _, text in rows)
    assert not re.search(r"_|\bNone\b", "".join(text for _, text in rows)), "names of fields are not text"
    assert f">{steps.OBJECTIVES[objective]}</th>" in html
