import numpy as np
import pytest
from PIL import Image

from pneumodet.core.errors import DataError
from pneumodet.training import curves
from pneumodet.training.logbook import Logbook

BLUE, VERMILION = (0, 114, 178), (213, 94, 0)
"""First and second colour of the lines."""


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def quarters(picture):
    """Return the four charts: losses, validation, learning rate, speed."""
    height, width = (side // 2 for side in picture.shape[:2])
    return picture[:height, :width], picture[:height, width:], picture[height:, :width], picture[height:, width:]


def has(picture, colour):
    return bool((picture == colour).all(axis=2).any())


def report(folder, count, *, best=(), evaluate_every=5, loss="loss/total"):
    log = Logbook(folder)
    rng = np.random.default_rng(0)
    for step in range(10, 10 * count + 1, 10):
        values = {loss: 2 / step + rng.random(), "learning_rate": 1 / step, "gradient_norm": 1.0, "images_per_second": 20.0}
        log.steps(step, values)
        if step % (10 * evaluate_every) == 0:
            log.evaluation(step, {"rsna_metric": step / 10000, "pneumonia_ap50": None, "images": 81.0}, best=step in best)


@pytest.mark.parametrize("loss", [pytest.param("loss/total", marks=pytest.mark.slow), "Loss/total_loss"])
def test_each_chart_has_its_line(tmp_path, loss):
    report(tmp_path, 60, best=(50, 300), loss=loss)
    curves.draw(tmp_path / "metrics.csv", tmp_path / "curves.png", title="run")
    picture = pixels(tmp_path / "curves.png")
    assert picture.shape[1] == 1200
    assert [has(part, BLUE) for part in quarters(picture)] == [True] * 4
    assert not has(quarters(picture)[1], VERMILION), "metrics that have no value, or are no shares, have no line"


def test_the_best_step_is_marked_where_it_is(tmp_path):
    columns = []
    for name, best in (("early", (100,)), ("late", (100, 500))):
        report(tmp_path / name, 60, best=best)
        curves.draw(tmp_path / name / "metrics.csv", tmp_path / f"{name}.png", title="run")
        chart = quarters(pixels(tmp_path / f"{name}.png"))[1][60:330]
        dark = (chart < 40).all(axis=2).sum(axis=0)
        dark[:90] = 0  # the chart's own left edge
        columns.append(int(np.argmax(dark)))
    assert columns[1] - columns[0] == pytest.approx(400 / (600 * 1.02) * 513, abs=12), "of the chart's width of about 513 px"


@pytest.fixture
def drawn(monkeypatch):
    """Figures that were drawn; they are neither laid out, which takes longest, nor written."""
    series = []
    monkeypatch.setattr(curves.figures, "save", lambda path, figure: series.append(figure))
    return series


@pytest.mark.parametrize("best", [50, pytest.param(300, marks=pytest.mark.slow), 600])
def test_the_best_step_is_named_above_the_chart(tmp_path, drawn, best):
    report(tmp_path, 60, best=(best,))
    curves.draw(tmp_path / "metrics.csv", tmp_path / "curves.png", title="run")
    drawn[0].draw_without_rendering()
    axes = drawn[0].axes[1]
    (name,) = [one for one in axes.texts if "best" in one.get_text()]
    box, chart, title = name.get_window_extent(), axes.get_window_extent(), axes._left_title.get_window_extent()
    assert name.get_text() == f"best: step {best}"
    assert chart.y1 <= box.y0 and box.y1 <= title.y0 + 2, "above the lines, below the title"
    assert box.x0 > 0 and box.x1 < 1200


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param((0.16, 4.0), id="a decade and a half"),
        pytest.param((0.9, 25.0), id="around 10", marks=pytest.mark.slow),
        pytest.param((0.001, 3.0), id="three decades"),
    ],
)
def test_a_wide_axis_of_losses_has_three_numbers_at_least(tmp_path, drawn, losses):
    log = Logbook(tmp_path)
    for step, value in enumerate(losses, start=1):
        log.steps(10 * step, {"loss/total": value})
    curves.draw(tmp_path / "metrics.csv", tmp_path / "curves.png", title="run")
    drawn[0].draw_without_rendering()
    axes = drawn[0].axes[0]
    low, high = axes.get_ylim()
    shown = [
        tick for tick, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True) if label.get_text() and low <= tick <= high
    ]
    assert axes.get_yscale() == "log" and 3 <= len(shown) <= 9


def test_pale_lines_are_named_where_there_are_any(tmp_path, drawn):
    for count in (5, 60):
        report(tmp_path / str(count), count)
        curves.draw(tmp_path / str(count) / "metrics.csv", tmp_path / f"{count}.png", title="run")
    few, many = (figure.axes[0] for figure in drawn)
    assert (few.get_title("left"), len(few.lines)) == ("Losses", 1)
    assert (many.get_title("left"), len(many.lines)) == ("Losses (pale: as reported)", 2)


@pytest.mark.parametrize("count", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_short_trainings_can_be_drawn(tmp_path, count):
    report(tmp_path, count)
    curves.draw(tmp_path / "metrics.csv", tmp_path / "curves.png", title="run")
    assert has(quarters(pixels(tmp_path / "curves.png"))[0], BLUE) == (count > 0)


def test_a_title_is_no_formula(tmp_path):
    report(tmp_path, 1)
    curves.draw(tmp_path / "metrics.csv", tmp_path / "curves.png", title=r"run_$\undefined{")


def test_a_missing_table_is_said(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*metrics\.csv: No such file"):
        curves.draw(tmp_path / "metrics.csv", tmp_path / "curves.png", title="run")
    assert list(tmp_path.iterdir()) == []


def test_more_metrics_than_colours_are_named_as_left_out(tmp_path, drawn):
    log = Logbook(tmp_path)
    log.evaluation(10, {f"metric {index}": 0.1 for index in range(10)}, best=True)
    curves.draw(tmp_path / "metrics.csv", tmp_path / "curves.png", title="run")
    assert "Validation (3 more in metrics.csv)" in [axes.get_title("left") for axes in drawn[0].axes]


@pytest.mark.parametrize("count", [1, 9, 40, 41, 400])
def test_smoothing_keeps_a_straight_line_and_the_place_of_a_peak(count):
    line = np.linspace(3, 5, count)
    middle = slice(count // 20, count - count // 20)
    assert curves.smoothed(line)[middle] == pytest.approx(line[middle])
    assert curves.smoothed(np.ones(count)) == pytest.approx(np.ones(count)), "also at the ends"
    peak = np.zeros(count)
    peak[count // 2] = 1
    spread = np.flatnonzero(curves.smoothed(peak) > 1e-12)
    assert spread.mean() == pytest.approx(count // 2)


def test_reports_of_one_step_add_up(tmp_path):
    """A second report of other names at the same step does not hide the first, and a repeated one counts last."""
    log = Logbook(tmp_path)
    log.steps(10, {"loss/total": 1.0, "learning_rate": 0.1})
    log.steps(10, {"loss/total": 2.0})
    series = curves._series(curves.metrics_table.read(tmp_path / "metrics.csv"), "train")
    assert series == {"loss/total": {10: 2.0}, "learning_rate": {10: 0.1}}
