"""A model small enough for tests, and reading what training wrote."""

import collections

SIDE = 96
"""Input size in px of the tests' model."""

SMALL = [
    "--set",
    f"model.ssd.image_resizer.fixed_shape_resizer.height={SIDE}",
    "--set",
    f"model.ssd.image_resizer.fixed_shape_resizer.width={SIDE}",
    "--set",
    "model.ssd.feature_extractor.depth_multiplier=0.35",
    "--set",
    "train_config.data_augmentation_options=",
    "--batch-size",
    "2",
]


def events(folder):
    """Return (scalars: tag -> values, images: tags) of the TensorBoard events in a folder."""
    import tensorflow as tf

    scalars, images = collections.defaultdict(list), set()
    for path in sorted(folder.glob("events.*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    images.add(value.tag)
                elif value.HasField("tensor"):
                    scalars[value.tag].append(float(tf.make_ndarray(value.tensor)))
    return dict(scalars), images


def in_tensorboard(folder):
    """Return run -> tag -> [(step, tensor)] of all event files below a folder, as TensorBoard's own reader sees them."""
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.util import tensor_util

    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    return {
        run: {
            tag: [(one.step, tensor_util.make_ndarray(one.tensor_proto)) for one in multiplexer.Tensors(run, tag)]
            for tag in content["tensors"]
        }
        for run, content in multiplexer.Runs().items()
    }
