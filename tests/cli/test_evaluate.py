"""The command evaluate on detections that are there; runs and models are in tests/models/detection."""

import json
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from pneumodet.cli import evaluate
from pneumodet.core import paths
from pneumodet.core.detections import image_id


@pytest.fixture
def files(tmp_path):
    """Return (ground truth, detections, a second model's) of 40 exams."""
    rng = np.random.default_rng(0)
    images = [
        {"id": image_id(f"e{n}"), "file_name": f"e{n}", "width": 200, "height": 200, "patient": n // 2, "sex": "FM"[n % 2]}
        for n in range(40)
    ]
    rows = [{"id": n + 1, "image_id": one["id"], "category_id": 2, "bbox": [20 + n, 30, 60, 80]} for n, one in enumerate(images) if n % 2]
    truth = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "no-pneumonia"}, {"id": 2, "name": "pneumonia"}]}
    written = []
    for shift in (4, 30):
        detections = [
            {
                "image_id": row["image_id"],
                "category_id": 2,
                "bbox": [row["bbox"][0] + shift, *row["bbox"][1:]],
                "score": float(rng.uniform(0.4, 0.9)),
            }
            for row in rows
        ]
        detections += [
            {"image_id": one["id"], "category_id": 2, "bbox": [5, 5, 30, 30], "score": float(rng.uniform(0, 0.6))} for one in images
        ]
        written.append(detections)
    for name, value in (("truth", truth), ("found", written[0]), ("other", written[1])):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    return [str(tmp_path / f"{name}.json") for name in ("truth", "found", "other")]


def test_files_of_any_framework(files, tmp_path, capsys):
    truth, detections, other = files
    images = tmp_path / "images"
    images.mkdir()
    for number in range(40):
        Image.fromarray(np.full((200, 200), number, np.uint8)).save(images / f"e{number}.png")
    arguments = ["--ground-truth", truth, "--detections", detections, "--compare", other, "--radiographs", str(images), "--resamples", "50"]
    assert evaluate.main([*arguments, "--output-dir", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "40 images of 20 patients, 20 with findings, 20 boxes, 60 detections" in captured.out
    assert "gave the highest RSNA metric on other patients" in captured.out
    assert "this model is better: " in captured.out
    assert "(a little below the score that it was chosen by)" in captured.out, "it may lie below the thresholds of all folds"
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["detections_file"]["name"] == "found.json"
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg") == len(metrics["worst"]) > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["metrics.json", "model_card.md", "report.html"]
    assert evaluate.main([*arguments, "--output-dir", str(tmp_path / "out")]) == 2
    assert "holds an earlier result (metrics.json). Give --overwrite" in capsys.readouterr().err


def test_a_recipe_is_applied_first(files, tmp_path):
    from pneumodet.inference.postprocess import recipe

    truth, detections, _ = files
    recipe.save(tmp_path / "recipe.json", recipe.Recipe(box_scale=0.5))
    arguments = ["--ground-truth", truth, "--detections", detections, "--resamples", "20"]
    assert evaluate.main([*arguments, "--output-dir", str(tmp_path / "plain")]) == 0
    assert evaluate.main([*arguments, "--recipe", str(tmp_path / "recipe.json"), "--output-dir", str(tmp_path / "halved")]) == 0
    plain, halved = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("plain", "halved"))
    assert plain["coco.pneumonia.AP50"] > 0.8
    assert halved["coco.pneumonia.AP50"] < 0.1
    written = json.loads((tmp_path / "halved" / "detections.json").read_text())
    assert len(written) == 60
    assert max(row["bbox"][2] for row in written) == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "one of --run, --model with --data, or --ground-truth with --detections", id="nothing"),
        pytest.param(["--detections", "FOUND"], "--detections needs --ground-truth and --output-dir as well", id="no truth"),
        pytest.param(["--run", "x", "--detections", "FOUND"], "Say what is measured: one of", id="two"),
        pytest.param(
            ["--ground-truth", "FOUND", "--detections", "TRUTH", "--output-dir", "OUT"], "Are the two files swapped", id="swapped"
        ),
        pytest.param(
            ["--ground-truth", "TRUTH", "--detections", "FOUND", "--output-dir", "OUT", "--aim", "beauty"], "beauty", id="unknown aim"
        ),
    ],
)
def test_what_does_not_go_together(files, tmp_path, capsys, arguments, message):
    places = {"TRUTH": files[0], "FOUND": files[1], "OUT": str(tmp_path / "out")}
    assert evaluate.main([places.get(one, one) for one in arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("checkpoint", "following"),
    [("ckpt-0", "train.py --run first --resume"), ("ckpt-200", "export.py --run first")],
    ids=["untrained", "trained"],
)
def test_an_untrained_run_is_to_be_trained_and_neither_exported_nor_tested(capsys, checkpoint, following):
    args = evaluate.build_parser().parse_args(["--run", "first"])
    metrics = {"checkpoint": checkpoint, "postprocessing": None, "figures_on": "validation", "test_exams": 20}
    evaluate._print_next(args, types.SimpleNamespace(metrics=metrics))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(following)
    assert any("--split test" in line for line in lines) == (checkpoint != "ckpt-0")


def test_no_tensorflow_for_files(files, tmp_path):
    command = [
        sys.executable,
        "-X",
        "importtime",
        paths.PROJECT_ROOT / "tools" / "evaluate.py",
        "--ground-truth",
        files[0],
        "--detections",
        files[1],
    ]
    done = subprocess.run([*command, "--output-dir", tmp_path / "out", "--resamples", "20"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "numpy" in imported
    assert not {name for name in imported if name.split(".")[0] in ("tensorflow", "keras", "object_detection")}
