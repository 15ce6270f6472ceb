"""Exact nearest scenes by FAISS (L2), precision at k (supp. 2.2, Table 2), and the index on disk."""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.vectors import checked_rows
from m2s_lib.io import atomic_path

_SPARE = 32  # neighbours fetched beyond k, so that the order among near duplicates can be put right
_QUERIES = 1024  # asked for at once
_FEW = 20  # queries from which FAISS multiplies matrices, which it does not do among chosen rows
_BLOCK_BYTES = 16 << 20  # of float64 differences held at once
_GPU_K = 2048  # neighbours that FAISS gives at most for one query on a GPU


def search(
    embeddings: np.ndarray,
    queries: np.ndarray,
    k: int,
    *,
    keep: np.ndarray | None = None,
    not_same: tuple[Sequence, Sequence] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest scenes of each query by L2 distance, exactly: equal distances in the order of their row.

    FAISS computes |x|^2 + |y|^2 - 2xy, in which the distance of near duplicates drowns in rounding. What it
    gives is measured again as a difference in float64; a query whose k-th neighbour may still be another is
    compared with everything. Nothing is copied, so `embeddings` may be a mapped file.

    Args:
        embeddings: float32 [N, d], finite.
        queries: float32 [q, d], finite.
        k: neighbours, 1 or more.
        keep: bool [N], scenes that may be returned (those of some films, of a label, …); None: all.
        not_same: (films of the queries [q], films of the scenes [N]): no query gets scenes of its own film.

    Returns:
        distances float32 [q, k] and rows int64 [q, k]; inf and -1 where fewer than k scenes are left.
    """
    embeddings = checked_rows(embeddings, "embeddings")
    queries = checked_rows(queries, "queries", embeddings.shape[1])
    if k < 1:
        raise M2SError(f"k is {k}, expected 1 or more")
    if keep is not None and (keep.dtype != bool or keep.shape != (len(embeddings),)):
        raise M2SError(f"keep is {keep.dtype} {keep.shape}, expected bool ({len(embeddings)},)")
    of_query, of_scene = _films(not_same, len(queries), len(embeddings))
    distances = np.full((len(queries), k), np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        own = _largest(of_query[part], of_scene)  # as many may have to be passed over
        fetched = _fetch(queries[part], embeddings, k + _SPARE + own, keep)
        for at in range(len(fetched)):
            query, film = queries[start + at], of_query[start + at]
            exact, near = _nearest(query, embeddings, fetched[at], k, film, of_scene, keep)
            distances[start + at, : len(near)], rows[start + at, : len(near)] = exact, near
    return distances, rows


def _fetch(queries: np.ndarray, embeddings: np.ndarray, k: int, keep: np.ndarray | None) -> np.ndarray:
    """Rows of about the k nearest by FAISS, int64 [q, k or all that are kept]; -1 where there is none."""
    import faiss

    k = min(k, len(embeddings) if keep is None else int(keep.sum()))
    if k == 0:
        return np.zeros((len(queries), 0), np.int64)
    if keep is not None and len(queries) >= _FEW:
        kept = np.flatnonzero(keep)
        return kept[_fetch(queries, embeddings[kept], k, None)]
    if keep is None and len(queries) > 1 and hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus():
        return faiss.knn_gpu(faiss.StandardGpuResources(), queries, embeddings, min(k, _GPU_K))[1]
    if keep is None:
        return faiss.knn(queries, embeddings, k)[1]
    bits = np.packbits(keep, bitorder="little")  # has to outlive the selector, which points to it
    selector = faiss.IDSelectorBitmap(len(keep), faiss.swig_ptr(bits))
    distances, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    pointers = [faiss.swig_ptr(x) for x in (queries, embeddings, distances, rows)]
    sizes = (embeddings.shape[1], len(queries), len(embeddings), k)
    faiss.knn_L2sqr(*pointers[:2], *sizes, *pointers[2:], None, selector)
    return rows


def _nearest(query, embeddings, fetched, k, film, of_scene, keep) -> tuple[np.ndarray, np.ndarray]:
    """Exact distances and rows of the k nearest of one query, from what FAISS fetched for it or from all."""
    fetched = np.sort(fetched[fetched >= 0])
    exact = _distances(query, embeddings, fetched)
    edge = exact.max(initial=0.0)  # nothing that was not fetched is clearly nearer than this
    others = of_scene[fetched] != film
    order = np.argsort(np.where(others, exact, np.inf), kind="stable")[: min(k, int(others.sum()))]
    everything = len(fetched) == (len(embeddings) if keep is None else int(keep.sum()))
    if not everything:
        slack = _rounding(query, embeddings[fetched])
        if len(order) < k or exact[order[-1]] ** 2 + slack >= edge**2:
            fetched = np.flatnonzero((of_scene != film) if keep is None else keep & (of_scene != film))
            exact = _distances(query, embeddings, fetched)
            order = np.argsort(exact, kind="stable")[:k]
    return exact[order], fetched[order]


def _distances(query: np.ndarray, embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """L2 distances of one query [d] to some rows, as differences in float64: [len(rows)]."""
    step = max(1, _BLOCK_BYTES // (8 * embeddings.shape[1]))
    parts = [embeddings[rows[i : i + step]].astype(np.float64) for i in range(0, len(rows), step)]
    return np.concatenate([np.zeros(0), *(np.sqrt(((part - query) ** 2).sum(1)) for part in parts)])


def _rounding(query: np.ndarray, vectors: np.ndarray) -> float:
    """How far FAISS's squared distances in float32 can be off: large squares are added before they cancel."""
    largest = float(query @ query) + float(np.einsum("md,md->m", vectors, vectors).max(initial=0.0))
    return 4 * float(np.finfo(np.float32).eps) * len(query) ** 0.5 * largest


def _films(not_same: tuple | None, n_queries: int, n_scenes: int) -> tuple[np.ndarray, np.ndarray]:
    """Films as numbers: of the queries [q] and of the scenes [N]; without films none are equal."""
    if not_same is None:
        return np.full(n_queries, -2), np.full(n_scenes, -1)
    of_query, of_scene = (list(part) for part in not_same)
    if (len(of_query), len(of_scene)) != (n_queries, n_scenes):
        raise M2SError(
            f"not_same has {len(of_query)} and {len(of_scene)} films, expected one for each of {n_queries} "
            f"queries and {n_scenes} scenes"
        )
    codes, _ = pd.factorize(np.array(of_query + of_scene, dtype=object))
    return codes[:n_queries], codes[n_queries:]


def _largest(of_query: np.ndarray, of_scene: np.ndarray) -> int:
    """Scenes of one query's film at most."""
    return int(pd.Series(of_scene).value_counts().reindex(of_query).fillna(0).max())


def query_precision(query_labels: Sequence, neighbour_labels: np.ndarray, k: int) -> np.ndarray:
    """Share of the k nearest scenes that have the query's label, of every query (supp. Table 2): float64 [q].

    Args:
        query_labels: [q].
        neighbour_labels: [q, k or more], nearest first; None where there is no neighbour (counts as wrong).
    """
    labels, neighbours = np.asarray(query_labels, dtype=object), np.asarray(neighbour_labels, dtype=object)
    if neighbours.ndim != 2 or len(labels) != len(neighbours) or not len(labels):
        raise M2SError(
            f"{len(labels)} query labels and neighbour labels of shape {neighbours.shape} do not go "
            "together: expected one row of neighbours for each of at least 1 query"
        )
    if not 1 <= k <= neighbours.shape[1]:
        raise M2SError(f"precision at {k} needs {k} neighbours per query, there are {neighbours.shape[1]}")
    return (neighbours[:, :k] == labels[:, None]).mean(1).astype(float)


def write_index(embeddings: np.ndarray, path: str | os.PathLike) -> None:
    """Writes a FAISS index of exact L2 distances (IndexFlatL2) for use elsewhere; rows are `embeddings`' own.

    Args:
        embeddings: float32 [N, d], N >= 1, finite.
    """
    import faiss

    embeddings = checked_rows(embeddings, "embeddings")
    index = faiss.IndexFlatL2(embeddings.shape[1])
    index.add(embeddings)
    with atomic_path(path) as temporary:
        faiss.write_index(index, str(temporary))
