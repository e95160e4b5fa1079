"""Calls with limits: what overruns them, or crashes, ends its own process and nothing else, and the next call is answered."""

import os
import signal
import sys
import threading
import time

import guarded_calls
import pytest

from pneumodet.core import guarded
from pneumodet.core.errors import DataError
from pneumodet.core.guarded import Limits, Overrun

pytestmark = pytest.mark.skipif(not guarded.HAS_LIMITS, reason="there are no limits of memory on this system")

SOME = Limits(memory_bytes=1 << 28, cpu_seconds=5)


def test_a_call_is_answered_by_one_process_after_the_other():
    first = guarded.call(guarded_calls.number, limits=SOME)
    assert first != os.getpid()
    assert guarded.call(guarded_calls.number, limits=SOME) == first
    assert guarded.call(divmod, 7, 2, limits=SOME) == (3, 1)


def test_memory_is_limited_and_the_process_lives_on():
    first = guarded.call(guarded_calls.number, limits=SOME)
    assert guarded.call(guarded_calls.allocate, 100 << 20, limits=SOME) == 100 << 20
    with pytest.raises(Overrun, match="more than 256 MB of memory"):
        guarded.call(guarded_calls.allocate, 1 << 30, limits=SOME)
    assert guarded.call(guarded_calls.number, limits=SOME) == first


def test_time_is_limited_and_a_new_process_takes_its_place():
    first = guarded.call(guarded_calls.number, limits=SOME)
    with pytest.raises(Overrun, match="more than 1 s"):
        guarded.call(guarded_calls.spin, limits=Limits(1 << 28, 1))
    assert guarded.call(guarded_calls.number, limits=SOME) != first


def test_a_process_that_never_answers_is_ended(monkeypatch):
    monkeypatch.setattr(guarded, "LEAST_PATIENCE_S", 0.5)
    monkeypatch.setattr(guarded, "PATIENCE", 0.0)
    with pytest.raises(Overrun, match="more than 5 s"):
        guarded.call(time.sleep, 60, limits=SOME)


def test_a_crash_is_an_overrun():
    with pytest.raises(Overrun, match="crash"):
        guarded.call(guarded_calls.crash, limits=SOME)
    assert guarded.call(guarded_calls.number, limits=SOME)


def test_what_is_raised_comes_back():
    with pytest.raises(DataError, match="^a sentence$") as caught:
        guarded.call(guarded_calls.refuse, limits=SOME)
    assert caught.value.__cause__ is None, "a cause may quote what is in the file"


def test_a_process_that_was_killed_while_it_waited_is_replaced():
    first = guarded.call(guarded_calls.number, limits=SOME)
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert guarded.call(guarded_calls.number, limits=SOME) != first


def test_calls_of_several_threads_are_not_mixed_up():
    answers = {}

    def ask(index):
        answers[index] = [guarded.call(int, f"{index * 100 + turn}", limits=SOME) for turn in range(20)]

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(4)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    assert answers == {index: [index * 100 + turn for turn in range(20)] for index in range(4)}


def test_a_fork_does_not_share_the_line():
    first = guarded.call(guarded_calls.number, limits=SOME)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, f"{guarded.call(guarded_calls.number, limits=SOME)}".encode())
        guarded.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 20)) != first
    assert guarded.call(guarded_calls.number, limits=SOME) == first


def test_elsewhere_it_is_an_ordinary_call(monkeypatch):
    monkeypatch.setattr(guarded, "HAS_LIMITS", False)
    assert guarded.call(guarded_calls.number, limits=SOME) == os.getpid()


def test_the_script_of_the_user_is_not_run_again(tmp_path):
    import subprocess

    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path[:] = {sys.path!r}\nfrom pneumodet.core import guarded\nimport operator\n"
        "print('ran')\nprint(guarded.call(operator.add, 1, 2, limits=guarded.Limits(1 << 28, 5)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ran", "3"] and done.stderr == ""
