"""Runs at URLs: what is fetched and pushed, who wins, who may work there, and that secrets stay unsaid."""

import io
import json
import shutil
import socket
import subprocess
import sys
import time

import fsspec
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.io import read_json
from m2s_lib.runs.cli import main
from m2s_lib.runs.pipeline.pipeline import StageFailed
from m2s_lib.runs.remote import remote_lock
from m2s_lib.runs.remote.remote import MANIFEST, RemoteRun, mirror_folder, opened_run_dir
from m2s_lib.runs.remote.remote_lock import NAME, RemoteLock
from tests.helpers.toy_project import ALL
from tests.helpers.worlds import digests

URL = "memory://bucket/run"


@pytest.fixture
def store(monkeypatch, tmp_path):
    """An empty object store in memory, as fsspec shows it; mirrors lie in tmp_path."""
    monkeypatch.setenv("M2S_CACHE", str(tmp_path / "cache"))
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def there(fs, root: str = "/bucket/run") -> dict[str, bytes]:
    """Files of the run at the URL: contents; without lock and manifest."""
    found = {path[len(root) + 1 :]: fs.cat_file(path) for path in fs.find(root)}
    return {name: content for name, content in found.items() if name not in (NAME, MANIFEST)}


def opened(url: str = URL, machine: str = "a", said: io.StringIO | None = None):
    return opened_run_dir(url, "a test", mirror_folder(url).parents[1] / machine, said or io.StringIO())


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_a_folder_is_itself(tmp_path):
    with opened_run_dir(tmp_path, "a test") as (folder, push):
        assert folder == tmp_path
        push()
    assert list(tmp_path.iterdir()) == []


def test_a_run_at_a_url_is_pushed_and_goes_on_elsewhere(store, ran, toy, monkeypatch, tmp_path, capsys):
    assert main(["run", "toy", "--run-dir", URL]) == 0
    assert ran == ALL
    out = capsys.readouterr().out
    assert f"3 stage(s) into {URL}" in out
    files = there(store)
    assert {f"{stage}/run.json" for stage in ALL} | {"report.html", "summary.json"} <= set(files)
    assert not [name for name in files if "lock" in name or name.endswith(".tmp")]
    assert not store.exists(f"/bucket/run/{NAME}")

    ran.clear()
    monkeypatch.setenv("M2S_CACHE", str(tmp_path / "another machine"))
    assert main(["run", "toy", "--run-dir", URL, "-p", "02.power=3"]) == 0
    assert ran == ALL[1:]  # the first stage was fetched, it is up to date
    assert json.loads(there(store)["02_sums/run.json"])["parameters"]["power"] == 3
    assert f"files fetched into {tmp_path / 'another machine'}" in capsys.readouterr().out


def test_a_failed_stage_is_pushed_and_the_way_on_names_the_url(store, ran, toy, monkeypatch, capsys):
    from m2s_lib.runs.pipeline import kernel

    usual = kernel.execute

    def execute(node, folder, *rest):
        if folder.name == "02_sums":
            write(folder, **{"half.txt": "half"})
            raise kernel.NotebookFailed("cell 3: no such number")
        usual(node, folder, *rest)

    monkeypatch.setattr(kernel, "execute", execute)
    assert main(["run", "toy", "--run-dir", URL]) == 1
    err = capsys.readouterr().err
    assert "cell 3: no such number" in err
    assert f"m2s run toy --run-dir {URL} --from 02" in err
    files = there(store)
    assert files["02_sums/half.txt"] == b"half"
    assert json.loads(files["02_sums/run.json"])["status"] == "failed"
    assert json.loads(files["01_numbers/run.json"])["status"] == "done"
    assert not store.exists(f"/bucket/run/{NAME}")


def test_only_what_changed_travels_and_what_is_gone_is_removed(store):
    said = io.StringIO()
    with opened(said=said) as (folder, push):
        write(folder, **{"01__run_json": "1", "01__a [x]*.txt": "a", "01__ü.txt": "b", ".lock": "mine"})
        write(folder, **{"01__.a.txt.1.tmp": "half"})
        push()
        assert there(store) == {"01/run.json": b"1", "01/a [x]*.txt": b"a", "01/ü.txt": b"b"}
        before = {path: info["created"] for path, info in store.find("/bucket/run", detail=True).items()}
        push()  # nothing has changed
        write(folder, **{"01__ü.txt": "c"})
        (folder / "01/a [x]*.txt").unlink()
    after = {path: info["created"] for path, info in store.find("/bucket/run", detail=True).items()}
    assert there(store) == {"01/run.json": b"1", "01/ü.txt": b"c"}
    assert after["/bucket/run/01/ü.txt"] != before["/bucket/run/01/ü.txt"]
    assert said.getvalue().count("files pushed") == 2
    assert "1 removed" in said.getvalue()
    with opened(machine="b") as (other, _):
        assert (other / "01/ü.txt").read_text() == "c"
        assert digests(other)["01/run.json"] == digests(folder)["01/run.json"]


def test_the_record_goes_first_and_comes_last(store, monkeypatch):
    """A push that dies leaves a stage without a record; the same machine then pushes the rest."""
    with opened() as (folder, push):
        write(
            folder, **{"01__run_json": "old", "01__a.txt": "old", "02__run_json": "kept", "02__b.txt": "kept"}
        )
    orders, real = [], RemoteRun._push_one

    def until(self, name):
        orders.append(name)
        if len(orders) == 3:
            raise OSError("the network is away")
        real(self, name)

    def dies():
        with opened() as (folder, push):
            write(folder, **{"01__run_json": "new", "01__a.txt": "new", "01__c.txt": "new"})
            push()

    with monkeypatch.context() as patch:
        patch.setattr(RemoteRun, "_push_one", until)
        with pytest.raises(StageFailed, match=f"{URL} cannot be .*the network is away.*computed is in"):
            dies()
    assert orders[2] == "01/run.json"
    half = there(store)
    assert "01/run.json" not in half
    assert half["02/run.json"] == b"kept"
    said = io.StringIO()
    with opened(said=said) as (folder, push):  # what was not pushed is still here
        assert (folder / "01/run.json").read_text() == "new"
    assert there(store) == {
        "01/run.json": b"new", "01/a.txt": b"new", "01/c.txt": b"new",
        "02/run.json": b"kept", "02/b.txt": b"kept",
    }  # fmt: skip
    assert "0 of" in said.getvalue()


def test_another_machine_wins_over_what_was_not_pushed(store):
    with opened() as (folder, push):
        write(folder, **{"01__a.txt": "first", "01__b.txt": "first", "01__c.txt": "first"})
    with opened(machine="b") as (other, push):
        write(other, **{"01__a.txt": "second"})
        (other / "01/c.txt").unlink()
    write(folder, **{"01__a.txt": "mine", "01__d.txt": "mine"})
    said = io.StringIO()
    with opened(said=said) as (folder, _):
        assert (folder / "01/a.txt").read_text() == "second"
        assert sorted(p.name for p in (folder / "01").iterdir()) == ["a.txt", "b.txt"]
    assert (
        "another machine has worked in memory://bucket/run since: 1 newer files here give way"
        in said.getvalue()
    )
    shutil.rmtree(folder / "01")  # a mirror that lost files does not remove them at the URL
    with opened() as (folder, _):
        assert (folder / "01/b.txt").read_text() == "first"
    assert there(store) == {"01/a.txt": b"second", "01/b.txt": b"first"}


def test_files_that_somebody_put_there_are_fetched(store):
    store.pipe({"/bucket/run/01/a.txt": b"by hand", "/bucket/run/01/run.json": b"{}"})
    with opened() as (folder, push):
        assert (folder / "01/a.txt").read_text() == "by hand"
        write(folder, **{"01__b.txt": "more"})
    assert set(there(store)) == {"01/a.txt", "01/b.txt", "01/run.json"}
    store.pipe_file(f"/bucket/run/{MANIFEST}", b"damaged")
    with opened(machine="b") as (other, _):
        assert (other / "01/b.txt").read_text() == "more"


def lock(fs, what="a test"):
    return RemoteLock(fs, f"/bucket/run/{NAME}", URL, what)


def test_a_second_run_is_told_who_is_first(store):
    first = lock(store)
    assert first.acquire() == ""
    try:
        with pytest.raises(M2SError) as error, opened():
            pass
        message = str(error.value)
        assert f"the run directory {URL} is in use by process " in message
        assert f"on host {socket.gethostname()} since 2" in message
        assert "(a test)" in message
        assert "after 300 s" in message
    finally:
        first.release()
        first.release()
    with opened():
        assert store.exists(f"/bucket/run/{NAME}")
    assert not store.exists(f"/bucket/run/{NAME}")


def test_a_stale_lock_is_taken_over_and_its_owner_stops(store, monkeypatch):
    first = lock(store, "the first")
    first.acquire()
    monkeypatch.setattr(remote_lock, "STALE_S", -1.0)
    second = lock(store, "the second")
    said = second.acquire()
    assert said.startswith(f"taking over {URL} from process ")
    assert "(the first), silent for 0 s" in said
    with pytest.raises(M2SError, match=r"is now that of process .*\(the second\).* Nothing more is written"):
        first.check()
    first.release()  # leaves the other's lock alone
    second.check()
    second.release()
    with pytest.raises(M2SError, match="is gone"):
        second.check()


def test_a_dead_process_of_this_machine_is_not_waited_for(store):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    holder = {"id": "x", "pid": dead.pid, "host": socket.gethostname(), "since": "then", "beat": time.time()}
    store.pipe_file(f"/bucket/run/{NAME}", json.dumps(holder).encode())
    mine = lock(store)
    assert f"from process {dead.pid}" in mine.acquire()
    mine.release()
    store.pipe_file(f"/bucket/run/{NAME}", json.dumps(holder | {"host": "elsewhere"}).encode())
    with pytest.raises(M2SError, match=f"in use by process {dead.pid} on host elsewhere since then"):
        lock(store).acquire()
    store.pipe_file(f"/bucket/run/{NAME}", b"{")  # cut short
    mine = lock(store)
    assert "taking over" in mine.acquire()
    mine.release()


def test_a_lock_shows_signs_of_life(store, monkeypatch):
    monkeypatch.setattr(remote_lock, "_RENEW_S", 0.01)
    mine = lock(store)
    mine.acquire()
    first, until = json.loads(store.cat_file(mine.path))["beat"], time.monotonic() + 20
    while json.loads(store.cat_file(mine.path))["beat"] == first:
        assert time.monotonic() < until
        time.sleep(0.005)
    mine.release()


def test_of_two_at_once_one_gives_way(store, monkeypatch):
    """Both saw no lock; the store creates an object only once."""
    first, second = lock(store, "the first"), lock(store, "the second")
    real, answers = RemoteLock._read, [{}]
    monkeypatch.setattr(RemoteLock, "_read", lambda self: answers.pop() if answers else real(self))
    first.acquire()
    answers.append({})
    with pytest.raises(M2SError, match=r"in use by .*\(the first\)"):
        second.acquire()
    first.release()


def test_secrets_are_not_said(tmp_path, monkeypatch):
    monkeypatch.setenv("M2S_CACHE", str(tmp_path))
    url = "ftp://user:s3cr3t@127.0.0.1:9/run?key=hidden"
    with pytest.raises(M2SError) as error, opened_run_dir(url, "a test"):
        pass
    assert "ftp://127.0.0.1:9/run cannot be read or written" in str(error.value)
    assert not [word for word in ("s3cr3t", "hidden", "user:") if word in str(error.value)]
    assert mirror_folder(url) == mirror_folder("ftp://127.0.0.1:9/run/")


def test_what_is_missing_or_unknown_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(M2SError, match="run directories at gs:// need another package .*pip install gcsfs"):
        with opened_run_dir("gs://bucket/run", "a test", tmp_path):
            pass
    with pytest.raises(M2SError, match="sss:// is no kind of place that fsspec"):
        with opened_run_dir("sss://bucket/run", "a test", tmp_path):
            pass


def test_what_cannot_be_at_a_url_says_so(toy, capsys):
    (toy / "rows.yaml").write_text('description: rows\nsettings:\n  x: {"01": {count: 2}}\n')
    assert main(["run", "./rows.yaml", "--run-dir", URL]) == 2
    assert "profile rows has settings, which share folders" in capsys.readouterr().err
    assert main(["prepare", "toy", "--out", "p", "--run-dir", "s3://me:pw@bucket/run"]) == 2
    err = capsys.readouterr().err
    assert "run_dir is the URL s3://bucket/run: only `m2s run` mirrors URLs" in err


def test_a_file_url_and_two_processes(toy, tmp_path):
    """Another process, as on another machine, with a mirror of its own."""
    url, said = f"file://{tmp_path}/far/run", []
    code = "import sys; from m2s_lib.runs.cli import main; sys.exit(main(sys.argv[1:]))"
    for machine in ("a", "b"):
        words = ["run", "toy", "--only", "01", "--run-dir", url, "--cache", str(tmp_path / machine)]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert "01_numbers  done" in said[0]
    assert "01_numbers  skipped (up to date)" in said[1]
    assert read_json(tmp_path / "far/run/01_numbers/run.json")["status"] == "done"


@pytest.mark.slow
def test_a_run_in_s3(ran, toy, monkeypatch, tmp_path, capsys):
    """moto's server on this machine; the run dies there and goes on from another mirror."""
    for package in ("s3fs", "moto.server", "flask"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install s3fs 'moto[server]'")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        import s3fs

        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        for machine in ("a", "b"):
            monkeypatch.setenv("M2S_CACHE", str(tmp_path / machine))
            assert main(["run", "toy", "--run-dir", "s3://bucket/some/run"]) == 0, capsys.readouterr().err
        assert ran == ALL  # once
        files = there(fs, "bucket/some/run")
        assert json.loads(files["03_table/run.json"])["status"] == "done"
        first = RemoteLock(fs, f"bucket/some/run/{NAME}", "s3://bucket/some/run", "first")
        first.acquire()
        assert main(["run", "toy", "--run-dir", "s3://bucket/some/run"]) == 2
        assert "s3://bucket/some/run is in use by process" in capsys.readouterr().err
        first.release()
    finally:
        server.stop()
