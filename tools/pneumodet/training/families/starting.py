"""What a detector's run starts from, said before all else: a checkpoint that was asked for, the config's own, the model zoo's, or random weights.

    start, request = choose(request, config, "my_first", records=records, say=print, on_download=print)      # and the config names it
    # my_first starts from ssd_mobilenet_v2_320x320_coco17_tpu-8, the model zoo's detector for this config (--pretrained none: random weights)

Nobody trains from random weights without having been told: where nothing else was asked for, the zoo's checkpoint is taken, and where that cannot be had,
training does not begin.
"""

import dataclasses
from typing import TYPE_CHECKING

from pneumodet.core import gpus
from pneumodet.core.errors import CheckpointError
from pneumodet.data.record_sets import RecordSet
from pneumodet.models import pretrained
from pneumodet.models.detection import anchor_fitting, pipeline_config
from pneumodet.models.detection.odapi import Config
from pneumodet.training import advice
from pneumodet.training.engine import Say

FULL = "full"
"""Type of a start whose classes and anchors are those of the run."""

NOTHING = "none"
"""Pattern of a user who wants nothing frozen."""

if TYPE_CHECKING:
    from pneumodet.training.families.detection_request import Request


def choose(
    request: "Request", config: Config, run: str, *, records: RecordSet, say: Say, on_download: pretrained.Progress
) -> tuple[pretrained.Start | None, "Request"]:
    """Write into a config what it starts from, say so first of all, and settle what suits the set.

    Args:
      request: what the user asks for.
      config: of which all else is settled.
      run: name of the run.
      records: to train on.
      say: takes a sentence.
      on_download: takes (bytes there, bytes in all or None).

    Returns:
      (the start, or None for random weights or the checkpoint that the config itself names; the request, ``settled``).

    Raises:
      ConfigError: the choice means nothing.
      CheckpointError: there is no such checkpoint, or it cannot be had.
    """
    train = config.train_config
    own = train.fine_tune_checkpoint if pipeline_config.PLACEHOLDER not in train.fine_tune_checkpoint else ""
    asked = request.pretrained or request.fine_tune_checkpoint
    name = pretrained.of_registry(asked, config) if asked else None if own else _of_zoo(config)
    choice = asked or name or ""
    later: list[str] = []
    # a download is announced before it begins; of a file that is here it is known first whether it is one
    if name:
        say(_from_registry(run, name, config, asked=bool(asked)))
    elif not choice and own:
        say(f"{run} starts from {own}, which the config names")
        if request.fine_tune_checkpoint_type:
            train.fine_tune_checkpoint_type = request.fine_tune_checkpoint_type
    elif choice in ("", pretrained.NONE):
        why = "" if choice else f"warning: {config.model.WhichOneof('model')} of this config has no checkpoint in the model zoo's list; "
        say(f"{why}{run} starts from random weights, and {pretrained.COST}")
    # before the start is resolved: whether another run fits as a whole depends on the anchors
    if request.fit_anchors:
        later.append(anchor_fitting.fit(config, records.train.instances).sentence())
    start = _resolved(
        request, config, choice, asked=bool(asked), records=records, say=say if name else later.append, on_download=on_download
    )
    if start is not None and not name:
        say(f"{run} starts from {start.source}")
    if choice:
        # emptied for none: the config's own file may name one
        train.fine_tune_checkpoint = start.checkpoint if start else ""
        train.fine_tune_checkpoint_type = start.type if start else ""
        train.fine_tune_checkpoint_version = 2  # V2, object-based: the only kind that TensorFlow 2 restores
    for sentence in later:
        say(sentence)
    return start, settled(request, config, start, records=records, say=say)


def _of_zoo(config: Config) -> str | None:
    """Return the name of the model zoo's checkpoint for a config: a detector, else a backbone."""
    return pretrained.of_registry(pretrained.DEFAULT, config) or pretrained.of_registry(pretrained.IMAGENET, config)


def _from_registry(run: str, name: str, config: Config, *, asked: bool) -> str:
    kind = "detector" if name == pretrained.of_registry(pretrained.DEFAULT, config) else "backbone"
    more = "" if asked else f", the model zoo's {kind} for this config (--pretrained none: random weights)"
    return f"{run} starts from {name}{more}"


def _resolved(
    request: "Request", config: Config, choice: str, *, asked: bool, records: RecordSet, say: Say, on_download: pretrained.Progress
) -> pretrained.Start | None:
    if not choice:
        return None
    kind = request.fine_tune_checkpoint_type
    try:
        return pretrained.resolve(choice, config=config, label_map=records.label_map, kind=kind, on_progress=on_download, on_notice=say)
    except CheckpointError as error:
        if asked:
            raise
        raise CheckpointError(
            f"{error} Or train without it: --pretrained none starts from random weights, and {pretrained.COST}; --pretrained also takes the path of a "
            "checkpoint or run:NAME."
        ) from error


def settled(request: "Request", config: Config, start: pretrained.Start | None, *, records: RecordSet, say: Say) -> "Request":
    """Return a request with ``freeze``, ``fit_anchors`` and ``positive_share`` as they are meant, and say what the user has not chosen.

    Args:
      request: what the user asks for.
      config: which is given fitted anchors.
      start: what training starts from; None for random weights, with which nothing is chosen for the user.
      records: to train on.
      say: takes a sentence.
    """
    # measured from the weights of other pictures: what is random cannot stay as it is, and a detector of ours has its own anchors
    exams, from_others = len(records.train), start is not None and start.type != FULL
    suits = from_others and config.model.ssd.feature_extractor.type in advice.MOBILENETS and exams < advice.SMALL_EXAMS and not gpus.count()
    freeze = None if request.freeze is None else tuple(one for one in request.freeze if one != NOTHING)
    fit = request.fit_anchors
    chosen = []
    if freeze is None and suits:
        freeze = advice.FREEZE
        chosen.append("the backbone's early stages stay as they are (--freeze none trains them, too)")
    fits = fit is None and suits and anchor_fitting.enough(config, records.train.instances)
    if fits:
        chosen.append("anchors that fit its boxes are looked for (--no-fit-anchors keeps the config's)")
    share = request.positive_share
    if share is None and suits and len(set(records.train.positive)) == 2:
        share = advice.POSITIVE_SHARE
        chosen.append(f"{share:.0%} of the samples show pneumonia (--positive-share 0 leaves it as it is)")
    if chosen:
        say(f"{exams:,} training exams, no GPU: {'; '.join(chosen)}")
    if fits:
        say(anchor_fitting.fit(config, records.train.instances).sentence())
    return dataclasses.replace(request, freeze=freeze or (), fit_anchors=bool(fit or fits), positive_share=share or None)
