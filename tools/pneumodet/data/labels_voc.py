"""Pascal VOC: an XML file, or a folder of them -> images and boxes, by lxml without entities, network and huge trees.

The format has whole px. ``label_export`` rounds a box outward, so that nothing of a finding is outside of it and no box is without area, and writes the
exact corners into an element of its own beside it. They count as long as they still give the whole ones: a tool that changed the box leaves them behind.
"""

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pneumodet.core import paths
from pneumodet.core.errors import DataError
from pneumodet.data import text_files
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import CORNERS, Box, Collector, exam_id, shown, size_hw, text_number

if TYPE_CHECKING:
    from lxml.etree import _Element


BOX, EXACT = "bndbox", "exact_bndbox"
"""An object's box in whole px, as all readers of the format know it, and the same with fractions, which is not part of the format."""


def outward(corners: Sequence[float]) -> tuple[int, int, int, int]:
    """Return the smallest box of whole px that xyxy_px corners lie in."""
    left, top, right, bottom = corners
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


def read(path: Path, *, evaluating: bool = False, classes: ClassMap | None = None) -> Labels:
    """Return the labels of an XML file, or of a folder of them with its subfolders, hidden ones passed over.

    Args:
      path: file or folder.
      evaluating, classes: as in ``Collector``.

    Raises:
      DataError: there is no file, or the only one is no Pascal VOC; in a folder such a file rejects its exam.
    """
    collector = Collector(evaluating=evaluating, classes=classes)
    if not path.is_dir():
        _add_voc(collector, path, path.name)
        return collector.labels()
    files = sorted(xml_files(path))
    if not files:
        raise DataError(f"There is no .xml file in {path}. A folder of labels is read as Pascal VOC; for another format name the file.")
    for relative in files:
        try:
            if what := paths.special_file(path / relative):
                raise DataError(f"{relative} is {what}.")
            _add_voc(collector, path / relative, relative)
        except DataError as error:
            collector.reject(exam_id(Path(relative).stem) or relative, str(error).replace(str(path / relative), relative))
    return collector.labels()


def xml_files(root: Path) -> Iterable[str]:
    """Yield the names, relative to ``root``, of the XML files that are not hidden."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(".xml") and not name.startswith("."):
                yield os.path.relpath(os.path.join(folder, name), root)


def _add_voc(collector: Collector, path: Path, relative: str) -> None:
    """Add the image that an XML file is of; DataError where it is no Pascal VOC file."""
    root = _root(text_files.read_bytes(path), path)
    if root.tag != "annotation":
        raise DataError(f"{path} is not Pascal VOC: its root is <{shown(root.tag)[1:-1]}>, not <annotation>.")
    exam, where = exam_id(Path(relative).stem) or relative, relative
    try:
        file_name = _text(root, "filename")
        exam = exam_id(file_name) or exam
        if not exam_id(file_name):
            raise ValueError(f"<filename> is {shown(file_name)}, which names no image")
        if exam in collector.images:
            raise ValueError(
                f"{collector.images[exam].where} has labels of {collector.images[exam].file_name} as well; keep one of the two files"
            )
        collector.rows[exam] += max(len(root.findall("object")), 1)
        image = collector.image(file_name, size_hw(_text(root, "size/width"), _text(root, "size/height"), text_number), where)
        for number, element in enumerate(root.findall("object"), start=1):
            where = f"{relative}, object {number}"
            if (target := collector.class_of(_text(element, "name"))) is not None:
                collector.add(image, target, _box(collector, element), where, difficult=_is_difficult(element))
    except ValueError as error:
        collector.reject(exam, f"{where}: {error}")


def _box(collector: Collector, element: "_Element") -> Box:
    """Return the box of an object: the exact one where it has one that rounds to the other."""
    for attribute in element.findall("attributes/attribute"):  # CVAT's
        if attribute.findtext("name") == "rotation" and float(attribute.findtext("value") or 0):
            raise ValueError(f"the box is rotated by {shown(attribute.findtext('value'))} degrees. Draw an upright one")
    box = collector.corners([_text(element, f"{BOX}/{corner}") for corner in CORNERS])
    if element.find(EXACT) is None:
        return box
    exact = collector.corners([_text(element, f"{EXACT}/{corner}") for corner in CORNERS])
    return exact if outward(exact) == box else box


def _is_difficult(element: "_Element") -> bool:
    return (element.findtext("difficult") or "").strip() == "1"


def _root(data: bytes, path: Path) -> "_Element":
    from lxml import etree

    # external entities could read files of this machine, and nested ones fill its memory: nothing is loaded, and a DTD is refused
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as error:  # Lookup: an encoding that is not known
        raise DataError(f"{path} is not valid XML ({' '.join(str(error).split())}).") from error
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr]  # the stubs lack it
        raise DataError(f"{path} has a document type definition, which labels do not need and may be an attack. Remove it.")
    return root


def _text(element: "_Element", path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"<{path}> is missing or empty")
    return text
