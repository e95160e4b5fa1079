"""The competition's files from Kaggle to a checked folder; whatever is there already is not fetched again.

    fetched = fetch(Path("data/rsna"))
    fetched.counts.images         # {"stage_2_train_images": 26684, "stage_2_test_images": 3000}

The archive lies beside the folder, under its own name, and stays there: a second start needs neither it nor Kaggle once the folder is whole.
"""

import dataclasses
import hashlib
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumodet.core import download, folders, json_text, paths
from pneumodet.core.errors import CheckpointError, DataError, EnvironmentProblem
from pneumodet.data import annotations, tables
from pneumodet.data.kaggle import archive, client

MARKER = "download.json"
"""Lists what was unpacked; written last, so that a folder that has it is whole."""

LABELS = "stage_2_train_labels.csv"

OWN = "stage_2_"
"""The archive's files begin so, but for one about Google's credits; the folder may have others, which stay, such as RSNA's list of patients."""

UNPACKED_PER_BYTE = 1.1
"""Room for the files, by the archive's size: DICOMs with JPEG inside hardly shrink."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """How much there is.

    Attributes:
      images: folder -> DICOM files in it.
      label_rows: rows of the labels.
    """

    images: Mapping[str, int]
    label_rows: int


EXPECTED = Counts({"stage_2_train_images": 26_684, "stage_2_test_images": 3_000}, 30_227)
"""Of stage 2, which is what Kaggle has."""


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What ``fetch`` did.

    Attributes:
      counts: all as expected.
      archive: where it lies; None where it is not there any more.
      was_whole: whether there was nothing to do.
    """

    counts: Counts
    archive: Path | None
    was_whole: bool


def archive_path(output_dir: Path) -> Path:
    """Return where the archive lies while and after it is downloaded; one that a browser downloaded is taken from there, too."""
    return output_dir.resolve().parent / f"{client.COMPETITION}.zip"


def fetch(
    output_dir: Path,
    *,
    expected: Counts = EXPECTED,
    overwrite: bool = False,
    on_download: Callable[[int, int | None], None] = lambda done, total: None,
    on_unpack: Callable[[int, int], None] = lambda done, total: None,
    delays: Sequence[float] = download.DELAYS_SECONDS,
) -> Fetched:
    """Download, unpack and check.

    Args:
      output_dir: new folder for the files, one that an earlier call made, or one with files of other names; these stay.
      expected: how much there must be.
      overwrite: replace an earlier result that is damaged.
      on_download: called with (bytes there, bytes in all or None).
      on_unpack: called with (bytes done, bytes in all).
      delays: in seconds, between attempts.

    Raises:
      EnvironmentProblem, DataError: as ``client.archive_address``; the download failed, the disk is full, the archive is damaged, or counts differ.
    """
    here = archive_path(output_dir)
    if (output_dir / MARKER).is_file():
        damage = _damage(output_dir)
        if damage is None:
            return Fetched(_checked(output_dir, expected), here if here.is_file() else None, True)
        if not overwrite:
            raise DataError(f"{output_dir} is no longer whole: {damage}. Give --overwrite to make it anew.")
    # before gigabytes are downloaded; the archive's own names are not known yet, and their beginning stands in for them
    folders.check_free(output_dir, **_known_by(output_dir, lambda name: name.startswith(OWN), overwrite=overwrite))
    if not here.is_file():
        _download(here, on_download, delays)
    members = archive.open_archive(here)
    own = {Path(member.filename).parts[0] for member in members}
    how = _known_by(output_dir, own.__contains__, overwrite=overwrite)
    with folders.new_folder(output_dir, **how, resume_key=_key(members)) as folder:
        archive.unpack(here, members, folder, on_progress=on_unpack)
        counts = _checked(folder, expected)
        listed = {member.filename: [member.file_size, member.CRC] for member in members}
        for path in _others(output_dir, own.__contains__):  # now, since some may have come while the archive was unpacked
            # copied, and not moved: until the new folder has its name, the old one stays as it is
            if path.is_dir():
                shutil.copytree(path, folder / path.name, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(path, folder / path.name)
        paths.write_json(folder / MARKER, {"competition": client.COMPETITION, "bytes_and_crc32": listed})
    return Fetched(counts, here, False)


def _known_by(folder: Path, is_own: Callable[[str], bool], *, overwrite: bool) -> dict[str, Any]:
    """Return by which file ``folders`` knows that a folder may be replaced, and whether it may; one with files that stay has them afterwards, too.

    Raises:
      DataError: as ``_others``.
    """
    others = _others(folder, is_own)
    if others and not (folder / MARKER).is_file() and all(path.is_file() for path in others):
        # one of the user's files stands in for the marker: it is copied into the new folder, so that nothing is lost by replacing
        return {"marker": others[0].name, "overwrite": True}
    return {"marker": MARKER, "overwrite": overwrite}


def _others(folder: Path, is_own: Callable[[str], bool]) -> list[Path]:
    """Return what is in a folder beside the archive's files.

    Raises:
      DataError: files of the archive's names are there that no earlier call unpacked, and would be overwritten.
    """
    if not folder.is_dir():
        return []
    there = sorted(folder.iterdir())
    own = [path.name for path in there if is_own(path.name)]
    if own and not (folder / MARKER).is_file():
        raise DataError(
            f"{folder} holds {own[0]}, which this command would overwrite (no {MARKER}, by which it would know its own files). Choose another "
            "--output-dir, or move it away."
        )
    return [path for path in there if path.name not in own and path.name != MARKER]


def _download(final: Path, on_progress: Callable[[int, int | None], None], delays: Sequence[float]) -> None:
    by_hand = f"Or download all in the browser at {client.FILES} to {final}."
    try:
        address = client.archive_address()
    except (DataError, EnvironmentProblem) as error:
        raise type(error)(f"{error} {by_hand}") from error
    if address.size_bytes is not None:
        part = download.part_of(final)
        arrived = part.stat().st_size if part.is_file() else 0
        needed = max(0, address.size_bytes - arrived) + int(address.size_bytes * UNPACKED_PER_BYTE)
        archive.check_room(final.parent, needed, what=f"download and unpack {final.name}")
    try:
        download.fetch(
            address.url,
            final,
            name=final.name,
            hint=f"Run the same command again: it resumes from what has arrived. {by_hand}",
            on_progress=on_progress,
            delays=delays,
        )
    except CheckpointError as error:
        raise DataError(str(error)) from error


def _key(members: Sequence[zipfile.ZipInfo]) -> str:
    """Return what distinguishes one archive from another: its names, sizes and CRCs."""
    text = "\n".join(f"{member.filename} {member.file_size} {member.CRC}" for member in members)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _damage(folder: Path) -> str | None:
    """Return what is missing of a folder that was whole once, or None."""
    listed = json_text.read(folder / MARKER, what="the list of files", hint="Remove the folder, and run the same command again.")
    try:
        # sizes only: for the CRCs every start would read all of some 30,000 files
        sizes = {str(name): int(size) for name, (size, _) in listed["bytes_and_crc32"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return f"{MARKER} is damaged"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
    return None


def _checked(folder: Path, expected: Counts) -> Counts:
    """Return the counts of a folder.

    Raises:
      DataError: they are not those expected.
    """
    images = {name: sum(path.suffix.lower() == ".dcm" for path in (folder / name).glob("*")) for name in expected.images}
    for name, count in images.items():
        if count != expected.images[name]:
            raise DataError(f"{name} has {count:,} DICOM files; {expected.images[name]:,} are expected. {_OTHER}")
    rows = len(tables.read(folder / LABELS, annotations.LABEL_COLUMNS))
    if rows != expected.label_rows:
        raise DataError(f"{LABELS} has {rows:,} rows; {expected.label_rows:,} are expected. {_OTHER}")
    return Counts(images, rows)


_OTHER = f"The archive is not the one of stage 2, or Kaggle has changed it: see {client.FILES}."
