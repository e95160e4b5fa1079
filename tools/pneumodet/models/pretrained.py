"""Where training starts from: a detector of the model zoo, a backbone, another run, any checkpoint, or nothing.

    start = resolve("coco", config=config, label_map=manifest["label_map"])
    config.train_config.fine_tune_checkpoint = start.checkpoint          # …/pretrained/ssd_mobilenet_v2_320x320_coco17_tpu-8/ckpt-0
    config.train_config.fine_tune_checkpoint_type = start.type           # detection

pretrained/registry.json lists what can be loaded by name. TensorFlow is not needed, but for a classifier's backbone: what a checkpoint holds is read
from its index.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from pneumodet.core import download, locks, paths, runs, suggest
from pneumodet.core.errors import CheckpointError, ConfigError
from pneumodet.core.seen import Seen
from pneumodet.data import label_map as label_maps
from pneumodet.models import checkpoint_archive, checkpoint_registry
from pneumodet.models.checkpoint_registry import LOCK, REGISTRY, Download, Entry
from pneumodet.models.detection.odapi import Config

MIRROR = "PNEUMODET_MIRROR"
"""Environment variable: a folder, or the start of a URL, where the archives lie under their file names."""

RUN = "run:"
"""Start of a choice that names another run."""

DEFAULT, IMAGENET, NONE = "coco", "imagenet", "none"
"""Choice where neither the user nor the config makes one, the zoo's backbone where it has no such detector, and the choice of random weights."""

_KINDS = {DEFAULT: "detection", IMAGENET: "classification"}
"""Choice -> type of the registry's checkpoints it chooses from, by the config's feature extractor."""

COST = (
    "so a detector needs many times the steps, and on a few thousand radiographs it does not come as far as from a checkpoint "
    "(He et al., ICCV 2019, arXiv:1811.08883)"
)
"""What random weights cost, as a part of a sentence."""

_OF_CLASSIFIERS = {"mobilenetv2": ("ssd_mobilenet_v2_keras", "ssd_mobilenet_v2_fpn_keras", "faster_rcnn_mobilenet_v2_fpn_keras")}
"""Backbone of a classifier -> feature extractors whose backbone is the same network."""

_ANCHORS = "anchor_generator"
"""Part of the names of fields with a model's anchors."""

_SAME = ("box_predictor", _ANCHORS)
"""Parts of names of fields in which two models must agree for all variables to fit, besides the feature extractor."""

_PHOTOGRAPHS = ("COCO", "ImageNet")
"""Beginnings of what the zoo's checkpoints were trained on."""

Progress = Callable[[int, int | None], None]


@dataclasses.dataclass(frozen=True)
class Start:
    """A checkpoint to start from.

    Attributes:
      checkpoint: its prefix, an absolute path up to and with ``ckpt-N``.
      type: fine_tune_checkpoint_type: "classification", "detection", "full" or "fine_tune".
      source: where it is from, for the user and run.json.
      licence: of the weights; None where it is not known.
      sha256: of the archive it came in; None where it did not come in one.
      seen: the exams that it was trained on, and what was chosen by them.
    """

    checkpoint: str
    type: str
    source: str
    licence: str | None = None
    sha256: str | None = None
    seen: Seen = Seen()


def resolve(
    choice: str,
    *,
    config: Config,
    label_map: dict[str, int],
    kind: str | None = None,
    folder: Path | None = None,
    mirror: str | None = None,
    on_progress: Progress = lambda done, total: None,
    on_notice: Callable[[str], None] = lambda text: None,
) -> Start | None:
    """Find, and where needed download, the checkpoint that a choice means.

    Args:
      choice: "none"; "coco" or "imagenet", the registry's detector or backbone for the config's architecture; a name of the registry;
        "run:NAME", a detector's or a classifier's; the name of a folder in ``folder``; or the path of a checkpoint (``…/ckpt-N``) or of a folder with one.
      config: the TrainEvalPipelineConfig that will be trained.
      label_map: name -> id of the classes that will be trained.
      kind: fine_tune_checkpoint_type where the user gave one; otherwise it follows from what the checkpoint holds.
      folder: where downloads land, each in a folder of its name, with a registry.json of its own where there is one; ``paths.downloads_dir()``
        by default.
      mirror: in place of $PNEUMODET_MIRROR.
      on_progress: takes (bytes there, bytes in all or None) of a download.
      on_notice: takes a sentence about what takes long, or does not fit.

    Returns:
      The start, or None for "none".

    Raises:
      ConfigError: the choice means nothing; the message lists what there is.
      CheckpointError: what it means is no checkpoint, is of another architecture, has changed, or cannot be downloaded.
      DataError: the disk is full, or an archive is broken.
    """
    if choice == NONE:
        return None
    folder = folder or paths.downloads_dir()
    entries = _registered(folder)
    name = _for_config(choice, entries, config) if choice in _KINDS else choice
    if name is None:
        raise ConfigError(f"There is no {choice} checkpoint for the feature extractor {_extractor(config)!r}. {_choices(entries)}")
    if name in entries:
        store = _Store(folder, os.environ.get(MIRROR) if mirror is None else mirror, on_progress, on_notice)
        start = store.get(name, entries[name])
    elif choice.startswith(RUN):
        start = _of_named(choice.removeprefix(RUN), config, label_map, on_notice)
    else:
        local = folder / choice
        path = local if os.sep not in choice and paths.is_dir(local) else Path(choice).expanduser()
        if os.sep not in choice and not paths.exists(path) and not paths.exists(Path(f"{path}.index")):
            raise ConfigError(
                f"There is no pretrained checkpoint {choice!r}{suggest.clause(choice, [*entries, *_KINDS, 'none'])} {_choices(entries)}"
            )
        start = _at(path, config, label_map, kind, on_notice)
    return start if kind is None else dataclasses.replace(start, type=kind)


def of_registry(choice: str, config: Config) -> str | None:
    """Return the name of the registry's checkpoint that a choice means for a config; None where it is none of the registry, or none fits.

    Args:
      choice: as ``resolve`` takes it.
      config: the TrainEvalPipelineConfig that will be trained.
    """
    entries = _registered(paths.downloads_dir())
    if choice not in _KINDS:
        return choice if choice in entries else None
    return _for_config(choice, entries, config)


def _registered(folder: Path) -> dict[str, Entry]:
    return checkpoint_registry.read(folder if (folder / REGISTRY).is_file() else paths.PRETRAINED_DIR)


def _choices(entries: Iterable[str]) -> str:
    return f"Give none, coco, imagenet, run:NAME, the path of a checkpoint, or one of {', '.join(sorted(entries))}."


def _extractor(config: Config) -> str:
    from pneumodet.models.detection import pipeline_config

    extractor: str = pipeline_config.architecture(config).feature_extractor.type
    return extractor


def _for_config(choice: str, entries: dict[str, Entry], config: Config) -> str | None:
    """Return the name of the registry's checkpoint for a config's feature extractor, of the nearest image size where there are several; or None."""
    from pneumodet.models.detection import pipeline_config

    extractor = _extractor(config)
    fitting = {name: entry for name, entry in entries.items() if entry.type == _KINDS[choice] and extractor in entry.feature_extractors}
    if len(fitting) < 2:
        return next(iter(fitting), None)
    side = pipeline_config.longest_side(config)
    return min(fitting, key=lambda name: abs(fitting[name].side_px - side))


def _at(path: Path, config: Config, label_map: dict[str, int], given: str | None, on_notice: Callable[[str], None]) -> Start:
    """Return the start for a path; a run's checkpoint is compared with the config, any other is known by what it holds."""
    from pneumodet.models.detection import checkpoint_files

    prefix = str(Path(checkpoint_files.find(path)).resolve())
    # a run is known by its files, up to three folders above its checkpoint (run/train/ckpt-N, run/best/ckpt-N)
    held = checkpoint_files.roots(checkpoint_files.check_object_based(prefix))
    for folder in Path(prefix).parents[:3]:
        if (folder / runs.CONFIG).is_file() and (folder / runs.RECORD).is_file():
            return _of_run(folder, prefix, config, label_map, on_notice)
    around = runs.run_around(Path(prefix))
    if around and runs.family_of(around) == runs.CLASSIFICATION and Path(prefix).parent.name != runs.BACKBONE:
        return _of_classifier(around, prefix, config)
    # in this order: a detector's checkpoint of the API has "model" alone, a backbone's "feature_extractor" alone
    kinds = {"feature_extractor": "classification", "model": "detection"}
    kind = next((kind for root, kind in kinds.items() if root in held), given)
    if kind is None:
        raise CheckpointError(
            f"{prefix} holds {', '.join(sorted(held)) or 'nothing'}, neither a detector ('model') nor a backbone ('feature_extractor') "
            "of the Object Detection API. If you know its type, give --fine-tune-checkpoint-type."
        )
    return Start(prefix, kind, source=prefix, seen=runs.seen_by_weights(Path(prefix)))


def _of_named(name: str, config: Config, label_map: dict[str, int], on_notice: Callable[[str], None]) -> Start:
    """Return the start from the best or newest checkpoint of a detector's or a classifier's run."""
    folder = runs.find(name)
    if runs.family_of(folder) != runs.CLASSIFICATION:
        return _of_run(runs.find(name, family=runs.DETECTION), None, config, label_map, on_notice)
    from pneumodet.models.detection import checkpoint_files

    prefix = checkpoint_files.find(checkpoint_files.folder_of_run(folder))
    checkpoint_files.check_object_based(prefix)
    return _of_classifier(folder, prefix, config)


def _of_classifier(folder: Path, prefix: str, config: Config) -> Start:
    """Return the start from a classifier's backbone, where the config's is the same network."""
    from pneumodet.models import settings as settings_files
    from pneumodet.models.classification.settings import ClassifierSettings
    from pneumodet.models.detection import pipeline_config

    settings = settings_files.load(ClassifierSettings, folder / runs.SETTINGS, folder=paths.CONFIG_DIR / runs.CLASSIFICATION)
    extractor, fitting = pipeline_config.architecture(config).feature_extractor, _OF_CLASSIFIERS.get(settings.backbone, ())
    if extractor.type not in fitting:
        pairs = "; ".join(f"{name} to {' and '.join(types)}" for name, types in _OF_CLASSIFIERS.items())
        raise CheckpointError(
            f"The classifier {folder.name} has the backbone {settings.backbone}, which is not that of this config's feature extractor {extractor.type!r}. A "
            f"backbone is handed over to its own network alone: {pairs}."
        )
    if (width := getattr(extractor, "depth_multiplier", 1)) != 1:  # a Faster R-CNN's have none
        raise CheckpointError(
            f"The classifier {folder.name} has a {settings.backbone} of width 1, but this config's has depth_multiplier {width:g}. "
            "Leave depth_multiplier at 1, or choose another --pretrained."
        )
    from pneumodet.models.classification import weights

    source = f"the backbone of the classifier {folder.name}, {Path(prefix).name}"
    return Start(str(Path(weights.handed_over(folder, prefix, settings)).resolve()), "classification", source, seen=runs.seen(folder))


def _of_run(folder: Path, prefix: str | None, config: Config, label_map: dict[str, int], on_notice: Callable[[str], None]) -> Start:
    """Return the start from a run: "full" where model and classes are the same, "detection" where the feature extractor is."""
    from pneumodet.models.detection import checkpoint_files, pipeline_config

    theirs = pipeline_config.architecture(pipeline_config.load(str(folder / runs.CONFIG)))
    ours = pipeline_config.architecture(config)
    if theirs.DESCRIPTOR is not ours.DESCRIPTOR or theirs.feature_extractor.type != ours.feature_extractor.type:
        raise CheckpointError(
            f"Run {folder.name} has the feature extractor {theirs.feature_extractor.type!r}, but this config has {ours.feature_extractor.type!r}. "
            "Choose the same config as the run's."
        )
    same = [field for field in ours.DESCRIPTOR.fields_by_name if field == "number_of_stages" or any(part in field for part in _SAME)]
    other = [field for field in same if getattr(theirs, field) != getattr(ours, field)]
    if any(_ANCHORS in field for field in other):
        on_notice(
            f"warning: The run {folder.name} was trained with other anchors than this config has, which its box heads, restored where they fit, have "
            f"to learn anew; to keep the run's anchors, train with its own config: --config {folder / runs.CONFIG}"
        )
    full = not other and label_maps.read_label_map(folder / runs.LABEL_MAP) == label_map
    if prefix is None:
        best = folder / runs.BEST
        prefix = str(Path(checkpoint_files.find(best if best.is_dir() else folder / runs.TRAIN)).resolve())
        checkpoint_files.check_object_based(prefix)
    return Start(prefix, "full" if full else "detection", source=f"run {folder.name}, {Path(prefix).name}", seen=runs.seen(folder))


class _Store:
    """The folder of downloaded checkpoints."""

    def __init__(self, folder: Path, mirror: str | None, on_progress: Progress, on_notice: Callable[[str], None]) -> None:
        self._folder, self._mirror, self._on_progress, self._on_notice = folder, mirror or None, on_progress, on_notice

    def get(self, name: str, entry: Entry) -> Start:
        """Return the start for a name of the registry; it is downloaded and unpacked where it is not there."""
        from pneumodet.models.detection import checkpoint_files

        home = self._folder / name
        # two processes that start at once would unpack into the same folder
        with self._locked():
            record = checkpoint_registry.downloads(self._folder).get(name)
            if not home.is_dir():
                record = self._fill(name, entry, record)
            prefix = str(Path(checkpoint_files.find(home)).resolve())
            checkpoint_files.check_object_based(prefix)
            # at each start: a changed weight raises no error anywhere else
            for file, sha256 in (record.files if record else {}).items():
                if not (home / file).is_file() or paths.sha256_file(home / file) != sha256:
                    raise CheckpointError(
                        f"{home / file} is not as it was downloaded (see {LOCK}). Remove the folder {home}; it is loaded again."
                    )
        source = f"{name} ({entry.trained_on}), " + (entry.url if record else f"placed by hand in {home}")
        # a registry may list any checkpoint; those of these sets hold no radiograph
        seen = Seen() if entry.trained_on.startswith(_PHOTOGRAPHS) else Seen(unrecorded=(name,))
        return Start(prefix, entry.type, source, entry.licence if record else None, record.sha256 if record else None, seen)

    def _fill(self, name: str, entry: Entry, record: Download | None) -> Download:
        """Bring the archive here, check it, unpack it, and return its record."""
        # the registry's own digest where it has one, else the one of the first download (trust on first use)
        file, known = PurePosixPath(entry.url).name, entry.sha256 or (record.sha256 if record else None)
        archive, fetched = self._archive(file, entry.url, known)
        try:
            sha256 = paths.sha256_file(archive)
            if known and sha256 != known:
                where = REGISTRY if entry.sha256 else f"{LOCK}, recorded at the first download"
                raise CheckpointError(
                    f"{archive.name} has the SHA-256 {sha256}, but {known} is expected ({where}). It was changed or damaged; get it again, "
                    f"and where the change is meant, remove {name!r} from {self._folder / LOCK}."
                )
            files = checkpoint_archive.unpack(archive, self._folder / name, entry.file)
        finally:
            if fetched:
                archive.unlink(missing_ok=True)
        record = Download(url=entry.url, sha256=sha256, files=files)
        checkpoint_registry.record(self._folder, name, record)
        return record

    def _archive(self, file: str, url: str, known: str | None) -> tuple[Path, bool]:
        """Return (the archive, whether it was downloaded and can go again): one placed by hand, one of the mirror, or one from the net.

        Args:
          file: its name.
          url: of the registry.
          known: its SHA-256, where a source has it; without it nothing is downloaded that anybody on the way could have changed.
        """
        by_hand = self._folder / file
        if by_hand.is_file():
            return by_hand, False
        if self._mirror and not self._mirror.startswith(("http://", "https://")):
            there = Path(self._mirror).expanduser() / file
            if not there.is_file():
                raise CheckpointError(f"The mirror {self._mirror} ({MIRROR}) has no {file}. Put it there, or unset {MIRROR}.")
            return there, False
        if self._mirror:
            url = f"{self._mirror.rstrip('/')}/{file}"
        if known is None and not url.startswith("https://"):
            raise CheckpointError(
                f"{url} is not asked for: without TLS anybody on the way could change the archive, and no source has its SHA-256. Use an https address, "
                f"put the file at {by_hand}, or copy the {LOCK} of a computer that has it to {self._folder}."
            )
        self._on_notice(f"downloading {url}")
        hint = f"Without a network, put the file at {by_hand}, or let {MIRROR} name a folder or base URL that has {file}."
        download.fetch(url, by_hand, hint=hint, on_progress=self._on_progress)
        return by_hand, True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock, and wait for it; the system lets it go however the process ends."""
        notice = f"another process loads a checkpoint into {self._folder}; waiting for it"
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a folder that cannot be written needs no lock; what is in it can be used
                self._folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locks.locked(self._folder / ".lock", wait=lambda: self._on_notice(notice)))
            yield
