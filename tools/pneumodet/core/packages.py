"""What is to be done about a package that is not installed: one sentence for commands and for Python.

raise packages.missing("tensorflow") from error
"""

from pneumodet.core.errors import EnvironmentProblem

EXTRA = "train"
"""The extra of setup.cfg that brings a package which is missed only while something runs; what needs another extra says so itself."""


def is_foreign(error: ModuleNotFoundError) -> bool:
    """Return whether a module that is missing is of another package, which the user can install; one of pneumodet is a bug."""
    return _package(error) not in ("", "pneumodet")


def missing(error: ModuleNotFoundError) -> EnvironmentProblem:
    """Return the error that names the package and the command that installs it."""
    return EnvironmentProblem(
        f"This needs the package {_package(error)}, which is not installed here. Run in the checkout: make setup, or "
        f"pip install -c constraints.txt '.[{EXTRA}]'; python tools/doctor.py reports what else is missing."
    )


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]
