"""YOLO: data.yaml (Ultralytics, Roboflow, CVAT) or classes.txt (Label Studio), images/ and labels/*.txt -> images and boxes.

labels = read(Path("set/data.yaml"))
labels = read(Path("label-studio-export"))        # classes.txt, images/, labels/
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumodet.core import paths
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.data import splits, text_files
from pneumodet.data.annotations import Labels
from pneumodet.data.class_map import ClassMap
from pneumodet.data.collector import Box, Collector, exam_id, shown, text_number

DATA, NAMES = "data.yaml", "classes.txt"
"""Files that say what the classes are; the first one also where the images of each split lie."""

MAX_YAML_CHARACTERS = 1 << 20
"""Of data.yaml: ten thousand classes have some 200 kB."""

IMAGES, LABELS = "images", "labels"
"""Folders; the last such folder in an image's path is the other one in that of its labels."""

SUFFIXES = (".png", ".jpg", ".jpeg")

UPRIGHT_PX = 0.01
"""Corners of an oriented box that differ by less are those of an upright one."""

SAME_PX = 1e-6
"""What a coordinate may differ by after it was written as a share of the image, which is YOLO's form, and read again."""

_SPLIT = re.compile(r"^(train|val|valid|test|fold-\d+)$")


def is_such(folder: Path) -> bool:
    """Whether a folder is a YOLO data set."""
    return _data_file(folder) is not None or ((folder / NAMES).is_file() and (folder / LABELS).is_dir())


def _data_file(folder: Path) -> Path | None:
    return next((path for name in (DATA, "data.yml") if (path := folder / name).is_file()), None)


def read(path: Path, *, classes: ClassMap | None = None) -> Labels:
    """Return the labels of a data set; an image without a file of labels has no finding, as Ultralytics takes it.

    Args:
      path: data.yaml, or the folder of it or of classes.txt.
      classes: as in ``Collector``.

    Raises:
      ConfigError: PyYAML is not installed.
      DataError: data.yaml or a list of images is damaged, an image is missing or cannot be read, or two images have one name.
    """
    collector = Collector(classes=classes)
    images: Iterator[tuple[str, Path, Path]]
    data = _data_file(path) if path.is_dir() else path
    if data is None and (path / NAMES).is_file():
        lines = text_files.read_text(path / NAMES).splitlines()
        names = {number: line.strip() for number, line in enumerate(lines) if line.strip()}
        images = ((DATA, *one) for one in _of_folder(path, path / IMAGES))
    else:
        path = data or path
        about = _yaml(path)
        names = _names(about, path)
        images = _images(about, path)
    collector.classes.update(dict.fromkeys(names.values(), 0))
    seen: set[Path] = set()
    own: dict[str, str] = {}
    for key, image_path, root in images:
        if image_path.resolve() in seen:
            continue
        seen.add(image_path.resolve())
        if split := splits.own_name(key):
            own[exam_id(image_path.name)] = split
        _add(collector, image_path, root, names)
    return collector.labels(splits=own)


def labels_of(image: Path) -> Path:
    """Return the file of an image's labels: its last folder ``images`` becomes ``labels``."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == IMAGES:
            parts[place] = LABELS
            break
    return Path(*parts).with_suffix(".txt")


def data_yaml(splits: Sequence[str], classes: Sequence[str]) -> str:
    """Return the text of data.yaml beside ``images/SPLIT`` and ``labels/SPLIT``."""
    lines = ["path: .", *(f"{split}: {IMAGES}/{split}" for split in splits), "names:"]
    lines += [f"  {number}: {json.dumps(name)}" for number, name in enumerate(classes)]  # a JSON string is one of YAML
    return "\n".join(lines) + "\n"


def line(number: int, xywh_px: Box, *, width: int, height: int) -> str:
    """Return the line of an object of class ``number`` in an image of ``width`` x ``height`` px."""
    x, y, w, h = xywh_px
    shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
    return f"{number} {' '.join(f'{share:.17g}' for share in shares)}\n"


def _add(collector: Collector, image_path: Path, root: Path, names: Mapping[int, str]) -> None:
    """Add an image and its objects; what is wrong with them rejects it."""
    from PIL import Image

    exam, path = exam_id(image_path.name), labels_of(image_path)
    try:
        if what := paths.special_file(image_path):
            collector.reject(exam, f"{image_path.name} is {what}")
            return
        with Image.open(image_path, formats=("PNG", "JPEG")) as picture:
            width, height = picture.size
    except OSError as error:
        raise DataError(
            f"{image_path} cannot be read as PNG or JPEG ({error}). YOLO's labels are shares of the image: it is needed."
        ) from error
    where = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    try:
        image = collector.image(str(image_path), (height, width), where)
    except ValueError as error:
        collector.reject(exam, f"{where}: {error}")
        return
    lines = text_files.read_text(path).splitlines() if path.is_file() else []
    collector.rows[exam] += max(1, len(lines))
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        at = f"{where}, line {number}"
        try:
            words = line.split()
            if not words[0].isdecimal() or int(words[0]) not in names:
                raise ValueError(f"there is no class {shown(words[0])}; there are {', '.join(map(str, names))}")
            if (name := collector.class_of(names[int(words[0])])) is not None:
                collector.add(image, name, _box(collector, words[1:], width=width, height=height), at)
        except ValueError as error:
            collector.reject(exam, f"{at}: {error}")


def _box(collector: Collector, words: Sequence[str], *, width: int, height: int) -> Box:
    """Return the xyxy_px of a line's numbers after the class; ValueError where they are none, or a rotated box."""
    shares = [text_number("a coordinate", word) for word in words]
    if any(not -1 <= share <= 2 for share in shares):
        raise ValueError("a coordinate is far outside of the image: YOLO has shares of it, from 0 to 1")
    if len(shares) == 4:
        x, y, w, h = shares
        corners = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        return collector.check_area(corners)
    if len(shares) < 6 or len(shares) % 2:
        raise ValueError(f"the line has {len(words) + 1} numbers, must have 5 (class, x, y, width, height)")
    xs, ys = [share * width for share in shares[::2]], [share * height for share in shares[1::2]]
    if len(xs) == 4 and _is_rotated(xs, ys):
        raise ValueError("a rotated box (8 coordinates). Export upright boxes")
    collector.notes["outline of a finding, of which the box is taken"] += 1
    return collector.check_area((min(xs), min(ys), max(xs), max(ys)))


def _is_rotated(xs: list[float], ys: list[float]) -> bool:
    """Whether four points are the corners of a rectangle that is not upright."""
    # a parallelogram whose diagonals are equal is a rectangle
    parallel = abs(xs[0] + xs[2] - xs[1] - xs[3]) < 1 and abs(ys[0] + ys[2] - ys[1] - ys[3]) < 1
    diagonals = [((xs[a] - xs[b]) ** 2 + (ys[a] - ys[b]) ** 2) ** 0.5 for a, b in ((0, 2), (1, 3))]
    upright = all(
        min(abs(value - low), abs(value - high)) < UPRIGHT_PX
        for axis in (xs, ys)
        for low, high in [(min(axis), max(axis))]
        for value in axis
    )
    return parallel and abs(diagonals[0] - diagonals[1]) < 1 and not upright


def _yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise ConfigError("YOLO's data.yaml is read by PyYAML, which is not installed: pip install pyyaml.") from error
    text = text_files.read_text(path)
    if len(text) > MAX_YAML_CHARACTERS:
        raise DataError(f"{path} has {len(text):,} characters; {MAX_YAML_CHARACTERS:,} are allowed. Is this the right file?")
    try:
        # aliases within aliases unfold to any size, and no program that writes such files uses them
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise DataError(f"{path} has aliases (*name), which are not read. Write out what they stand for.")
        about = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{path} is not valid YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(about, dict):
        raise DataError(f"{path} must have the keys names, train and val; it is {shown(about)}.")
    return about


def _names(about: Mapping[str, Any], path: Path) -> dict[int, str]:
    """Return the number of each class -> its name."""
    names = about.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or not all(type(key) is int and isinstance(name, str) for key, name in names.items()):
        raise DataError(f"{path}: names is {shown(names)}, must be a list of classes, or have a number for each.")
    return {number: name.strip() for number, name in names.items()}


def _images(about: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield (split as the file calls it, image, folder of the set) of all splits.

    Raises:
      DataError: a folder or list of images is not there.
    """
    given = about.get("path")
    roots = [path.parent] if not isinstance(given, str) else [path.parent / given, path.parent]
    named = [(str(key), value if isinstance(value, list) else [value]) for key, value in about.items() if _SPLIT.match(str(key))]
    for key, entry in ((key, one) for key, entries in named for one in entries):
        if entry in (None, ""):
            continue
        if not isinstance(entry, str):
            raise DataError(f"{path}: a split is {shown(entry)}, must be a folder or file.")
        # Roboflow writes ../train/images where train lies beside data.yaml
        tried = [root / one for root in roots for one in (entry, entry.removeprefix("../"))]
        place = next((one for one in tried if paths.exists(one)), None)
        if place is None:
            raise DataError(f"{path}: there is no {entry} (tried {', '.join(dict.fromkeys(map(str, tried)))}).")
        for one in _of_folder(path.parent, place) if place.is_dir() else _of_list(path.parent, place):
            yield key, *one


def _of_folder(root: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. YOLO's labels are shares of the images, which are needed.")
    for image in sorted(folder.rglob("*")):
        if image.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in image.relative_to(folder).parts):
            yield image, root


def _of_list(root: Path, file: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the images of a text file, one a line; CVAT puts a folder data/ before them that is not there."""
    for number, line in enumerate(text_files.read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        parts = Path(line.strip()).parts
        tried = [file.parent.joinpath(*parts[skip:]) for skip in range(len(parts))]
        image = next((one for one in tried if paths.is_file(one)), None)
        if image is None:
            raise DataError(f"{file}, line {number}: there is no image {line.strip()}.")
        yield image, root
