"""The extras of setup.cfg: what each needs, and for which of them an environment was made.

extras.requirements("train")             # ["absl-py", …, "tensorflow==2.20.*", …]
extras.purpose(installed_versions())     # ("predict",): a runtime of exported models, and no TensorFlow
"""

import configparser
import importlib.metadata
import re
from collections.abc import Iterator, Mapping

from pneumodet.core import installation, resources
from pneumodet.doctor.check import INFO, Check
from pneumodet.doctor.packages import OTHER_API_DISTRIBUTIONS, OTHER_TENSORFLOWS, name_of

BASE = ""
"""What an installation without extras needs."""

TRAIN, EVALUATE, PREDICT = "train", "evaluate", "predict"
"""The extra without which nothing is trained, the one that evaluates detections of files, and the one that is enough to predict with exported models."""

RUNTIMES = ("onnxruntime", "ai-edge-litert")
"""Distributions of ``PREDICT`` that run exported models."""

_MARKS = {PREDICT: RUNTIMES, EVALUATE: ("hotcoco",)}
"""Extra -> distributions that are there for its sake alone: without one of them it was not asked for."""

_HEAVY = ("tensorflow", "tf-object-detection-api", *OTHER_TENSORFLOWS, *OTHER_API_DISTRIBUTIONS)

_NOT_FOR_USERS = ("all", "gpu", "test")

_SELF = re.compile(r"^pneumodet\[([\w,\s-]+)\]$")

_ONLY = {
    (): ("radiographs only", "radiographs and labels are read here, and nothing is trained, evaluated or predicted"),
    (PREDICT,): ("prediction only", "exported models predict here, and nothing is trained or evaluated"),
    (EVALUATE,): ("evaluation only", "detections of files are evaluated here, and nothing is trained or predicted"),
    (PREDICT, EVALUATE): ("no training", "exported models predict and detections of files are evaluated here, and nothing is trained"),
}
"""Purpose of an environment without TensorFlow -> what to call it, and what can be done there."""


def names() -> list[str]:
    """Return the extras that there are."""
    return sorted(_table().keys() - {BASE})


def requirements(*extras: str) -> list[str]:
    """Return what pneumodet and extras of it need, such as "tensorflow==2.20.*", of the checkout's setup.cfg, else of the installed copy; [] for neither."""
    table = _table()
    lines, waiting, seen = list(table.get(BASE, [])), list(extras), set()
    while waiting:
        extra = waiting.pop(0)
        if extra in seen:
            continue
        seen.add(extra)
        for line in table.get(extra, []):
            # an extra that is made of others names them as pneumodet[predict,dicom]
            if own := _SELF.match(line):
                waiting += [one.strip() for one in own[1].split(",")]
            elif line not in lines:
                lines.append(line)
    return lines


def purpose(versions: Mapping[str, str]) -> tuple[str, ...]:
    """Return the extras that an environment was made for: ``TRAIN`` where there is anything of TensorFlow or the API, else those of ``_MARKS``."""
    if any(name in versions for name in _HEAVY):
        return (TRAIN,)
    return tuple(extra for extra, marks in _MARKS.items() if any(name in versions for name in marks))


def check_purpose(wanted: tuple[str, ...]) -> Check:
    """Say what can be done in an environment without TensorFlow."""
    name, can = _ONLY[wanted]
    return Check(name, INFO, f"no TensorFlow, so that {can} (for that: {installation.command(TRAIN)})")


def check_others(versions: Mapping[str, str]) -> Iterator[Check]:
    """Say which extras are there as a whole, and what the others miss; neither is an error, since nobody has to have them."""
    whole, partly = [], []
    for extra in names():
        if extra in _NOT_FOR_USERS:
            continue
        # those with a marker may be for another system
        missing = [name_of(line) for line in requirements(extra) if ";" not in line and name_of(line) not in versions]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            partly.append(f"{extra} ({missing[0]}{more})")
        else:
            whole.append(extra)
    yield Check("extras", INFO, ", ".join(whole) or "none")
    if partly:
        yield Check("extras not installed", INFO, f"{', '.join(partly)}; to add one: {installation.command('NAME')}")


def _table() -> dict[str, list[str]]:
    """Return extra -> its lines, and ``BASE`` -> those of every installation."""
    # interpolation off: a % in setup.cfg is no reference
    parser = configparser.ConfigParser(interpolation=None)
    # the checkout first: metadata of an editable install are as old as the last pip install
    if resources.CHECKOUT and parser.read(resources.CHECKOUT / "setup.cfg", encoding="utf-8"):
        table = {BASE: parser.get("options", "install_requires", fallback="")}
        table |= dict(parser.items("options.extras_require")) if parser.has_section("options.extras_require") else {}
        return {
            extra: [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
            for extra, text in table.items()
        }
    try:
        lines = importlib.metadata.requires("pneumodet") or []
        extras = importlib.metadata.metadata("pneumodet").get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    lists: dict[str, list[str]] = {extra: [] for extra in (BASE, *extras)}
    for line in lines:
        named, _, marker = line.partition(";")
        of = re.search(r"""extra == ['"]([\w.-]+)['"]""", marker)
        # what else the marker asks for, such as a Python version, is evaluated where the requirement is
        rest = re.sub(r"""\(?(.*?)\)?\s*(and\s+)?extra == ['"][\w.-]+['"]""", r"\1", marker).strip()
        lists.setdefault(of[1] if of else BASE, []).append(named.strip() + (f"; {rest}" if rest else ""))
    return lists
