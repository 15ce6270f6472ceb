"""The load run: its films, what it says of growth, and that 02, 03 and 08 do not grow with the films."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks import load
from benchmarks.load_films import PROFILE, SHOTS, TOGETHER, write_run
from m2s_lib.films.similarity.similar_films import similar_films
from m2s_lib.films.store.features import read_features
from m2s_lib.films.store.shot_store import open_stores
from tests.conftest import ROOT
from tests.helpers.load_stages import STAGES

SIZES = (40, 120)
LONG = (400, 400)  # shots of a film: its features, 0.8 MB, stand out from what a process's memory varies by
# none of the stages may hold every film's; 08 keeps what it searches, two thirds of it, and may not hold both
MB_A_FILM = {"02": 0.8, "03": 0.8, "08": 1.3}


def test_films_are_the_same_however_many_there_are(tmp_path):
    few, more = tmp_path / "few", tmp_path / "more"
    shots = [write_run(folder, n, pixels=8) for folder, n in ((few, 3), (more, 2 * TOGETHER))]
    films = pd.read_parquet(more / "01_shot_encoding/films.parquet")
    assert films["n_shots"].between(*SHOTS).all()
    assert shots[1] == films["n_shots"].sum() > shots[0]
    stores = [open_stores(folder / "01_shot_encoding/shots") for folder in (few, more)]
    for film, store in stores[0].items():
        np.testing.assert_array_equal(store.keyframes(), stores[1][film].keyframes())
    features = read_features(more / "01_shot_encoding/features", stores[1])
    assert {x.shape[1] for x in features.values()} == {512}
    pairs = similar_films("cowatch", films, watch_log=more / "log.parquet", min_count=5)
    group = {film: i // TOGETHER for i, film in enumerate(films["film_id"])}
    together = pairs["film_a"].map(group) == pairs["film_b"].map(group)
    assert together.mean() > 0.9  # who watches what is not drawn evenly


def made_up(own, seconds, stage="02"):
    rows = [(f, 80 * f, stage, s, s, 1000.0 + f, o, 100, 200)
            for f, o, s in zip((100, 200, 400), own, seconds, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=load.COLUMNS)


def test_growth_is_the_slope_and_the_exponent_leaves_the_start_out():
    flat = load.growth(made_up((50, 50, 50), (30, 40, 60))).iloc[0]
    assert flat["own_mb_a_film"] == pytest.approx(0)
    assert flat["peak_mb_a_film"] == pytest.approx(1)
    assert flat["cpu_seconds_a_film"] == pytest.approx(0.1)
    assert flat["exponent"] == pytest.approx(1)
    quadratic = load.growth(made_up((50, 60, 80), (30, 33, 45))).iloc[0]
    assert quadratic["own_mb_a_film"] == pytest.approx(0.1)
    assert quadratic["exponent"] == pytest.approx(2)
    assert np.isnan(load.growth(made_up((1, 2, 3), (30, 40, 60)).head(2)).iloc[0]["exponent"])


def test_what_grows_or_comes_late_is_said():
    answers = pd.DataFrame({"screen": ["gallery"], "action": ["open it"], "ms": [301.0], "films": [2000]})
    assert load.complaints(made_up((50, 51, 52), (30, 40, 60)), answers.assign(ms=299.0)) == []
    said = load.complaints(made_up((50, 100, 200), (30, 40, 60), "08"), answers)
    assert said == [
        "08 grows by 0.500 MB a film, 0.03 are allowed",
        "gallery, open it: 301 ms with 2,000 films",
    ]


def test_one_size_has_no_growth(capsys):
    with pytest.raises(SystemExit):
        load.main(["--sizes", "1"])
    assert "growth needs two sizes or more" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_and_open_files_do_not_grow_with_the_films(tmp_path):
    """Three times the films, in processes side by side, with fewer open files than the larger run has films."""
    running = []
    for films in SIZES:
        run_dir = tmp_path / str(films)
        write_run(run_dir, films, pixels=0, shots=LONG)
        profile = run_dir / "load.yaml"
        profile.write_text(PROFILE.format(log=run_dir / "log.parquet", size=64), encoding="utf-8")
        command = [sys.executable, "-m", "tests.helpers.load_stages", str(run_dir), str(profile)]
        running.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    few, more = (dict(re.findall(r"own_mb (\d\d) ([\d.]+)", text)) for text in said)
    grown = {stage: (float(more[stage]) - float(few[stage])) / (SIZES[1] - SIZES[0]) for stage in STAGES}
    print(f"\nMB a film: {grown}, with {SIZES} films {few}, {more}")
    assert all(grown[stage] < most for stage, most in MB_A_FILM.items()), grown
