"""What a reader should take from the figures: sentences, none of which says more than they support.

for one in draw(figures): ...                # {"about": "view", "sentence": "…"}

A difference is called one only where its 95% interval leaves out 0. ``figures`` is what ``exploring.measure`` returns.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pneumodet.core import invocation
from pneumodet.exploration import estimates

CHEST_DETECTOR_MM = 350
"""Shorter side of the usual detectors, 35 x 43 cm; an image much narrower than this holds no adult chest."""

NARROW = 0.75
"""Share of ``CHEST_DETECTOR_MM`` below which a median width of images is taken for impossible."""

FEW_EXAMS = 50
"""Values of pixel spacing with fewer exams are not compared."""

STRONG = 0.3
"""Correlations of at least this size are named."""


def draw(figures: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the sentences, the most important first, each with what it is ``about``."""
    # what would invalidate a result comes first: patients in both splits, the view, the box columns
    parts = (_patients, _view, _leak, _balance, _age, _sex, _spacing, _boxes, _same_pixels, _rejected, _correlation)
    return [{"about": part.__name__.strip("_"), "sentence": sentence} for part in parts for sentence in part(figures)]


def _patients(figures: Mapping[str, Any]) -> Iterator[str]:
    patients, exams = figures["patients"], figures["classes"]["usable_exams"]
    if not patients["known"]:
        yield (
            "patientId names an exam, not a patient, in RSNA's files. Which exams are of one patient is not known here, so that a split by patientId may "
            "put a patient into both splits, and the intervals of this report may be too narrow. Give --patient-map."
        )
    elif patients["with_several_exams"]:
        several, share = patients["with_several_exams"], patients["exams_of_these"] / exams
        yield (
            f"Exam ids are not patients: the {exams:,} exams are of {patients['patients']:,} patients, of whom {several:,} have more than "
            f"one exam (up to {patients['most_exams']}); {share:.0%} of the exams are theirs. Split by patient, never by exam."
        )
    else:
        yield f"By the patient map, each of the {exams:,} exams is of another patient."


def _view(figures: Mapping[str, Any]) -> Iterator[str]:
    view = figures["view"]
    if view is None:
        return
    ones = view["target_1"]["value"], view["target_0"]["value"]
    if None in ones:
        return
    # no conclusion from a difference that the interval does not show
    if not estimates.is_shown(view["difference"]):
        yield f"The share of AP views is {ones[0]:.1%} with pneumonia and {ones[1]:.1%} without; {_not_shown(view['difference'], points=True)}."
        return
    classes = ", ".join(f"{name} {one['value']:.1%}" for name, one in view["by_class"].items() if one["value"] is not None)
    by_class = f"; by class: {classes}" if classes else ""
    yield (
        f"The share of AP views is {ones[0]:.1%} of the exams with pneumonia and {ones[1]:.1%} of those without (difference "
        f"{_points(view['difference'])}{by_class}): the view is a confounder. A model can gain by recognizing the view instead of the disease, so "
        "evaluate it within AP and within PA as well."
    )
    auc, rates = view["roc_auc_of_the_view_alone"], (view["positive_of_AP"]["value"], view["positive_of_PA"]["value"])
    # no rates of positives where a view does not occur
    if None not in rates:
        yield (
            f"Pneumonia is in {rates[0]:.1%} of the AP and in {rates[1]:.1%} of the PA exams. To call every AP exam positive and no other has an ROC AUC "
            f"of {auc:.3f} without seeing a pixel: compare a model's with this, not with 0.5."
        )


def _leak(figures: Mapping[str, Any]) -> Iterator[str]:
    missing = figures["missing"]
    if missing["box_columns_tell_target"]:
        yield (
            f"The box columns are empty in {missing['labels']['x']:,} rows, which are exactly those with Target 0: that they are empty is the answer itself. "
            "A model that is given them, whatever they are filled with, reads the label; keep them out of every table of inputs."
        )


def _balance(figures: Mapping[str, Any]) -> Iterator[str]:
    classes = figures["classes"]
    exams, positive, rows = classes["usable_exams"], classes["positive_exams"], classes["rows"]
    if not 0 < positive < exams:
        yield f"All {exams:,} exams have Target {int(positive > 0)}: nothing can be learned or measured that distinguishes the two."
        return
    sentence = (
        f"{positive:,} of {exams:,} exams have pneumonia ({positive / exams:.1%}): a model that calls none positive is right in "
        f"{1 - positive / exams:.1%}, so accuracy says little."
    )
    # only of labels with a row a box: elsewhere a row is something else
    if classes["boxes"] > positive and rows == exams - positive + classes["boxes"]:
        sentence += f" Count exams, not rows: an exam has a row for each box, and of the rows {classes['boxes'] / rows:.1%} are positive."
    yield sentence


def _age(figures: Mapping[str, Any]) -> Iterator[str]:
    age, impossible = figures["age"], figures["outliers"]["ages"]
    if impossible:
        ages = [one["value"] for one in impossible]
        span = f"{min(ages):g}" if min(ages) == max(ages) else f"{min(ages):g} to {max(ages):g}"
        yield (
            f"{_counted(len(ages), 'exam has', 'exams have')} an age over {figures['outliers']['oldest_years']} ({span} years), which is a mistake of the "
            "header: listed below, and left out of all figures about age. A model that takes the age must treat them as missing."
        )
    if age is None or age["difference"]["value"] is None:
        return
    ones = age["target_1"]["value"], age["target_0"]["value"]
    text = f"The mean age is {ones[0]:.1f} years with pneumonia and {ones[1]:.1f} without"
    if estimates.is_shown(age["difference"]):
        difference = age["difference"]
        yield f"{text} (difference {difference['value']:+.1f}, 95% interval {difference['low']:+.1f} to {difference['high']:+.1f})."
    else:
        yield f"{text}; {_not_shown(age['difference'], points=False)}."


def _sex(figures: Mapping[str, Any]) -> Iterator[str]:
    sex = figures["sex"]
    if sex is None or sex["difference"]["value"] is None:
        return
    text = f"Female patients are {sex['target_1']['value']:.1%} of the exams with pneumonia and {sex['target_0']['value']:.1%} of those without"
    if estimates.is_shown(sex["difference"]):
        yield f"{text} (difference {_points(sex['difference'])})."
    else:
        yield f"{text}; {_not_shown(sex['difference'], points=True)}."


def _spacing(figures: Mapping[str, Any]) -> Iterator[str]:
    spacing = figures["pixel_spacing"]
    if spacing is None:
        return
    # a share of few exams would stand out by chance
    rates = [(one["ap"] / one["view_known"], one["mm"]) for one in spacing["values"] if one["view_known"] >= FEW_EXAMS]
    if len(rates) > 1 and max(rates)[0] - min(rates)[0] > STRONG:
        (low, low_mm), (high, high_mm) = min(rates), max(rates)
        yield (
            f"Pixel spacing goes with the view: {low:.1%} of the exams with {low_mm:g} mm are AP, and {high:.1%} of those with {high_mm:g} mm. "
            "As an input it gives a model the view once more."
        )
    width = spacing["median_image_width_mm"]
    # 1,024 px at 0.143 mm, as in RSNA's files, are 146 mm: no adult chest is so narrow
    if width < NARROW * CHEST_DETECTOR_MM:
        yield (
            f"At the header's spacing the median image would be {width:.0f} mm wide in all its px, but a chest detector has {CHEST_DETECTOR_MM} mm or more: "
            "the spacing is not that of these pixels; perhaps it is that of the images before they were made smaller. Do not turn px into mm with it."
        )


def _boxes(figures: Mapping[str, Any]) -> Iterator[str]:
    boxes = figures["boxes"]
    if boxes is None:
        return
    every, groups = boxes["groups"]["all"], boxes["groups"]
    yield (
        f"The median box is {every['width'][1]:.3f} of the image wide and {every['height'][1]:.3f} high; half of the boxes cover {every['area'][0]:.1%} to "
        f"{every['area'][2]:.1%} of the image. {every['left_half']:.1%} of the centres lie in the image's left half, where the patient's right lung is."
    )
    # boxes are compared between views only where both have some
    if {"AP", "PA"} <= groups.keys():
        medians = [groups[view]["area"][1] for view in ("AP", "PA")]
        yield (
            f"The median box covers {medians[0]:.1%} of an AP and {medians[1]:.1%} of a PA image. Boxes mark rectangles around opacities; how much of one is "
            "opacity they do not say."
        )


def _same_pixels(figures: Mapping[str, Any]) -> Iterator[str]:
    groups = figures["duplicates"]["same_pixels"]
    if not groups:
        return
    exams = sum(len(one["exams"]) for one in groups)
    text = f"{exams:,} exams in {_counted(len(groups), 'group', 'groups')} have the very same stored pixels"
    # the same image with two answers is an error of the labels whatever the model does
    contradictions = sum(len(one["targets"]) > 1 for one in groups)
    if contradictions:
        text += f", and in {_counted(contradictions, 'group', 'groups')} their Targets differ"
    yield (
        f"{text}: keep one of each, or all of a group in one split. Copies that were compressed anew are not detected here; "
        f"{invocation.command('make_tfrecords')} --quality report detects them."
    )


def _rejected(figures: Mapping[str, Any]) -> Iterator[str]:
    rejected = figures["rejected"]
    if rejected:
        one = rejected[0]
        yield (
            f"The labels of {_counted(len(rejected), 'exam', 'exams')} cannot be used and are left out of every figure "
            f"(the first: {one['exam']}, {one['reason']})."
        )


def _correlation(figures: Mapping[str, Any]) -> Iterator[str]:
    correlation = figures["correlation"]
    names, values = correlation["names"], correlation["values"]
    structural = ("boxes", "area of the boxes")
    pairs = [
        (abs(values[row][column]), names[row], names[column], values[row][column])
        for row in range(len(names))
        for column in range(row)
        if values[row][column] is not None and {names[row], names[column]} != set(structural)
    ]
    strong = sorted((one for one in pairs if one[0] >= STRONG), reverse=True)
    if strong:
        listed = "; ".join(f"{first} and {second} {value:+.2f}" for _, first, second, value in strong)
        yield f"Rank correlations of at least {STRONG:g} in size: {listed}. They show what goes together, not why."
    elif pairs:
        yield f"No two of these variables have a rank correlation of {STRONG:g} or more in size."
    by_definition = values[names.index(structural[0])][names.index(structural[1])] if set(structural) <= set(names) else None
    if by_definition is not None and abs(by_definition) >= STRONG:
        yield f"Not counted as such is {' and '.join(structural)} {by_definition:+.2f}: more boxes have more area by definition."


def _points(difference: Mapping[str, Any]) -> str:
    value, low, high = (100 * difference[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}"


def _not_shown(difference: Mapping[str, Any], *, points: bool) -> str:
    if difference["low"] is None:
        return "too few patients to say whether that is a difference"
    factor, unit = (100, " points") if points else (1, "")
    return f"no difference is shown (95% interval {factor * difference['low']:+.1f} to {factor * difference['high']:+.1f}{unit})"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
