"""The lock of a run directory, between processes."""

import os
import socket
import subprocess
import sys
import time

import pytest

from m2s_lib.errors import M2SError
from m2s_lib.runs.records.locks import FolderLock

HOLD = """
import sys, time
from m2s_lib.runs.records.locks import FolderLock
FolderLock(sys.argv[1], "a test").acquire()
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/run/.lock; call with the seconds it lives."""
    started = []

    def start(seconds: float) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(tmp_path / "run" / ".lock"), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_second_process_is_told_who_is_first(tmp_path, holder):
    process = holder(60)
    lock = FolderLock(tmp_path / "run" / ".lock", "me")
    with pytest.raises(M2SError) as error:
        lock.acquire()
    message = str(error.value)
    assert (
        f"{tmp_path / 'run'} is in use by process {process.pid} on host {socket.gethostname()} since 2"
        in message
    )
    assert "(a test)" in message
    process.kill()  # a killed holder leaves no stale lock
    process.wait()
    with lock.acquire():
        assert f'"pid": {os.getpid()}' in lock.path.read_text()


def test_waiting_for_a_holder_that_ends(tmp_path, holder):
    holder(1)
    start = time.monotonic()
    with FolderLock(tmp_path / "run" / ".lock", "me").acquire(wait_s=20):
        assert time.monotonic() - start < 20


def test_the_same_process_may_take_it_again_and_lets_go(tmp_path, holder):
    first = FolderLock(tmp_path / "run" / ".lock", "me").acquire()
    second = FolderLock(tmp_path / "run" / ".lock", "me").acquire()
    first.release()  # has been let go already: harmless
    second.release()
    second.release()
    assert holder(60).poll() is None
