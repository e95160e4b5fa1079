"""The rules of the layout, checked on the source text: what belongs where. Which room may import which is import-linter's (pyproject.toml)."""

import ast
import configparser
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pneumodet.cli.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"
LIBRARY = TOOLS / "pneumodet"
MODULES = sorted(LIBRARY.rglob("*.py"))
SCRIPTS = sorted(TOOLS.glob("*.py"))
COMMAND_MODULES = [name.replace("-", "_") for name in COMMANDS]

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
    """The same, of what runs when the module is imported: everything that is in no function, and not for type checkers only."""

    def outside_functions(nodes):
        for node in nodes:
            for_types = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
            if not for_types and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                yield node
                yield from outside_functions(ast.iter_child_nodes(node))

    return imports(ast.Module([node for node in outside_functions(tree.body) if isinstance(node, (ast.Import, ast.ImportFrom))], []))


def below(name, package):
    return name == package or name.startswith(package + ".")


ROOMS = ("core", "viz", "dicom", "data", "inference", "models", "evaluation", "training", "export", "apps", "exploration", "api", "cli")
"""In the order in which they may import; the last five partly stand side by side."""

WITH_TENSORFLOW = ("models", "evaluation", "training")
"""Rooms whose modules may import TensorFlow as soon as they are imported."""


def test_import_linter_knows_all_rooms():
    """Which checks the direction of imports, in "make lint"."""
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [name.removeprefix("pneumodet.") for layer in contract["layers"] for name in layer.split(" | ")]
    assert sorted(layers) == sorted({name_of(path).split(".")[0] for path in MODULES} - {""})
    assert sorted(layers) == sorted([*ROOMS, "__main__", "demo", "doctor", "odapi"])
    assert contract["ignore_imports"] == ["pneumodet -> pneumodet.api"], "which is imported when it is used, and by nothing in the rooms"


def test_tests_mirror_the_rooms():
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")} - {Path()}
    assert [str(folder) for folder in sorted(folders) if not (LIBRARY / folder).is_dir()] == []


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=ids(MODULES + SCRIPTS))
def test_only_odapi_imports_object_detection(path):
    result = [name for name in imports(tree_of(path)) if below(name, "object_detection")]
    if path != LIBRARY / "models" / "detection" / "odapi.py":
        assert result == []


def test_no_tensorflow_at_module_level():
    """Of the other rooms no module imports it as soon as it is imported, not even through another one."""
    needs = {f"pneumodet.{name_of(path)}".rstrip("."): set(top_level_imports(tree_of(path))) for path in MODULES}
    reached = {
        name for name, names in needs.items() if any(below(one, heavy) for one in names for heavy in ("tensorflow", "tf_keras", "keras"))
    }
    assert reached
    while (
        more := {name for name, names in needs.items() if any(one in reached or one.rpartition(".")[0] in reached for one in names)}
        - reached
    ):
        reached |= more
    assert {name for name in reached if name.split(".")[1] not in WITH_TENSORFLOW} == set()


def run_python(code, *argv):
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=120)


def test_the_first_five_rooms_come_without_tensorflow():
    """Not even through something that they import."""
    names = [f"pneumodet.{name_of(path)}" for path in MODULES if name_of(path).split(".")[0] in ROOMS[:5]]
    assert len(names) > 80
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


def test_the_package_says_that_it_is_typed():
    """Without this file in a wheel, type checkers of other projects take everything of pneumodet for Any (PEP 561)."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    assert metadata["options.package_data"]["pneumodet"].split() == ["py.typed"]
    assert (LIBRARY / "py.typed").is_file()


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=ids(MODULES + SCRIPTS))
def test_no_assert_in_the_library(path):
    result = [node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Assert)]
    assert not result, f"line {result}: a user error is an exception, and python -O takes assertions away"


@pytest.mark.parametrize("path", [path for path in MODULES if "cli" not in path.parts], ids=lambda path: name_of(path) or "pneumodet")
def test_print_only_in_cli(path):
    calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert [node.lineno for node in calls if node.func.id == "print"] == []


@pytest.mark.parametrize("path", sorted((LIBRARY / "cli").glob("*.py")), ids=lambda path: path.stem)
def test_commands_are_printed_as_the_user_calls_them(path):
    """``console.out`` spells "python tools/train.py" as "pneumodet train" for who typed that."""
    calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"]
    texts = {
        node.lineno: [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)] for node in calls
    }
    assert [line for line, parts in texts.items() if any("tools/" in part or part.startswith("Next:") for part in parts)] == []


@pytest.mark.parametrize("path", MODULES, ids=ids(MODULES))
def test_modules_say_what_they_are_for_and_stay_short(path):
    assert ast.get_docstring(tree_of(path)), "a module docstring tells its purpose"
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


def test_tests_have_unique_names_and_no_packages():
    """pytest imports them by their base name."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
    assert list((ROOT / "tests").rglob("__init__.py")) == []
