"""The Python API: what the commands do, as functions that return results. ``import pneumodet`` has all of it, and imports it when it is used.

import pneumodet

records = pneumodet.convert("data/stage_2_train_images", labels="labels.csv", patient_map="map.csv", output="records")
run = pneumodet.train("ssd_mobilenet", data=records, run="first", pretrained="coco", steps=2000)
result = pneumodet.evaluate(run)
model = pneumodet.load("workspace/first")
prediction = model.predict("radiograph.dcm")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pneumodet.api.converting import convert
    from pneumodet.api.evaluating import Result, evaluate
    from pneumodet.api.exploring import Exploration, explore
    from pneumodet.api.loading import Model, load
    from pneumodet.api.predicting import Written, predict
    from pneumodet.api.predictions import Prediction, Predictions
    from pneumodet.api.records import Records
    from pneumodet.api.training import Export, Run, train
    from pneumodet.core.errors import PneumodetError

__all__ = [
    "Exploration",
    "Export",
    "Model",
    "PneumodetError",
    "Prediction",
    "Predictions",
    "Records",
    "Result",
    "Run",
    "Written",
    "convert",
    "evaluate",
    "explore",
    "load",
    "predict",
    "train",
]

_MODULES = {
    "Exploration": "api.exploring",
    "Export": "api.training",
    "Model": "api.loading",
    "PneumodetError": "core.errors",
    "Prediction": "api.predictions",
    "Predictions": "api.predictions",
    "Records": "api.records",
    "Result": "api.evaluating",
    "Run": "api.training",
    "Written": "api.predicting",
    "convert": "api.converting",
    "evaluate": "api.evaluating",
    "explore": "api.exploring",
    "load": "api.loading",
    "predict": "api.predicting",
    "train": "api.training",
}
"""Each of ``__all__`` -> its module: where only what prediction needs is installed, the others are not imported."""


def __getattr__(name: str) -> Any:
    """Return a part of the API, imported now (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'pneumodet.api' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pneumodet.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """Return what there is to use, for completion."""
    return list(__all__)
