"""benchmarks/gpu.sh: what it calls, with a stand-in for Python; and, among the slow tests, all of it on this processor."""

import ast
import json
import os
import subprocess
import sys

import pytest

from pneumodet.core.paths import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "benchmarks" / "gpu.sh"


def run(*flags, **environment):
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, flags)],
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
        env={**os.environ, **environment},
    )


def calls(tmp_path, *flags):
    """Return what the script calls Python with, each call a list of words."""
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done >> "$CALLS"; printf "\\n" >> "$CALLS"\necho "{}"\n')
    stand_in.chmod(0o755)
    done = run("--out", tmp_path / "out", *flags, PYTHON=str(stand_in), CALLS=str(tmp_path / "calls"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"Results: {tmp_path / 'out'}"
    return [line.split("\0")[:-1] for line in (tmp_path / "calls").read_text().split("\n") if line.count("\0") > 2]


def test_every_config_in_two_precisions_then_the_loops_then_faster_rcnn(tmp_path):
    made = calls(tmp_path, "--device", "cpu", "--data", tmp_path / "records")
    scripts = [os.path.basename(words[0]) for words in made]
    assert scripts == ["gpu_step.py"] * 18 + ["train.py", "train.py"]
    configs = {path.stem for path in PROJECT_ROOT.glob("configs/*.config")}
    tree = ast.parse((PROJECT_ROOT / "benchmarks" / "gpu_step.py").read_text())
    (table,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "ZOO_BATCH"]
    assert set(ast.literal_eval(table)) == configs
    steps = {(words[words.index("--config") + 1], words[words.index("--precision") + 1]) for words in made[:18]}
    assert steps == {(config, precision) for config in configs for precision in ("float32", "bfloat16")}
    assert "bfloat16=--precision bfloat16" in made[18]
    assert "faster_rcnn_resnet50" in made[19]


@pytest.mark.parametrize(("flags", "message"), [(("--device", "tpu"), "allowed: gpu, cpu"), (("--all",), "known are --data, --out")])
def test_unknown_flags_are_refused(tmp_path, flags, message):
    done = run("--out", tmp_path / "out", *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_of_it_on_this_processor(tmp_path):
    done = run("--device", "cpu", "--tiny", "--minutes", "40", "--out", tmp_path / "out", PYTHON=sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [json.loads(line) for line in (tmp_path / "out" / "steps.jsonl").read_text().splitlines()]
    assert [(one["precision"], one["batch_size"]) for one in steps] == [("float32", 2), ("bfloat16", 2)]
    assert all(one["images_per_second"] > 0 and one["memory_mib"] > 0 for one in steps)
    table = (tmp_path / "out" / "loops.md").read_text()
    assert "| stock |" in table
    assert "| bfloat16 |" in table
    assert "| our input |" in table
