"""What is to be done about a package that is not installed: one sentence for commands and for Python.

raise packages.missing("tensorflow") from error
"""

from pneumodet.core import installation, invocation
from pneumodet.core.errors import EnvironmentProblem

EXTRA = "train"
"""The extra of setup.cfg that brings a package which is missed only while something runs; what needs another extra says so itself."""


def is_foreign(error: ModuleNotFoundError) -> bool:
    """Return whether a module that is missing is of another package, which the user can install; one of pneumodet is a bug."""
    return _package(error) not in ("", "pneumodet")


def missing(error: ModuleNotFoundError) -> EnvironmentProblem:
    """Return the error that names the package and the command that installs it."""
    # protobuf is a part of a package that it shares with others
    package = {"google": "protobuf"}.get(_package(error), _package(error))
    return EnvironmentProblem(
        f"This needs the package {package}, which is not installed here. Run: {installation.command(EXTRA)}; "
        f"{invocation.command('doctor')} reports what else is missing."
    )


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]
