"""The report: one file, nothing of it from elsewhere, whatever is missing or hostile."""

import re

import numpy as np
import pytest
from html_reader import read
from made_up_metrics import EVIL, UNCLEAR, gains, metrics
from markupsafe import escape
from PIL import Image

from pneumodet.core import paths, split_use
from pneumodet.evaluation.metrics.calibration import OWN
from pneumodet.evaluation.metrics.froc import RATES
from pneumodet.evaluation.report import glossary, model_card, page
from pneumodet.viz import charts, markup
from pneumodet.viz.charts import Line
from pneumodet.viz.markdown import plain


def test_the_whole_report(tmp_path):
    picture = Image.fromarray(np.zeros((2000, 1500, 3), np.uint8))
    pictures = [(EVIL, picture, "misses a box"), ("other", None, EVIL)]
    path = page.write_report(tmp_path, metrics(), pictures=pictures, provenance={"who": EVIL}, config_text=EVIL, gains=gains())
    reader, text = read(path), path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.html"
    assert "script" not in reader.tags
    assert text.count("&lt;script&gt;") >= 6, "shown, not run"
    links = {reference for reference in reader.references if reference.startswith("#")}
    assert links == {f"#{name}" for name in reader.ids}, "every link of the contents leads somewhere, and every part has one"
    assert all(reference.startswith("data:image/jpeg;base64,") for reference in reader.references if reference not in links)
    assert not re.search(r"url\(|@import|https?://", text)
    assert reader.headings[0] == 1 and reader.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(reader.headings, reader.headings[1:], strict=False))
    assert not re.search(r"\b(NaN|nan|inf|None)\b|-0\.000", "".join(reader.text))
    for text in (
        "0.213",
        "0.190 to 0.230",
        "1,234 radiographs of 600 patients",
        "Worst of all.",
        "RSNA metric, A against B: B is better by 0.1.",
        "too few patients for this one",
        "B is better by 0.1.",
        "image not given",
        "Cross-fitted.",
        "Too few patients.",
        "No slices by view position: Not known of any exam.",
        "Every box is missed.",
        "no case is called positive",
        "0.31 is the threshold for new data",
        "the less confident of two boxes dropped, above IoU 0.05",
        "0.006 to 0.015",
        "Gains are cross-fitted.",
    ):
        assert text in "".join(reader.text), text
    assert (tmp_path / "model_card.md").read_text().startswith("# Model card")


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        pytest.param({"model": "my_first"}, "my_first: evaluation of a pneumonia detector", id="run"),
        pytest.param({"model": None, "detections_file": {"name": "yolo.json"}}, "yolo.json: evaluation of a pneumonia detector", id="file"),
        pytest.param({"model": None}, "Evaluation of a pneumonia detector", id="neither"),
        pytest.param({"model": EVIL}, f"{EVIL}: evaluation of a pneumonia detector", id="hostile"),
    ],
)
def test_the_title_names_the_run(tmp_path, facts, title):
    """Of several open reports every tab had the same name."""
    reader = read(page.write_report(tmp_path, {key: value for key, value in metrics().items() if key not in facts} | facts))
    assert reader.text.count(title) == 2, "of the window, and of the page"


@pytest.mark.parametrize("missing", [*metrics(), None])
def test_every_part_may_be_missing(tmp_path, missing):
    some = {key: value for key, value in metrics().items() if key != missing} if missing else {}
    read(page.write_report(tmp_path, some))


def test_figures_that_are_undefined(tmp_path):
    some = {key: None if isinstance(value, float) else value for key, value in metrics().items()}
    reader = read(page.write_report(tmp_path, some))
    assert "the RSNA metric is undefined" in "".join(reader.text)
    assert "| RSNA metric, strict rules | undefined | 0.190 to 0.230 |" in model_card.text(some)


def test_why_there_is_no_interval_is_said_once_beside_each_table(tmp_path):
    """As a cell of six rows the sentence pushed all intervals off the page."""
    text = page.write_report(tmp_path, metrics()).read_text()
    headline, slices = (text.partition(f'<h2 id="{name}">')[2].partition("</section>")[0] for name in ("figures", "slices"))
    unclear = str(escape(UNCLEAR))
    assert re.findall(r"Image sensitivity</th><td>0.800</td><td>(.*?)</td>", headline) == ["–¹"]
    assert re.findall(r'<p class="footnote">(.*?)</p>', headline) == [
        f"¹ {unclear}",
        "² no case is called positive",
        "³ too few patients for this one",
    ]
    assert headline.count(unclear) == 1 and "<td>" + unclear not in text
    assert f"<p>No 95% interval of image sensitivity, image specificity, false positives an image: {unclear}</p>" in slices
    card = model_card.text(metrics())
    assert "| image sensitivity at the operating point | 0.800 | –¹ |" in card
    assert card.count(plain(UNCLEAR)) == 1 and f"\n\n¹ {plain(UNCLEAR)}\n" in card


def test_fits_on_test_are_not_taken_for_the_models_calibrator(tmp_path):
    some = metrics()
    assert page.FITS_OF_TEST not in page.write_report(tmp_path, some).read_text()
    some[split_use.KEY] = split_use.TEST
    assert page.FITS_OF_TEST in page.write_report(tmp_path, some).read_text()
    images = some["calibration"]["calibration.image"]
    images[OWN] = images["platt"] | {"ece": 0.0625}
    text = page.write_report(tmp_path, some).read_text()
    assert page.FITS_OF_TEST not in text and "images, by the model's own calibrator</th><td>0.062</td>".replace("'", "&#39;") in text


def test_errors_and_what_they_cost_are_of_other_scores(tmp_path):
    """13 of 19 boxes missed and nothing to gain by them seems an error without a word."""
    assert f"<p>{page.OF_ALL_SCORES}</p>" in page.write_report(tmp_path, metrics()).read_text()
    assert page.OF_ALL_SCORES not in page.write_report(tmp_path, metrics() | {"errors": {}}).read_text()


def test_the_same_metrics_give_the_same_page(tmp_path):
    first = page.write_report(tmp_path, metrics()).read_bytes()
    assert page.write_report(tmp_path, metrics()).read_bytes() == first


def test_a_large_gallery_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)).resize((1024, 1024))
    path = page.write_report(tmp_path, metrics(), pictures=[(str(index), picture, "") for index in range(24)])
    assert path.stat().st_size < 10_000_000


def test_the_rates_of_froc_are_the_same_everywhere():
    """The guide had one more than the report."""
    of_table = [key for key in page.NAMES if key.startswith("froc.sensitivity_at_")]
    assert of_table == [f"froc.sensitivity_at_{rate:g}" for rate in RATES]
    names = [f"{rate:g}" if rate >= 1 else f"1/{1 / rate:g}" for rate in RATES]
    guide = (paths.PROJECT_ROOT / "docs" / "guide" / "evaluate.md").read_text(encoding="utf-8")
    assert f"at {', '.join(names[:-1])} and {names[-1]} false positives an image, and their mean |" in guide
    card = model_card.text({"froc.mean_sensitivity": 0.5})
    assert f"FROC mean sensitivity ({names[0]} to {names[-1]} false positives an image)" in card
    assert len(RATES) == 6 and "all six rates" in glossary.TERMS["FROC"]


def test_the_model_card_is_not_shown_as_markdown(tmp_path):
    """Its table stood there in vertical bars and dashes; what it says stands in the page's own sections."""
    text = "".join(read(page.write_report(tmp_path, metrics())).text)
    assert "| ---" not in text and "## " not in text
    for sentence in (model_card.INTENDED_USE, model_card.OF_THESE_ONLY):
        assert sentence in text and sentence in (tmp_path / page.MODEL_CARD).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("highest", "last"), [(1, 1.2), (0.3333, 0.4), (0.98, 1.2), (5, 6), (7, 8), (4, 5), (100, 120), (95, 100), (1234, 1500), (1e-7, 1.2e-7)]
)
def test_the_highest_bar_does_not_touch_the_end_of_its_axis(highest, last):
    svg = charts.bar_chart("t", [0, 1, 2], {"a": [highest, 0], "b": [highest / 3, 0]}, x="x", y="y")
    tops = [float(one) for one in re.findall(r'class="bar c\d" x="[\d.]+" y="([\d.]+)"', svg)]
    ticks = {float(y) - 4: float(name) for y, name in re.findall(r'x="46" y="([\d.]+)" text-anchor="end">([^<]*)<', svg)}
    assert min(tops) > 12 + 5 and ticks[12.0] == pytest.approx(last), "and the axis ends with a tick"


def test_points_lie_where_they_should():
    svg = charts.line_chart("t", [Line("", [0, 1], [0, 1])], x="x", y="y", x_range=(0, 1), y_range=(0, 1))
    (drawn,) = re.findall(r'class="line c0" d="M([\d. ]+)L([\d. ]+)"', svg)
    (left, bottom), (right, top) = (map(float, point.split()) for point in drawn)
    assert (left, bottom, right, top) == (52, charts.HEIGHT - 46, charts.WIDTH - 12, 12)
    assert charts.line_chart("t", [Line("", [], [])], x="x", y="y") == ""
    assert charts.heatmap("t", [[0, 0], [0, 0]]) == ""
    assert charts.bar_chart("t", [0, 1], {"a": [0]}, x="x", y="y") == ""


def test_bars_are_as_long_as_their_values_say():
    svg = charts.group_bars("t", {"a": [2.0, -0.5], "b": [4.0, 0.0]}, ("one", "<two>"), shown=markup.fixed, spans={"a": (1.0, 3.0)})
    widths = [float(one) for one in re.findall(r'class="bar c\d" x="2" y="\d+" width="([\d.]+)"', svg)]
    full = charts.WIDTH - 66
    assert widths == [full / 2, 0.5, full, 0.5]
    assert re.findall(r'class="value"[^>]*>([^<]*)<', svg) == ["2.000", "-0.500", "4.000", "0.000"]
    low, high = map(float, re.search(r'class="mark" d="M([\d.]+) [\d.]+H([\d.]+)', svg).groups())
    assert (low, high) == (2 + full / 4, 2 + full * 3 / 4)
    assert "&lt;two&gt;" in svg and "<two>" not in svg
    assert charts.group_bars("t", {"a": [0.0]}, ("one",), shown=str) == ""


def test_maps_on_one_scale_can_be_compared():
    alone, scaled = charts.heatmap("t", [[0, 2], [1, 0]]), charts.heatmap("t", [[0, 2], [1, 0]], top=4, highest="few")
    assert re.findall(r'fill-opacity="([\d.]+)"', alone) == ["1.00", "0.50"] and "(at most 2)" in alone
    assert re.findall(r'fill-opacity="([\d.]+)"', scaled) == ["0.50", "0.25"] and "(at most few)" in scaled


def test_figures_are_of_the_class_that_is_evaluated(tmp_path):
    some = {"class_name": "nodule", "coco.pneumonia.AP50": 0.9, "coco.nodule.AP50": 0.4321}
    text = "".join(read(page.write_report(tmp_path, some)).text)
    assert "0.432" in text and "0.900" not in text
    assert "| AP50 | 0.432 | – |" in model_card.text(some)


def test_the_rsna_metric_of_negatives_is_not_shown(tmp_path):
    """It is 0 by definition, and would seem a failure."""
    some = metrics()
    (row,) = some["slices"]["slices"]
    row["figures"]["rsna_metric"] = {"value": 0.0, "low": 0.0, "high": 0.0}
    shown = page.write_report(tmp_path, some).read_text()
    row["positives"] = 0
    assert "0.00 to 0.00" in shown and "0.00 to 0.00" not in page.write_report(tmp_path, some).read_text()


def test_terms_are_of_the_class_that_is_evaluated():
    text = glossary.terms("<nodule>")
    assert text.count("<dt>") == len(glossary.TERMS) == text.count("<dd>")
    assert "&lt;nodule&gt;" in text and "pneumonia" not in text.lower().replace("pneumonia detection challenge", "")


def test_numbers_that_are_none():
    assert markup.number(float("nan")) == markup.number(float("inf")) == markup.number(None) == "–"
    assert (markup.number(-0.0001), markup.number(0.12345), markup.number(12345)) == ("0.000", "0.123", "12,345")
