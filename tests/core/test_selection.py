"""The figure of the best of several: nothing is gained by choosing among what differs by chance, and what is better stays so."""

import kept_figures
import numpy as np
import pytest

from pneumodet.core import selection
from pneumodet.core.split_use import Choice

PATIENTS, SETS = 100, 150


def drawn(rng, truths, *, alike):
    """Return figures, means over patients, of models of these truths in standard errors, and their moves; ``alike`` is the correlation of two."""
    truths = np.asarray(truths) / np.sqrt(PATIENTS)
    noise = np.sqrt(alike) * rng.normal(size=PATIENTS) + np.sqrt(1 - alike) * rng.normal(size=(len(truths), PATIENTS))
    each = truths[:, None] + noise
    values = each.mean(axis=1)
    return values, ((each - values[:, None]) / PATIENTS).reshape(len(truths), selection.GROUPS, -1).sum(axis=2)


def simulated(truths, *, alike):
    """Return (highest figures, corrected ones, truths of what was chosen), each a mean over sets in standard errors of a figure."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(SETS):
        values, moves = drawn(rng, truths, alike=alike)
        rows.append(
            (values.max() * np.sqrt(PATIENTS), selection.cross_fitted(values, moves) * np.sqrt(PATIENTS), truths[np.argmax(values)])
        )
    return np.mean(rows, axis=0)


@pytest.mark.parametrize("alike", [0, 0.8])
@pytest.mark.parametrize("count", [2, 10, 30])
def test_of_noise_nothing_is_left(count, alike):
    highest, corrected, _ = simulated([0.0] * count, alike=alike)
    expected = {2: 0.56, 10: 1.54, 30: 2.04}[count] * np.sqrt(1 - alike)  # of so many normal values
    assert highest == pytest.approx(expected, abs=0.2)
    # the standard error of the mean over sets is up to 1.5 / sqrt(150)
    assert abs(corrected) < 0.35


@pytest.mark.parametrize(("gap", "alike"), [(2, 0.8), (3, 0), (6, 0)])
def test_of_a_signal_nothing_is_hidden(gap, alike):
    truths = [0.0] * 9
    highest, corrected, truth = simulated([*truths, float(gap)], alike=alike)
    assert corrected == pytest.approx(truth, abs=0.3) and corrected <= highest
    assert corrected > 0.75 * gap


def test_the_choice_of_a_clear_best_changes_no_digit():
    rng = np.random.default_rng(1)
    values, moves = drawn(rng, [0, 0, 40], alike=0.5)
    assert selection.cross_fitted(values, moves) == pytest.approx(values[2], rel=1e-12)
    assert selection.cross_fitted(values[:1], moves[:1]) == pytest.approx(values[0], rel=1e-12), "of one nothing was chosen"
    undefined = np.append(values, np.nan), np.vstack([moves, np.full(selection.GROUPS, np.nan)])
    assert selection.cross_fitted(*undefined) == pytest.approx(values[2], rel=1e-12)
    assert selection.cross_fitted(values, moves[:, : selection.FEWEST_GROUPS - 1]) is None


def test_a_run_keeps_what_the_estimate_needs(tmp_path):
    values, moves = drawn(np.random.default_rng(2), [0.0] * 5, alike=0.5)
    kept_figures.write(tmp_path, values.tolist(), moves)
    choice = Choice.of_run(tmp_path, "rsna_metric")
    # as training chooses: not the highest figure, but the latest of about the highest mean
    assert choice.corrected == pytest.approx(selection.cross_fitted(values, moves, runs=[5]), abs=2e-3)
    assert choice.corrected != pytest.approx(selection.cross_fitted(values, moves), abs=2e-3)
    assert f"; {choice.corrected:.4f} on patients without a part in the choice)" in choice.values
    assert Choice.of_facts(choice.facts("val")) == choice
    assert Choice.of_run(tmp_path, "image.roc_auc").corrected is None
    assert (tmp_path / selection.FILE).stat().st_size < 5000


def test_of_several_runs_all_checkpoints_were_compared(tmp_path):
    """As trials of a search: the better of two runs that differ by chance owes as much to luck as the best of all their checkpoints."""
    values, moves = drawn(np.random.default_rng(4), [0.0] * 6, alike=0.2)
    for name, part in (("a", slice(0, 3)), ("b", slice(3, 6))):
        kept_figures.write(tmp_path / name, values[part].tolist(), moves[part])
    corrected = selection.of_runs([tmp_path / "a", tmp_path / "b"], "rsna_metric")
    assert corrected == pytest.approx(selection.cross_fitted(values, moves, runs=[3, 3]), abs=2e-3)
    assert selection.of_runs([tmp_path / "a", tmp_path / "c"], "rsna_metric") is not None, "a run without any evaluation adds none"
    (tmp_path / "b" / selection.FILE).unlink()
    assert selection.of_runs([tmp_path / "a", tmp_path / "b"], "rsna_metric") is None


def test_after_a_return_or_a_kill_the_last_evaluation_of_a_step_counts(tmp_path):
    values, moves = drawn(np.random.default_rng(3), [0.0] * 4, alike=0.5)
    kept_figures.write(tmp_path, values.tolist(), moves)
    expected = Choice.of_run(tmp_path, "rsna_metric").corrected
    path = tmp_path / selection.FILE
    lines = path.read_bytes()
    other = lines.splitlines()[1].replace(b'"value": ', b'"value": 1')
    # evaluated before the run went back, and a line that a kill has torn
    path.write_bytes(other + b"\n" + lines + b'{"step": 500, "met')
    assert Choice.of_run(tmp_path, "rsna_metric").corrected == pytest.approx(expected)
    selection.MovesFile(path, last_step=400).add(500, "rsna_metric", 0.5, moves[0])
    assert path.read_bytes().count(b"\n") == 6 and b'"met{' not in path.read_bytes()
    path.write_bytes(b"\n".join(lines.splitlines()[:3]))
    assert Choice.of_run(tmp_path, "rsna_metric").corrected is None, "one of four is missing"
    selection.MovesFile(path)
    assert not path.exists(), "a new run"
