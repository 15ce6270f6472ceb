"""Labels of the embedded films in the formats of the real data sets, so that the same readers read both.

    folder/movielens/                  ratings.csv, movies.csv, links.csv, tags.csv: the watch log (§4.1.1)
    folder/lvu_1.0/<task>/<split>.csv  LVU's nine tasks (§4.2.1), lvu_durations.csv
    folder/lvu_clips/<video>.mp4       LVU's videos: one scene each, cut out of a film as it is
    folder/movienet/                   keyframes, scene boundaries, place tags (§4.2.2): `movienet`
    folder/mcd/clips.csv, clips/       moderation labels (§4.3): the first seconds of scenes

The benchmarks' validation and test sets hold the world's benchmark films only, their training sets films that
pre-training may see. `labels.json` says of which world the labels are.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.world import movienet, records, viewers
from m2s_lib.films.world.files import check_rendered, film_stamps, run_jobs, true_scenes
from m2s_lib.films.world.kinds import kind_of
from m2s_lib.films.world.records import (
    DECADES,
    GENRES,
    MODERATION,
    PLACES,
    RELATIONSHIPS,
    SPEAKING,
    Film,
    World,
)
from m2s_lib.films.world.video import cut_clips
from m2s_lib.films.world.viewers import audience, watch_log
from m2s_lib.io import atomic_path, fingerprint, read_json, remove_temporaries, write_json

_CLASS_HEAD = "class_id class_name"
LVU_HEADS = {  # task: its own columns; youtube_id and imdb_id follow
    **dict.fromkeys(("scene", "director", "relationship", "way_speaking", "writer", "year"), _CLASS_HEAD),
    "genre": _CLASS_HEAD,
    "view_count": "view_count",
    "like_ratio": "like_count dislike_count",
}
_LVU_SHARE = {"relationship": 0.6, "genre": 1.0}  # of the videos that a task labels; the others: 0.85
_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_MCD_CLIP_S = 5.0  # seconds
_FOLDERS = ("movielens", "lvu_1.0", "lvu_clips", "movienet", "mcd")


def write_labels(world: World, folder: str | os.PathLike, workers: int = 0) -> bool:
    """Write the labels of a rendered world beside its films; labels that are there are not written again.

    Args:
        folder: of `render_world`.
        workers: processes, 0 for one per core, 1 for none beside this one.

    Returns:
        Whether this call wrote them.

    Raises:
        M2SError: a world without films in each split, films not rendered, or a folder that is somebody
            else's.
    """
    folder = Path(folder)
    count = {s: sum(f.split == s for f in world.films) for s in ("train", "val", "test")}
    if not all(count.values()):
        raise M2SError(
            f"benchmarks need films in each split, this world has {count}: plan it with films=1 or more and "
            "benchmark_films=2 or more"
        )
    check_rendered(world, folder)
    remove_temporaries(folder)
    record, stamp = folder / "labels.json", _stamp(world)
    begun = read_json(record) if record.exists() else None
    if begun == {"world": stamp} and all((folder / name).is_dir() for name in _FOLDERS):
        return False
    _make_empty(folder, ours=begun is not None)
    write_json(record, {"world": ""})  # begun: what a killed run leaves is removed by the next
    for write in (_write_movielens, _write_lvu, _write_movienet, _write_mcd):
        write(world, folder, workers)
    write_json(record, {"world": stamp})
    return True


def _stamp(world: World) -> str:
    """A hash of all that labels depend on: the world, its films, and the code that writes labels."""
    modules = (*kind_of(world.config).planning, records, viewers, movienet)
    code = [fingerprint(file) for file in (__file__, *(module.__file__ for module in modules))]
    text = json.dumps([repr(world.config), film_stamps(world), code])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _make_empty(folder: Path, ours: bool) -> None:
    """Removes earlier labels; files that are not `ours` are refused before anything goes."""
    for place in (folder / name for name in _FOLDERS):
        if place.exists() and not ours and any(place.iterdir()):
            raise M2SError(
                f"{place} holds files that are not of the embedded films: give them another folder"
            )
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def _write_csv(path: Path, rows: list[tuple], columns: list[str]) -> None:
    with atomic_path(path) as temporary:
        pd.DataFrame(rows, columns=columns).to_csv(temporary, index=False, lineterminator="\n")


# --- MovieLens


def _write_movielens(world: World, folder: Path, workers: int) -> None:
    """The watch log as ratings: sorted by user and film, titles with their article last and the year."""
    rng = np.random.default_rng([world.config.seed, 7])
    ratings, tags, themes = [], [], world.config.themes
    for viewer, number, time in watch_log(world):
        stars = float(np.clip(round(2 * rng.normal(3.5, 0.9)) / 2, 0.5, 5))
        ratings.append((viewer, number + 1, stars, time))
        theme = int(rng.choice(len(themes), p=world.films[number].themes))
        if rng.random() < 0.03:
            tags.append((viewer, number + 1, themes[theme], time + 60))
    movies = [(f.number + 1, _movielens_title(f), "|".join(sorted(_genres(f)))) for f in world.films]
    links = [(f.number + 1, f.imdb_id.removeprefix("tt"), 900_000 + f.number) for f in world.films]
    out = folder / "movielens"
    _write_csv(out / "ratings.csv", sorted(ratings), ["userId", "movieId", "rating", "timestamp"])
    _write_csv(out / "movies.csv", movies, ["movieId", "title", "genres"])
    _write_csv(out / "links.csv", links, ["movieId", "imdbId", "tmdbId"])
    _write_csv(out / "tags.csv", sorted(tags), ["userId", "movieId", "tag", "timestamp"])


def _movielens_title(film: Film) -> str:
    if film.title.startswith("The "):
        return f"{film.title.removeprefix('The ')}, The ({film.year})"
    return f"{film.title} ({film.year})"


def _genres(film: Film) -> list[str]:
    return GENRES[film.genre].split("-")


# --- LVU


def _write_lvu(world: World, folder: Path, workers: int) -> None:
    """Nine tasks over videos of one scene; a task labels most videos, a video once."""
    rows = {(task, split): [] for task in LVU_HEADS for split in ("train", "val", "test")}
    durations, jobs = [], []
    train = [f for f in world.films if f.split == "train"][::2]  # every other one: half the disk
    for film in [*train, *(f for f in world.films if f.split != "train")]:
        clips = []
        for scene, (first, last) in enumerate(true_scenes(world.config, film)):
            video = youtube_id(world, film, scene)
            clips.append((folder / "lvu_clips" / f"{video}.mp4", first, last))
            durations.append((video, max(1, round((last - first + 1) / world.config.fps))))
            rng = np.random.default_rng([world.config.seed, 6, film.number, scene])
            for task, label in _lvu_labels(world, film, scene).items():
                if rng.random() < _LVU_SHARE.get(task, 0.85) or scene == 0:
                    rows[task, film.split].append(" ".join(map(str, (*label, video, film.imdb_id))))
        jobs.append((folder / "films" / f"{film.film_id}.mp4", clips))
    run_jobs(_cut_film, jobs, workers, "cutting LVU's videos")
    for (task, split), lines in rows.items():
        head = f"{LVU_HEADS[task]} youtube_id imdb_id"
        movienet.write_lines(folder / "lvu_1.0" / task / f"{split}.csv", [head, *lines])
    _write_csv(folder / "lvu_1.0" / "lvu_durations.csv", durations, ["videoid", "duration"])


def _lvu_labels(world: World, film: Film, number: int) -> dict[str, tuple]:
    """The columns of each task that come before youtube_id."""
    scene, decade = film.scenes[number], DECADES.index(film.year // 10 * 10)
    views, likes, dislikes = audience(world, film, number)
    return {
        "scene": (scene.place, PLACES[scene.place]),
        "director": (film.director, f"nm{1_000_001 + film.director}"),
        "relationship": (scene.relationship, RELATIONSHIPS[scene.relationship]),
        "way_speaking": (scene.speaking, SPEAKING[scene.speaking]),
        # the real list's class 0 is the null of the data base that it came from
        "writer": (film.writer, f"nm{2_000_001 + film.writer}" if film.writer else r"\N"),
        "year": (decade, DECADES[decade]),
        "genre": (film.genre, GENRES[film.genre]),
        "view_count": (views,),
        "like_ratio": (likes, dislikes),
    }


def youtube_id(world: World, film: Film, scene: int) -> str:
    """The id of a scene's video: 11 letters as YouTube's; some start with '-', as some real ones do."""
    rng = np.random.default_rng([world.config.seed, 5, film.number, scene])
    letters = "".join(_ID_LETTERS[i] for i in rng.integers(len(_ID_LETTERS), size=11))
    return "-" + letters[1:] if scene == 0 and film.number % 4 == 0 else letters


def _cut_film(job: tuple[Path, list]) -> None:
    cut_clips(*job)


# --- MovieNet and moderation


def _write_movienet(world: World, folder: Path, workers: int) -> None:
    jobs = movienet.write_movienet_labels(world, folder / "movienet", folder / "films")
    run_jobs(movienet.write_keyframes, jobs, workers, "writing MovieNet's keyframes")


def _write_mcd(world: World, folder: Path, workers: int) -> None:
    """One clip per scene, its first seconds; films 70 / 10 / 20, no film in two splits."""
    rows, jobs = [], []
    for split, films in mcd_films(world).items():
        for film in films:
            clips = []
            for scene, (first, last) in enumerate(true_scenes(world.config, film)):
                name = f"clips/{film.film_id}_{scene:02d}.mp4"
                last = min(last, first + round(_MCD_CLIP_S * world.config.fps) - 1)
                clips.append((folder / "mcd" / name, first, last))
                rows.append((name, film.film_id, MODERATION[film.scenes[scene].moderation], split))
            jobs.append((folder / "films" / f"{film.film_id}.mp4", clips))
    run_jobs(_cut_film, jobs, workers, "cutting moderation clips")
    _write_csv(folder / "mcd" / "clips.csv", rows, ["clip", "film_id", "label", "split"])


def mcd_films(world: World) -> dict[str, list[Film]]:
    """The films of each split of the moderation data: all test films, of the others what 70/10/20 asks."""
    of = {s: [f for f in world.films if f.split == s] for s in ("train", "val", "test")}
    count = {"train": round(3.5 * len(of["test"])), "val": -(-len(of["test"]) // 2), "test": len(of["test"])}
    return {split: films[: count[split]] for split, films in of.items()}
