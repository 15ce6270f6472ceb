"""Scene boundaries of real films in OVSD's layout: OVSD's openly licensed ones, BBC's Planet Earth.

A folder a film: name.txt, shots.txt ('start end', inclusive frames), scenes.txt ('start<TAB>end', the true
scenes) and one file of ready features, a row a shot. Shots and scenes were marked apart from each other, with
gaps at transitions, so a scene begins at the shot whose start is nearest.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.movienet.shot_windows import FIELD_FPS, NO_LABEL, LabelledFilm
from m2s_lib.films.store.reference_shots import reference_folder
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.films.store.sources import read_ready_features
from m2s_lib.films.video.shot_boundaries import read_ovsd_shots
from m2s_lib.films.world.embedded import EMBEDDED
from m2s_lib.io import is_count

BENCHMARK = "OVSD"
OWN, BESIDE = "own", "beside"
_FAR_S = 1.0  # a scene whose nearest shot starts further away than this is counted
COUNTS = ("n_shots", "n_scenes", "n_boundaries", "n_merged", "n_far")
REPORT = ("film_id", "title", *COUNTS, "status", "reason")


@dataclass(frozen=True)
class OpenFilms:
    """What was read.

    Attributes:
        benchmark: "OVSD" or "BBC".
        films: labelled films, by their folder's name.
        features: film_id to the ready features, float32 [n_shots, d].
        report: one row a film: title, n_shots, n_scenes (lines of scenes.txt), n_boundaries (shots after
            which the scene changes), n_merged (scenes that begin at the same shot as another, or at the
            first), n_far (scenes more than a second from any shot's start), status, reason.
    """

    benchmark: str
    films: list[LabelledFilm]
    features: dict[str, np.ndarray]
    report: pd.DataFrame


def ovsd_folder(given: str | os.PathLike, films_dir: str | os.PathLike, source: str = "video") -> Path | None:
    """Returns where OVSD's films are, None where they are not wanted.

    Args:
        given: a folder; '' for none; 'own' for the run's own films where they come as ready features
            (`source` 'features') with scenes; 'beside' for a folder `ovsd` beside the run's films.
        films_dir: of the run.
    """
    if str(given) not in (OWN, BESIDE):
        return Path(given) if str(given) else None
    if str(films_dir) in ("", EMBEDDED):
        return None
    if source == "features":
        return Path(films_dir) if any(Path(films_dir).glob("*/scenes.txt")) else None
    return reference_folder(films_dir, "") if str(given) == BESIDE else None


def read_ovsd(folder: str | os.PathLike, benchmark: str = BENCHMARK, fps: float = FIELD_FPS) -> OpenFilms:
    """Reads every film of a folder in OVSD's layout: the folders in it that have a shots.txt.

    Args:
        benchmark: its name in the tables.
        fps: frames per second of shots.txt and scenes.txt, which do not say.

    Raises:
        M2SError: no film at all. A film that cannot be read is a row of the report with status 'failed'.
    """
    root = Path(folder)
    folders = sorted(p.parent for p in root.glob("*/shots.txt"))
    if not folders:
        raise M2SError(f"{root} has no OVSD film: expected folders with shots.txt and scenes.txt")
    films, features, rows = [], {}, []
    for path in folders:
        name = path / "name.txt"
        title = name.read_text(encoding="utf-8", errors="replace").strip() if name.is_file() else path.name
        try:
            film, row = read_ovsd_film(path, fps)
            features[path.name] = read_ready_features(path)[1]
            films.append(film)
            row |= {"status": "ok", "reason": ""}
        except M2SError as error:
            row = {"status": "failed", "reason": str(error)}
        rows.append({"film_id": path.name, "title": title} | row)
    report = pd.DataFrame(rows, columns=list(REPORT))
    report[list(COUNTS)] = report[list(COUNTS)].fillna(0).astype(int)
    return OpenFilms(benchmark, films, features, report)


def read_open_films(**folders: str | os.PathLike) -> list[OpenFilms]:
    """Reads the folders that are given, by the benchmark's name, such as OVSD="films/ovsd"; '' is none."""
    return [read_ovsd(folder, name) for name, folder in folders.items() if str(folder)]


def describe_open_films(data: Sequence[OpenFilms]) -> str:
    """Returns a line a data set: films and boundaries, and what could not be read."""
    lines = []
    for one in data:
        report, failed = one.report, one.report[one.report["status"] != "ok"]
        lines.append(
            f"{one.benchmark}: {len(one.films)} films, {report['n_shots'].sum():,} shots, "
            f"{report['n_boundaries'].sum():,} scene boundaries"
        )
        lines += [f"  {r.film_id} failed: {r.reason}" for r in failed.itertuples()]
    return "\n".join(lines) or "No real films with true scenes: give ovsd_dir or bbc_dir."


def read_ovsd_film(folder: str | os.PathLike, fps: float = FIELD_FPS) -> tuple[LabelledFilm, dict]:
    """One film's shots and labels, and its counts; features are not asked for."""
    folder = Path(folder)
    bounds = read_ovsd_shots(folder / "shots.txt")
    scenes = read_scenes(folder / "scenes.txt")
    labels, row = boundary_labels(bounds[:, 0] / fps, scenes[:, 0] / fps)
    return LabelledFilm(folder.name, bounds, labels, fps), row


def read_scenes(path: str | os.PathLike) -> np.ndarray:
    """scenes.txt: int64 [n_scenes, 2], first and last frame. Scenes may share a frame, as some of OVSD's do.

    Raises M2SError that names the line which is not two frames, or begins no later than the one before.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise M2SError(f"{path} cannot be read as a list of scenes: {error}") from error
    scenes: list[tuple[int, int]] = []
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 2 or not all(is_count(p) for p in parts):
            raise M2SError(f"{path}, line {number}: expected 'start end' as frame numbers, found {line!r}")
        start, end = int(parts[0]), int(parts[1])
        if end < start or (scenes and start <= scenes[-1][0]):
            raise M2SError(f"{path}, line {number}: scene {start}..{end} ends or begins too early")
        scenes.append((start, end))
    if not scenes:
        raise M2SError(f"{path} lists no scene: expected one 'start end' line per scene")
    return np.asarray(scenes, dtype=np.int64)


def label_store(
    store: ShotStore, scenes: str | os.PathLike, scenes_fps: float = FIELD_FPS
) -> tuple[LabelledFilm, dict]:
    """Labels for a film that stage 01 has cut into shots itself, from OVSD's scenes.

    Times are compared, so the file may have another frame rate than the one that was annotated.

    Args:
        store: the film's shots, with times.
        scenes: its scenes.txt. scenes_fps: frames per second of the frames in it.
    """
    start_s = store.shots["start_s"].to_numpy()
    if not np.isfinite(start_s).all():
        raise M2SError(f"film {store.film_id} has shots without times: its scenes cannot be mapped to them")
    labels, row = boundary_labels(start_s, read_scenes(scenes)[:, 0] / scenes_fps)
    bounds = store.shots[["start_frame", "end_frame"]].to_numpy(np.int64)
    fps = store.fps if np.isfinite(store.fps) and store.fps > 0 else FIELD_FPS
    return LabelledFilm(store.film_id, bounds, labels, fps), row


def boundary_labels(shot_starts: np.ndarray, scene_starts: np.ndarray) -> tuple[np.ndarray, dict]:
    """Whether the scene changes after each shot: every scene begins at the shot with the nearest start.

    Args:
        shot_starts: [n_shots], seconds, increasing. scene_starts: [n_scenes], seconds; the first scene begins
            the film, wherever it says.

    Returns:
        int8 [n_shots], -1 for the last shot; and the counts n_shots, n_scenes, n_boundaries, n_merged, n_far.
    """
    shot_starts, scene_starts = np.asarray(shot_starts, float), np.asarray(scene_starts, float)[1:]
    after = np.clip(np.searchsorted(shot_starts, scene_starts), 1, max(len(shot_starts) - 1, 1))
    if len(shot_starts) > 1:
        before_is_nearer = scene_starts - shot_starts[after - 1] <= shot_starts[after] - scene_starts
        first = after - before_is_nearer  # [n_scenes - 1], the shot each scene begins with
    else:
        first = np.zeros(len(scene_starts), np.int64)
    labels = np.zeros(len(shot_starts), np.int8)
    begins = np.unique(first[first > 0])
    labels[begins - 1] = 1
    labels[-1] = NO_LABEL
    return labels, {
        "n_shots": len(shot_starts),
        "n_scenes": len(scene_starts) + 1,
        "n_boundaries": len(begins),
        "n_merged": len(scene_starts) - len(begins),
        "n_far": int((np.abs(shot_starts[first] - scene_starts) > _FAR_S).sum()),
    }
