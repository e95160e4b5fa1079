"""Checkpoints: find them, and restore them with a count of what was restored and what was not.

    restored = restore_fine_tune(model, config.train_config)
    restored.sentence()        # "restored 312 of 324 variables; 12 start afresh (BoxPredictor/ConvolutionalClassHead_#: 12); 12 of the …"

A checkpoint stores the graph of the objects that it was made of. A variable has its place in it by its path through that graph, as TensorFlow
itself does it (https://www.tensorflow.org/guide/checkpoint#loading_mechanics); here everything is compared first, so that a checkpoint
that does not fit leaves the model as it was.
"""

import collections
import dataclasses
import re
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from pneumodet.core import runs
from pneumodet.core.errors import CheckpointError, first_line
from pneumodet.core.formatting import listed
from pneumodet.models.detection import checkpoint_files, pipeline_config

_LISTED = 5
"""How many variables a message names before it says how many more there are."""

_SLOT = ".OPTIMIZER_SLOT"
"""Part of the names of an optimizer's own variables."""

AVERAGE = "average"
"""Name of the optimizer's variables that are averages of the weights over the steps, as the API's optimizer has it."""

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
"""End of the name of a variable."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a checkpoint gave a model; ``int()`` of it is the number of variables restored.

    Attributes:
      restored: variables of the model that have the checkpoint's values now.
      total: variables of the model.
      fresh: names of those that have their initial values still.
      unused: the checkpoint's variables, below the same objects, that the model has no place for; an optimizer's are not counted.
      averages: how many of ``restored`` are averages of weights.
    """

    restored: int
    total: int
    fresh: tuple[str, ...]
    unused: int
    averages: int = 0

    def __int__(self) -> int:
        """Return ``restored``."""
        return self.restored

    def sentence(self) -> str:
        """Return it as a sentence for the user."""
        text = f"restored {self.restored} of {self.total} variables" + (f", {self.averages} of them averages" if self.averages else "")
        if self.fresh:
            groups = collections.Counter("/".join(re.sub(r"\d+", "#", name).split("/")[:2]) for name in self.fresh)
            text += f"; {len(self.fresh)} start afresh ({listed((f'{group}: {count}' for group, count in groups.items()), _LISTED)})"
        return text + (f"; {self.unused} of the checkpoint are not used" if self.unused else "")


@dataclasses.dataclass
class _Match:
    """How objects and a checkpoint agree.

    Attributes:
      pairs: id of a variable -> (the variable, name of the checkpoint's entry), where path and shape agree.
      misshapen: (the variable, its shape in the checkpoint), where only the path does.
    """

    pairs: dict[int, tuple[tf.Variable, str]] = dataclasses.field(default_factory=dict)
    misshapen: dict[int, tuple[tf.Variable, list[int]]] = dataclasses.field(default_factory=dict)


def latest(folder: Path) -> str:
    """Return the path prefix of the newest checkpoint in ``folder``.

    Raises:
      CheckpointError: there is none.
    """
    state = tf.train.get_checkpoint_state(str(folder))
    if state is None:
        raise CheckpointError(f"There is no checkpoint in {folder}. Train the run first, or let it run until its first checkpoint.")
    path = state.model_checkpoint_path
    # TensorFlow believes the state file, which may have been copied without its checkpoint
    if not Path(f"{path}.index").is_file():
        raise CheckpointError(f"The newest checkpoint of {folder} is {Path(path).name}, but its files are gone. Train the run again.")
    return path


def of_run(folder: Path) -> str:
    """Return the path prefix of a run's best checkpoint, or of its newest where no evaluation was done while it was trained.

    Raises:
      CheckpointError: it has none.
    """
    return latest(checkpoint_files.folder_of_run(folder))


def step_of(path: str) -> int:
    """Return the step that a checkpoint's prefix, ``…/ckpt-N``, names."""
    return int(path.rpartition("-")[2])


def restore_fine_tune(model: Any, train_config: Any) -> Restored:
    """Restore ``fine_tune_checkpoint`` into a model that has been built.

    What a type asks for must be in the checkpoint as a whole: the backbone for "classification", all feature extractors for "detection",
    everything for "full". With "detection", the API leaves all heads afresh; here a head's variables are taken, too, where they fit
    (towers, box regression, the region proposals of two stages), so that only what depends on the classes starts afresh. From a run that is
    evaluated with averages of its weights, these are taken.

    Args:
      model: a DetectionModel of the API with all its variables.
      train_config: has fine_tune_checkpoint and fine_tune_checkpoint_type, checked by ``pipeline_config.check``.

    Returns:
      What was restored; at least one variable was.

    Raises:
      CheckpointError: the checkpoint does not fit, and the model is as it was; the message has the numbers and names of variables.
    """
    kind, path = train_config.fine_tune_checkpoint_type, train_config.fine_tune_checkpoint
    try:
        parts = model.restore_from_objects(fine_tune_checkpoint_type=kind)
    except ValueError as error:
        raise CheckpointError(f"This model cannot start from a checkpoint of type {kind!r}: {first_line(error)}.") from error
    source = _Source(path, averaged=_of_averaged_run(path))
    match = source.match(parts)
    _check_whole(match, parts, source, hint=_hint(kind, source))
    # after the check, which is of the feature extractors alone: heads are welcome where they fit, and not asked for
    if kind == "detection":
        match.pairs |= source.match({"model": model}).pairs
    source.assign(match)
    every = _variables(model)
    fresh = tuple(variable.name for variable in every if id(variable) not in match.pairs)
    used = {key for _, key in match.pairs.values()}
    unused = sum(key not in used and key.partition("/")[0] in parts for key in source.keys)
    return Restored(len(every) - len(fresh), len(every), fresh, unused, averages=len(used & source.averages.keys()))


def restore(parts: dict[str, Any], path: str, *, hint: str, averaged: bool = False) -> int:
    """Restore every variable of ``parts`` from a checkpoint.

    Args:
      parts: name in the checkpoint -> trackable object whose variables exist.
      path: the checkpoint's prefix, up to and with ``ckpt-N``.
      hint: the next step, for the message.
      averaged: take averages for the weights that the checkpoint has averages of.

    Returns:
      The number of variables that were restored, at least 1.

    Raises:
      CheckpointError: the file cannot be read, a shape differs, a variable of ``parts`` is not in it, or there are no averages; ``parts`` are as
        they were.
    """
    source = _Source(path, averaged=averaged)
    if averaged and not source.averages:
        raise CheckpointError(
            f"Checkpoint {source.path} holds no averages of weights, which this run's pipeline.config asks for. Set eval_config.use_moving_averages to "
            "false there to take the weights themselves."
        )
    match = source.match(parts)
    _check_whole(match, parts, source, hint=hint)
    source.assign(match)
    return len(match.pairs)


class _Source:
    """A checkpoint that is read from.

    Attributes:
      path: its prefix.
      shapes: name of an entry -> its shape.
      keys: the entries that are variables, but for an optimizer's.
      averages: name of such an entry -> name of the entry that is read in its place; empty where weights are read as they are.
    """

    def __init__(self, path: str, *, averaged: bool = False) -> None:
        self.path = checkpoint_files.find(Path(path))
        checkpoint_files.check_object_based(self.path)
        try:
            self._reader = tf.train.load_checkpoint(self.path)
            self.shapes = self._reader.get_variable_to_shape_map()
            graph = self._reader.get_tensor(checkpoint_files.OBJECT_GRAPH)
        except (tf.errors.OpError, OSError, IndexError, ValueError, RuntimeError) as error:
            raise self._unreadable(error) from error
        self._graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(graph)
        # slots (momentum and its like) belong to the optimizer that wrote them, and are restored with a run only
        self.keys = {key for key in self.shapes if key.endswith(_VALUE) and _SLOT not in key}
        # "optimizer" is what the API's loop and ours call it in a checkpoint
        slots = {key: f"{key.removesuffix(_VALUE)}/{_SLOT}/optimizer/{AVERAGE}{_VALUE}" for key in self.keys} if averaged else {}
        self.averages = {key: slot for key, slot in slots.items() if slot in self.shapes}

    def match(self, parts: dict[str, Any]) -> _Match:
        """Compare objects with the checkpoint's, name by name; nothing is changed."""
        root = {child.local_name: child.node_id for child in self._graph.nodes[0].children}
        match, visited = _Match(), set()
        queue = collections.deque((thing, root[name]) for name, thing in parts.items() if name in root)
        while queue:
            thing, number = queue.popleft()
            if id(thing) in visited:
                continue
            visited.add(id(thing))  # objects refer to one another in circles
            node = self._graph.nodes[number]
            if isinstance(thing, tf.Variable):
                key = next((value.checkpoint_key for value in node.attributes if value.name == "VARIABLE_VALUE"), None)
                if key is None or key not in self.shapes:
                    continue
                if thing.shape.is_compatible_with(self.shapes[key]):
                    match.pairs[id(thing)] = (thing, key)
                else:
                    match.misshapen[id(thing)] = (thing, self.shapes[key])
                continue
            below = {child.local_name: child.node_id for child in node.children}
            queue.extend((child, below[name]) for name, child in tf.train.TrackableView.children(thing).items() if name in below)
        return match

    def assign(self, match: _Match) -> None:
        """Give the variables their values; all are read before the first is changed."""
        try:
            # a file that is cut off in the values has a whole index, and fails only here
            values = [(variable, self._reader.get_tensor(self.averages.get(key, key))) for variable, key in match.pairs.values()]
        except (tf.errors.OpError, OSError, IndexError, ValueError, RuntimeError) as error:
            raise self._unreadable(error) from error
        for variable, value in values:
            variable.assign(value)

    def _unreadable(self, error: BaseException) -> CheckpointError:
        return CheckpointError(f"Checkpoint {self.path} cannot be read: {first_line(error)}. Is the file whole?")


def _check_whole(match: _Match, parts: dict[str, Any], source: _Source, *, hint: str) -> None:
    wanted = [variable for part in parts.values() for variable in _variables(part)]
    missing = [variable.name for variable in wanted if id(variable) not in match.pairs]
    if wanted and not missing:
        return
    # a variable of another shape is there, and would be named twice
    absent = [name for name in missing if name not in {variable.name for variable, _ in match.misshapen.values()}]
    reasons = [f"not in it: {listed(absent, _LISTED)}"] if absent else []
    if match.misshapen:
        others = [f"{variable.name} {shape} there, {variable.shape.as_list()} here" for variable, shape in match.misshapen.values()]
        reasons.append(f"of another shape: {listed(others, _LISTED)}")
    raise CheckpointError(
        f"Checkpoint {source.path} does not fit this model: {len(wanted) - len(missing)} of {len(wanted)} variables were found "
        f"({'; '.join(reasons)}). {hint}"
    )


def _of_averaged_run(path: str) -> bool:
    """Return whether a checkpoint is of a run, ``run/train/ckpt-N``, whose figures are of averages."""
    folder = Path(path).parent.parent
    # a run has both; the model zoo and exports have a pipeline.config, too
    of_run = (folder / runs.CONFIG).is_file() and (folder / runs.RECORD).is_file()
    return of_run and pipeline_config.averaged(pipeline_config.load(str(folder / runs.CONFIG)))


def _hint(kind: str, source: _Source) -> str:
    """Return the next step for a checkpoint that does not fit as ``kind``."""
    roots = {key.partition("/")[0] for key in source.keys}
    if kind == "classification" and "model" in roots and "feature_extractor" not in roots:
        return "It holds a detector, no bare backbone: give fine_tune_checkpoint_type 'detection'."
    if kind != "classification" and "feature_extractor" in roots and "model" not in roots:
        return "It holds a bare backbone, no detector: give fine_tune_checkpoint_type 'classification'."
    if kind == "full":
        return "Where only its classes or anchors are others, give fine_tune_checkpoint_type 'detection'; otherwise it is of another architecture."
    return "It is of another architecture, width (depth_multiplier) or feature extractor: choose the config that it was trained with."


def _variables(part: Any) -> list[tf.Variable]:
    # by id: since TensorFlow 2, a variable cannot be hashed, so that it cannot be in a set
    variables = {}
    for thing in tf.train.TrackableView(part).descendants():
        if isinstance(thing, tf.Variable):
            variables[id(thing)] = thing
    return list(variables.values())
