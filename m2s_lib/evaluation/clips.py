"""Clips of the benchmarks as scenes of films: which shots belong to a clip, which clips cannot be had.

A clip is either a file of its own (a film of one clip), or a stretch of a film given by a table. The result
is the table of scenes that an encoder embeds, and a counted list of what is missing.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.io import read_csv

VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v")
_ID_COLUMNS = ("item", "youtube_id", "clip", "video_id")  # names under which a clip's id comes


def read_clips(source: str | os.PathLike) -> pd.DataFrame:
    """The clips there are: a folder of video files named by their ids, or a CSV table.

    Args:
        source: a folder (ids are the names without ending), or a CSV file with the columns item (or
            youtube_id, clip), film_id, and start_s and end_s where a clip is a part of its film.

    Returns:
        item, film_id, start_s, end_s (float seconds; nan: the whole film), sorted by item.

    Raises:
        M2SError: nothing there, missing columns, times that are no times, or an item listed twice.
    """
    source = Path(source)
    if source.is_dir():
        ids = sorted(p.stem for p in source.iterdir() if p.suffix.lower() in VIDEO_ENDINGS)
        table = whole_clips(ids)
        if not ids:
            raise M2SError(
                f"{source} holds no video file ({', '.join(VIDEO_ENDINGS)}): give the clips' folder"
            )
    else:
        table = _clip_table(source)
    twice = table["item"][table["item"].duplicated()]
    if len(twice):
        raise M2SError(f"{source}: {len(twice)} clips are there more than once, the first is {twice.iloc[0]}")
    return table.sort_values("item", ignore_index=True)


def whole_clips(items: Iterable[str]) -> pd.DataFrame:
    """Clips that are stores of their own (`clip_stores`) as `clip_scenes` takes them, in order."""
    items = list(items)
    return pd.DataFrame({"item": items, "film_id": items, "start_s": np.nan, "end_s": np.nan})


def clip_scenes(
    clips: pd.DataFrame,
    stores: Mapping[str, ShotStore],
    n: int = 9,
    *,
    windows: str = "middle",
    reasons: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scenes of n shots that stand for each clip (9 shots a video, section 4.2).

    A shot belongs to a clip when its middle does. A clip with fewer shots is one shorter scene, which the
    encoder takes as it is; it is counted by `n_shots`.

    Args:
        clips: item, film_id, start_s, end_s, as `read_clips` gives.
        stores: film_id to shot store.
        n: shots in a scene.
        windows: 'middle' takes the n shots in the middle, 'all' every n shots one after the other (scores of
            a clip's scenes are then averaged, as LVU averages windows).
        reasons: film_id to why it could not be read, for the list of what is missing.

    Returns:
        scenes: item, film_id, shot (first), n_shots, for `embed_scenes`.
        missing: item, reason, one row for each clip without a scene.
    """
    if windows not in ("middle", "all") or n < 1:
        raise M2SError(f"windows is {windows!r} and n is {n}: expected 'middle' or 'all', and 1 or more")
    scenes, missing = [], []
    for clip in clips.itertuples(index=False):
        store = stores.get(clip.film_id)
        if store is None:
            missing.append(
                (clip.item, (reasons or {}).get(clip.film_id) or f"film {clip.film_id} is not there")
            )
            continue
        shots = _shots_of(store.shots, clip.start_s, clip.end_s)
        if not len(shots):
            missing.append(
                (clip.item, f"no shot of film {clip.film_id} in {clip.start_s:g}..{clip.end_s:g} s")
            )
            continue
        count = min(n, len(shots))
        starts = [(len(shots) - count) // 2] if windows == "middle" else range(0, len(shots) - count + 1, n)
        scenes += [(clip.item, clip.film_id, int(shots[i]), count) for i in starts]
    return (
        pd.DataFrame(scenes, columns=["item", "film_id", "shot", "n_shots"]),
        pd.DataFrame(missing, columns=["item", "reason"]),
    )


class ItemVectors:
    """Checked embeddings of items: item -> float32 [its windows, d], all of one width, all finite.

    Args:
        embeddings: item to [d] or [windows, d].
        expected: the items that the benchmark lists; others are counted in `extra` and not used.
        what: the encoder, in messages.

    Raises:
        M2SError: none of the expected items, two widths, or values that are not finite; the item is named.
    """

    def __init__(self, embeddings: Mapping[str, np.ndarray], expected: Iterable[str], what: str):
        listed = set(expected)
        self.vectors = {k: _windows(v, k, what) for k, v in embeddings.items() if k in listed}
        self.extra = len(embeddings) - len(self.vectors)
        if not self.vectors:
            given, wanted = next(iter(embeddings), "none"), min(listed, default="none")
            raise M2SError(
                f"{what}: none of the {len(embeddings)} embeddings belongs to one of the {len(listed)} "
                f"listed items (given e.g. {given!r}, listed e.g. {wanted!r}): they are of other items"
            )
        first, x = next(iter(self.vectors.items()))
        self.dim = x.shape[1]
        for item, v in self.vectors.items():
            if v.shape[1] != self.dim:
                raise M2SError(f"{what}: item {item} has width {v.shape[1]}, item {first} has {self.dim}")

    def found(self, items: Iterable[str]) -> np.ndarray:
        """Which items have an embedding: bool [n]."""
        return np.array([i in self.vectors for i in items], dtype=bool)

    def rows(self, items: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """All windows of items that are found, and each one's place in `items`: float32 [N, d], int64 [N]."""
        parts = [self.vectors[i] for i in items]
        owners = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
        return (np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)), owners

    def means(self, items: Iterable[str]) -> np.ndarray:
        """Mean over each item's windows: float32 [n, d]."""
        return np.stack([self.vectors[i].mean(0) for i in items])


class ItemSequences(ItemVectors):
    """Frame features of items as sequences of one length, for heads that read the order of frames.

    Args:
        embeddings: item to [its frames, d].
        frames: L; longer items are thinned out evenly, shorter ones padded at their end.
    """

    def __init__(self, embeddings: Mapping[str, np.ndarray], expected: Iterable[str], what: str, frames: int):
        super().__init__(embeddings, expected, what)
        if frames < 1:
            raise M2SError(f"{what}: sequences of {frames} frames were asked for, expected 1 or more")
        self.frames = frames

    def rows(self, items: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """One sequence an item: float32 [n, L, d + 1], the last column 1 for frames and 0 for padding; and
        0 .. n - 1."""
        parts = [self.vectors[i] for i in items]
        x = np.zeros((len(parts), self.frames, self.dim + 1), np.float32)
        for row, part in zip(x, parts, strict=True):
            count = min(len(part), self.frames)
            picked = np.round(np.linspace(0, len(part) - 1, count)).astype(int)
            row[:count, :-1], row[:count, -1] = part[picked], 1
        return x, np.arange(len(parts))


def mean_by_owner(values: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Mean of [N, C] over the windows of each item; owners int [N] hold 0 .. n-1: [n, C]."""
    sums = np.zeros((int(owners.max()) + 1, values.shape[1]))
    np.add.at(sums, owners, values)
    return sums / np.bincount(owners)[:, None]


def _windows(value: np.ndarray, item: str, what: str) -> np.ndarray:
    x = np.atleast_2d(np.asarray(value))
    if x.ndim != 2 or not x.size or not np.issubdtype(x.dtype, np.number):
        raise M2SError(
            f"{what}: item {item} has an embedding {x.dtype} {x.shape}, expected numbers [windows, d]"
        )
    x = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(x).all():
        raise M2SError(f"{what}: the embedding of item {item} is not finite: check the features' file")
    return x


def _shots_of(shots: pd.DataFrame, start_s: float, end_s: float) -> np.ndarray:
    """Numbers of the shots whose middle lies in start_s .. end_s (nan: no bound)."""
    middle = (shots["start_s"].to_numpy() + shots["end_s"].to_numpy()) / 2
    low, high = (-np.inf if np.isnan(start_s) else start_s), (np.inf if np.isnan(end_s) else end_s)
    return np.flatnonzero((middle >= low) & (middle < high))


def _clip_table(path: Path) -> pd.DataFrame:
    try:
        table = read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise M2SError(f"{path} cannot be read as a CSV table of clips ({error})") from error
    name = next((c for c in _ID_COLUMNS if c in table.columns), "")
    if not name or "film_id" not in table.columns:
        raise M2SError(
            f"{path} has the columns {list(table.columns)}: a table of clips needs item (or one of "
            f"{_ID_COLUMNS[1:]}) and film_id, separated by commas"
        )
    times = clip_times(table, table[name], path)
    return pd.DataFrame({"item": table[name], "film_id": table["film_id"]}).join(times)


def clip_times(table: pd.DataFrame, names: pd.Series, source: str | os.PathLike) -> pd.DataFrame:
    """start_s and end_s of clips in float seconds, nan where a clip is a whole file.

    Args:
        table: with the columns start_s and end_s, as text or numbers, or without.
        names: of the clips, and `source` of the table, in messages.
    """
    times = pd.DataFrame(index=table.index)
    for column in ("start_s", "end_s"):
        given = table.get(column, pd.Series("", index=table.index)).astype(str).str.strip()
        times[column] = pd.to_numeric(given, errors="coerce").astype(float)
        wrong = times[column].isna() & ~given.isin(["", "nan"])
        if wrong.any():
            raise M2SError(
                f"{source}: {column} of clip {names[wrong].iloc[0]} is {given[wrong].iloc[0]!r}, expected "
                "seconds"
            )
    backwards = times["end_s"] <= times["start_s"]
    if backwards.any():
        start, end = times[backwards].iloc[0]
        raise M2SError(
            f"{source}: clip {names[backwards].iloc[0]} ends at {end:g} s, before its start {start:g} s"
        )
    return times
