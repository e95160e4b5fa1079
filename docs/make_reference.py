"""Write docs/reference/, and the tables of fields in docs/file-formats.md, from what the code says of itself: parsers, dataclasses, docstrings.

    python docs/make_reference.py            # writes what has changed
    python docs/make_reference.py --check    # exit code 1 where a page is not up to date

Docstrings are parsed by griffe (ISC licence), which reads the source. Parsers and dataclasses are imported, which takes no TensorFlow.
A table of fields stands in a page between two comments, ``<!-- fields of MODULE.CLASS -->`` (or ``… but NAME, NAME -->``) and ``<!-- end of fields -->``.
"""

import argparse
import dataclasses
import functools
import importlib
import inspect
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import griffe

from pneumodet.cli.__main__ import COMMANDS
from pneumodet.models import options, settings
from pneumodet.models.classification.settings import ClassifierSettings
from pneumodet.models.inputs.augmentation_settings import PRESETS, Augmentation
from pneumodet.models.segmentation.settings import Architecture, SegmenterSettings

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
REFERENCE = DOCS / "reference"
NOTE = "<!-- Made by docs/make_reference.py; do not edit. -->"
FILE_FORMATS = DOCS / "file-formats.md"
OWN_FLAGS = ("--help", "--helpfull", "--version", "--verbose")
"""Flags that every command has; they are explained once."""


@functools.cache
def source() -> griffe.Object:
    """Return the package as griffe reads its source, which takes two seconds."""
    return griffe.load("pneumodet", search_paths=[str(ROOT / "tools")], docstring_parser="google")


def pages() -> dict[Path, str]:
    """Return path -> contents of every page of the reference."""
    package = source()
    rooms = [name for name, member in sorted(package.members.items()) if not member.is_alias and member.is_subpackage and name != "cli"]
    made = {REFERENCE / "commands.md": _commands()}
    made |= {REFERENCE / f"{room}.md": _room(package[room]) for room in rooms}
    made[REFERENCE / "settings.md"] = _settings(package)
    made[FILE_FORMATS] = with_tables(FILE_FORMATS.read_text(encoding="utf-8"), package)
    made[REFERENCE / "README.md"] = _index(package, rooms)
    return made


def _index(package: griffe.Object, rooms: list[str]) -> str:
    rows = [f"| [{room}]({room}.md) | {_first_line(package[room])} |" for room in rooms]
    return "\n".join(
        [
            NOTE,
            "# Reference",
            "",
            "[Commands](commands.md): every flag of every command. [Settings](settings.md): every key of the configs that are ours.",
            "[File formats](../file-formats.md): what is written and read.",
            "",
            "The library, a page a room. Nothing here is a promise of a stable API before version 1.0.",
            "",
            "| room | what it holds |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )


def _commands() -> str:
    lines = [
        NOTE,
        "# Commands",
        "",
        "`python tools/NAME.py` and `pneumodet NAME` are the same. Flags may be typed with dashes or underscores. Every command has `--help`,",
        "`--version` (with the folder that the package is in) and `--verbose` (TensorFlow's own messages, and full tracebacks).",
    ]
    for name in COMMANDS:
        parser = importlib.import_module(f"pneumodet.cli.{name.replace('-', '_')}").build_parser()
        lines += ["", f"## {name}", "", *_wrapped(parser.description or "")]
        for group in parser._action_groups:  # argparse has no public way to them
            actions = [
                action
                for action in group._group_actions
                if action.help != argparse.SUPPRESS and not set(OWN_FLAGS) & set(action.option_strings)
            ]
            if not actions:
                continue
            title = group.title if group.title not in ("options", "positional arguments") else "flags"
            lines += ["", f"| {title} | |", "| --- | --- |"]
            lines += [f"| {_flag(action)} | {_cell(_help(parser, action))} |" for action in actions]
        if parser.epilog:
            lines += ["", "```text", parser.epilog.strip(), "```"]
    return "\n".join(lines) + "\n"


_FIELDS = re.compile(r"(<!-- fields of ([\w.]+?)\.(\w+)(?: but ([\w, ]+?))? -->\n).*?(<!-- end of fields -->)", re.DOTALL)


def with_tables(page: str, package: griffe.Object) -> str:
    """Return a page with the tables between its markers as the dataclasses have them now."""

    def table(match: re.Match[str]) -> str:
        head, module, name, left_out, tail = match.groups()
        kind = getattr(importlib.import_module(module), name)
        hidden = set((left_out or "").split(", "))
        described = _described([kind], package)
        rows = [
            f"| `{one.name}` | {_json_type(one.type)} | {described[one.name].replace('None', 'null')} |"
            for one in dataclasses.fields(kind)
            if one.name not in hidden
        ]
        return "\n".join([head, "| field | type | meaning |", "| --- | --- | --- |", *rows, "", tail])

    return _FIELDS.sub(table, page)


def _settings(package: griffe.Object) -> str:
    shared = [field.name for field in dataclasses.fields(settings.Settings)]
    lines = [
        NOTE,
        "# Settings",
        "",
        "A detector's experiment is a `pipeline.config` of the API; beside it stand the options below, which are flags of `train`. Classifiers and U-Nets are",
        "described by flat TOML files, whose keys are these; `--set KEY=VALUE` takes any of them, and a key that does not exist is an error.",
        "",
        "## Classifiers and U-Nets",
        "",
        *_defaults(settings.Settings, shared, [settings.Settings], package),
        "",
        "U-Nets have other defaults of some: " + _others(SegmenterSettings, settings.Settings) + ". Their `best_metric` is one of",
        _choices(SegmenterSettings.METRICS) + ".",
    ]
    for title, kind, extra in (("Classifiers", ClassifierSettings, []), ("U-Nets", SegmenterSettings, [Architecture])):
        own = [field.name for field in dataclasses.fields(kind) if field.name not in shared]
        lines += ["", f"## {title}", "", *_defaults(kind, own, [*extra, kind], package)]
    for title, kind, hidden in (("Options of detectors", options.Options, {"plan"}), ("Plan of detectors", options.Plan, set())):
        names = [field.name for field in dataclasses.fields(kind) if field.name not in hidden]
        lines += ["", f"## {title}", "", *_defaults(kind, names, [kind], package)]
    lines += ["", "Without `--evaluate-every`, `train` evaluates every tenth of the steps; 0 is never."]
    lines += ["", "## Augmentation", "", "A preset's name, or a JSON file with these fields; one that is left out does nothing.", ""]
    lines += [f"| field | {' | '.join(f'`{name}`' for name in PRESETS)} | meaning |", "| --- " * (2 + len(PRESETS)) + "|"]
    described = _described([Augmentation], package)
    for field in dataclasses.fields(Augmentation):
        values = " | ".join(_value(getattr(one, field.name)) for one in PRESETS.values())
        lines.append(f"| `{field.name}` | {values} | {described[field.name]} |")
    return "\n".join(lines) + "\n"


def _defaults(kind: type, names: Sequence[str], described_by: Sequence[type], package: griffe.Object) -> list[str]:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    described = _described(described_by, package)
    rows = [f"| `{name}` | {_json_type(fields[name].type)} | {_value(fields[name].default)} | {described[name]} |" for name in names]
    return ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows]


def _others(kind: type, base: type) -> str:
    """Return the defaults of a subclass that its base has, too, but with another value."""
    own = {field.name: field.default for field in dataclasses.fields(kind)}
    return ", ".join(f"`{one.name}` {_value(own[one.name])}" for one in dataclasses.fields(base) if own[one.name] != one.default)


def _described(kinds: Sequence[type], package: griffe.Object) -> dict[str, str]:
    """Return field -> its meaning, from the docstrings of dataclasses and of what these inherit from; the first that describes a field counts."""
    meanings: dict[str, str] = {}
    for derived, kind in [(given, base) for given in kinds for base in given.__mro__]:
        if not kind.__module__.startswith("pneumodet."):
            continue
        module = importlib.import_module(kind.__module__)
        docstring = package[kind.__module__.removeprefix("pneumodet.")][kind.__name__].docstring
        for names, text in _attributes(docstring.value if docstring else ""):
            for name in names.split(", "):
                meanings.setdefault(name, _cell(_with_choices(text, derived, module)))
    return meanings


def _attributes(docstring: str) -> list[tuple[str, str]]:
    """Return (names, meaning) of a docstring's section ``Attributes``; griffe reads of "low, high: …" the first name only."""
    section = re.search(r"^Attributes:\n((?:[ \t]+.*\n?|\n)+)", inspect.cleandoc(docstring), re.MULTILINE)
    return _items(section[1]) if section else []


def _items(section: str) -> list[tuple[str, str]]:
    """Return (names, meaning) of the items of a docstring's section; what is indented further continues the item before it."""
    items: list[tuple[str, str]] = []
    for line in inspect.cleandoc(section.rstrip()).split("\n"):
        if line and not line[0].isspace():
            names, _, text = line.partition(": ")
            items.append((names, text))
        elif line.strip():
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
    return items


def _with_choices(text: str, kind: type, module: Any) -> str:
    """Return a description in which a constant that lists what is allowed is replaced by what it lists."""

    def values(match: re.Match[str]) -> str:
        constant = getattr(kind, match[1], getattr(module, match[1], None))
        return _choices([constant] if isinstance(constant, str) else constant) if isinstance(constant, str | tuple | dict) else match[0]

    return re.sub(r"\b([A-Z][A-Z_]+)\b", values, text.replace("a key of ``", "one of ``").replace("``", "`")).replace("``", "`")


def _choices(values: Sequence[Any]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _value(value: Any) -> str:
    if value is None or value == "" or value == () or value is dataclasses.MISSING:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    if value in PRESETS.values():
        return next(f"`{name}`" for name, preset in PRESETS.items() if preset == value)
    return f"{value:g}" if isinstance(value, float) else f"`{value}`" if isinstance(value, str) else str(value)


_TYPE_TEXTS = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "Any": "any",
    "None": "null",
    "tuple": "list",
    "list": "list",
}


def _json_type(annotation: Any) -> str:
    """Return what JSON or TOML calls a field of an annotation."""
    text = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", "")
        if isinstance(annotation, type)
        else str(annotation)
    )
    if not isinstance(annotation, str) and hasattr(annotation, "__origin__"):
        text = str(annotation)
    names = []
    for part in text.split(" | "):
        plain = re.sub(r"\[.*", "", part).rpartition(".")[2]
        names.append(_TYPE_TEXTS.get(plain, "object"))
    return " or ".join(dict.fromkeys(names))


def _flag(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    value = ""
    if action.nargs != 0:
        name = action.metavar or ("" if action.choices else action.dest.upper())
        value = " " + (name if isinstance(name, str) and name else "{" + ",".join(map(str, action.choices or ())) + "}")
    required = " (required)" if action.required else ""
    return ", ".join(f"`{one}{value}`" for one in action.option_strings) + required


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    # what depends on the machine that makes the page has no place in it
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return re.sub(r"one a processor, \d+", "one a processor", text)


def _room(module: griffe.Object) -> str:
    lines = [NOTE, f"# {module.path}", ""]
    for one in _modules(module):
        lines += [f"## {one.path}", "", *_docstring(one), ""]
        for member in one.members.values():
            if not _shown(member) or not (member.is_class or member.is_function or member.is_attribute):
                continue
            lines += _member(member, "###")
            if member.is_class:
                for inner in member.members.values():
                    if _shown(inner) and inner.is_function:
                        lines += _member(inner, "####")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _modules(module: griffe.Object) -> Iterator[griffe.Object]:
    yield module
    for _, member in sorted(module.members.items()):
        if not member.is_alias and member.is_module and not member.name.startswith("_"):
            yield from _modules(member)


def _shown(member: griffe.Object | griffe.Alias) -> bool:
    return not member.is_alias and not member.name.startswith("_") and member.docstring is not None


def _member(member: griffe.Object, level: str) -> list[str]:
    name = member.path.removeprefix(member.module.path + ".")
    lines = [f"{level} {name}", ""]
    if member.is_function:
        lines += ["```python", _signature(member), "```", ""]
    elif member.is_class and member.bases:
        lines += [f"Bases: {', '.join(f'`{base}`' for base in member.bases)}", ""]
    elif member.is_attribute and member.value is not None and len(str(member.value)) <= 100:
        lines += ["```python", f"{name} = {member.value}", "```", ""]
    return [*lines, *_docstring(member), ""]


def _signature(function: griffe.Object) -> str:
    text, star = [], False
    for parameter in function.parameters:
        if parameter.kind is griffe.ParameterKind.keyword_only and not star:
            text.append("*")
            star = True
        star = star or parameter.kind is griffe.ParameterKind.var_positional
        sign = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(parameter.kind, "")
        hint = f": {parameter.annotation}" if parameter.annotation else ""
        default = f" = {parameter.default}" if parameter.default is not None and not sign else ""
        text.append(f"{sign}{parameter.name}{hint}{default}")
    returns = f" -> {function.returns}" if function.returns else ""
    line = f"{function.name}({', '.join(text)}){returns}"
    return line if len(line) <= 100 else f"{function.name}(\n" + "".join(f"    {one},\n" for one in text) + f"){returns}"


def _docstring(member: griffe.Object) -> list[str]:
    lines: list[str] = []
    for section in member.docstring.parsed if member.docstring else ():
        if section.kind is griffe.DocstringSectionKind.text:
            lines += [_plain(section.value), ""]
        elif section.kind is griffe.DocstringSectionKind.parameters:
            lines += ["Arguments:", "", *(f"- `{one.name}`: {_one_line(one.description)}" for one in section.value), ""]
        elif section.kind is griffe.DocstringSectionKind.attributes:
            lines += ["Attributes:", "", *(f"- `{name}`: {_one_line(text)}" for name, text in _attributes(member.docstring.value)), ""]
        elif section.kind is griffe.DocstringSectionKind.admonition:  # a section of our own, such as "Args of the constructor"
            lines += [f"{section.title}:", "", *(f"- `{name}`: {_one_line(text)}" for name, text in _items(section.value.description)), ""]
        elif section.kind in (griffe.DocstringSectionKind.returns, griffe.DocstringSectionKind.yields):
            title = "Returns" if section.kind is griffe.DocstringSectionKind.returns else "Yields"
            lines += [
                f"{title}: "
                + " ".join(_one_line(f"{one.name}: {one.description}" if one.name else one.description) for one in section.value),
                "",
            ]
        elif section.kind is griffe.DocstringSectionKind.raises:
            lines += ["Raises:", "", *(f"- `{one.annotation}`: {_one_line(one.description)}" for one in section.value), ""]
        else:
            lines += [_plain(str(section.value)), ""]
    return lines


def _plain(text: str) -> str:
    """Return a docstring's text as Markdown: indented lines stand as code, and double backticks become single ones."""
    out, code = [], False
    for line in inspect.cleandoc(text).split("\n"):
        if line.startswith("    ") != code and line.strip():
            out.append("```" if code else "```python")
            code = not code
        out.append(line.removeprefix("    ") if code else line.replace("``", "`").replace("<", "&lt;"))
    return "\n".join([*out, "```"] if code else out)


def _one_line(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("<", "&lt;").split())


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _wrapped(text: str) -> list[str]:
    return [_one_line(text)]


def _first_line(module: griffe.Object) -> str:
    return _cell(module.docstring.value.strip().split("\n")[0]) if module.docstring else ""


def main(argv: list[str] | None = None) -> int:
    """Write the pages, or say which are not up to date."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is not up to date")
    check = parser.parse_args(argv).check
    logging.getLogger("griffe").setLevel(logging.ERROR)  # it warns of items that name several arguments at once, which is our style
    made = pages()
    stale = [path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    left_over = [path for path in REFERENCE.glob("*.md") if path not in made]
    if check:
        for path in (*stale, *left_over):
            print(f"{path.relative_to(ROOT)} is not up to date: run python docs/make_reference.py", file=sys.stderr)
        return 1 if stale or left_over else 0
    REFERENCE.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(made[path], encoding="utf-8")
    for path in left_over:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
