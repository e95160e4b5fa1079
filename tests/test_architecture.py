"""The rules of the layout, checked on the source text: who may import whom, and what belongs where."""

import ast
import configparser
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pneumodet.cli.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"
LIBRARY = TOOLS / "pneumodet"
MODULES = sorted(LIBRARY.rglob("*.py"))
SCRIPTS = sorted(TOOLS.glob("*.py"))
COMMAND_MODULES = [name.replace("-", "_") for name in COMMANDS]

BASE = {"errors", "paths", "parallel", "wording", "locks", "suggest"}
WITHOUT_CLI = BASE | {"progress", "results", "runs", "pictures", "quality_sheet", "data", "metrics", "postprocessing", "detection"}
WITHOUT_CLI |= {
    "experiment",
    "probe",
    "doctor",
    "assessment",
    "reporting",
    "appraisal",
    "download",
    "pretrained",
    "preparation",
    "training",
    "inference",
    "exporting",
    "prediction",
    "dicom",
    "dicom_out",
    "pacs",
    "web",
    "baseline",
    "classification",
    "comparison",
    "exploration",
    "heat",
    "kaggle_files",
    "learning",
    "segmentation",
    "signals",
}
KERAS = BASE | {
    "results",
    "runs",
    "run_record",
    "pictures",
    "data",
    "metrics",
    "assessment",
    "reporting",
    "detection",
    "training",
    "learning",
}
MAY_IMPORT = {
    "errors": set(),
    "locks": set(),
    "suggest": set(),
    "paths": {"errors"},
    "parallel": {"errors"},
    "progress": set(),
    "quiet": set(),
    "signals": set(),
    "wording": set(),
    "results": BASE,
    "run_record": BASE,
    "runs": BASE | {"run_record"},
    "data": BASE | {"results", "data"},
    "metrics": BASE | {"metrics", "data.boxes", "data.header_facts"},
    "postprocessing": BASE | {"results", "data", "metrics", "postprocessing"},
    "assessment": BASE | {"results", "data", "metrics", "assessment"},
    "reporting": BASE | {"reporting"},
    "appraisal": BASE
    | {"results", "runs", "pictures", "data", "metrics", "assessment", "postprocessing", "reporting", "inference", "detection"}
    | {"training.metrics_table"},
    "pictures": BASE | {"results", "data.boxes"},
    "quality_sheet": BASE | {"pictures", "data"},
    "inference": BASE | {"results", "data", "dicom_out", "postprocessing", "inference"},
    "detection": BASE | {"results", "runs", "pictures", "data", "metrics", "postprocessing", "inference", "detection"},
    "exporting": BASE
    | {"training.metrics_table"}
    | {"results", "runs", "data", "metrics", "postprocessing", "reporting", "detection", "inference", "exporting"},
    "dicom": BASE | {"data.elements", "dicom"},
    "dicom_out": BASE | {"results", "pictures", "data", "dicom_out"},
    "pacs": BASE | {"results", "data", "dicom", "postprocessing", "inference", "pacs"},
    "prediction": BASE | {"results", "pictures", "data", "metrics", "postprocessing", "inference", "reporting", "dicom", "prediction"},
    "heat": BASE,
    "web": BASE | {"results", "pictures", "heat", "data", "metrics", "inference", "web"},
    "probe": {"detection"},
    "doctor": BASE | {"probe", "data", "detection"},
    "download": BASE,
    "pretrained": BASE | {"runs", "data", "detection", "download"},
    "training": BASE
    | {"results", "runs", "run_record", "pictures", "data", "metrics", "assessment", "inference", "detection"}
    | {"quiet", "signals", "training"},
    "exploration": BASE | {"pictures", "data", "metrics", "reporting", "training", "exploration"},
    "kaggle_files": BASE | {"data", "download", "kaggle_files"},
    "baseline": BASE | {"results", "data", "metrics", "reporting", "baseline"},
    "learning": KERAS | {"inference", "quiet"},
    "classification": KERAS | {"heat", "classification"},
    "segmentation": KERAS | {"heat", "segmentation"},
    "comparison": BASE
    | {
        "results",
        "runs",
        "data",
        "metrics",
        "assessment",
        "postprocessing",
        "reporting",
        "detection",
        "run_record",
        "training.metrics_table",
        "comparison",
    },
    "preparation": BASE | {"runs", "run_record", "pretrained", "data", "detection", "training"},
    "experiment": BASE | {"runs", "run_record", "preparation", "pretrained", "data", "detection", "training"},
    "tuning": BASE | {"runs", "data", "detection", "training.augmentation_settings", "experiment", "tuning"},
    "demo": WITHOUT_CLI,
    "cli": WITHOUT_CLI | {"quiet", "cli", "demo", "tuning"},
}
"""Part of the library -> the parts (or single modules) that it may import. One direction: cli -> use-cases -> data, metrics -> errors."""

LONGEST_FILE = 400
"""Lines; about 300 are meant, and a longer file does two things."""


def name_of(path):
    """Dotted name below pneumodet: "data.boxes", "cli", "" for the package itself."""
    return ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def ids(paths):
    return [str(path.relative_to(TOOLS)) for path in paths]


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(tree):
    """Absolute names of all that is imported anywhere in a module; "from a.b import c" gives a.b.c."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports would hide from this test"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("import_module", "__import__"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))


def top_level_imports(tree):
    """The same, of what runs when the module is imported: everything that is in no function."""

    def outside_functions(nodes):
        for node in nodes:
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                yield node
                yield from outside_functions(ast.iter_child_nodes(node))

    return imports(ast.Module([node for node in outside_functions(tree.body) if isinstance(node, (ast.Import, ast.ImportFrom))], []))


def below(name, package):
    return name == package or name.startswith(package + ".")


def own_imports(tree):
    """What a module imports of pneumodet, without the prefix."""
    names = {name for name in imports(tree) if below(name, "pneumodet")}
    return {name.removeprefix("pneumodet").lstrip(".") for name in names} - {"", "__version__"}


@pytest.mark.parametrize("path", MODULES, ids=ids(MODULES))
def test_imports_point_one_way(path):
    name = name_of(path)
    if not name:
        assert own_imports(tree_of(path)) == set(), "pneumodet itself imports nothing"
        return
    part = name.split(".")[0]
    assert part in MAY_IMPORT, f"{part} is new: say in MAY_IMPORT whom it may import"
    wrong = {other for other in own_imports(tree_of(path)) if not any(below(other, allowed) for allowed in MAY_IMPORT[part])}
    assert not wrong, f"{name} may not import {sorted(wrong)}"


def test_the_table_has_no_circle_and_nothing_that_is_gone():
    parts = {name_of(path).split(".")[0] for path in MODULES} - {""}
    assert set(MAY_IMPORT) == parts
    order, left = [], {part: {one.split(".")[0] for one in allowed} - {part} for part, allowed in MAY_IMPORT.items()}
    while left:
        free = [part for part, needs in left.items() if needs <= set(order)]
        assert free, f"these import one another: {sorted(left)}"
        order += free
        left = {part: needs for part, needs in left.items() if part not in free}


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=ids(MODULES + SCRIPTS))
def test_only_odapi_imports_object_detection(path):
    found = [name for name in imports(tree_of(path)) if below(name, "object_detection")]
    if path != LIBRARY / "detection" / "odapi.py":
        assert found == []


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if not {"detection", "training", "learning", "classification", "segmentation"} & set(path.parts)],
    ids=lambda path: name_of(path) or "pneumodet",
)
def test_no_tensorflow_at_module_level(path):
    heavy = ("tensorflow", "tf_keras", "keras", "pneumodet.models.detection")
    found = {name for name in top_level_imports(tree_of(path)) if any(below(name, one) for one in heavy)}
    found -= {
        f"pneumodet.models.detection.{name}" for name in ("anchors", "anchor_fitting", "checkpoint_files", "choices", "pipeline_config")
    }  # protobuf is enough
    assert found == set()


def run_python(code, *argv):
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=120)


def test_data_and_metrics_come_without_tensorflow():
    """Not even through something that they import."""
    names = [f"pneumodet.{name_of(path)}" for path in MODULES if name_of(path).split(".")[0] in ("data", "metrics", "results", "pictures")]
    assert len(names) > 8
    code = f"import importlib, sys; [importlib.import_module(name) for name in {names}]; print([n for n in ('tensorflow', 'keras') if n in sys.modules])"
    done = run_python(code)
    assert done.stdout == "[]\n", done.stderr


HELP = """
import contextlib, io, json, runpy, sys
answers, before = {}, set(sys.modules)
for script in sys.argv[1:]:
    sys.argv, sys.path[0], out = [script, "--help"], script.rpartition("/")[0], io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(script, run_name="__main__")
        code = "did not exit"
    except SystemExit as done:
        code = done.code
    heavy = sorted({"tensorflow", "keras", "object_detection", "pandas"} & set(sys.modules))
    answers[script.rpartition("/")[2]] = [code, heavy, out.getvalue()]
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("pneumodet", *heavy):
            del sys.modules[name]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers():
    """Return script -> (exit code, heavy packages that it imported, standard output) of all ``--help``, which one process answers one after the other."""
    done = run_python(HELP, *map(str, SCRIPTS))
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", COMMAND_MODULES)
def test_help_answers_at_once(answers, name):
    code, heavy, out = answers[f"{name}.py"]
    assert (code, heavy) == (0, [])
    assert out.startswith("usage: ")
    assert "--verbose" in out


def test_every_script_is_a_command_and_every_command_a_script():
    assert sorted(path.stem for path in SCRIPTS) == sorted(COMMAND_MODULES)
    assert sorted(path.stem for path in (LIBRARY / "cli").glob("*.py")) == sorted(
        [*COMMAND_MODULES, "__init__", "__main__", "console", "train_flags"]
    )


@pytest.mark.parametrize("path", SCRIPTS, ids=ids(SCRIPTS))
def test_scripts_only_call_their_command(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 10
    assert f"from pneumodet.cli.{path.stem} import main\n" in text


def test_no_script_has_the_name_of_something_that_is_imported():
    """tools/ is the first entry of sys.path under "python tools/train.py": a tools/profile.py would be imported by the library."""
    taken = set(sys.stdlib_module_names) | set(importlib.metadata.packages_distributions()) - {"pneumodet"}
    names = {path.stem for path in TOOLS.iterdir()} - {"__pycache__", "pneumodet"}
    assert names & taken == set()
    assert not (TOOLS / "__init__.py").exists()


def test_setup_cfg_lists_every_package():
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    listed = metadata["options"]["packages"].split()
    there = {".".join(path.parent.relative_to(TOOLS).parts) for path in LIBRARY.rglob("*.py")}
    assert sorted(there) == sorted(listed)
    assert all((TOOLS / name.replace(".", "/") / "__init__.py").exists() for name in listed)


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=ids(MODULES + SCRIPTS))
def test_no_assert_in_the_library(path):
    found = [node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Assert)]
    assert not found, f"line {found}: a user error is an exception, and python -O takes assertions away"


@pytest.mark.parametrize("path", [path for path in MODULES if "cli" not in path.parts], ids=lambda path: name_of(path) or "pneumodet")
def test_print_only_in_cli(path):
    calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert [node.lineno for node in calls if node.func.id == "print"] == []


@pytest.mark.parametrize("path", MODULES, ids=ids(MODULES))
def test_modules_say_what_they_are_for_and_stay_short(path):
    assert ast.get_docstring(tree_of(path)), "a module docstring tells its purpose"
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_tests_have_unique_names_and_no_packages():
    """pytest imports them by their base name."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
    assert list((ROOT / "tests").rglob("__init__.py")) == []
