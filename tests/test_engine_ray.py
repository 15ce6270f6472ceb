"""The same work on Ray: equal files, films and pairs; lost workers cost nothing but time."""

import contextlib
import io
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib import engine_ray
from m2s_lib.engine import LocalEngine, open_engine
from m2s_lib.errors import M2SError
from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.ingest import ingest_films
from m2s_lib.films.store.shot_store import open_stores
from m2s_lib.films.video.decoding import ScanConfig
from m2s_lib.io import write_parquet
from m2s_lib.method import shot_features
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.shot_features import encode_films
from m2s_lib.mining import shards as mining_shards
from m2s_lib.mining.scene_mining import mine_pairs
from m2s_lib.mining.similar_scenes import MiningConfig
from m2s_lib.runs.parameters.profiles import load_profile
from m2s_lib.runs.pipeline.pipeline import StageFailed
from m2s_lib.runs.sweep.sweep import run_sweep
from tests.helpers.engine_work import KillsItsself, KillsItsWorker, makes_reader, writes
from tests.helpers.ingest_tasks import fated
from tests.helpers.mining_films import corpus, every_pair
from tests.helpers.toy_project import write_project
from tests.helpers.videos import render
from tests.helpers.worlds import digests

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SMALL = ScanConfig(frame_size=32)
ROWS = """
description: rows
stages: ["01"]
settings:
  slow: {"01": {count: 2, sleep_s: 1.5}}
  shares: {"01": {count: 2, sleep_s: 1.5}}
  bad: {"01": {fail: true}}
"""


@pytest.fixture(scope="module")
def ray_engine():
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    engine = open_engine("ray")
    yield engine
    engine.close()


@pytest.fixture
def unshared(monkeypatch):
    """Workers that look for a token which is not there, as on a machine without the run's disk."""
    monkeypatch.setattr(engine_ray, "_token", lambda folder: contextlib.nullcontext("absent"))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for name, shots in {"one": (20, 20), "映画 été": (40,), "three": (20, 30, 20)}.items():
        render(folder / f"{name}.mp4", shots=shots)
    (folder / "text.mp4").write_text("not a film")
    return folder


@pytest.fixture(scope="module")
def local(films, tmp_path_factory):
    """What this machine makes of the films: the table, the folder."""
    out = tmp_path_factory.mktemp("local")
    return ingest_films(read_film_table(films), out, SMALL), out


def test_the_cluster_is_this_machine(ray_engine):
    assert (ray_engine.name, ray_engine.nodes) == ("ray", 1)
    assert ray_engine.cpus == ray_engine.node_cpus == len(os.sched_getaffinity(0))
    assert "CPUs" in repr(ray_engine)


def test_films_give_the_same_table_and_stores(ray_engine, films, local):
    table, out = local
    again = out.with_name("ray")
    found = ingest_films(read_film_table(films), again, SMALL, engine=ray_engine)
    pd.testing.assert_frame_equal(found, table)
    assert digests(again) == digests(out)  # no token left, no temporary


def test_films_of_workers_without_the_runs_disk(ray_engine, films, local, tmp_path, unshared):
    table, out = local
    pd.testing.assert_frame_equal(
        ingest_films(read_film_table(films), tmp_path, SMALL, engine=ray_engine), table
    )
    assert digests(tmp_path) == digests(out)


@pytest.mark.fault
def test_a_crash_and_a_hang_are_the_same_rows(ray_engine, films, tmp_path):
    for name in ("crash", "hang"):
        render(tmp_path / "films" / f"{name}.mp4", shots=(20,))
    table = read_film_table(tmp_path / "films")
    found = [
        ingest_films(table, tmp_path / "out", SMALL, task=fated, timeout_s=6, engine=engine)
        for engine in (None, ray_engine)
    ]
    pd.testing.assert_frame_equal(*found)
    assert found[1]["status"].eq("failed").all()


@pytest.mark.fault
def test_a_killed_worker_costs_its_film_which_is_done_again(ray_engine, films, local, tmp_path):
    table, out = local
    task = KillsItsWorker("three", str(tmp_path / "flag"))
    found = ingest_films(read_film_table(films), tmp_path / "out", SMALL, task=task, engine=ray_engine)
    assert (tmp_path / "flag").exists()
    pd.testing.assert_frame_equal(found, table)
    assert digests(tmp_path / "out") == digests(out)


def test_features_are_the_same_bits(ray_engine, local, tmp_path, monkeypatch):
    stores, encoder = open_stores(local[1] / "shots"), ShotEncoder(ShotEncoderConfig.preset("test"), seed=1)
    encode_films(encoder, stores, tmp_path / "local")
    assert encode_films(encoder, stores, tmp_path / "ray", engine=ray_engine) == 3
    assert digests(tmp_path / "ray") == digests(tmp_path / "local")
    monkeypatch.setattr(engine_ray, "_token", lambda folder: contextlib.nullcontext("absent"))
    monkeypatch.setattr(  # another machine: its path leads nowhere, its pixels travel
        shot_features._StoreFile, "__getstate__", lambda s: {"path": "/nowhere/a", "metadata": s.metadata}
    )
    encode_films(encoder, stores, tmp_path / "far", engine=ray_engine)
    assert digests(tmp_path / "far") == digests(tmp_path / "local")


def mined(tmp_path, name, **options):
    torch.manual_seed(0)
    features, encoder = corpus((40, 55, 30, 61, 6), d=512), MovieEncoder()
    folder = tmp_path / "features"
    folder.mkdir(exist_ok=True)
    for film, x in features.items():
        np.save(folder / f"{film}.npy", x)
    opened = {film: np.load(folder / f"{film}.npy", mmap_mode="r") for film in features}
    options |= {"shards": tmp_path / f"{name}.shards", "shard": 3}
    table = mine_pairs(opened, every_pair(features), MiningConfig(5), encoder=encoder, **options)
    write_parquet(table, tmp_path / f"{name}.parquet")
    return table


@pytest.fixture
def one_thread():
    """Matrix products on one thread, as a task has it; on more their last bits may be others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_mining_gives_the_same_pairs(ray_engine, tmp_path, monkeypatch, one_thread):
    expected = mined(tmp_path, "local")
    found = mined(tmp_path, "ray", engine=ray_engine)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert found.attrs == expected.attrs
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    features = corpus((140, 155, 30))
    pd.testing.assert_frame_equal(  # in memory, no files
        mine_pairs(features, every_pair(features), engine=ray_engine),
        mine_pairs(features, every_pair(features)),
        check_exact=True,
    )
    monkeypatch.setattr(engine_ray, "_token", lambda folder: contextlib.nullcontext("absent"))
    monkeypatch.setattr(mining_shards, "_file_of", lambda x: "/nowhere/film.npy")
    mined(tmp_path, "far", engine=ray_engine)
    assert (tmp_path / "far.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


@pytest.mark.fault
def test_a_killed_miner_costs_its_shard_and_engines_share_them(ray_engine, tmp_path, monkeypatch, one_thread):
    expected, shards = mined(tmp_path, "local"), []
    real = LocalEngine.prepared

    def two(self, *arguments, **named):
        for number, found in enumerate(real(self, *arguments, **named)):
            yield found
            if number == 1:
                raise KeyboardInterrupt

    class Deadly:
        """The engine, its work wrapped so that a worker dies once."""

        name = "ray"

        def prepared(self, make, items, *rest, **named):
            shards.extend(items)
            return ray_engine.prepared(KillsItsself(make, str(tmp_path / "flag")), items, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(LocalEngine, "prepared", two)
        with pytest.raises(KeyboardInterrupt):
            mined(tmp_path, "pairs")
    found = mined(tmp_path, "pairs", engine=Deadly())
    assert (tmp_path / "flag").exists()
    assert len(shards) == 2  # of four, two were there
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert (tmp_path / "pairs.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


def test_real_films_give_the_same_pairs_on_more_threads(ray_engine, shared_data):
    paths = sorted((shared_data / "ovsd").glob("*/features_vgg19.npy"))[:4]
    features = {p.parent.name: np.load(p) for p in paths}
    found = mine_pairs(features, every_pair(features), MiningConfig(9, normalise=True), engine=ray_engine)
    expected = mine_pairs(features, every_pair(features), MiningConfig(9, normalise=True))
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-6)


def test_real_films_give_the_same_stores(ray_engine, shared_data, tmp_path):
    table = read_film_table(shared_data / "films").head(2)
    found = [
        ingest_films(table, tmp_path / name, SMALL, engine=engine)
        for name, engine in (("local", None), ("ray", ray_engine))
    ]
    pd.testing.assert_frame_equal(*found)
    assert digests(tmp_path / "local") == digests(tmp_path / "ray")


@pytest.mark.fault
def test_rows_are_tasks_and_a_lost_one_goes_on(ray_engine, tmp_path, monkeypatch):
    """Real notebooks of the toy project; the Ray worker of a row is killed while its notebook runs."""
    root = write_project(tmp_path / "project")
    monkeypatch.setenv("M2S_ROOT", str(root))
    (root / "several.yaml").write_text(ROWS)
    profile, said = load_profile(root / "several.yaml"), io.StringIO()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(run_sweep, profile, root=root, jobs=2, engine=ray_engine, stream=said)
        slow = root / "runs/several/settings/slow"
        kill_parent_of_holder(slow / ".lock", seen=slow / "01_numbers/parts/0.json")
        with pytest.raises(StageFailed, match="1 of 3 settings failed, the others are done"):
            run.result(200)
    table = pd.read_parquet(root / "runs/several/settings.parquet").set_index(["setting", "stage"])
    assert table["status"].to_dict() == {
        ("slow", "01_numbers"): "done", ("shares", "01_numbers"): "done", ("bad", "01_numbers"): "failed",
    }  # fmt: skip
    assert "a <b>bad</b> day" in table.loc[("bad", "01_numbers"), "reason"]
    assert table.loc[("shares", "01_numbers"), "shared_with"] == "slow"
    assert "3 settings into" in said.getvalue()
    assert not list((root / "runs/several").glob(".*.tmp"))


def kill_parent_of_holder(lock, seen) -> None:
    """SIGKILL to the Ray worker whose child holds a lock, once `seen` is there."""
    until = time.monotonic() + 120
    while not seen.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    pid = json.loads(lock.read_text())["pid"]
    os.kill(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)


def test_errors_come_back_as_they_are(ray_engine, tmp_path):
    assert dict(ray_engine.apart(writes, [3, 4], tmp_path)) == {0: 6, 1: 8}
    assert sorted(digests(tmp_path)) == ["3.txt", "4.txt", "more/3.bin", "more/4.bin"]
    with pytest.raises(ValueError, match="thirteen"):
        list(ray_engine.apart(writes, [13], tmp_path))
    with pytest.raises(M2SError, match="does not see /nowhere/a"):
        list(ray_engine.prepared(makes_reader, [("/nowhere/a", None)], None))
    attach = {"attach": lambda item: (item[0], "with it")}
    assert dict(ray_engine.prepared(makes_reader, [("/nowhere/a", None)], None, **attach)) == {0: "with it"}
    assert list(ray_engine.prepared(makes_reader, [], None)) == []
    assert list(ray_engine.apart(writes, [], tmp_path)) == []
