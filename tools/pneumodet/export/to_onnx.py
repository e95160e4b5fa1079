"""A model as an ONNX file.

write(part, path, metadata=card)
"""

import json
import logging
from pathlib import Path
from typing import Any

from pneumodet.core import installation
from pneumodet.core.errors import ConfigError, EnvironmentProblem, first_line
from pneumodet.core.logs import hidden_output
from pneumodet.export.graphs import Part

OPSET = 17
"""Of the file; ONNX Runtime reads it since 1.12 (2022)."""

METADATA = "pneumodet"
"""Key of the metadata in the file's metadata_props; its value is JSON."""


def write(part: Part, path: Path, *, metadata: dict[str, Any]) -> None:
    """Convert a function of a model.

    Raises:
      ConfigError: the converter cannot express it in ONNX.
      EnvironmentProblem: the converter is not installed.
    """
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise EnvironmentProblem(f"ONNX export needs tf2onnx ({first_line(error)}): {installation.command('export')}.") from error
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # which names it could not guess is nobody's concern
    try:
        with hidden_output():
            model, _ = tf2onnx.convert.from_function(part.function, input_signature=part.signature, opset=OPSET)
    except Exception as error:  # the converter raises whatever comes
        raise ConfigError(f"This model cannot be written as ONNX: {first_line(error)}. Leave onnx out of --formats.") from error
    finally:
        logging.disable(before)
    # before the check of the inputs, among which these constants stand until then
    _hold_constants(model, part)
    for what, names, needed in (
        ("inputs", model.graph.input, {one.name for one in part.signature}),
        ("outputs", model.graph.output, set(part.names)),
    ):
        has = {one.name for one in names}
        if has != needed:
            raise ConfigError(f"The ONNX file has the {what} {sorted(has)}, but {sorted(needed)} are needed. Leave onnx out of --formats.")
    # values of metadata_props are texts (onnx.proto), so that both are JSON
    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata), "labels": json.dumps(metadata.get("label_map"))})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _hold_constants(model: Any, part: Part) -> None:
    """Put into the file what the converter takes for inputs: tensors that the function uses and that were made before it, as a Faster R-CNN's anchors."""
    from onnx import numpy_helper

    inputs = {one.name: one for one in model.graph.input}
    for made, used in part.function.get_concrete_function().graph.captures:
        if used.name in inputs:
            model.graph.initializer.append(numpy_helper.from_array(made.numpy(), used.name))
            model.graph.input.remove(inputs[used.name])
