"""pneumodet: pneumonia detection on chest radiographs with the TensorFlow Object Detection API.

The commands are ``python tools/NAME.py``; from Python, these functions do the same (``pneumodet.api``, docs/guide/python.md):

    import pneumodet

    records = pneumodet.convert("images", labels="labels.csv", patient_map="map.csv", output="records")
    run = pneumodet.train("ssd_mobilenet", data=records, run="first", pretrained="coco", steps=2000)
    result = pneumodet.evaluate(run)
    prediction = pneumodet.load(run).predict("radiograph.dcm")

Nothing is imported before it is used; ``python tools/train.py --help`` answers at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pneumodet.api import PneumodetError, convert, evaluate, explore, load, predict, train

__version__ = "0.2.0"

__all__ = ["PneumodetError", "convert", "evaluate", "explore", "load", "predict", "train"]

_ELSEWHERE = {"export": "run.export(formats=[…])", "tune": "the command tune", "compare": "the command compare"}
"""What is guessed -> where it is instead; ``export`` is a room of the library."""


def __getattr__(name: str) -> Any:
    """Return a function of the API, imported now (PEP 562)."""
    if name in __all__:
        return getattr(importlib.import_module("pneumodet.api"), name)
    hint = f" Use {_ELSEWHERE[name]}." if name in _ELSEWHERE else ""
    raise AttributeError(f"module 'pneumodet' has no attribute {name!r}.{hint}")


def __dir__() -> list[str]:
    """Return what there is to use, for completion."""
    return sorted([*__all__, "__version__", "api"])
