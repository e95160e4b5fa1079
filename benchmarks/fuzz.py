"""Every reader of files that strangers may have made, with damaged and forged ones, for a bounded time: a result or a sentence, and nothing else.

    python benchmarks/fuzz.py --seconds 600
    python benchmarks/fuzz.py --seconds 60 --only yolo voc --seed 7

Examples are made here, of synthetic radiographs. Of each a few bytes, words, numbers or fields are changed by chance (``--seed``), and what comes of that
is read as a command would. That is done in a process with a limit of memory, of which another one sees how it ends. Counted are inputs, those that were
read, those that were refused (a PneumodetError) and all else: an exception of another kind, more than ``CPU_SECONDS`` of the processor, the end of the
process. Of these the input and the traceback are kept in ``--out``, one for each place in the code. The exit code is 1 where there is one.
"""

import argparse
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests")]

MEMORY_BYTES = 8 << 30
"""Of addresses: TensorFlow alone, which reads pipeline.config, has some."""

CPU_SECONDS = 30
WALL_SECONDS = 600.0

CURRENT, LOG = "current", "log"
"""Files: of the input that is being read, and of what readers write about them."""

COUNTED = ("inputs", "read", "refused", "other")

NONE_SUCH = "none such"
"""Sent in place of a reader's name: a word of ``--only`` fits none."""


class TooSlow(BaseException):
    """An input takes more than ``CPU_SECONDS``; no handler for errors may take it for one."""


def work(line: Connection, folder: Path, seed: int, only: list[str], findings: Path) -> None:
    """Read inputs until ended; every input's name and outcome go into the line, before and after it is read."""
    with open(findings / LOG, "ab") as log:
        os.dup2(log.fileno(), 2)  # decoders in C write about each damaged file
    import fuzz_readers
    import json_formats

    from pneumodet.core.errors import PneumodetError
    from pneumodet.inference import backends

    real, chance = backends.open_file, random.Random(seed)
    every = fuzz_readers.readers(folder)
    if refusal := unknown(every, only):
        line.send((NONE_SUCH, refusal))
        return
    chosen = {name: one for name, one in every.items() if not only or any(word in name for word in only)}
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    def too_slow(*_: object) -> None:
        raise TooSlow(f"more than {CPU_SECONDS} s")

    signal.signal(signal.SIGPROF, too_slow)
    line.send(("", "ready"))
    while True:
        for name, reader in chosen.items():
            data = reader.make(chance)
            (folder / CURRENT).write_bytes(data)
            line.send((name, ""))
            opens = real if name == "model.onnx" else json_formats.answers
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            try:
                with mock.patch.object(backends, "open_file", opens):
                    reader.use(data)
                outcome = "read"
            except PneumodetError as error:
                outcome = "refused" if "\n" not in str(error).strip() else keep(findings, name, data, error)
            except (Exception, TooSlow) as error:
                outcome = keep(findings, name, data, error)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            line.send((name, outcome))


def unknown(names: Iterable[str], only: list[str]) -> str:
    """Return a sentence where a word fits no reader's name, "" where each fits one."""
    names = list(names)
    strange = [word for word in only if not any(word in name for name in names)]
    return f"No reader has {' or '.join(map(repr, strange))} in its name. There are: {'; '.join(names)}." if strange else ""


def keep(findings: Path, name: str, data: bytes, error: BaseException | None, what: str = "") -> str:
    """Keep an input and its traceback where there is none of that place yet; return the outcome."""
    frames = traceback.extract_tb(error.__traceback__) if error else []
    ours = [frame for frame in frames if "pneumodet" in frame.filename]
    place = f"{Path(ours[-1].filename).name}-{ours[-1].lineno}" if ours else what
    path = findings / re.sub(r"\W+", "-", f"{name}-{type(error).__name__ if error else 'end'}-{place}")
    if not path.exists():
        path.write_bytes(data)
        text = "".join(traceback.format_exception(error)) if error else what
        path.with_name(path.name + ".txt").write_text(text, errors="replace")
    return "other"


def fuzz(args: argparse.Namespace) -> dict[str, dict[str, int]]:
    """Read inputs for the time that was asked for; return reader -> outcome -> how many."""
    counts: dict[str, dict[str, int]] = {}

    def count(name: str, outcome: str) -> None:
        of_reader = counts.setdefault(name, dict.fromkeys(COUNTED, 0))
        of_reader["inputs"] += 1
        of_reader[outcome] += 1

    start, turn, end = multiprocessing.get_context("spawn"), 0, float("inf")
    while time.monotonic() < end:
        ours, theirs = start.Pipe()
        with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
            folder = Path(made)
            process = start.Process(target=work, args=(theirs, folder, args.seed + 1000 * turn, args.only, args.out))
            process.start()
            theirs.close()
            name, turn = "", turn + 1
            try:
                while time.monotonic() < end:
                    if not ours.poll(WALL_SECONDS):
                        raise EOFError
                    name, outcome = ours.recv()
                    if name == NONE_SUCH:
                        raise SystemExit(outcome)
                    end = min(end, time.monotonic() + args.seconds)  # from the first that is ready
                    if outcome in COUNTED:
                        count(name, outcome)
            except (EOFError, OSError):
                process.kill()
                process.join()
                if not name:
                    raise SystemExit(f"The examples cannot be made; see {args.out / LOG}.") from None
                count(name, keep(args.out, name, (folder / CURRENT).read_bytes(), None, f"the process ended with {process.exitcode}"))
            process.kill()
            process.join()
    return counts


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seconds", type=float, default=600.0, help="default %(default)s")
    made.add_argument("--only", nargs="+", default=[], metavar="WORD", help="readers whose names have one of these")
    made.add_argument("--out", type=Path, default=Path("findings"), help="folder for what went wrong (default %(default)s)")
    made.add_argument("--seed", type=int, default=0)
    return made


def main(argv: list[str] | None = None) -> int:
    """Fuzz, and print the table."""
    args = parser().parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    counts = fuzz(args)
    counts["all"] = {key: sum(one[key] for one in counts.values()) for key in COUNTED}
    print("| reader | inputs | read | refused | other |\n| --- | ---: | ---: | ---: | ---: |")
    for name, one in counts.items():
        print(f"| {name} | " + " | ".join(f"{one[key]:,}" for key in COUNTED) + " |")
    return 1 if counts["all"]["other"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
