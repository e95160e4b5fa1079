"""Labels and radiographs -> a report of what is in them: what ``tools/explore.py`` does."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumodet.api import calls, pages
from pneumodet.api.calls import Given
from pneumodet.core import paths, processes, progress


@dataclasses.dataclass(frozen=True, eq=False)
class Exploration:
    """What is in a data set.

    >>> exploration = pneumodet.explore("data/stage_2_train_labels.csv", output="explored")
    >>> exploration.figures["classes"]["exams"], exploration.report.name
    (12, 'explore.html')

    Attributes:
      figures: every number of the report, as explore.json has it.
      folder: of the report.
    """

    figures: Mapping[str, Any]
    folder: Path

    @property
    def report(self) -> Path:
        """The page, one file."""
        from pneumodet.exploration import exploring

        return self.folder / exploring.REPORT

    @property
    def numbers(self) -> Path:
        """The figures as JSON."""
        from pneumodet.exploration import exploring

        return self.folder / exploring.FIGURES

    @property
    def conclusions(self) -> list[str]:
        """What follows from the figures, a sentence each."""
        return [one["sentence"] for one in self.figures["conclusions"]]

    def show(self, *, height_px: int = 800) -> pages.Page:
        """Return the report, as a notebook shows it."""
        return pages.Page(self.report, height_px)

    def __repr__(self) -> str:
        counts = self.figures["classes"]
        return f"<Exploration of {counts['exams']:,} exams, {counts['positive_exams']:,} with pneumonia: {self.report}>"

    def _repr_html_(self) -> str:
        counts = self.figures["classes"]
        rows = [(name, f"{counts[key]:,}") for key, name in (("exams", "exams"), ("positive_exams", "with pneumonia"), ("boxes", "boxes"))]
        return pages.html(
            pages.table("What is there", ("", "number"), rows),
            pages.listed(self.conclusions),
            pages.line(f"Report: {self.report}"),
        )


@calls.public
def explore(
    labels: Given,
    *,
    class_info: Given | None = None,
    images: Given | None = None,
    headers: Given | None = None,
    patient_map: Given | None = None,
    class_map: Mapping[str, str] | None = None,
    output: Given | None = None,
    overwrite: bool = False,
    workers: int | None = None,
) -> Exploration:
    """Report what is in a data set before anything is trained: classes, boxes, views, ages, issues, pictures.

    Args:
      labels: in any format of ``convert``; enough for a report, to which each other file adds.
      class_info: RSNA's stage_2_detailed_class_info.csv.
      images: folder or ZIP archive of DICOM files.
      headers: CSV of header values.
      patient_map: which patient each exam is of.
      class_map: class of the labels -> class of the label map; "" leaves such boxes out.
      output: new folder for the report; by default exploration/ in the workspace.
      overwrite: replace an earlier report in ``output``.
      workers: processes; None: one a processor.

    Raises:
      ConfigError: a path does not exist.
      DataError: labels or files cannot be used, or ``output`` is in use.
    """
    from pneumodet.exploration import exploring
    from pneumodet.exploration.gathering import Inputs

    what = Inputs(
        calls.file_or_folder(labels, "labels"),
        calls.file(class_info, "class_info"),
        calls.file_or_folder(images, "images"),
        calls.file(headers, "headers"),
        calls.file(patient_map, "patient_map"),
        class_map or {},
    )
    folder = paths.workspace_dir() / "exploration" if output is None else Path(output).expanduser()

    def bar(total: int, what: str) -> Any:
        # pictures are drawn in parts; only headers are counted by file
        return progress.bar(total=total, desc=what, unit="file" if what == "reading headers" else "part")

    figures = exploring.explore(what, folder, overwrite=overwrite, workers=workers or processes.cpus(), progress=bar, phase=progress.phase)
    return Exploration(figures, folder)
