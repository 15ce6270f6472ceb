"""The real notebooks when things go wrong: killed, out of space, bad films, films that go, no pictures."""

import os
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from m2s_lib.films.store.shot_store import open_stores
from m2s_lib.films.world.files import render_world
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.plan import WorldConfig
from m2s_lib.io import read_json, read_parquet
from m2s_lib.method.weights import load_encoder
from m2s_lib.runs.records.record import RECORD, located
from tests.helpers.notebook_runs import (
    contents,
    kill,
    run,
    start,
    temporaries,
    times,
    wait_for,
    write_features,
    write_profile,
)
from tests.helpers.videos import render

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(600)]
S1, S2, S3, S4, S8 = (
    "01_shot_encoding", "02_movie_similarity", "03_scene_mining", "04_moco_training", "08_retrieval_gallery",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Sums in one order, so that equal runs are equal to the last bit."""
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}):
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, _one_thread):
    """Folder and profile of a run of 01 to 04 that nothing disturbed. Copy it, do not change it."""
    folder = tmp_path_factory.mktemp("whole")
    profile = write_profile(folder / "tiny.yaml")
    run(profile, folder / "run", "01", "02", "03", "04")
    return folder / "run", profile


def copied(whole, place: Path, *stages: str) -> Path:
    """A run directory in which these stages are done."""
    for stage in stages:
        shutil.copytree(whole[0] / stage, place / stage)
    return place


def films_of(run_dir: Path) -> pd.DataFrame:
    """films.parquet, with paths seen from the run directory."""
    table = read_parquet(run_dir / S1 / "films.parquet")
    return table.assign(path=[os.path.relpath(p, run_dir) for p in located(table.path, run_dir)])


def test_killed_while_films_are_read(whole, tmp_path):
    reference, profile = whole
    cut = tmp_path / "cut"
    shots = cut / S1 / "shots"
    process = start(profile, cut, "01")
    wait_for(lambda: len(list(shots.glob("*.arrow"))) >= 2, process)
    kill(process, cut / S1, kernel=True)
    before = times(shots)
    assert 2 <= sum(name.endswith(".arrow") for name in before) < 7
    assert read_json(cut / S1 / RECORD)["status"] == "running"
    assert not (cut / S1 / "films.parquet").exists()

    assert "(did not finish)" in run(profile, cut, "01")
    after = times(shots)
    assert {name: t for name, t in before.items() if name.endswith(".arrow")}.items() <= after.items()  # kept
    parts = ("shots", "features", "shot_encoder.safetensors", "excluded_films.parquet", "embedded")
    assert contents(cut / S1, *parts) == contents(reference / S1, *parts)
    pd.testing.assert_frame_equal(films_of(cut), films_of(reference))
    assert len(films_of(cut)) == 7
    assert temporaries(cut) == []
    assert read_json(cut / S1 / RECORD)["metrics"] == read_json(reference / S1 / RECORD)["metrics"]


def test_killed_while_scenes_are_mined(whole, tmp_path):
    """The stage's table is there, the stage is not done; the kernel outlives the pipeline for a moment."""
    reference, profile = whole
    cut = copied(whole, tmp_path / "cut", S1, S2)
    process = start(profile, cut, "03")
    wait_for((cut / S3 / "scene_pairs.parquet").exists, process)
    kill(process, cut / S3, kernel=False)
    assert read_json(cut / S3 / RECORD)["status"] == "running"

    said = run(profile, cut, "01", "02", "03")
    assert f"{S1}  skipped (up to date" in said
    assert f"{S2}  skipped (up to date" in said
    assert f"{S3}  started" in said
    assert "(did not finish)" in said
    parts = ("scene_pairs.parquet", "mining_precision.parquet", "figures/fig1_scene_pairs.csv")
    assert contents(cut / S3, *parts) == contents(reference / S3, *parts)
    assert len(read_parquet(cut / S3 / "scene_pairs.parquet")) >= 4
    assert temporaries(cut) == []
    pairs = "film_pairs.parquet"
    assert contents(cut / S2, pairs) == contents(reference / S2, pairs)


def test_killed_while_the_scene_encoder_is_trained(whole, tmp_path):
    reference, profile = whole
    cut = copied(whole, tmp_path / "cut", S1, S2, S3)
    checkpoint = cut / S4 / "scene_encoder.training" / "checkpoint.json"
    process = start(profile, cut, "04")
    wait_for(checkpoint.exists, process)
    kill(process, cut / S4, kernel=True)
    stopped = read_json(checkpoint)
    assert stopped["finished"] is False
    assert not (cut / S4 / "scene_encoder.safetensors").exists()

    assert "(did not finish)" in run(profile, cut, "04")
    log, wanted = (read_parquet(place / S4 / "log.parquet") for place in (cut, reference))
    assert 0 < stopped["step"] < len(log)
    pd.testing.assert_frame_equal(log.drop(columns="pairs_per_s"), wanted.drop(columns="pairs_per_s"))
    rates = log.pairs_per_s.iloc[: stopped["step"]]
    assert len(set(rates) & set(wanted.pairs_per_s)) < len(rates)  # the steps before the kill are its own
    weights = "scene_encoder.safetensors"
    assert contents(cut / S4, weights) == contents(reference / S4, weights)
    assert temporaries(cut) == []


def test_scenes_longer_than_every_film_end_in_an_empty_table(whole, tmp_path):
    run_dir = copied(whole, tmp_path / "run", S1, S2)
    profile = write_profile(tmp_path / "long.yaml", _03={"shots_per_scene": 60})
    said = run(profile, run_dir, "03", "04")
    assert "0 scene pairs" in said
    assert "films are shorter than 60 shots" in said
    assert read_parquet(run_dir / S3 / "scene_pairs.parquet").empty
    assert read_json(run_dir / S4 / RECORD)["metrics"]["trained"] is False
    assert not (run_dir / S4 / "scene_encoder.safetensors").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, and how to make it larger."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1400k", "tmpfs", place], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield place, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def three_films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    render_world(
        plan_world(WorldConfig(seed=5, films=3, benchmark_films=0, shots=18, viewers=5)), folder, workers=1
    )
    return folder / "films"


def test_no_space_left(three_films, small_disk, tmp_path):
    place, enlarge = small_disk
    own = {"films_dir": str(three_films), "lvu_dir": "", "movienet_split": "", "frame_size": 128}
    profile = write_profile(tmp_path / "own.yaml", _01=own)
    run_dir = place / "run"
    process = start(profile, run_dir, "01")
    _, said = process.communicate(timeout=200)
    assert process.returncode == 1
    assert f"m2s: {S1}: " in said
    assert "no space left" in said
    assert "free some" in said
    assert f"--run-dir {run_dir}" in said  # how to go on
    shots = run_dir / S1 / "shots"
    before = times(shots)
    assert 1 <= len(before) < 3
    assert temporaries(run_dir / S1) == []

    enlarge("200m")
    run(profile, run_dir, "01")
    assert before.items() <= times(shots).items()
    assert films_of(run_dir).status.tolist() == ["ok"] * 3
    assert read_json(run_dir / S1 / RECORD)["status"] == "done"


def test_bad_files_are_rows_and_a_film_that_goes_is_forgotten(three_films, tmp_path):
    films = Path(shutil.copytree(three_films, tmp_path / "my films 映画"))
    (films / "nothing.mp4").write_bytes(b"")
    (films / "text.mp4").write_text("not a film")
    render(films / "one shot é.mkv", shots=(30,))
    own = {"films_dir": str(films), "lvu_dir": "", "movienet_split": ""}
    profile = write_profile(tmp_path / "own.yaml", _01=own)
    run_dir = tmp_path / "run"
    run(profile, run_dir, "01")
    table = films_of(run_dir).set_index("film_id")
    assert table.status.to_dict() == {
        "film_000": "ok", "film_001": "ok", "film_002": "ok", "one shot é": "ok",
        "nothing": "failed", "text": "failed",
    }  # fmt: skip
    assert "nothing.mp4 is empty (0 bytes)" in table.reason["nothing"]
    assert "text.mp4 is not a video" in table.reason["text"]
    assert read_json(run_dir / S1 / RECORD)["metrics"]["headline"]["films not read"] == 2
    stores = open_stores(run_dir / S1 / "shots")
    assert sorted(stores) == sorted(table.index[table.status == "ok"])
    assert stores["one shot é"].n_shots == 1
    first, weights = times(run_dir / S1 / "shots"), contents(run_dir / S1, "shot_encoder.safetensors")

    (films / "film_001.mp4").unlink()
    assert f"input {films} changed" in run(profile, run_dir, "01")
    left = ["film_000", "film_002", "one shot é"]
    again = films_of(run_dir)
    assert sorted(again.film_id[again.status == "ok"]) == left
    assert "film_001" not in set(again.film_id)
    second = times(run_dir / S1 / "shots")
    assert second == {name: t for name, t in first.items() if name != "film_001.arrow"}
    features = {p.stem: np.load(p) for p in sorted((run_dir / S1 / "features").glob("*.npy"))}
    assert list(features) == left
    assert (
        contents(run_dir / S1, "shot_encoder.safetensors") != weights
    )  # it has learned from the films that are left
    fresh = tmp_path / "fresh"
    run(profile, fresh, "01")
    parts = ("features", "shots", "shot_encoder.safetensors")
    assert contents(fresh / S1, *parts) == contents(run_dir / S1, *parts)


def test_films_with_features_and_no_pictures(tmp_path):
    films = write_features(tmp_path / "ready")
    own = {
        "films_dir": str(films), "metadata": str(films.parent / "metadata.csv"), "source": "features",
        "lvu_dir": "", "movienet_split": "",
    }  # fmt: skip
    similar = {"metadata_source": "auto", "control_source": "", "watch_log": "", "neighbours": 1}
    profile = write_profile(tmp_path / "ready.yaml", _01=own, _02=similar)
    run_dir = tmp_path / "run"
    run(profile, run_dir, "01", "02", "03", "04", "08")
    metrics = {stage: read_json(run_dir / stage / RECORD)["metrics"] for stage in (S1, S2, S3, S4, S8)}
    assert metrics[S1]["films"] == 5
    assert metrics[S1]["final_loss"] is None
    assert not (run_dir / S1 / "shot_encoder.safetensors").exists()
    given, kept = films / "03" / "features_vgg19.npy", run_dir / S1 / "features" / "03.npy"
    np.testing.assert_array_equal(np.load(given), np.load(kept))
    assert metrics[S2]["source"] == "genre"
    assert metrics[S3]["scene_pairs"] >= 4
    assert metrics[S3]["summary"] == {}
    assert metrics[S4]["trained"] is False
    assert metrics[S4]["headline"]["final loss"] == "not trained"
    assert read_parquet(run_dir / S4 / "log.parquet").empty
    assert metrics[S8]["headline"]["encoder"] == "E_movie mean"
    assert "colour" not in metrics[S3]["headline"]
    scenes = read_parquet(run_dir / S8 / "scenes.parquet")
    assert len(np.load(run_dir / S8 / "embeddings.npy")) == len(scenes) == metrics[S8]["scenes"] > 30


def test_the_undisturbed_run_is_what_the_others_are_compared_with(whole):
    run_dir, _ = whole
    encoder = load_encoder(run_dir / S4 / "scene_encoder.safetensors")
    log = read_parquet(run_dir / S4 / "log.parquet")
    assert len(log) >= 60
    assert encoder.config.width == 32
    assert all(read_json(run_dir / s / RECORD)["status"] == "done" for s in (S1, S2, S3, S4))
    assert not list(run_dir.glob("0*/notebook.failed.ipynb"))
