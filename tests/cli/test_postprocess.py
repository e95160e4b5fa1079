"""The command postprocess, as it is typed."""

import json
import subprocess
import sys

import pytest

from pneumodet.cli import postprocess
from pneumodet.core import detections, paths
from pneumodet.core.detections import Detections

SCRIPT = paths.PROJECT_ROOT / "tools" / "postprocess.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with labels of 40 exams, half of them positive, and detections that are 30 % too large."""
    folder = tmp_path_factory.mktemp("postprocess")
    rows = ["patientId,x,y,width,height,Target"]
    rows += [f"e{number:02d},{100 + 10 * number},200,100,100,1" if number % 2 else f"e{number:02d},,,,,0" for number in range(40)]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    result = {}
    for number in range(40):
        left = 85 + 10 * number
        result[f"e{number:02d}"] = Detections([[left, 185, left + 130, 315]], [0.5 + number % 2 * 0.3], [2])
    detections.write_coco_results(folder / "detections.json", result)
    (folder / "gate.csv").write_text("patientId,score\n" + "".join(f"e{number:02d},{0.1 + 0.8 * (number % 2)}\n" for number in range(40)))
    return folder


def test_choose_then_apply(folder, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--detections", str(folder / "detections.json"), "--gate", str(folder / "gate.csv")]
    assert postprocess.main(["--ground-truth", str(folder / "labels.csv"), *arguments, "--output-dir", str(out), "--folds", "2"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "40 exams, each taken for a patient of its own; 20 of 40 exams have pneumonia; 2 folds"
    assert [line[2:22].strip() for line in lines[1:9]] == [
        "step",
        "score threshold",
        "nms",
        "box scale",
        "minimum size",
        "boxes an exam",
        "gate",
        "all steps",
    ]
    assert lines[1].split() == ["step", "RSNA", "metric", "[95", "%]", "gain", "[95", "%]", "chosen", "on", "all", "patients"]
    # all of 20 exams with findings: of so many, 0.05 ** (1 / 20) is one end of an exact interval
    assert "0.5000 [" in lines[2] and "1.0000 [0.8609, 1.0000]" in lines[4]
    assert "box_scale 0.85" in lines[4] or "box_scale 0.875" in lines[4]
    assert captured.err == ""
    assert sorted(path.name for path in out.iterdir()) == ["detections.json", "recipe.json", "table.json"]

    assert postprocess.main(["--recipe", str(out / "recipe.json"), *arguments, "--output-dir", str(tmp_path / "applied")]) == 0
    assert capsys.readouterr().out == f"Detections: {tmp_path / 'applied' / 'detections.json'} (20 of 40 boxes left, in 20 of 40 exams)\n"


def test_steps_that_lose_are_named(tmp_path, capsys):
    def row(step, value, gain):
        return {"step": step, "figure": {"value": value, "low": None, "high": None}, "gain": gain, "chosen": {}}

    gains = [None, *({"value": value, "low": None, "high": None} for value in (0.0, -0.0265))]
    rows = [row(step, 0.1, gain) for step, gain in zip(("score threshold", "nms", "box scale"), gains, strict=True)]
    table = {
        "rows": rows,
        "total": gains[2],
        "patients": 1,
        "exams": 1,
        "positive_exams": 1,
        "folds": 2,
        "objective": "rsna",
        "patient_map": True,
    }
    args = postprocess.build_parser().parse_args(["--detections", __file__, "--output-dir", str(tmp_path)])
    postprocess._print(args, table)
    out = capsys.readouterr().out
    assert out.startswith("1 patient; 1 of 1 exam have pneumonia")
    assert (
        "note: the RSNA metric falls with box scale (-0.0265) on patients that had no part in the choice; the recipe has it all the same\n"
        in out
    )


def test_the_script_needs_no_tensorflow(folder, tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps({"version": 1, "box_scale": 0.5}))
    arguments = [
        "--recipe",
        str(tmp_path / "recipe.json"),
        "--detections",
        str(folder / "detections.json"),
        "--output-dir",
        str(tmp_path / "out"),
    ]
    code = "import runpy, sys; sys.modules['tensorflow'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "out" / "detections.json").read_text())[0]["bbox"] == [117.5, 217.5, 65.0, 65.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "Nothing can be chosen without ground truth. Give --ground-truth, or --recipe", id="nothing to choose by"),
        pytest.param(["--run", "a"], "one of --detections (files) and --run", id="files and a run"),
        pytest.param(["--tta", "flip"], "--tta goes with --run: detections in files are made already", id="views of files"),
        pytest.param(["--data", "."], "--data goes with --run", id="records and files"),
        pytest.param(["--recipe", "VIEWS"], "has the views identity, flip, which need the detector itself", id="recipe with views"),
        pytest.param(["--recipe", "RECIPE"], "unknown key 'box_scal'. Did you mean 'box_scale'?", id="typing error"),
    ],
)
def test_errors_are_one_line(folder, tmp_path, capsys, arguments, message):
    (tmp_path / "recipe.json").write_text('{"version": 1, "box_scal": 0.9}')
    (tmp_path / "views.json").write_text('{"version": 1, "sources": 2, "views": ["identity", "flip"]}')
    places = {"RECIPE": str(tmp_path / "recipe.json"), "VIEWS": str(tmp_path / "views.json")}
    arguments = [places.get(one, one) for one in arguments]
    assert postprocess.main([*arguments, "--detections", str(folder / "detections.json"), "--output-dir", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "Say whose boxes they are: one of --detections (files) and --run", id="neither"),
        pytest.param(["--run", "a", "--run", "a"], "A run is named twice", id="twice"),
        pytest.param(["--run", "a", "--recipe", "RECIPE"], "use python tools/evaluate.py --run … --recipe", id="apply by a run"),
        pytest.param(["--run", "a", "--ground-truth", "RECIPE"], "--ground-truth does not go with --run", id="ground truth"),
        pytest.param(["--run", "a", "--tta", "flop"], "There is no view 'flop'. Views are identity, flip and scale=S", id="no view"),
        pytest.param(["--run", "a", "--tta", "flip"], "There is no run 'a'", id="no run"),
    ],
)
def test_errors_of_runs_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setenv("PNEUMODET_WORKSPACE", str(tmp_path))
    (tmp_path / "recipe.json").write_text('{"version": 1}')
    arguments = [str(tmp_path / "recipe.json") if one == "RECIPE" else one for one in arguments]
    assert postprocess.main([*arguments, "--output-dir", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
