import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss

from pneumodet.core.errors import ConfigError
from pneumodet.models.segmentation import losses


@pytest.fixture
def batch():
    """(logits, masks), each (3, 8, 8, 1), the last image without opacity."""
    rng = np.random.default_rng(0)
    masks = np.float32(rng.random((3, 8, 8, 1)) < 0.2)
    masks[2] = 0
    return np.float32(rng.normal(0, 2, masks.shape)), masks


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.float64(logits)))


def test_cross_entropy_is_that_of_scikit_learn(batch):
    logits, masks = batch
    assert float(losses.bce(logits, masks)) == pytest.approx(log_loss(masks.ravel(), sigmoid(logits).ravel()), rel=1e-5)


def test_dice_by_hand(batch):
    logits, masks = batch
    p = sigmoid(logits)
    assert float(losses.dice(logits, masks)) == pytest.approx(1 - (2 * (p * masks).sum() + 1) / (p.sum() + masks.sum() + 1), rel=1e-5)


def test_focal_by_hand(batch):
    logits, masks = batch
    p = sigmoid(logits)
    wanted = -(masks * (1 - p) ** 2 * np.log(p) + (1 - masks) * p**2 * np.log(1 - p)).mean()
    assert float(losses.focal(logits, masks)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", [losses.bce, losses.dice, losses.focal])
def test_right_is_0_wrong_is_more_and_large_log_odds_are_finite(loss):
    masks = tf.constant(np.float32(np.arange(16).reshape(1, 4, 4, 1) < 5))
    right = float(loss(100 * (2 * masks - 1), masks))
    assert right == pytest.approx(0, abs=1e-5)
    logits = tf.Variable(-100 * (2 * masks - 1))
    with tf.GradientTape() as tape:
        wrong = loss(logits, masks)
    assert float(wrong) > 0.5 and np.isfinite(tape.gradient(wrong, logits).numpy()).all()


def test_dice_of_nothing_and_nothing_is_0():
    nothing = tf.zeros((2, 4, 4, 1))
    assert float(losses.dice(nothing - 100, nothing)) == pytest.approx(0, abs=1e-6)
    assert float(losses.dice(nothing + 100, nothing)) > 0.9


def test_a_sum_gives_its_parts(batch):
    terms = losses.of_name("bce + dice")(*batch)
    assert {key: float(value) for key, value in terms.items()} == {
        "bce": float(losses.bce(*batch)),
        "dice": float(losses.dice(*batch)),
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "loss is ''; there is no loss ''. There are: bce, dice, focal. A sum is written bce"),
        ("bce+dic", "there is no loss 'dic'. Did you mean 'dice'"),
        ("dice+dice", "name each part once"),
    ],
)
def test_unknown_sums_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        losses.of_name(name)
