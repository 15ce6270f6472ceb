"""The benchmarks' clips as shot stores: short files, each a film of its own, read as stage 01 reads films."""

import os
from collections.abc import Collection

from m2s_lib.errors import M2SError
from m2s_lib.films.decoding import ScanConfig
from m2s_lib.films.film_table import read_film_table
from m2s_lib.films.ingest import ingest_films
from m2s_lib.films.shot_store import ShotStore, open_stores

NOT_THERE = "no such file"


def clip_stores(
    folder: str | os.PathLike,
    wanted: Collection[str],
    out_dir: str | os.PathLike,
    config: ScanConfig | None = None,
    *,
    workers: int = 0,
    timeout_s: float = 600.0,
) -> tuple[dict[str, ShotStore], dict[str, str]]:
    """Shots and keyframes of the clips that a benchmark lists; clips that are done are not done again.

    Args:
        folder: the clips' files, named by their ids; others that lie there are not read.
        wanted: ids of the clips that are listed.
        out_dir: the stage's folder; the stores go to `out_dir`/shots.
        config: how clips become shots; `equal_parts=9` takes nine frames at equal distances instead (LVU has
            shots, moderation takes "9 frames from each clip", supp. 1.4).
        workers, timeout_s: as in `ingest_films`.

    Returns:
        item -> store of those that could be read, item -> reason of all others.

    Raises:
        M2SError: no such folder, no video in it, or none that is listed.
    """
    table = read_film_table(folder)
    listed = table[table["film_id"].isin(set(wanted))].reset_index(drop=True)
    if not len(listed):
        raise M2SError(
            f"{folder} holds {len(table)} videos, none of them is among the {len(wanted)} clips that the "
            f"labels list: the first file is {table['film_id'].iloc[0]!r}, the first clip "
            f"{min(wanted, default='')!r}"
        )
    done = ingest_films(listed, out_dir, config, workers=workers, timeout_s=timeout_s)
    good = done[done["status"] == "ok"]["film_id"]
    opened = open_stores(os.path.join(out_dir, "shots")) if len(good) else {}
    reasons = dict.fromkeys(sorted(set(wanted) - set(good)), NOT_THERE)
    failed = done[done["status"] != "ok"]
    reasons |= dict(zip(failed["film_id"], failed["reason"], strict=True))
    return {clip: opened[clip] for clip in good}, reasons
