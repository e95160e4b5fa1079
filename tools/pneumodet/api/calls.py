"""What all functions of the API have in common: how they are called, and how they refuse.

@calls.public
def convert(...): ...                        # a package that is missing is a PneumodetError, TensorFlow's messages are hidden

convert(..., val_frac=0.2)                   # TypeError: convert() has no setting 'val_frac'. Did you mean 'val_fraction'?
in_python("Give --overwrite.", convert)      # "Give overwrite=True.", as messages of the library name what commands have
"""

import functools
import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_args

from pneumodet.core import given, invocation, logs, packages, resources, suggest
from pneumodet.core.errors import ConfigError, PneumodetError, PneumodetWarning

P = ParamSpec("P")
T = TypeVar("T")

Given = given.Given

KEYWORDS = {
    "score_threshold": "threshold",
    "rsna_rules": "rules",
    "trust_model": "trust",
    "output_dir": "output",
    "run": "model",
    "dicom_dir": "images",
    "image_dir": "images",
    "input": "images",
    "set": "settings",
    "for": "for_config",
}
"""Flags, written as keywords, -> keywords of other names; a function that has one like the flag means that."""

_FLAG = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)(?![\w-])(?: (\d+(?:\.\d+)?)\b)?")
_COMMAND = re.compile(r"((?:\btools/[a-z_]+\.py|\bpneumodet [a-z-]+(?= --)).*?(?=[.;](?:\s|$)|$))")
"""What is to be typed, with its own flags, up to the end of the sentence."""


def public(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function as users call it.

    A keyword that it does not have is a TypeError with the nearest of those that it has; a package that is not installed is an ``EnvironmentProblem``
    that says how to install it. Messages that name flags name keywords instead, except where a command calls.
    """
    known = keywords(function)

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in known:
                raise TypeError(f"{function.__name__}() has no setting {name!r}. {suggest.sentence(name, known)}")
        logs.hide_tensorflow()
        try:
            return function(*args, **kwargs)
        except PneumodetError as error:
            if invocation.from_python():
                error.args = tuple(in_python(one, function) if isinstance(one, str) else one for one in error.args)
            raise
        except ModuleNotFoundError as error:
            if not packages.is_foreign(error):
                raise
            raise packages.missing(error) from error

    return called


def keywords(function: Callable[..., Any]) -> list[str]:
    """Return the keywords that a function takes: its own, and those of the TypedDict that its ``**settings`` are unpacked from."""
    return list(_types(function))


def _types(function: Callable[..., Any]) -> dict[str, Any]:
    types: dict[str, Any] = {}
    for one in inspect.signature(function).parameters.values():
        if one.kind is one.VAR_KEYWORD:
            (settings,) = get_args(one.annotation)
            types |= settings.__annotations__
        elif one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) and one.name != "self":
            types[one.name] = one.annotation
    return types


def in_python(text: str, function: Callable[..., Any]) -> str:
    """Return a message of the library, which names flags of commands, with the keywords of a function; flags that it does not have stay, as do commands."""
    types = _types(function)

    def named(flag: re.Match[str]) -> str:
        name = flag[1].replace("-", "_")
        name = name if name in types else KEYWORDS.get(name, "")
        if name not in types:
            return flag[0]
        value = flag[2] or ("True" if types[name] in (bool, "bool") else "")
        return f"{name}={value}" if value else name

    # split at a group: commands are every second part
    return "".join(part if number % 2 else _FLAG.sub(named, part) for number, part in enumerate(_COMMAND.split(text)))


def made(kind: type[T], settings: Mapping[str, Any], **more: Any) -> T:
    """Return a dataclass of the settings that a call gives; None leaves a default.

    Args:
      kind: the dataclass.
      settings: field -> value.
      more: further fields.

    Raises:
      ConfigError: a value is not allowed.
    """
    return kind(**{name: value for name, value in settings.items() if value is not None}, **more)


def file(value: Given | None, what: str) -> Any:
    """Return a file that exists, None for None, or a URL, which the Beam runner takes in a path's place."""
    return None if value is None else given.file(value, what=what)


def file_or_folder(value: Given | None, what: str) -> Any:
    """Return a file or folder that exists, otherwise as ``file``."""
    return None if value is None else given.file_or_folder(value, what=what)


def files(settings: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return settings in which those that are files are checked."""
    return {name: file(value, name) if name in names else value for name, value in settings.items()}


def is_path(value: object) -> bool:
    """Whether a value is a path, or the name of a run."""
    return isinstance(value, str | os.PathLike)


def each(value: Any) -> list[Any]:
    """Return one or several of something as a list."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


def choice(value: str, allowed: Sequence[str], what: str) -> str:
    """Return a value that is allowed.

    Raises:
      ConfigError: it is not.
    """
    if value not in allowed:
        raise ConfigError(f"{what}: there is no {value!r}. {suggest.sentence(value, allowed)}")
    return value


def warn(texts: Iterable[str], function: Callable[..., Any]) -> None:
    """Warn of what a caller of a function of the API should know, at the line of the caller's own code."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and Path(frame.f_code.co_filename).is_relative_to(resources.PACKAGE):
        level, frame = level + 1, frame.f_back
    for text in texts:
        warnings.warn(invocation.spelled(in_python(text, function)), PneumodetWarning, stacklevel=level)
