"""Losses of a mask: binary cross-entropy, soft Dice, focal, and sums of them.

    loss = of_name("bce+dice")
    losses = loss(logits, masks)          # {"bce": …, "dice": …}

Boxes cover some 3 % of the px, so that cross-entropy alone is content with nothing for long; Dice and focal loss weigh the few px with opacity
more. All are computed of log-odds, which do not overflow.
"""

from collections.abc import Callable

import tensorflow as tf

from pneumodet.models.segmentation.settings import loss_parts

FOCAL_GAMMA = 2.0
"""How much less a px counts the better it is classified already (Lin et al., 2017, arXiv:1708.02002, where 2 was best)."""

DICE_SMOOTH_PX = 1.0
"""Added to numerator and denominator of Dice's fraction (Milletari et al., 2016, arXiv:1606.04797): without opacity and without prediction the loss is 0."""

Loss = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
"""(B, h, w, 1) float32 log-odds and (B, h, w, 1) float32 masks in [0, 1] -> name -> () float32."""


def bce(logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Return the mean binary cross-entropy of all px, () float32 in nats."""
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=masks, logits=logits))


def dice(logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Return 1 - soft Dice of all px of the batch together, () float32 in [0, 1].

    Of the batch and not of each image: most images have no opacity, where Dice says nothing of how wrong a small prediction is.
    """
    probabilities = tf.sigmoid(logits)
    both = tf.reduce_sum(probabilities * masks)
    return 1 - (2 * both + DICE_SMOOTH_PX) / (tf.reduce_sum(probabilities) + tf.reduce_sum(masks) + DICE_SMOOTH_PX)


def focal(logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Return the mean focal loss of all px, () float32: cross-entropy times (1 - probability of what is true) ** ``FOCAL_GAMMA``."""
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=masks, logits=logits)
    of_truth = tf.exp(-entropy)  # equal to that probability where masks are 0 or 1
    return tf.reduce_mean((1 - of_truth) ** FOCAL_GAMMA * entropy)


_PARTS = {"bce": bce, "dice": dice, "focal": focal}


def of_name(name: str) -> Loss:
    """Return a loss by its name, or the sum of several: "dice", "bce+dice".

    Returns:
      A function that gives each part by itself; the caller adds them up.

    Raises:
      ConfigError: a part is unknown, or named twice.
    """
    parts = loss_parts(name)
    return lambda logits, masks: {part: _PARTS[part](logits, masks) for part in parts}
