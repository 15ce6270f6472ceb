"""The embedded films as a MovieNet folder: keyframes, shots, scene boundaries, place tags and metadata.

shot_keyf/<imdb>/shot_0000_img_0.jpg       three keyframes a shot, at 1/4, 1/2 and 3/4 of it
scene318/label318/<imdb>.txt               '0003 1': shot, and whether a scene ends with it; -1: uncertain
scene318/shot_movie318/<imdb>.txt          'start end key key key', frames, end inclusive
scene318/meta/split318.json                {"train": [...], "val": [...], "test": [...], "all": [...]}
annotation/<imdb>.json, meta/<imdb>.json   scenes with place tags; title, genres, ...
"""

from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.films.world.files import true_shots
from m2s_lib.films.world.records import GENRES, PLACES, Film, World
from m2s_lib.io import atomic_path, write_json

_TRAIN_FILMS = 12  # with the 24 benchmark films about the real list's shares of train, val and test
_UNCERTAIN = (
    0.15  # share of -1 at dissolves and fades inside a scene: about 1 % of all labels, as in the real
)
_UNTAGGED = 0.1  # share of scenes whose place nobody has tagged


def movienet_films(world: World) -> dict[str, list[Film]]:
    """The films of each split: the benchmark films, and for training some that are spread over the others."""
    train = [f for f in world.films if f.split == "train"]
    chosen = np.unique(np.linspace(0, len(train) - 1, min(_TRAIN_FILMS, len(train))).round().astype(int))
    held_out = {s: [f for f in world.films if f.split == s] for s in ("val", "test")}
    return {"train": [train[i] for i in chosen], **held_out}


def write_movienet_labels(world: World, folder: Path, films_dir: Path) -> list[tuple[Path, Path, list]]:
    """Write everything but the keyframes; return one job for `write_keyframes` per film."""
    splits = movienet_films(world)
    ids = {split: sorted(f.imdb_id for f in films) for split, films in splits.items()}
    everything = sorted(i for members in ids.values() for i in members)
    write_json(folder / "scene318" / "meta" / "split318.json", {**ids, "all": everything})
    jobs = []
    for film in (f for films in splits.values() for f in films):
        shots = true_shots(world.config, film)
        keys = _key_frames(shots)
        _write_shots(folder / "scene318", film.imdb_id, shots, keys, _boundaries(world, film, shots))
        write_json(folder / "annotation" / f"{film.imdb_id}.json", _annotation(world, film, shots))
        write_json(folder / "meta" / f"{film.imdb_id}.json", _metadata(film))
        jobs.append((films_dir / f"{film.film_id}.mp4", folder / "shot_keyf" / film.imdb_id, keys.tolist()))
    return jobs


def write_keyframes(job: tuple[Path, Path, list[list[int]]]) -> None:
    """Decode a film once and write the frames `keys[shot][i]` as JPEG files."""
    import av

    film, folder, keys = job
    names = {}
    for shot, frames in enumerate(keys):
        for i, frame in enumerate(frames):
            names.setdefault(frame, []).append(f"shot_{shot:04d}_img_{i}.jpg")
    with av.open(str(film)) as container:
        container.streams.video[0].codec_context.thread_count = 1  # the other cores have other films
        for number, frame in enumerate(container.decode(video=0)):
            for name in names.get(number, ()):
                with atomic_path(folder / name) as temporary:
                    frame.to_image().save(temporary, format="JPEG", quality=90)


def _key_frames(shots: pd.DataFrame) -> np.ndarray:
    """Frames at 1/4, 1/2 and 3/4 of each shot: int64 [n_shots, 3]."""
    start, end = shots["start_frame"].to_numpy(), shots["end_frame"].to_numpy()
    return start[:, None] + (end - start)[:, None] * np.arange(1, 4) // 4  # [n_shots, 3]


def _boundaries(world: World, film: Film, shots: pd.DataFrame) -> np.ndarray:
    """1 where a scene ends with the shot, 0 where it goes on, -1 where nobody is sure: int [n_shots - 1]."""
    scene = shots["scene"].to_numpy()
    labels = (scene[1:] != scene[:-1]).astype(int)
    soft = shots["transition"].isin(["dissolve", "fade"]).to_numpy()[:-1]
    doubt = np.random.default_rng([world.config.seed, 10, film.number]).random(len(labels)) < _UNCERTAIN
    labels[soft & doubt & (labels == 0)] = -1
    return labels


def _write_shots(
    folder: Path, imdb_id: str, shots: pd.DataFrame, keys: np.ndarray, labels: np.ndarray
) -> None:
    bounds = shots[["start_frame", "end_frame"]].to_numpy()
    tables = {
        "label318": [f"{shot:04d} {label}" for shot, label in enumerate(labels)],
        "shot_movie318": [" ".join(map(str, row)) for row in np.concatenate([bounds, keys], axis=1)],
    }
    for name, lines in tables.items():
        write_lines(folder / name / f"{imdb_id}.txt", lines)


def write_lines(path: Path, lines: list[str]) -> None:
    """A text file of these lines, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _annotation(world: World, film: Film, shots: pd.DataFrame) -> dict:
    """Scenes with half-open ranges of shots and frames; place_tag is a list of names or null."""
    tagged = np.random.default_rng([world.config.seed, 11, film.number]).random(len(film.scenes)) >= _UNTAGGED
    scenes = []
    for number, part in shots.groupby("scene"):
        shot, frame = part["shot"], (int(part["start_frame"].min()), int(part["end_frame"].max()) + 1)
        scenes.append(
            {
                "id": f"{film.imdb_id}_{number:04d}",
                "shot": [int(shot.min()), int(shot.max()) + 1],
                "frame": list(frame),
                "place_tag": [PLACES[film.scenes[number].place]] if tagged[number] else None,
                "action_tag": None,
            }
        )
    return {"imdb_id": film.imdb_id, "cast": [], "scene": scenes, "story": [], "cinematic_style": {}}


def _metadata(film: Film) -> dict:
    return {
        "imdb_id": film.imdb_id, "tmdb_id": str(900_000 + film.number), "douban_id": None,
        "title": film.title, "genres": GENRES[film.genre].split("-"),
        "country": None, "version": [], "imdb_rating": None,
        "director": [{"id": f"nm{1_000_001 + film.director}", "name": f"Director {film.director}"}],
        "writer": [{"id": f"nm{2_000_001 + film.writer}", "name": f"Writer {film.writer}"}],
        "cast": [], "overview": film.synopsis,
    }  # fmt: skip
