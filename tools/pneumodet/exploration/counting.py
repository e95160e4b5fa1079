"""Who and what is in a data set: classes, rows and boxes an exam, patients, and age, sex, view and spacing by class.

figures = classes(material)              # rows and exams of each class
figures = people(material.exams)         # with intervals by patient
"""

from collections import Counter
from typing import Any

import numpy as np

from pneumodet.data import annotations
from pneumodet.dicom.header_facts import OLDEST_YEARS
from pneumodet.exploration import estimates
from pneumodet.exploration.gathering import NO_CLASS, Exams, Material

AGE_EDGES = tuple(range(0, 105, 5))
"""Years; bins of the histogram of ages."""

AGE_GROUPS = ((0, 18), (18, 40), (40, 60), (60, 80), (80, OLDEST_YEARS + 1))
"""Years, from the first to below the second."""

SPACING_DECIMALS = 3
"""Of mm: 0.194308 and 0.194314 are one kind of detector, written by two programs."""

_CORRELATED = ("pneumonia (Target)", "age", "female", "AP view", "pixel spacing", "boxes", "area of the boxes")


def classes(material: Material) -> dict[str, Any]:
    """Return counts: ``rows``, ``exams``, ``positive_exams``, ``boxes``; ``class_rows`` and ``class_exams``, class -> count; and
    ``rows_per_exam`` and ``boxes_per_exam``, number (as text) -> exams, the first of all exams that are named, the second of usable ones.
    """
    exams = material.exams
    rows, table = material.labels.rows, material.labels.table
    boxes = Counter(len(one) for one in exams.boxes_xyxy_px)
    return {
        "rows": sum(rows.values()) if table is None else len(table),
        "exams": len(rows),
        "usable_exams": len(exams),
        "positive_exams": int(exams.positive.sum()),
        "boxes": sum(number * count for number, count in boxes.items()),
        "class_rows": _by_class(Counter(row["class"].strip() for row in material.class_rows)),
        "class_exams": _by_class(Counter(exams.class_names.tolist())),
        "rows_per_exam": _by_number(Counter(rows.values())),
        "boxes_per_exam": _by_number(boxes),
    }


def patients(material: Material) -> dict[str, Any]:
    """Return ``known``, and of a patient map ``patients``, ``with_several_exams``, ``exams_of_these``, ``most_exams`` and the histogram."""
    if material.patients is None:
        return {"known": False}
    counts = np.bincount(material.exams.patients)
    # exams of one patient resemble each other, so that a split by exam leaks by these
    several = counts[counts > 1]
    return {
        "known": True,
        "patients": len(counts),
        "with_several_exams": len(several),
        "exams_of_these": int(several.sum()),
        "most_exams": int(counts.max()),
        "exams_per_patient": _by_number(Counter(counts.tolist())),
    }


def people(exams: Exams) -> dict[str, Any]:
    """Return ``view``, ``sex``, ``age`` and ``pixel_spacing`` by class and Target; each None where no exam has a value.

    Shares are of the exams (not rows) whose value is known.
    """
    return {
        "view": _view(exams) if (exams.view != "").any() else None,
        "sex": _share(exams, exams.sex, "F") if (exams.sex != "").any() else None,
        "age": _age(exams) if (~np.isnan(exams.age_years)).any() else None,
        "pixel_spacing": _spacing(exams) if (~np.isnan(exams.spacing_mm)).any() else None,
    }


def age_groups() -> list[tuple[str, int, int]]:
    """Return (name, from, below) of each group."""
    return [(f"{low} to {high - 1}" if high < AGE_GROUPS[-1][1] else f"{low} and above", low, high) for low, high in AGE_GROUPS]


def correlation(exams: Exams) -> dict[str, Any]:
    """Return ``names``, ``values`` (rows of Spearman's correlations, None where undefined) and ``exams`` (of how many each is).

    Boxes and their area are those of positive exams only: elsewhere there are none by definition, and the correlation with Target would only
    say so.
    """
    count = np.array([len(one) for one in exams.boxes_xyxy_px], np.float64)
    sizes_wh = [one[:, 2:] - one[:, :2] for one in exams.boxes_xyxy_px]
    area = np.array([one.prod(axis=1).sum() for one in sizes_wh]) / exams.size_hw.prod(axis=1)
    columns = [
        exams.positive.astype(np.float64),
        exams.age_years,
        _indicator(exams.sex, "F"),
        _indicator(exams.view, "AP"),
        # rounded, or two spellings of one spacing would have two ranks
        np.round(exams.spacing_mm, SPACING_DECIMALS),
        np.where(exams.positive, count, np.nan),
        np.where(exams.positive, area, np.nan),
    ]
    pairs = [[estimates.spearman(a, b) for b in columns] for a in columns]
    return {
        "names": list(_CORRELATED),
        "values": [[value for value, _ in row] for row in pairs],
        "exams": [[known for _, known in row] for row in pairs],
    }


def _view(exams: Exams) -> dict[str, Any]:
    """Return ``_share`` of AP, and how often each view is positive."""
    # every share is of exams whose view is known: unknown ones are in neither
    known, is_ap = exams.view != "", exams.view == "AP"
    figures = {f"positive_of_{view}": ((exams.view == view) & exams.positive, exams.view == view) for view in ("AP", "PA")}
    rates_of_views = estimates.intervals(figures, exams.patients, differences={"positive_difference": ("positive_of_AP", "positive_of_PA")})
    share = _share(exams, exams.view, "AP")
    rates = [share[f"target_{target}"]["value"] for target in (1, 0)]
    # a rule with two answers has one step in its ROC: the area is the mean of sensitivity and specificity
    auc = None if None in rates else (rates[0] + 1 - rates[1]) / 2
    return {
        **share,
        **rates_of_views,
        "roc_auc_of_the_view_alone": auc,
        "missed_by_calling_ap_positive": int((known & ~is_ap & exams.positive).sum()),
        "false_by_calling_ap_positive": int((is_ap & ~exams.positive).sum()),
    }


def _share(exams: Exams, values: np.ndarray, wanted: str) -> dict[str, Any]:
    """Return the share of a value among exams with Target 0, 1, in all and by class, and the difference between the Targets."""
    known, is_it = values != "", values == wanted
    groups = _groups(exams)
    figures = {name: (is_it & group, known & group) for name, group in groups.items()}
    shares = estimates.intervals(figures, exams.patients, differences={"difference": ("target_1", "target_0")})
    counts = Counter(values[known].tolist())
    return {"share_of": wanted, "exams": dict(counts.most_common()), "unknown": int((~known).sum()), **_nested(shares)}


def _age(exams: Exams) -> dict[str, Any]:
    known = ~np.isnan(exams.age_years)
    # 0 for unknown ages, which the denominator leaves out: NaN would spread to every sum
    years = np.where(known, exams.age_years, 0)
    groups = _groups(exams)
    means = estimates.intervals(
        {name: (years * group, known & group) for name, group in groups.items()},
        exams.patients,
        differences={"difference": ("target_1", "target_0")},
    )
    histograms = {f"target_{target}": _histogram(exams.age_years[known & (exams.positive == target)]) for target in (0, 1)}
    # quartiles beside the means: these do not show how ages spread
    low, middle, high = (float(one) for one in np.quantile(exams.age_years[known], (0.25, 0.5, 0.75)))
    rows = []
    for name, start, end in age_groups():
        of_group = known & (years >= start) & (years < end)
        positive = int((of_group & exams.positive).sum())
        rows.append({"years": name, "exams": int(of_group.sum()), "positive": positive})
    return {
        "unknown_or_impossible": int((~known).sum()),
        "least": float(exams.age_years[known].min()),
        "most": float(exams.age_years[known].max()),
        "quartiles": [low, middle, high],
        "histogram_edges": list(AGE_EDGES),
        "histogram": histograms,
        "groups": rows,
        **_nested(means),
    }


def _histogram(ages: np.ndarray) -> list[int]:
    """Return counts by ``AGE_EDGES``; older exams are counted in the last bin."""
    return np.histogram(np.minimum(ages, AGE_EDGES[-1] - 1), AGE_EDGES)[0].tolist()


def _spacing(exams: Exams) -> dict[str, Any]:
    """Return the ``values`` that occur, each with ``exams``, ``ap`` (of ``view_known``) and ``positive``, and how wide an image would be."""
    known = ~np.isnan(exams.spacing_mm)
    rounded = np.round(exams.spacing_mm, SPACING_DECIMALS)
    values = []
    for value in np.unique(rounded[known]):
        same = rounded == value
        view_known = same & (exams.view != "")
        values.append(
            {
                "mm": float(value),
                "exams": int(same.sum()),
                "view_known": int(view_known.sum()),
                "ap": int((same & (exams.view == "AP")).sum()),
                "positive": int((same & exams.positive).sum()),
            }
        )
    width_mm = exams.spacing_mm[known] * exams.size_hw[known, 1]
    return {
        "unknown": int((~known).sum()),
        "values": values,
        "median_mm": float(np.median(exams.spacing_mm[known])),
        "median_image_width_mm": float(np.median(width_mm)),
        "largest_image_width_mm": float(width_mm.max()),
    }


def _groups(exams: Exams) -> dict[str, np.ndarray]:
    groups = {"all": np.ones(len(exams), bool), "target_0": ~exams.positive, "target_1": exams.positive}
    classes = [name for name in _by_class(Counter(exams.class_names.tolist())) if name not in NO_CLASS]
    return groups | {f"class: {name}": exams.class_names == name for name in classes}


def _nested(by_group: dict[str, dict]) -> dict[str, Any]:
    """Put the figures of classes into a dict of their own."""
    prefix = "class: "
    plain = {name: value for name, value in by_group.items() if not name.startswith(prefix)}
    return plain | {"by_class": {name.removeprefix(prefix): value for name, value in by_group.items() if name.startswith(prefix)}}


def _indicator(values: np.ndarray, wanted: str) -> np.ndarray:
    """Return (N,) float64: 1 where it is the value, 0 where another one, NaN where unknown."""
    return np.where(values == "", np.nan, values == wanted)


def _by_class(counts: Counter[str]) -> dict[str, int]:
    # RSNA's classes in RSNA's order, any others after them by name
    order = {name: index for index, name in enumerate(annotations.RSNA_CLASSES)}
    return {name: counts[name] for name in sorted(counts, key=lambda one: (order.get(one, len(order)), one))}


def _by_number(counts: Counter[int]) -> dict[str, int]:
    return {str(number): counts[number] for number in sorted(counts)}
