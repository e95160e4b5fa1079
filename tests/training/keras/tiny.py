"""A family of models small enough for tests, with all that makes resuming hard: batch normalization, dropout, two phases, momentum."""

import dataclasses

import numpy as np

from pneumodet.evaluation import image_level
from pneumodet.models.inputs import augmentation_settings
from pneumodet.models.settings import Settings
from pneumodet.training.keras import experiment
from pneumodet.training.keras.family import Family, Parts
from pneumodet.training.keras.phases import Phase

SIDE = 32

CONFIG = f"""image_size = {SIDE}
batch_size = 4
steps = 10
learning_rate = 0.02
warmup_steps = 2
checkpoint_every = 1
evaluate_every = 5
keep = 20
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinySettings(Settings):
    """With the steps in which the body is frozen."""

    head_steps: int = 4


class Tiny(Family):
    """A convolution, batch normalization, dropout and a head."""

    name, settings = "tiny", TinySettings

    def check(self, settings, records, *, say):
        return {"backbone": "tiny"}

    def build(self, settings, *, pretrained, say=lambda text: None):
        import keras

        image = keras.Input((*settings.size_hw, 1), dtype="uint8", name="image")
        x = keras.layers.Rescaling(1 / 127.5, -1)(image)
        x = keras.layers.Conv2D(4, 3, strides=2, name="body_conv")(x)
        x = keras.layers.BatchNormalization(name="body_norm")(x)
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
        x = keras.layers.Dropout(0.5)(x)
        return keras.Model({"image": image}, {"pneumonia": keras.layers.Dense(1, name="head")(x)})

    def assemble(self, settings, records, model):
        import tensorflow as tf
        from PIL import Image

        from pneumodet.evaluation.runner import Runner
        from pneumodet.models.inputs.keras_feeding import Feed
        from pneumodet.training.keras.trainer import Trainer

        frozen = tuple(layer for layer in model.layers if layer.name.startswith("body"))
        first = min(settings.head_steps, settings.steps)
        phases = [Phase(steps=first, learning_rate=settings.learning_rate, frozen=frozen)]
        if settings.steps > first:
            phases.append(Phase(steps=settings.steps - first, learning_rate=settings.learning_rate / 2, warmup_steps=settings.warmup_steps))

        def loss(batch, outputs):
            labels = tf.cast(batch["positive"], tf.float32)[:, None]
            return {"pneumonia": tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, outputs["pneumonia"]))}

        runner = Runner(model, records.val, size_hw=settings.size_hw)

        def scores(batches):
            return np.concatenate([1 / (1 + np.exp(-seen.outputs["pneumonia"][:, 0])) for seen in batches])

        def report(folder):
            of_exams = scores(runner.batches())
            image_level.write_scores(folder / image_level.SCORES, records.val, of_exams)
            return image_level.summarize(image_level.of_scores(records.val, of_exams), resamples=50)

        return Parts(
            trainer=Trainer(model, loss, phases=phases, optimizer=settings.optimizer, clip_norm=settings.clip_norm),
            feed=Feed(
                records.train.shards,
                size_hw=settings.size_hw,
                batch_size=settings.batch_size,
                augmentation=augmentation_settings.load(settings.augmentation),
                seed=settings.seed,
                positive=records.train.positive,
            ),
            runner=runner,
            evaluate=lambda batches: evaluated(image_level.headline(image_level.of_scores(records.val, scores(batches)))),
            report=report,
            drawn=lambda sample: Image.fromarray(sample["image"][..., 0]),
        )


def evaluated(headline):
    """Return an evaluation within training."""
    from pneumodet.evaluation.runner import Evaluation

    return Evaluation(headline.figures, moves=headline.moves)


def request(records, folder, *overrides, **more):
    """Return a request for a run of 10 steps of 4 images, reported at every step because a checkpoint is."""
    config = folder.parent / "tiny.toml"
    config.write_text(CONFIG)
    return experiment.Request(**{"run": str(folder), "config": str(config), "data": records, "overrides": overrides} | more)
