"""benchmarks/train_kills.py: a training that is killed and resumed ends in the weights of one that is left alone."""

import subprocess
import sys

import benchmark_modules
import pytest


@pytest.mark.slow
def test_two_kills_a_second_training_and_a_full_disk(tmp_path):
    command = [sys.executable, benchmark_modules.FOLDER / "train_kills.py", "--kills", 2, "--steps", 12, "--out", tmp_path / "out"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    for row in (
        "| kills | 2 |",
        "| trainings that ended in other weights | 0 |",
        "| second trainings of one run, refused | 2 of 2 |",
        "resumed to the same weights",
    ):
        assert row in done.stdout
