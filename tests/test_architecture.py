"""The rules of the layout, checked on the source text: what belongs where. Which room may import which is import-linter's (pyproject.toml)."""

import ast
import configparser
import functools
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


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@functools.cache
def nodes_of(path):
    """All nodes of a file that the rules below look at; each file is read and walked once for all rules."""
    kinds = (ast.Import, ast.ImportFrom, ast.Call, ast.Assert)
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, kinds)]


def broken_by(paths, rule):
    """What breaks a rule, with the file in which it does: ``rule`` gives for a file all that is wrong there, nothing where all is right."""
    return {str(path.relative_to(TOOLS)): wrong for path in paths if (wrong := rule(path))}


def imports(nodes):
    """Absolute names of all that is imported by these nodes of a module; "from a.b import c" gives a.b.c."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
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

    return imports(node for node in outside_functions(tree.body) if isinstance(node, (ast.Import, ast.ImportFrom)))


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


def test_no_relative_imports():
    """They would hide from the rules on imports."""

    def rule(path):
        return [node.lineno for node in nodes_of(path) if isinstance(node, ast.ImportFrom) and node.level]

    assert broken_by(MODULES + SCRIPTS, rule) == {}


def test_only_odapi_imports_object_detection():
    others = [path for path in MODULES + SCRIPTS if path != LIBRARY / "models" / "detection" / "odapi.py"]
    assert len(others) == len(MODULES + SCRIPTS) - 1
    assert broken_by(others, lambda path: [name for name in imports(nodes_of(path)) if below(name, "object_detection")]) == {}


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


def test_help_answers_at_once(answers):
    assert sorted(answers) == sorted(f"{name}.py" for name in COMMAND_MODULES)
    assert {script: (code, heavy) for script, (code, heavy, _) in answers.items() if (code, heavy) != (0, [])} == {}
    assert [script for script, (*_, out) in answers.items() if not (out.startswith("usage: ") and "--verbose" in out)] == []


def test_every_script_is_a_command_and_every_command_a_script():
    assert sorted(path.stem for path in SCRIPTS) == sorted(COMMAND_MODULES)
    assert sorted(path.stem for path in (LIBRARY / "cli").glob("*.py")) == sorted(
        [*COMMAND_MODULES, "__init__", "__main__", "console", "outcomes", "train_flags"]
    )


def test_scripts_only_call_their_command():
    def rule(path):
        text = path.read_text(encoding="utf-8")
        return len(text.splitlines()) > 10 or f"from pneumodet.cli.{path.stem} import main\n" not in text

    assert broken_by(SCRIPTS, rule) == {}


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


def test_no_assert_in_the_library():
    """A user error is an exception, and python -O takes assertions away."""
    assert broken_by(MODULES + SCRIPTS, lambda path: [node.lineno for node in nodes_of(path) if isinstance(node, ast.Assert)]) == {}


def prints(path):
    """Return the calls of print in a file."""
    return [node for node in nodes_of(path) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"]


def test_print_only_in_cli():
    assert broken_by([path for path in MODULES if "cli" not in path.parts], lambda path: [node.lineno for node in prints(path)]) == {}


def test_commands_are_printed_as_the_user_calls_them():
    """``console.out`` and ``err`` spell "python tools/train.py" as "pneumodet train" for who typed that: also in warnings, which the library makes."""
    own = {"console.py", "doctor.py", "__main__.py"}  # what spells it, what does so without absl, and what names no other command
    commands = [path for path in sorted((LIBRARY / "cli").glob("*.py")) if path.name not in own]
    assert broken_by(commands, lambda path: [node.lineno for node in prints(path)]) == {}


def test_modules_say_what_they_are_for_and_stay_short():
    """A docstring tells the purpose of each."""
    assert broken_by(MODULES, lambda path: not ast.get_docstring(tree_of(path))) == {}
    assert broken_by(MODULES, lambda path: (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE and lines) == {}


def test_tests_have_unique_names_and_no_packages():
    """pytest imports them by their base name."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
    assert list((ROOT / "tests").rglob("__init__.py")) == []
