"""A radiograph with its boxes <-> the bytes of a tf.train.Example. The only place that knows the feature keys.

The three messages are declared here by their published field numbers (tensorflow/core/example/feature.proto), so that conversion
does not have to start TensorFlow; the bytes are the same.
"""

import dataclasses
import functools
import hashlib
import operator
from types import SimpleNamespace
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from pneumodet.core import boxes
from pneumodet.core.errors import DataError

HEIGHT = "image/height"
WIDTH = "image/width"
FILENAME = "image/filename"
SOURCE_ID = "image/source_id"
SHA256 = "image/key/sha256"
IMAGE_ENCODED = "image/encoded"
FORMAT = "image/format"
XMIN = "image/object/bbox/xmin"
XMAX = "image/object/bbox/xmax"
YMIN = "image/object/bbox/ymin"
YMAX = "image/object/bbox/ymax"
CLASS_TEXT = "image/object/class/text"
CLASS_LABEL = "image/object/class/label"
MASK = "image/object/mask"
IMAGE_CLASS_LABEL = "image/class/label"
IMAGE_CLASS_TEXT = "image/class/text"


Features = dict[str, list[Any]]
"""Key -> values, which are bytes, floats or ints: protobuf's messages have no types here, since they are declared at run time."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What one example holds.

    Attributes:
      patient_id: the exam's patientId.
      encoded: the JPEG or PNG file's bytes.
      image_format: ``jpeg`` or ``png``.
      height: px.
      width: px.
      boxes_xyxy_px: (N, 4) float64, within the image.
      class_names: N names.
      class_ids: N ids of the label map.
      image_class_name: the exam's own class.
      image_class_id: its id.
      masks: N one-channel PNG files of the image's size, not 0 within the object; none where the record has no masks.
    """

    patient_id: str
    encoded: bytes
    image_format: str
    height: int
    width: int
    boxes_xyxy_px: np.ndarray
    class_names: tuple[str, ...]
    class_ids: tuple[int, ...]
    image_class_name: str
    image_class_id: int
    masks: tuple[bytes, ...] = ()

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of ``encoded``, 64 hex digits."""
        return hashlib.sha256(self.encoded).hexdigest()


@functools.cache
def _messages() -> SimpleNamespace:
    file = descriptor_pb2.FileDescriptorProto(name="pneumodet/example.proto", package="tensorflow", syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto

    def message(parent: Any, name: str, *fields: tuple[str, Any, Any, str | None]) -> descriptor_pb2.DescriptorProto:
        made: descriptor_pb2.DescriptorProto = parent.add(name=name)
        for number, (field, type_, label, type_name) in enumerate(fields, start=1):
            made.field.add(name=field, number=number, type=type_, label=label, type_name=type_name)
        return made

    one, many = kind.LABEL_OPTIONAL, kind.LABEL_REPEATED
    message(file.message_type, "BytesList", ("value", kind.TYPE_BYTES, many, None))
    message(file.message_type, "FloatList", ("value", kind.TYPE_FLOAT, many, None))
    message(file.message_type, "Int64List", ("value", kind.TYPE_INT64, many, None))
    lists = [(f"{name.lower()}_list", kind.TYPE_MESSAGE, one, f".tensorflow.{name}List") for name in ("Bytes", "Float", "Int64")]
    feature = message(file.message_type, "Feature", *lists)
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message(file.message_type, "Features", ("feature", kind.TYPE_MESSAGE, many, ".tensorflow.Features.FeatureEntry"))
    entry = message(
        features.nested_type, "FeatureEntry", ("key", kind.TYPE_STRING, one, None), ("value", kind.TYPE_MESSAGE, one, ".tensorflow.Feature")
    )
    entry.options.map_entry = True
    message(file.message_type, "Example", ("features", kind.TYPE_MESSAGE, one, ".tensorflow.Features"))
    pool = descriptor_pool.DescriptorPool()  # of its own: TensorFlow registers the same names in the default one
    pool.Add(file)
    return SimpleNamespace(Example=message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example")))


def encode(record: Record) -> bytes:
    """Return the serialized tf.train.Example of a record; the same record gives the same bytes."""
    example = _messages().Example()
    feature = example.features.feature

    def put(key: str, *values: bytes | str | int | float) -> None:
        target = feature[key]
        if isinstance(values[0], int):
            target.int64_list.value.extend(values)
        elif isinstance(values[0], float):
            target.float_list.value.extend(values)
        else:
            target.bytes_list.value.extend(value.encode() if isinstance(value, str) else value for value in values)

    put(HEIGHT, record.height)
    put(WIDTH, record.width)
    put(FILENAME, record.patient_id)  # the API's decoder asks for it; a path could name a patient
    put(SOURCE_ID, record.patient_id)
    put(SHA256, record.sha256)
    put(IMAGE_ENCODED, record.encoded)
    put(FORMAT, record.image_format)
    put(IMAGE_CLASS_LABEL, record.image_class_id)
    put(IMAGE_CLASS_TEXT, record.image_class_name)
    if len(record.boxes_xyxy_px):
        norm = boxes.xyxy_px_to_yxyx_norm(record.boxes_xyxy_px, height=record.height, width=record.width)
        for column, key in enumerate((YMIN, XMIN, YMAX, XMAX)):
            put(key, *norm[:, column].tolist())
        put(CLASS_TEXT, *record.class_names)
        put(CLASS_LABEL, *record.class_ids)
    else:
        # present but empty lists, as the API's own converters write them
        for key in (YMIN, XMIN, YMAX, XMAX):
            feature[key].float_list.SetInParent()
        feature[CLASS_TEXT].bytes_list.SetInParent()
        feature[CLASS_LABEL].int64_list.SetInParent()
    if record.masks:
        put(MASK, *record.masks)
    serialized: bytes = example.SerializeToString(
        deterministic=True
    )  # maps have no order of their own, and the same record has the same bytes
    return serialized


def features(data: bytes) -> Features:
    """Return key -> values (bytes, floats or ints) of a serialized tf.train.Example, whatever keys it has.

    Raises:
      DataError: these bytes are no Example.
    """
    example = _messages().Example()
    try:
        example.ParseFromString(data)
    except DecodeError as error:
        raise DataError("A record is not a tf.train.Example. Was this file made by make_tfrecords?") from error
    kinds = {key: value.WhichOneof("kind") for key, value in example.features.feature.items()}
    return {key: list(getattr(example.features.feature[key], kind).value) if kind else [] for key, kind in kinds.items()}


def decode(data: bytes) -> Record:
    """Return the record in a serialized tf.train.Example with the API's keys.

    Raises:
      DataError: these bytes are no Example, a key that every record has is missing, or values are of the wrong kind or number.
    """
    of_key = features(data)

    def get(key: str) -> list[Any]:
        return of_key.get(key, [])

    def first(key: str) -> Any:
        values = get(key)
        if not values:
            raise DataError(f"A record has no {key!r}. Was this file made by make_tfrecords?")
        return values[0]

    try:
        height, width = operator.index(first(HEIGHT)), operator.index(first(WIDTH))
        norm = np.array([get(key) for key in (YMIN, XMIN, YMAX, XMAX)], np.float64).T.reshape(-1, 4)
        record = Record(
            patient_id=first(SOURCE_ID).decode(),
            encoded=bytes(memoryview(first(IMAGE_ENCODED))),
            image_format=first(FORMAT).decode(),
            height=height,
            width=width,
            boxes_xyxy_px=boxes.yxyx_norm_to_xyxy_px(norm, height=height, width=width),
            class_names=tuple(name.decode() for name in get(CLASS_TEXT)),
            class_ids=tuple(get(CLASS_LABEL)),
            image_class_name=first(IMAGE_CLASS_TEXT).decode(),
            image_class_id=operator.index(first(IMAGE_CLASS_LABEL)),
            masks=tuple(get(MASK)),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"A record has a key with values of the wrong kind or number ({error}). Was this file made by make_tfrecords?"
        ) from error
    if height < 1 or width < 1 or not len(record.class_ids) == len(record.class_names) == len(norm):
        raise DataError(
            f"A record has {width} x {height} px, {len(norm)} boxes, {len(record.class_ids)} class labels and "
            f"{len(record.class_names)} class names, which does not fit. Was this file made by make_tfrecords?"
        )
    return record
