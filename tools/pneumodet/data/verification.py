"""Every byte of a record set, checked: checksums, and that records and ground truth agree.

problems = verify(folder)                 # [] where the set is whole
"""

from pathlib import Path

from pneumodet.core import paths
from pneumodet.core.errors import DataError
from pneumodet.core.processes import Pool
from pneumodet.data import manifest, record_sets, tf_example, tfrecord
from pneumodet.data.manifest import Shard


def verify(data_dir: Path, *, workers: int = 1) -> list[str]:
    """Check every byte of a record set: sizes, SHA-256, the CRCs of each record, and that records and ground truth name the same exams.

    Args:
      data_dir: the record set.
      workers: processes at the most.

    Returns:
      What is wrong, a sentence each; nothing where the set is whole.

    Raises:
      DataError: there is no manifest, or it is damaged.
    """
    about = manifest.read(data_dir)
    shards = [shard for split in about.splits.values() for shard in split.shards]
    problems: list[str] = []  # all of them, and not the first: one damaged disk damages many files
    exams: dict[str, list[str]] = {}
    with Pool(workers) as pool:
        for name, names_there, wrong in pool.run(_check_shard, [(data_dir, shard) for shard in shards]):
            problems += wrong
            exams[name] = names_there
    names = {(data_dir / shard.name).name for shard in shards}
    problems += [f"{path.name} is not in the manifest." for path in sorted(data_dir.glob("*.tfrecord")) if path.name not in names]
    for name, split in about.splits.items():
        path = data_dir / split.annotations
        if paths.size_of(path) is None:
            problems.append(f"{path.name} is missing.")
        elif paths.sha256_file(path) != split.annotations_sha256:
            problems.append(f"{path.name} was changed: its SHA-256 is not the manifest's.")
        else:
            truth = [str(image["file_name"]) for image in record_sets.read_truth(path)["images"]]
            if truth != [exam for shard in split.shards for exam in exams[shard.name]] and not problems:
                problems.append(f"{path.name} and the records of {name} do not name the same exams.")
            if len(truth) != split.exams:
                problems.append(f"{path.name} has {len(truth)} exams; the manifest says {split.exams}.")
    return problems


def _check_shard(what: tuple[Path, Shard]) -> tuple[str, list[str], list[str]]:
    """Return (name, exams, problems) of a shard."""
    data_dir, shard = what
    path, problems = data_dir / shard.name, []
    exams: list[str] = []
    size = paths.size_of(path)
    if size is None:
        return shard.name, [], [f"{path.name} is missing."]
    if size != shard.bytes:
        problems.append(f"{path.name} has {size} bytes; the manifest says {shard.bytes}.")
    elif paths.sha256_file(path) != shard.sha256:
        problems.append(f"{path.name} was changed: its SHA-256 is not the manifest's.")
    try:
        exams += [tf_example.decode(record).patient_id for record in tfrecord.read_records(path)]
    except DataError as error:
        problems.append(str(error).replace(str(path), path.name))
    if not problems and len(exams) != shard.examples:
        problems.append(f"{path.name} has {len(exams)} records; the manifest says {shard.examples}.")
    return shard.name, exams, problems
