"""What an operating point is chosen for, as a user writes it.

parse_aim("sensitivity>=0.9")            # ("sensitivity", 0.9)
as_text("f1")                           # "gave the highest image-level F1"
"""

import re

from pneumodet.core.errors import ConfigError

AIMS = ("rsna", "f1", "sensitivity>=X", "fp_per_image<=X")
"""Aims as a user writes them; X is a number."""

# without sign and exponent, so that negative numbers, nan and inf are unknown aims
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"

_WITH_LEVEL = re.compile(rf"(?:(sensitivity)\s*>=|(fp_per_image)\s*<=)\s*{_NUMBER}")


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
    return name, level


def as_text(aim: str) -> str:
    """Return what a threshold has given that was chosen for an aim: "gave the highest RSNA metric".

    Raises:
      ConfigError: the aim is unknown.
    """
    name, level = parse_aim(aim)
    limit = f"{level:g}" if level is not None else ""
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
