"""Radiographs and labels -> a record set: what ``tools/make_tfrecords.py`` does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from pneumodet.api import calls
from pneumodet.api.calls import Given
from pneumodet.api.records import Records
from pneumodet.core import given, paths, processes, progress
from pneumodet.core.errors import ConfigError
from pneumodet.data import conversion, planning, pseudonyms
from pneumodet.data.manifest import Manifest
from pneumodet.data.settings import Inputs, Settings

PATIENT = ("patient_map", "patient_tag", "patient_regex")
"""Ways to say which patient an exam is of."""


class ConvertOptions(TypedDict, total=False):
    """Settings of ``convert``: ``pneumodet.data.settings.Settings`` has their meanings and defaults."""

    label_format: str
    readers: str
    uncertain: str
    image_level: str
    class_map: Mapping[str, str]
    match: str
    patient_tag: bool
    patient_regex: str | None
    val_fraction: float
    test_fraction: float
    own_split: Literal["keep", "ignore"]
    folds: int
    stratify: Sequence[Literal["class", "view", "sex"]]
    seed: int
    negatives: str
    max_side: int | None
    normalize: str
    masks: bool
    quality: str
    shard_mb: int
    strict: bool


@calls.public
def convert(
    images: Given,
    *,
    labels: Given,
    output: Given,
    class_info: Given | None = None,
    patient_map: Given | None = None,
    split_file: Given | None = None,
    label_map: Given | None = None,
    pseudonymize: Given | None = None,
    for_config: str | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    runner: str | None = None,
    beam_flags: Sequence[str] = (),
    **settings: Unpack[ConvertOptions],
) -> Records:
    """Convert radiographs and labels to TFRecords, split by patient into train, val and test. A call that was stopped is resumed by the same call.

    >>> records = pneumodet.convert(
    ...     "data/stage_2_train_images", labels="data/stage_2_train_labels.csv", patient_map="data/patient_map.csv", output="new", seed=1
    ... )
    >>> sum(split.exams for split in records.splits.values())
    12

    Args:
      images: folder or ZIP archive of DICOM, PNG or JPEG files.
      labels: RSNA's CSV, an 8-column CSV, Pascal VOC XML, COCO JSON, YOLO's data.yaml, or the file or folder of another data set's labels.
      output: the new folder; it appears whole or not at all.
      class_info: CSV ``patientId,class``.
      patient_map: which patient each exam is of: CSV ``patientId,patient`` or RSNA's JSON. Without it, patients leak between splits.
      split_file: CSV ``patientId,split``; it decides for whom it names, also for ``test`` and other splits.
      label_map: the classes; by default no-pneumonia and pneumonia.
      pseudonymize: key file, by which ids are replaced by keyed hashes; one that is missing is made.
      for_config: name of a config: ``max_side`` is twice its input size, room for cropping.
      overwrite: replace an earlier record set in ``output`` once the new one is whole.
      workers: processes; None: one a processor.
      runner: convert on Apache Beam; paths may then be URLs.
      beam_flags: the runner's own flags.
      settings: see ``ConvertOptions``, such as ``test_fraction=0.2``, ``seed=0``, ``quality="report"``, ``max_side=1024``.

    Raises:
      ConfigError: a path does not exist, or settings do not go together.
      DataError: nothing can be used, or ``output`` is in use.
    """
    ways = {"patient_map": patient_map, "patient_tag": settings.get("patient_tag"), "patient_regex": settings.get("patient_regex")}
    if sum(bool(value) for value in ways.values()) > 1:
        raise ConfigError(
            f"{', '.join(name for name in PATIENT if ways[name])} are different ways to identify the patient. Give one of them."
        )
    if for_config and settings.get("max_side"):
        raise ConfigError("for_config and max_side both say how large images may be. Give one of them.")
    chosen = {**settings, "max_side": max_side_for(for_config) if for_config else settings.get("max_side")}
    chosen["stratify"] = tuple(calls.each(settings.get("stratify") or ()))
    how = calls.made(Settings, chosen)
    target = given.path(output)
    key_file = None if pseudonymize is None else Path(pseudonymize).expanduser()
    # resolved, so that no link hides where the key lies
    if key_file and Path(target).resolve() in key_file.resolve().parents:
        raise ConfigError("The key lies in --output-dir. Keep it elsewhere: who gets the records must not get the key.")
    what = Inputs(
        dicom_dir=given.file_or_folder(images, what="images"),
        # a URL is for the Beam runner, which takes it in a path's place
        labels=calls.file_or_folder(labels, "labels"),
        class_info=calls.file(class_info, "class_info"),
        patient_map=calls.file(patient_map, "patient_map"),
        split_file=calls.file(split_file, "split_file"),
        label_map=calls.file(label_map, "label_map") or paths.DEFAULT_LABEL_MAP,
        pseudonym_key=pseudonyms.read_or_make_key(key_file) if key_file else None,
    )
    count = workers or processes.cpus()
    if runner:
        from pneumodet.data import beam_runner

        flags = [f"--runner={runner}", *beam_flags]
        made = beam_runner.convert_on_beam(what, str(target), how, beam_flags=flags, overwrite=overwrite, workers=count)
    else:
        made = _converted(what, Path(target), how, overwrite=overwrite, workers=count)
    records = Records(target, made)
    calls.warn(records.warnings, convert)
    return records


def _converted(inputs: Inputs, output_dir: Path, settings: Settings, *, overwrite: bool, workers: int) -> Manifest:
    def bar(total: int, what: str) -> planning.Bar:
        return progress.bar(total=total, desc=what, unit="exam")

    try:
        return conversion.convert(inputs, output_dir, settings, overwrite=overwrite, workers=workers, progress=bar)
    # Ctrl-C is no loss here, which the user should know before starting over
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Finished shards are kept; the same command resumes from there.") from None


def max_side_for(name: str) -> int:
    """Return twice the longer side of a config's input, in px: random crops are enlarged to it, and should not be enlarged from less."""
    from pneumodet.models.detection import pipeline_config

    return 2 * pipeline_config.longest_side(pipeline_config.load(name))
