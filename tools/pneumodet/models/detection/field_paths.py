"""One field of a config by its path, set from the text of --set. TensorFlow is not needed.

    set_field(config, "train_config.batch_size", "4")
    set_field(config, "eval_input_reader[0].shuffle", "true")

Types are those of the message's own descriptor, so that a new field of the API needs nothing here.
"""

import re
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor

from pneumodet.core import suggest
from pneumodet.core.errors import ConfigError
from pneumodet.models.detection.odapi import Message

INTEGERS = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64}
"""Kinds of fields that hold whole numbers."""

_FLOATS = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}
_LABEL_REPEATED = 3  # descriptor.proto; releases of protobuf that have is_repeated are about to lose the name
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_STEP = re.compile(r"^([A-Za-z_]\w*)(?:\[(\d+)\])?$")


def is_repeated(field: Any) -> bool:
    """Return whether a field holds a list. ``is_repeated`` came with protobuf 6; Colab and Kaggle have 5.29, which has ``label``."""
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == _LABEL_REPEATED)


def set_field(message: Message, key: str, value: str) -> None:
    """Set one field of a message to what a text means.

    Args:
      message: changed in place.
      key: path of the field from the message.
      value: as ``pipeline_config.override`` says.

    Raises:
      ConfigError: no such field (the message has the nearest name), or the value is of another type.
    """
    *parents, last = key.split(".")
    for depth, step in enumerate(parents):
        where = ".".join(parents[: depth + 1])
        field, index = _field(message, step, where)
        if field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE:
            raise ConfigError(f"--set {key}: {where} is a single value and has no fields.")
        _refuse_other_branch(message, field, where)
        message = _element(message, field, index, where)
    field, index = _field(message, last, key)
    _refuse_other_branch(message, field, key)
    if is_repeated(field) and index is None:
        # replaced, not appended: --set gives the whole list
        message.ClearField(field.name)
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            # an empty value clears the list
            if value:
                _parse_message(getattr(message, field.name).add(), value, key)
        else:
            getattr(message, field.name).extend(_scalar(field, part.strip(), key) for part in value.split(",") if part.strip())
    elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        target = _element(message, field, index, key)
        target.Clear()
        # an empty group in braces still counts as set
        target.SetInParent()
        _parse_message(target, value, key)
    elif index is not None:  # an element of a list; one without an index was set as a whole above
        values = getattr(message, field.name)
        if index >= len(values):
            raise ConfigError(f"--set {key}: there are only {len(values)} values.")
        values[index] = _scalar(field, value, key)
    else:
        setattr(message, field.name, _scalar(field, value, key))


def _field(message: Message, step: str, where: str) -> tuple[FieldDescriptor, int | None]:
    match = _STEP.match(step)
    if not match:
        raise ConfigError(f"--set {where}: {step!r} is not a field name.")
    name, index = match[1], match[2]
    fields = message.DESCRIPTOR.fields_by_name
    if name not in fields:
        raise ConfigError(
            f"--set {where}: {message.DESCRIPTOR.name} has no field {name!r}{suggest.clause(name, fields)} Its fields: {', '.join(sorted(fields))}."
        )
    if index is not None and not is_repeated(fields[name]):
        raise ConfigError(f"--set {where}: {name} is not a list, so that [{index}] has no meaning.")
    return fields[name], None if index is None else int(index)


def _element(message: Message, field: FieldDescriptor, index: int | None, where: str) -> Message:
    value = getattr(message, field.name)
    if not is_repeated(field):
        return value
    if len(value) == 1 and index is None:
        return value[0]
    if index is None or index >= len(value):
        raise ConfigError(f"--set {where}: {field.name} is a list of {len(value)}; say which, for example {field.name}[0].")
    return value[index]


def _refuse_other_branch(message: Message, field: FieldDescriptor, where: str) -> None:
    """Refuse to switch a model from one kind to another by setting one field of the other kind."""
    # protobuf would drop the whole model without a word as soon as a field of another kind is set
    oneof = field.containing_oneof
    if oneof is None or oneof.name != "model":
        return
    current = message.WhichOneof(oneof.name)
    if current and current != field.name:
        raise ConfigError(f"--set {where}: this config's model is of kind {current!r}; choose another config for {field.name!r}.")


def _parse_message(message: Message, value: str, key: str) -> None:
    if not (value.startswith("{") and value.endswith("}")):
        fields = ", ".join(sorted(message.DESCRIPTOR.fields_by_name))
        raise ConfigError(f"--set {key}: this is a group of fields ({fields}). Set one of them, or give the whole group in braces {{…}}.")
    try:
        text_format.Merge(value[1:-1], message)
    except text_format.ParseError as error:
        raise ConfigError(f"--set {key}: {error}.") from error


def _scalar(field: FieldDescriptor, text: str, key: str) -> Any:
    kind = field.cpp_type
    numbers = {} if field.enum_type is None else {name: value.number for name, value in field.enum_type.values_by_name.items()}
    try:
        if kind in INTEGERS:
            value = int(text)
            if not (-(2**63) if kind == FieldDescriptor.CPPTYPE_INT64 else -(2**31)) <= value < 2**64:
                raise ValueError
            if kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64) and value < 0:
                raise ValueError
            return value
        if kind in _FLOATS:
            return float(text)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return _TRUTH[text.lower()]
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return numbers[text.upper()]
    except (ValueError, KeyError):
        wanted = {FieldDescriptor.CPPTYPE_BOOL: "true or false"}.get(kind, "a whole number" if kind in INTEGERS else "a number")
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            wanted = "one of " + ", ".join(sorted(numbers))
        raise ConfigError(f"--set {key}: {text!r} is not {wanted}.") from None
    # quotes are as in the config's own text, but most shells take them off
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text
