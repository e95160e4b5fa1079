"""Image quality: what is wrong is recognised and named, what is right is left alone."""

import base64
import dataclasses
import io
import json
import pickle
import time

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from pneumodet.core.errors import DataError
from pneumodet.data import annotations, quality, quality_sheet, synthetic
from pneumodet.dicom import reading


def radiographs(count, *, size=512, seed=0):
    return [
        synthetic.draw_radiograph(np.random.default_rng([seed, index]), positive=index % 2 == 0, size=size)[0] for index in range(count)
    ]


CHESTS = radiographs(8)
FAULTLESS = quality.measure(CHESTS[0])


def jpeg(pixels, quality=90):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def resized(pixels, size):
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((size, size), Image.Resampling.LANCZOS))


def gamma(pixels, exponent):
    return np.uint8(255 * (pixels / 255) ** exponent)


def scaled(pixels, factor, offset=0.0):
    return np.uint8(np.clip(pixels * factor + offset, 0, 255))


def alone(pixels, view=None):
    """[(kind, severity)] of one image."""
    findings = quality.evaluate({"a": quality.measure(pixels)}, patients={}, views={"a": view})
    return [(one.kind, one.severity) for one in findings.get("a", [])]


def drawing(*shapes, background=20, blur=5):
    image = Image.new("L", (512, 512), background)
    for name, where, options in shapes:
        getattr(ImageDraw.Draw(image), name)(where, **options)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)))


def knee():
    return drawing(
        ("rectangle", (126, 0, 386, 512), {"fill": 100}),
        ("rectangle", (211, 0, 301, 200), {"fill": 190}),
        ("ellipse", (161, 150, 351, 270), {"fill": 200}),
        ("ellipse", (161, 280, 351, 370), {"fill": 200}),
        ("rectangle", (206, 330, 286, 512), {"fill": 185}),
    )


def hand():
    fingers = [
        ("line", (256 + 20 * side, 330, 256 + 90 * side, 70 + 25 * abs(side)), {"fill": 150, "width": 34}) for side in (-2, -1, 0, 1, 2)
    ]
    return drawing(("ellipse", (156, 230, 356, 450), {"fill": 110}), ("rectangle", (196, 420, 316, 512), {"fill": 105}), *fingers)


def hash_bits(measures):
    return np.unpackbits(np.frombuffer(base64.b64decode(measures.hash), np.uint8))


def with_hash(bits, name):
    """Measures of a faultless chest with this perceptual hash."""
    data = base64.b64encode(np.packbits(bits).tobytes()).decode()
    return dataclasses.replace(FAULTLESS, hash=data, content_sha256=name)


@pytest.mark.parametrize("index", range(len(CHESTS)))
def test_a_chest_has_no_findings(index):
    assert alone(CHESTS[index], "AP") == []


FAULTS = {
    "inverted": (lambda p: 255 - p, ("inverted", "exclude")),
    "inverted and dim": (lambda p: scaled(255 - p, 0.7), ("inverted", "exclude")),
    "turned by 90": (lambda p: np.rot90(p, 1), ("not-frontal", "warn")),
    "upside down": (lambda p: np.rot90(p, 2), ("not-frontal", "warn")),
    "turned by 270": (lambda p: np.rot90(p, 3), ("not-frontal", "warn")),
    "a strip": (lambda p: p[:, 200:330], ("not-frontal", "warn")),
    "too dark": (lambda p: scaled(p, 0.2), ("exposure", "warn")),
    "too bright": (lambda p: 255 - scaled(255 - p, 0.15), ("exposure", "warn")),
    "washed out": (lambda p: scaled(p, 0.25, 90), ("exposure", "warn")),
    "clipped to white": (lambda p: scaled(p, 2.5), ("exposure", "warn")),
    "clipped to black": (lambda p: scaled(p, 2.0, -220), ("exposure", "warn")),
    "blank": (lambda p: np.full_like(p, 128), ("blank", "exclude")),
    "blank with noise and a marker": (
        lambda p: np.where(np.arange(p.size).reshape(p.shape) < 900, 255, 60 + p % 4).astype(np.uint8),
        ("blank", "exclude"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_faulty_chest_has_its_finding_and_no_other(name):
    spoil, expected = FAULTS[name]
    for chest in CHESTS[:4]:
        assert alone(spoil(chest)) == [expected]


@pytest.mark.parametrize(
    "image",
    [knee(), hand(), np.random.default_rng(0).integers(0, 256, (400, 500), np.uint8), np.tile(np.uint8([60, 200]).repeat(32), (512, 8))],
    ids=["knee", "hand", "noise", "bars"],
)
def test_what_is_no_chest_is_not_frontal(image):
    assert ("not-frontal", "warn") in alone(image)


@pytest.mark.parametrize(
    "spoil",
    [lambda p: p[:, ::-1], lambda p: gamma(p, 0.75), lambda p: scaled(p, 1.15), lambda p: p[30:-30, 10:-10], lambda p: np.pad(p, 40)],
    ids=["mirrored", "gamma", "brighter", "cut", "collimated"],
)
def test_what_is_usual_is_left_alone(spoil):
    assert [alone(spoil(chest)) for chest in CHESTS] == [[]] * len(CHESTS)


@pytest.mark.parametrize("view", ["LL", " rl ", "LATERAL", "LLD"])
def test_the_headers_view_excludes(view):
    assert alone(CHESTS[0], view) == [("not-frontal", "exclude")]


@pytest.mark.parametrize("view", ["AP", "PA", "", None, "something else"])
def test_other_views_do_not(view):
    assert alone(CHESTS[0], view) == []


def test_the_same_pixels_twice_are_a_duplicate_of_the_first():
    measures = {"b": CHESTS[0], "c": CHESTS[0].copy(), "a": CHESTS[1], "d": np.asfortranarray(CHESTS[0])}
    findings = quality.evaluate(
        {exam: quality.measure(pixels) for exam, pixels in measures.items()}, patients={"b": "1", "c": "1", "a": "1", "d": "2"}
    )
    assert list(findings) == ["c", "d"]
    assert findings["c"] == [quality.Finding("duplicate", "exclude", "has the very pixels of exam b of the same patient", "b")]
    assert findings["d"] == [quality.Finding("duplicate", "exclude", "has the very pixels of exam b of another patient", "b")]


def test_pixels_in_another_shape_are_no_duplicate():
    striped = np.tile(np.uint8([0, 255]), 5000)
    one, two = quality.measure(striped.reshape(100, 100)), quality.measure(striped.reshape(50, 200))
    assert one.content_sha256 != two.content_sha256


def test_blank_images_are_no_copies_of_one_another():
    blank = quality.measure(np.full((300, 300), 7, np.uint8))
    findings = quality.evaluate({"a": blank, "b": blank}, patients={})
    assert [[one.kind for one in some] for some in findings.values()] == [["blank"], ["blank"]]


COPIES = {
    "smaller": lambda p: resized(p, 300),
    "larger": lambda p: resized(p, 700),
    "re-encoded": lambda p: np.asarray(Image.open(io.BytesIO(jpeg(p, 20)))),
    "brighter": lambda p: scaled(p, 1.1, 5),
    "darker": lambda p: scaled(p, 0.8),
    "gamma": lambda p: gamma(p, 0.6),
    "trimmed": lambda p: p[2:-2, 2:-2],
    "all of it": lambda p: np.asarray(Image.open(io.BytesIO(jpeg(scaled(resized(p[2:-2, 2:-2], 400), 1.05), 40)))),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_changed_copy_in_another_patients_name_is_excluded(name):
    measures = {f"{index}": quality.measure(chest) for index, chest in enumerate(CHESTS)}
    copy = quality.measure(COPIES[name](CHESTS[3]))
    findings = quality.evaluate(measures | {"copy": copy}, patients={})
    assert list(findings) == ["copy"]
    assert [(one.kind, one.severity, one.other) for one in findings["copy"]] == [("near-duplicate", "exclude", "3")]
    findings = quality.evaluate(measures | {"copy": copy}, patients={"copy": "3"})
    assert [(one.kind, one.severity, one.other) for one in findings["copy"]] == [("near-duplicate", "info", "3")]


@pytest.mark.parametrize(
    ("differing", "expected"), [(0, "exclude"), (30, "exclude"), (31, "warn"), (40, "warn"), (41, None)], ids=lambda value: str(value)
)
def test_severity_goes_by_the_distance(differing, expected):
    bits = np.random.default_rng(0).integers(0, 2, 256, np.uint8)
    other = bits.copy()
    other[np.random.default_rng(1).permutation(256)[:differing]] ^= 1
    findings = quality.evaluate({"a": with_hash(bits, "a"), "b": with_hash(other, "b")}, patients={})
    assert [one.severity for some in findings.values() for one in some] == ([expected] if expected else [])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 150), st.integers(1, 4))
def test_the_search_agrees_with_one_pair_after_the_other(seed, count, patients):
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 2, (3, 256), np.uint8)
    bits = {f"{index:03d}": bases[rng.integers(3)] ^ (rng.random(256) < rng.choice([0.02, 0.06, 0.09])) for index in range(count)}
    whose = {exam: str(rng.integers(patients)) for exam in bits}
    expected, kept = {}, []
    for exam, mine in bits.items():
        near = [(int((mine != bits[other]).sum()), other) for other in kept]
        near = [one for one in near if one[0] <= quality.MAX_HASH_DISTANCE]
        foreign = [one for one in near if whose[one[1]] != whose[exam]]
        if near:
            distance, other = min(foreign or near)
            severity = "info" if not foreign else "exclude" if distance <= quality.SURE_HASH_DISTANCE else "warn"
            expected[exam] = (severity, other)
        if expected.get(exam, ("",))[0] != "exclude":
            kept.append(exam)
    findings = quality.evaluate({exam: with_hash(mine, exam) for exam, mine in bits.items()}, patients=whose)
    assert {exam: (some[0].severity, some[0].other) for exam, some in findings.items()} == expected


def test_what_is_left_after_exclusion_has_no_copy_in_another_patients_name():
    images = {f"{name}{index}": change(CHESTS[index]) for name, change in COPIES.items() for index in range(3)}
    measures = {exam: quality.measure(pixels) for exam, pixels in images.items()}
    left = measures.keys() - quality.excluded(quality.evaluate(measures, patients={})).keys()
    assert len(left) == 3
    assert {exam[-1] for exam in left} == {"0", "1", "2"}


def test_near_duplicates_of_a_whole_challenge_take_seconds():
    rng = np.random.default_rng(0)
    measures = {f"{index:05d}": with_hash(bits, str(index)) for index, bits in enumerate(rng.integers(0, 2, (8000, 256), np.uint8))}
    start = time.process_time()
    assert quality.evaluate(measures, patients={}) == {}
    assert (
        time.process_time() - start < 10
    )  # 26,684 exams have 11 times as many pairs, which take some 3 s; a loop over pairs takes minutes


def test_the_hash_is_scipys_cosine_transform():
    image = Image.fromarray(CHESTS[0]).reduce(2)
    small = np.asarray(image.resize((64, 64), Image.Resampling.BOX))
    ranks = np.array([[np.mean(small < value) + np.mean(small == value) / 2 for value in row] for row in small]) - 0.5
    lowest = scipy.fft.dctn(ranks, type=2)[:16, :16]
    expected = (lowest > np.median(lowest)).ravel()
    assert (hash_bits(quality.measure(CHESTS[0])) == expected).mean() > 0.99  # those next to the median may round either way


def test_measured_gray_levels():
    pixels = np.full((400, 400), 100, np.uint8)
    pixels[:100] = 0  # the upper border, of which nothing is in the central half
    pixels[100:120, 100:300] = 255
    pixels[120:140, 100:300] = 1
    measured = quality.measure(pixels)
    assert (measured.height, measured.width, measured.spread, measured.center_gray) == (400, 400, 100, 100)
    assert (measured.center_white, measured.center_black) == (0.1, 0.1)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)], ids=["float", "RGB", "empty"]
)
def test_other_arrays_are_an_error(pixels):
    with pytest.raises(DataError, match=r"\(H, W\) uint8 pixels, but got"):
        quality.measure(pixels)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 255))
def test_any_size_is_measured(height, width, gray):
    pixels = np.full((height, width), gray, np.uint8)
    pixels[: height // 2] = 255 - gray
    measured = quality.measure(pixels)
    assert (measured.height, measured.width) == (height, width)
    assert np.isfinite([value for value in dataclasses.astuple(measured) if not isinstance(value, str)]).all()


def test_measures_travel():
    measured = quality.measure(CHESTS[0])
    assert pickle.loads(pickle.dumps(measured)) == measured
    assert quality.Measures(**json.loads(json.dumps(dataclasses.asdict(measured)))) == measured
    assert len(pickle.dumps(measured)) < 600


SUSPICIOUS = {
    "chest": CHESTS[0],
    "copy": CHESTS[0],
    "negative": 255 - CHESTS[1],
    "blank": np.zeros((300, 500), np.uint8),
    "dark": scaled(CHESTS[2], 0.2),
    "strip": CHESTS[3][:, :100],
}


def suspicious():
    return quality.evaluate({exam: quality.measure(pixels) for exam, pixels in SUSPICIOUS.items()}, patients={})


def test_the_report_counts_and_lists_the_most_severe_first():
    findings = suspicious()
    report = quality.report(findings, exams=len(SUSPICIOUS))
    assert json.loads(json.dumps(report)) == report
    assert (report["exams"], report["suspicious"], report["excluded"]) == (6, 5, 3)
    assert report["counts"] == {"blank": 1, "inverted": 1, "not-frontal": 1, "exposure": 1, "duplicate": 1, "near-duplicate": 0}
    assert [row["exam"] for row in report["findings"]] == ["blank", "negative", "copy", "strip", "dark"]
    assert quality.excluded(findings)["copy"] == "duplicate: has the very pixels of exam chest of another patient"


def test_the_sheet_shows_the_suspicious_and_the_copied():
    asked = []

    def read_pixels(exam):
        asked.append(exam)
        return SUSPICIOUS[exam]

    picture = quality_sheet.draw(suspicious(), read_pixels=read_pixels)
    assert asked == ["blank", "negative", "copy", "chest", "strip", "dark"]
    assert picture.size == (5 * quality_sheet.TILE_PX, quality_sheet.TILE_PX)
    pixels = np.asarray(picture.convert("L"), int)
    tile = pixels[:, 2 * quality_sheet.TILE_PX : 3 * quality_sheet.TILE_PX]
    left, right = tile[80:240, :160], tile[80:240, 160:]
    assert np.abs(left - right).max() <= 1
    assert left.std() > 20


def test_there_is_no_sheet_without_findings():
    assert quality_sheet.draw({}, read_pixels=SUSPICIOUS.__getitem__) is None


def test_a_long_list_ends_with_what_is_left_out(monkeypatch):
    said = []
    plain = quality_sheet.pictures.draw_boxes
    monkeypatch.setattr(quality_sheet.pictures, "draw_boxes", lambda image, title: said.append(title) or plain(image, title=title))
    findings = {f"{index:03d}": [quality.Finding("exposure", "warn", "too dark")] for index in range(75)}
    picture = quality_sheet.draw(findings, read_pixels=lambda exam: np.zeros((40, 30), np.uint8))
    assert picture.size == (6 * quality_sheet.TILE_PX, 10 * quality_sheet.TILE_PX)
    assert said[0] == "000:\nexposure (warn)"
    assert said[-1] == "and 16 more:\nsee the report"


@pytest.mark.slow
@pytest.mark.real_data
def test_real_radiographs_are_left_alone_and_their_negatives_are_not(shared_data):
    files = sorted((shared_data / "rsna_sample" / "stage_2_train_images").glob("*.dcm"))
    patients = annotations.read_patient_map(shared_data / "rsna_sample" / "rsna_to_nih.csv")
    images = {path.stem: reading.read_pixels(path) for path in files}
    assert len(images) == 258
    measures = {exam: quality.measure(pixels) for exam, pixels in images.items()}
    assert quality.evaluate(measures, patients=patients) == {}
    some = dict(list(images.items())[::4])
    assert {alone(255 - pixels)[0] for pixels in some.values()} == {("inverted", "exclude")}
    copies = {f"z{exam}": quality.measure(resized(pixels[4:-4, 4:-4], 400)) for exam, pixels in some.items()}
    findings = quality.evaluate(measures | copies, patients=patients)
    assert {exam: [(one.kind, one.severity, one.other) for one in findings[exam]] for exam in findings} == {
        f"z{exam}": [("near-duplicate", "exclude", exam)] for exam in some
    }
