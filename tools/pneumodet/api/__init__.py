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
    "converting": ("convert",),
    "evaluating": ("Result", "evaluate"),
    "exploring": ("Exploration", "explore"),
    "loading": ("Model", "load"),
    "predicting": ("Written", "predict"),
    "predictions": ("Prediction", "Predictions"),
    "records": ("Records",),
    "training": ("Export", "Run", "train"),
}
"""Module -> what it has of ``__all__``: where only what prediction needs is installed, the others are not imported."""


def __getattr__(name: str) -> Any:
    """Return a part of the API, imported now (PEP 562)."""
    module = next((module for module, names in _MODULES.items() if name in names), None)
    if name == "PneumodetError":
        return importlib.import_module("pneumodet.core.errors").PneumodetError
    if module is None:
        raise AttributeError(f"module 'pneumodet.api' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pneumodet.api.{module}"), name)


def __dir__() -> list[str]:
    """Return what there is to use, for completion."""
    return list(__all__)
