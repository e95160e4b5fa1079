"""Decoding beside the model: in order, as far ahead as stated and no further, and stopped with its reader."""

import threading
import time

import numpy as np
import pytest
import squares

from pneumodet.core.errors import DataError
from pneumodet.data import images
from pneumodet.inference.predict import reading
from pneumodet.inference.predict.remote import Unreachable


class Made:
    """A source whose contents are made when they are asked for."""

    def __init__(self, name, contents=b"", error=None, wait=0.0):
        self.name, self._contents, self._error, self._wait = name, contents, error, wait

    def __str__(self):
        return f"/secret/{self.name}"

    def read_bytes(self):
        time.sleep(self._wait)
        if self._error:
            raise self._error
        return self._contents


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    return squares.write(tmp_path_factory.mktemp("png") / "one.png", (12, 12)).read_bytes()


def test_order_is_kept_though_later_ones_are_done_first(png):
    given = [(str(number), Made(f"{number}.png", png, wait=0.02 * (number % 3 == 0))) for number in range(20)]
    radiographs = list(reading.read_ahead(given, threads=4))
    assert [one.exam for one in radiographs] == [str(number) for number in range(20)]
    assert all((one.pixels == squares.draw((12, 12))).all() for one in radiographs)


def test_no_more_are_asked_for_than_may_wait(png):
    """What bounds memory, however many there are."""
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield "exam", Made("one.png", png)

    ahead = reading.read_ahead(endless(), threads=2)
    for number in range(1, 30):
        next(ahead)
        assert len(asked) <= number + 4
    ahead.close()


def test_reader_that_stops_leaves_no_thread(png):
    ahead = reading.read_ahead(((str(number), Made("one.png", png)) for number in range(100)), threads=3)
    next(ahead)
    ahead.close()
    deadline = time.monotonic() + 20
    while any(thread.name.startswith("decode") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_reasons_name_the_file_and_not_where_it_lies():
    given = [("a", Made("a.dcm", b"text")), ("b", Made("b.dcm", error=DataError("/secret/b.dcm cannot be read: gone.")))]
    first, second = reading.read_ahead(given)
    assert (first.pixels, first.reason) == (None, "it is not a DICOM file.")
    assert second.reason == "b.dcm cannot be read: gone."


def test_a_server_that_is_away_is_no_fault_of_a_file(png):
    given = [("a", Made("a.png", png)), ("b", Made("b.dcm", error=Unreachable("it does not answer")))]
    ahead = reading.read_ahead(given)
    assert next(ahead).exam == "a"
    with pytest.raises(Unreachable):
        next(ahead)


def test_headers_come_without_pixels(tmp_path):
    path = squares.write(tmp_path / "one.dcm", (12, 12))
    (one,) = reading.read_ahead([("one", Made("one.dcm", path.read_bytes()))], headers=True)
    assert one.header.PatientID == "one"
    assert "PixelData" not in one.header
    np.testing.assert_array_equal(one.pixels, images.read_pixels(path))


def test_a_picture_has_no_header(png):
    (one,) = reading.read_ahead([("one", Made("one.png", png))], headers=True)
    assert one.reason == "one.png is an image file, for which no DICOM object can be made."


def test_what_a_server_gave_before_it_went_away_comes_first(png):
    """Its list breaks off while radiographs are still on their way."""

    def listed():
        for number in range(3):
            yield str(number), Made(f"{number}.png", png, wait=0.1)
        raise Unreachable("http://127.0.0.1:9 does not answer.")

    radiographs = []
    with pytest.raises(Unreachable):
        for one in reading.read_ahead(listed(), threads=2):
            radiographs.append(one.exam)
    assert radiographs == ["0", "1", "2"]
