"""One normalizer of the losses for all devices.

together(model, strategy)          # once, before a training step is traced

The API's one-stage models divide their losses by the number of anchors that match a box in the batch. Each device knows only its share of the
batch, in which radiographs without boxes may be all there is; the mean of what devices compute by themselves is not what one device would compute of
the whole batch. Here every device divides by the matches of all of them.
"""

from typing import Any

import tensorflow as tf


def together(model: Any, strategy: tf.distribute.Strategy) -> None:
    """Let a model's losses on the devices of ``strategy`` have the mean that one device would compute of all their images.

    Nothing is changed where there is one device, or the model does not divide by matches.

    Args:
      model: a DetectionModel of the API.
      strategy: that trains it; the mean of the devices' losses is what is trained on.
    """
    if strategy.num_replicas_in_sync == 1 or not getattr(model, "_normalize_loss_by_num_matches", False):
        return
    model._normalize_loss_by_num_matches = False
    assign = model._assign_targets

    def assigned(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Return targets whose weights, by which the losses are multiplied, are divided already."""
        class_targets, class_weights, box_targets, box_weights, match = assign(*args, **kwargs)
        replica = tf.distribute.get_replica_context()
        matches = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(tf.cast(box_weights, tf.float32)))
        # times the devices, since the mean over them will be taken; at least 1, as in the API, where no device has a match
        share = strategy.num_replicas_in_sync / tf.maximum(matches, 1.0)
        return class_targets, class_weights * share, box_targets, box_weights * share, match

    model._assign_targets = assigned
