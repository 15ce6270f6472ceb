"""Engines without Ray: what they are called, what this machine does, what is said when Ray is missing."""

import socket
import subprocess
import sys

import pytest

from m2s_lib.engine import LocalEngine, open_engine
from m2s_lib.errors import M2SError
from m2s_lib.parallel import Unseen
from tests.helpers.engine_work import makes_reader, writes
from tests.helpers.worlds import digests


def test_engines_by_name(monkeypatch):
    assert open_engine().name == open_engine("local").name == "local"
    with pytest.raises(M2SError, match="engine is 'dask': choose 'local' or 'ray'"):
        open_engine("dask")
    with pytest.raises(M2SError, match="ray_address is 'auto', but engine is 'local': set engine to 'ray'"):
        open_engine("local", "auto")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(M2SError, match=r"engine 'ray' needs Ray .*pip install -e '\.\[ray\]'"):
        open_engine("ray")


@pytest.mark.ray
def test_there_is_no_cluster_at_an_address():
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody's, once it is closed
    for address, message in {
        f"127.0.0.1:{port}": rf"no Ray cluster at ray_address '127.0.0.1:{port}' .*refused.*: start one with",
        "ray://head:10001": "is a client address, which Ray Data does not serve: .* with 'auto' or host:port",
        "head": "no Ray cluster at ray_address 'head'",
    }.items():
        with pytest.raises(M2SError, match=message):
            open_engine("ray", address)


def test_this_machine_does_both_kinds_of_work(tmp_path):
    engine = LocalEngine()
    assert dict(engine.apart(writes, [3, 4], tmp_path, workers=1)) == {0: 6, 1: 8}
    assert sorted(digests(tmp_path)) == ["3.txt", "4.txt", "more/3.bin", "more/4.bin"]
    with pytest.raises(ValueError, match="thirteen"):
        list(engine.apart(writes, [13], tmp_path))
    items = [(str(tmp_path / "3.txt"), None), ("", "given")]
    assert list(engine.prepared(makes_reader, items, None)) == [(0, "3"), (1, "given")]
    with pytest.raises(Unseen, match="does not see /nowhere/a: put it on a disk"):
        list(engine.prepared(makes_reader, [("/nowhere/a", None)], None))
    engine.close()


def test_nothing_of_ray_is_imported_for_this_machine(tmp_path):
    code = """
import sys
import m2s_lib.films.store.ingest, m2s_lib.method.shot_features
import m2s_lib.mining.scene_mining, m2s_lib.runs.sweep.sweep
from m2s_lib.engine import open_engine
from tests.helpers.engine_work import makes_reader
assert list(open_engine("local").prepared(makes_reader, [("", "x")], None)) == [(0, "x")]
print([name for name in sys.modules if name == "ray" or name.startswith("ray.")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.fault
def test_a_process_ends_when_its_parent_is_killed(tmp_path):
    child = "import os, time; from m2s_lib.parallel import end_with_parent; end_with_parent({}, 0.05)"
    code = f"""
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "{child}; print(1, flush=True); time.sleep(600)".format(
    os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    # its output ends when the child, which shares the pipe for errors, has ended too
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert int(done.stdout) > 0
    assert not done.stderr
