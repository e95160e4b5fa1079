"""benchmarks/fuzz.py: its examples are read as they are, its changes are the same for one seed, and what goes wrong is kept."""

import random

import benchmark_modules
import json_formats
import pytest

pytest.importorskip("tiny_export", reason="needs onnx, which writes the model")

NEEDS_TENSORFLOW = "pipeline.config"


@pytest.fixture(scope="module")
def modules():
    """Return (fuzz, fuzz_readers, fuzz_changes)."""
    with benchmark_modules.on_path():
        import fuzz_changes
        import fuzz_readers

    return benchmark_modules.load("fuzz"), fuzz_readers, fuzz_changes


@pytest.fixture
def readers(modules, tmp_path, monkeypatch):
    from pneumodet.inference import backends

    monkeypatch.setattr(backends, "open_file", json_formats.answers)
    return modules[1].readers(tmp_path)


def test_every_example_is_read_as_it_is(modules, readers, monkeypatch):
    monkeypatch.setattr(modules[2], "MANY", (0,))
    chance = random.Random(3)
    monkeypatch.setattr(chance, "random", lambda: 0.9)  # above the shares of inputs that are damaged besides
    for name, reader in readers.items():
        if name != NEEDS_TENSORFLOW and "ZIP" not in name:  # of these some names are refused
            reader.use(reader.make(chance))


def test_one_seed_makes_the_same_inputs(readers):
    once, again = ([reader.make(random.Random(7)) for name, reader in readers.items() if "ZIP" not in name] for _ in range(2))
    assert once == again


def test_a_word_that_fits_no_reader_is_refused(modules):
    assert not modules[0].unknown(["labels, CSV", "JSON, card"], ["CSV", "JSON"])
    assert not modules[0].unknown(["labels, CSV"], [])
    refusal = modules[0].unknown(["labels, CSV", "JSON, card"], ["CSV", "yolo"])
    assert refusal == "No reader has 'yolo' in its name. There are: labels, CSV; JSON, card."


def test_what_goes_wrong_is_kept_once_a_place(modules, tmp_path):
    fuzz = modules[0]
    for data in (b"first", b"second"):
        try:
            raise KeyError("it")
        except KeyError as error:
            assert fuzz.keep(tmp_path, "labels, CSV", data, error) == "other"
    fuzz.keep(tmp_path, "labels, CSV", b"third", None, "the process ended with -11")
    kept = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".txt")
    assert len(kept) == 2
    assert {(tmp_path / name).read_bytes() for name in kept} == {b"first", b"third"}
    assert any("KeyError: 'it'" in path.read_text() for path in tmp_path.glob("*.txt"))
