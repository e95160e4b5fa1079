"""The model that all users of the page share: read at once, opened beside the first view, asked by one at a time.

model = SharedModel(Path("workspace/my_first/export"))     # at once; CheckpointError where it is no exported model
detections = model.detect(pixels)                          # waits until it is open; only the findings of pneumonia
"""

import concurrent.futures
import threading
from pathlib import Path

import numpy as np

from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.data import label_map
from pneumodet.inference import detectors, exported

DEFAULT_THRESHOLD = 0.5
"""Used where the model has no operating point of its own."""


class SharedModel:
    """An exported model.

    Attributes:
      exported: what lies beside it.
      category_id: label-map id of pneumonia.
      score_threshold: its operating point, or ``DEFAULT_THRESHOLD``.
      has_operating_point: whether the threshold is the model's own.
    """

    def __init__(self, model_dir: Path, *, backend: str = "auto", trust: bool = False) -> None:
        """Read what lies beside the model, which is quick.

        Args:
          model_dir: made by ``tools/export.py``.
          backend, trust: as ``detectors.open`` takes them.

        Raises:
          CheckpointError: this is no exported model.
          DataError: it knows no pneumonia.
        """
        self.exported = exported.read(model_dir)
        classes = self.exported.label_map
        if label_map.PNEUMONIA not in classes:
            raise DataError(f"The model in {model_dir} has no class 'pneumonia'; its classes are {', '.join(classes)}.")
        self.category_id = classes[label_map.PNEUMONIA]
        own = self.exported.card.score_threshold
        self.has_operating_point = own is not None
        self.score_threshold = DEFAULT_THRESHOLD if own is None else own
        self._calibrator = self.exported.card.calibrator
        self._model_dir, self._backend, self._trust = model_dir, backend, trust
        self._lock = threading.Lock()  # TFLite's interpreter is not to be called by two threads at once
        self._detector: concurrent.futures.Future[detectors.Detector] | None = None

    def open(self) -> concurrent.futures.Future[detectors.Detector]:
        """Begin to open the model in a thread, so that nobody waits for it before there is a radiograph; return what will have it."""
        opener = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="open-model")
        self._detector = opener.submit(detectors.open, self._model_dir, backend=self._backend, trust=self._trust)
        # takes nothing more; its thread ends when the model is open
        opener.shutdown(wait=False)
        return self._detector

    @property
    def is_open(self) -> bool:
        """Whether nobody has to wait for it any more: it is open, or cannot be opened."""
        return self._detector is not None and self._detector.done()

    @property
    def name(self) -> str:
        """What the model is called: its run, else its folder's name."""
        return self.exported.card.run or self.exported.model_dir.name

    def detect(self, pixels: np.ndarray) -> Detections:
        """Return the findings of pneumonia on (H, W) uint8 pixels, boxes in px of them.

        Raises:
          PneumodetError: the model cannot be opened; the same one each time.
        """
        detector = self._opened()
        with self._lock:
            detections = detector.detect(pixels)
        return detections.of_class(self.category_id)

    @property
    def numerics(self) -> str:
        """``detectors.numerics_of`` what runs the model, which is waited for; raises as ``detect``."""
        return detectors.numerics_of(self._opened())

    def _opened(self) -> detectors.Detector:
        return (self._detector or self.open()).result()

    def probability(self, score: float) -> float | None:
        """Return the calibrated probability of pneumonia of an exam with this highest score; None where the model was not calibrated."""
        return None if self._calibrator is None else float(self._calibrator(np.array([score]))[0])
