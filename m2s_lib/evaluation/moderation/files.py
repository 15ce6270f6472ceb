"""Moderation: tables of clips of one class out of four, or the user's own (section 4.4a), split by film.

The paper's Mature Content Dataset (44,581 clips of 18,330 films) is not public; this reads any table of
labelled clips: files of their own, or stretches of films.
"""

import os
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.clips import VIDEO_ENDINGS, clip_times
from m2s_lib.io import read_csv

BENCHMARK = "MCD"
CLASSES = ("none", "sex", "violence", "drug-use")
BACKGROUND = "none"  # the paper's averages are over the three activities
SPLITS = ("train", "val", "test")
FRACTIONS = (0.7, 0.1, 0.2)  # section 4.4a
_ID_COLUMNS = ("item", "clip", "clip_id", "youtube_id")
_STRETCH = ("film_id", "start_s", "end_s")


def read_mcd(
    source: str | os.PathLike | pd.DataFrame, classes: Sequence[str] = CLASSES, *, seed: int = 0
) -> pd.DataFrame:
    """A table of labelled clips with its split; a split by film is made where there is none.

    Args:
        source: a CSV file or a table with item (or clip, clip_id), film_id, label, and optionally split, and
            start_s and end_s (seconds) for clips that are stretches of their film; those need no item.
        classes: the classes that a label may be.
        seed: of the split.

    Returns:
        item, film_id, label, class_id, split, and the source's other columns, in its order. With fewer than
        three films and no split of the table's own, all are 'train'. Where the clips
        are video files, `path` holds them and `item` their names without ending (with folders where names
        come twice). start_s and end_s are float, nan where a clip is a whole file.

    Raises:
        M2SError: missing columns, an unknown class, a clip listed twice, an unknown split, times that are
            none, or a film that the table's own split has in two parts; file and line are named.
    """
    in_file = not isinstance(source, pd.DataFrame)
    named = str(source) if in_file else "the table of clips"
    table = _read_csv(Path(source)) if in_file else source.reset_index(drop=True)
    lines = table.index + 2 if in_file else table.index + 1
    table = _with_items(table.assign(line=lines).reset_index(drop=True), named)
    where = [f"{named}, {'line' if in_file else 'row'} {n}" for n in table.pop("line")]
    for column in ("item", "film_id", "label"):
        table[column] = table[column].astype(str)
        if (i := _first(table[column] == "")) is not None:
            raise M2SError(f"{where[i]}: {column} is empty")
    twice, unknown = table["item"].duplicated(), ~table["label"].isin(classes)
    if (i := _first(twice)) is not None:
        raise M2SError(
            f"{where[i]}: clip {table['item'][i]} is listed before, one of {int(twice.sum())} rows that "
            "repeat a clip: keep one label a clip"
        )
    if (i := _first(unknown)) is not None:
        raise M2SError(
            f"{where[i]}: clip {table['item'][i]} has the unknown class {table['label'][i]!r}, one of "
            f"{int(unknown.sum())} such clips; the classes are {list(classes)}"
        )
    if "split" not in table.columns:
        few = table["film_id"].nunique() < 3  # cannot be split: nothing will be measured
        table["split"] = "train" if few else split_by_film(table, seed=seed)
    if (i := _first(~table["split"].isin(SPLITS))) is not None:
        raise M2SError(
            f"{where[i]}: clip {table['item'][i]} has the split {table['split'][i]!r}, expected one of "
            f"{SPLITS}"
        )
    _check_films(table, named)
    return table.assign(class_id=table["label"].map({c: i for i, c in enumerate(classes)}).astype(np.int64))


def split_by_film(
    table: pd.DataFrame, fractions: Sequence[float] = FRACTIONS, *, seed: int = 0
) -> np.ndarray:
    """A split into train, val and test in which no film is twice and the classes are spread roughly alike.

    Films come in order of falling size (equal ones shuffled); each goes where its classes lack most.

    Args:
        table: film_id, label, one row a clip.
        fractions: of clips in each part, adding up to 1.
        seed: of the shuffle; the same table and seed give the same split.

    Returns:
        'train', 'val' or 'test' of each row.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise M2SError(f"fractions are {tuple(fractions)}, expected three above 0 that add up to 1")
    counts = pd.crosstab(table["film_id"], table["label"])  # [films, classes], sorted by film
    if len(counts) < 3:
        raise M2SError(f"{len(counts)} films cannot be split into train, val and test: at least 3 are needed")
    per_film, total = counts.to_numpy(float), counts.to_numpy(float).sum(0)
    shuffled = np.random.default_rng(seed).permutation(len(per_film))
    order = shuffled[np.argsort(-per_film[shuffled].sum(1), kind="stable")]
    wanted = np.asarray(fractions)[:, None] * total  # [3, classes]
    lacking, part = wanted.copy(), np.empty(len(per_film), np.int64)
    for film in order:
        part[film] = np.argmax((per_film[film] / total * (lacking / wanted)).sum(1))
        lacking[part[film]] -= per_film[film]
    for empty in np.setdiff1d(np.arange(3), part):  # few films: none may be left without
        part[order[np.flatnonzero(part[order] == np.bincount(part, minlength=3).argmax())[-1]]] = empty
    of_film = dict(zip(counts.index, np.asarray(SPLITS, dtype=object)[part], strict=True))
    return table["film_id"].map(of_film).to_numpy()


def split_table(
    table: pd.DataFrame,
    classes: Sequence[str] = CLASSES,
    found: Collection[str] | None = None,
    short: Collection[str] = (),
) -> pd.DataFrame:
    """Clips and films of each split: split, n_films, n_listed, n_found, n_short, and one column a class.

    Args:
        table: of `read_mcd`.
        classes: as given to it; their columns count found clips, 0 means that the split has no example.
        found: items that could be read, None for all. short: those of them with fewer frames than asked for.
    """
    there = table if found is None else table[table["item"].isin(set(found))]
    counts = pd.crosstab(there["split"], there["label"]).reindex(
        index=SPLITS, columns=list(classes), fill_value=0
    )
    by_split = {
        "n_films": table.groupby("split")["film_id"].nunique(),
        "n_listed": table["split"].value_counts(),
        "n_found": there["split"].value_counts(),
        "n_short": there.loc[there["item"].isin(set(short)), "split"].value_counts(),
    }
    whole = pd.DataFrame({name: n.reindex(SPLITS, fill_value=0) for name, n in by_split.items()})
    return whole.join(counts).rename_axis("split").rename_axis(columns=None).reset_index()


def _with_items(table: pd.DataFrame, named: str) -> pd.DataFrame:
    """The columns item, film_id and label, path where the items are files, and times as numbers."""
    name = next((c for c in _ID_COLUMNS if c in table.columns), "")
    stretches = set(_STRETCH) <= set(table.columns)
    if not (name or stretches) or not {"film_id", "label"} <= set(table.columns):
        raise M2SError(
            f"{named} has the columns {list(table.columns.drop('line'))}: it needs item (or clip), film_id "
            "and label, separated by commas; stretches of films need start_s and end_s instead of item"
        )
    table = table.rename(columns={name: "item"})
    if stretches:
        names = table["item"] if name else table["film_id"]
        table[["start_s", "end_s"]] = times = clip_times(table, names, named)
        whole = times.isna().all(axis=1) & bool(name)
        if (i := _first(times.isna().any(axis=1) & ~whole)) is not None:
            raise M2SError(f"{named}: clip {names[i]} needs both start_s and end_s")
    if not name:
        ends = zip(table["film_id"], times["start_s"], times["end_s"], strict=True)
        return table.assign(item=[f"{film} {start:.10g}-{end:.10g}" for film, start, end in ends])
    paths = table["item"].astype(str)
    if not len(paths) or not paths.str.lower().str.endswith(VIDEO_ENDINGS).all():
        return table
    stems = pd.Series([PurePosixPath(p).stem for p in paths])
    if stems.duplicated().any():
        stems = pd.Series([str(PurePosixPath(p).with_suffix("")) for p in paths])
    return table.assign(path=paths, item=stems)


def _read_csv(path: Path) -> pd.DataFrame:
    """The rows that are not empty; the index counts empty ones, too."""
    try:
        table = read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (OSError, ValueError) as error:
        raise M2SError(f"{path} cannot be read as a CSV table of clips ({error})") from error
    return table[(table != "").any(axis=1)]


def _first(wrong: pd.Series) -> int | None:
    """The first row that is wrong."""
    return int(wrong.argmax()) if wrong.any() else None


def _check_films(table: pd.DataFrame, named: str) -> None:
    parts = table.groupby("film_id")["split"].nunique()
    if (parts > 1).any():
        film = parts.index[int((parts > 1).argmax())]
        where = sorted(table.loc[table["film_id"] == film, "split"].unique())
        raise M2SError(
            f"{named}: {int((parts > 1).sum())} films are in two parts of the split, the first is {film} in "
            f"{where}: leave the column split out, and a split by film is made"
        )
