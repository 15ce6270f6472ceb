"""What the README tells somebody with a folder of films to type, on four short films without metadata."""

import subprocess
import sys

import pandas as pd
import pytest

from m2s_lib.io import read_json, read_parquet
from m2s_lib.stages.screens import read_collection
from tests.conftest import ROOT
from tests.helpers.videos import render

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SHOTS = {"long": (20,) * 12, "short": (24, 30), "one": (400,), "other": (18,) * 10}


def m2s(*arguments: object) -> str:
    command = [sys.executable, "-m", "m2s_lib.runs.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for name, shots in SHOTS.items():
        render(folder / f"{name}.mp4", shots=shots)
    (folder / "broken.mp4").write_bytes(b"no film")
    (folder / "short.srt").write_text("1\n00:00:00,200 --> 00:00:00,900\nHello there\n")
    return folder


@pytest.fixture(scope="module")
def opened(films, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "mine"
    said = m2s("open", films, "--run-dir", run, "--no-page")
    return run, said


def test_every_shot_of_every_film_is_in_the_gallery(opened):
    run, said = opened
    table = read_parquet(run / "01_shot_encoding/films.parquet").set_index("film_id")
    assert table.status.to_dict() == {"broken": "failed", **dict.fromkeys(sorted(SHOTS), "ok")}
    assert "not read: broken: broken.mp4 is not a video that can be read" in said
    assert table.n_shots["one"] == 3, "16.7 s of one shot are cut into parts of about 5 s"
    collection = read_collection(run)
    assert collection.encoders[0] == "imagenet mean"
    shots = collection.scenes.groupby("film_id").n_shots.sum()
    assert shots.to_dict() == table.n_shots.drop("broken").to_dict()
    assert collection.scenes.set_index("film_id").words["short"] == "Hello there"
    for stage, words in (("02_movie_similarity", "Give 01.metadata or 02.watch_log"),
                         ("03_scene_mining", "02 names no similar films")):  # fmt: skip
        assert words in read_json(run / stage / "run.json")["metrics"]["headline"]["not measured"]
    assert (run / "report.html").is_file()


def test_a_second_call_computes_nothing_and_a_new_film_costs_itself(films, opened):
    run, _ = opened
    assert m2s("open", films, "--run-dir", run, "--no-page").count("skipped (up to date)") == 5
    before = {p.name: p.stat().st_mtime_ns for p in (run / "01_shot_encoding/shots").iterdir()}
    render(films / "fifth.mp4", shots=(30, 30))
    (films / "other.mp4").unlink()
    try:
        m2s("open", films, "--run-dir", run, "--no-page")
    finally:
        render(films / "other.mp4", shots=SHOTS["other"])
        (films / "fifth.mp4").unlink()
    after = {p.name: p.stat().st_mtime_ns for p in (run / "01_shot_encoding/shots").iterdir()}
    assert set(after) == set(before) - {"other.arrow"} | {"fifth.arrow"}
    assert all(after[name] == before[name] for name in after if name in before)
    assert set(read_collection(run).scenes.film_id) == {"long", "short", "one", "fifth"}


def test_all_nine_notebooks_run_on_them(films, tmp_path):
    said = m2s("run", "films", "--films-dir", films, "--run-dir", tmp_path / "run")
    assert said.count("  done in ") == 9
    metadata = pd.DataFrame({"film_id": sorted(SHOTS), "genres": ["Drama", "Comedy", "Drama", "Comedy"]})
    metadata.to_csv(tmp_path / "m.csv", index=False)
    given = ("-p", f"01.metadata={tmp_path / 'm.csv'}")
    said = m2s("run", "films", "--films-dir", films, "--run-dir", tmp_path / "run", *given)
    assert read_json(tmp_path / "run/02_movie_similarity/run.json")["metrics"]["source"] == "genre"
    assert "E_scene is not trained: it takes pictures and 500 scene pairs" in said
