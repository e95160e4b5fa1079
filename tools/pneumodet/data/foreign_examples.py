"""One tf.train.Example of another tool -> a record as it is written here: what is absent is filled, what cannot be right is refused.

    example = read(data, {"pneumonia": 1}, where="train.record, record 17")
    example.record, example.notes, example.clipped

Only ``image/encoded`` must be there, and with boxes the four coordinates and ``image/object/class/label`` or ``…/text``.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from pneumodet.core import boxes
from pneumodet.core.errors import DataError
from pneumodet.data import label_map, record_images, tf_example
from pneumodet.data.annotations import MIN_SIDE_PX

REACH = 0.5
"""Share of the image by which a box may reach over its edge, and be clipped; one that reaches further is in px, or otherwise wrong."""

SAME = 1e-6
"""Shares of the image that differ by less are the same: they are float32."""

_KEYS = frozenset(value for name, value in vars(tf_example).items() if name.isupper() and isinstance(value, str))
"""Keys that records have here."""


class CorruptRecord(DataError):
    """A record whose bytes are damaged, so that leaving it out may be right."""


@dataclasses.dataclass(frozen=True)
class ForeignExample:
    """What one example holds.

    Attributes:
      record: as it is written here; its ``patient_id`` is the example's ``image/source_id``, or empty.
      filename: ``image/filename``, or empty.
      is_complete: whether the example can stay as it is: reading it strictly gives the same record.
      notes: what was filled, fixed and left out, a phrase each.
      clipped: boxes that reached over the image's edge, (ymin, xmin, ymax, xmax) as shares of the image.
    """

    record: tf_example.Record
    filename: str
    is_complete: bool
    notes: tuple[str, ...]
    clipped: tuple[tuple[float, ...], ...]


def read(data: bytes, classes: Mapping[str, int], *, where: str) -> ForeignExample:
    """Read an example, tolerant of what is absent.

    Args:
      data: a serialized tf.train.Example with the API's keys.
      classes: the label map.
      where: file and number of the record, for messages.

    Raises:
      CorruptRecord: it is no Example, or its image is damaged or neither JPEG nor PNG.
      DataError: it has no image, or boxes or classes that cannot be used.
    """
    try:
        values = tf_example.features(data)
    except DataError as error:
        raise CorruptRecord(f"{where}: this is not a tf.train.Example.") from error
    encoded = _first(values, tf_example.IMAGE_ENCODED)
    if not isinstance(encoded, bytes):
        raise DataError(f"{where}: there is no {tf_example.IMAGE_ENCODED}; the keys are {', '.join(sorted(values)) or 'none'}.")
    image_format, height, width, _ = _check_image(encoded, where)
    yxyx_norm, clipped = _boxes(values, where, height=height, width=width)
    names, ids = _classes(values, classes, where, len(yxyx_norm))
    notes = [f"{key} left out" for key in values if key not in _KEYS]
    # the API reads masks as PNG files or as float tensors; tensors of radiographs would be a hundred times as large, and are left out
    masks = tuple(values.get(tf_example.MASK, ()))
    if masks and not isinstance(masks[0], bytes):
        masks = ()
        notes.append(f"{tf_example.MASK} as numbers left out")
    if len(masks) not in (0, len(names)):
        raise DataError(f"{where}: there are {len(masks)} masks for {len(names)} boxes.")
    image_class_name, image_class_id = _image_class(values, classes, names)
    record = tf_example.Record(
        patient_id=_text(values, tf_example.SOURCE_ID),
        encoded=encoded,
        image_format=image_format,
        height=height,
        width=width,
        boxes_xyxy_px=boxes.yxyx_norm_to_xyxy_px(yxyx_norm, height=height, width=width),
        class_names=names,
        class_ids=ids,
        image_class_name=image_class_name,
        image_class_id=image_class_id,
        masks=masks,
    )
    wanted = [tf_example.HEIGHT, tf_example.WIDTH, tf_example.FORMAT, tf_example.IMAGE_CLASS_LABEL, tf_example.IMAGE_CLASS_TEXT]
    wanted += [tf_example.CLASS_LABEL, tf_example.CLASS_TEXT] if names else []
    notes += [f"{key} filled" for key in wanted if not values.get(key)]
    given = [_first(values, key) for key in (tf_example.HEIGHT, tf_example.WIDTH, tf_example.FORMAT)]
    mine = [height, width, image_format.encode()]
    notes += [f"{key} fixed" for key, one, other in zip(wanted[:3], given, mine, strict=True) if one not in (None, other)]
    return ForeignExample(record, _text(values, tf_example.FILENAME), not clipped and _reads_the_same(data, record), tuple(notes), clipped)


def _first(values: tf_example.Features, key: str) -> bytes | float | int | None:
    return next(iter(values.get(key, ())), None)


def _text(values: tf_example.Features, key: str) -> str:
    value = _first(values, key)
    try:
        return value.decode() if isinstance(value, bytes) else ""
    except UnicodeDecodeError:
        return ""


def _check_image(encoded: bytes, where: str) -> record_images.Header:
    """Return what an image says of itself, once it was decoded: at an eighth of a JPEG's size all data are read, and so checked, and that is faster."""
    try:
        record_images.decode(encoded, where=where, target_hw=(1, 1))
        return record_images.header(encoded, where=where)
    except record_images.DamagedImage as error:
        raise CorruptRecord(error.what) from error


def _boxes(values: tf_example.Features, where: str, *, height: int, width: int) -> tuple[np.ndarray, tuple[tuple[float, ...], ...]]:
    """Return ((N, 4) yxyx_norm within the image, those that were clipped as they were)."""
    columns = [values.get(key, []) for key in (tf_example.YMIN, tf_example.XMIN, tf_example.YMAX, tf_example.XMAX)]
    if len({len(column) for column in columns}) != 1:
        raise DataError(f"{where}: there are {', '.join(str(len(column)) for column in columns)} values of ymin, xmin, ymax, xmax.")
    try:
        given = np.array(columns, np.float64).T.reshape(-1, 4)
    except ValueError as error:
        raise DataError(f"{where}: coordinates of boxes are no numbers.") from error
    for box in given.tolist():
        about = f"{where}: the box ymin, xmin, ymax, xmax = {', '.join(f'{value:.6g}' for value in box)}"
        if not np.isfinite(box).all():
            raise DataError(f"{about} is not finite.")
        # px where shares belong is the usual error of converters, and clipping would hide it as whole-image boxes
        if min(box) < -REACH or max(box) > 1 + REACH:
            raise DataError(f"{about} lies far outside of the image. The API's keys hold shares of height and width, 0 to 1, and no px.")
        if box[2] < box[0] or box[3] < box[1]:
            raise DataError(f"{about} is inverted: a maximum lies below its minimum.")
    inside = np.clip(given, 0, 1)
    small = ((inside[:, 2:] - inside[:, :2]) * (height, width) < MIN_SIDE_PX).any(axis=1)
    if small.any():
        box = given[int(small.argmax())].tolist()
        raise DataError(f"{where}: the box ymin, xmin, ymax, xmax = {box} has less than {MIN_SIDE_PX:g} px within the image.")
    changed = (np.abs(inside - given) > SAME).any(axis=1)
    return inside, tuple(map(tuple, given[changed].tolist()))


def _classes(values: tf_example.Features, classes: Mapping[str, int], where: str, count: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return (names, ids) of the boxes' classes, where one of both may be absent."""
    known = ", ".join(f"{number} = {name!r}" for name, number in classes.items())
    ids = values.get(tf_example.CLASS_LABEL, [])
    try:
        names = [name.decode() for name in values.get(tf_example.CLASS_TEXT, [])]
    except (AttributeError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: a class name is no text.") from error
    if not any(names):  # some writers fill the key with empty names
        names = []
    if len(ids) not in (0, count) or len(names) not in (0, count) or (count and not ids and not names):
        raise DataError(f"{where}: there are {len(ids)} class labels and {len(names)} class names for {count} boxes.")
    unknown = sorted(set(names) - classes.keys()) or sorted(set(ids) - set(classes.values()))
    if unknown:
        raise DataError(
            f"{where}: the label map has no class {', '.join(map(repr, unknown))}; it has {known}. Give the label map of these records."
        )
    by_id = {number: name for name, number in classes.items()}
    names = names or [by_id[number] for number in ids]
    ids = ids or [classes[name] for name in names]
    for name, number in zip(names, ids, strict=True):
        if classes[name] != number:
            raise DataError(f"{where}: a box has class label {number} and class name {name!r}, but the label map has {known}.")
    return tuple(names), tuple(ids)


def _image_class(values: tf_example.Features, classes: Mapping[str, int], names: tuple[str, ...]) -> tuple[str, int]:
    """Return name and id of the exam's own class: as given, else that of its first box, else the negative class where there is one."""
    name, number = _text(values, tf_example.IMAGE_CLASS_TEXT), _first(values, tf_example.IMAGE_CLASS_LABEL)
    if not values.get(tf_example.IMAGE_CLASS_TEXT) or not isinstance(number, int):
        name = names[0] if names else label_map.NO_PNEUMONIA if label_map.NO_PNEUMONIA in classes else ""
        number = classes.get(name, 0)
    return name, number


def _reads_the_same(data: bytes, record: tf_example.Record) -> bool:
    try:
        strict = tf_example.decode(data)
    except DataError:
        return False
    one, other = (dataclasses.asdict(each) for each in (strict, record))
    # float32 shares multiplied by a size do not come back to the last bit
    of_one, of_other = one.pop("boxes_xyxy_px"), other.pop("boxes_xyxy_px")
    largest = SAME * max(record.height, record.width)
    return one == other and of_one.shape == of_other.shape and bool((np.abs(of_one - of_other) <= largest).all())
