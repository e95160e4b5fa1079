"""comparison.html and comparison.md: one file, nothing of it from elsewhere, every run in it, whatever it is called."""

import contextlib
import io
import json
import re
import subprocess
import sys

import html_reader
import made_up_runs
import pytest

from pneumodet.cli import compare
from pneumodet.core import paths
from pneumodet.evaluation import main_figures
from pneumodet.evaluation.compare import page as comparison_page
from pneumodet.evaluation.compare import sentences

EVIL = '<b>"x"&|*'


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    """Return (the page as read, the Markdown, what was printed) of three runs of the workspace and a file of hostile name."""
    folder = tmp_path_factory.mktemp("page")
    made_up_runs.write_scores(folder / "s.csv", made_up_runs.scores(made_up_runs.instances()))
    named = [str(runs[0] / "ssd"), str(runs[0] / "unet"), str(runs[0] / "resnet"), f"{EVIL}={folder / 's.csv'}"]
    more = ["--combine", "ssd", "--gate", "resnet", "--folds", "2", "--resamples", "50", "--output-dir", str(folder / "out")]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert compare.main(["--runs", *named, *more]) == 0
    reader = html_reader.read(folder / "out" / "comparison.html")
    return reader, (folder / "out" / "comparison.md").read_text(encoding="utf-8"), printed.getvalue()


@pytest.mark.parametrize(
    ("names", "title"),
    [
        ("a", "Figures of a"),
        ("ab", "Comparison of a and b"),
        ("abcd", "Comparison of a, b, c and d"),
        ("abcdef", "Comparison of a, b, c and 3 more runs"),
    ],
)
def test_the_title_names_the_runs(names, title):
    assert comparison_page.title({"runs": [{"name": name} for name in names]}) == title


def test_the_page_stands_alone_and_has_all(page):
    reader, _, _ = page
    assert all(one.startswith("#") for one in reader.references), "nothing from elsewhere"
    assert "script" not in reader.tags
    assert "b" not in reader.tags
    text = " ".join(reader.text)
    assert reader.text.count(f"Comparison of ssd, unet, resnet and {EVIL}") == 2, "in the window's title, too"
    for name in ("ssd", "unet", "resnet", EVIL):
        assert name in text
    for title in ("Figures", "Intervals", "Differences from ssd", "Combination", "ROC of radiographs", "Cost", "Operating points", "Notes"):
        assert title in reader.text
    assert reader.tags.count("svg") == 5 + 5 + 1, "a plot a figure, of values and of differences, and one of ROC curves"
    assert sentences.MEANING in text
    assert "Runs are compared patient by patient" in text and "the same resamples" not in text, "intervals of differences are no bootstrap"
    assert "the whole interval is above 0: the run is better" in text and "the whole interval is below 0: the run is worse" in text
    assert "2,260,546" in text
    assert "1 h 5 min" in text


@pytest.mark.parametrize(
    ("count", "captions"), [(1, ["ROC of radiographs of a, area 0.800"]), (2, ["ROC of radiographs; in brackets the area"])]
)
def test_an_area_stands_where_its_line_is_named(count, captions):
    """The page of one run spoke of brackets, and had neither brackets nor a legend."""
    curve, area = {"false_positive_rate": [0, 1], "sensitivity": [0, 1]}, {"image.roc_auc": {"value": 0.8}}
    charts = comparison_page._roc({"runs": [{"name": name, "figures": area, "roc": curve} for name in "ab"[:count]]})
    assert re.findall("<figcaption>(.*?)</figcaption>", "".join(charts)) == captions
    assert [f"{name} (0.800)</li>" in charts[0] for name in "ab"[:count]] == [count > 1] * count


def test_the_markdown_has_tables_of_equal_rows(page):
    _, text, _ = page
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 4
    for lines in blocks:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "| resnet | classifier | – | – | – | 0." in text
    assert "&lt;b>" in text and "<b>" not in text


def test_what_is_printed(page):
    _, _, out = page
    lines = out.splitlines()
    assert lines[0].startswith("4 runs on the same 80 radiographs of 40 patients (ground truth records, split val); ")
    assert lines[1].split()[:4] == ["run", "RSNA", "[95", "%]"]
    assert lines[4].split()[:3] == ["resnet", "–", "–"]
    assert any(line.startswith("Highest ROC AUC: resnet") for line in lines)
    assert lines[-1].startswith("Next:    on other radiographs: python tools/postprocess.py --recipe ")
    assert "comparison.html, comparison.md, comparison.json" in lines[-3]


def test_the_command_refuses_in_one_line(workspace, tmp_path, capsys):
    assert compare.main(["--runs", "nobody", "--output-dir", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("compare: error: There is no run 'nobody'")
    assert captured.err.count("\n") == 1


def test_places_elsewhere_are_refused_in_one_line(workspace, capsys):
    assert compare.main(["--runs", "ssd", "--truth", "gs://bucket/records"]) == 2
    assert (
        capsys.readouterr().err == "compare: error: gs://bucket/records is not on this machine. Copy it here, and name a file or folder.\n"
    )


def test_results_go_to_the_workspace_where_nothing_is_said_and_no_tensorflow_is_needed(runs, tmp_path):
    code = "import sys; from pneumodet.cli.compare import main; print(main(sys.argv[1:]), {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules))"
    environment = {"PYTHONPATH": str(paths.PROJECT_ROOT / "tools"), "PNEUMODET_WORKSPACE": str(tmp_path), "PATH": ""}
    arguments = ["--runs", str(runs[0] / "ssd"), str(runs[0] / "unet"), "--resamples", "20"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.splitlines()[-1] == "0 set()", done.stderr
    again = f"python tools/compare.py --runs {runs[0] / 'ssd'} {runs[0] / 'unet'} --combine ssd --gate unet --output-dir {tmp_path / 'comparison'}_combined"
    assert f"Next:    what a gate gains: {again}\n" in done.stdout, "whole, so that it can be pasted"
    assert json.loads((tmp_path / "comparison" / "comparison.json").read_text())["baseline"] == "ssd"


def test_why_figures_have_no_interval_is_said_wherever_they_stand(tmp_path, capsys):
    """Of 6 patients, 4 of them with a positive exam; as evaluate.py says it, and once for all runs of which it is the same."""
    truth = made_up_runs.instances(12, seed=3, positives=0.5)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "boxes.json").write_text(json.dumps(made_up_runs.detections(truth)))
    for name in "st":
        made_up_runs.write_scores(tmp_path / f"{name}.csv", made_up_runs.scores(truth, seed=ord(name)))
    given = [f"boxes={tmp_path / 'boxes.json'}", *(f"{name}={tmp_path / name}.csv" for name in "st")]
    more = ["--truth", str(tmp_path / "truth.json"), "--combine", "boxes", "--gate", "s", "--folds", "2", "--resamples", "20"]
    assert compare.main(["--runs", *given, *more, "--output-dir", str(tmp_path / "out")]) == 0
    few = "Only 4 patients of the kind that makes this figure: too few for an interval."
    of_evaluate = main_figures.without_interval({"image.roc_auc": 0.5, "intervals_undefined": {"image.roc_auc": few}})
    assert of_evaluate == [f"No 95% interval of image ROC AUC: {few}"]
    of_runs, of_differences = (f"{names}: No 95% interval of ROC AUC: {few}" for names in ("boxes, s, t", "s, t"))
    alike = "The models differ in 0 patients only: too few to say which is better."
    of_gains = f"No 95% interval of gain of suppression of duplicates (NMS), gain of box scale, gain of minimum size, gain of most boxes a radiograph: {alike}"
    page = html_reader.read(tmp_path / "out" / "comparison.html").text
    lines = (tmp_path / "out" / "comparison.md").read_text().splitlines()
    for line in (of_runs, of_differences, of_gains):
        assert page.count(line) == lines.count(line) == 1
    assert any(one.startswith("boxes, s, t: No 95% interval of Sensitivity, Specificity: ") and one.endswith(few) for one in page)
    assert capsys.readouterr().out.count(f"\n  {of_runs}\n") == 1


@pytest.mark.parametrize(
    ("highs", "text"),
    [
        ((0.1, None), "It is not shown to be better than any of the 2 others that"),
        ((-0.1, 0.1), "It is shown to be better than 1 of the 2 others that"),
        ((-0.1, -0.1), "It is shown to be better than all 2 others that"),
    ],
)
def test_how_the_baseline_stands(highs, text):
    differences = {str(number): {"rsna_metric": {"high": high}} for number, high in enumerate(highs)}
    assert sentences._against({"baseline": "ssd", "differences": differences}, "ssd", "rsna_metric").startswith(text)


@pytest.mark.parametrize(("seconds", "text"), [(None, "–"), (45.2, "45 s"), (75.3, "1 min"), (3599, "60 min"), (3900, "1 h 5 min")])
def test_durations(seconds, text):
    assert sentences.duration(seconds) == text
