"""LVU: nine tasks on frozen features, and retrieval of places (section 4.2, supp. 1.2, 2.2)."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from m2s_lib.evaluation.clips import ItemVectors
from m2s_lib.evaluation.encoders.compared import by_item
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.encoders import Encoder
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.lvu.files import SUPP_TABLE_1, LvuTask
from m2s_lib.evaluation.metrics import UNMEASURED, Measured, mean, share
from m2s_lib.evaluation.protocol import compare_encoders, measure, with_whitened
from m2s_lib.evaluation.results import Evaluation, empty_results, result_row, result_table
from m2s_lib.evaluation.retrieval.index import query_precision, search
from m2s_lib.evaluation.scene_vectors import Sources
from m2s_lib.evaluation.tasks import ClassTask, NumberTask, Task

BENCHMARK = "LVU"
RETRIEVAL = "place retrieval"
IN_OTHER_FILMS = f"{RETRIEVAL} in other films"
ALL = "all queries"
_KS = (1, 5, 10)
_NEIGHBOURS = ("query", "query_label", "rank", "item", "label", "distance", "same_film")


def lvu_tasks(read: Mapping[str, LvuTask]) -> list[Task]:
    """Returns LVU's tasks for the protocol, with the probes of supplementary Table 1.

    Args:
        read: of `read_lvu`.
    """
    return [_task(task) for task in read.values()]


def _task(task: LvuTask) -> Task:
    rows = task.rows.rename(columns={"youtube_id": "item", "imdb_id": "film_id"})
    about = {
        "benchmark": BENCHMARK,
        "name": task.name,
        "items": rows[["item", "film_id", "split", "label"]].reset_index(drop=True),
        "y": task.targets,
        "config": SUPP_TABLE_1[task.name],
        "measured": ("val", "test"),
    }
    return NumberTask(**about) if task.kind.regression else ClassTask(**about, classes=task.classes)


def measure_lvu(
    read: Mapping[str, LvuTask],
    found: Mapping[str, Vectors | Missing],
    scenes: pd.DataFrame,
    stores: Mapping[str, object],
    encoders: Sequence[str | Encoder],
    sources: Sources,
    *,
    other_films_only: bool = False,
    **how,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Returns results (the nine tasks, then places searched), predictions, probes and the neighbours.

    Args:
        read: of `read_lvu`. other_films_only: as in `compare_place_retrieval`. The others: as in
            `protocol.measure`.
    """
    results, *rest = measure(lvu_tasks(read), found, scenes, stores, encoders, sources, **how)
    places, neighbours = compare_place_retrieval(
        read["scene"], found, scenes["item"], other_films_only=other_films_only
    )
    return pd.concat([results, places], ignore_index=True), *rest, neighbours


def compare_place_retrieval(
    task: LvuTask,
    found: Mapping[str, Vectors | Missing],
    items: Sequence[str],
    *,
    other_films_only: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns P@k of places for every encoder: queries from validation, gallery from training (supp. 2.2).

    Args:
        task: the task "scene" of `read_lvu`, or another with classes.
        found, items: as in `protocol.compare`.
        other_films_only: no query finds its own film. LVU's place task shares films between training and
            validation; the paper does not say that it left them out, so the default keeps them.

    Returns:
        Rows "P@k" of each place and of all queries (task "place retrieval: office", ...), not measured for an
        encoder without a query or a gallery; and the neighbours: encoder and the columns of
        `place_retrieval`.
    """
    train = set(task.split("train")["youtube_id"])
    found = with_whitened(found, np.array([i in train for i in items], bool))
    name, neighbours = (IN_OTHER_FILMS if other_films_only else RETRIEVAL), []

    def one(vectors: Vectors, encoder: str) -> Evaluation:
        embeddings = by_item(vectors, items)
        rows, nearest = place_retrieval(task, embeddings, encoder, name, other_films_only)
        neighbours.append(nearest.assign(encoder=encoder))
        return empty_results(rows)

    out = compare_encoders(RETRIEVAL, found, one, lambda encoder: _unmeasured(task, encoder, name)).results
    empty = pd.DataFrame(columns=["encoder", *_NEIGHBOURS])
    return out, pd.concat(neighbours, ignore_index=True) if neighbours else empty


def place_retrieval(
    task: LvuTask,
    embeddings: Mapping[str, np.ndarray],
    encoder: str,
    name: str = RETRIEVAL,
    other_films_only: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns P@k of places by L2 distance, and the neighbours.

    Args:
        embeddings: youtube_id to float32 [d] or [windows, d] (their mean is used).
        encoder, name: of the encoder and the task in the rows.

    Returns:
        Result rows as in `compare_place_retrieval`; and query, query_label, rank, item, label, distance,
        same_film.

    Raises:
        M2SError: embeddings that do not fit.
    """
    listed, nothing = task.split("val"), pd.DataFrame(columns=list(_NEIGHBOURS))
    if not embeddings:
        return _unmeasured(task, encoder, name), nothing
    vectors = ItemVectors(embeddings, task.rows["youtube_id"], encoder)
    queries, gallery = (s[vectors.found(s["youtube_id"])] for s in (listed, task.split("train")))
    if not len(queries) or not len(gallery):
        return _unmeasured(task, encoder, name, len(queries)), nothing
    x = vectors.means(gallery["youtube_id"])
    films = (queries["imdb_id"].tolist(), gallery["imdb_id"].tolist()) if other_films_only else None
    distances, nearest = search(x, vectors.means(queries["youtube_id"]), max(_KS), not_same=films)
    labels = np.append(gallery["label"].to_numpy(dtype=object), None)[nearest]  # -1 is the None at the end
    rows = []
    for k in _KS:
        each = query_precision(queries["label"], labels, k)
        for place in [*sorted(set(queries["label"])), ALL]:
            mine = (queries["label"] == place).to_numpy() | (place == ALL)
            measured = _precision(each[mine], queries["imdb_id"].to_numpy()[mine], k)
            n_listed = len(listed) if place == ALL else int((listed["label"] == place).sum())
            counts = {"n_found": int(mine.sum()), "n_listed": n_listed}
            rows.append(
                result_row(BENCHMARK, f"{name}: {place}", "val", encoder, f"P@{k}", measured, **counts)
            )
    return result_table(rows), _neighbours(queries, gallery, distances, nearest)


def _unmeasured(task: LvuTask, encoder: str, name: str, n_found: int = 0) -> pd.DataFrame:
    counts = {"n_found": n_found, "n_listed": len(task.split("val"))}
    about = (BENCHMARK, f"{name}: {ALL}", "val", encoder)
    return result_table([result_row(*about, f"P@{k}", UNMEASURED, **counts) for k in _KS])


def _precision(each: np.ndarray, films: np.ndarray, k: int) -> Measured:
    """Mean precision of queries [q]: k of n at k = 1; the bootstrap draws films."""
    return share(each > 0, groups=films) if k == 1 else mean(each, groups=films)


def _neighbours(queries: pd.DataFrame, gallery: pd.DataFrame, distances: np.ndarray, nearest: np.ndarray):
    q, rank = np.nonzero(nearest >= 0)
    there = gallery.iloc[nearest[q, rank]].reset_index(drop=True)
    asked = queries.iloc[q].reset_index(drop=True)
    columns = (
        asked["youtube_id"], asked["label"], rank + 1, there["youtube_id"], there["label"],
        distances[q, rank], asked["imdb_id"] == there["imdb_id"],
    )  # fmt: skip
    return pd.DataFrame(dict(zip(_NEIGHBOURS, columns, strict=True)))
