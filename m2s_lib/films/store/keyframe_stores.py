"""MovieNet's keyframe folders as shot stores, for the films that a benchmark lists."""

import os
from collections.abc import Collection
from pathlib import Path

from m2s_lib.errors import M2SError
from m2s_lib.films.store.clip_stores import NOT_THERE, read_listed
from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.films.video.decoding import ScanConfig

KEYFRAMES = ("shot_keyf", "240P", "240P_frames")  # as LGSS, MovieNet and BaSSL name the folder


def keyframe_stores(
    folder: str | os.PathLike,
    wanted: Collection[str],
    out_dir: str | os.PathLike,
    config: ScanConfig | None = None,
    *,
    workers: int = 0,
) -> tuple[dict[str, ShotStore], dict[str, str]]:
    """Keyframes of the films that a benchmark lists; films that are done are not done again.

    Args:
        folder: with shot_keyf/<film>/shot_0000_img_0.jpg (or 240P, 240P_frames).
        wanted: ids of the films.
        out_dir: the stage's folder; the stores go to `out_dir`/shots. They have as many shots as their film
            has keyframes, whatever its shot table says; `match_embeddings` counts what differs.
        config: frame_size and frames_per_shot are used.
        workers: as in `ingest_films`.

    Returns:
        film_id -> store of those that could be read, film_id -> reason of all others.

    Raises:
        M2SError: no such folder, no keyframes in it, or none of the listed films.
    """
    place = next((p for name in KEYFRAMES if (p := Path(folder) / name).is_dir()), None)
    if place is None:
        raise M2SError(
            f"{folder} has no keyframes: expected {KEYFRAMES[0]}/<film>/shot_0000_img_0.jpg in it, see "
            "data_manifests/movienet.yaml"
        )
    table = read_film_table(place, source="movienet")
    listed = table[table["film_id"].isin(set(wanted))].reset_index(drop=True)
    if not len(listed):
        raise M2SError(
            f"{place} holds keyframes of {len(table)} films, none of them is among the {len(wanted)} listed: "
            f"the first folder is {table['film_id'].iloc[0]!r}, the first listed film "
            f"{min(wanted, default='')!r}"
        )
    stores, failed = read_listed(listed, out_dir, config, source="movienet", workers=workers)
    absent = sorted(set(wanted) - set(listed["film_id"]))
    return stores, dict.fromkeys(absent, NOT_THERE) | failed
