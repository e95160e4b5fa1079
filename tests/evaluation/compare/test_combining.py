"""A detector with a gate and with other boxes: gains are on patients that had no part in the choice, and are reported as they are."""

import html
import json

import made_up_runs
import numpy as np
import pytest

from pneumodet.cli import compare
from pneumodet.core import split_use
from pneumodet.evaluation import postprocess_files
from pneumodet.evaluation.compare import combining, comparing
from pneumodet.evaluation.compare.comparing import Request
from pneumodet.inference.postprocess import recipe

RESAMPLES = 100
FOLDS = 2


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Return a folder with ground truth, a detector that finds false boxes on every exam, a second one, a good gate and one of chance."""
    folder = tmp_path_factory.mktemp("combining")
    truth = made_up_runs.instances(130, seed=1)
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "bad.json").write_text(json.dumps(made_up_runs.detections(truth, sensitivity=0, false=4, seed=7)))
    for name, seed in (("one", 5), ("two", 6)):
        (folder / f"{name}.json").write_text(json.dumps(made_up_runs.detections(truth, sensitivity=0.8, false=2, seed=seed)))
    made_up_runs.write_scores(folder / "good.csv", made_up_runs.scores(truth, apart=5))
    rng = np.random.default_rng(0)
    made_up_runs.write_scores(folder / "chance.csv", {one["file_name"]: round(float(rng.random()), 3) for one in truth["images"]})
    return folder


def combined(scene, folder, gate, *fused, progress=lambda total: lambda *_: None):
    runs = tuple(f"{name}={scene / name}.{'csv' if name in ('good', 'chance') else 'json'}" for name in ("one", gate, *fused) if name)
    how = {"truth": scene / "truth.json", "detector": "one", "gate": gate, "fused": fused, "resamples": RESAMPLES, "folds": FOLDS}
    return comparing.compare(Request(runs=runs, output_dir=folder / "out", **how), progress=progress)


def test_a_good_gate_helps_and_its_table_is_that_of_postprocess(scene, tmp_path):
    """The same search on the same files by tools/postprocess.py's own use-case; only the resamples of the intervals are fewer here."""
    combination = combined(scene, tmp_path, "good")["combination"]
    table = postprocess_files.tune(scene / "truth.json", [scene / "one.json"], tmp_path / "own", gate=scene / "good.csv", folds=FOLDS)
    assert [row["step"] for row in combination["rows"]] == [row["step"] for row in table["rows"]]
    for row, own in zip(combination["rows"], table["rows"], strict=True):
        assert row["figure"]["value"] == pytest.approx(own["figure"]["value"], abs=1e-6), row["step"]
        assert row["chosen"] == pytest.approx(own["chosen"]), row["step"]
    assert combination["rows"][-1]["step"] == "gate"
    assert combination["rows"][-1]["gain"]["low"] > 0
    assert combination["sentences"][0].startswith("The gate helps: the scores of good raise the RSNA metric of one by +")
    saved = recipe.load(tmp_path / "out" / "combination" / "recipe.json")
    assert saved.gate != "none"
    assert saved.exams_sha256 == recipe.load(tmp_path / "own" / "recipe.json").exams_sha256
    mine, own = (json.loads((tmp_path / place / "detections.json").read_text()) for place in ("out/combination", "own"))
    assert [row["file_name"] for row in mine] == [row["file_name"] for row in own]
    assert [row["score"] for row in mine] == pytest.approx([row["score"] for row in own])
    assert np.array([row["bbox"] for row in mine]) == pytest.approx(np.array([row["bbox"] for row in own]), abs=0.011)


def test_a_gate_of_chance_is_not_said_to_help(scene, tmp_path):
    sentence = combined(scene, tmp_path, "chance")["combination"]["sentences"][0]
    assert sentence.startswith(("The gate does not help", "That the gate helps is not shown", "The gate harms"))
    assert sentence in (tmp_path / "out" / "comparison.md").read_text().replace("\\", "")
    assert sentence in html.unescape((tmp_path / "out" / "comparison.html").read_text())


def test_fusion_is_the_last_row_and_gains_add_up(scene, tmp_path):
    steps = []
    combination = combined(scene, tmp_path, "good", "two", progress=lambda total: steps.append(total) or (lambda *_: steps.append(1)))[
        "combination"
    ]
    *before, last = combination["rows"]
    assert last["step"] == combining.FUSION
    assert last["gain"]["value"] == pytest.approx(last["figure"]["value"] - before[-1]["figure"]["value"])
    assert combination["total"]["value"] == pytest.approx(last["figure"]["value"] - before[0]["figure"]["value"])
    assert combination["total"]["value"] == pytest.approx(sum(row["gain"]["value"] for row in combination["rows"][1:]))
    assert combination["sources"] == ["one", "two"]
    assert "Fusing the boxes of one, two" in combination["sentences"][1]
    assert recipe.load(tmp_path / "out" / "combination" / "recipe.json").sources == 2
    assert steps[0] == len(steps) - 1, "as many steps as were foretold"


def test_fusion_without_a_gate(scene, tmp_path):
    combination = combined(scene, tmp_path, None, "two")["combination"]
    assert [row["step"] for row in combination["rows"]][-2:] == ["boxes an exam", combining.FUSION]
    assert combination["sentences"][0].startswith("Fusing the boxes of one, two")
    assert not any("gate" in sentence for sentence in combination["sentences"])


def test_a_step_that_loses_is_named_and_another_recipe_recommended(scene, tmp_path, capsys):
    """Fusion with boxes that are all false: the recipe has it, since it was asked for, and the reader learns what is better."""
    runs = [f"one={scene / 'one.json'}", f"good={scene / 'good.csv'}", f"bad={scene / 'bad.json'}", "--truth", str(scene / "truth.json")]
    more = [
        "--combine",
        "one",
        "--gate",
        "good",
        "--fuse",
        "bad",
        "--folds",
        "2",
        "--resamples",
        "20",
        "--output-dir",
        str(tmp_path / "out"),
    ]
    assert compare.main(["--runs", *runs, *more]) == 0
    out = capsys.readouterr().out
    assert "fusion of all (-0." in out and "since they were asked for" in out
    folder = tmp_path / "out" / "combination"
    assert out.splitlines()[-1].startswith(
        f"Next:    on other radiographs: python tools/postprocess.py --recipe {folder / 'best_recipe.json'} with "
    )
    best = recipe.load(folder / "best_recipe.json")
    assert (best.sources, recipe.load(folder / "recipe.json").sources) == (1, 2)
    assert best.gate != "none" and best.exams_sha256 == recipe.load(folder / "recipe.json").exams_sha256
    table = json.loads((folder / "table.json").read_text())
    highest = max(row["figure"]["value"] for row in table["rows"])
    assert table["rows"][table["best_step"]]["figure"]["value"] == pytest.approx(highest, abs=combining.SMALLEST_LOSS)
    # the figure of the clear best has no luck in it
    assert table["best_step_corrected"] == pytest.approx(highest, abs=5e-4) and f"; {split_use.NO_LUCK}. " in out


def rows_of(*values):
    """Return rows of a table with these figures."""
    gains = [None, *(after - before for before, after in zip(values, values[1:], strict=False))]
    return [
        {"step": step, "figure": {"value": value}, "gain": gain if gain is None else {"value": gain}}
        for step, value, gain in zip(("score threshold", "nms", "gate"), values, gains, strict=True)
    ]


@pytest.mark.parametrize(
    ("values", "best", "parts"),
    [
        ((0.1, 0.1, 0.2), 2, ()),
        ((0.1, 0.09, 0.2), 2, ("falls with suppression of duplicates (NMS) (-0.010);",)),
        ((0.1, 0.2, 0.2), 2, ()),
        ((0.1, 0.2, 0.15), 1, ("falls with gate", "Best is ssd up to the step 'suppression of duplicates (NMS)'")),
        ((0.1, 0.1, 0.1), 0, ("Best is ssd alone",)),
        (
            (0.2, 0.2, 0.1),
            0,
            (
                "falls with gate by an image-level score (-0.100);",
                "Best is ssd alone: an RSNA metric of 0.200 against 0.100 with all steps; 0.120 where the step is chosen without",
            ),
        ),
    ],
)
def test_what_is_best_and_what_loses(values, best, parts):
    rows = rows_of(*values)
    assert combining._best(rows) == best
    table = {"rows": rows, "best_step": best, "best_step_corrected": 0.12}
    sentences = combining._of_losses(table, "ssd")
    assert len(sentences) == len(parts)
    assert all(part in sentence for part, sentence in zip(parts, sentences, strict=True))


@pytest.mark.parametrize(
    ("chosen", "low", "high", "beginning"),
    [
        ({"gate": "drop"}, 0.01, 0.03, "The gate helps"),
        ({"gate": "drop"}, -0.01, 0.03, "That the gate helps is not shown"),
        ({"gate": "drop"}, -0.03, -0.01, "The gate harms"),
        ({}, -0.01, 0.01, "The gate does not help"),
        ({"gate": "drop"}, None, None, "That the gate helps is not shown"),
    ],
)
def test_what_is_said_of_a_gate(chosen, low, high, beginning):
    row = {"chosen": chosen, "gain": {"value": 0.02, "low": low, "high": high}}
    assert combining._of_gate(row, "resnet", "ssd").startswith(beginning)
