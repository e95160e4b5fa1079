"""What makes two runs of one seed equal, bit for bit, on one processor, beside the seed.

    sum_in_order()

TensorFlow's graph optimizer turns a sum of several tensors into one that adds them as they arrive, to save memory
(grappler/optimizers/memory_optimizer.cc). Where three gradients or more meet, as those of both heads and of the next layer do in a detector, the
order of the threads then decides on the last bit of the sum. ``tf.config.experimental.enable_op_determinism`` does not know of this, and
``tf.config.optimizer.set_experimental_options`` has no name for this optimizer, so that it is turned off where functions get their options from.
"""

import tensorflow as tf
from tensorflow.python.eager import context


def sum_in_order() -> None:
    """Let sums keep their order in all functions that this thread calls for the first time from now on.

    Nothing happens where there is a GPU: there the optimizer makes room for larger batches, and other operations have no order either.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    options = context.context().function_call_options
    config = tf.compat.v1.ConfigProto.FromString(options.config_proto_serialized)
    rewriting = config.graph_options.rewrite_options
    rewriting.memory_optimization = rewriting.NO_MEM_OPT
    options.config_proto_serialized = config
