"""Killed, stopped, out of disk: what is finished stays, and the same command with --resume ends where an uncut one would have."""

import errno
import json
import shutil
import signal
import subprocess
import sys

import pytest
import squares

from pneumodet.cli import predict as command
from pneumodet.core.errors import ConfigError, DataError
from pneumodet.inference import detectors, exported
from pneumodet.inference.predict import journal, predicting

SAME = ("detections.json", "submission.csv", "scores.csv", "boxes.csv", "gallery.html", "overview.png")
"""Outputs that do not say when they were made."""


class Stop(Exception):
    """A bug in the middle."""


def stop_after(number, error):
    """Return a ``progress`` that raises when so many radiographs are through."""

    def progress(total, done):
        left = iter(range(number))

        def tick():
            if next(left, None) is None:
                raise error

        return tick

    return progress


def partial(out):
    return out.parent / f".{out.name}.partial" / "new" / "journal.jsonl"


def assert_same(first, second):
    for name in SAME:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert sorted(path.name for path in (first / "images").iterdir()) == sorted(path.name for path in (second / "images").iterdir())


@pytest.fixture(scope="module")
def whole(model, radiographs, tmp_path_factory):
    """Results of a run that nothing stopped, with four pictures; not to be changed."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    predicting.predict([model], radiographs, folder, max_images=4)
    return folder


def test_ctrl_c_tells_how_to_go_on(model, radiographs, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt, match=r"^5 radiographs are done and kept; the same command with --resume continues from there"):
        predicting.predict([model], radiographs, out, max_images=4, progress=stop_after(4, KeyboardInterrupt()))
    assert not out.exists()
    runs = []
    real = detectors.Detector.detect
    monkeypatch.setattr(detectors.Detector, "detect", lambda self, pixels: runs.append(1) or real(self, pixels))
    summary = predicting.predict([model], radiographs, out, max_images=4, resume=True)
    assert (summary.radiographs, summary.resumed, len(runs)) == (6, 5, 1)
    assert_same(whole, out)
    assert not partial(out).parent.parent.exists()


KILL = """
import os, signal, sys
from pathlib import Path
from pneumodet.inference.predict import predicting, working
working.UNFINISHED = 1
def progress(total, done):
    left = iter(range(4))
    return lambda: next(left, None) is None and os.kill(os.getpid(), signal.SIGKILL)
model, root, out = map(Path, sys.argv[1:])
predicting.predict([model], root, out, max_images=4, progress=progress)
"""


def test_a_kill_costs_only_what_was_on_its_way(model, radiographs, whole, tmp_path):
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILL, model, radiographs, out], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = partial(out).read_bytes().count(b"\n") - 1
    assert before >= 4
    assert predicting.predict([model], radiographs, out, max_images=4, resume=True).resumed == before
    assert_same(whole, out)


def test_a_line_that_was_cut_off_is_done_again(model, radiographs, whole, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Stop):
        predicting.predict([model], radiographs, out, max_images=4, progress=stop_after(5, Stop()))
    path = partial(out)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:40] + b"\n" + b"".join(lines[4:]))
    assert predicting.predict([model], radiographs, out, max_images=4, resume=True).resumed == 2
    assert_same(whole, out)


FULL = """
import resource, signal, sys
from pathlib import Path
from pneumodet.cli import predict
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2600, resource.RLIM_INFINITY))     # no file may be larger: the journal cannot be
sys.exit(predict.main(sys.argv[1:]))
"""


def test_a_full_disk_keeps_the_journal(model, tmp_path):
    folder = tmp_path / "in"
    for number in range(40):
        squares.write(folder / f"exam{number:02d}.png", (number, 24))
    arguments = ["--model", model, "--input", folder, "--output-dir", tmp_path / "out", "--max-images", "0"]
    arguments = list(map(str, arguments))
    done = subprocess.run([sys.executable, "-c", FULL, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr or "No space left" in done.stderr
    assert "radiographs are done and kept; the same command with --resume continues from there." in done.stderr
    finished = partial(tmp_path / "out").read_bytes().count(b"\n") - 1
    assert finished > 0
    assert command.main([*arguments, "--resume"]) == 0
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())["resumed"] == finished


def test_a_picture_that_cannot_be_written_stops_with_the_same_words(model, radiographs, tmp_path, monkeypatch):
    from pneumodet.viz import pictures

    def full(path, picture):
        raise DataError(f"Cannot write {path.name}: No space left on device.") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pictures, "save", full)
    with pytest.raises(DataError, match="^Cannot write .*png: No space left on device.$"):
        predicting.predict([model], radiographs, tmp_path / "out")


def test_unfinished_work_is_neither_lost_nor_mixed(model, radiographs, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Stop):
        predicting.predict([model], radiographs, out, score_threshold=0.4, progress=stop_after(4, Stop()))
    before = partial(out).read_bytes()
    with pytest.raises(
        DataError, match=r"was begun, and \d radiographs are done. Give --resume to continue, or --overwrite to begin again"
    ):
        predicting.predict([model], radiographs, out, score_threshold=0.4)
    with pytest.raises(ConfigError, match=r"were made with another score threshold \(0.4, now 0.5\)"):
        predicting.predict([model], radiographs, out, resume=True)
    with pytest.raises(ConfigError, match="another number of pictures"):
        predicting.predict([model], radiographs, out, score_threshold=0.4, max_images=7, resume=True)
    assert partial(out).read_bytes() == before
    assert predicting.predict([model], radiographs, out, overwrite=True).resumed == 0


def test_another_model_does_not_go_on(model, radiographs, tmp_path):
    import onnx

    out = tmp_path / "out"
    with pytest.raises(Stop):
        predicting.predict([model], radiographs, out, progress=stop_after(4, Stop()))
    other = shutil.copytree(model, tmp_path / "other")
    graph = onnx.load(other / "model.onnx")
    graph.doc_string = "another one"
    onnx.save(graph, other / "model.onnx")
    card = json.loads((other / "model.json").read_text())
    card["artefacts"]["onnx"]["sha256"] = exported.sha256(other / "model.onnx")
    (other / "model.json").write_text(json.dumps(card))
    with pytest.raises(ConfigError, match="were made with another model"):
        predicting.predict([other], radiographs, out, resume=True)


def test_resume_begins_where_there_is_nothing(model, radiographs, tmp_path):
    assert predicting.predict([model], radiographs, tmp_path / "out", resume=True).radiographs == 6


def test_files_that_failed_are_tried_again(model, radiographs, tmp_path):
    folder, out = shutil.copytree(radiographs, tmp_path / "in"), tmp_path / "out"
    good = (folder / "empty.dcm").read_bytes()
    (folder / "empty.dcm").write_bytes(b"still being copied")
    with pytest.raises(Stop):
        predicting.predict([model], folder, out, progress=stop_after(5, Stop()))
    (folder / "empty.dcm").write_bytes(good)
    summary = predicting.predict([model], folder, out, resume=True)
    assert (summary.radiographs, summary.refused) == (6, [])


def test_entries_come_back_to_the_last_bit(tmp_path):
    import numpy as np

    from pneumodet.core.detections import Detections

    rng = np.random.default_rng(0)
    low = rng.uniform(0, 500, (50, 2))
    answer = Detections(np.hstack([low, low + rng.uniform(0, 500, (50, 2))]), rng.uniform(0, 1, 50), rng.integers(1, 3, 50))
    entry = journal.Entry("ä/<b>\n", "f.dcm", (1024, 900), answer, "p.png", "why")
    line = entry.to_line()
    assert line.count(b"\n") == 1
    back = journal.Entry.of_line(line)
    assert (back.exam, back.file, back.size_hw, back.picture, back.problem) == ("ä/<b>\n", "f.dcm", (1024, 900), "p.png", "why")
    for name in ("boxes_xyxy_px", "scores", "classes"):
        np.testing.assert_array_equal(getattr(back.detections, name), getattr(answer, name))
