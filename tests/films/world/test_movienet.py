import json

import numpy as np
import pytest
from PIL import Image

from m2s_lib.films.store.sources import scan_keyframe_folder
from m2s_lib.films.video.decoding import ScanConfig
from m2s_lib.films.world.files import render_world, true_shots
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.labels import write_labels
from m2s_lib.films.world.movienet import movienet_films
from m2s_lib.films.world.plan import WorldConfig
from m2s_lib.films.world.records import PLACES
from tests.helpers.worlds import TINY, decode, world_with_transitions

WORLD = world_with_transitions(plan_world(TINY), ("cut", "dissolve", "fade"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    render_world(WORLD, folder, workers=1)
    assert write_labels(WORLD, folder, workers=1)
    return folder


def test_splits_hold_the_benchmark_films_and_only_training_films_to_train_on(folder):
    split = json.loads((folder / "movienet/scene318/meta/split318.json").read_text())
    of = {f.imdb_id: f.split for f in WORLD.films}
    assert {s: {of[i] for i in split[s]} for s in ("train", "val", "test")} == {
        s: {s} for s in ("train", "val", "test")
    }
    assert sorted(split["train"] + split["val"] + split["test"]) == split["all"]


def test_the_default_world_trains_on_twelve_films_and_holds_out_twenty_four():
    counts = {s: len(films) for s, films in movienet_films(plan_world(WorldConfig())).items()}
    assert counts == {"train": 12, "val": 12, "test": 12}


@pytest.mark.parametrize("film", WORLD.films, ids=lambda f: f.film_id)
def test_boundary_labels_follow_the_scenes(folder, film):
    lines = (folder / f"movienet/scene318/label318/{film.imdb_id}.txt").read_text().splitlines()
    scene = true_shots(TINY, film)["scene"].to_numpy()
    assert [line.split()[0] for line in lines] == [f"{i:04d}" for i in range(len(scene) - 1)]
    labels = np.asarray([int(line.split()[1]) for line in lines])
    ends = scene[1:] != scene[:-1]
    assert (labels[ends] == 1).all()
    assert set(labels[~ends]) <= {0, -1}


def test_a_few_soft_transitions_inside_scenes_are_uncertain(folder):
    doubtful = total = 0
    for film in WORLD.films:
        lines = (folder / f"movienet/scene318/label318/{film.imdb_id}.txt").read_text().splitlines()
        truth = true_shots(TINY, film)
        for line, row in zip(lines, truth.iloc[:-1].itertuples(), strict=True):
            if line.endswith("-1"):
                doubtful += 1
                assert row.transition in ("dissolve", "fade")
        total += len(lines)
    assert 1 <= doubtful < 0.25 * total


@pytest.mark.parametrize("film", WORLD.films[:2], ids=lambda f: f.film_id)
def test_shot_tables_and_keyframes_are_the_films(folder, film):
    rows = np.loadtxt(folder / f"movienet/scene318/shot_movie318/{film.imdb_id}.txt", dtype=int)
    truth = true_shots(TINY, film)
    np.testing.assert_array_equal(rows[:, :2], truth[["start_frame", "end_frame"]])
    assert (rows[:, 0] <= rows[:, 2]).all()
    assert (np.diff(rows[:, 2:], axis=1) >= 0).all()
    assert (rows[:, 4] <= rows[:, 1]).all()
    frames = decode(folder / f"films/{film.film_id}.mp4")
    images = sorted(p.name for p in (folder / f"movienet/shot_keyf/{film.imdb_id}").iterdir())
    assert images == [f"shot_{i:04d}_img_{k}.jpg" for i in range(len(rows)) for k in range(3)]
    for shot in (0, 7, len(rows) - 1):
        for k in range(3):
            path = folder / f"movienet/shot_keyf/{film.imdb_id}/shot_{shot:04d}_img_{k}.jpg"
            with Image.open(path) as image:
                seen = np.asarray(image.convert("RGB")).astype(float)
            assert np.abs(seen - frames[rows[shot, 2 + k]]).mean() < 6


def test_the_keyframe_source_reads_the_folder(folder):
    film = WORLD.films[0]
    scanned = scan_keyframe_folder(
        folder / "movienet/shot_keyf" / film.imdb_id,
        ScanConfig(frame_size=32, frames_per_shot=3),
        folder / f"movienet/scene318/shot_movie318/{film.imdb_id}.txt",
    )
    assert scanned.keyframes.shape == (len(film.shots), 3, 32, 32, 3)
    assert scanned.shots["end_frame"].tolist() == true_shots(TINY, film)["end_frame"].tolist()


@pytest.mark.parametrize("film", WORLD.films, ids=lambda f: f.film_id)
def test_annotations_tile_the_film_with_scenes_and_their_places(folder, film):
    value = json.loads((folder / f"movienet/annotation/{film.imdb_id}.json").read_text())
    assert value["imdb_id"] == film.imdb_id
    assert len(value["scene"]) == len(film.scenes)
    at = 0
    truth = true_shots(TINY, film)
    for scene, planned in zip(value["scene"], film.scenes, strict=True):
        assert set(scene) == {"id", "shot", "frame", "place_tag", "action_tag"}
        first, after = scene["shot"]
        assert (first, after - first) == (at, len(planned.shots))
        assert scene["frame"] == [truth["start_frame"][first], truth["end_frame"][after - 1] + 1]
        assert scene["place_tag"] in (None, [PLACES[planned.place]])
        at = after


def test_metadata_has_what_the_table_of_films_needs(folder):
    for film in WORLD.films:
        value = json.loads((folder / f"movienet/meta/{film.imdb_id}.json").read_text())
        assert (value["title"], value["overview"]) == (film.title, film.synopsis)
        assert value["genres"]
