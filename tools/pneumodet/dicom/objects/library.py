"""highdicom, imported where an object is made: it takes a second, and a plain installation does without it."""

import importlib.util
from typing import Any

from pneumodet.core import installation
from pneumodet.core.errors import EnvironmentProblem


def check() -> None:
    """Check that highdicom is installed, without importing it.

    Raises:
      EnvironmentProblem: it is not.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise _missing()


def highdicom() -> Any:
    """Return the module highdicom, which mypy reads without types, with its parts for each kind of object.

    Raises:
      EnvironmentProblem: it is not installed.
    """
    try:
        import highdicom.color
        import highdicom.pr
        import highdicom.sc
        import highdicom.seg
        import highdicom.sr
    except ImportError as error:
        raise _missing() from error
    return highdicom


def _missing() -> EnvironmentProblem:
    return EnvironmentProblem(
        f"DICOM objects are written with the package highdicom, which is not installed. Run: {installation.command('dicom')}"
    )
