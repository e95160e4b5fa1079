"""The sections of the report that are figures: tables, charts and lists of classes, issues, people and correlations, for its template.

shown = classes(figures)               # ``exploring.measure``'s figures
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pneumodet.core import formatting
from pneumodet.core.formatting import counted
from pneumodet.exploration import charts
from pneumodet.exploration.box_panels import normed
from pneumodet.exploration.issues import MOST_LISTED
from pneumodet.viz import markup
from pneumodet.viz.charts import bar_chart, group_bars
from pneumodet.viz.markup import Table

SHOWN_AT_ONCE = 10
"""Longer lists are folded up."""

_HEADER_NOTES = {
    "exams_without_class": "exams without a row in the class info",
    "classes_without_labels": "exams of the class info without a row in the labels",
    "exams_without_header": "exams without header values",
    "exams_without_file": "exams without a DICOM file",
    "files_without_labels": "DICOM files of which there are no labels",
    "exams_without_patient": "exams that the patient map does not name; each counts as a patient of its own",
}


@dataclasses.dataclass(frozen=True)
class Listing:
    """A list of exams or files.

    Attributes:
      summary: text above it.
      items: texts.
      more: text below it, where it is cut.
      open: whether it is short enough to be shown at once.
      empty: text in its place where there is no item.
    """

    summary: str
    items: Sequence[str]
    more: str = ""
    open: bool = True
    empty: str = ""


def classes(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return classes by rows and exams, and how many rows and boxes an exam has."""
    counts = figures["classes"]
    exams, rows = counts["class_exams"], counts["class_rows"]
    total = sum(exams.values())
    lines = [
        (
            name,
            *([markup.number(rows.get(name))] if rows else []),
            markup.number(exams.get(name, 0)),
            f"{exams.get(name, 0) / total:.1%}",
        )
        for name in [*exams, *(name for name in rows if name not in exams)]
    ]
    header = ("class", *(["rows"] if rows else []), "exams", "share of the exams")
    series = {name: [rows[name], exams.get(name, 0)] for name in rows} if rows else {name: [count] for name, count in exams.items()}
    title, bars = ("Rows and exams of each class", ("rows", "exams")) if rows else ("Exams of each class", ("exams",))
    chart = group_bars(title, series, bars, shown="{:,}".format)
    numbers = sorted({*counts["rows_per_exam"], *counts["boxes_per_exam"]}, key=int)
    exams_by_number = [
        (number, markup.number(counts["rows_per_exam"].get(number, 0)), markup.number(counts["boxes_per_exam"].get(number, 0)))
        for number in numbers
    ]
    numbers_chart = group_bars(
        "Exams by their number of boxes",
        {_boxes(number): [count] for number, count in counts["boxes_per_exam"].items()},
        ("exams",),
        shown="{:,}".format,
    )
    return {
        "table": Table("Classes", header, lines),
        "chart": chart,
        "needs_class_info": not rows,
        "numbers": Table("Exams by rows and boxes", ("number", "exams with so many rows", "with so many boxes"), exams_by_number),
        "numbers_chart": numbers_chart,
    }


def issues(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is missing, repeated, an outlier, rejected or unreadable."""
    rejected = [f"{one['exam']}: {one['reason']}" for one in figures["rejected"]]
    return {
        **_missing(figures["missing"]),
        "repeated": Table("What is there more than once", ("what", "count", ""), _repeated(figures), text_columns=(2,)),
        "repeated_lists": _repeated_lists(figures["duplicates"]),
        **_unlikely(figures["outliers"]),
        "rejected": _listing(rejected, "exams whose labels cannot be used", empty="The labels of every exam can be used."),
        "files": _files(figures["files"]),
    }


def _missing(missing: Mapping[str, Any]) -> dict[str, Any]:
    names = {"labels": "labels", "class_info": "class info", "headers": "headers"}
    rows = [(f"{where}: {column}", markup.number(count)) for key, where in names.items() for column, count in missing[key].items() if count]
    # what was checked and is complete is said: silence could mean that nobody checked
    whole = [where for key, where in names.items() if missing[key] and not any(missing[key].values())]
    lists = [_listing(missing.get(key, ()), text) for key, text in _HEADER_NOTES.items()]
    lists += [
        _listing(exams, f"exams whose {name} has no usual form; taken as missing") for name, exams in missing["unusable_headers"].items()
    ]
    return {
        "missing": Table("Rows without a value", ("column", "rows"), rows),
        "whole": f"Nothing is missing in: {', '.join(whole)}." if whole else "",
        "missing_lists": lists,
    }


def _repeated_lists(duplicates: Mapping[str, Any]) -> list[Listing]:
    return [
        _listing(duplicates["boxes"], "exams in which a box is a duplicate (overlap above 0.95)"),
        _listing(duplicates["header_rows"], "exams with several rows of header values; the first counts"),
        _listing(duplicates["class_rows_beyond_boxes"], "exams with another number of rows in the class info than in the labels"),
        _listing([_of_group(one) for one in duplicates["same_pixels"]], "groups of exams with the very same stored pixels"),
    ]


def _unlikely(far: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {
        "ages": (f"ages over {far['oldest_years']}", "{:g} years"),
        "boxes_beyond_image": ("boxes that reach out of the image", "{:g} px"),
        "pixel_spacing": ("outliers of pixel spacing among those of the same view", "{:g} mm"),
        "boxes_by_area": ("boxes that are outliers by area", "{:.2%} of the image"),
        "boxes_by_shape": ("boxes that are outliers by shape", "{:g} times as wide as high"),
    }
    return {
        "unlikely_lists": [
            _listing([f"{one['exam']}: {shown.format(one['value'])}" for one in far[key]], text, empty=f"No {text}.")
            for key, (text, shown) in kinds.items()
        ],
        "unlikely_note": (
            f"Outliers: beyond the quartiles by more than {far['far_out']:g} times their distance, on a logarithmic scale (Tukey 1977). "
            "They are unlike the rest, which does not mean that they are wrong."
        ),
    }


def people(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return sex, age, view and pixel spacing; None for what is not known."""
    view, sex, age, spacing = (figures[name] for name in ("view", "sex", "age", "pixel_spacing"))
    rates = {f"{name} view": view[f"positive_of_{name}"] for name in ("AP", "PA")} if view else {}
    return {
        "view": _shares(view, "Share of AP views") if view else None,
        "view_chart": _share_bars("Share of exams with pneumonia, with 95% intervals", rates),
        "sex": _shares(sex, "Share of female patients") if sex else None,
        "age": _age(age) if age else None,
        "spacing": _spacing(spacing) if spacing else None,
    }


def correlation(figures: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the matrix; None where no two variables are known."""
    measured = figures["correlation"]
    if not any(value is not None and row != column for row, of_row in enumerate(measured["values"]) for column, value in enumerate(of_row)):
        return None
    chart = charts.matrix("Spearman's rank correlation of the exams' variables", measured["names"], measured["values"])
    # each pair has the exams of which both are known, so that numbers differ
    least = min(min(row) for row in measured["exams"])
    return {"chart": chart, "exams": f"{least:,} to {max(map(max, measured['exams'])):,}"}


def _shares(shares: Mapping[str, Any], caption: str) -> dict[str, Any]:
    groups = {"with pneumonia": shares["target_1"], "without": shares["target_0"], "all": shares["all"]} | shares["by_class"]
    rows = [
        (name, markup.number(one["exams"]), "–" if one["value"] is None else f"{one['value']:.1%}", _percent_interval(one))
        for name, one in groups.items()
    ]
    return {
        "counts": _counts(shares),
        "table": Table(caption, ("exams", "known", "share", "95% interval"), rows),
        "chart": _share_bars(f"{caption}, with 95% intervals", groups),
    }


def _share_bars(title: str, groups: Mapping[str, Mapping[str, Any]]) -> Markup:
    known = {name: one for name, one in groups.items() if one["value"] is not None}
    spans = {name: (one["low"], one["high"]) for name, one in known.items() if one["low"] is not None}
    return group_bars(title, {name: [one["value"]] for name, one in known.items()}, ("share",), shown="{:.1%}".format, spans=spans)


def _counts(shares: Mapping[str, Any]) -> str:
    text = ", ".join(f"{name} {count:,}" for name, count in shares["exams"].items())
    return f"{text}; unknown {shares['unknown']:,}."


def _age(age: Mapping[str, Any]) -> dict[str, Any]:
    series = {name: normed(age["histogram"][key]) for name, key in (("with pneumonia", "target_1"), ("without pneumonia", "target_0"))}
    chart = bar_chart("Ages", age["histogram_edges"], series, x="years", y="share of each of the two")
    rows = [
        (
            one["years"],
            markup.number(one["exams"]),
            markup.number(one["positive"]),
            f"{one['positive'] / one['exams']:.1%}" if one["exams"] else "–",
        )
        for one in age["groups"]
    ]
    low, middle, high = age["quartiles"]
    text = (
        f"From {age['least']:g} to {age['most']:g} years, median {middle:g}, quartiles {low:g} and {high:g}; unknown or impossible: "
        f"{age['unknown_or_impossible']:,}."
    )
    return {"counts": text, "table": Table("Exams by age", ("years", "exams", "with pneumonia", "share"), rows), "chart": chart}


def _spacing(spacing: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        (
            f"{one['mm']:g} mm",
            markup.number(one["exams"]),
            f"{one['ap'] / one['view_known']:.1%}" if one["view_known"] else "–",
            f"{one['positive'] / one['exams']:.1%}",
        )
        for one in spacing["values"]
    ]
    table = Table("Exams by pixel spacing", ("spacing", "exams", "AP views", "with pneumonia"), rows)
    bars = group_bars(
        "Exams by pixel spacing", {f"{one['mm']:g} mm": [one["exams"]] for one in spacing["values"]}, ("exams",), shown="{:,}".format
    )
    return {"table": table, "chart": bars, "unknown": f"Unknown: {spacing['unknown']:,}." if spacing["unknown"] else ""}


def _repeated(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    duplicates = figures["duplicates"]
    rows = [
        ("rows of the labels", markup.number(duplicates["label_rows"]), "the same exam and box once more; counted once"),
        ("boxes", markup.number(len(duplicates["boxes"])), "exams with two boxes that overlap by more than 0.95"),
    ]
    if figures["classes"]["class_rows"]:
        expected = not duplicates["class_rows_beyond_boxes"]
        text = "as it should be: an exam has a row for each of its rows in the labels" if expected else "see below"
        rows.append(("rows of the class info", markup.number(duplicates["class_rows"]), text))
    if figures["headers"]:
        rows.append(("exams in the headers", markup.number(len(duplicates["header_rows"])), "exams with several rows"))
    if figures["files"]:
        rows.append(("stored pixels", markup.number(len(duplicates["same_pixels"])), "groups of exams with the very same ones"))
    return rows


def _files(files: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if files is None:
        return None
    sizes = ", ".join(f"{size} px {count:,}" for size, count in files["sizes_px"].items())
    bits = ", ".join(f"{number} bits {count:,}" for number, count in files["bits"].items())
    faulty, refused = ([f"{one['file']}: {one['reason']}" for one in files[key]] for key in ("faulty", "refused"))
    return {
        "counts": f"{files['found']:,} DICOM files: {sizes}; {bits}.",
        "lists": [
            _listing(faulty, "files that are damaged or cannot be read", empty="No file is damaged."),
            _listing(refused, "files that were passed over"),
        ],
    }


def _listing(items: Iterable[str], text: str, *, empty: str = "") -> Listing:
    """Return a list, folded up where it is long, or with ``empty`` in its place."""
    items = list(items)
    # a page with thousands of names would be slow to open
    more = f"and {len(items) - MOST_LISTED:,} more, in explore.json" if len(items) > MOST_LISTED else ""
    return Listing(f"{len(items):,} {text}", items[:MOST_LISTED], more, len(items) <= SHOWN_AT_ONCE, empty)


def _of_group(one: Mapping[str, Any]) -> str:
    patients = f" ({counted(one['patients'], 'patient')})" if one["patients"] is not None else ""
    return ", ".join(one["exams"]) + patients + (": Targets differ" if len(one["targets"]) > 1 else "")


def _boxes(number: str) -> str:
    return {"0": "no box", "1": "1 box"}.get(number, f"{number} boxes")


def _percent_interval(one: Mapping[str, Any]) -> str:
    return formatting.between((one["low"], one["high"]), form=".1%")
