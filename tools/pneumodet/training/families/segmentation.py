"""U-Nets as a family of the engine for Keras 3 models: settings and records -> network, feed, evaluation, and the report at the end.

folder, outcome, metrics = training.keras.experiment.train(Segmenter(), request)
"""

import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core import detections, paths, runs
from pneumodet.core.errors import CheckpointError, first_line
from pneumodet.data import box_audit
from pneumodet.data.record_sets import RecordSet, Split
from pneumodet.evaluation import image_level
from pneumodet.models.inputs import augmentation_settings, images
from pneumodet.models.segmentation.settings import SegmenterSettings
from pneumodet.training.keras.family import Family, Parts, Say
from pneumodet.training.keras.phases import Phase
from pneumodet.viz import pictures

DETECTIONS = "detections.json"
"""COCO results: the boxes of the masks."""

SHEET = "masks.png"
"""Truth against prediction."""

DRAWN = 8, 4
"""Exams with and without pneumonia on the sheet; of the latter those with the highest scores."""

_COLUMNS = 4
_FROM_RUN = "run:"

NO_WEIGHTS = "none"
WEIGHTS_FILES = (".weights.h5", ".keras")


class Segmenter(Family):
    """U-Nets on masks made of boxes; see ``training.keras.family.Family``."""

    name, settings = runs.SEGMENTATION, SegmenterSettings

    def check(self, settings: SegmenterSettings, records: RecordSet, *, say: Say) -> dict[str, Any]:
        """See ``Family``."""
        check_weights(settings.pretrained)
        box_audit.check_has_boxes(records, "A U-Net")
        return {}

    def build(self, settings: SegmenterSettings, *, pretrained: bool, say: Say = lambda text: None) -> Any:
        """See ``Family``."""
        from pneumodet.models.segmentation import networks

        model = networks.unet(settings.size_hw, settings.architecture, seed=settings.seed)
        if pretrained and settings.pretrained != NO_WEIGHTS:
            _load(model, settings.pretrained)
            say(f"weights of {settings.pretrained}")
        return model

    def assemble(self, settings: SegmenterSettings, records: RecordSet, model: Any) -> Parts:
        """See ``Family``."""
        from pneumodet.evaluation import runner
        from pneumodet.evaluation.segmentation import sheet
        from pneumodet.evaluation.segmentation.evaluation import MaskEvaluator
        from pneumodet.models.inputs import keras_feeding
        from pneumodet.models.segmentation import losses
        from pneumodet.training.keras.trainer import Trainer

        parts = losses.of_name(settings.loss)
        trainer = Trainer(
            model,
            lambda batch, outputs: parts(outputs["mask"], batch["mask"]),
            phases=(Phase(steps=settings.steps, learning_rate=settings.learning_rate, warmup_steps=settings.warmup_steps),),
            optimizer=settings.optimizer,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
        )
        feed = keras_feeding.Feed(
            records.train.shards,
            batch_size=settings.batch_size,
            augmentation=augmentation_settings.load(settings.augmentation),
            seed=settings.seed,
            positive=records.train.positive,
            positive_share=settings.positive_share or None,
            masks_from_boxes=True,
            size_hw=settings.size_hw,
            normalization=settings.normalization,
            skip_corrupt=settings.skip_corrupt,
        )
        of_val = runner.Runner(
            model,
            records.val,
            size_hw=settings.size_hw,
            normalization=settings.normalization,
            skip_corrupt=settings.skip_corrupt,
        )
        evaluator = MaskEvaluator(records.val, size_hw=settings.size_hw, smallest_share=settings.smallest_share, seed=settings.seed)
        return Parts(
            trainer=trainer,
            feed=feed,
            runner=of_val,
            evaluate=evaluator.within_training,
            report=_reporter(settings, records.train, of_val, evaluator),
            drawn=lambda sample: sheet.of_mask(sample["image"][..., 0], sample["mask"][..., 0]),
        )

    def reporter(
        self, settings: SegmenterSettings, records: RecordSet, split: Split, model: Any, *, chosen: Mapping[str, Any] | None = None
    ) -> Callable[[Path], dict[str, Any]]:
        """See ``Family``."""
        from pneumodet.evaluation import runner
        from pneumodet.evaluation.segmentation.evaluation import MaskEvaluator

        how: dict[str, Any] = {name: getattr(settings, name) for name in ("size_hw", "normalization", "skip_corrupt")}
        of_pixels = (chosen.get("pixel_threshold") or {}).get("new_data") if chosen else None
        evaluator = MaskEvaluator(
            split, size_hw=settings.size_hw, smallest_share=settings.smallest_share, seed=settings.seed, pixel_threshold=of_pixels
        )
        at = chosen.get("rsna_threshold") if chosen else None
        return _reporter(settings, records.train, runner.Runner(model, split, **how), evaluator, threshold=at)


def check_weights(name: str) -> None:
    """Check what a ``pretrained`` setting means.

    Raises:
      CheckpointError: there is no such file.
      DataError: there is no such run.
    """
    if name.startswith(_FROM_RUN):
        runs.find(name.removeprefix(_FROM_RUN), family=runs.SEGMENTATION)
    elif name != NO_WEIGHTS and not (Path(name).is_file() and name.endswith(WEIGHTS_FILES)) and not Path(f"{name}.index").is_file():
        raise CheckpointError(
            f"There are no weights {name}. Give {NO_WEIGHTS}, run:NAME of a segmenter, a checkpoint's path up to and with ckpt-N, or a "
            f"{' or '.join(WEIGHTS_FILES)} file."
        )


def _load(model: Any, name: str) -> None:
    """Load the weights that a ``pretrained`` setting means into a network.

    Raises:
      CheckpointError: they cannot be read, or are of another network.
    """
    if not name.endswith(WEIGHTS_FILES):
        from pneumodet.models.detection import checkpoints
        from pneumodet.training.keras import trainer

        of_run = name.startswith(_FROM_RUN)
        trainer.restore(model, checkpoints.of_run(paths.run_dir(name.removeprefix(_FROM_RUN))) if of_run else name)
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that the file lacks, and leaves them new
            model.load_weights(name)
    except (OSError, ValueError, KeyError, UserWarning) as error:
        raise CheckpointError(
            f"The weights {name} do not fit this network: {first_line(error)}. They must be of a U-Net with the same convolutions, filters, depth and encoder."
        ) from error


def _reporter(
    settings: SegmenterSettings, train: Split, runner: Any, evaluator: Any, *, threshold: float | None = None
) -> Callable[[Path], dict[str, Any]]:
    def report(folder: Path) -> dict[str, Any]:
        """Evaluate the network as it is now, write scores.csv, detections.json and the sheet, and return what metrics.json holds."""
        from pneumodet.evaluation.segmentation import evaluation, sheet

        evaluated, split = evaluator(runner.batches()), runner.split
        image_level.write_scores(folder / image_level.SCORES, split, evaluated.scores)
        detections.write_coco_results(folder / DETECTIONS, evaluated.detections)
        shown = list(_shown(settings, split, evaluated.scores, runner.skipped))
        tiles = [evaluator.drawn(evaluated, number, pixels) for number, pixels in shown]
        captions = [evaluator.caption(evaluated, number) for number, _ in shown]
        pictures.save(folder / SHEET, sheet.keyed(pictures.contact_sheet(tiles, columns=_COLUMNS, captions=captions)))
        prior = evaluation.spatial_prior(train, settings.size_hw)
        how = {"aim": settings.aim, "class_name": split.class_name, "seed": settings.seed}
        return evaluation.summarize(evaluated, prior_mask=prior, threshold=threshold, **how)

    return report


def _shown(settings: SegmenterSettings, split: Split, scores: np.ndarray, skipped: Container[str]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield number and (h, w) uint8 pixels of the exams on the sheet; read again, since a split's images may be more than memory holds."""
    readable = [number for number in np.argsort(-scores, kind="stable").tolist() if split.examples.where(number) not in skipped]
    # positives in the records' order, negatives by score: the worst false alarms are what a reader wants to see
    positive = sorted(number for number in readable if split.positive[number])
    negative = [number for number in readable if not split.positive[number]]
    for number in [*positive[: DRAWN[0]], *negative[: DRAWN[1]]]:
        # by the rule of training and evaluation, so that the sheet shows what the model gets
        sample = images.read(split.examples.read(number), size_hw=settings.size_hw, normalization=settings.normalization)
        yield number, images.resized(sample.pixels, settings.size_hw)
