"""A run that is killed or interrupted leaves no half file and goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest

from m2s_lib.io import read_json

pytestmark = [pytest.mark.fault, pytest.mark.slow]


def start(root, *more: str) -> subprocess.Popen:
    """`m2s run toy` in a process of its own, dawdling a second a number."""
    command = [
        sys.executable,
        "-m",
        "m2s_lib.runs.cli",
        "run",
        "toy",
        "--only",
        "01",
        "-p",
        "01.sleep_s=1",
        *more,
    ]
    return subprocess.Popen(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_hear_interrupts,
    )


def _hear_interrupts() -> None:
    """Tests that run in a shell's background ignore interrupts, and a child would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(path, seconds=60) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.05)


def test_a_killed_run_starts_again_and_keeps_what_is_done(toy):
    folder = toy / "runs/toy/01_numbers"
    process = start(toy)
    wait_for(folder / "parts/1.json")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert read_json(folder / "run.json")["status"] == "running"
    before = (folder / "parts/0.json").stat().st_mtime_ns
    again = start(toy)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "(did not finish)" in out
    assert read_json(folder / "run.json")["status"] == "done"
    assert (folder / "parts/0.json").stat().st_mtime_ns == before
    assert not [p for p in folder.rglob("*") if p.name.endswith(".tmp")]


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(toy, sent, status):
    folder = toy / "runs/toy/01_numbers"
    process = start(toy)
    wait_for(folder / "parts/0.json")
    pid = read_json(folder / "run.json")["pid"]
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert "m2s: interrupted; to go on: m2s run toy --only 01 -p 01.sleep_s=1" in err
    assert "Traceback" not in err
    time.sleep(0.5)
    with pytest.raises(ProcessLookupError):  # its kernel is gone too
        os.kill(pid, 0)
