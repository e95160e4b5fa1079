"""Radiographs and labels -> TFRecords, COCO ground truth and a manifest: make_tfrecords as one function.

    inputs = Inputs(dicom_dir=images, labels=labels, patient_map=mapping)
    manifest = convert(inputs, output_dir, Settings(val_fraction=0.15))

Three steps, so that other runners can take the middle one: ``planning.make_plan`` decides everything, ``shards.write`` makes one shard of it,
and ``outcome.files`` adds up the results.
"""

from collections.abc import Callable
from pathlib import Path

from pneumodet.core import folders, paths
from pneumodet.core.processes import Pool
from pneumodet.data import outcome, planning, quality_sheet, shards
from pneumodet.data.manifest import MANIFEST, Manifest
from pneumodet.data.planning import Bar, NoBar, Plan
from pneumodet.data.record_sets import RecordSet
from pneumodet.data.settings import Inputs, Settings

QUALITY_SHEET = "quality.png"


def convert(
    inputs: Inputs,
    output_dir: Path,
    settings: Settings = Settings(),
    *,
    overwrite: bool = False,
    workers: int = 1,
    progress: Callable[[int, str], Bar] = lambda total, what: NoBar(),
) -> Manifest:
    """Write the shards, ``instances_*.json``, ``split.csv`` and ``manifest.json``; with a quality check, ``quality.json`` and ``quality.png``.

    A call that was killed, or stopped by Ctrl-C or a full disk, is resumed by the next one that would make the same set.

    Args:
      inputs: what is converted.
      output_dir: the new folder; it appears whole or not at all.
      settings: how.
      overwrite: replace an earlier set in ``output_dir``.
      workers: processes at the most.
      progress: makes a bar of a number of exams and what is done with them.

    Returns:
      The manifest.

    Raises:
      ConfigError: settings that do not go together.
      DataError: nothing can be used, the output folder is in use, the disk is full, or, with ``strict``, anything was skipped.
    """
    folders.check_free(output_dir, marker=MANIFEST, overwrite=overwrite)  # before hours of work, and again at its end
    with Pool(workers) as pool:
        plan = planning.make_plan(inputs, settings, pool, progress=progress)
        _write(plan, output_dir, pool, overwrite=overwrite, progress=progress)
    return RecordSet.open(output_dir).manifest


def _write(plan: Plan, output_dir: Path, pool: Pool, *, overwrite: bool, progress: Callable[[int, str], Bar]) -> None:
    with folders.new_folder(output_dir, marker=MANIFEST, overwrite=overwrite, resume_key=plan.key()) as folder:
        (folder / shards.RESULTS).mkdir(exist_ok=True)
        bar = progress(len(plan.split_of), "converting")
        results = {}
        tasks = [shards.Task(folder, plan.job, shard) for shard in plan.all_shards()]
        for result in pool.run(shards.write, tasks):
            results[result.name] = result
            bar.update(len(result.images) + len(result.rejected))
        bar.close()
        for name, content in outcome.files(plan, results):  # the manifest last: a folder that has it is whole
            with paths.atomic_path(folder / name) as tmp:
                tmp.write_text(content, encoding="utf-8")
        if plan.quality:
            quality_sheet.save(folder / QUALITY_SHEET, plan.quality.findings, read_pixels=plan.quality.read_pixels)
        for path in (folder / shards.RESULTS).iterdir():
            path.unlink()
        (folder / shards.RESULTS).rmdir()
