import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from pneumodet.evaluation.metrics import interval
from pneumodet.evaluation.segmentation import figures


@pytest.fixture
def maps():
    """24 maps of probability and masks, every third without opacity, two images a patient."""
    rng = np.random.default_rng(3)
    truth = np.zeros((24, 12, 16), bool)
    for index in range(24):
        if index % 3:
            y, x = rng.integers(0, 7, 2)
            truth[index, y : y + 5, x : x + 4] = True
    probabilities = np.clip(0.25 + 0.4 * truth + rng.normal(0, 0.15, truth.shape), 0, 1)
    return probabilities, truth, np.arange(24) // 2


def pixels_of(probabilities, truth):
    return figures.Pixels.of([figures.count(one, mask) for one, mask in zip(probabilities, truth, strict=True)])


def at(index, count):
    return np.full(count, index, np.int64)


def values(values_now):
    return {key.removeprefix("segmentation."): None if np.isnan(one.value) else one.value for key, one in values_now.items()}


@pytest.mark.parametrize("index", [0, 37, 49, 80])
def test_figures_are_those_of_scikit_learn(maps, index):
    probabilities, truth, patients = maps
    values_now = values(figures.moves(pixels_of(probabilities, truth), at(index, 24), patients=patients))
    marked = probabilities >= figures.THRESHOLDS[index]
    flat = truth.ravel(), marked.ravel()
    for name, function in {"iou": jaccard_score, "f1": f1_score, "precision": precision_score, "recall": recall_score}.items():
        assert values_now[name] == pytest.approx(function(*flat))
    for name, function in {"iou": jaccard_score, "f1": f1_score}.items():
        each = np.array([function(t.ravel(), m.ravel(), zero_division=1.0) for t, m in zip(truth, marked, strict=True)])
        assert values_now[f"{name}_per_image"] == pytest.approx(each.mean())
        assert values_now[f"{name}_per_positive"] == pytest.approx(each[truth.any(axis=(1, 2))].mean())


def test_empty_masks_have_figures():
    nothing, something = np.zeros((4, 4)), np.full((4, 4), 0.9)
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)

    def each(probabilities, truth):
        return values(figures.moves(pixels_of([probabilities], [truth]), at(40, 1), patients=np.zeros(1)))

    right = each(nothing, empty)
    assert (right["iou"], right["f1"], right["iou_per_image"]) == (1, 1, 1)
    assert right["recall"] is None and right["iou_per_positive"] is None
    false = each(something, empty)
    assert (false["iou"], false["f1"], false["f1_per_image"], false["precision"]) == (0, 0, 0, 0)
    missed = each(nothing, full)
    assert (missed["iou"], missed["f1_per_positive"], missed["recall"]) == (0, 0, 0)
    assert missed["precision"] is None


def test_a_px_at_the_threshold_is_marked():
    threshold = figures.THRESHOLDS[30]
    hit, marked, truth = figures.count(np.array([[threshold, np.nextafter(threshold, 0)]]), np.array([[True, True]]))
    assert (hit[30], marked[30], hit[29], truth) == (1, 1, 2, 2)


def test_each_image_has_the_threshold_of_the_other_folds(maps):
    probabilities, truth, _ = maps
    folds = np.arange(24) % 3
    probabilities = np.where((folds == 0)[:, None, None], probabilities**3, probabilities)
    pixels = pixels_of(probabilities, truth)
    index = figures.cross_fitted(pixels, folds)
    for fold in range(3):
        others = folds != fold
        marked = probabilities[others] >= figures.THRESHOLDS[:, None, None, None]
        iou = (truth[others] & marked).sum(axis=(1, 2, 3)) / (truth[others] | marked).sum(axis=(1, 2, 3))
        assert (figures.THRESHOLDS[index[folds == fold]] == figures.THRESHOLDS[index[folds == fold]][0]).all()
        assert iou[index[folds == fold][0]] == pytest.approx(max(iou))
    assert len(set(index.tolist())) > 1


def test_intervals_are_those_of_patients_drawn_by_hand(maps):
    probabilities, truth, patients = maps
    pixels, index = pixels_of(probabilities, truth), at(49, 24)
    values_now = interval.of(figures.moves(pixels, index, patients=patients)["segmentation.iou"])
    rng, drawn = np.random.default_rng(11), []
    marked = probabilities >= figures.THRESHOLDS[49]
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(patients == one) for one in rng.integers(0, 12, 12)])
        drawn.append((truth[rows] & marked[rows]).sum() / (truth[rows] | marked[rows]).sum())
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert values_now["low"] == pytest.approx(low, abs=0.15 * (high - low))
    assert values_now["high"] == pytest.approx(high, abs=0.15 * (high - low))


def test_the_difference_to_itself_is_nothing_and_to_a_worse_one_is_above_0(maps):
    probabilities, truth, patients = maps
    pixels, index = pixels_of(probabilities, truth), at(49, 24)
    ours = figures.moves(pixels, index, patients=patients)["segmentation.iou"]
    assert interval.of(ours.less(ours))["low"] is None and ours.less(ours).value == 0
    prior = figures.spatial_prior(truth.sum(axis=0), 24)
    better = interval.of(ours.less(figures.moves(*figures.prior(truth, prior), patients=patients)["segmentation.iou"]))
    assert 0 < better["low"] < better["value"] < better["high"]


def test_choosing_the_threshold_again_widens_the_interval(maps):
    probabilities, truth, patients = maps
    pixels, folds = pixels_of(probabilities, truth), patients % 3
    index = figures.cross_fitted(pixels, folds)
    fixed, chosen = (figures.moves(pixels, index, patients=patients, folds=one, resamples=60) for one in (None, folds))
    for key in figures.KEYS:
        assert chosen[key].value == fixed[key].value and chosen[key].of_choice >= 0
    assert max(one.of_choice for one in chosen.values()) > 0


def test_the_spatial_prior_is_the_best_fixed_mask(maps):
    _, truth, _ = maps
    others, here = truth[::2], truth[1::2]
    often = others.sum(axis=0)
    iou = {level: jaccard_score(others.ravel(), np.tile(often >= level, (12, 1, 1)).ravel()) for level in np.unique(often[often > 0])}
    mask = figures.spatial_prior(often, 12)
    assert np.array_equal(mask, often >= max(iou, key=iou.get)) and 0 < mask.sum() < mask.size
    pixels, index = figures.prior(here, mask)
    assert pixels.marked.ravel().tolist() == [mask.sum()] * 12
    assert pixels.hit.ravel().tolist() == [(mask & one).sum() for one in here]
    assert not index.any()


def test_a_single_patient_has_no_interval(maps):
    probabilities, truth, _ = maps
    values_now = interval.as_intervals(figures.moves(pixels_of(probabilities, truth), at(40, 24), patients=np.zeros(24)))
    assert all(one["low"] is None and one["value"] is not None for one in values_now.values())
