"""Figures of a run for MLflow or Weights & Biases, beside TensorBoard and metrics.csv. Server and project come of these packages' own variables.

tracker = start("mlflow", folder, {"batch_size": 8})        # a folder that was tracked before continues its run there
tracker.log(100, {"loss/total": 0.71})
tracker.close()
"""

import importlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pneumodet.core import json_fields, paths
from pneumodet.core.errors import EnvironmentProblem, first_line

_LOG = logging.getLogger(__name__)


class Tracker:
    """Takes figures; what cannot be sent is warned of once, and the training continues."""

    def __init__(self, name: str, send: Callable[[int, dict[str, float]], Any], end: Callable[[], Any]) -> None:
        """Take the package's name, what takes (step, figures), and what ends the run."""
        self._name, self._send, self._end, self._warned = name, send, end, False

    def log(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Send the figures of a step that are defined."""
        self._tried(lambda: self._send(step, {name: float(value) for name, value in figures.items() if value is not None}))

    def close(self) -> None:
        """End the run there."""
        self._tried(self._end)

    def _tried(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # each package has errors of its own, those of its network beside
            if not self._warned:
                _LOG.warning("%s lacks what cannot be sent (%s). Training continues; metrics.csv has it.", self._name, first_line(error))
            self._warned = True


def start(name: str, folder: Path, settings: Mapping[str, Any]) -> Tracker:
    """Begin a run there, or continue the one that ``folder`` was tracked as; ``name`` is one of ``models.options.TRACKERS``.

    Raises:
      EnvironmentProblem: the package is not installed, or it cannot begin.
    """
    memory = folder / f"{name}.json"
    earlier = json_fields.of_file(memory, what="the tracked run", hint="Remove it.").required("run", str) if memory.exists() else None
    try:
        module = importlib.import_module(name)
        if name == "mlflow":
            run = module.start_run(**({"run_id": earlier} if earlier else {"run_name": folder.name})).info.run_id
            earlier or module.log_params(settings)  # which MLflow lets nobody change
            tracker = Tracker(name, lambda step, figures: module.log_metrics(figures, step=step), module.end_run)
        else:
            active = module.init(name=folder.name, id=earlier, resume="allow" if earlier else None, config=dict(settings), dir=str(folder))
            run, tracker = active.id, Tracker(name, lambda step, figures: active.log(figures, step=step), active.finish)
    except ImportError as error:
        raise EnvironmentProblem(f"--log-to {name} needs the package {name} ({first_line(error)}): pip install {name}.") from error
    except Exception as error:
        raise EnvironmentProblem(
            f"--log-to {name}: it cannot begin a run ({first_line(error)}). Check its server, or leave it out."
        ) from error
    paths.write_json(memory, {"run": run})
    return tracker
