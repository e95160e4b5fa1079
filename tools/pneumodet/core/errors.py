"""Errors that a user can fix. ``cli.console`` prints them as one line and exits with code 2."""

from pneumodet.core import invocation


class PneumodetError(Exception):
    """Base of every error whose message is meant for the user: what, where, and what to do."""

    def __str__(self) -> str:
        """Return the message, with commands in the form in which the user calls pneumodet."""
        return invocation.spelled(super().__str__())


class DataError(PneumodetError):
    """Radiographs, labels, records or detections that cannot be used as they are."""


class ConfigError(PneumodetError):
    """A pipeline.config, an override or a flag that names something that does not exist or does not fit."""


class CheckpointError(PneumodetError):
    """A checkpoint or exported model that is missing or does not fit the model."""


class EnvironmentProblem(PneumodetError):
    """A missing or broken package, device or disk; ``pneumodet doctor`` reports how to fix it."""


class TrainingError(PneumodetError):
    """Training that cannot continue, such as a loss that is no longer finite."""


class PneumodetWarning(UserWarning):
    """What a user of the Python API should know of a result; commands print it by themselves."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without its full stop, to stand in a sentence; its class's name where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
