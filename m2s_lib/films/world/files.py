"""The embedded films as files: H.264 videos with cuts, dissolves and fades, and the truth about each shot.

    folder/films/<film_id>.mp4        what a user's folder of films holds
    folder/metadata.csv               what a user's metadata table would hold
    folder/truth/<film_id>.parquet    what a user never has: the true shots, scenes and themes
    folder/world.json                 which films these are; a film that is there is not rendered again

A dissolve shows the last frames of one shot and the first of the next at the same time, so it shortens the
film by its length; its frames belong to the earlier shot. A fade darkens the last frames of one shot and
lightens the first of the next and changes no count. Between scenes there are cuts and fades only, and each
scene starts on a key frame (IDR), so that a scene can be cut out of a film without encoding it again.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.world import video
from m2s_lib.films.world.kinds import kind_of
from m2s_lib.films.world.records import (
    GENRES,
    MODERATION,
    PLACES,
    RELATIONSHIPS,
    SPEAKING,
    Film,
    World,
    WorldSize,
)
from m2s_lib.io import (
    atomic_path,
    fingerprint,
    read_json,
    remove_temporaries,
    write_json,
    write_parquet,
)
from m2s_lib.parallel import cores
from m2s_lib.progress import Progress

_VERSION = 1  # raise when the same plan gives other transitions or another truth than before
_DISSOLVE_S, _FADE_S = 0.5, 0.4  # seconds; of a fade, on each side of the black
_NAMES = (PLACES, RELATIONSHIPS, SPEAKING, MODERATION)


@dataclasses.dataclass(frozen=True)
class Edit:
    """How a shot is joined to its neighbours, in frames."""

    frames: int  # of the shot as drawn
    dissolve_in: int  # first frames, shown during the previous shot's dissolve
    fade_in: int  # first frames, out of black
    out: int  # last frames that dissolve or fade
    transition: str  # how the shot ends: cut, dissolve, fade; end for the film's last


def render_world(world: World, folder: str | os.PathLike, workers: int = 0) -> int:
    """Write a world's films, the truth about them and their metadata table; skip films that are there.

    Files depend on the world alone: the same config gives the same bytes, with the same version of FFmpeg.
    Section 4 of the paper needs films that nobody may pass on; these stand in for them.

    Args:
        folder: made when absent; films that it holds of another world are removed.
        workers: processes, 0 for one per core, 1 for none beside this one.

    Returns:
        How many films were rendered by this call.

    Raises:
        M2SError: a picture size that H.264 cannot hold, or films in `folder` of somebody else's.
    """
    config, folder = world.config, Path(folder)
    if config.width % 2 or config.height % 2 or min(config.width, config.height) < 32:
        raise M2SError(
            f"embedded films of {config.width} x {config.height} pixels cannot be encoded: give an even "
            "width and height of 32 or more"
        )
    remove_temporaries(folder)
    stamps = film_stamps(world)
    _remove_other_films(folder, stamps)
    write_json(folder / "world.json", {"config": dataclasses.asdict(config), "films": stamps})
    todo = [(config, f, str(folder)) for f in world.films if not _is_rendered(folder, f.film_id)]
    run_jobs(_render_film, todo, workers, "rendering films")
    with atomic_path(folder / "metadata.csv") as temporary:
        metadata_table(world).to_csv(temporary, index=False, lineterminator="\n")
    return len(todo)


def film_stamps(world: World) -> dict[str, str]:
    """Per film a hash of all that its file depends on: plan, drawing code, size, encoder settings."""
    config = world.config
    settings = [getattr(config, name) for name in config.pixels_depend_on]
    code = [fingerprint(module.__file__) for module in (*kind_of(config).drawing, video)]
    common = json.dumps([_VERSION, code, settings, config.themes, *_NAMES])
    return {
        film.film_id: hashlib.blake2b(f"{common}{film}{film.scenes}".encode(), digest_size=16).hexdigest()
        for film in world.films
    }


def check_rendered(world: World, folder: str | os.PathLike) -> None:
    """Raise M2SError unless `folder` holds all films of exactly this world."""
    folder, stamps = Path(folder), film_stamps(world)
    known = _known_world(folder)["films"]
    missing = [i for i, stamp in stamps.items() if known.get(i) != stamp or not _is_rendered(folder, i)]
    if missing:
        raise M2SError(
            f"{folder} lacks {len(missing)} of this world's {len(stamps)} films (first: {missing[0]}): call "
            "render_world with the same world and folder first"
        )


def metadata_table(world: World) -> pd.DataFrame:
    """The metadata table of `read_film_table`: film_id, title, imdb_id, genres, synopsis, year, split."""
    rows = [
        (f.film_id, f.title, f.imdb_id, GENRES[f.genre].replace("-", "|"), f.synopsis, f.year, f.split)
        for f in world.films
    ]
    return pd.DataFrame(rows, columns=["film_id", "title", "imdb_id", "genres", "synopsis", "year", "split"])


def true_shots(config: WorldSize, film: Film) -> pd.DataFrame:
    """The true shots of a film's file.

    Returns:
        One row per shot: shot, start_frame, end_frame (inclusive; no gaps), scene, the names theme, place,
        relationship, speaking and moderation, transition (cut, dissolve, fade; end for the last),
        transition_frames (how many of its last frames are in it) and fade_in_frames (of its first).
    """
    rows, start = [], 0
    for number, ((scene_number, _), edit) in enumerate(
        zip(film.shots, plan_edits(config, film), strict=True)
    ):
        scene, end = film.scenes[scene_number], start + edit.frames - edit.dissolve_in - 1
        names = dict(
            theme=config.themes[scene.theme], place=PLACES[scene.place],
            relationship=RELATIONSHIPS[scene.relationship], speaking=SPEAKING[scene.speaking],
            moderation=MODERATION[scene.moderation],
        )  # fmt: skip
        at = dict(shot=number, start_frame=start, end_frame=end, scene=scene_number)
        joined = dict(transition=edit.transition, transition_frames=edit.out, fade_in_frames=edit.fade_in)
        rows.append(at | names | joined)
        start = end + 1
    return pd.DataFrame(rows)


def true_scenes(config: WorldSize, film: Film) -> list[tuple[int, int]]:
    """First and last frame (inclusive) of each scene in a film's file."""
    scenes = true_shots(config, film).groupby("scene")
    return list(zip(scenes["start_frame"].min().tolist(), scenes["end_frame"].max().tolist(), strict=True))


def true_labels(
    folder: str | os.PathLike, film_id: str, start_frames: Sequence, end_frames: Sequence, column: str
) -> list:
    """What is true of detected shots: a column of the true shot that holds each one's middle frame.

    Args:
        folder: of `render_world`.
        start_frames, end_frames: int [n_shots], inclusive.
        column: one of `true_shots`: 'theme', 'scene', 'place', ...

    Raises:
        M2SError: no such film or column, or frames beyond the film's end.
    """
    path = Path(folder) / "truth" / f"{film_id}.parquet"
    if not path.exists():
        raise M2SError(f"nothing is known about film {film_id!r}: {path} is missing; was it rendered here?")
    truth = pd.read_parquet(path)
    if column not in truth.columns:
        raise M2SError(
            f"the truth about film {film_id} has no column {column!r}; it has {list(truth.columns)}"
        )
    middle = (np.asarray(start_frames, np.int64) + np.asarray(end_frames, np.int64)) // 2  # [n_shots]
    last = int(truth["end_frame"].iloc[-1])
    if len(middle) and not 0 <= middle.min() <= middle.max() <= last:
        raise M2SError(f"film {film_id}: shots reach frame {middle.max()}, the film has frames 0 to {last}")
    rows = np.searchsorted(truth["start_frame"].to_numpy(), middle, side="right") - 1
    return truth[column].iloc[rows].tolist()


def plan_edits(config: WorldSize, film: Film) -> list[Edit]:
    """How the shots of a film are joined, in order; a shot gives less than half of itself to a transition."""
    shots = film.shots
    dissolve_in = fade_in = 0
    edits = []
    for (scene, shot), following in zip(shots, [*shots[1:], None], strict=True):
        kind = shot.transition if following else "end"
        if kind == "dissolve" and following[0] != scene:
            kind = "fade"  # two scenes must not share a frame
        seconds = {"dissolve": _DISSOLVE_S, "fade": _FADE_S}.get(kind, 0)
        out = 0
        if seconds:
            out = min(round(seconds * config.fps), shot.frames // 2 - 1, following[1].frames // 2 - 1)
        edits.append(Edit(shot.frames, dissolve_in, fade_in, out, kind))
        dissolve_in, fade_in = (out if kind == k else 0 for k in ("dissolve", "fade"))
    return edits


def film_frames(config: WorldSize, film: Film) -> Iterator[tuple[np.ndarray, bool]]:
    """The pictures of a film as its file shows them: uint8 [h, w, c], and whether a scene starts there."""
    numbers = [(i, j) for i, scene in enumerate(film.scenes) for j in range(len(scene.shots))]
    tail, draw_shot = None, kind_of(config).draw_shot
    for (scene, shot), edit in zip(numbers, plan_edits(config, film), strict=True):
        frames = draw_shot(config, film, scene, shot)  # [t, h, w, c]
        if edit.fade_in:
            frames[: edit.fade_in] = _weigh(frames[: edit.fade_in], np.arange(edit.fade_in) / edit.fade_in)
        if edit.dissolve_in:
            share = np.arange(1, edit.dissolve_in + 1) / (edit.dissolve_in + 1)
            head = _weigh(frames[: edit.dissolve_in], share) + _weigh(tail, 1 - share)
            frames[: edit.dissolve_in] = head
        if edit.transition == "fade":
            frames[-edit.out :] = _weigh(frames[-edit.out :], 1 - np.arange(1, edit.out + 1) / edit.out)
        if edit.transition == "dissolve":
            frames, tail = frames[: -edit.out], frames[-edit.out :]
        for t, frame in enumerate(frames):
            yield frame, shot == 0 and t == 0


def _weigh(frames: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Frames times one weight each: float32 [t, h, w, c]."""
    return frames * weights.astype(np.float32)[:, None, None, None]


def _render_film(job: tuple[WorldSize, Film, str]) -> None:
    """One film in a worker: the truth first, so that a film that is there has its truth."""
    config, film, folder = job
    write_parquet(true_shots(config, film), Path(folder) / "truth" / f"{film.film_id}.parquet")
    with atomic_path(Path(folder) / "films" / f"{film.film_id}.mp4") as temporary:
        video.encode_film(film_frames(config, film), temporary, config)


def run_jobs(task: Callable, jobs: list, workers: int, what: str) -> None:
    """Call `task` (importable by name) on every job, in processes of their own unless `workers` is 1.

    Raises M2SError when a process dies, and whatever a task raises; jobs that have not begun are then left.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    workers = min(workers or cores(), len(jobs))
    bar = Progress(what, total=len(jobs), unit="films")
    if workers <= 1:
        for job in jobs:
            task(job)
            bar.step()
        return
    # spawn: a worker must not inherit the notebook's threads, torch or CUDA
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for _ in pool.map(task, jobs):  # cancels what has not begun when one fails
                bar.step()
        except BrokenProcessPool as error:
            raise M2SError(
                f"{what}: a worker process ended (out of memory?) after {bar.done} of {len(jobs)} films; "
                f"what is done is kept: run it again, with fewer than {workers} workers if it happens again"
            ) from error


def _is_rendered(folder: Path, film_id: str) -> bool:
    return all((folder / p).exists() for p in (f"films/{film_id}.mp4", f"truth/{film_id}.parquet"))


def _known_world(folder: Path) -> dict:
    path = folder / "world.json"
    return read_json(path) if path.exists() else {"films": {}}


def _remove_other_films(folder: Path, stamps: dict[str, str]) -> None:
    """Remove films whose stamp is another one; refuse a folder of films that are not of an embedded world."""
    present = {p.stem for p in (folder / "films").glob("*") if not p.name.startswith(".")}
    known = _known_world(folder)["films"]
    if foreign := sorted(present - set(known)):
        raise M2SError(
            f"{folder / 'films'} holds {foreign[0]!r} ({len(foreign)} such), which is not an embedded film: "
            "give the embedded films a folder of their own"
        )
    for film_id, stamp in known.items():
        if stamps.get(film_id) != stamp:
            (folder / "films" / f"{film_id}.mp4").unlink(missing_ok=True)
            (folder / "truth" / f"{film_id}.parquet").unlink(missing_ok=True)
