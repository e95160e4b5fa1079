"""What a classifier is trained on: cross-entropy of one or two heads, weighted by class or focal where classes are rare.

    loss = of(settings, positive=records.train.positive, classes=train_classes)
    terms = loss(batch, outputs)               # {"pneumonia": () float32, "classes": () float32}

Class weights: N / (K n), with n of N training exams in one of K classes, so that each class weighs the same in all. Focal loss: Lin et al., 2017,
arXiv:1708.02002, without their alpha.
"""

import numpy as np
import tensorflow as tf

from pneumodet.models.classification.settings import CLASS_WEIGHTS, CLASSES, FOCAL, ClassifierSettings
from pneumodet.models.types import Batch, Loss


def of(settings: ClassifierSettings, *, positive: np.ndarray, classes: np.ndarray | None) -> Loss:
    """Return the loss of a task.

    Args:
      settings: task and imbalance.
      positive: (N,) bool, which training exams have pneumonia.
      classes: (N,) int64 numbers of ``CLASSES``, where the task has them.

    Returns:
      (batch, outputs) -> name -> () float32 mean over the batch. Batches have ``positive`` (B,) float32 and, for classes, ``target`` (B,) int64.
    """
    weighted = settings.imbalance == CLASS_WEIGHTS
    two = tf.constant(class_weights(positive.astype(np.int64), 2) if weighted else np.ones(2), tf.float32)
    three = tf.constant(class_weights(classes, len(CLASSES)) if weighted and classes is not None else np.ones(len(CLASSES)), tf.float32)
    gamma = settings.focal_gamma if settings.imbalance == FOCAL else 0.0

    def loss(batch: Batch, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        terms = {}
        if "pneumonia" in outputs:
            # softmax of (0, z) is the sigmoid of z: one rule for two classes and for three
            logits = tf.concat([tf.zeros_like(outputs["pneumonia"]), outputs["pneumonia"]], axis=1)
            terms["pneumonia"] = _cross_entropy(tf.cast(batch["positive"], tf.int64), logits, two, gamma)
        if "classes" in outputs:
            terms["classes"] = _cross_entropy(batch["target"], outputs["classes"], three, gamma)
        return terms

    return loss


def class_weights(numbers: np.ndarray, count: int) -> np.ndarray:
    """Return the (K,) float64 weights of K = ``count`` classes for (N,) numbers of them; each class is there."""
    return len(numbers) / (count * np.bincount(numbers, minlength=count))


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor, gamma: float) -> tf.Tensor:
    """Return the mean over B of -w (1 - p)^gamma log p, where p is the probability of the label; log-odds z are logits (0, z)."""
    log_p = tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=1)
    terms = -tf.gather(weights, labels) * log_p
    if gamma:
        terms *= (1 - tf.exp(log_p)) ** gamma
    return tf.reduce_mean(terms)
