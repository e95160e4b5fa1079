import dataclasses
import functools

import numpy as np
import pytest

from pneumodet.data.record_sets import RecordSet
from pneumodet.evaluation.segmentation import figures

# evaluation itself is imported in the tests: TensorFlow comes with it, for which everybody would wait who collects these tests

SIZE = (64, 64)


@pytest.fixture(scope="module")
def records(unet_records):
    return RecordSet.open(unet_records).check_two_kinds()


@pytest.fixture(scope="module")
def split(records):
    return records.val


@pytest.fixture(scope="module")
def evaluator(split):
    from pneumodet.evaluation.segmentation import evaluation

    return evaluation.MaskEvaluator(split, size_hw=SIZE, smallest_share=0.0)


@pytest.fixture(scope="module")
def summarize(records):
    """``evaluation.summarize`` beside the spatial prior of training exams, with few resamples."""
    from pneumodet.evaluation.segmentation import evaluation

    prior = evaluation.spatial_prior(records.train, SIZE)
    return functools.partial(evaluation.summarize, prior_mask=prior, aim="rsna", class_name="pneumonia", resamples=20)


def batches(logits, size=5, corrupt=-1):
    """As ``runner.Runner`` gives them, of (N, h, w) log-odds; one record may be corrupt."""
    from pneumodet.evaluation.runner import Seen

    for first in range(0, len(logits), size):
        numbers = np.arange(first, min(first + size, len(logits)))
        outputs = {"mask": np.float32(logits[numbers])[..., None]}
        yield Seen(numbers, np.zeros((len(numbers), *SIZE, 1), np.uint8), outputs, numbers != corrupt)


def share(truth, marked):
    return (truth & marked).sum() / (truth | marked).sum()


def test_what_is_detected_right_has_the_best_figures(evaluator, summarize, split):
    metrics = summarize(evaluator(batches(np.where(evaluator.truth, 5.0, -8.0))))
    assert [metrics[key] for key in figures.KEYS] == [1] * len(figures.KEYS)
    assert metrics["image.roc_auc"] == 1 and metrics["lesion.fp_per_image"] == 0
    assert metrics["coco.pneumonia.AP50"] > 0.8  # boxes that touch are one spot
    assert metrics["segmentation.gain"]["segmentation.iou"]["low"] > 0
    few = "Only 4 patients of the kind that makes this figure: too few for an interval."
    assert "segmentation.iou" not in metrics["intervals"] and metrics["intervals_undefined"]["segmentation.iou"] == few
    assert metrics["intervals_undefined"]["image.specificity"].endswith(f"thresholds are clear: {few}"), (
        "nor is the detector called a bad one"
    )
    assert metrics["positive_images"] == int(split.positive.sum())
    assert not split.positive.all() and not any("no detection" in one for one in metrics["warnings"]), "an empty mask is a finding, too"


def test_noise_is_no_better_than_chance(evaluator, summarize):
    noise = np.random.default_rng(0).normal(-3, 1, evaluator.truth.shape)
    metrics = summarize(evaluator(batches(noise)))
    assert metrics["segmentation.iou"] < 0.3 and metrics["coco.pneumonia.AP50"] < 0.3
    assert metrics["segmentation.gain"]["segmentation.iou"]["low"] < 0


def test_an_exam_is_evaluated_at_the_threshold_of_other_patients(evaluator, split):
    from sklearn.metrics import jaccard_score

    rng = np.random.default_rng(1)
    logits = np.where(evaluator.truth, 0.5, -1.0) + rng.normal(0, 1, evaluator.truth.shape)
    evaluated = evaluator(batches(logits))
    thresholds = figures.THRESHOLDS[evaluated.index]
    patients = [image["patient"] for image in split.instances["images"]]
    assert len(set(zip(patients, evaluated.folds.tolist(), strict=True))) == len(set(patients))
    for fold in np.unique(evaluated.folds):
        others = evaluated.folds != fold
        iou = [share(evaluator.truth[others], evaluated.maps[others] >= one) for one in figures.THRESHOLDS]
        assert figures.THRESHOLDS[int(np.argmax(iou))] <= thresholds[~others][0] + 1e-9
        assert max(iou) == pytest.approx(iou[evaluated.index[~others][0]])
    marked = evaluated.maps >= thresholds[:, None, None]
    trained = evaluator.within_training(batches(logits)).figures
    assert trained["segmentation.iou"] == pytest.approx(jaccard_score(evaluator.truth.ravel(), marked.ravel()))


def test_the_fixed_mask_is_of_other_exams_and_needs_no_folds(evaluator, summarize, records):
    """It is the bar that a network has to pass: chosen on all training exams, not on the few of validation that are left."""
    from pneumodet.evaluation.segmentation import evaluation

    metrics = summarize(dataclasses.replace(evaluator(batches(np.where(evaluator.truth, 2.0, -8.0))), folds=None))
    assert evaluation.ON_THEMSELVES in metrics["warnings"]
    trained = evaluation.MaskEvaluator(records.train, size_hw=SIZE, smallest_share=0.0).truth
    often = trained.mean(axis=0)
    mask = max(
        (often >= level for level in np.unique(often[often > 0])), key=lambda one: share(trained, np.broadcast_to(one, trained.shape))
    )
    wanted = share(evaluator.truth, np.broadcast_to(mask, evaluator.truth.shape))
    assert metrics["segmentation.prior"]["segmentation.iou"]["value"] == pytest.approx(wanted)
    assert metrics["segmentation.gain"]["segmentation.iou"]["value"] == pytest.approx(1 - wanted)


def test_scores_are_those_of_the_most_confident_boxes(evaluator, split):
    evaluated = evaluator(batches(np.where(evaluator.truth, 2.0, -8.0)))
    for name, score, positive in zip(split.names, evaluated.scores, split.positive, strict=True):
        assert score == pytest.approx(max(evaluated.detections[name].scores, default=0.0))
        assert (score > 0.5) == positive


def test_evaluation_in_training_gives_pictures_of_positives(evaluator):
    from pneumodet.evaluation.segmentation import evaluation

    trained = evaluator.within_training(batches(np.where(evaluator.truth, 2.0, -8.0)))
    assert len(trained.pictures) == evaluation.PICTURES
    assert all(one.width == 384 and one.height > 384 for one in trained.pictures), "the exam's name stands in a strip above it"
    assert trained.figures["segmentation.f1"] == 1 and trained.figures["rsna_metric"] > 0.5


def test_nothing_is_detected_on_a_corrupt_record(evaluator, split):
    number = int(np.flatnonzero(split.positive)[0])
    evaluated = evaluator(batches(np.where(evaluator.truth, 2.0, -8.0), corrupt=number))
    assert evaluated.scores[number] == 0 and not evaluated.maps[number].any()
    assert (evaluated.scores[split.positive] > 0.5).sum() == split.positive.sum() - 1
