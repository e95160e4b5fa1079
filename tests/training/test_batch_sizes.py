"""--batch-size auto, on memory that is made up, and a process that ends without an answer."""

import types
from pathlib import Path

import pytest

from pneumodet.core import gpus
from pneumodet.core.errors import TrainingError
from pneumodet.training import batch_sizes

GIB = 1 << 30


def memory(fixed, each):
    """Return a measure of a model that takes ``fixed`` GiB, and ``each`` for an image; it keeps what it was asked."""
    asked = []

    def measure(size):
        asked.append(size)
        return int((fixed + each * size) * GIB)

    return measure, asked


@pytest.mark.parametrize(
    ("fixed", "each", "free", "expected"),
    [
        pytest.param(1.0, 0.5, 12.0, 16, id="16-take-all-but-headroom"),
        pytest.param(1.0, 0.5, 11.9, 8, id="16-would-take-more"),
        pytest.param(1.0, 0.001, 24.0, 64, id="no-more-than-64"),
        pytest.param(1.0, 0.0, 2.0, 64, id="an-image-takes-nothing"),
        pytest.param(3.0, 2.0, 4.0, 1, id="one-in-any-case"),
        pytest.param(0.5, 1.0, 4.0, 2, id="two"),
    ],
)
def test_the_largest_power_of_two_that_fits(fixed, each, free, expected):
    measure, asked = memory(fixed, each)
    assert batch_sizes.choose(measure, available=int(free * GIB)) == expected
    assert tuple(asked) == batch_sizes.TRIED
    used = (fixed + each * expected) * GIB
    assert used <= batch_sizes.HEADROOM * free * GIB or expected == 1


def test_no_more_than_there_are_records(monkeypatch):
    monkeypatch.setattr(batch_sizes, "_in_child", lambda config, data, options, size: size)
    monkeypatch.setattr(batch_sizes, "available", lambda: GIB)
    for records, expected in ((1, 1), (5, 4), (8, 8), (1000, 64)):
        data = types.SimpleNamespace(train=[None] * records)
        assert batch_sizes.fitting(None, data, None) == expected


def test_free_memory_is_that_of_this_machine(monkeypatch):
    """At most what is there in all, and what a graphics card says where there is one."""
    total = (
        int(next(line for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines() if line.startswith("MemTotal")).split()[1])
        << 10
    )
    monkeypatch.setattr(gpus.subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(OSError("no such command")))
    assert 1 << 26 < batch_sizes.available() <= total
    monkeypatch.setattr(gpus.subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout="11000\n900\n"))
    assert batch_sizes.available() == 900 << 20
    monkeypatch.setattr(gpus.subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout="[N/A]\n"))
    assert 1 << 26 < batch_sizes.available() <= total


def test_a_process_that_ends_without_an_answer(monkeypatch, capfd):
    """As one does that the system kills for want of memory."""
    config = types.SimpleNamespace(SerializeToString=bytes)
    monkeypatch.setattr(batch_sizes, "_measure", print)
    with pytest.raises(TrainingError, match="Training on 4 images at once ended for want of memory, or failed; start with --batch-size 1"):
        batch_sizes._in_child(config, None, None, 4)
    capfd.readouterr()
