"""Radiographs that do not belong in a data set: blank, inverted, not a frontal chest, badly exposed, or duplicates.

    measures = {exam: measure(pixels) for exam, pixels in images}      # in worker processes, a millisecond or two each
    findings = evaluate(measures, patients=patients, views=views)         # once, over all
    paths.write_json(folder / "quality.json", report(findings, exams=len(measures)))

There is no trained model behind this: each finding is one measured number over one limit, and says so. The limits were set on 258 frontal
radiographs of the RSNA challenge ("the 258" below; none has a finding) and on manipulated copies of them. They cannot tell a lateral chest,
which only the header's ViewPosition does.
"""

import base64
import dataclasses
import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from pneumodet.core.errors import DataError
from pneumodet.data import chest_likeness
from pneumodet.dicom import header_facts, lut

BLANK, INVERTED, NOT_FRONTAL, EXPOSURE = "blank", "inverted", "not-frontal", "exposure"
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near-duplicate"
KINDS = (BLANK, INVERTED, NOT_FRONTAL, EXPOSURE, DUPLICATE, NEAR_DUPLICATE)
"""Of findings, in the order of a report."""

EXCLUDE, WARN, INFO = "exclude", "warn", "info"
SEVERITIES = (EXCLUDE, WARN, INFO)
"""``exclude``: sure enough to leave the exam out unseen; ``warn``: a person should see it; ``info``: known and harmless."""

_SPREAD_SHARES = (0.05, 0.95)
"""Shares of the pixels between whose gray levels the spread is measured."""

MAX_BLANK_SPREAD = 8
"""Gray levels between the 5th and 95th percentile; the 258 have 88 to 239."""

MIN_SPREAD = 70
"""Gray levels between the 5th and 95th percentile below which an image is washed out; the 258 have 88 to 239."""

MIN_CENTER_GRAY, MAX_CENTER_GRAY = 50, 230
"""Median of the central half, 0 to 255; the 258 have 69 to 212."""

MAX_CENTER_CLIPPED = 0.2
"""Share of the central half that is black (0, 1) or white (254, 255); the 258 have 0.005 at the most."""

MAX_ASPECT = 2.0
"""Longer side over shorter; detectors are 35 x 43 cm (1.23), and a long strip is a limb or a spine."""

MIN_CHEST = 0.6
"""Smallest ``Measures.chest`` of a frontal radiograph; the 258 have 0.63 to 1.28."""

MIN_CHEST_GAIN = 0.2
"""``chest_negative`` or ``chest_turned`` must be larger than ``chest`` by this. In the 258 the negative is smaller by 0.36 at least,
and a turned one larger by 0.12 at the most."""

HASH_SIDE, HASH_INPUT_PX = 16, 64
"""The perceptual hash has HASH_SIDE ** 2 bits of an image of HASH_INPUT_PX a side."""

MAX_HASH_DISTANCE, SURE_HASH_DISTANCE = 40, 30
"""Differing bits of a near-duplicate that a person should see, and of one that is left out. Of 33,088 pairs of different patients in
the 258 the nearest have 62; of 19 million pairs of random cuts of them, 54; of the much more uniform ``synthetic`` radiographs, 44."""

_WORK_PX = 256
"""An image is reduced to between this and twice this before it is measured."""

_ROWS_AT_ONCE = 64
"""Exams compared with all before them in one step of the search for near-duplicates."""


@dataclasses.dataclass(frozen=True)
class Measures:
    """What is known of one image; small, and only of plain types.

    Attributes:
      height: px.
      width: px.
      content_sha256: SHA-256 of size and pixels, hexadecimal.
      hash: perceptual hash, 256 bits, base64.
      spread: gray levels between the 5th and 95th percentile.
      center_gray: median of the central half (a quarter of the area), 0 to 255.
      center_black: share of the central half's pixels that are 0 or 1.
      center_white: share of the central half's pixels that are 254 or 255.
      chest: likeness to a drawn frontal chest, at most 1.5.
      chest_negative: the same of the image's negative.
      chest_turned: the largest of the image turned by 90, 180 and 270 degrees.
    """

    height: int
    width: int
    content_sha256: str
    hash: str
    spread: int
    center_gray: int
    center_black: float
    center_white: float
    chest: float
    chest_negative: float
    chest_turned: float


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something suspicious about one exam.

    Attributes:
      kind: one of ``KINDS``.
      severity: one of ``SEVERITIES``.
      text: the reason with its number, without a full stop.
      other: the exam that a duplicate is a copy of; empty for other kinds.
    """

    kind: str
    severity: str
    text: str
    other: str = ""


def measure(pixels: np.ndarray) -> Measures:
    """Measure decoded pixels.

    Args:
      pixels: (H, W) uint8, dark air and bright bone, as ``images.read_pixels`` returns them.

    Raises:
      DataError: the array has another shape or dtype, or no pixels.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.size == 0:
        raise DataError(f"Image quality is measured on (H, W) uint8 pixels, but got {pixels.shape} {pixels.dtype}.")
    height, width = pixels.shape
    pixels = np.ascontiguousarray(pixels)  # for the hash, which takes bytes as they lie
    digest = hashlib.sha256(f"{height}x{width} ".encode())
    digest.update(pixels.data)
    return _measure(Image.fromarray(pixels), size_hw=(height, width), sha256=digest.hexdigest())


def evaluate(
    measures: Mapping[str, Measures], *, patients: Mapping[str, str], views: Mapping[str, str | None] | None = None
) -> dict[str, list[Finding]]:
    """Return what is suspicious, by exam in sorted order; exams without findings are left out.

    Of several copies the one whose exam id sorts first is kept without a finding; the others' findings name it.

    Args:
      measures: exam -> its measures.
      patients: exam -> patient; an exam that is not there is a patient of its own.
      views: exam -> ViewPosition (0018,5101), where it is known.
    """
    order = sorted(measures)
    findings = {exam: _evaluate_one(measures[exam], (views or {}).get(exam) or "") for exam in order}
    pictured = [exam for exam in order if not any(one.kind == BLANK for one in findings[exam])]  # blank images are all alike
    originals: dict[str, str] = {}
    distinct = []
    for exam in pictured:
        first = originals.setdefault(measures[exam].content_sha256, exam)
        if first == exam:
            distinct.append(exam)
            continue
        whose = "of the same patient" if patients.get(first, first) == patients.get(exam, exam) else "of another patient"
        findings[exam].append(Finding(DUPLICATE, EXCLUDE, f"has the very pixels of exam {first} {whose}", first))
    for exam, finding in _near_duplicates(distinct, measures, patients):
        findings[exam].append(finding)
    return {exam: of_exam for exam, of_exam in findings.items() if of_exam}


def report(findings: Mapping[str, Sequence[Finding]], *, exams: int) -> dict[str, Any]:
    """Return findings as a dict for JSON.

    Args:
      findings: as ``evaluate`` returns them.
      exams: how many were evaluated.

    Returns:
      ``exams``; ``suspicious``, the number of exams with a finding; ``excluded``, of those with one of severity ``exclude``; ``counts``,
      kind -> exams; ``findings``, a list of objects with ``exam`` and a Finding's fields, the most severe first.
    """
    rows = [{"exam": exam} | dataclasses.asdict(one) for exam, of_exam in findings.items() for one in of_exam]
    rows.sort(key=lambda row: (SEVERITIES.index(row["severity"]), KINDS.index(row["kind"]), row["exam"]))
    counts = Counter(row["kind"] for row in rows)
    return {
        "exams": exams,
        "suspicious": len(findings),
        "excluded": len(excluded(findings)),
        "counts": {kind: counts[kind] for kind in KINDS},
        "findings": rows,
    }


def excluded(findings: Mapping[str, Sequence[Finding]]) -> dict[str, str]:
    """Return exam -> reason of the exams that have a finding of severity ``exclude``."""
    reasons = {exam: [f"{one.kind}: {one.text}" for one in of_exam if one.severity == EXCLUDE] for exam, of_exam in findings.items()}
    return {exam: "; ".join(texts) for exam, texts in reasons.items() if texts}


def _measure(image: Image.Image, *, size_hw: tuple[int, int], sha256: str) -> Measures:
    # by whole factors, which is the mean of blocks: fast, and without the rings of other filters
    image = image.reduce(max(1, min(image.size) // _WORK_PX))
    gray = np.asarray(image)
    rows, columns = gray.shape
    center = gray[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    shares = np.bincount(center.ravel(), minlength=256) / center.size
    low, high = lut.robust_window(np.arange(256), np.bincount(gray.ravel(), minlength=256), _SPREAD_SHARES)
    chest, negative, turned = chest_likeness.measure(image)
    return Measures(
        height=size_hw[0],
        width=size_hw[1],
        content_sha256=sha256,
        hash=base64.b64encode(_perceptual_hash(image)).decode(),
        spread=int(high - low),
        center_gray=int(lut.robust_window(np.arange(256), shares, (0.5,))[0]),
        center_black=round(float(shares[:2].sum()), 4),
        center_white=round(float(shares[254:].sum()), 4),
        chest=chest,
        chest_negative=negative,
        chest_turned=turned,
    )


def _perceptual_hash(image: Image.Image) -> bytes:
    """Return 256 bits: which of the 16 x 16 lowest frequencies of a discrete cosine transform are above their median.

    After Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), section 3.2.1 (there 8 x 8 of 32 x 32: chests
    are too much alike for 64 bits). A change of size, brightness, contrast or JPEG quality moves few of them.
    """
    waves = _cosines()
    frequencies = (waves @ chest_likeness.ranks(image, HASH_INPUT_PX) @ waves.T).ravel()
    return np.packbits(frequencies > np.median(frequencies)).tobytes()


@functools.cache
def _cosines() -> np.ndarray:
    """Return the (HASH_SIDE, HASH_INPUT_PX) float32 lowest rows of a DCT-II matrix, not normalized."""
    order, place = np.mgrid[0:HASH_SIDE, 0:HASH_INPUT_PX]
    waves: np.ndarray = np.cos(np.pi * (2 * place + 1) * order / (2 * HASH_INPUT_PX)).astype(np.float32)
    return waves


def _evaluate_one(one: Measures, view: str) -> list[Finding]:
    """Return the findings that need no other exam; a blank image has no further ones."""
    findings = []
    if (term := header_facts.view_position(view)) in header_facts.LATERAL_VIEWS:
        findings.append(Finding(NOT_FRONTAL, EXCLUDE, f"ViewPosition is {term}"))
    if one.spread <= MAX_BLANK_SPREAD:
        return [*findings, Finding(BLANK, EXCLUDE, f"nine tenths of the pixels are within {one.spread} gray levels, of 256")]
    # and more than when it is turned: a chest that lies on its side can resemble a negative one by chance
    if one.chest_negative > max(one.chest + MIN_CHEST_GAIN, one.chest_turned, MIN_CHEST):
        text = f"the negative resembles a chest ({one.chest_negative:.2f}), the image does not ({one.chest:.2f})"
        findings.append(Finding(INVERTED, EXCLUDE, text))
    else:
        findings += [Finding(NOT_FRONTAL, WARN, text) for text in _not_like_a_chest(one)]
    return findings + [Finding(EXPOSURE, WARN, text) for text in _badly_exposed(one)]


def _not_like_a_chest(one: Measures) -> list[str]:
    """Return at most one reason; an inverted image is recognised before."""
    aspect = max(one.height, one.width) / min(one.height, one.width)
    if aspect > MAX_ASPECT:
        return [f"one side is {aspect:.1f} times the other"]
    if one.chest_turned > one.chest + MIN_CHEST_GAIN:
        return [f"resembles a chest more when it is turned ({one.chest_turned:.2f}, not {one.chest:.2f})"]
    if one.chest < MIN_CHEST:
        return [f"does not resemble a frontal chest ({one.chest:.2f}, {MIN_CHEST:g} at least)"]
    return []


def _badly_exposed(one: Measures) -> list[str]:
    """Return at most one reason."""
    if one.center_black > MAX_CENTER_CLIPPED:
        return [f"{one.center_black:.0%} of the center is clipped to black"]
    if one.center_white > MAX_CENTER_CLIPPED:
        return [f"{one.center_white:.0%} of the center is clipped to white"]
    if one.center_gray < MIN_CENTER_GRAY:
        return [f"too dark: the center's median is {one.center_gray}, {MIN_CENTER_GRAY} at least"]
    if one.center_gray > MAX_CENTER_GRAY:
        return [f"too bright: the center's median is {one.center_gray}, {MAX_CENTER_GRAY} at the most"]
    if one.spread < MIN_SPREAD:
        return [f"washed out: nine tenths of the pixels are within {one.spread} gray levels, of 256"]
    return []


def _near_duplicates(exams: Sequence[str], measures: Mapping[str, Measures], patients: Mapping[str, str]) -> list[tuple[str, Finding]]:
    """Compare each exam with all before it that are kept; the 356 million pairs of 26,684 exams take some 3 s and 30 MB."""
    if not exams:
        return []
    words = np.stack([np.frombuffer(base64.b64decode(measures[exam].hash), np.uint64) for exam in exams])
    _, patient = np.unique([patients.get(exam, exam) for exam in exams], return_inverse=True)
    kept = np.ones(len(exams), bool)
    near: list[tuple[str, Finding]] = []
    for start in range(0, len(exams), _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, len(exams))
        distances = np.zeros((stop - start, stop), np.uint16)
        for word in words.T:
            distances += np.bitwise_count(word[start:stop, None] ^ word[:stop])
        for index in range(start, stop):
            distance = distances[index - start, :index]
            alike = np.flatnonzero((distance <= MAX_HASH_DISTANCE) & kept[:index])
            if len(alike) == 0:
                continue
            # another patient's copy leaks between training and validation, even if a copy of the same patient is nearer
            foreign = alike[patient[alike] != patient[index]]
            candidates, whose = (foreign, "another patient") if len(foreign) else (alike, "the same patient")
            nearest = candidates[distance[candidates].argmin()]
            # one that is left out is no original for later ones: else a chain of small changes would take all
            kept[index] = not len(foreign) or distance[nearest] > SURE_HASH_DISTANCE
            severity = (WARN if kept[index] else EXCLUDE) if len(foreign) else INFO
            text = f"resembles exam {exams[nearest]} of {whose} ({distance[nearest]} of {HASH_SIDE**2} bits differ)"
            near.append((exams[index], Finding(NEAR_DUPLICATE, severity, text, exams[nearest])))
    return near
