"""Sums of tensors keep their order, whatever memory that takes."""

import tensorflow as tf
from tensorflow.python.eager import context

from pneumodet.training import reproducible


def sums_in_order_of_arrival():
    """Return how many sums TensorFlow has rewritten in a function of which the tensors take 256 MiB: more than it wants to hold at once."""

    @tf.function(autograph=False)
    def of_four(x):
        return tf.reduce_sum(tf.add_n([tf.sin(x * factor) for factor in (1.0, 2.0, 3.0, 4.0)]))

    context.enable_graph_collection()
    try:
        of_four(tf.ones([4096, 4096]))
        metadata = context.context().export_run_metadata()
    finally:
        context.disable_graph_collection()
    nodes = [node.op for graph in metadata.function_graphs for node in graph.post_optimization_graph.node]
    assert "Sin" in nodes
    return nodes.count("TemporaryVariable")


def test_sums_keep_their_order(monkeypatch):
    monkeypatch.setattr(context.context().function_call_options, "_config_proto_serialized", tf.compat.v1.ConfigProto().SerializeToString())
    assert sums_in_order_of_arrival() == 1, "if this fails, TensorFlow has fixed it, and reproducible.py can go"
    reproducible.sum_in_order()
    assert sums_in_order_of_arrival() == 0
