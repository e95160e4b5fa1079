"""What every command shares: absl flags beside argparse, dashes and underscores alike, one-line errors, exit codes.

    def build_parser() -> Parser: ...
    def run(args: argparse.Namespace) -> int: ...                       # imports its use-case here, so that --help answers at once
    def main(argv: Sequence[str] | None = None) -> int:
        return app.run(build_parser(), run, argv)

Exit codes: 0 done, 1 a bug (with its traceback), 2 something the user can fix, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

import argparse
import contextlib
import itertools
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from absl import app as absl_app
from absl import flags as absl_flags
from absl.flags import argparse_flags

import pneumodet
from pneumodet.core import given, invocation, logs, packages, signals, suggest
from pneumodet.core.errors import ConfigError, PneumodetError
from pneumodet.core.formatting import counted as counted  # commands call it console.counted

T = TypeVar("T")


class Parser(argparse_flags.ArgumentParser):
    """An argparse parser that knows absl's flags and takes ``--dicom_dir`` for ``--dicom-dir``."""

    prog: str

    def __init__(self, prog: str, description: str, epilog: str = "") -> None:
        # no abbreviations: one that is unique today is ambiguous once a flag is added, and scripts that use it break
        super().__init__(
            prog=prog, description=description, epilog=epilog, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        # with its folder, since a checkout and an installed copy may have the same version
        package = Path(pneumodet.__file__).parent
        self.add_argument("--version", action="version", version=f"pneumodet {pneumodet.__version__} ({package})")
        self._given: list[str] = []
        self.add_argument("--verbose", action="store_true", help="show TensorFlow's own messages and warnings, and full tracebacks")

    def parse_known_args(self, args=None, namespace=None):
        """Parse as argparse does, after every flag was given the spelling that it is defined with."""
        args = sys.argv[1:] if args is None else list(args)
        self._given = [self._spelled(arg) for arg in args]
        return super().parse_known_args(self._given, namespace)

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, as for every other error, and not below twenty of usage; exit code 2."""
        about_flags = message.startswith(("unrecognized arguments", "the following arguments are required"))
        # what comes after -- is for another program
        given = itertools.takewhile(lambda arg: arg != "--", self._given)
        unknown = next((name for arg in given if (name := _flag(arg)) and name not in self._option_string_actions), None)
        # a required flag that is missing is often there, with a letter too few
        if about_flags and unknown:
            shown = [name for name, action in self._option_string_actions.items() if action.help != argparse.SUPPRESS]
            message = f"there is no flag {unknown}{suggest.clause(unknown, shown)}"
        ended = message if message.endswith((".", "?")) else f"{message}."
        err(f"{self.prog}: error: {ended}" + (" --help lists the flags." if about_flags else ""))
        sys.exit(2)

    def _spelled(self, arg: str) -> str:
        name, equals, value = arg.partition("=")
        if not name.startswith("--") or name in self._option_string_actions:
            return arg
        # pneumodet's flags have dashes, absl's own have underscores
        for other in (name.replace("_", "-"), "--" + name[2:].replace("-", "_")):
            if other in self._option_string_actions:
                return other + equals + value
        return arg

    def format_usage(self) -> str:
        """Return the line of usage, with the command as the user calls it."""
        with self._called():
            return super().format_usage()

    def format_help(self) -> str:
        """Return the text of ``--help``, with all commands as the user calls them."""
        with self._called():
            return invocation.spelled(super().format_help())

    @contextlib.contextmanager
    def _called(self) -> Iterator[None]:
        # for these texts only: errors begin with the command's name alone
        name = self.prog
        self.prog = invocation.command(name)
        try:
            yield
        finally:
            self.prog = name


def quoted(path: Any) -> str:
    """Return a path as it is typed in a shell, for the commands that we print: one with a space in it stands in quotation marks."""
    return shlex.quote(str(path))


def out(text: str = "", *, flush: bool = False) -> None:
    """Print a text that may name commands (``python tools/NAME.py``) in the form in which the user calls pneumodet."""
    print(invocation.spelled(text), flush=flush)


def err(text: str) -> None:
    """Print to standard error, likewise."""
    print(invocation.spelled(text), file=sys.stderr)


def _flag(arg: str) -> str | None:
    """Return the name of what argparse takes for a flag; None for values, such as -1 and what has blanks."""
    name = arg.partition("=")[0]
    return name if name.startswith("-") and " " not in arg and name.strip("-")[:1].isalpha() else None


def run(parser: Parser, command: Callable[[argparse.Namespace], int | None], argv: Sequence[str] | None = None) -> int:
    """Parse ``argv``, run ``command`` under absl, and turn its outcome into an exit code.

    Args:
      parser: the command's parser.
      command: takes the parsed arguments; returns None or an exit code.
      argv: the arguments without the program's name; the process's own by default.

    Returns:
      The exit code.
    """
    argv = sys.argv[1:] if argv is None else list(argv)

    def parse(full_argv):
        args = parser.parse_args(full_argv[1:])
        # absl raises where a flag is read before they are marked as parsed
        if not absl_flags.FLAGS.is_parsed():
            absl_flags.FLAGS.mark_as_parsed()
        return args

    # handled inside of absl's run, which would end in a traceback
    def guarded(args: argparse.Namespace) -> int:
        logs.set_up(verbose=args.verbose)
        try:
            with invocation.command_runs():
                return command(args) or 0
        except PneumodetError as error:
            if args.verbose:
                raise
            err(f"{parser.prog}: error: {error}")
            return 2
        # a package that is missing is the user's to install; a module of pneumodet that is missing is a bug
        except ModuleNotFoundError as error:
            if args.verbose or not packages.is_foreign(error):
                raise
            err(f"{parser.prog}: error: {packages.missing(error)}")
            return 2
        except KeyboardInterrupt as stopped:
            number, name = (signal.SIGTERM, "SIGTERM") if terminated.is_set() else (signal.SIGINT, "Ctrl-C")
            err(f"\n{parser.prog}: stopped by {name}. {stopped}".rstrip())
            # as a shell has it
            return 128 + number
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output has gone (``… | head``): nothing to say and nobody to say it to
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes there at the end, or Python would return 120
            return 141

    try:
        with signals.terminable() as terminated:
            absl_app.run(guarded, argv=[parser.prog, *argv], flags_parser=parse)
    # absl's run always ends by sys.exit, argparse does on --help and on a wrong flag
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else (0 if done.code is None else 1)
    return 0


def say_where(name: str) -> None:
    """Say where a new run or study is written, where its name is a path that leads out of the workspace: ``../b`` is one."""
    from pneumodet.core import paths

    if where := paths.outside_workspace(paths.run_dir(name)):
        err(where)


def add_class_map(parser: Any) -> None:
    """Add ``--class-map`` to a parser or a group of it; ``class_map.parse`` takes its values."""
    parser.add_argument(
        "--class-map",
        action="append",
        default=[],
        metavar="NAME=CLASS",
        help='class of the labels and what it is: "Lung Opacity=pneumonia"; "Nodule=" leaves boxes out, "*=" all others; again for each',
    )


def add_trust(parser: Any) -> None:
    """Add ``--trust-model`` to a parser or a group of it."""
    parser.add_argument(
        "--trust-model",
        action="store_true",
        help="run a SavedModel that was not exported in this workspace: it is a program, and can read and write all that you can",
    )


def existing_dir(text: str) -> Path:
    """argparse type: a folder that exists."""
    return _as_type(given.folder, text)


def existing_file(text: str) -> Path | str:
    """argparse type: a file that exists; a URL is left as it is."""
    return _as_type(given.file, text)


def existing_path(text: str) -> Path | str:
    """argparse type: a file or folder that exists; a URL is left as it is."""
    return _as_type(given.file_or_folder, text)


def path(text: str) -> Path | str:
    """argparse type: a path that need not exist; ``~`` is the home folder, and a URL is left as it is."""
    return given.path(text)


def _as_type(check: Callable[[str], T], text: str) -> T:
    """Return what a check returns; what it refuses is argparse's to report, with the flag's name."""
    try:
        return check(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def model(text: str) -> Path:
    """argparse type: an exported model: its folder or file, the folder of its run, or the name of that."""
    from pneumodet.core import paths, runs

    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is a URL, but a model needs files of this computer")
    path = Path(text).expanduser()
    if paths.exists(path) or runs.is_run(path.parent):  # of a run without an export the reader says how to make one
        return path
    named = paths.workspace_dir() / text
    if paths.RUN_NAME.match(text) and runs.is_run(named):
        return named
    there = runs.names(runs.DETECTION)
    near = suggest.clause(text, there) if suggest.nearest(text, there) else given.near(path) or "."
    raise argparse.ArgumentTypeError(f"{text!r} is neither a path nor a run{near} Runs: {', '.join(there) or 'none'}")


def positive_int(text: str) -> int:
    """argparse type: a whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def fraction(text: str) -> float:
    """argparse type: a number in [0, 1]."""
    try:
        value = float(text)
    except ValueError:
        # NaN lies in no range, so that the check below refuses it
        value = float("nan")
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def positive_float(text: str) -> float:
    """argparse type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        # not a number is as wrong as a number that is too small: one message for both
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def whole_number(text: str) -> int:
    """argparse type: a whole number of at least 0."""
    return 0 if text == "0" else positive_int(text)
