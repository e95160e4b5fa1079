"""What the tests of ``core.guarded`` call in other processes, which import nothing else for it."""

import os
import signal

from pneumodet.core.errors import DataError


def allocate(count):
    return len(bytearray(count))


def spin():
    while True:
        pass


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse():
    try:
        raise KeyError("cause")
    except KeyError as error:
        raise DataError("a sentence") from error


def number():
    return os.getpid()
