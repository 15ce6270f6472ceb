"""LVU with frozen features: an MLP for each of nine tasks, retrieval of places (section 4.2, supp. 1.2, 2.2).

Videos without features are counted, never dropped in silence: every row says how many of the listed videos it
rests on. The test set is scored once, by the probe that the validation set chose.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.clips import ItemSequences, ItemVectors, mean_by_owner
from m2s_lib.evaluation.lvu.files import SUPP_TABLE_1, LvuTask
from m2s_lib.evaluation.metrics import UNMEASURED, Measured, mean, mse, top1, wilson
from m2s_lib.evaluation.probes.probe_search import best_setting, probe_rows, search_configs
from m2s_lib.evaluation.probes.probes import ProbeConfig, ProbeData, train_probe_sets
from m2s_lib.evaluation.results import Evaluation, prediction_table, result_row, result_table
from m2s_lib.evaluation.retrieval.index import query_precision, search

BENCHMARK = "LVU"
_log = logging.getLogger(__name__)


def evaluate_lvu(
    tasks: Mapping[str, LvuTask],
    embeddings: Mapping[str, np.ndarray],
    encoder: str,
    *,
    configs: Mapping[str, ProbeConfig] = SUPP_TABLE_1,
    seeds: Sequence[int] = (0,),
    search_grid: Sequence[Mapping] = (),
    permuted: bool = False,
    device: torch.device | str = "cpu",
    trainer: Callable = train_probe_sets,
    frames: int = 0,
    **changes,
) -> Evaluation:
    """Train and measure one encoder on LVU's tasks.

    Args:
        tasks: of `read_lvu`.
        embeddings: youtube_id to float32 [d], or [windows, d]: every window is a training item with its
            video's label, and a video's score is the mean over its windows (LVU's sum of softmax).
        encoder: its name in the tables.
        configs: hyper-parameters of each task; the default is supp. Table 1.
        seeds: one probe each; the rows carry the seed.
        search_grid: changes of the config to choose among by validation score, such as
            `probe_search.SEARCH_GRID`; the same choice for all seeds. Empty: no search.
        permuted: permute the labels of training and validation videos: the control, which must give chance.
        device: where to train.
        trainer: trains the probes; `state_space.train_sequences` with `state_space.CONFIGS` is the
            end-to-end row.
        frames: above 0, [windows, d] is one sequence of so many frames, not windows with a label each.
        changes: of every config, such as epochs=30 or patience=20 for a small run.

    Returns:
        Rows "top-1" or "MSE" of the splits val (which chose) and test. Top-1 has Wilson's interval, MSE a
        bootstrap over films.

    Raises:
        M2SError: embeddings of other items, of two widths or not finite.
    """
    listed = {v for task in tasks.values() for v in task.rows["youtube_id"]}
    vectors = (
        ItemSequences(embeddings, listed, encoder, frames)
        if frames
        else ItemVectors(embeddings, listed, encoder)
    )
    if vectors.extra:
        _log.info("%s: %d embeddings are of no LVU video and not used", encoder, vectors.extra)
    name = f"{encoder} (permuted labels)" if permuted else encoder
    parts = {t: _parts(task, vectors) for t, task in tasks.items()}
    jobs = {}
    for t, task in tasks.items():
        if all(len(parts[t][s]) for s in ("train", "val")):
            each = search_configs(configs[t], seeds, search_grid, changes)
            jobs[t] = (_items(task, parts[t], vectors, permuted), each)
    trained = dict(zip(jobs, trainer(list(jobs.values()), device=device), strict=True))
    rows, predictions, about = [], [], []
    for t, task in tasks.items():
        chosen = best_setting(trained.get(t, []), len(seeds))
        about += probe_rows(t, name, trained.get(t, []), chosen)
        for seed, probe in zip(seeds, chosen or [None] * len(seeds), strict=True):
            for split in ("val", "test"):
                measured, table = _measure(task, parts[t][split], vectors, probe, split, name, seed)
                rows.append(_row(task, split, name, measured, len(parts[t][split]), seed))
                predictions.append(table)
    return Evaluation(result_table(rows), pd.concat(predictions, ignore_index=True), pd.DataFrame(about))


def place_retrieval(
    task: LvuTask,
    embeddings: Mapping[str, np.ndarray],
    encoder: str,
    *,
    ks: Sequence[int] = (1, 5, 10),
    other_films_only: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Precision at k of places: queries from validation, gallery from training, L2 distance (supp. 2.2).

    Args:
        task: the task "scene" of `read_lvu`, or another with classes.
        embeddings: youtube_id to float32 [d] or [windows, d] (their mean is used).
        encoder: its name in the tables.
        ks: sizes of the retrieved set.
        other_films_only: no query finds its own film. LVU's place task shares films between training and
            validation; the paper does not say that it left them out, so the default keeps them.

    Returns:
        Rows "P@k" of each place and of all queries (task "place retrieval: office", ...), and the neighbours:
        query, query_label, rank, item, label, distance, same_film.

    Raises:
        M2SError: no query or no gallery, or embeddings that do not fit.
    """
    vectors = ItemVectors(embeddings, task.rows["youtube_id"], encoder)
    queries, gallery = (_found(task.split(s), vectors) for s in ("val", "train"))
    if not len(queries) or not len(gallery):
        raise M2SError(
            f"{encoder}: place retrieval has {len(queries)} queries and a gallery of {len(gallery)}"
        )
    x = vectors.means(gallery["youtube_id"])
    films = (queries["imdb_id"].tolist(), gallery["imdb_id"].tolist()) if other_films_only else None
    most = max(ks)
    distances, found = search(x, vectors.means(queries["youtube_id"]), most, not_same=films)
    labels = np.append(gallery["label"].to_numpy(dtype=object), None)[found]  # -1 is the None at the end
    rows = []
    for k in ks:
        each = query_precision(queries["label"], labels, k)
        for place in [*sorted(set(queries["label"])), "all queries"]:
            mine = (
                np.ones(len(each), bool) if place == "all queries" else (queries["label"] == place).to_numpy()
            )
            all_listed = task.split("val")
            n_listed = (
                len(all_listed) if place == "all queries" else int((all_listed["label"] == place).sum())
            )
            what = f"place retrieval{' in other films' if other_films_only else ''}: {place}"
            rows.append(result_row(BENCHMARK, what, "val", encoder, f"P@{k}", _precision(each[mine], k),
                                   n_found=int(mine.sum()), n_listed=n_listed))  # fmt: skip
    return result_table(rows), _neighbours(queries, gallery, distances, found)


def _parts(task: LvuTask, vectors: ItemVectors) -> dict[str, pd.DataFrame]:
    return {s: _found(task.split(s), vectors) for s in ("train", "val", "test")}


def _found(rows: pd.DataFrame, vectors: ItemVectors) -> pd.DataFrame:
    return rows[vectors.found(rows["youtube_id"])]


def _items(
    task: LvuTask, parts: Mapping[str, pd.DataFrame], vectors: ItemVectors, permuted: bool
) -> ProbeData:
    x, y, groups = {}, {}, {}
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        labels = parts[split]["target" if task.kind.regression else "class_id"].to_numpy()
        labels = rng.permutation(labels) if permuted else labels
        x[split], owners = vectors.rows(parts[split]["youtube_id"])
        y[split], groups[split] = labels[owners], owners
    one_each = len(np.unique(groups["val"])) == len(groups["val"])
    return ProbeData(
        x["train"],
        y["train"],
        x["val"],
        y["val"],
        task.kind.outputs,
        None if one_each else groups["val"],
        task.name,
    )


def _measure(task, rows: pd.DataFrame, vectors, probe, split: str, encoder: str, seed: int):
    """One split by one probe: Measured and its rows of predictions."""
    if probe is None or not len(rows):
        return UNMEASURED, prediction_table(
            BENCHMARK, task.name, split, encoder, seed, [], [], [], np.zeros((0, 1))
        )
    x, owners = vectors.rows(rows["youtube_id"])
    scores = mean_by_owner(probe.predict(x), owners)  # [videos, C]
    if task.kind.regression:
        labels, predicted = rows["target"].to_numpy(), scores[:, 0]
        measured = mse(labels, predicted, groups=rows["imdb_id"])
    else:
        measured = top1(rows["class_id"], scores.argmax(1))
        labels = rows["label"]
        predicted = [task.classes[c] or f"class {c}" for c in scores.argmax(1)]
    table = prediction_table(
        BENCHMARK, task.name, split, encoder, seed, rows["youtube_id"], labels, predicted, scores
    )
    return measured, table


def _row(task: LvuTask, split: str, encoder: str, measured: Measured, n_found: int, seed: int) -> dict:
    metric, n_listed = ("MSE" if task.kind.regression else "top-1"), len(task.split(split))
    return result_row(
        BENCHMARK, task.name, split, encoder, metric, measured, n_found=n_found, n_listed=n_listed, seed=seed
    )


def _precision(each: np.ndarray, k: int) -> Measured:
    """Mean precision of queries [q]; Wilson's interval at k = 1, else a bootstrap over queries."""
    if k == 1:
        right = int(round(each.sum()))
        return Measured(right / len(each), *wilson(right, len(each)), len(each), right)
    return mean(each)


def _neighbours(queries: pd.DataFrame, gallery: pd.DataFrame, distances: np.ndarray, found: np.ndarray):
    q, rank = np.nonzero(found >= 0)
    there = gallery.iloc[found[q, rank]].reset_index(drop=True)
    asked = queries.iloc[q].reset_index(drop=True)
    return pd.DataFrame(
        {
            "query": asked["youtube_id"],
            "query_label": asked["label"],
            "rank": rank + 1,
            "item": there["youtube_id"],
            "label": there["label"],
            "distance": distances[q, rank],
            "same_film": asked["imdb_id"] == there["imdb_id"],
        }
    )
