"""highdicom, imported where an object is made: it takes a second, and a plain installation does without it."""

import importlib.util
from typing import Any

from pneumodet.core.errors import EnvironmentProblem

_MISSING = "DICOM objects are written with the package highdicom, which is not installed. Run: pip install 'pneumodet[dicom]'"


def check() -> None:
    """Check that highdicom is installed, without importing it.

    Raises:
      EnvironmentProblem: it is not.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise EnvironmentProblem(_MISSING)


def highdicom() -> Any:
    """Return the module highdicom, which mypy reads without types, with its parts for presentation states, secondary captures and structured reports.

    Raises:
      EnvironmentProblem: it is not installed.
    """
    try:
        import highdicom.color
        import highdicom.pr
        import highdicom.sc
        import highdicom.sr
    except ImportError as error:
        raise EnvironmentProblem(_MISSING) from error
    return highdicom
