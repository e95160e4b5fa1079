"""The Object Detection API's own unit tests, under the bridges: what passes, and whether every failure is one that is known.

    python benchmarks/odapi_tests.py --out /tmp/odapi-tests                          # all 135 files of TensorFlow 2
    python benchmarks/odapi_tests.py --out /tmp/odapi-tests --files metrics utils/metrics_test.py

The sdist installs its tests with it. Each file runs in a process of its own, with two logical processors, and leaves one JSON file in the folder, so that
a run which was stopped is resumed; ``--again`` runs files anew. ``odapi_tests.toml`` lists the failures that are known, each with its reason. Exit code 1:
a test failed that is not on the list, or one that is on it passed.
"""

import argparse
import contextlib
import fnmatch
import importlib
import importlib.util
import json
import math
import multiprocessing
import os
import resource
import signal
import sys
import time
import tomllib
import traceback
import types
import unittest
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

KNOWN = Path(__file__).with_suffix(".toml")
"""The failures that are known, with their reasons."""

PACKAGES = ("tensorflow", "tf_keras", "numpy")
"""Distributions whose versions a result is for; one with other versions is not taken up again."""

PROCESSORS = 2
"""Logical processors of TensorFlow: tests of distribution strategies ask for two."""

PATIENCE = 10
"""A file that waits, or hangs, may take so many times its limit of processor time."""

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

Outcomes = dict[str, tuple[str, str]]
"""Test -> outcome and reason: the last line of the exception of one that failed, what one says that was skipped, or ""."""


@dataclass(frozen=True)
class Answer:
    """What one file of tests gave."""

    module: str
    versions: dict[str, str]
    tests: Outcomes
    seconds: float = 0.0
    """From its start to its end, s."""
    cpu: float = 0.0
    """Processor time, s."""


@dataclass(frozen=True)
class Known:
    """Failures that have the same reason."""

    reason: str
    tests: tuple[str, ...]
    """Names, or patterns of names, without the leading "object_detection."."""
    sometimes: bool = False
    """They may pass as well: what decides is chance, or a version."""


@dataclass
class Verdict:
    """All results beside the list of known failures."""

    counts: Counter[str] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    """Tests that failed and are not on the list, with what they raised."""
    passing: list[str] = field(default_factory=list)
    """Entries of the list of which no test failed, although their files were run."""

    @property
    def good(self) -> bool:
        return not self.unexpected and not self.passing


def versions() -> dict[str, str]:
    """Return distribution -> version of what decides on the results."""
    return {name: metadata.version(name) for name in PACKAGES}


def modules(patterns: Sequence[str]) -> list[str]:
    """Return the names, in order, of the API's test modules for TensorFlow 2.

    Args:
      patterns: folders, files or patterns below ``object_detection/``; all files where there is none.
    """
    # found, but not imported: the package itself needs TensorFlow for nothing, its tests do
    spec = importlib.util.find_spec("object_detection")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The package object_detection is not installed.")
    root = Path(spec.submodule_search_locations[0])
    files = sorted(path.relative_to(root) for path in root.rglob("*_test.py") if not path.stem.endswith("tf1_test"))
    wanted = [
        path
        for path in files
        if not patterns or any(path.is_relative_to(pattern.rstrip("/")) or path.match(pattern) for pattern in patterns)
    ]
    return [".".join(("object_detection", *path.with_suffix("").parts)) for path in wanted]


class Recorder(unittest.TestResult):
    """Keeps one outcome a test; a failure of one of its subtests is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: Outcomes = {}

    def _failed(self, test: unittest.TestCase, error) -> None:
        self.outcomes[test.id()] = (FAILED, last_line(error[1]))
        print(test.id(), file=sys.stderr)
        traceback.print_exception(*error)

    def addSuccess(self, test):  # noqa: N802
        self.outcomes.setdefault(test.id(), (PASSED, ""))

    def addError(self, test, err):  # noqa: N802
        self._failed(test, err)

    def addFailure(self, test, err):  # noqa: N802
        self._failed(test, err)

    def addSubTest(self, test, subtest, err):  # noqa: N802
        if err is not None:
            self._failed(test, err)

    def addSkip(self, test, reason):  # noqa: N802
        self.outcomes[test.id()] = (SKIPPED, reason)


def last_line(error: BaseException) -> str:
    """Return the type and the first line of an exception's message."""
    return "".join(traceback.format_exception_only(error)).strip().partition("\n")[0][:300]


def old_numpy() -> types.ModuleType:
    """Return NumPy with names that tests of 2022 say and that it no longer has; the modules that they test get NumPy as it is."""
    import numpy as np

    old = types.ModuleType("numpy")
    old.__dict__.update({"bool": bool, "NAN": np.nan, "string_": np.bytes_, **np.__dict__, "float": float, "int": int})
    return old


def run_here(module: str, file: Path, seconds: int) -> None:
    """Run a file's tests in this process, which is new, and write an ``Answer``; the kernel ends it after so many seconds of processor time."""
    started = time.time()
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    # what tests print is theirs
    with open(file.with_suffix(".log"), "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    recorder = Recorder()
    try:
        import tensorflow as tf
        from absl import flags

        (device,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * PROCESSORS)
        loaded: Any = importlib.import_module(module)
        if hasattr(loaded, "np"):
            loaded.np = old_numpy()
        sys.argv = [module]
        if not flags.FLAGS.is_parsed():
            flags.FLAGS(sys.argv)
        unittest.defaultTestLoader.loadTestsFromModule(loaded).run(recorder)
    except BaseException as error:  # also one that calls exit
        traceback.print_exc()
        recorder.outcomes[f"{module}.*"] = (FAILED, last_line(error))
    cpu = sum(os.times()[:4])
    write(file, Answer(module, versions(), recorder.outcomes, round(time.time() - started, 2), round(cpu, 2)))


def write(file: Path, answer: Answer) -> None:
    """Write an answer whole or not at all."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(asdict(answer), indent=1))
    new.replace(file)


def read(file: Path) -> Answer | None:
    """Return an answer of an earlier run with the same versions, or None."""
    with contextlib.suppress(FileNotFoundError):
        found = json.loads(file.read_text())
        tests = {name: tuple(outcome) for name, outcome in found.pop("tests").items()}
        if found["versions"] == versions():
            return Answer(**found, tests=tests)
    return None


def run(names: Sequence[str], folder: Path, *, timeout: float, again: bool) -> list[Answer]:
    """Run each file that has no answer yet, and return all answers."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name.removeprefix('object_detection.')}.json" for name in names}
    waiting = [name for name in names if again or read(files[name]) is None]
    if waiting:
        from pneumodet.models.detection import odapi

        # imported once and forked: 8 s less a file; TensorFlow's threads start when it is first used
        odapi.load()
    forked = multiprocessing.get_context("fork")
    for number, name in enumerate(waiting, start=1):
        process = forked.Process(target=run_here, args=(name, files[name], math.ceil(timeout)))
        files[name].unlink(missing_ok=True)
        process.start()
        process.join(PATIENCE * timeout)
        reason = f"stopped after {PATIENCE * timeout:.0f} s"
        if process.is_alive():
            process.kill()
            process.join()
        elif process.exitcode == -signal.SIGXCPU:
            reason = f"stopped after {timeout:.0f} s of processor time"
        else:
            reason = f"ended with code {process.exitcode}"
        if not files[name].exists():
            write(files[name], Answer(name, versions(), {f"{name}.*": (FAILED, reason)}))
        answer = read(files[name])
        counts = Counter(outcome for outcome, _ in answer.tests.values())
        print(f"{number}/{len(waiting)} {name}: {counted(counts)}; {answer.seconds:.0f} s", flush=True)
    return [answer for name in names if (answer := read(files[name])) is not None]


def counted(counts: Counter[str]) -> str:
    """Return "3 passed, 1 failed"."""
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in (PASSED, FAILED, SKIPPED) if counts[outcome])


def known(file: Path = KNOWN) -> list[Known]:
    """Read the list of known failures."""
    entries = tomllib.loads(file.read_text(encoding="utf-8"))["known"]
    return [Known(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def compare(answers: Iterable[Answer], entries: Sequence[Known]) -> Verdict:
    """Put the results beside the list of known failures."""
    verdict = Verdict()
    matched: set[str] = set()
    run_modules = set()
    for answer in answers:
        run_modules.add(answer.module.removeprefix("object_detection."))
        for test, (outcome, reason) in answer.tests.items():
            verdict.counts[outcome] += 1
            if outcome != FAILED:
                continue
            name = test.removeprefix("object_detection.")
            hits = [(entry, pattern) for entry in entries for pattern in entry.tests if fnmatch.fnmatchcase(name, pattern)]
            matched.update(pattern for _, pattern in hits)
            if hits:
                verdict.by_reason[hits[0][0].reason] += 1
            else:
                verdict.unexpected.append(f"{name}: {reason}")
    verdict.passing = [
        pattern
        for entry in entries
        if not entry.sometimes
        for pattern in entry.tests
        if pattern not in matched and any(pattern.startswith(module + ".") for module in run_modules)
    ]
    return verdict


def report(answers: Sequence[Answer], verdict: Verdict) -> str:
    """Return the summary that is printed."""
    seconds, cpu = sum(answer.seconds for answer in answers), sum(answer.cpu for answer in answers)
    lines = [
        ", ".join(f"{name} {version}" for name, version in versions().items()),
        f"{len(answers)} files: {counted(verdict.counts)}; {seconds / 60:.0f} min, {cpu / 60:.0f} CPU minutes",
        *(f"  {number} known: {reason}" for reason, number in verdict.by_reason.most_common()),
        *(f"NOT KNOWN {line}" for line in verdict.unexpected),
        *(f"PASSES, take it off the list: {name}" for name in verdict.passing),
    ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, required=True, help="folder of results, one JSON file for each file of tests")
    made.add_argument(
        "--files", nargs="+", default=[], metavar="PATH", help="folders, files or patterns below object_detection/ (default: all)"
    )
    made.add_argument("--timeout", type=float, default=900, help="seconds of processor time a file may take (default: %(default)s)")
    made.add_argument("--again", action="store_true", help="run files that have a result, too")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tests and print what they gave."""
    args = parser().parse_args(argv)
    names = modules(args.files)
    if not names:
        raise SystemExit(f"No file of tests fits {', '.join(args.files)}.")
    answers = run(names, args.out.resolve(), timeout=args.timeout, again=args.again)
    verdict = compare(answers, known())
    print(report(answers, verdict))
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
