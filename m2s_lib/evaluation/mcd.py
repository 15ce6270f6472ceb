"""Moderation: clips of one class out of four, or the user's own (section 4.4, supp. 1.4, 2.4).

The paper's Mature Content Dataset (44,581 clips of 18,330 films) is not public; this reads any table of
labelled clips. AP of each class and their average are the paper's metric; thresholds are added.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.clips import VIDEO_ENDINGS, ItemSequences, ItemVectors, mean_by_owner
from m2s_lib.evaluation.metrics import UNMEASURED, Measured, average_precisions, threshold_table
from m2s_lib.evaluation.probe_search import best_setting, probe_rows, search_configs
from m2s_lib.evaluation.probes import ProbeConfig, ProbeData, train_probe_sets
from m2s_lib.evaluation.results import Evaluation, prediction_table, result_row, result_table

BENCHMARK = "MCD"
TASK = "moderation"  # of the predictions; the result rows name the class
CLASSES = ("none", "sex", "violence", "drug-use")
BACKGROUND = "none"  # the paper's averages are over the three activities
AVERAGE = "average"
SPLITS = ("train", "val", "test")
FRACTIONS = (0.7, 0.1, 0.2)  # section 4.4a
_ID_COLUMNS = ("item", "clip", "clip_id", "youtube_id")

# The paper gives the shape (two hidden layers of 512, supp. 1.4) and neither rate nor epochs.
CONFIG = ProbeConfig(lr=0.1, batch=256, epochs=100, dropout=0.25, choose="ap")


def read_mcd(source: str | os.PathLike | pd.DataFrame, classes: Sequence[str] = CLASSES, *, seed: int = 0):
    """A table of labelled clips with its split; a split by film is made where there is none.

    Args:
        source: a CSV file or a table with item (or clip, clip_id), film_id, label, and optionally split.
        classes: the classes that a label may be.
        seed: of the split.

    Returns:
        item, film_id, label, class_id, split, and the source's other columns, in its order. Where the clips
        are video files, `path` holds them and `item` their names without ending.

    Raises:
        M2SError: missing columns, an unknown class, a clip listed twice, an unknown split, or a film that the
            table's own split has in two parts.
    """
    named = "the table of clips" if isinstance(source, pd.DataFrame) else str(source)
    table = source.copy() if isinstance(source, pd.DataFrame) else _read_csv(Path(source))
    name = next((c for c in _ID_COLUMNS if c in table.columns), "")
    if not name or not {"film_id", "label"} <= set(table.columns):
        raise M2SError(
            f"{named} has the columns {list(table.columns)}: it needs item (or clip), film_id and label, "
            "separated by commas"
        )
    table = _with_items(table.rename(columns={name: "item"}).reset_index(drop=True))
    for column in ("item", "film_id"):
        table[column] = table[column].astype(str)
        if (table[column] == "").any():
            raise M2SError(f"{named}, row {int((table[column] == '').argmax()) + 1}: {column} is empty")
    twice = table["item"][table["item"].duplicated()]
    if len(twice):
        raise M2SError(
            f"{named}: {len(twice)} rows repeat a clip, the first is {twice.iloc[0]}: keep one label a clip"
        )
    unknown = table[~table["label"].isin(classes)]
    if len(unknown):
        row = unknown.iloc[0]
        raise M2SError(
            f"{named}: {len(unknown)} clips have an unknown class, the first is {row['item']} with "
            f"{row['label']!r}; the classes are {list(classes)}"
        )
    if "split" not in table.columns:
        table["split"] = split_by_film(table, seed=seed)
    _check_split(table, named)
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


def split_table(table: pd.DataFrame, classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """Clips and films of each split: split, one column a class, n_clips, n_films; 0: no example."""
    counts = pd.crosstab(table["split"], table["label"]).reindex(
        index=SPLITS, columns=list(classes), fill_value=0
    )
    films = table.groupby("split")["film_id"].nunique().reindex(SPLITS, fill_value=0)
    return counts.assign(n_clips=counts.sum(axis=1), n_films=films).rename_axis(columns=None).reset_index()


def evaluate_mcd(
    table: pd.DataFrame,
    embeddings: Mapping[str, np.ndarray],
    encoder: str,
    *,
    classes: Sequence[str] = CLASSES,
    background: str = BACKGROUND,
    config: ProbeConfig = CONFIG,
    seeds: Sequence[int] = (0,),
    search_grid: Sequence[Mapping] = (),
    recalls: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    device: torch.device | str = "cpu",
    trainer: Callable = train_probe_sets,
    frames: int = 0,
    benchmark: str = BENCHMARK,
    **changes,
) -> tuple[Evaluation, pd.DataFrame]:
    """Train and measure one encoder on moderation.

    Args:
        table: of `read_mcd`.
        embeddings: item to float32 [d] or [windows, d] (scores are averaged over a clip's windows).
        encoder: its name in the tables.
        classes: as given to `read_mcd`.
        background: the class that the average leaves out; '' averages over all.
        config, seeds, search_grid, trainer, frames, changes: as in `evaluate_lvu`.
        recalls: that the threshold table is made for.

    Returns:
        The evaluation: rows "AP" of each class and of task "average", split test, intervals by a bootstrap
        over films; a class without a clip in test is nan. And the threshold table of the first seed: class,
        and the columns of `metrics.threshold_table`.
    """
    sequences = (frames,) if frames else ()
    vectors = (ItemSequences if frames else ItemVectors)(embeddings, table["item"], encoder, *sequences)
    parts = {s: table[(table["split"] == s) & vectors.found(table["item"])] for s in SPLITS}
    if empty := [s for s in ("train", "val") if not len(parts[s])]:
        raise M2SError(f"{encoder}: no clip with an embedding in {empty} of {len(table)} listed clips")
    each = search_configs(config, seeds, search_grid, changes)
    probes = trainer([(_items(parts, vectors, len(classes)), each)], device=device)[0]
    chosen = best_setting(probes, len(seeds))
    rows, tables, thresholds = [], [], pd.DataFrame()
    for seed, probe in zip(seeds, chosen, strict=True):
        scores = {s: _scores(parts[s], vectors, probe, len(classes)) for s in ("val", "test")}
        rows += _rows(parts["test"], table, scores["test"], classes, background, benchmark, encoder, seed)
        test, predicted = parts["test"], [classes[c] for c in scores["test"].argmax(1)]
        tables.append(prediction_table(
            benchmark, TASK, "test", encoder, seed, test["item"], test["label"], predicted, scores["test"]
        ))  # fmt: skip
        if seed == seeds[0]:
            thresholds = _thresholds(parts, scores, classes, background, recalls)
    about = pd.DataFrame(probe_rows(TASK, encoder, probes, chosen))
    return Evaluation(result_table(rows), pd.concat(tables, ignore_index=True), about), thresholds


def _items(parts: Mapping[str, pd.DataFrame], vectors: ItemVectors, outputs: int) -> ProbeData:
    (x, owners), (x_val, val_owners) = (vectors.rows(parts[s]["item"]) for s in ("train", "val"))
    y, y_val = (parts[s]["class_id"].to_numpy() for s in ("train", "val"))
    groups = None if len(x_val) == len(y_val) else val_owners
    return ProbeData(x, y[owners], x_val, y_val[val_owners], outputs, groups, TASK)


def _scores(rows: pd.DataFrame, vectors: ItemVectors, probe, outputs: int) -> np.ndarray:
    """Probabilities of each clip: [n, C]."""
    if not len(rows):
        return np.zeros((0, outputs))
    x, owners = vectors.rows(rows["item"])
    return mean_by_owner(probe.predict(x), owners)


def _rows(test, table, scores, classes, background, benchmark, encoder, seed) -> list[dict]:
    """Result rows of one seed: AP of each class, then the average without the background class."""
    listed = table[table["split"] == "test"]
    into = [c for c in classes if c != background]
    films = test["film_id"].to_numpy()
    by_class, mean = average_precisions(
        test["class_id"].to_numpy(), scores, classes, average_over=into, groups=films, seed=seed
    ) if len(test) else (pd.DataFrame(), UNMEASURED)  # fmt: skip
    measured = {AVERAGE: mean} | {r["class"]: Measured(r["ap"], r["ci_low"], r["ci_high"], len(test))
                                  for r in by_class.to_dict("records") if r["measured"]}  # fmt: skip
    return [
        result_row(benchmark, task, "test", encoder, "AP", measured.get(task, UNMEASURED),
                   n_found=len(test), n_listed=len(listed), seed=seed)
        for task in (*classes, AVERAGE)
    ]  # fmt: skip


def _thresholds(parts, scores, classes, background, recalls) -> pd.DataFrame:
    """The threshold table of every class with an example in validation, but the background's."""
    tables = []
    for c, name in enumerate(classes):
        labels = {s: parts[s]["class_id"].to_numpy() == c for s in ("val", "test")}
        if name == background or not labels["val"].any():
            continue
        made = threshold_table(
            labels["val"], scores["val"][:, c], labels["test"], scores["test"][:, c], recalls
        )
        tables.append(made.assign(**{"class": name}))
    if not tables:
        return pd.DataFrame()
    whole = pd.concat(tables, ignore_index=True)
    return whole[["class", *(c for c in whole.columns if c != "class")]]


def _with_items(table: pd.DataFrame) -> pd.DataFrame:
    """Clips given as files: the path as a column of its own, the item is the file's name without ending."""
    paths = table["item"].astype(str)
    if not len(paths) or not paths.str.lower().str.endswith(VIDEO_ENDINGS).all():
        return table
    return table.assign(path=paths, item=[PurePosixPath(p).stem for p in paths])


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise M2SError(f"{path} cannot be read as a CSV table of clips ({error})") from error


def _check_split(table: pd.DataFrame, named: str) -> None:
    wrong = table[~table["split"].isin(SPLITS)]
    if len(wrong):
        row = wrong.iloc[0]
        raise M2SError(
            f"{named}: clip {row['item']} has the split {row['split']!r}, expected one of {SPLITS}"
        )
    parts = table.groupby("film_id")["split"].nunique()
    if (parts > 1).any():
        film = parts.index[int((parts > 1).argmax())]
        where = sorted(table.loc[table["film_id"] == film, "split"].unique())
        raise M2SError(
            f"{named}: {int((parts > 1).sum())} films are in two parts of the split, the first is {film} in "
            f"{where}: leave the column split out, and a split by film is made"
        )
