"""One user's radiographs."""

import gc
import gzip
import io
import struct
import threading
import zlib

import numpy as np
import pytest
import radiographs
from PIL import Image

from pneumodet.apps.web import budget, samples, uploads
from pneumodet.apps.web import cases as cases_module
from pneumodet.apps.web.cases import Cases
from pneumodet.apps.web.uploads import File
from pneumodet.core.errors import DataError
from pneumodet.data import images


@pytest.fixture
def cases():
    return Cases(radiographs.detect)


def huge_png(width, height):
    """A PNG of a kilobyte that says it is this large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_cases_are_sorted_by_score(cases):
    for level in (150, 250, 200):
        cases.add(radiographs.png(radiographs.square(level), f"{level}.png"))
    assert [case.name for case in cases.by_score()] == ["250", "200", "150"]
    assert cases.by_score()[0].score == pytest.approx(250 / 255)
    np.testing.assert_array_equal(cases.by_score()[0].detections.boxes_xyxy_px[0], [16, 24, 32, 40])


def test_a_dicom_file_is_detected_on_as_everywhere(cases, synthetic):
    path = next(iter(sorted(synthetic.dicom_dir.iterdir())))
    case = cases.add(File(path.name, path.read_bytes()))
    np.testing.assert_array_equal(cases.radiograph(case).shown, images.read_pixels(path))
    assert case.size_hw == (256, 256)
    assert case.ids[0] == path.stem


def test_what_is_not_meant_for_the_eye_is_refused(cases):
    raw = radiographs.dicom(radiographs.square(), "raw.dcm", PresentationIntentType="FOR PROCESSING")
    with pytest.raises(DataError, match="^It is a radiograph for processing, which is not meant for the eye.$"):
        cases.add(raw)
    assert len(cases) == 0


def test_image_files_and_what_is_none_of_those_that_are_read(cases):
    buffer = io.BytesIO()
    Image.fromarray(radiographs.square()).save(buffer, "TIFF")
    case = cases.add(File("a.tif", buffer.getvalue()))
    assert (case.name, case.facts.kind) == ("a", "TIFF")
    with pytest.raises(DataError, match="^Archives of this kind are not opened; unpack it, or pack its files as ZIP.$"):
        cases.add(File("all.tar.gz", gzip.compress(b"radiographs")))
    with pytest.raises(DataError, match="^JPEG 2000 is read within DICOM only; convert it to PNG.$"):
        cases.add(File("a.jp2", b"\0\0\0\x0cjP  \r\n"))


def test_patient_ids_do_not_show_by_accident(cases):
    case = cases.add(radiographs.dicom(radiographs.square()))
    assert "secret-id" in case.ids
    assert "secret" not in repr(case).lower()


def test_the_same_file_is_one_case_and_two_of_one_name_are_two(cases):
    first = radiographs.png(radiographs.square(200), "a/exam.png")
    assert cases.add(first) is cases.add(first)
    other = cases.add(radiographs.png(radiographs.square(220), "b/exam.png"))
    assert other.name == "exam (2)"
    assert len(cases) == 2


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's, of the vast PNG
@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (File("<b>note</b>.txt", b"hello"), "not a DICOM file"),
        (File("a.dcm", radiographs.dicom(radiographs.square()).data[:900]), "cut off|damaged|no pixel data"),
        (File("a.png", radiographs.png(radiographs.square()).data[:80]), "damaged"),
        (File("a.png", huge_png(60_000, 60_000)), "damaged"),  # Pillow refuses before its size is known
        (File("a.png", huge_png(10_000, 12_000)), "10000 x 12000 px"),
        (radiographs.dicom(radiographs.square(), Rows=60_000, Columns=60_000), "60000"),
        (File("a.jpg", b"\xff\xd8\xff\xe0" + bytes(50)), "damaged"),
        (File("a.dcm", bytes(128) + b"DICM" + bytes(500)), "DICOM|no pixel data"),
    ],
    ids=["text", "cut-dicom", "cut-png", "vast-png", "huge-png", "huge-dicom", "broken-jpeg", "empty-dicom"],
)
def test_what_is_no_radiograph_gets_a_sentence_without_its_name(cases, file, reason):
    with pytest.raises(DataError, match=reason) as caught:
        cases.add(file)
    text = str(caught.value)
    assert text[0].isupper()
    assert text.endswith(".")
    assert file.name not in text
    assert len(cases) == 0


def test_room_and_forgetting(cases):
    file = radiographs.png(radiographs.square())
    cases.add(file)
    assert cases.room == uploads.Room(uploads.MAX_FILES - 1, uploads.MAX_TOTAL_BYTES - len(file.data))
    cases.pending.append((file, None))
    assert cases.room == uploads.Room(uploads.MAX_FILES - 2, uploads.MAX_TOTAL_BYTES - 2 * len(file.data)), "what waits takes room, too"
    cases.clear()
    assert len(cases) == 0
    assert cases.pending == []
    assert cases.room == uploads.Room()
    assert cases.by_score() == []


def test_few_radiographs_stay_decoded(cases, monkeypatch):
    read = []
    original = cases_module.window.read
    monkeypatch.setattr(cases_module.window, "read", lambda file: read.append(file.name) or original(file))
    added = [cases.add(radiographs.png(radiographs.square(level), f"{level}.png")) for level in range(150, 156)]
    assert len(read) == 6
    cases.radiograph(added[-1])
    assert len(read) == 6, "the last one is still there"
    cases.radiograph(added[0])
    assert read[6:] == ["150.png"]
    assert len(cases._decoded) == cases_module.DECODED


def test_samples_are_radiographs_with_their_truth(cases):
    file, boxes_xyxy_px = samples.draw(1)
    again, _ = samples.draw.__wrapped__(1)
    assert file.data == again.data, "the same sample every time"
    case = cases.add(file, truth_xyxy_px=boxes_xyxy_px)
    assert case.name == "sample-1"
    assert 1 <= len(case.truth_xyxy_px) <= 2
    assert (boxes_xyxy_px[:, 2:] > boxes_xyxy_px[:, :2]).all()
    assert len(samples.draw(2)[1]) == 0


def test_all_users_together_have_a_budget(monkeypatch):
    one = radiographs.png(radiographs.square(), "a.png")
    shared = budget.Budget()
    mine, others = Cases(radiographs.detect, shared), Cases(radiographs.detect, shared)
    mine.add(one)
    assert (mine.room.files, mine.room.bytes) == (others.room.files - 1, others.room.bytes - len(one.data))
    monkeypatch.setattr(budget, "MAX_BYTES", len(one.data) + 10)
    assert others.room.bytes == 10 and mine.room.bytes == 10
    _, refused = uploads.unpack([one], room=others.room)
    assert "where others use the page" in refused[0].reason
    del mine
    gc.collect()
    assert others.room.bytes == len(one.data) + 10


def test_what_is_kept_decoded_is_bounded_over_all_users(monkeypatch):
    shared = budget.Budget()
    users = [Cases(radiographs.detect, shared) for _ in range(2)]
    for cases in users:
        for level in (200, 210):
            cases.add(radiographs.png(radiographs.square(level), f"{level}.png"))
    before = [cases.decoded_bytes for cases in users]
    monkeypatch.setattr(budget, "MAX_DECODED_BYTES", 1)
    for cases in users:
        cases.radiograph(cases.by_score()[0])
    assert [cases.decoded_bytes for cases in users] == [each / 2 for each in before]


def test_one_radiograph_is_read_at_a_time():
    """Two users at once would take twice the memory, and each as long as both."""
    at_work, most = [], []

    def detect(pixels):
        at_work.append(1)
        most.append(len(at_work))
        gone.wait(0.05)
        at_work.pop()
        return radiographs.detect(pixels)

    gone, shared = threading.Event(), budget.Budget()
    files = [radiographs.png(radiographs.square(level), f"{level}.png") for level in (200, 210)]
    threads = [threading.Thread(target=Cases(detect, shared).add, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]
