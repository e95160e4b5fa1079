"""The sections of the report that are figures: tables and charts of classes, faults, people, boxes and correlations, as HTML.

content = classes(figures)               # ``exploring.measure``'s figures
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pneumodet import wording
from pneumodet.exploration import charts
from pneumodet.exploration.faults import MOST_LISTED
from pneumodet.reporting import markup
from pneumodet.reporting.charts import bar_chart, group_bars, heat_map
from pneumodet.wording import counted

SHOWN_AT_ONCE = 10
"""Longer lists are folded up."""

FEW_BOXES = 20
"""Fewer make no map."""

_HEADER_NOTES = {
    "exams_without_class": "exams without a row in the class info",
    "classes_without_labels": "exams of the class info without a row in the labels",
    "exams_without_header": "exams without header values",
    "exams_without_file": "exams without a DICOM file",
    "files_without_labels": "DICOM files of which there are no labels",
    "exams_without_patient": "exams that the patient map does not name; each counts as a patient of its own",
}


def classes(figures: Mapping[str, Any]) -> str:
    """Return classes by rows and exams, and how many rows and boxes an exam has."""
    counts = figures["classes"]
    exams, rows = counts["class_exams"], counts["class_rows"]
    total = sum(exams.values())
    lines = [
        (
            markup.text(name),
            *([markup.number(rows.get(name))] if rows else []),
            markup.number(exams.get(name, 0)),
            f"{exams.get(name, 0) / total:.1%}",
        )
        for name in [*exams, *(name for name in rows if name not in exams)]
    ]
    header = ("class", *(["rows"] if rows else []), "exams", "share of the exams")
    series = {name: [rows[name], exams.get(name, 0)] for name in rows} if rows else {name: [count] for name, count in exams.items()}
    chart = group_bars("Rows and exams of each class" if rows else "Exams of each class", series, ("rows", "exams"), shown="{:,}".format)
    content = _side_by_side(markup.table("Classes", header, lines), chart)
    if not rows:
        content += markup.paragraph("Normal and abnormal exams without pneumonia are told apart by the class info: give --class-info.")
    numbers = sorted({*counts["rows_per_exam"], *counts["boxes_per_exam"]}, key=int)
    lines = [
        (number, markup.number(counts["rows_per_exam"].get(number, 0)), markup.number(counts["boxes_per_exam"].get(number, 0)))
        for number in numbers
    ]
    chart = group_bars(
        "Exams by their number of boxes",
        {_boxes(number): [count] for number, count in counts["boxes_per_exam"].items()},
        ("exams",),
        shown="{:,}".format,
    )
    return content + _side_by_side(
        markup.table("Exams by rows and boxes", ("number", "exams with so many rows", "with so many boxes"), lines), chart
    )


def faults(figures: Mapping[str, Any]) -> str:
    """Return what is missing, repeated, far out, rejected or unreadable."""
    missing, twice, far = figures["missing"], figures["duplicates"], figures["outliers"]
    names = {"labels": "labels", "class_info": "class info", "headers": "headers"}
    rows = [
        (f"{where}: {markup.text(column)}", markup.number(count))
        for key, where in names.items()
        for column, count in missing[key].items()
        if count
    ]
    whole = [where for key, where in names.items() if missing[key] and not any(missing[key].values())]
    content = "<h3>Missing</h3>" + markup.table("Rows without a value", ("column", "rows"), rows)
    content += markup.paragraph(f"Nothing is missing in: {', '.join(whole)}." if whole else "")
    content += "".join(_listed(missing.get(key, ()), text) for key, text in _HEADER_NOTES.items())
    content += "".join(
        _listed(exams, f"exams whose {name} has no usual form; taken as missing") for name, exams in missing["unusable_headers"].items()
    )
    content += "<h3>Repeated</h3>" + markup.table("What is there more than once", ("what", "count", ""), _repeated(figures), words=(2,))
    content += _listed(twice["boxes"], "exams in which a box is there twice (overlap above 0.95)")
    content += _listed(twice["header_rows"], "exams with several rows of header values; the first counts")
    content += _listed(twice["class_rows_beyond_boxes"], "exams with another number of rows in the class info than in the labels")
    content += _listed([_of_group(one) for one in twice["same_pixels"]], "groups of exams with the very same stored pixels")
    kinds = {
        "ages": (f"ages over {far['oldest_years']}", "{:g} years"),
        "boxes_beyond_image": ("boxes that reach out of the image", "{:g} px"),
        "pixel_spacing": ("values of pixel spacing far out among those of the same view", "{:g} mm"),
        "boxes_by_area": ("boxes far out by area", "{:.2%} of the image"),
        "boxes_by_shape": ("boxes far out by shape", "{:g} times as wide as high"),
    }
    content += "<h3>Unlikely</h3>"
    content += "".join(
        _listed([f"{one['exam']}: {shown.format(one['value'])}" for one in far[key]], text, empty=f"No {text}.")
        for key, (text, shown) in kinds.items()
    )
    content += (
        f'<p class="note">Far out: beyond the quartiles by more than {far["far_out"]:g} times their distance, on a logarithmic scale (Tukey 1977). '
        "It tells what is unlike the rest, not what is wrong.</p>"
    )
    rejected = [f"{one['exam']}: {one['reason']}" for one in figures["rejected"]]
    content += "<h3>Not usable</h3>" + _listed(rejected, "exams whose labels cannot be used", empty="The labels of every exam can be used.")
    return content + _files(figures["files"])


def people(figures: Mapping[str, Any]) -> str:
    """Return sex, age, view and pixel spacing."""
    content = ""
    view, sex, age, spacing = (figures[name] for name in ("view", "sex", "age", "pixel_spacing"))
    if view:
        rates = {f"{name} view": view[f"positive_of_{name}"] for name in ("AP", "PA")}
        content += f"<h3>View position</h3>{_counts(view)}{_shares(view, 'Share of AP views')}"
        content += markup.charts([_share_bars("Share of exams with pneumonia, with 95% intervals", rates)])
    if sex:
        content += f"<h3>Sex</h3>{_counts(sex)}{_shares(sex, 'Share of female patients')}"
    if age:
        content += f"<h3>Age</h3>{_age(age)}"
    if spacing:
        content += f"<h3>Pixel spacing</h3>{_spacing(spacing)}"
    return content


def boxes(figures: Mapping[str, Any]) -> str:
    """Return centres, sizes and densities by view and age."""
    found = figures["boxes"]
    if found is None:
        return markup.paragraph("There is no box.")
    groups = found["groups"]
    rows = [
        (markup.text(_group_name(name)), markup.number(one["exams"]), markup.number(one["boxes"]))
        + tuple(_quartiles(one[key]) for key in ("width", "height", "area"))
        + (f"{one['left_half']:.1%}",)
        for name, one in groups.items()
    ]
    header = ("exams", "exams with boxes", "boxes", "width", "height", "area", "centre in the left half")
    content = markup.table("Boxes by view and age: medians, and quartiles below, as shares of the image", header, rows)
    views = found["views"]
    if views:
        series = {f"{name} view": _normed(found["sizes"][name]) for name in views}
        chart = bar_chart(
            "Sizes of boxes by view", found["size_edges"], series, x="root of box area / image area", y="share of the view's boxes"
        )
        content += markup.charts([chart])
    names = [name for name in ("all", *views, *found["ages"]) if groups[name]["boxes"] >= FEW_BOXES or name == "all"]
    content += (
        "<h3>Density of opacities</h3><p>How often a box covers a place, of the exams with boxes; as seen on the radiograph, the patient's right on "
        "the left. All maps have one scale.</p>" + _maps(found, "density", names)
    )
    content += (
        "<h3>Centres of boxes</h3><p>As shares of the boxes of each map, so that maps of many and of few can be compared.</p>"
        + _maps(found, "centers", names)
    )
    if few := [_group_name(name) for name in (*views, *found["ages"]) if name not in names]:
        content += markup.paragraph(f"Without a map, because of fewer than {FEW_BOXES} boxes: {', '.join(few)}.")
    return content


def correlation(figures: Mapping[str, Any]) -> str:
    """Return the matrix."""
    found = figures["correlation"]
    if not any(value is not None and row != column for row, of_row in enumerate(found["values"]) for column, value in enumerate(of_row)):
        return ""
    chart = charts.matrix("Spearman's rank correlation of the exams' variables", found["names"], found["values"])
    least = min(min(row) for row in found["exams"])
    return (
        f"{chart}<p>Of exams, not rows, in which both values are known "
        f"({least:,} to {max(map(max, found['exams'])):,}). Boxes and their area are those of exams with pneumonia: elsewhere "
        "there are none by definition, and a correlation with Target would say nothing else. –: undefined, because a variable does not vary or is "
        "not known.</p>"
    )


def _shares(found: Mapping[str, Any], caption: str) -> str:
    groups = {"with pneumonia": found["target_1"], "without": found["target_0"], "all": found["all"]} | found["by_class"]
    rows = [
        (markup.text(name), markup.number(one["exams"]), "–" if one["value"] is None else f"{one['value']:.1%}", _percent_interval(one))
        for name, one in groups.items()
    ]
    table = markup.table(caption, ("exams", "known", "share", "95% interval"), rows)
    return _side_by_side(table, _share_bars(f"{caption}, with 95% intervals", groups))


def _share_bars(title: str, groups: Mapping[str, Mapping[str, Any]]) -> str:
    known = {name: one for name, one in groups.items() if one["value"] is not None}
    spans = {name: (one["low"], one["high"]) for name, one in known.items() if one["low"] is not None}
    return group_bars(title, {name: [one["value"]] for name, one in known.items()}, ("share",), shown="{:.1%}".format, spans=spans)


def _counts(found: Mapping[str, Any]) -> str:
    text = ", ".join(f"{name} {count:,}" for name, count in found["exams"].items())
    return markup.paragraph(f"{text}; unknown {found['unknown']:,}.")


def _age(found: Mapping[str, Any]) -> str:
    series = {name: _normed(found["histogram"][key]) for name, key in (("with pneumonia", "target_1"), ("without pneumonia", "target_0"))}
    chart = bar_chart("Ages", found["histogram_edges"], series, x="years", y="share of each of the two")
    rows = [
        (
            one["years"],
            markup.number(one["exams"]),
            markup.number(one["positive"]),
            f"{one['positive'] / one['exams']:.1%}" if one["exams"] else "–",
        )
        for one in found["groups"]
    ]
    low, middle, high = found["quartiles"]
    text = (
        f"From {found['least']:g} to {found['most']:g} years, median {middle:g}, quartiles {low:g} and {high:g}; unknown or impossible: "
        f"{found['unknown_or_impossible']:,}."
    )
    return markup.paragraph(text) + _side_by_side(markup.table("Exams by age", ("years", "exams", "with pneumonia", "share"), rows), chart)


def _spacing(found: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{one['mm']:g} mm",
            markup.number(one["exams"]),
            f"{one['ap'] / one['view_known']:.1%}" if one["view_known"] else "–",
            f"{one['positive'] / one['exams']:.1%}",
        )
        for one in found["values"]
    ]
    table = markup.table("Exams by pixel spacing", ("spacing", "exams", "AP views", "with pneumonia"), rows)
    bars = group_bars(
        "Exams by pixel spacing", {f"{one['mm']:g} mm": [one["exams"]] for one in found["values"]}, ("exams",), shown="{:,}".format
    )
    return _side_by_side(table, bars) + markup.paragraph(f"Unknown: {found['unknown']:,}." if found["unknown"] else "")


def _repeated(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    twice = figures["duplicates"]
    rows = [
        ("rows of the labels", markup.number(twice["label_rows"]), "the same exam and box once more; counted once"),
        ("boxes", markup.number(len(twice["boxes"])), "exams with two boxes that overlap by more than 0.95"),
    ]
    if figures["classes"]["class_rows"]:
        expected = not twice["class_rows_beyond_boxes"]
        text = "as it should be: an exam has a row for each of its rows in the labels" if expected else "see below"
        rows.append(("rows of the class info", markup.number(twice["class_rows"]), text))
    if figures["headers"]:
        rows.append(("exams in the headers", markup.number(len(twice["header_rows"])), "exams with several rows"))
    if figures["files"]:
        rows.append(("stored pixels", markup.number(len(twice["same_pixels"])), "groups of exams with the very same ones"))
    return rows


def _files(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    sizes = ", ".join(f"{size} px {count:,}" for size, count in found["sizes_px"].items())
    bits = ", ".join(f"{number} bits {count:,}" for number, count in found["bits"].items())
    content = "<h3>Files</h3>" + markup.paragraph(f"{found['found']:,} DICOM files: {sizes}; {bits}.")
    content += _listed(
        [f"{one['file']}: {one['reason']}" for one in found["faulty"]],
        "files that are damaged or cannot be read",
        empty="No file is damaged.",
    )
    return content + _listed([f"{one['file']}: {one['reason']}" for one in found["refused"]], "files that were passed over")


def _listed(items: Iterable[str], text: str, *, empty: str = "") -> str:
    """Return a list, folded up where it is long, or ``empty``."""
    items = list(items)
    if not items:
        return markup.paragraph(empty)
    rest = f"<li>and {len(items) - MOST_LISTED:,} more, in explore.json</li>" if len(items) > MOST_LISTED else ""
    lines = "".join(f"<li>{markup.text(one)}</li>" for one in items[:MOST_LISTED])
    state = " open" if len(items) <= SHOWN_AT_ONCE else ""
    return f'<details{state}><summary>{len(items):,} {markup.text(text)}</summary><ul class="exams">{lines}{rest}</ul></details>'


def _of_group(one: Mapping[str, Any]) -> str:
    patients = f" ({counted(one['patients'], 'patient')})" if one["patients"] is not None else ""
    return ", ".join(one["exams"]) + patients + (": Targets differ" if len(one["targets"]) > 1 else "")


def _maps(found: Mapping[str, Any], key: str, names: Sequence[str]) -> str:
    scaled = {}
    for name in names:
        total = 1 if key == "density" else found["groups"][name]["boxes"]
        scaled[name] = [[value / total for value in row] for row in found[key][name]]
    top = max(max(map(max, values)) for values in scaled.values())
    if not top:
        return ""
    maps = []
    for name, values in scaled.items():
        of = f"{found['groups'][name]['exams']:,} exams" if key == "density" else f"{found['groups'][name]['boxes']:,} boxes"
        maps.append(heat_map(f"{_group_name(name)}, {of}", values, top=top, highest=f"{max(map(max, values)):.1%}"))
    return f'<div class="maps">{"".join(maps)}</div>'


def _group_name(name: str) -> str:
    if name[0].isdigit():
        first, _, rest = name.partition(" and ")
        return f"{first} years" + (f" and {rest}" if rest else "")
    return name if name == "all" else f"{name} view"


def _boxes(number: str) -> str:
    return {"0": "no box", "1": "1 box"}.get(number, f"{number} boxes")


def _quartiles(values: Sequence[float]) -> str:
    low, middle, high = values
    return f"{middle:.3f}<small>{low:.3f} to {high:.3f}</small>"


def _percent_interval(one: Mapping[str, Any]) -> str:
    return wording.between((one["low"], one["high"]), form=".1%")


def _normed(counts: Sequence[int]) -> list[float]:
    total = sum(counts) or 1
    return [count / total for count in counts]


def _side_by_side(*parts: str) -> str:
    return f'<div class="figures">{"".join(f"<div>{part}</div>" for part in parts if part)}</div>'
