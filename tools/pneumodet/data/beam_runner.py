"""The same conversion on Apache Beam: one machine plans and adds up, as many as there are make the shards.

    manifest = convert_on_beam(inputs, "gs://bucket/records", Settings(), beam_flags=["--runner=DataflowRunner", "--project=…"])

Shards hold what a local run gives them, byte for byte. Object stores have no folders to rename: files are written under their final names, and
the manifest, which makes a folder a record set, is written last.
"""

import dataclasses
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumodet.core import json_text
from pneumodet.core.errors import DataError, PneumodetError, first_line
from pneumodet.core.processes import Pool
from pneumodet.data import manifest, outcome, planning, remote, shards
from pneumodet.data.manifest import MANIFEST, Manifest
from pneumodet.data.settings import Inputs, Settings

_OWN = re.compile(
    r"([a-z0-9-]+-\d{5}-of-\d{5}\.tfrecord|(fold-\d+/)?(instances_[a-z0-9-]+|manifest)\.json|split\.csv|(quality|dataset_info|features)\.json|\.results/.*)"
)
"""What a record set is made of."""

_FILES = ("labels", "class_info", "patient_map", "split_file", "label_map")


def convert_on_beam(
    inputs: Inputs, output: str, settings: Settings = Settings(), *, beam_flags: Sequence[str], overwrite: bool = False, workers: int = 1
) -> Manifest:
    """Write a record set by a Beam pipeline.

    Args:
      inputs: ``dicom_dir`` may be the URL of a folder, the others URLs of files; on runners of several machines ``dicom_dir`` must be one.
      output: folder or URL of a folder.
      settings: how; what reads headers or images before the split does so on this machine.
      beam_flags: ``--runner=…`` and the runner's own.
      overwrite: replace an earlier set; unlike locally, it is gone once the new one is begun.
      workers: processes of this machine that read headers or images.

    Returns:
      The manifest.

    Raises:
      ConfigError: Beam is not installed, or settings do not go together.
      DataError: as ``conversion.convert``, or the pipeline failed.
    """
    beam = remote.beam()
    output = (output if remote.is_url(output) else str(Path(output).resolve())).rstrip("/")
    manifest_path = f"{output}/{MANIFEST}"
    there = [url for url, _, _ in remote.listing(output)]
    foreign = [url for url in there if not _OWN.fullmatch(url[len(output) + 1 :])]
    if foreign:
        raise DataError(f"{output} holds other things ({foreign[0]}). Choose an empty or new --output-dir.")
    if manifest_path in there and not overwrite:
        raise DataError(f"{output} holds an earlier result. Give --overwrite to replace it, or choose another --output-dir.")
    if there:  # of an earlier set, or of a pipeline that failed
        remote.delete(there)
    with tempfile.TemporaryDirectory() as folder, Pool(workers) as pool:
        plan = planning.make_plan(_fetched(inputs, Path(folder)), settings, pool)
    # the plan's key is in the name: results of an attempt with other settings may lie there
    prefix = f"{output}/{shards.RESULTS}/{plan.key()[:16]}"
    try:
        from apache_beam.options.pipeline_options import PipelineOptions

        with beam.Pipeline(options=PipelineOptions(list(beam_flags))) as pipeline:
            (
                pipeline
                | "shards" >> beam.Create([(output, plan.job, shard) for shard in plan.all_shards()])
                | "one by one" >> beam.Reshuffle()  # else runners fuse the steps, and one machine makes all shards
                | "write" >> beam.Map(_write)
                | "results" >> beam.io.WriteToText(prefix, file_name_suffix=".json")
            )
    except PneumodetError:
        raise
    except Exception as error:  # runners have exceptions of their own, and wrap ours
        raise DataError(f"The Beam pipeline failed: {first_line(error)}. The runner's own log has more.") from error
    written = [url for url, _, _ in remote.listing(f"{output}/{shards.RESULTS}") if url.rpartition("/")[2].startswith(plan.key()[:16])]
    results = {one.name: one for url in written for one in map(shards.Result.of_json, remote.read(url).decode().splitlines())}
    for name, content in outcome.files(plan, results):
        remote.write(f"{output}/{name}", content.encode())
    remote.delete(written)
    if not remote.is_url(output):
        (Path(output) / shards.RESULTS).rmdir()
    return manifest.of_json(json_text.loads(remote.read(manifest_path)), where=manifest_path)


def _write(task: tuple[str, shards.Job, shards.Shard]) -> str:
    """Write a shard and return its result as a line of JSON; a second attempt at the same shard writes the same bytes."""
    output, job, shard = task
    with remote.create(f"{output}/{shard.name}") as file:
        return shards.make(job, shard, file).to_json()


def _fetched(inputs: Inputs, folder: Path) -> Inputs:
    """Return the inputs with label files that are URLs copied into ``folder``."""
    local: dict[str, Any] = {}
    for number, name in enumerate(_FILES):
        value = getattr(inputs, name)
        if value is not None and remote.is_url(value):
            target = folder / str(number) / str(value).rpartition("/")[2]
            target.parent.mkdir()
            target.write_bytes(remote.read(str(value)))
            local[name] = target
    return dataclasses.replace(inputs, **local)
