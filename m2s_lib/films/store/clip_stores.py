"""The benchmarks' clips as shot stores: short files or stretches of films, each a film of its own, read as
stage 01 reads films."""

import os
import shutil
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.store.film_table import COLUMNS, read_film_table
from m2s_lib.films.store.ingest import ingest_films
from m2s_lib.films.store.shot_store import ShotStore, open_stores
from m2s_lib.films.video.decoding import ScanConfig
from m2s_lib.io import inside, safe_name

NOT_THERE = "no such file"


def clip_stores(
    folder: str | os.PathLike,
    wanted: Collection[str] | pd.DataFrame,
    out_dir: str | os.PathLike,
    config: ScanConfig | None = None,
    *,
    workers: int = 0,
) -> tuple[dict[str, ShotStore], dict[str, str]]:
    """Shots and keyframes of the clips that a benchmark lists; clips that are done are not done again.

    Args:
        folder: the clips' files, sub-folders included; others that lie there are not read.
        wanted: ids of the clips, which are the files' names without ending; or a table with item and any of
            path (the file, seen from `folder`), and start_s and end_s (float seconds; nan: the whole file)
            for a stretch of a longer film, whose file is `path`, or named by film_id.
        out_dir: the stage's folder; the stores go to `out_dir`/shots.
        config: how clips become shots; `equal_parts=9` takes nine frames at equal distances instead (LVU has
            shots, moderation takes "9 frames from each clip", supp. 1.4). A stretch without it is one shot.
        workers: as in `ingest_films`.

    Returns:
        item -> store of those that could be read, item -> reason of all others.

    Raises:
        M2SError: no such folder, no video in it, none that is listed, two clips of one name, or a path that
            leads out of `folder`.
    """
    clips = wanted if isinstance(wanted, pd.DataFrame) else pd.DataFrame({"item": sorted(set(wanted))})
    if not str(folder):
        raise M2SError(f"the folder of the {len(clips)} clips that the labels list is not given")
    paths, reasons = _files(clips, Path(folder))
    clips = clips.assign(film_id=_ids(clips["item"]), path=paths)
    there = clips[clips["path"] != ""].reset_index(drop=True)
    stretches = _write_stretches(there, Path(out_dir) / "stretches")
    listed = there[["film_id", "path"]].reindex(columns=COLUMNS)
    listed = listed.assign(status="pending", reason="", n_shots=0)
    stores, failed = read_listed(listed, out_dir, config, boundaries_dir=stretches, workers=workers)
    item_of = dict(zip(clips["film_id"], clips["item"], strict=True))
    reasons |= {item_of[film]: reason for film, reason in failed.items()}
    return {item_of[film]: store for film, store in stores.items()}, reasons


def read_listed(
    listed: pd.DataFrame, out_dir: str | os.PathLike, config: ScanConfig | None, **how
) -> tuple[dict[str, ShotStore], dict[str, str]]:
    """Films of a table as `ingest_films` reads them: film_id -> store, of the others film_id -> reason."""
    done = ingest_films(listed, out_dir, config, timeout_s=600.0, **how)
    good, failed = done[done["status"] == "ok"]["film_id"], done[done["status"] != "ok"]
    opened = open_stores(Path(out_dir) / "shots") if len(good) else {}
    reasons = dict(zip(failed["film_id"], failed["reason"], strict=True))
    return {film: opened[film] for film in good}, reasons


def _ids(items: Sequence[str]) -> list[str]:
    """Items as names of files, the same for the same letters."""
    ids, seen = [_id(i) for i in items], {}
    for item, one in zip(items, ids, strict=True):
        if seen.setdefault(one, item) != item:
            raise M2SError(f"clips {seen[one]!r} and {item!r} have the same name {one!r}: rename one")
    return ids


def _id(item: str) -> str:
    return safe_name(unicodedata.normalize("NFC", str(item)))


def _files(clips: pd.DataFrame, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The file of each clip, '' where there is none that can be read, and item -> why not.

    Raises M2SError when no clip has one.
    """
    if "path" in clips.columns:
        paths = [str(p) if (p := inside(folder, name)).is_file() else "" for name in clips["path"]]
        if not any(paths):
            raise M2SError(
                f"none of the {len(paths)} clips' files is in {folder}, the first is "
                f"{next(iter(clips['path']), '')!r}: give the folder that the table's paths are seen from"
            )
        return paths, {i: NOT_THERE for i, p in zip(clips["item"], paths, strict=True) if not p}
    films = read_film_table(folder).set_index("film_id")
    names = clips["item"].where(_whole(clips), clips.get("film_id"))
    keys = [_id(n) for n in names]
    if not set(keys) & set(films.index):
        raise M2SError(
            f"{folder} holds {len(films)} videos, none of them is among the {len(clips)} clips that the "
            f"labels list: the first file is {films.index[0]!r}, the first clip {min(names, default='')!r}"
        )
    usable, refused = films["status"] != "failed", films["reason"]
    paths = [films.at[k, "path"] if usable.get(k, False) else "" for k in keys]
    gone = [(i, k) for i, k, p in zip(clips["item"], keys, paths, strict=True) if not p]
    return paths, {item: refused.get(key, NOT_THERE) for item, key in gone}


def _whole(clips: pd.DataFrame) -> pd.Series:
    """Which clips are whole files."""
    if "start_s" not in clips.columns:
        return pd.Series(True, index=clips.index)
    return clips[["start_s", "end_s"]].isna().any(axis=1)


def _write_stretches(clips: pd.DataFrame, folder: Path) -> str:
    """A table of boundaries for each clip that is a stretch; the folder for `ingest_films`, '' for none."""
    shutil.rmtree(folder, ignore_errors=True)
    parts = clips.reindex(columns=["film_id", "start_s", "end_s"])[~_whole(clips)]
    for film_id, start, end in parts.itertuples(index=False):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{film_id}.csv").write_text(f"start_s,end_s\n{float(start)},{float(end)}\n")
    return str(folder) if len(parts) else ""
