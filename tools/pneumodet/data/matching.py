"""Which file each exam of the labels has, and why some have none.

labels, files, skipped = match(inputs, settings, labels, Pseudonyms(None), pool)
files["0004cfab"], skipped[SEVERAL_IMAGES]
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping

from pneumodet.core.processes import Pool
from pneumodet.data import formats, sources, tool_names, views
from pneumodet.data.annotations import Labels
from pneumodet.data.label_choices import LEAVE_OUT
from pneumodet.data.pseudonyms import Pseudonyms
from pneumodet.data.settings import Inputs, Settings
from pneumodet.data.sources import Source

SEVERAL_IMAGES = "several images of one label"
"""Why exams are left out of which nobody can know the image that their labels are of."""

_PLACE = re.compile(r"(lines?|annotation|image)( entry)? [\d, ]*\d")
"""How the reasons of rejected labels begin."""


def match(
    inputs: Inputs, settings: Settings, read: Labels, alias: Pseudonyms, pool: Pool
) -> tuple[Labels, dict[str, Source], dict[str, list[str]]]:
    """Find the file of each exam.

    Args:
      inputs: what is converted.
      settings: how.
      read: the labels.
      alias: exam -> its name in the output.
      pool: reads headers.

    Returns:
      (labels, exam -> its file, reason -> what has no label or no file); exams have their own names, but in the reasons those of the output.

    Raises:
      DataError: as ``sources.find_radiographs``.
    """
    known = read.exams.keys() | {exam for exam, _ in read.rejected}
    seconds: dict[str, list[tuple[Source, str]]] = {}
    files, refused = sources.find_radiographs(
        inputs.dicom_dir, known=known, match=settings.match, images=True, by_path=read.files, pool=pool, seconds=seconds
    )
    read = tool_names.renamed(read, files)
    rejected_ids = {exam for exam, _ in read.rejected}
    skipped: dict[str, list[str]] = defaultdict(list)
    if settings.image_level == LEAVE_OUT:
        without = {exam for exam, one in read.exams.items() if one.findings and not len(one.boxes_xyxy_px)}
        skipped["positive without a box"] += sorted(alias(exam) for exam in without)
        rejected_ids |= without
        read = dataclasses.replace(read, exams={exam: one for exam, one in read.exams.items() if exam not in without})
    several = _choose(inputs, read, files, refused, seconds, skipped, alias)
    for exam, reason in read.rejected:  # which may quote ids and names of files
        skipped["label rejected"].append(f"{alias(exam)}: {reason if not alias else _place(reason)}")
    for name, reason in refused:
        other = reason.removeprefix(sources.SECOND_FILE)
        skipped["file refused"].append(f"{alias(name)}: {reason if other == reason else sources.SECOND_FILE + alias(other)}")
    skipped["label without a DICOM"] += sorted(alias(exam) for exam in read.exams.keys() - files.keys() - several)
    skipped["DICOM without a label"] += sorted(alias(exam) for exam in files.keys() - read.exams.keys() - rejected_ids)
    return read, files, skipped


def _choose(
    inputs: Inputs,
    read: Labels,
    files: dict[str, Source],
    refused: list[tuple[str, str]],
    seconds: Mapping[str, list[tuple[Source, str]]],
    skipped: dict[str, list[str]],
    alias: Pseudonyms,
) -> set[str]:
    """Choose among the files of each exam that has several, in ``files`` and ``refused``, and return those that are left out, which ``skipped`` gets."""
    several: set[str] = set()
    by_path = set(read.files.values())  # files of one path, split, label and name on, are copies
    for exam in (seconds.keys() & read.exams.keys()) - by_path:
        # a file of the label's own name goes before those that only their headers connect with it
        named = _is_named(files[exam], exam)
        rivals = [source for source, _ in seconds[exam] if _is_named(source, exam) or not named]
        chosen, why = views.choose(files[exam], rivals, root=inputs.dicom_dir)
        if chosen is None:
            skipped[SEVERAL_IMAGES].append(f"{alias(exam)}: {why if not alias else views.HOW_TO_LABEL}")
            del files[exam]
            refused[:] = [one for one in refused if one[1] != sources.SECOND_FILE + exam]
            several.add(exam)
        elif chosen != files[exam]:
            name = next(name for source, name in seconds[exam] if source == chosen)
            refused[refused.index((name, sources.SECOND_FILE + exam))] = (files[exam].name, sources.SECOND_FILE + exam)
            files[exam] = chosen
    skipped[SEVERAL_IMAGES].sort()
    return several


def _is_named(source: Source, exam: str) -> bool:
    return exam in (source.name, formats.exam_id(source.name))


def _place(reason: str) -> str:
    """Return where in the labels an error is, without what is there, which could identify the patient."""
    place = _PLACE.match(reason)
    return f"{place[0]} of the labels" if place else "see the labels without pseudonyms"
