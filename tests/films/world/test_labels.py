import csv
import dataclasses
import re
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity.benchmark_ids import LVU_TASKS, benchmark_imdb_ids
from m2s_lib.films.similarity.watch_log import read_movielens
from m2s_lib.films.world import labels
from m2s_lib.films.world.files import render_world, true_scenes
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.labels import mcd_films, write_labels, youtube_id
from m2s_lib.films.world.plan import THEMES, WorldConfig
from m2s_lib.films.world.records import MODERATION, PLACES
from m2s_lib.films.world.viewers import audience, watch_log
from tests.helpers.worlds import TINY, decode, digests

WORLD = plan_world(TINY)
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The films alone."""
    folder = tmp_path_factory.mktemp("films")
    render_world(WORLD, folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def folder(films, tmp_path_factory):
    folder = shutil.copytree(films, tmp_path_factory.mktemp("labels") / "world")
    assert write_labels(WORLD, folder, workers=1)
    return folder


@pytest.fixture
def copy(films, tmp_path):
    return shutil.copytree(films, tmp_path / "world")


def lvu(folder, task, split):
    return pd.read_csv(folder / "lvu_1.0" / task / f"{split}.csv", sep=" ", keep_default_na=False)


def scenes_by_video():
    return {youtube_id(WORLD, f, i): (f, i) for f in WORLD.films for i in range(len(f.scenes))}


# --- all of them


def test_labels_are_the_same_bytes_each_time(folder, copy):
    write_labels(WORLD, copy, workers=1)
    assert digests(copy) == digests(folder)


def test_another_seed_gives_other_labels(folder, tmp_path):
    other = plan_world(dataclasses.replace(TINY, seed=4))
    labels._write_movielens(other, tmp_path, 1)
    assert digests(tmp_path / "movielens")["ratings.csv"] != digests(folder / "movielens")["ratings.csv"]


def test_labels_that_are_there_are_kept_and_lost_ones_written_again(copy):
    assert write_labels(WORLD, copy, workers=1)
    assert not write_labels(WORLD, copy, workers=1)
    shutil.rmtree(copy / "mcd")
    assert write_labels(WORLD, copy, workers=1)
    assert (copy / "mcd" / "clips.csv").exists()


def test_labels_that_a_killed_run_began_are_written_again(copy):
    (copy / "labels.json").write_text('{"world": ""}')
    (copy / "movielens").mkdir()
    (copy / "movielens" / "ratings.csv").write_text("half")
    assert write_labels(WORLD, copy, workers=1)
    assert len(pd.read_csv(copy / "movielens" / "ratings.csv")) == len(watch_log(WORLD))


def test_labels_of_a_world_whose_viewers_changed_are_written_again(copy):
    write_labels(WORLD, copy, workers=1)
    other = plan_world(dataclasses.replace(TINY, viewers=7))
    assert write_labels(other, copy, workers=1)
    assert pd.read_csv(copy / "movielens" / "ratings.csv")["userId"].nunique() == 7


@pytest.mark.parametrize("size", [dict(benchmark_films=1), dict(films=0, benchmark_films=4)])
def test_a_world_without_films_in_each_split_is_refused(tmp_path, size):
    with pytest.raises(M2SError, match="need films in each split.*benchmark_films=2 or more"):
        write_labels(plan_world(dataclasses.replace(TINY, **size)), tmp_path)


def test_labels_need_the_films(tmp_path):
    with pytest.raises(M2SError, match="lacks 5 of this world's 5 films.*call render_world"):
        write_labels(WORLD, tmp_path)


def test_somebody_elses_labels_are_left_alone(copy):
    (copy / "movielens").mkdir()
    (copy / "movielens" / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
    with pytest.raises(M2SError, match="movielens holds files that are not of the embedded films"):
        write_labels(WORLD, copy)
    assert (copy / "movielens" / "ratings.csv").exists()


def test_no_benchmark_film_is_trained_on(folder):
    held_out = {f.imdb_id for f in WORLD.films if f.split != "train"}
    found = benchmark_imdb_ids(folder / "lvu_1.0", folder / "movienet/scene318/meta/split318.json")
    assert set(found) == held_out
    for task in LVU_TASKS:
        assert not held_out & set(lvu(folder, task, "train")["imdb_id"])
    clips = pd.read_csv(folder / "mcd/clips.csv")
    of = {f.film_id: f.split for f in WORLD.films}
    assert set(clips["film_id"].map(of) + clips["split"]) <= {"traintrain", "valval", "testtest"}


# --- MovieLens


def test_the_watch_log_reads_back(folder):
    log = read_movielens(folder / "movielens")
    ids = {f.imdb_id: f.number for f in WORLD.films}
    seen = {
        (int(u), ids[str(f)], int(t))
        for u, f, t in zip(log["user"], log["film_id"], log["time"], strict=True)
    }
    assert seen == set(watch_log(WORLD))
    assert log.attrs["counts"]["unknown_rows"] == 0


def test_movielens_files_have_their_columns_order_and_quotes(folder):
    ratings = pd.read_csv(folder / "movielens/ratings.csv")
    assert list(ratings.columns) == ["userId", "movieId", "rating", "timestamp"]
    assert ratings[["userId", "movieId"]].apply(tuple, axis=1).is_monotonic_increasing
    assert set(ratings["rating"]) <= set(np.arange(1, 11) / 2)
    tags = pd.read_csv(folder / "movielens/tags.csv")
    assert list(tags.columns) == ["userId", "movieId", "tag", "timestamp"]
    assert set(tags["tag"]) <= set(THEMES)
    lines = (folder / "movielens/movies.csv").read_text().splitlines()
    film = WORLD.films[0]
    assert lines[0] == "movieId,title,genres"
    assert lines[1].startswith(f'1,"{film.title.removeprefix("The ")}, The ({film.year})",')
    rows = list(csv.reader(lines[1:]))
    assert [len(r) for r in rows] == [3] * len(WORLD.films)
    assert all(r[2].split("|") == sorted(r[2].split("|")) for r in rows)
    links = (folder / "movielens/links.csv").read_text().splitlines()
    assert links[0] == "movieId,imdbId,tmdbId"
    assert all(re.fullmatch(r"\d+,\d{7},\d+", line) for line in links[1:])


# --- LVU


@pytest.mark.parametrize("task", LVU_TASKS)
def test_lvu_lists_are_space_separated_with_the_real_heads(folder, task):
    head = {
        "view_count": "view_count youtube_id imdb_id",
        "like_ratio": "like_count dislike_count youtube_id imdb_id",
    }.get(task, "class_id class_name youtube_id imdb_id")
    for split in SPLITS:
        text = (folder / f"lvu_1.0/{task}/{split}.csv").read_bytes().decode()
        assert "\r" not in text
        assert text.endswith("\n")
        lines = text.splitlines()
        assert lines[0] == head
        assert len(lines) > 1
        for line in lines[1:]:
            *_, video, imdb = line.split(" ")
            assert len(line.split(" ")) == len(head.split(" "))
            assert re.fullmatch(r"[A-Za-z0-9_-]{11}", video)
            assert re.fullmatch(r"tt\d{7}", imdb)


def test_lvu_labels_are_the_plans(folder):
    videos = scenes_by_video()
    for split in SPLITS:
        tables = {task: lvu(folder, task, split) for task in LVU_TASKS}
        for table in tables.values():
            assert not table["youtube_id"].duplicated().any()
            of = [videos[v][0] for v in table["youtube_id"]]
            assert [f.imdb_id for f in of] == list(table["imdb_id"])
            assert {f.split for f in of} == {split}
        for row in tables["scene"].itertuples():
            film, scene = videos[row.youtube_id]
            assert row.class_id == film.scenes[scene].place
            assert row.class_name == PLACES[row.class_id]
        for row in tables["year"].itertuples():
            assert (
                int(row.class_name) == 1930 + 10 * row.class_id == videos[row.youtube_id][0].year // 10 * 10
            )
        for row in tables["writer"].itertuples():
            assert (row.class_name == r"\N") == (row.class_id == 0)
            assert row.class_id == videos[row.youtube_id][0].writer
        assert (tables["like_ratio"]["like_count"] > 0).all()
        assert (tables["view_count"]["view_count"] > 0).all()


def test_not_every_video_is_in_every_task_and_some_ids_start_with_a_dash(folder):
    listed = {task: {v for s in SPLITS for v in lvu(folder, task, s)["youtube_id"]} for task in LVU_TASKS}
    everything = set.union(*listed.values())
    assert any(listed[task] != everything for task in LVU_TASKS)
    assert any(video.startswith("-") for video in everything)


def test_every_labelled_video_has_a_duration_and_a_file_of_its_scene(folder):
    durations = pd.read_csv(folder / "lvu_1.0/lvu_durations.csv").set_index("videoid")["duration"]
    videos = scenes_by_video()
    labelled = {v for task in LVU_TASKS for s in SPLITS for v in lvu(folder, task, s)["youtube_id"]}
    assert labelled <= set(durations.index)
    assert {p.stem for p in (folder / "lvu_clips").iterdir()} == set(durations.index)
    whole = {}
    for video, seconds in durations.items():
        film, scene = videos[video]
        if film.film_id not in whole:
            whole[film.film_id] = decode(folder / "films" / f"{film.film_id}.mp4")
        first, last = true_scenes(TINY, film)[scene]
        clip = decode(folder / "lvu_clips" / f"{video}.mp4")
        np.testing.assert_array_equal(clip, whole[film.film_id][first : last + 1])
        assert seconds == max(1, round(len(clip) / TINY.fps))


def test_every_other_training_film_is_labelled(folder):
    films = [f.imdb_id for f in WORLD.films if f.split == "train"][::2]
    assert set(lvu(folder, "genre", "train")["imdb_id"]) == set(films)


def test_views_and_likes_follow_the_theme_in_part():
    world = plan_world(WorldConfig())
    rows = [
        (scene.theme, *audience(world, film, i))
        for film in world.films
        for i, scene in enumerate(film.scenes)
    ]
    table = pd.DataFrame(rows, columns=["theme", "views", "likes", "dislikes"])
    targets = {
        "views": np.log(table["views"]),
        "likes": table["likes"] / (table["likes"] + table["dislikes"]),
    }
    for target in targets.values():
        explained = target.groupby(table["theme"]).transform("mean").var() / target.var()
        assert 0.2 < explained < 0.9
    assert 10.5 < targets["views"].mean() < 13
    assert 0.8 < targets["likes"].mean() < 0.97


# --- moderation


def test_moderation_clips_are_the_first_seconds_of_scenes(folder):
    clips = pd.read_csv(folder / "mcd/clips.csv", keep_default_na=False)
    assert list(clips.columns) == ["clip", "film_id", "label", "split"]
    assert set(clips["split"]) == set(SPLITS)
    films = {f.film_id: f for f in WORLD.films}
    for film_id, group in clips.groupby("film_id"):
        film, frames = films[film_id], decode(folder / "films" / f"{film_id}.mp4")
        spans = true_scenes(TINY, film)
        assert len(group) == len(spans)
        for row, scene, (first, last) in zip(group.itertuples(), film.scenes, spans, strict=True):
            assert row.label == MODERATION[scene.moderation]
            clip = decode(folder / "mcd" / row.clip)
            assert len(clip) == min(5 * TINY.fps, last - first + 1)
            np.testing.assert_array_equal(clip, frames[first : first + len(clip)])
        assert group["split"].nunique() == 1


def test_moderation_splits_are_70_10_20_by_film():
    films = mcd_films(plan_world(WorldConfig()))
    assert {split: len(of) for split, of in films.items()} == {"train": 42, "val": 6, "test": 12}
    assert max(Counter(f.film_id for of in films.values() for f in of).values()) == 1
