"""Bridges of the API that change lines of its source: those that today's NumPy and Matplotlib refuse, and two that could never work.

    with numpy_names():                          # one of odapi.BRIDGES
        from object_detection.utils import metrics

A module is compiled with its edits when it is imported, and when it is run as a script (``python -m pneumodet.odapi MODULE``); files on the disk stay as
they are, and lines keep their numbers. Edits remain in place: most of these modules are imported later than the API, if at all. The sdist is pinned by its
contents, and a test counts each text that is replaced in it.
"""

import contextlib
import importlib
import importlib.util
import linecache
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType


@dataclass(frozen=True)
class Edit:
    """A piece of a module's source and what takes its place."""

    module: str
    old: str
    """Is in the source once."""
    new: str
    """Has as many line breaks."""


NUMPY_NAMES = (
    Edit("object_detection.utils.metrics", "if labels.dtype != np.float and", "if labels.dtype != float and"),
    Edit("object_detection.utils.metrics", "return np.NAN", "return np.nan"),
    Edit(
        "object_detection.utils.metrics",
        "precision.dtype != np.float or recall.dtype != np.float",
        "precision.dtype != float or recall.dtype != float",
    ),
    Edit("object_detection.metrics.tf_example_parser", "dtype=np.float)", "dtype=float)"),
    Edit("lvis.eval", "tp_sum = np.cumsum(tps, axis=1).astype(dtype=np.float)", "tp_sum = np.cumsum(tps, axis=1).astype(dtype=float)"),
    Edit("lvis.eval", "fp_sum = np.cumsum(fps, axis=1).astype(dtype=np.float)", "fp_sum = np.cumsum(fps, axis=1).astype(dtype=float)"),
)
ONE_ELEMENT = (
    Edit("object_detection.dataset_tools.context_rcnn.generate_embedding_data", "int(num_detections)", "int(num_detections[0])"),
)
EMPTY_BOXES = (Edit("object_detection.dataset_tools.seq_example_util", "if bbox != []:", "if len(bbox):"),)
CANVAS = (
    Edit(
        "object_detection.utils.visualization_utils",
        "np.fromstring(fig.canvas.tostring_rgb(), dtype='uint8')",
        "np.asarray(fig.canvas.buffer_rgba())[..., :3]",
    ),
    Edit(
        "object_detection.utils.visualization_utils",
        "np.fromstring(\n        fig.canvas.tostring_rgb(), dtype='uint8')",
        "np.asarray(\n        fig.canvas.buffer_rgba())[..., :3]",
    ),
)
BOXES = (
    Edit(
        "object_detection.meta_architectures.ssd_meta_arch",
        "location_losses = self._localization_loss(\n          prediction_dict['box_encodings'],\n          batch_reg_targets,",
        "of_boxes = type(self._localization_loss).__name__.endswith('IOULocalizationLoss')\n"
        "      boxes = lambda codes: self._batch_decode(codes, self.anchors.get())[0] if of_boxes else codes\n"
        "      location_losses = self._localization_loss(boxes(prediction_dict['box_encodings']), boxes(batch_reg_targets),",
    ),
)
LEVELS = (
    Edit(
        "object_detection.utils.spatial_transform_ops",
        "cond = tf.reshape(cond, cropped.shape)",
        "cond = tf.reshape(cond, tf.shape(cropped))",
    ),
)
EDITS = NUMPY_NAMES + ONE_ELEMENT + EMPTY_BOXES + CANVAS + BOXES + LEVELS
"""All of them."""


class _Loader(SourceFileLoader):
    """Compiles an edited source; what Python keeps in ``__pycache__`` is of the one on the disk, and is neither read nor written."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = importlib.util.decode_source(self.get_data(path))
        for edit in _FINDER.edits[fullname]:
            source = source.replace(edit.old, edit.new)
        # AutoGraph compiles functions anew from what inspect reads, and tracebacks show it; a name of its own, since a module's file is read from the disk
        shown = f"{path} (edited)"
        linecache.cache[shown] = (len(source), None, source.splitlines(keepends=True), shown)
        return compile(source, shown, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Finds the modules that have edits, and leaves all others to Python."""

    def __init__(self) -> None:
        self.edits: dict[str, list[Edit]] = {}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in self.edits:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


_FINDER = _Finder()


def _apply(edits: Sequence[Edit]) -> None:
    """Let modules be compiled with these edits from now on; one that was imported before is executed again, in place."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    for edit in edits:
        _FINDER.edits.setdefault(edit.module, []).append(edit)
    for name in dict.fromkeys(edit.module for edit in edits):
        if name in sys.modules:
            importlib.reload(sys.modules[name])


@contextlib.contextmanager
def numpy_names() -> Iterator[None]:
    """The Pascal, Open Images and VRD metrics, ``tf_example_parser`` and the package lvis say ``np.float`` and ``np.NAN``.

    NumPy 1.24 removed the first, 2.0 the second. Whoever has ``metrics_set: "pascal_voc_detection_metrics"`` meets them.
    """
    _apply(NUMPY_NAMES)
    yield


@contextlib.contextmanager
def one_element_arrays() -> Iterator[None]:
    """``generate_embedding_data`` calls ``int()`` on an array of one element, which NumPy 2.4 refuses."""
    _apply(ONE_ELEMENT)
    yield


@contextlib.contextmanager
def empty_boxes() -> Iterator[None]:
    """``seq_example_util`` asks ``bbox != []`` of arrays: NumPy 1.25 and later compare element by element, and fail for one box or several."""
    _apply(EMPTY_BOXES)
    yield


@contextlib.contextmanager
def canvas_pixels() -> Iterator[None]:
    """``visualization_utils`` takes the pixels of its charts by ``tostring_rgb``, which Matplotlib 3.10 removed, and ``np.fromstring``."""
    _apply(CANVAS)
    yield


@contextlib.contextmanager
def losses_of_boxes() -> Iterator[None]:
    """``weighted_iou`` and ``weighted_giou`` are for boxes, as their docstrings say, but an SSD hands them encodings, of which an IoU means nothing.

    ``normalize_loc_loss_by_codesize`` divides by 4 as it does with the four terms of smooth L1, so that a ``localization_weight`` of 4 counts each box once.
    """
    _apply(BOXES)
    yield


@contextlib.contextmanager
def crops_of_any_batch() -> Iterator[None]:
    """A Faster R-CNN with a pyramid asks for the static shape of its crops, and so cannot be traced for batches of any size: not evaluated, not exported."""
    _apply(LEVELS)
    yield
