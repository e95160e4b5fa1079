"""Damaged files of every kind are an image or a DataError: never another exception, and never the end of the process."""

import numpy as np
import pytest
from damaged import HEADER_BYTES, HEIGHT, HOW, JUNK, KINDS, WIDTH, Bytes, changed, example
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pneumodet.core.errors import DataError
from pneumodet.data import annotations, images
from pneumodet.dicom import reading

CHANGE = st.tuples(
    st.booleans(),
    st.floats(0, 1),
    st.sampled_from(HOW),
    st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(JUNK)),
)


@pytest.mark.parametrize("examples", [70, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_are_an_image_or_a_data_error(kind, examples, tmp_path_factory):
    whole = example(kind, tmp_path_factory.getbasetemp())
    seen = {"image": 0, "error": 0}

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(CHANGE, min_size=1, max_size=4))
    def check(changes):
        source = Bytes(changed(whole, changes))
        for read in (images.encode, images.read_pixels, reading.header):
            try:
                result = read(source)
            except DataError as error:
                assert str(error).startswith("changed.dcm")
                assert "\n" not in str(error)
                assert "4711" not in str(error)
                seen["error"] += 1
                continue
            seen["image"] += 1
            if read is images.read_pixels:
                assert (result.ndim, result.dtype) == (2, np.uint8)
            elif read is images.encode:
                assert result.height > 0
                assert result.width > 0

    check()
    assert seen["error"] > examples / 5, seen
    assert seen["image"] > examples / (25 if kind == "png" else 5), seen  # PNG has checksums


@pytest.mark.parametrize("turns", [1, pytest.param(3, marks=pytest.mark.slow)], ids=["one-value", "three-values"])
@pytest.mark.parametrize("kind", ["jpeg", "native", "rle"])
def test_every_byte_of_the_header_turned_over(kind, turns, tmp_path_factory):
    """Each byte with one of three values, which take turns, or with each of them."""
    whole = example(kind, tmp_path_factory.getbasetemp())
    sizes = set()
    for at in range(min(HEADER_BYTES, len(whole))):
        for value in [(0, 0xFF, whole[at] ^ 1)[(at + turn) % 3] for turn in range(turns)]:
            try:
                pixels = images.read_pixels(Bytes(whole[:at] + bytes([value]) + whole[at + 1 :]))
            except DataError:
                continue
            sizes.add(pixels.shape)
    assert (HEIGHT, WIDTH) in sizes
    if kind == "jpeg":
        assert sizes == {(HEIGHT, WIDTH)}, "a size that the stream does not have"


CSV = b"patientId,x,y,width,height,Target\n" + b"a,264.0,152.0,213.0,379.0,1\n" * 2 + b"b,,,,,0\nc,1,2,3,4,1\n"


@pytest.mark.parametrize("examples", [120, pytest.param(400, marks=pytest.mark.slow)])
def test_changed_labels_are_labels_or_a_data_error(tmp_path, examples):
    path = tmp_path / "labels.csv"

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(st.lists(CHANGE, min_size=1, max_size=4))
    def check(changes):
        path.write_bytes(changed(CSV, changes))
        try:
            labels = annotations.read_rsna_labels(path)
        except DataError as error:
            assert "labels.csv" in str(error)
            return
        for exam in labels.exams.values():
            assert np.isfinite(exam.boxes_xyxy_px).all()
            assert (exam.boxes_xyxy_px[:, 2:] > exam.boxes_xyxy_px[:, :2]).all()

    check()
