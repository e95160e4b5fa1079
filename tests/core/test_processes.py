"""Work spread over processes."""

import os
import signal
import subprocess
import sys

import pytest

from pneumodet.core import processes
from pneumodet.core.errors import DataError, EnvironmentProblem


def run(function, items, workers):
    with processes.Pool(workers) as pool:
        return list(pool.run(function, items))


def square(number):
    return number * number


def fail(number):
    raise DataError(f"no {number}")


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_every_item_is_done_once(workers):
    assert sorted(run(square, range(20), workers)) == [number * number for number in range(20)]
    assert list(run(square, [], workers)) == []


def test_one_item_stays_in_this_process():
    assert run(lambda item: item, ["not to be pickled"], 2) == ["not to be pickled"]


def test_what_a_worker_raises_reaches_the_caller():
    with pytest.raises(DataError, match=r"^no \d$"):
        run(fail, range(5), 2)


def test_a_killed_worker_is_told():
    with pytest.raises(EnvironmentProblem, match="A worker process was killed, most likely because memory ran out"):
        run(die, range(5), 2)


def test_a_pool_that_was_warmed_up_and_used_twice():
    with processes.Pool(2) as pool:
        pool.warm_up("pneumodet.core.paths")
        for _ in range(2):
            assert sorted(pool.run(square, range(5))) == [0, 1, 4, 9, 16]
    with processes.Pool(2) as pool:
        pool.warm_up("pneumodet.core.paths")  # and never used


LEFT = """
import sys, time
from pneumodet.core import processes as parallel
from slow_function import slow

with parallel.Pool(2) as pool:
    with parallel.starting():
        for _ in range(8):
            pool._started().submit(slow, bytes(1 << 20))  # more than a pipe holds: all the while one of them is being written
    time.sleep(1)
    sys.exit(7)
"""


def test_a_pool_that_is_left_while_large_items_wait_ends(tmp_path):
    """With Python 3.11.2, that of Debian 12, Ctrl-C in make_tfrecords never ended."""
    script = tmp_path / "left.py"
    script.write_text(LEFT)
    (tmp_path / "slow_function.py").write_text("import time\n\n\ndef slow(item):\n    time.sleep(1000)\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (7, "")


SCRIPT = """
from pneumodet.core import processes
print("once")
with processes.Pool(2) as pool:
    print(sorted(pool.run(abs, range(-3, 0))))
"""


def test_a_script_without_a_guard_is_not_run_by_its_workers(tmp_path):
    """As the guide shows the Python API. Each worker began the script anew and died of it, and the message was that memory ran out."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n[1, 2, 3]\n", "")


def test_the_script_is_there_again_once_processes_are_started():
    main = sys.modules["__main__"]
    with pytest.raises(OSError, match="no"), processes.starting():
        raise OSError("no")
    assert sys.modules["__main__"] is main


def test_cpus():
    assert 1 <= processes.cpus() <= os.cpu_count()
