"""A run of any family, an exported model, or detections of any framework -> figures and a report: what ``tools/evaluate.py`` does."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from pneumodet.api import calls, loading, pages
from pneumodet.api.calls import Given
from pneumodet.api.loading import AnyModel
from pneumodet.api.records import Records
from pneumodet.api.training import folder_of
from pneumodet.core import formatting, paths, progress, runs, split_use
from pneumodet.core.errors import ConfigError
from pneumodet.evaluation.metrics_file import Metrics

if TYPE_CHECKING:
    from pneumodet.evaluation.results import Options

FILES = ("compare", "recipe", "gate", "patient_map", "facts", "class_info")
"""Options that are files."""

OF_KERAS = ("run", "split", "output", "overwrite")
"""What goes with a run of a classifier or segmenter."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What an evaluation measured.

    >>> result = pneumodet.evaluate(ground_truth="data/stage_2_train_labels.csv", detections="submission.csv", output="measured", resamples=20)
    >>> result.metrics["images"], result.rsna_metric, result.ap50
    (12, 1.0, 1.0)
    >>> result.report.name
    'report.html'

    Attributes:
      metrics: all figures by their keys, as metrics.json has them, with ``interval(key)``.
      folder: of metrics.json, report.html and detections.json; of a classifier, of metrics.json, scores.csv and pictures.
      report: report.html; None for a run of a classifier or U-Net.
    """

    metrics: Metrics
    folder: Path
    report: Path | None

    @property
    def rsna_metric(self) -> float | None:
        """The challenge's metric at the operating point; None where no exam has a finding."""
        return self.metrics.get("rsna_metric")

    @property
    def ap50(self) -> float | None:
        """COCO's average precision at IoU 0.5 of the class that was evaluated."""
        return self.metrics.get(f"coco.{self.metrics.class_name}.AP50")

    @property
    def score_threshold(self) -> float | None:
        """Score from which on a detection of new data counts."""
        return self.metrics.threshold

    @property
    def warnings(self) -> list[str]:
        """What a reader has to know, a sentence each; with arguments where metrics.json, which is read by whoever has it, names flags."""
        return [calls.in_python(_in_python(one), evaluate) for one in self.metrics.warnings]

    def rows(self) -> list[tuple[str, str]]:
        """Return (name, value with its 95 % interval) of the figures that stand first."""
        from pneumodet.evaluation import main_figures

        named = main_figures.of(self.metrics)
        return [
            (name, formatting.with_interval(self.metrics.get(key), self.metrics.interval(key), form=".4f")) for key, name in named.items()
        ]

    def without_interval(self) -> list[str]:
        """Return a line for each reason why some of ``rows`` have a value and no interval, with their names."""
        from pneumodet.evaluation import main_figures

        return main_figures.without_interval(self.metrics)

    def show(self, *, height_px: int = 800) -> pages.Page:
        """Return the report, as a notebook shows it.

        Raises:
          ConfigError: there is none, of a classifier or U-Net.
        """
        if self.report is None:
            pictures = ", ".join(sorted(path.name for path in self.folder.glob("*.png")))
            raise ConfigError(
                f"The evaluation of a {self.metrics.get('family')} run has no report. Its pictures are in {self.folder}: {pictures}."
            )
        return pages.Page(self.report, height_px)

    def __repr__(self) -> str:
        return f"<Result of {self.metrics.images} images: " + ", ".join(f"{name} {value}" for name, value in self.rows()[:2]) + ">"

    def _repr_html_(self) -> str:
        caption = f"{self.metrics.images or 0:,} images of {self.metrics.patients or 0:,} patients"
        from pneumodet.evaluation import leaks

        point = self.metrics.threshold_source
        return pages.html(
            pages.table(caption, ("figure", "value and 95 % interval"), self.rows()),
            *map(pages.line, self.without_interval()),
            pages.line(f"Figures: {name}" if (name := split_use.figures_on(self.metrics)) else ""),
            pages.line(f"Operating point: {point}" if point else ""),
            pages.line(leaks.statement(self.metrics) or ""),
            pages.warnings(self.warnings),
            pages.line(f"Report: {self.report}" if self.report else f"Results: {self.folder}"),
        )


def _in_python(warning: str) -> str:
    for flag, argument in split_use.FLAGS.items():
        warning = warning.replace(flag, argument)
    return warning


class EvaluateOptions(TypedDict, total=False):
    """Settings of ``evaluate``: ``pneumodet.evaluation.results.Options`` has their meanings and defaults."""

    threshold: float | None
    aim: str
    rules: str
    resamples: int
    seed: int
    compare: Given | None
    recipe: Given | None
    tta: str | None
    trust: bool
    gate: Given | None
    patient_map: Given | None
    facts: Given | None
    class_info: Given | None
    class_name: str
    class_map: Mapping[str, str] | None


@calls.public
def evaluate(
    model: AnyModel | Sequence[AnyModel] | None = None,
    *,
    data: Records | Given | None = None,
    split: str = "val",
    ground_truth: Given | None = None,
    detections: Given | None = None,
    radiographs: Given | None = None,
    output: Given | None = None,
    overwrite: bool = False,
    **options: Unpack[EvaluateOptions],
) -> Result:
    """Evaluate a run, an exported model, several that are fused, or detections of any framework.

    A run of a classifier or U-Net, which the end of its training evaluates on val, is evaluated on another split of its records, such as test, at the
    thresholds that val chose: ``pneumodet.evaluate("my_classifier", split="test")``. Only ``split``, ``output`` and ``overwrite`` go with it.

    >>> pneumodet.evaluate("my_classifier", split="test", tta="flip")
    Traceback (most recent call last):
        ...
    pneumodet.core.errors.ConfigError: tta is for detectors, but my_classifier is of the family classification. ...

    Args:
      model: what ``train`` or ``load`` returned, the name or folder of a run of any family, the folder of an exported model, or several detectors.
      data: the records; for a run by default those that it was trained with.
      split: of the records, such as val or test.
      ground_truth: labels in any format of ``convert``, or a record set, for ``detections``.
      detections: COCO results JSON, or a submission CSV, in place of a model; needs no TensorFlow.
      radiographs: folder of images for the report, with ``detections``.
      output: new folder for the results; for one run by default its eval/, or eval_on_NAME/ on ``data`` NAME that it was not trained with.
      overwrite: replace earlier results in ``output``.
      options: see ``EvaluateOptions``, such as ``aim="sensitivity>=0.9"``, ``tta="flip"``, ``recipe="recipe.json"``.

    Raises:
      ConfigError: arguments do not go together.
      DataError: records, ground truth, detections or label map do not fit.
      CheckpointError: a run has no checkpoint, or it does not fit.
    """
    from pneumodet.evaluation.results import Options

    how = calls.made(Options, calls.files(options, FILES), split=split)
    several = [] if model is None else calls.each(model)
    folders = [loading.run_of(one, family=None) for one in several]
    if bool(several) == bool(detections):
        raise ConfigError("Say what is measured: model (of an exported one with data), or detections with ground_truth.")
    if any(folders) and not all(folders):
        raise ConfigError("Runs and exported models cannot be fused with each other. Export the runs, or name their runs.")
    request = Request(
        runs=[folder for folder in folders if folder],
        models=[] if any(folders) else [loading.export_of(one) for one in several],
        ground_truth=calls.file_or_folder(ground_truth, "ground_truth"),
        detections=calls.file(detections, "detections"),
        radiographs=calls.file_or_folder(radiographs, "radiographs"),
        data=folder_of(data),
        output=None if output is None else Path(output).expanduser(),
        overwrite=overwrite,
    )
    result = measured(request, how)
    calls.warn(result.warnings, evaluate)
    return result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is measured, on what, and where the results go; one of ``runs``, ``models`` and ``detections`` is given.

    Attributes:
      runs: names or folders of runs.
      models: folders of exported models.
      ground_truth, detections: files, and ``radiographs`` for the report's gallery.
      data: record set.
      output: new folder.
      overwrite: replace earlier results in it.
    """

    runs: Sequence[Given] = ()
    models: Sequence[Path] = ()
    ground_truth: Any = None
    detections: Any = None
    radiographs: Any = None
    data: Path | None = None
    output: Any = None
    overwrite: bool = False

    def check(self, *, tta: str | None, class_map: Collection[str] | None) -> None:
        """Check what goes together; by hand, since argparse knows flags that exclude each other, but none that need another one.

        Raises:
          ConfigError: something does not.
        """
        named: dict[str, Any] = {"run": self.runs, "model": self.models, "detections": self.detections}
        chosen = [name for name, value in named.items() if value]
        if len(chosen) != 1:
            raise ConfigError("Say what is measured: one of --run, --model with --data, or --ground-truth with --detections.")
        others = {"--data": self.data, "--output-dir": self.output, "--ground-truth": self.ground_truth}
        needed = {"run": (), "model": ("--data", "--output-dir"), "detections": ("--ground-truth", "--output-dir")}[chosen[0]]
        missing = [name for name in needed if others[name] is None]
        if missing:
            raise ConfigError(f"--{chosen[0]} needs {' and '.join(missing)} as well.")
        if class_map and not self.ground_truth:
            raise ConfigError("--class-map is for the labels of --ground-truth; a record set has its classes already. Leave it out.")
        if tta and self.detections:
            raise ConfigError("--tta needs the detector itself: give --run or --model, not --detections.")
        for name in ("run", "model"):
            # fused with itself a model would count twice
            if len(set(named[name])) < len(named[name]):
                raise ConfigError(f"A --{name} is named twice. Name each once.")


def measured(request: Request, options: "Options", *, say: Say = lambda text: None) -> Result:
    """Evaluate what is asked for, with a bar; errors as ``evaluate``. ``say`` takes sentences on the way."""
    request.check(tta=options.tta, class_map=options.class_map)
    if len(request.runs) == 1:
        family = runs.family_of(paths.run_dir(str(request.runs[0])))
        if family in (runs.CLASSIFICATION, runs.SEGMENTATION):
            return _of_keras(request, options, family, say)
    from pneumodet.evaluation import evaluate as evaluation

    with progress.counting("detecting", "image") as start:
        common: dict[str, Any] = {"options": options, "overwrite": request.overwrite}
        of_records = {**common, "split": options.split, "progress": start}
        if request.runs:
            folders = [runs.find(str(name), family=runs.DETECTION) for name in request.runs]
            outcome = evaluation.of_runs(folders, data_dir=request.data, output_dir=request.output, **of_records)
        elif request.models and request.data:
            outcome = evaluation.of_models(request.models, request.data, request.output, **of_records)
        else:
            outcome = evaluation.of_files(
                request.ground_truth, request.detections, request.output, radiographs=request.radiographs, **common
            )
    return Result(outcome.metrics, outcome.metrics_path.parent, outcome.report)


def _of_keras(request: Request, options: "Options", family: str, say: Say) -> Result:
    """Evaluate a classifier or segmenter on another split than that of validation, which the end of its training evaluates."""
    run = Path(request.runs[0])
    given = [
        field.name
        for one in (request, options)
        for field in dataclasses.fields(one)
        if field.name not in (*OF_KERAS, "runs") and getattr(one, field.name) not in (field.default, [], {})
    ]
    if given:
        flag_of = {keyword: flag for flag, keyword in calls.KEYWORDS.items()}
        flags = ["--" + flag_of.get(name, name).replace("_", "-") for name in (given[0], *OF_KERAS)]
        raise ConfigError(f"{flags[0]} is for detectors, but {run.name} is of the family {family}. With it go {', '.join(flags[1:])}.")
    from pneumodet.training.families.classification import Classifier
    from pneumodet.training.families.segmentation import Segmenter
    from pneumodet.training.keras import testing

    metrics, into = testing.evaluate(
        Classifier() if family == runs.CLASSIFICATION else Segmenter(),
        runs.find(str(request.runs[0])),
        split=options.split,
        output_dir=None if request.output is None else Path(request.output),
        overwrite=request.overwrite,
        say=say,
    )
    return Result(Metrics(metrics), into, None)
