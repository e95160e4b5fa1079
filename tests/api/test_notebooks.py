"""The notebooks: whole, clean, and every cell of them runs: quickly with a stand-in for training, and as a user runs them (slow)."""

import ast
import inspect
import re
import sys
import typing

import pytest
import shallow
import tiny_export
from PIL import Image

import pneumodet
from pneumodet import api
from pneumodet.core import metrics_table, paths, runs
from pneumodet.core.run_record import RunRecord
from pneumodet.exploration import radiographs

NOTEBOOKS = sorted((paths.PROJECT_ROOT / "notebooks").glob("*.ipynb"))

SMALL = {
    "DATA": "synthetic",
    "EXAMS": 16,
    "SIDE_PX": 192,
    "CONFIG": "ssd_mobilenet",
    "PRETRAINED": "none",
    "STEPS": 6,
    "BATCH_SIZE": 2,
    "SETTINGS": dict(setting.split("=", 1) for setting in shallow.SETTINGS),
    "RESAMPLES": 20,
    "TENSORBOARD": False,
}
"""Parameters of a run that takes no longer than it must."""

OPTIONS = {"convert": "ConvertOptions", "train": "TrainOptions", "evaluate": "EvaluateOptions"}
"""Function -> what its further keywords are."""

on_all = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    import nbformat

    return nbformat.read(path, as_version=4)


def code_of(path):
    return [cell.source for cell in read(path).cells if cell.cell_type == "code"]


def with_parameters(source, workspace):
    """Return the cell with other parameters: after the notebook's own, and before they are used."""
    lines = [f"{name} = {value!r}" for name, value in {**SMALL, "WORKSPACE": str(workspace)}.items()]
    head, use, tail = source.partition("\nimport os\n")
    assert use, "parameters come first, what uses them after an import of os"
    return "\n".join([head, *lines]) + use + tail


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ["quickstart_colab", "rsna_kaggle"]


@on_all
def test_the_file_is_whole_and_clean(path):
    import nbformat

    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None, "strip the outputs"
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/home/|/root/|/Users/|/work/|[A-Z]:\\\\", text), "a path of one machine"
    assert [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])] == ["install", "parameters"]


@on_all
def test_cells_are_python_without_magics(path):
    for source in code_of(path):
        compile(source, path.name, "exec")
        assert not re.search(r"^\s*[%!]", source, re.MULTILINE)


@on_all
def test_all_parameters_are_there(path):
    (cell,) = (cell for cell in read(path).cells if "parameters" in cell.metadata.get("tags", []))
    names = {node.id for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert {*SMALL, "WORKSPACE", "RUN"} <= names


@on_all
def test_every_call_has_arguments_that_exist(path):
    calls = [node for source in code_of(path) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    used = set()
    for node in calls:
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "pneumodet":
            function = getattr(pneumodet, node.func.attr)
            known = set(inspect.signature(function).parameters)
            if node.func.attr in OPTIONS:
                known |= set(typing.get_type_hints(getattr(sys.modules[function.__module__], OPTIONS[node.func.attr])))
            assert {keyword.arg for keyword in node.keywords} <= known, node.func.attr
            used.add(node.func.attr)
    assert {"explore", "convert", "train", "evaluate", "load"} <= used


def run_cell(source, names):
    """Run a cell, and show what it shows."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    return shown._repr_html_() if hasattr(shown, "_repr_html_") else shown


@pytest.fixture
def without_training(here, tmp_path, monkeypatch):
    """Let ``train`` return a run that is there, ``evaluate`` measure a submission, and an export be the tiny one."""
    folder = tmp_path / "workspace" / "done"

    def train(config, *, data, run, **_):
        tiny_export.make(folder / "export")
        Image.new("RGB", (600, 400)).save(folder / runs.CURVES)
        table = metrics_table.MetricsTable(folder / metrics_table.FILE)
        table.add(metrics_table.Row(6, metrics_table.VALIDATION, 1.0, True, {"rsna_metric": 0.1}))
        runs.write(folder, RunRecord(config=config, steps=6, training={"best_metric": "rsna_metric"}))
        return api.Run(folder)

    def evaluate(run, *, resamples, split="val"):
        truth, boxes = here / "data" / "stage_2_train_labels.csv", here / "submission.csv"
        return api.evaluate(ground_truth=truth, detections=boxes, output=tmp_path / f"measured_{split}", resamples=resamples)

    def export(run, **_):
        from pneumodet.inference import exported

        return api.Export(run.folder / "export", exported.read(run.folder / "export").card)

    monkeypatch.setattr(pneumodet, "train", train, raising=False)
    monkeypatch.setattr(pneumodet, "evaluate", evaluate, raising=False)
    monkeypatch.setattr(api.Run, "export", export)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@on_all
@pytest.mark.filterwarnings("ignore::pneumodet.core.errors.PneumodetWarning")
def test_cells_run_one_after_the_other(path, without_training, monkeypatch):
    if path.stem == "rsna_kaggle":
        # the sheet of augmentation takes TensorFlow; the other notebook draws it
        monkeypatch.setattr(radiographs.Drawer, "augmented", lambda self: (None, "left out"))
    names, shown = {}, []
    for cell in read(path).cells:
        if cell.cell_type == "code":
            source = (
                with_parameters(cell.source, without_training / "workspace")
                if "parameters" in cell.metadata.get("tags", [])
                else cell.source
            )
            shown.append(run_cell(source, names))
    pages = "\n".join(one for one in shown if isinstance(one, str))
    for part in ("Records in", "Run done", "RSNA metric", "Export in", "<iframe", "data:image/jpeg"):
        assert part in pages
    if path.stem == "rsna_kaggle":
        assert (without_training / "submission.csv").read_text().startswith("patientId,PredictionString")
    else:
        assert (without_training / "workspace" / "first_export.zip").is_file()


@pytest.mark.slow
@on_all
def test_it_runs_as_a_user_runs_it(path, tmp_path, monkeypatch):
    import nbclient
    import nbformat

    notebook = read(path)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = with_parameters(cell.source, tmp_path / "workspace")
    # the network is a shallow one; kept in a name, since it is the real one again when the context is collected
    notebook.cells.insert(0, nbformat.v4.new_code_cell("import shallow\nkept = shallow.backbone()\nkept.__enter__()"))
    for name, value in shallow.environment().items():
        monkeypatch.setenv(name, value)
    nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    pages = [
        output.data["text/html"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "execute_result" and "text/html" in output.data
    ]
    assert len(pages) >= 7
    assert any("6 of 6" in one for one in pages), "the run's table"
    errors = [
        output.text for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs if output.get("name") == "stderr"
    ]
    assert not any("Traceback" in text for text in errors)
