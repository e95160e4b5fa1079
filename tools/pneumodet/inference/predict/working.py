"""The loop of prediction: radiographs are decoded and given to the model in several threads, pictures drawn behind, and what is finished goes into the journal.

    run(book, given, Model(sets, steps, category_id, gate_scores), Finisher(folder, rules, truth, maker), max_images, progress)

Whatever number of radiographs there are, only as many are in memory as are on their way.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import queue
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pneumodet.core.detections import Detections
from pneumodet.core.errors import DataError
from pneumodet.data.annotations import Exam
from pneumodet.inference.detectors import Detector
from pneumodet.inference.postprocess import recipe as recipes
from pneumodet.inference.postprocess import views
from pneumodet.inference.predict import outputs, reading
from pneumodet.inference.predict.chosen import Chosen
from pneumodet.inference.predict.dicom_files import FOLDER, Maker
from pneumodet.inference.predict.inputs import Inputs
from pneumodet.inference.predict.journal import Entry, Journal
from pneumodet.inference.predict.naming import SAME, Identities
from pneumodet.inference.predict.outputs import Rules
from pneumodet.viz import pictures

Progress = Callable[[int | None, int], Callable[[], object]]
"""Takes the number of radiographs, None where it is not known, and of those that are done; returns what to call after each."""

FINISHING = 2
"""Threads that draw pictures and make DICOM objects."""

NO_GATE = "it has no image-level score in the CSV of --gate"
"""Why a radiograph has no result where the recipe gates."""

UNFINISHED = 6
"""Radiographs that may wait for these; more would fill memory."""


class Model:
    """One or more detectors, and what is done with their detections. May be asked by several threads."""

    def __init__(
        self,
        sets: Sequence[Sequence[Detector]],
        steps: recipes.Recipe,
        category_id: int,
        gate_scores: Mapping[str, float] | None = None,
    ) -> None:
        """Take the detectors.

        Args:
          sets: as many of the same detectors, each as the recipe takes them, as radiographs are worked on at a time.
          steps: the recipe.
          category_id: label-map id of pneumonia.
          gate_scores: exam -> image-level score, where the recipe gates.
        """
        self.steps, self.category_id, self.gate_scores = steps, category_id, gate_scores
        # whoever takes a set from the queue has it alone: not every runtime takes calls of several threads at a time
        self._free: queue.SimpleQueue[Sequence[Detector]] = queue.SimpleQueue()
        for one in sets:
            self._free.put(one)

    def detect(self, exam: str, pixels: np.ndarray) -> Detections:
        """Return the detections on a radiograph, (H, W) uint8.

        Raises:
          DataError: it has no image-level score, or a model gives what is no detection.
        """
        if self.gate_scores is not None and exam not in self.gate_scores:
            raise DataError(NO_GATE)
        mine = self._free.get()
        try:
            sources = [source for each in mine for source in views.detect(each.detect, pixels, self.steps.views)]
        finally:
            self._free.put(mine)
        sets = [{exam: source} for source in sources]
        return recipes.apply(self.steps, sets, category_id=self.category_id, gate_scores=self.gate_scores)[exam]


@dataclasses.dataclass(frozen=True)
class Finisher:
    """Makes what a radiograph gets besides its detections.

    Attributes:
      folder: of the results.
      rules: class and threshold.
      truth: exam -> labels, or None where there are none.
      maker: of DICOM objects, or None.
    """

    folder: Path
    rules: Rules
    truth: Mapping[str, Exam] | None
    maker: Maker | None

    def finish(self, header: Any, pixels: np.ndarray, entry: Entry, *, drawn: bool) -> Entry:
        """Write a radiograph's picture, where it is to be ``drawn``, and its DICOM objects; return the entry that names them.

        Args:
          header: of the radiograph, a pydicom data set, where there is a ``maker``.
          pixels: (H, W) uint8 of it.
          entry: of it.
          drawn: whether it gets a picture.

        Raises:
          DataError: the disk is full.
        """
        name = outputs.file_name(entry.exam)
        if drawn:
            exam = None if self.truth is None else self.truth.get(entry.exam)
            truth = None if exam is None else exam.boxes_xyxy_px
            picture = outputs.picture(pixels, entry, self.rules, truth_xyxy_px=truth, with_truth=self.truth is not None)
            pictures.save(self.folder / outputs.IMAGES / f"{name}.png", picture)
            entry = dataclasses.replace(entry, picture=f"{name}.png")
        if self.maker is not None:
            problem = self.maker.write(self.folder / FOLDER, name, header, pixels, entry.detections.of_class(self.rules.category_id))
            entry = dataclasses.replace(entry, problem=problem)
        return entry


def run(book: Journal, given: Inputs, model: Model, finisher: Finisher, max_images: int, progress: Progress) -> Chosen:
    """Predict on all radiographs that are not in the journal, and write them there, in their order.

    Args:
      book: the journal; what it has is passed over.
      given: the radiographs; ``refused`` gets those that cannot be used.
      model: detects.
      finisher: draws.
      max_images: pictures at the most, with those that the journal has.
      progress: see ``Progress``.

    Returns:
      Which radiographs have a picture.

    Raises:
      DataError, OSError: the disk is full, or a server is away; or KeyboardInterrupt. What is finished by then is in the journal.
    """
    (finisher.folder / outputs.IMAGES).mkdir(exist_ok=True)
    tick = progress(given.total, len(book.done))
    # lazily: a server's pages are asked for as radiographs are worked on
    todo = ((exam, source) for exam, source in given.radiographs if exam not in book.done)
    chosen = Chosen(max_images)
    identities = Identities(given.labels)
    for done in book.entries():
        chosen.offer(done.exam, finisher.rules.score(done))
        identities.add(done.identity, done.exam)
    # with the exams whose pictures are not needed once this one has its own
    waiting: collections.deque[tuple[concurrent.futures.Future[Entry], list[str]]] = collections.deque()
    # pictures and DICOM objects are made in threads of their own: detection does not wait for them
    pool = concurrent.futures.ThreadPoolExecutor(FINISHING, thread_name_prefix="finish")
    ahead = reading.read_ahead(todo, headers=finisher.maker is not None, then=model.detect, identities=identities)
    try:
        for one in ahead:
            # asked again: two of the same may have been decoded at a time
            first = identities.first_of(one.identity, one.exam) if one.identity else None
            if one.pixels is None or one.detections is None or first is not None:
                given.refused.append((given.place(one.source), one.reason if first is None else SAME + first))
            else:
                height, width = one.pixels.shape
                entry = Entry(one.exam, given.place(one.source), (height, width), one.detections, notes=one.notes, identity=one.identity)
                identities.add(one.identity, one.exam)
                drawn, dropped = chosen.offer(entry.exam, finisher.rules.score(entry))
                waiting.append((pool.submit(finisher.finish, one.header, one.pixels, entry, drawn=drawn), dropped))
            # in the order of the radiographs: the first is waited for, even where later ones are done
            while waiting and (waiting[0][0].done() or len(waiting) > UNFINISHED):
                _append(book, waiting, finisher.folder)
            tick()
        while waiting:
            _append(book, waiting, finisher.folder)
    except BaseException:
        with contextlib.suppress(OSError, DataError):  # what is on its way is soon done, unless the disk is full
            while waiting:
                if (entry := waiting.popleft()[0].result()).exam not in book.done:
                    book.append(entry)
        raise
    finally:
        ahead.close()
        pool.shutdown(wait=True)
    return chosen


def _append(book: Journal, waiting: "collections.deque[tuple[concurrent.futures.Future[Entry], list[str]]]", folder: Path) -> None:
    """Write the first that waits into the journal, and remove the pictures that it takes the place of."""
    future, dropped = waiting[0]
    book.append(future.result())
    waiting.popleft()
    # only now: a kill before it would leave a journal with neither of the two pictures
    for exam in dropped:
        (folder / outputs.IMAGES / f"{outputs.file_name(exam)}.png").unlink(missing_ok=True)
