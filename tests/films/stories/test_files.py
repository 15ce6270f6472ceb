"""Films and labels of the second world, written by what writes the first's."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m2s_lib.films.stories.story import THEMES
from m2s_lib.films.world.embedded import embedded_or_own
from m2s_lib.films.world.files import film_frames, render_world, true_scenes, true_shots
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.labels import write_labels
from m2s_lib.films.world.plan import WorldConfig
from tests.helpers.worlds import TINY_STORIES, decode, digests, key_frames

WORLD = plan_world(TINY_STORIES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stories")
    assert render_world(WORLD, folder, workers=1) == 5
    write_labels(WORLD, folder, workers=1)
    return folder


@pytest.mark.slow
def test_one_call_renders_the_same_bytes_from_the_sizes_of_the_first_world(folder, tmp_path):
    size = WorldConfig(seed=3, films=3, benchmark_films=2, shots=24, viewers=30)
    films, metadata = embedded_or_own("embedded", "", tmp_path, size, "stories")
    assert (films, metadata) == (tmp_path / "films", tmp_path / "metadata.csv")
    assert digests(tmp_path) == digests(folder)
    assert json.loads((tmp_path / "world.json").read_text())["config"]["width"] == 160


def test_the_encoded_film_is_the_drawn_film_and_its_scenes_start_on_key_frames(folder):
    film, path = WORLD.films[0], folder / "films" / "film_000.mp4"
    pictures = np.stack([p for p, _ in film_frames(TINY_STORIES, film)]).astype(np.float32)
    frames = decode(path).astype(np.float32)
    assert pictures.shape == frames.shape
    assert np.abs(pictures - frames).mean() < 8  # grain and colour edges go, the picture stays
    assert {first for first, _ in true_scenes(TINY_STORIES, film)} <= set(key_frames(path))


def test_truth_and_tags_name_the_themes_of_this_world(folder):
    for film in WORLD.films:
        truth = pd.read_parquet(folder / "truth" / f"{film.film_id}.parquet")
        pd.testing.assert_frame_equal(truth, true_shots(TINY_STORIES, film))
        assert [THEMES[film.scenes[i].theme] for i in truth["scene"]] == list(truth["theme"])
    tags = pd.read_csv(folder / "movielens" / "tags.csv")["tag"]
    assert len(tags)
    assert set(tags) <= set(THEMES)


def test_lvu_places_are_the_scenes_of_the_plan(folder: Path):
    planned = {f.imdb_id: {s.place for s in f.scenes} for f in WORLD.films}
    tables = [pd.read_csv(path, sep=" ") for path in sorted((folder / "lvu_1.0" / "scene").iterdir())]
    rows = pd.concat(tables)
    assert len(rows) >= len(WORLD.films) - 1
    assert all(row.class_id in planned[row.imdb_id] for row in rows.itertuples())
