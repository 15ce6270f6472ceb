"""Films that pre-training must not see: those in the validation and test sets of the benchmarks (§4.2)."""

import logging
import os
import re
from collections import defaultdict
from pathlib import Path

import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity.watch_log import imdb_id
from m2s_lib.io import read_json, read_lines

LVU_TASKS = (
    "scene",
    "director",
    "relationship",
    "way_speaking",
    "writer",
    "year",
    "genre",
    "view_count",
    "like_ratio",
)
HELD_OUT = ("val", "test")
_EXPECTED = "check the path of the benchmark"
_log = logging.getLogger(__name__)


def benchmark_imdb_ids(
    lvu_dir: str | os.PathLike = "", movienet_split: str | os.PathLike = "", extra: str | os.PathLike = ""
) -> dict[str, str]:
    """IMDb ids of the films in the validation and test sets of LVU and MovieNet, and where each was found.

    Args:
        lvu_dir: the folder lvu_1.0 (or the one above it): <task>/val.csv and test.csv; '' for none.
        movienet_split: a MovieNet split file, such as scene318/meta/split318.json: {"train": […], "val": […],
            "test": […]}; '' for none.
        extra: a text or CSV file whose first column holds further ids, one a line; '' for none.

    Returns:
        {imdb_id: "LVU scene test, MovieNet val"}, sorted by id; empty when no benchmark is given.

    Raises:
        M2SError: a path that is given but absent, without held-out lists, or with a line that ends in no IMDb
            id.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for source, ids in [*_lvu(lvu_dir), *_movienet(movienet_split), *_extra(extra)]:
        for i in sorted(ids):
            found[i].append(source)
    return {i: ", ".join(found[i]) for i in sorted(found)}


def exclude_benchmark_films(
    films: pd.DataFrame, ids: dict[str, str] | set[str]
) -> tuple[pd.DataFrame, int, pd.DataFrame]:
    """Leave out the films whose IMDb id is in a benchmark's validation or test set.

    Args:
        films: the film table, with a column imdb_id ('' unknown: such a film is kept, it cannot be checked).
        ids: of `benchmark_imdb_ids`.

    Returns:
        The films kept (in their order, new index), how many were left out, and a table of those: film_id,
        title, imdb_id, found_in.
    """
    missing = [c for c in ("film_id", "imdb_id") if c not in films.columns]
    if missing:
        raise M2SError(f"the film table lacks the column(s) {missing}: found {list(films.columns)}")
    where = dict(ids) if isinstance(ids, dict) else dict.fromkeys(ids, "")
    normal = pd.Series([imdb_id(i) for i in films["imdb_id"].fillna("")], index=films.index)
    out = normal.isin(list(where))
    columns = [c for c in ("film_id", "title", "imdb_id") if c in films.columns]
    table = films.loc[out, columns].assign(found_in=normal[out].map(where)).reset_index(drop=True)
    return films[~out].reset_index(drop=True), int(out.sum()), table


def _lvu(folder: str | os.PathLike) -> list[tuple[str, set[str]]]:
    if not str(folder):
        return []
    root = Path(folder)
    root = root / "lvu_1.0" if (root / "lvu_1.0").is_dir() else root
    tasks = [t for t in LVU_TASKS if (root / t).is_dir()]
    if not tasks:
        raise M2SError(f"{root} is not an LVU folder: none of the task folders {list(LVU_TASKS)} is in it")
    if len(tasks) < len(LVU_TASKS):
        absent = [t for t in LVU_TASKS if t not in tasks]
        _log.warning(
            "%s has %d of %d LVU tasks; films held out by %s are not excluded", root, len(tasks), 9, absent
        )
    return [(f"LVU {t} {s}", _lvu_ids(root / t / f"{s}.csv")) for t in tasks for s in HELD_OUT]


def _lvu_ids(path: Path) -> set[str]:
    """Last column of a space separated LVU list, from the right: tasks differ in their first columns."""
    ids = set()
    for number, line in enumerate(read_lines(path, _EXPECTED)[1:], start=2):
        if not line.strip():
            continue
        last = line.split()[-1]
        if not re.fullmatch(r"tt\d{7,10}", last):
            raise M2SError(f"{path}, line {number}: {line!r} does not end in an IMDb id such as tt1175709")
        ids.add(last)
    return ids


def _movienet(path: str | os.PathLike) -> list[tuple[str, set[str]]]:
    if not str(path):
        return []
    split = read_json(path)
    if not isinstance(split, dict) or not all(isinstance(split.get(s), list) for s in HELD_OUT):
        keys = sorted(split) if isinstance(split, dict) else type(split).__name__
        raise M2SError(f'{path} is not a MovieNet split: expected lists "val" and "test", found {keys}')
    return [(f"MovieNet {s}", {imdb_id(i) for i in split[s]} - {""}) for s in HELD_OUT]


def _extra(path: str | os.PathLike) -> list[tuple[str, set[str]]]:
    if not str(path):
        return []
    path = Path(path)
    first = [re.split(r"[,\t ]", line.strip())[0].strip("\"'") for line in read_lines(path, _EXPECTED)]
    ids = {imdb_id(i) for i in first} - {""}
    if not ids:
        raise M2SError(
            f"{path} holds no IMDb id in the first column of its {len(first)} lines, expected e.g. tt1175709"
        )
    return [(path.name, ids)]
