"""A data set -> explore.html, one file for readers, and explore.json, every number of it.

figures = explore(Inputs(labels=Path("stage_2_train_labels.csv")), Path("workspace/exploration"))
figures["conclusions"]
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumodet.core import folders, paths
from pneumodet.core.processes import Pool
from pneumodet.exploration import conclusions, counting, gathering, issues, places, report
from pneumodet.exploration.gathering import Inputs, Material

FIGURES, REPORT = "explore.json", "explore.html"


def explore(
    inputs: Inputs,
    output_dir: Path,
    *,
    overwrite: bool = False,
    workers: int = 1,
    progress: Callable[[int, str], Any] = lambda total, what: contextlib.nullcontext(lambda count: None),
    phase: Callable[[str], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> dict[str, Any]:
    """Read a data set, measure it, draw its pictures, and write both files.

    Args:
      inputs: the files.
      output_dir: new folder, made at the end.
      overwrite: replace an earlier exploration.
      workers: processes that read DICOM headers.
      progress, phase: as in ``gathering.gather``.

    Returns:
      What is in explore.json.

    Raises:
      DataError: as ``gathering.gather``, or the folder is in use.
    """
    folders.check_free(output_dir, marker=FIGURES, overwrite=overwrite)  # before the files are read, which takes minutes
    with Pool(workers) as pool:
        material = gathering.gather(inputs, pool, progress=progress, phase=phase)
    with phase("measuring"):
        figures = {"inputs": _names(inputs), **measure(material)}
    # pictures need pixels: header values of a CSV have none
    album = _album(material, progress) if material.sources else None
    figures["pictures"] = album.summary() if album else None
    with phase("writing the report"), folders.new_folder(output_dir, marker=FIGURES, overwrite=overwrite) as folder:
        (folder / REPORT).write_text(report.page(figures, album), encoding="utf-8")
        paths.write_json(folder / FIGURES, figures)
    return figures


def measure(material: Material) -> dict[str, Any]:
    """Return every number of the report, ready for JSON, and the conclusions."""
    figures = {
        "classes": counting.classes(material),
        "patients": counting.patients(material),
        "missing": issues.missing(material),
        "duplicates": issues.duplicates(material),
        "outliers": issues.outliers(material),
        "rejected": [{"exam": exam, "reason": reason} for exam, reason in material.labels.rejected],
        "files": issues.files(material),
        "headers": _headers(material),
        **counting.people(material.exams),
        "boxes": places.boxes(material.exams),
        "correlation": counting.correlation(material.exams),
    }
    return figures | {"conclusions": conclusions.draw(figures)}


def _headers(material: Material) -> dict[str, Any] | None:
    table = material.table
    return None if table is None else {"rows": table.rows, "exams": len(table.facts), "rows_without_exam": table.unnamed}


def _names(inputs: Inputs) -> dict[str, str | None]:
    """Return the inputs' names without their folders, which may show who works where."""
    given = {"labels": inputs.labels, "class_info": inputs.class_info, "dicom_dir": inputs.dicom_dir}
    given |= {"headers": inputs.header_csv, "patient_map": inputs.patient_map}
    return {name: None if path is None else path.resolve().name for name, path in given.items()}


def _album(material: Material, progress: Callable[[int, str], Any]) -> "report.Album":
    from pneumodet.exploration import radiographs

    drawer = radiographs.Drawer(material)
    with progress(3, "drawing") as done:
        # a progress bar has update; the default is a plain function
        step = getattr(done, "update", done)
        examples = drawer.examples()
        step(1)
        equalized = drawer.equalized()
        step(1)
        sheet, why_not = drawer.augmented()
        step(1)
    return report.Album(examples, equalized, sheet, why_not, drawer.unreadable)
