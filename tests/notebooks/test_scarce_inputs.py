"""Notebooks 02 and 03 to their end, whatever optional input is absent, empty or of one row."""

import os
from unittest import mock

import numpy as np
import pytest

from m2s_lib.io import read_json, read_parquet
from m2s_lib.runs.records.record import RECORD
from tests.helpers.feature_films import write_feature_films
from tests.helpers.notebook_runs import no_kernels, run, write_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
S2, S3 = "02_movie_similarity", "03_scene_mining"
FIVE = [26, 27, 28, 29, 30]
LOG = "user;film_id;time\n" + "".join(
    f"Zoë {user};https://www.imdb.com/title/tt000000{film}/;{1577836800000 + 60000 * (user + 3 * film)}\n"
    for user in range(9)
    for film in (1, 2, 3 + user % 3)
)
IDS = "film_id,imdb_id\n" + "".join(f"0{film},TT000000{film + 1}\n" for film in range(5))
COLUMNS = {
    "scene_pairs": ["film_a", "film_b", "shot_a", "shot_b", "n_shots", "score", "rank"],
    "mining_precision": ["encoder", "mean", "ci_low", "ci_high", "seeds", "film_pairs", "n_pairs"],
    "precision_by_share": ["ratio", "lowest_score", "n_pairs", "n_same", "precision"],
    "precision_by_theme": ["encoder", "theme", "n_pairs", "n_same", "precision"],
}


@pytest.fixture
def told(tmp_path):
    """Runs 01 to 03 in this process; returns what was printed and the run directory."""

    def told(shots, metadata="", log="", **parameters):
        first = write_feature_films(tmp_path, shots, metadata)
        second = {"metadata_source": "auto", "watch_log": "", "watch_min_count": 2} | parameters.pop(
            "_02", {}
        )
        if log:
            (tmp_path / "log.csv").write_bytes(log.encode("cp1252"))
            second["watch_log"] = str(tmp_path / "log.csv")
        profile = write_profile(tmp_path / "scarce.yaml", _01=first, _02=second, **parameters)
        with no_kernels(), mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
            printed = run(profile, tmp_path / "run", "01", "02", "03")
        for stage in (S2, S3):
            assert read_json(tmp_path / "run" / stage / RECORD)["status"] == "done"
        for name, columns in COLUMNS.items():
            assert list(read_parquet(tmp_path / "run" / S3 / f"{name}.parquet").columns) == columns
        return printed, tmp_path / "run"

    return told


def film_pairs(run_dir):
    return read_parquet(run_dir / S2 / "film_pairs.parquet")


def test_no_metadata_at_all(told):
    printed, run_dir = told(FIVE)
    assert "needs a watch log: set 02.watch_log" in printed
    assert "0 of 5 films have a synopsis" in printed
    assert "no two of the 5 films share a genre (5 have none): give the metadata table a column" in printed
    assert "Similar by random:" in printed
    assert film_pairs(run_dir).source.eq("random").all()
    assert "only the embedded films (01.films_dir: embedded) come with the true theme" in printed
    assert "names no titles (02.watch_log is not a MovieLens folder)" not in printed  # shown, not printed


def test_metadata_of_one_film(told):
    printed, _ = told(FIVE, "film_id,genres,synopsis\n02,Drama,A ship sails home.\n")
    assert "1 of 5 films have a synopsis, at least 2 are needed" in printed
    assert "Similar by random:" in printed


@pytest.mark.parametrize("log", ["user,film_id\n1,x\n2,y\n", "user,film_id,time\n", "user,film_id\n1,00\n"])
def test_a_watch_log_that_makes_no_pair(told, log):
    """It matches nothing, is empty, or has one row."""
    genres = "film_id,genres\n" + "".join(f"0{film},Drama\n" for film in range(5))
    printed, run_dir = told(FIVE, genres, log)
    assert "No film pairs by cowatch: " in printed
    assert film_pairs(run_dir).source.eq("genre").all()


def test_a_watch_log_as_a_spreadsheet_writes_it(told):
    """Semicolons, Windows-1252, addresses for ids, thousandths of seconds; co-watch as the paper has it."""
    papers = {"watch_order": "watched_after", "watch_score": "count", "neighbours": 3, "pairs_per_film": 0.8}
    printed, run_dir = told(FIVE, IDS, LOG, _02=papers)
    pairs = film_pairs(run_dir)
    assert pairs.source.eq("cowatch").all()
    assert len(pairs) == 4
    assert pairs.score.max() == 9  # of nine people all saw 01 right after 00
    assert "left out for size" in printed


def test_a_control_without_its_metadata(told):
    printed, run_dir = told(FIVE, _02={"metadata_source": "random", "control_source": "synopsis"})
    assert "No film pairs by synopsis: 0 of 5 films have a synopsis" in printed
    assert film_pairs(run_dir).source.eq("random").all()


def test_films_of_one_shot_and_shorter_than_a_scene(told):
    printed, run_dir = told([26, 1, 2, 29], _02={"neighbours": 3})
    assert "2 films are shorter than 3 shots and have none (03.shots_per_scene)" in printed
    mined = read_parquet(run_dir / S3 / "scene_pairs.parquet")
    assert set(mined.film_a) | set(mined.film_b) <= {"00", "03"}


def test_one_film_pair(told):
    printed, run_dir = told([26, 27])
    assert "none is left to tell them from: E_movie stays as it was drawn. More films, or fewer" in printed
    assert "No film pairs were held out, so E_movie is not measured" in printed
    assert len(film_pairs(run_dir)) == 1
    assert len(read_parquet(run_dir / S3 / "scene_pairs.parquet")) >= 4


def test_no_scene_pair(told):
    printed, run_dir = told([5, 6, 7, 8], _03={"shots_per_scene": 9})
    assert "0 scene pairs, 0.0 a film pair; 4 films are shorter than 9 shots" in printed
    assert read_parquet(run_dir / S3 / "scene_pairs.parquet").empty
    figures = read_json(run_dir / S3 / RECORD)["figures"]
    assert [f["id"] for f in figures] == ["greedy_choice"]


def test_embedded_films_without_scene_pairs_have_no_share_to_name(tmp_path):
    """Themes are known and there is nothing to count them of: NaN, and a sentence."""
    profile = write_profile(tmp_path / "long.yaml", _03={"shots_per_scene": 60})
    with no_kernels(), mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
        printed = run(profile, tmp_path / "run", "01", "02", "03")
    assert "No scene pairs were mined: their themes cannot be compared." in printed
    precision = read_parquet(tmp_path / "run" / S3 / "mining_precision.parquet").set_index("encoder")
    assert precision["n_pairs"].eq(0).all()
    assert np.isnan(precision["mean"]).all()
    for name, columns in COLUMNS.items():
        assert list(read_parquet(tmp_path / "run" / S3 / f"{name}.parquet").columns) == columns
