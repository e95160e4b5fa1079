"""Classes, metadata, losses and the figures of three classes, against what can be computed otherwise."""

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics as judge

from pneumodet.core.errors import DataError
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation.classification import three_classes
from pneumodet.models.classification import classes, losses, metadata
from pneumodet.models.classification.settings import CLASSES, ClassifierSettings


@pytest.fixture(scope="module")
def records(classified):
    return RecordSet.open(classified[0]).check_two_kinds()


def changed(split, number, **facts):
    """Return a split with other facts of one exam, or of all where ``number`` is None."""
    images = [image | facts if number in (None, index) else image for index, image in enumerate(split.instances["images"])]
    return Split(split.shards, split.instances | {"images": images})


def test_the_class_info_and_the_records_tell_the_same(records, classified):
    known = classes.read(classified[1])
    found = classes.of_split(records.train, known)
    np.testing.assert_array_equal(found, classes.of_split(records.train))
    np.testing.assert_array_equal(found == 2, records.train.positive)
    assert [CLASSES[number] for number in found] == [known[name] for name in records.train.names]


def test_classes_that_are_missing_or_contradict(records, tmp_path):
    known = dict(zip(records.train.names, records.train.facts("rsna_class"), strict=True))
    exam = known.popitem()[0]
    with pytest.raises(DataError, match=f"class of 1 of .* exams, for example {exam}.*--class-info"):
        classes.of_split(records.train, known)
    negative = int(np.flatnonzero(~records.train.positive)[0])
    with pytest.raises(DataError, match="1 exams contradict.*'Lung Opacity' and has no box"):
        classes.of_split(changed(records.train, negative, rsna_class="Lung Opacity"))
    path = tmp_path / "info.csv"
    path.write_text("patientId,class\na,Normal\na,Lung Opacity\n")
    with pytest.raises(DataError, match="line 3: exam a is 'Lung Opacity' here and 'Normal' before"):
        classes.read(path)
    path.write_text("patientId,class\na,Abnormal\n")
    with pytest.raises(DataError, match="line 2: the class 'Abnormal'"):
        classes.read(path)


def test_blanks_around_a_class_are_none_of_it(tmp_path):
    """As make_tfrecords reads the file, too."""
    path = tmp_path / "info.csv"
    path.write_text("patientId,class\n a ,Normal \na,Normal\nb, Lung Opacity\n")
    assert classes.read(path) == {"a": "Normal", "b": "Lung Opacity"}


def test_metadata_with_flags(records):
    facts = [
        ({"age": 70, "sex": "F", "view_position": "AP"}, [1, 0, 1, 0, 0, 1, 0, 0]),
        ({"age": "030Y", "sex": "m", "view_position": "PA"}, [-1, 0, 0, 1, 0, 0, 1, 0]),
        ({"age": 148, "sex": None, "view_position": "LL"}, [0, 1, 0, 0, 1, 0, 0, 1]),
        ({"age": None, "sex": "", "view_position": None}, [0, 1, 0, 0, 1, 0, 0, 1]),
    ]
    for given, row in facts:
        found = metadata.of_split(changed(records.val, None, **given))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [row] * len(records.val))


def test_missing_metadata_is_told_and_none_at_all_is_refused(records):
    first = dataclasses.replace(records, train=changed(records.train, 0, age=150))
    (sentence,) = [one for one in metadata.check(first) if one.startswith("age")]
    assert f"1 of {len(records.train) + len(records.val)} exams" in sentence
    nothing = dataclasses.replace(records, train=changed(records.train, None, age=None, sex=None, view_position=None))
    with pytest.raises(DataError, match="of no training exam"):
        metadata.check(nothing)


@pytest.mark.parametrize("imbalance", ["class-weights", "focal", "none", "balanced"])
def test_losses_by_hand(imbalance):
    random = np.random.default_rng(3)
    positive, numbers = np.arange(12) < 3, np.array([2, 2, 2, 0, 0, 1, 1, 1, 1, 1, 0, 1])
    settings = ClassifierSettings(task="both", imbalance=imbalance, focal_gamma=1.5)
    loss = losses.of(settings, positive=positive, classes=numbers)
    z, logits = random.normal(0, 2, (12, 1)).astype(np.float32), random.normal(0, 2, (12, 3)).astype(np.float32)
    batch = {"positive": tf.constant(positive, tf.float32), "target": tf.constant(numbers)}
    found = loss(batch, {"pneumonia": tf.constant(z), "classes": tf.constant(logits)})
    p_two = np.where(positive, 1 / (1 + np.exp(-z[:, 0])), 1 / (1 + np.exp(z[:, 0])))
    p_three = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[np.arange(12), numbers]
    two, three = np.ones(12), np.ones(12)
    if imbalance == "class-weights":
        two, three = np.where(positive, 12 / (2 * 3), 12 / (2 * 9)), np.array([12 / (3 * 3), 12 / (3 * 6), 12 / (3 * 3)])[numbers]
    gamma = 1.5 if imbalance == "focal" else 0
    for name, p, weight in (("pneumonia", p_two, two), ("classes", p_three, three)):
        assert found[name].numpy() == pytest.approx(np.mean(-weight * (1 - p) ** gamma * np.log(p)), rel=1e-5)


def test_three_classes_are_those_of_scikit_learn():
    random = np.random.default_rng(4)
    truth = random.integers(0, 3, 60)
    probabilities = random.dirichlet([1, 1, 1], 60)
    probabilities[np.arange(60), truth] += 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = three_classes.summarize(probabilities, truth, patients=np.arange(60) // 2, resamples=60)
    predicted = probabilities.argmax(axis=1)
    np.testing.assert_array_equal(found["confusion"], judge.confusion_matrix(truth, predicted))
    figures = found["figures"]
    assert figures["classes.accuracy"] == pytest.approx(judge.accuracy_score(truth, predicted))
    assert figures["classes.macro_f1"] == pytest.approx(judge.f1_score(truth, predicted, average="macro"))
    assert figures["classes.macro_roc_auc"] == pytest.approx(judge.roc_auc_score(truth, probabilities, multi_class="ovr"))
    recalls = judge.recall_score(truth, predicted, average=None)
    assert [figures[f"classes.{key}.recall"] for key in three_classes.KEYS] == pytest.approx(recalls.tolist())
    for key, (low, high) in found["intervals"].items():
        assert low <= figures[key] <= high
    json.dumps(found, allow_nan=False)


def test_a_class_that_is_never_predicted_has_no_precision():
    found = three_classes.summarize(np.tile([0.2, 0.5, 0.3], (4, 1)), np.array([0, 1, 2, 1]), patients=np.arange(4), resamples=20)
    assert found["figures"]["classes.normal.precision"] is None and "classes.normal.precision" not in found["intervals"]
    assert found["figures"]["classes.accuracy"] == 0.5
