"""Reading what training wrote."""

import collections


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
