"""What an operating point is chosen for, as a user writes it.

parse_aim("sensitivity>=0.9")            # ("sensitivity", 0.9)
as_text("f1")                           # "gave the highest image-level F1"
"""

import re

from pneumodet.core.errors import ConfigError

AIMS = ("rsna", "f1", "sensitivity>=X", "sensitivity>=X@C%", "fp_per_image<=X")
"""Aims as a user writes them; X is a number, and C the confidence with which it is to be reached."""

FIGURES = {"sensitivity": "image.sensitivity", "fp_per_image": "lesion.fp_per_image"}
"""Name of an aim with a level -> the figure that has to reach it."""

# without sign and exponent, so that negative numbers, nan and inf are unknown aims
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"

_WITH_LEVEL = re.compile(rf"(?:(sensitivity)\s*>=|(fp_per_image)\s*<=)\s*{_NUMBER}(?:\s*@\s*{_NUMBER}\s*%)?")


def parse_aim(aim: str) -> tuple[str, float | None]:
    """Return (name, level): ``("rsna", None)``, ``("f1", None)``, ``("sensitivity", 0.9)`` or ``("fp_per_image", 0.5)``.

    Raises:
      ConfigError: the aim is unknown, a sensitivity is not in (0, 1], or a rate is negative.
    """
    text = aim.strip()
    if text in ("rsna", "f1"):
        return text, None
    match = _WITH_LEVEL.fullmatch(text)
    if not match:
        raise ConfigError(f"Unknown aim {aim!r} of an operating point. Aims: {', '.join(AIMS)}, for example sensitivity>=0.9.")
    name, level = match[1] or match[2], float(match[3])
    if name == "sensitivity" and not 0 < level <= 1:
        raise ConfigError(f"The aim {aim!r} asks for a sensitivity outside (0, 1]. Write a fraction, for example sensitivity>=0.9.")
    if match[4] and (name != "sensitivity" or not 50 <= float(match[4]) < 100 or level == 1):
        raise ConfigError(
            f"The aim {aim!r} cannot be reached with a confidence: only a sensitivity below 1 can, and from 50 % on, for example sensitivity>=0.9@95%."
        )
    return name, level


def confidence_of(aim: str) -> float | None:
    """Return with which confidence an aim is to be reached, 0.95 of ``sensitivity>=0.9@95%``; None where it is to be reached on the exams at hand.

    Raises:
      ConfigError: as ``parse_aim``.
    """
    parse_aim(aim)
    match = _WITH_LEVEL.fullmatch(aim.strip())
    return float(match[4]) / 100 if match and match[4] else None


def as_text(aim: str) -> str:
    """Return what a threshold has given that was chosen for an aim: "gave the highest RSNA metric".

    Raises:
      ConfigError: the aim is unknown.
    """
    name, level = parse_aim(aim)
    limit = f"{level:g}" if level is not None else ""
    if confidence := confidence_of(aim):
        return f"was the highest with an image sensitivity of at least {limit} with {confidence:.3g} confidence"
    return {
        "rsna": "gave the highest RSNA metric",
        "f1": "gave the highest image-level F1",
        "sensitivity": f"was the highest with an image sensitivity of at least {limit}",
        "fp_per_image": f"was the lowest with at most {limit} false positives an image",
    }[name]


def check_image_aim(aim: str) -> None:
    """Check what an operating point is chosen for.

    Raises:
      ConfigError: the aim is unknown, or is about boxes.
    """
    if parse_aim(aim)[0] not in ("f1", "sensitivity"):
        raise ConfigError(f"aim is {aim!r}, which is about boxes. Image-level aims: f1, sensitivity>=X, for example sensitivity>=0.9.")
