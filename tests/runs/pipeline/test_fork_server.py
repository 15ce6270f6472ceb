"""Kernels that are forked: what they have of their own, and what happens without them."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from m2s_lib.io import read_json
from m2s_lib.runs.pipeline import fork_server
from m2s_lib.runs.pipeline.pipeline import run_profile
from tests.helpers.toy_project import notebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")
RUN_DIR = 'run_dir = "r"  # folder | the run'
ABOUT = """
import atexit, json, os, sys
import fractions
from m2s_lib.runs import open_stage
about = {"parent": os.getppid(), "session": os.getsid(0) == os.getpid(), "cwd": os.getcwd(),
         "hash": hash("a"), "root": os.environ["M2S_ROOT"], "backend": os.environ["MPLBACKEND"]}
"""
WORK = """
stage = open_stage("0N_about", globals())
filled = bytearray(MB * 1_000_000)
sys.stderr.flush(); os.write(2, b"last words")
print(open(f"{stage.folder}/kernel.log").read())
stage.path("about.json").write_text(json.dumps(about))
atexit.register(stage.path("ended.txt").write_text, "orderly")
stage.finish({})
"""


@pytest.fixture
def project(toy):
    """Two notebooks that write down what they are run in; the first fills 300 MB of memory."""
    for path in (toy / "notebooks").iterdir():
        path.unlink()
    for number, mb in (("01", 300), ("02", 1)):
        work = WORK.replace("0N", number).replace("MB", str(mb))
        (toy / "notebooks" / f"{number}_about.ipynb").write_text(notebook(RUN_DIR, ABOUT, work))
    (toy / "data_manifests/profiles/toy.yaml").write_text("description: the toy")
    return toy


def run(project, **named) -> tuple[list[dict], list[float], str]:
    """What both kernels were, the peak memory of both, and what was printed."""
    stream = io.StringIO()
    run_dir = run_profile("toy", stream=stream, **named)
    stages = ("01_about", "02_about")
    peaks = [read_json(run_dir / stage / "run.json")["peak_memory_mb"] for stage in stages]
    return [json.loads((run_dir / s / "about.json").read_text()) for s in stages], peaks, stream.getvalue()


def test_forked_kernels_are_kernels_of_their_own(project):
    abouts, peaks, printed = run(project)
    server = fork_server.running().process.pid
    hashed = subprocess.run(
        [sys.executable, "-c", "print(hash('a'))"],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
    )
    for about in abouts:
        assert (about["parent"], about["session"]) == (server, True)
        assert (about["cwd"], about["root"]) == (str(project), str(project))
        assert about["backend"] == "module://matplotlib_inline.backend_inline"
        assert about["hash"] == int(hashed.stdout)
    assert printed.count("last words") == 2
    assert [p.read_text() for p in sorted(project.glob("runs/toy/*/ended.txt"))] == ["orderly"] * 2
    assert 50 < peaks[1] < peaks[0] - 250  # each stage's own


def test_one_server_serves_runs_of_the_same_environment(project, monkeypatch):
    run(project)
    first = fork_server.running()
    run(project, fresh=True)
    assert fork_server.running() is first
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    run(project, fresh=True)
    assert fork_server.running() not in (first, None)
    assert first.process.poll() is not None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run_profile("toy", only=["02"], fresh=True, stream=io.StringIO())  # for one stage it is not worth it
    assert fork_server.running() is None


def test_without_a_fork_server_kernels_are_ordinary(project, monkeypatch):
    monkeypatch.setenv("M2S_FORK", "0")
    abouts, _, printed = run(project)
    assert [about["parent"] for about in abouts] == [os.getpid()] * 2
    assert printed.count("last words") == 2


def test_a_server_that_has_died_is_done_without(project, monkeypatch):
    begin, killed = fork_server.start, []

    def start_and_kill(*request):
        begin(*request)
        if server := fork_server.running():  # none is started for the last stage
            os.kill(server.process.pid, signal.SIGKILL)
            killed.append(server)

    monkeypatch.setattr(fork_server, "start", start_and_kill)
    abouts, _, _ = run(project)
    assert len(killed) == 1
    assert [about["parent"] for about in abouts] == [os.getpid()] * 2


def test_a_server_imports_what_the_notebooks_import(project):
    assert fork_server.imports(project / "notebooks" / "01_about.ipynb") == {
        "atexit", "json", "os", "sys", "fractions", "m2s_lib.runs", "m2s_lib.runs.open_stage",
    }  # fmt: skip
