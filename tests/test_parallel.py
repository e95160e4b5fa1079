"""Work spread over processes."""

import os
import signal

import pytest

from pneumodet import parallel
from pneumodet.errors import DataError


def square(number):
    return number * number


def fail(number):
    raise DataError(f"no {number}")


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_every_item_is_done_once(workers):
    assert sorted(parallel.run(square, range(20), workers=workers)) == [number * number for number in range(20)]
    assert list(parallel.run(square, [], workers=workers)) == []


def test_one_item_stays_in_this_process():
    assert list(parallel.run(lambda item: item, ["not to be pickled"], workers=2)) == ["not to be pickled"]


def test_what_a_worker_raises_reaches_the_caller():
    with pytest.raises(DataError, match=r"^no \d$"):
        list(parallel.run(fail, range(5), workers=2))


def test_a_killed_worker_is_told():
    with pytest.raises(DataError, match="A worker process was killed, most likely because memory ran out"):
        list(parallel.run(die, range(5), workers=2))


def test_cpus():
    assert 1 <= parallel.cpus() <= os.cpu_count()
