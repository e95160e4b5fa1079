"""Classifiers as a family of the engine: what they need of records, how they are built, trained in two phases, and evaluated.

folder, outcome, metrics = training.keras.experiment.train(Classifier(), Request(run="mine", config="mobilenetv2", data=data))
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import paths, runs
from pneumodet.data.label_map import NO_PNEUMONIA
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation import image_level
from pneumodet.evaluation.classification import scoring
from pneumodet.inference.probability import Calibrator
from pneumodet.models.classification import classes, metadata
from pneumodet.models.classification.settings import CLASS_WEIGHTS, NO_BALANCE, PNEUMONIA, ClassifierSettings, check_weights
from pneumodet.models.inputs import augmentation_settings
from pneumodet.training.keras.family import Family, Parts, Say
from pneumodet.training.keras.phases import Phase


class Classifier(Family):
    """Classifiers of whole radiographs; see ``training.keras.family.Family``."""

    name, settings = runs.CLASSIFICATION, ClassifierSettings

    def check(self, settings: ClassifierSettings, records: RecordSet, *, say: Say) -> dict[str, Any]:
        """See ``Family``."""
        check_weights(settings.pretrained, settings.backbone)
        if settings.metadata:
            for sentence in metadata.check(records):
                say(f"warning: {sentence}")
        share = records.train.positive.mean()
        if settings.imbalance == NO_BALANCE and not settings.positive_share:
            say(f"{share:.0%} of the training exams are positive, and imbalance is none")
        if settings.imbalance == CLASS_WEIGHTS and settings.positive_share:
            say(
                f"warning: positive_share draws {settings.positive_share:.0%} positives, and imbalance {CLASS_WEIGHTS} weighs them by their share of "
                "the records besides, so that they are made up for twice. Set imbalance=none."
            )
        if not settings.starts_trained and settings.head_steps:
            say("the backbone starts from new weights: all of it is trained from the first step, its batch normalizations too")
        facts: dict[str, Any] = {"backbone": settings.backbone, "task": settings.task, "pretrained": None}
        if settings.starts_trained:
            path = Path(settings.pretrained).expanduser()
            # a name of keras.applications has no file here
            digest = paths.sha256_file(path) if path.is_file() else None
            facts["pretrained"] = {"name": path.name, "sha256": digest}
        if settings.task != PNEUMONIA:
            train, val = classes.of_records(records, settings.class_info)
            facts["classes"] = {
                split: np.bincount(one, minlength=len(classes.CLASSES)).tolist() for split, one in (("train", train), ("val", val))
            }
        return facts

    def build(self, settings: ClassifierSettings, *, pretrained: bool, say: Say = lambda text: None) -> Any:
        """See ``Family``."""
        from pneumodet.models.classification import networks, weights

        backbone = None
        if pretrained and settings.starts_trained:
            backbone, sentence = weights.started(settings)
            say(sentence)
        return networks.classifier(settings, backbone)

    def assemble(self, settings: ClassifierSettings, records: RecordSet, model: Any) -> Parts:
        """See ``Family``."""
        from PIL import Image

        from pneumodet.evaluation.runner import Evaluation, Runner
        from pneumodet.models.classification import losses, networks
        from pneumodet.models.inputs.keras_feeding import Feed
        from pneumodet.training.keras.trainer import Trainer

        of_train = of_val = None
        if settings.task != PNEUMONIA:
            of_train, of_val = classes.of_records(records, settings.class_info)
        trainer = Trainer(
            model,
            losses.of(settings, positive=records.train.positive, classes=of_train),
            phases=phases(settings, networks.backbone_of(model)),
            optimizer=settings.optimizer,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
        )
        feed = Feed(
            records.train.shards,
            batch_size=settings.batch_size,
            augmentation=augmentation_settings.load(settings.augmentation),
            seed=settings.seed,
            positive=records.train.positive,
            positive_share=settings.share,
            targets=of_train,
            **scoring.feed_arguments(settings, records.train),
        )
        runner = Runner(model, records.val, **scoring.feed_arguments(settings, records.val))

        def evaluate(batches: Any) -> Evaluation:
            outputs = scoring.gathered(batches)
            loaded = image_level.of_scores(records.val, outputs["pneumonia"])
            headline = image_level.headline(loaded, aim=settings.aim, seed=settings.seed)
            return Evaluation(headline.figures | _accuracy(outputs, of_val), moves=headline.moves)

        return Parts(
            trainer=trainer,
            feed=feed,
            runner=runner,
            evaluate=evaluate,
            report=_reporter(settings, runner, of_val),
            drawn=lambda sample: Image.fromarray(sample["image"][..., 0]),
        )

    def reporter(
        self, settings: ClassifierSettings, records: RecordSet, split: Split, model: Any, *, chosen: Mapping[str, Any] | None = None
    ) -> Callable[[Path], dict[str, Any]]:
        """See ``Family``."""
        from pneumodet.evaluation.runner import Runner

        of_split = classes.of_one(split, settings.class_info) if settings.task != PNEUMONIA else None
        runner = Runner(model, split, **scoring.feed_arguments(settings, split))
        fitted = chosen.get("calibrator") if chosen else None
        return _reporter(
            settings,
            runner,
            of_split,
            threshold=chosen.get("threshold") if chosen else None,
            calibrator=Calibrator.from_json(fitted) if fitted else None,
        )


def phases(settings: ClassifierSettings, backbone: Any) -> tuple[Phase, ...]:
    """Return the head's phase, in which the backbone is frozen, and that of fine-tuning; one for all where nothing was learned before.

    Args:
      settings: steps, rates and what is frozen.
      backbone: a keras.Model, whose layers are in the order in which an image goes through them.
    """
    import keras

    warmup = settings.warmup_steps
    if not settings.starts_trained:
        return (Phase(steps=settings.steps, learning_rate=settings.learning_rate, warmup_steps=warmup),)
    if not settings.fine_tune:
        return (Phase(steps=settings.steps, learning_rate=settings.learning_rate, warmup_steps=warmup, frozen=(backbone,)),)
    with_weights = [layer for layer in backbone.layers if layer.weights]
    # the first layers, which see edges and textures, stay; those near the head are tuned
    frozen = with_weights[: round(len(with_weights) * (1 - settings.fine_tune))]
    if settings.freeze_batch_norm:
        frozen += [layer for layer in with_weights if isinstance(layer, keras.layers.BatchNormalization) and layer not in frozen]
    left = settings.steps - settings.head_steps
    tuning = Phase(steps=left, learning_rate=settings.fine_tune_rate, warmup_steps=warmup, frozen=tuple(frozen))
    if not settings.head_steps:
        return (tuning,)
    return Phase(steps=settings.head_steps, learning_rate=settings.learning_rate, warmup_steps=warmup, frozen=(backbone,)), tuning


def _accuracy(outputs: dict[str, np.ndarray], truth: np.ndarray | None) -> dict[str, float | None]:
    return {} if truth is None else {"classes.accuracy": float((outputs["classes"].argmax(axis=1) == truth).mean())}


def _reporter(
    settings: ClassifierSettings,
    runner: Any,
    of_split: np.ndarray | None,
    *,
    threshold: float | None = None,
    calibrator: Calibrator | None = None,
) -> Callable[[Path], dict[str, Any]]:
    def report(folder: Path) -> dict[str, Any]:
        """Evaluate the model as it is now, write scores.csv and the pictures, and return what metrics.json holds."""
        from pneumodet.evaluation.classification import charts, three_classes

        split = runner.split
        outputs = scoring.gathered(runner.batches())
        loaded = image_level.of_scores(split, outputs["pneumonia"])
        metrics = image_level.summarize(loaded, aim=settings.aim, threshold=threshold, calibrator=calibrator, seed=settings.seed)
        image_level.write_scores(folder / image_level.SCORES, split, outputs["pneumonia"])
        cells = metrics["image.confusion"]
        heading = "Pneumonia, each exam at the threshold that other patients gave"
        if threshold is not None:
            heading = f"Pneumonia at {threshold:.4g}, chosen on validation"
        table = np.array([[cells["tn"], cells["fp"]], [cells["fn"], cells["tp"]]])
        matrices: list[tuple[str, np.ndarray, Sequence[str]]] = [(heading, table, [NO_PNEUMONIA, split.class_name])]
        metrics |= {"backbone": settings.backbone, "task": settings.task}
        if of_split is not None:
            more = three_classes.summarize(outputs["classes"], of_split, patients=loaded.cases.patients, seed=settings.seed)
            metrics |= more["figures"] | {"classes": {key: more[key] for key in ("classes", "confusion")}}
            metrics["intervals"] |= more["intervals"]
            matrices.append(("Three classes, the most probable", np.array(more["confusion"]), classes.CLASSES))
        title = f"{settings.backbone}: {len(split)} {split.use} exams, {metrics['patients']} patients"
        charts.roc(folder / charts.ROC, metrics, title=title)
        charts.confusion(folder / charts.CONFUSION, matrices, title=title)
        return metrics

    return report
