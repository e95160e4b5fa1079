"""What averages of the weights cost: processor seconds of a training step with and without them, in turn in one process, on one made-up batch.

    python benchmarks/averages.py --config ssd_mobilenet --freeze early
    | ssd_mobilenet, 320 px, batch of 8 | CPU s a step |
    …

Blocks of steps go forth and back, so that a machine that slows down slows both; the medians of the blocks are compared. Processor time is
that of the process, so that other work on the machine matters less. Where the blocks vary by more than the difference, ``the update alone``, by
itself in a graph, is the figure to go by.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

AVERAGES = ("train_config.optimizer.use_moving_average=true", "train_config.optimizer.moving_average_decay=0.999")

ALONE = "the update alone"

UPDATES = 20
"""Of a block of these."""

BOXES = 2
"""Of each made-up image."""


def batch_of(size_hw: tuple[int, int], *, images: int, classes: int, seed: int = 0) -> dict[str, Any]:
    """Return a batch as ``feeding.Feed`` gives them: noise, and boxes in the middle."""
    import tensorflow as tf

    random = np.random.default_rng(seed)
    corner = random.uniform(0.1, 0.4, (images, BOXES, 2))
    labels = tf.one_hot(random.integers(classes, size=(images, BOXES)), classes)
    return {
        "image": tf.constant(random.integers(256, size=(images, *size_hw, 1), dtype=np.uint8)),
        "true_shape": tf.constant(np.tile([*size_hw, 3], (images, 1)), tf.int32),
        "boxes_yxyx_norm": tf.constant(np.concatenate([corner, corner + 0.4], axis=2), tf.float32),
        "classes": labels,
        "weights": tf.ones((images, BOXES)),
        "count": tf.fill([images], BOXES),
    }


def measure(
    config: str, *, freeze: Sequence[str], settings: Sequence[str], batch_size: int, steps: int, rounds: int
) -> dict[str, list[float]]:
    """Return "without" and "with" -> processor seconds a step of each block."""
    from pneumodet.core import logs

    logs.set_up(verbose=False)
    import tensorflow as tf

    from pneumodet.models.detection import choices, models, pipeline_config, resizing
    from pneumodet.training import freezing
    from pneumodet.training.step import TOTAL_LOSS, Trainer

    trainers = {}
    for name, more in (("without", choices.NO_AVERAGES), ("with", AVERAGES)):
        parsed = pipeline_config.load(config)
        pipeline_config.override(parsed, (*settings, *more))
        tf.keras.utils.set_random_seed(0)
        model = models.build(parsed, is_training=True)
        trained = freezing.freeze(model, freeze).trained
        trainers[name] = Trainer(model, parsed, tf.distribute.get_strategy(), trained=trained)
    size_hw = resizing.of_config(parsed).fixed_hw
    if size_hw is None:
        raise SystemExit(f"{config} has no input of a fixed size.")
    batch = batch_of(size_hw, images=batch_size, classes=pipeline_config.architecture(parsed).num_classes)
    seconds: dict[str, list[float]] = {name: [] for name in (*trainers, ALONE)}
    update = tf.function(lambda step: trainers["with"]._averages.update(step), autograph=False)
    step = tf.constant(1, tf.int64)
    update(step)
    for number in range(-1, rounds):  # the first round is traced and compiled
        for name in list(trainers) if number % 2 else list(trainers)[::-1]:
            begin = time.process_time()
            for _ in range(1 if number < 0 else steps):
                loss = trainers[name].step(batch)[TOTAL_LOSS]
            loss.numpy()
            if number >= 0:
                seconds[name].append((time.process_time() - begin) / steps)
        begin = time.process_time()
        for _ in range(UPDATES):
            update(step)
        if number >= 0:
            seconds[ALONE].append((time.process_time() - begin) / UPDATES)
    return seconds


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", default="ssd_mobilenet", help="(default %(default)s)")
    add("--freeze", action="append", default=[], help="as tools/train.py has it")
    add("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings", help="field of the config; repeatable")
    add("--batch-size", type=int, default=8, help="(default %(default)s)")
    add("--steps", type=int, default=10, help="of a block (default %(default)s)")
    add("--rounds", type=int, default=8, help="blocks of each (default %(default)s)")
    args = parser.parse_args()
    seconds = measure(
        args.config, freeze=args.freeze, settings=args.settings, batch_size=args.batch_size, steps=args.steps, rounds=args.rounds
    )
    without, averaged = (statistics.median(seconds[name]) for name in ("without", "with"))
    differences = [one / other - 1 for one, other in zip(seconds["with"], seconds["without"], strict=True)]
    print(
        f"| {args.config}, batch of {args.batch_size}{', ' if args.freeze else ''}{' '.join(args.freeze)} | CPU s a step |\n| --- | ---: |"
    )
    alone = statistics.median(seconds[ALONE])
    print(
        f"| without averages | {without:.4f} |\n| with averages | {averaged:.4f} |\n| {ALONE} | {alone:.4f}, {alone / without:.1%} of a step |"
    )
    print(f"\naverages cost {averaged / without - 1:+.1%}; block by block {min(differences):+.1%} to {max(differences):+.1%}")


if __name__ == "__main__":
    main()
