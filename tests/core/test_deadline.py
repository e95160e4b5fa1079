"""A process that a signal does not end by itself: stuck in a call of C, or with handlers that only take note."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pneumodet.core.deadline import EXIT_CODE, Deadline, interrupting
from pneumodet.core.invocation import command_runs

STUCK = """
import ctypes, os, signal, sys, threading
from pneumodet.core.deadline import Deadline
from pneumodet.core.invocation import command_runs
from pneumodet.core.signals import caught

number, met = int(sys.argv[1]), sys.argv[2] == "met"
with caught() as stop, command_runs(), Deadline(lambda: "The last checkpoint is that of step 7.", seconds=0.2) as deadline:
    if met:
        deadline.met()
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
    threading.Timer(60, os._exit, (3,)).start()  # what would happen without a deadline
    if met:
        threading.Timer(1, os._exit, (0,)).start()
    read, write = os.pipe()
    poll = ctypes.CDLL(None).poll
    while True:
        poll(None, 0, -1)  # as TensorFlow: no handler of Python's runs in it, and it begins anew
"""


def stuck(number, how="not"):
    return subprocess.run([sys.executable, "-c", STUCK, str(int(number)), how], capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_stuck_ends_and_says_what_is_kept(number):
    done = stuck(number)
    assert (done.returncode, done.stderr) == (EXIT_CODE, "\nThe last checkpoint is that of step 7.\n")


def test_what_must_not_be_cut_is_not():
    assert stuck(signal.SIGTERM, "met").returncode == 0


def test_without_a_signal_nothing_is_left_of_it():
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with command_runs(), Deadline(lambda: "", seconds=0.0):
        assert signal.set_wakeup_fd(-1) != -1
    now = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    assert now == before
    with interrupting(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_process_of_a_notebook_is_not_ended():
    before = signal.set_wakeup_fd(-1)
    with Deadline(lambda: "", seconds=0.0):
        assert signal.set_wakeup_fd(before) == -1


def test_in_a_thread_there_is_none():
    seen = []

    def work():
        with command_runs(), Deadline(lambda: ""), interrupting():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
