"""The embedded films in the place of a user's own."""

from pathlib import Path

import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.ingest import ingest_films
from m2s_lib.films.store.shot_store import open_stores
from m2s_lib.films.video.decoding import ScanConfig
from m2s_lib.films.world.embedded import embedded_or_own, embedded_part, true_shot_themes
from m2s_lib.films.world.files import true_shots
from m2s_lib.films.world.plan import THEMES, WorldConfig
from tests.helpers.display_stores import make_store
from tests.helpers.worlds import digests

SMALL = WorldConfig(seed=3, films=2, benchmark_films=2, shots=12, viewers=20)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "embedded"
    return folder, *embedded_or_own("embedded", "", folder, SMALL)


def test_ones_own_films_render_nothing(tmp_path):
    assert embedded_or_own("my films", "table.csv", tmp_path / "e", SMALL) == (Path("my films"), "table.csv")
    assert embedded_or_own("my films", "", tmp_path / "e", SMALL)[1] == ""
    assert not (tmp_path / "e").exists()
    with pytest.raises(
        M2SError, match="which films. Give a folder, for example: m2s run films -p 01.films_dir="
    ):
        embedded_or_own("", "", tmp_path / "e", SMALL)


def test_films_metadata_and_labels_are_there(rendered):
    folder, films_dir, metadata = rendered
    films = read_film_table(films_dir, metadata)
    assert len(films) == 4
    assert films.genres.str.len().gt(0).all()
    assert films.attrs["unknown_metadata"] == []
    for part in ("movielens/ratings.csv", "lvu_1.0", "movienet/scene318/meta/split318.json", "truth"):
        assert (folder / part).exists(), part
    assert embedded_or_own("embedded", "own.csv", folder, SMALL) == (films_dir, "own.csv")


def test_what_is_there_is_kept_and_what_belongs_to_another_world_goes(rendered, tmp_path):
    folder, films_dir, _ = rendered
    before, times = digests(folder), {p: p.stat().st_mtime_ns for p in films_dir.iterdir()}
    embedded_or_own("embedded", "", folder, SMALL)
    assert digests(folder) == before
    assert {p: p.stat().st_mtime_ns for p in films_dir.iterdir()} == times


def test_a_part_is_its_path_or_empty(tmp_path):
    (tmp_path / "movielens").mkdir()
    assert embedded_part("embedded", tmp_path, "movielens") == str(tmp_path / "movielens")
    assert embedded_part("embedded", tmp_path, "lvu_1.0") == ""
    assert embedded_part("", tmp_path, "movielens") == ""
    assert embedded_part("my/log", tmp_path, "movielens") == "my/log"


def test_every_detected_shot_has_the_theme_of_the_frames_it_shows(rendered, tmp_path):
    from m2s_lib.films.world.kinds import plan_world

    folder, films_dir, metadata = rendered
    films = ingest_films(read_film_table(films_dir, metadata), tmp_path, ScanConfig(frame_size=32), workers=1)
    stores = open_stores(tmp_path / "shots")
    themes = true_shot_themes(folder, stores)
    assert set(themes) == set(films.film_id)
    for film in plan_world(SMALL).films:
        shots, truth = stores[film.film_id].shots, true_shots(SMALL, film)
        assert len(themes[film.film_id]) == len(shots)
        assert set(themes[film.film_id]) <= set(THEMES)
        for start, end, theme in zip(shots.start_frame, shots.end_frame, themes[film.film_id], strict=True):
            middle = (start + end) // 2
            (row,) = truth[(truth.start_frame <= middle) & (truth.end_frame >= middle)].itertuples()
            assert theme == row.theme
    assert true_shot_themes(tmp_path / "no embedded films", stores) == {}


def test_films_of_ones_own_have_no_true_themes_though_embedded_films_lie_there(rendered, tmp_path):
    """A run directory that held the embedded films before."""
    folder, _, _ = rendered
    own = {"my film": make_store(tmp_path, "my film")}
    assert true_shot_themes(folder, own) == {}
