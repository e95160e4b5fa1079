"""The radiographs of one user: the detections on each, sorted by score. One object a browser session; nothing is shared between two.

cases = Cases(model.detect)
cases.add(file)                          # DataError with a sentence where it is no radiograph
for case in cases.by_score(): ...
radiograph = cases.radiograph(case)                # decoded again where it is not among the last ones shown
"""

import dataclasses
import functools
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from pneumodet.apps.web import facts, uploads, window
from pneumodet.apps.web.budget import Budget
from pneumodet.apps.web.facts import Facts
from pneumodet.apps.web.uploads import File, Room
from pneumodet.apps.web.window import Radiograph
from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.data import file_kinds, images
from pneumodet.dicom import reading
from pneumodet.inference import admission

DECODED = 3
"""Radiographs that a session keeps decoded: the one shown and its neighbours. The others are kept as files, which are smaller."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A radiograph and the detections on it.

    Attributes:
      key: SHA-256 of the file, which differs between two cases.
      name: of the exam, from the file's name; unique in its session.
      file: the file.
      facts: what is known of it.
      size_hw: of the picture, px.
      detections: findings of pneumonia from ``inference.SCORE_FLOOR``, best first.
      ids: PatientID and SOPInstanceUID of a DICOM file, to find its labels and heatmap by; never shown.
      truth_xyxy_px: boxes that come with it, of a sample; None where they are not known.
    """

    key: str
    name: str
    file: File
    facts: Facts
    size_hw: tuple[int, int]
    detections: Detections
    ids: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    truth_xyxy_px: np.ndarray | None = None

    @functools.cached_property
    def score(self) -> float:
        """The highest score, 0 without a detection."""
        return float(self.detections.scores.max(initial=0.0))


class Cases:
    """The radiographs of one user.

    Attributes:
      pending: (file, boxes that come with it or None) of those that wait for the model; they take room, too.
    """

    def __init__(self, detect: Callable[[np.ndarray], Detections], budget: Budget | None = None) -> None:
        """Begin without any.

        Args:
          detect: (H, W) uint8 -> findings of pneumonia.
          budget: of all users; one for this user alone by default.
        """
        self.pending: list[tuple[File, np.ndarray | None]] = []
        self._detect = detect
        self._cases: dict[str, Case] = {}
        self._decoded: OrderedDict[str, Radiograph] = OrderedDict()
        self._budget = budget or Budget()
        self._budget.add(self)

    def __len__(self) -> int:
        return len(self._cases)

    @property
    def room(self) -> Room:
        """What may still be added, by this user and with what the others have."""
        own = Room().without(self._files())
        return dataclasses.replace(own, bytes=min(own.bytes, self._budget.left))

    @property
    def file_bytes(self) -> int:
        """Of all files, those that wait among them."""
        return sum(len(file.data) for file in self._files())

    @property
    def decoded_bytes(self) -> int:
        """Of the radiographs that are kept decoded."""
        return sum(one.shown.nbytes + (one.stored.nbytes if one.is_real else 0) for one in list(self._decoded.values()))

    def _files(self) -> list[File]:
        return [*(case.file for case in list(self._cases.values())), *(file for file, _ in list(self.pending))]

    def get(self, key: str | None) -> Case | None:
        """Return a case by its key."""
        return self._cases.get(key or "")

    def by_score(self) -> list[Case]:
        """Return all cases, the highest score first, by name where scores are equal."""
        return sorted(self._cases.values(), key=lambda case: (-case.score, case.name))

    def add(self, file: File, *, truth_xyxy_px: np.ndarray | None = None) -> Case:
        """Read a radiograph, detect on it and keep it; the same file again is the same case.

        Args:
          file: within the limits of ``uploads``.
          truth_xyxy_px: (N, 4) boxes that come with it.

        Raises:
          DataError: it is no radiograph, damaged, or too large.
        """
        with self._budget.turn:
            return self._added(file, truth_xyxy_px)

    def _added(self, file: File, truth_xyxy_px: np.ndarray | None) -> Case:
        # by content: a file that is dropped again, under whatever name, is not detected on again
        if file.sha256 in self._cases:
            return self._cases[file.sha256]
        try:
            if not images.is_image_file(file.data, file):
                admission.check(file.data, file, admission.PAGE)
            radiograph = window.read(file)
        except DataError as error:
            raise DataError(self._reason(str(error), file)) from error
        except MemoryError:
            raise DataError("The image is too large for this computer's memory.") from None
        # labels and heatmaps are often named by an ID in the header, and not by the file
        ids = () if file_kinds.is_image(file.data) else reading.header(file).ids
        case = Case(
            key=file.sha256,
            name=self._free_name(uploads.exam_of(file.name)),
            file=file,
            facts=facts.read(file.data),
            size_hw=radiograph.shown.shape,
            detections=self._detect(radiograph.shown),
            ids=ids,
            truth_xyxy_px=truth_xyxy_px,
        )
        self._cases[case.key] = case
        self._remember(case.key, radiograph)
        return case

    def clear(self) -> None:
        """Forget all radiographs, and those that wait."""
        self.pending.clear()
        self._cases.clear()
        self._decoded.clear()

    def radiograph(self, case: Case) -> Radiograph:
        """Return a case's gray values."""
        radiograph = self._decoded.get(case.key)
        if radiograph is None:
            with self._budget.turn:
                radiograph = window.read(case.file)
        self._remember(case.key, radiograph)
        return radiograph

    def _remember(self, key: str, radiograph: Radiograph) -> None:
        self._decoded[key] = radiograph
        # the one that was shown the longest time ago goes first
        self._decoded.move_to_end(key)
        while len(self._decoded) > DECODED or (len(self._decoded) > 1 and self._budget.is_full):
            self._decoded.popitem(last=False)

    def _free_name(self, name: str) -> str:
        taken = {case.name for case in self._cases.values()}
        free, number = name, 1
        while free in taken:
            number += 1
            free = f"{name} ({number})"
        return free

    @staticmethod
    def _reason(message: str, file: File) -> str:
        """Return a message of the library as a sentence that stands after the file's name."""
        if not message.startswith(file.name):
            return message
        reason = message.removeprefix(file.name)
        return f"{reason[2:3].upper()}{reason[3:]}" if reason.startswith(": ") else f"It{reason}"
