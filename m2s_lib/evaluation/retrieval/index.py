"""Scene retrieval: a FAISS index of embeddings, exact nearest scenes, precision at k (supp. 2.2, Table 2)."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.vectors import checked_rows
from m2s_lib.io import atomic_path

ALL_QUERIES = "all queries"
_SPARE = 32  # neighbours fetched beyond k, so that the order among near duplicates can be put right
_MOST_FETCHED = 2048  # what a GPU index gives at most for one query
_BLOCK_BYTES = 4 << 20  # of float64 differences held at once
_log = logging.getLogger(__name__)


def build_index(embeddings: np.ndarray):
    """A FAISS index of exact L2 distances (IndexFlatL2), on the GPU where FAISS sees one.

    Args:
        embeddings: float32 [N, d], N >= 1, finite.

    Returns:
        faiss index; positions in it are rows of `embeddings`.
    """
    import faiss

    embeddings = checked_rows(embeddings, "embeddings")
    index = faiss.IndexFlatL2(embeddings.shape[1])
    index.add(embeddings)
    return _on_gpu(index)


class MappedIndex:
    """Exact L2 search over vectors where they lie, such as a mapped file: IndexFlatL2 without its copy.

    Attributes: ntotal, d, as an index of FAISS has them.
    """

    def __init__(self, embeddings: np.ndarray):
        self._vectors = checked_rows(embeddings, "embeddings")
        self.ntotal, self.d = self._vectors.shape

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and positions [q, k] of the nearest vectors, as FAISS gives them."""
        import faiss

        return faiss.knn(queries, self._vectors, k)


def open_index(embeddings: np.ndarray):
    """What `search` needs over float32 [N, d]: on the GPU where FAISS sees one, else without a copy."""
    return build_index(embeddings) if _has_gpu() else MappedIndex(embeddings)


def search(
    index,
    embeddings: np.ndarray,
    queries: np.ndarray,
    k: int,
    exclude: np.ndarray | None = None,
    not_same: tuple[Sequence, Sequence] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest scenes of each query by L2 distance, exactly: equal distances in the order of their
    index.

    FAISS computes |x|^2 + |y|^2 - 2xy, in which the distance of near duplicates drowns in rounding. What it
    finds is measured again as a difference in float64; a query whose k-th place is still open is compared
    with everything.

    Args:
        index: of `build_index` or `open_index` over `embeddings`.
        embeddings: float32 [N, d].
        queries: float32 [q, d].
        k: neighbours, 1 or more.
        exclude: bool [N], scenes that no query may find (those of other films, of another label, …).
        not_same: (films of the queries [q], films of the scenes [N]): no query finds scenes of its own film.

    Returns:
        distances float32 [q, k] and positions int64 [q, k]; inf and -1 where fewer than k scenes are left.
    """
    embeddings = np.asarray(embeddings, np.float32)  # checked when the index was built
    queries = checked_rows(queries, "queries", embeddings.shape[-1])
    if k < 1:
        raise M2SError(f"k is {k}, expected 1 or more")
    if (index.ntotal, index.d) != embeddings.shape:
        raise M2SError(
            f"the index has {index.ntotal:,} vectors of {index.d} numbers, the embeddings "
            f"{embeddings.shape[0]:,} of "
            f"{embeddings.shape[-1]}: build the index again from these embeddings"
        )
    groups = _groups(not_same, len(queries), len(embeddings))
    if exclude is not None:
        return _search_rest(embeddings, queries, k, np.asarray(exclude), groups)
    distances, found = np.full((len(queries), k), np.inf), np.full((len(queries), k), -1, np.int64)
    fetch = min(k + _SPARE + _largest_group(groups), len(embeddings), _MOST_FETCHED)
    _, candidates = index.search(queries, fetch)  # [q, fetch]
    for i, query in enumerate(queries):
        near = np.sort(candidates[i][candidates[i] >= 0])
        exact = _distances(query, embeddings[near])
        edge = exact.max(initial=0.0)  # nothing that was not fetched is clearly nearer than this
        if groups is not None:
            kept = groups[1][near] != groups[0][i]
            near, exact = near[kept], exact[kept]
        order = np.lexsort((near, exact))[:k]
        settled = len(order) == k and exact[order[-1]] ** 2 + _rounding(query, embeddings[near]) < edge**2
        if not settled and fetch < len(embeddings):
            near, exact = _everything(
                query, embeddings, None if groups is None else groups[1] != groups[0][i]
            )
            order = np.lexsort((near, exact))[:k]
        distances[i, : len(order)], found[i, : len(order)] = exact[order], near[order]
    return distances.astype(np.float32), found


def precision_at_k(
    query_labels: Sequence, neighbour_labels: np.ndarray, ks: Sequence[int] = (1, 5, 10)
) -> pd.DataFrame:
    """Share of the k nearest scenes that have the query's label, per label and over all queries (supp. Table
    2).

    Args:
        query_labels: [q].
        neighbour_labels: [q, max(ks) or more], nearest first; None where there is no neighbour (counts as
            wrong).
        ks: numbers of neighbours.

    Returns:
        Table label, k, precision (0..1), n (queries); the rows "all queries" weigh every query alike.
    """
    labels = np.asarray(query_labels, dtype=object)
    table = []
    for k in ks:
        each = query_precision(labels, neighbour_labels, k)  # [q]
        for label in sorted(set(labels), key=str):
            mine = labels == label
            table.append({"label": label, "k": k, "precision": each[mine].mean(), "n": int(mine.sum())})
        table.append({"label": ALL_QUERIES, "k": k, "precision": each.mean(), "n": len(labels)})
    return pd.DataFrame(table)


def query_precision(query_labels: Sequence, neighbour_labels: np.ndarray, k: int) -> np.ndarray:
    """Precision at k of every query: float64 [q]. Arguments as in `precision_at_k`."""
    labels, neighbours = np.asarray(query_labels, dtype=object), np.asarray(neighbour_labels, dtype=object)
    if neighbours.ndim != 2 or len(labels) != len(neighbours) or not len(labels):
        raise M2SError(
            f"{len(labels)} query labels and neighbour labels of shape {neighbours.shape} do not go "
            "together: "
            "expected one row of neighbours for each of at least 1 query"
        )
    if not 1 <= k <= neighbours.shape[1]:
        raise M2SError(f"precision at {k} needs {k} neighbours per query, there are {neighbours.shape[1]}")
    return (neighbours[:, :k] == labels[:, None]).mean(1).astype(float)


def save_index(index, path: str | os.PathLike) -> None:
    """Write the index, atomically; one on the GPU is brought to the CPU first."""
    import faiss

    if hasattr(faiss, "GpuIndex") and isinstance(index, faiss.GpuIndex):
        index = faiss.index_gpu_to_cpu(index)
    with atomic_path(path) as temporary:
        faiss.write_index(index, str(temporary))


def load_index(path: str | os.PathLike):
    """Read an index of `save_index`; M2SError names the file when it is missing or damaged."""
    import faiss

    if not Path(path).is_file():
        raise M2SError(f"{path} is missing: run stage 08 first, or build the index from embeddings.npy")
    try:
        flags = getattr(faiss, "IO_FLAG_MMAP_IFC", 0)  # mapped, not copied into memory
        return _on_gpu(faiss.read_index(str(path), flags))
    except RuntimeError as error:
        raise M2SError(f"{path} is no FAISS index or is damaged ({error}): build it again") from error


def _has_gpu() -> bool:
    import faiss

    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def _on_gpu(index):
    import faiss

    if not _has_gpu():
        return index
    try:
        return faiss.index_cpu_to_gpus_list(index, ngpu=1)
    except RuntimeError as error:  # too little memory, or a driver that does not fit
        _log.warning("the FAISS index stays on the CPU: %s", error)
        return index


def _groups(not_same: tuple | None, n_queries: int, n_items: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Films as numbers: of the queries [q] and of the scenes [N]."""
    if not_same is None:
        return None
    of_query, of_item = (list(part) for part in not_same)
    if (len(of_query), len(of_item)) != (n_queries, n_items):
        raise M2SError(
            f"not_same has {len(of_query)} and {len(of_item)} films, expected one for each of {n_queries} "
            "queries and "
            f"{n_items} scenes"
        )
    codes, _ = pd.factorize(np.array(of_query + of_item, dtype=object))
    return codes[:n_queries], codes[n_queries:]


def _largest_group(groups: tuple[np.ndarray, np.ndarray] | None) -> int:
    """Scenes of one query's film at most: as many may have to be passed over."""
    return (
        0 if groups is None else int(np.bincount(groups[1], minlength=groups[0].max() + 1)[groups[0]].max())
    )


def _search_rest(embeddings, queries, k, exclude, groups) -> tuple[np.ndarray, np.ndarray]:
    """Search among the scenes that are not excluded, through an index of their own."""
    if exclude.dtype != bool or exclude.shape != (len(embeddings),):
        raise M2SError(f"exclude is {exclude.dtype} {exclude.shape}, expected bool ({len(embeddings)},)")
    kept = np.flatnonzero(~exclude)
    if not len(kept):
        return np.full((len(queries), k), np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    films = None if groups is None else (groups[0], groups[1][kept])
    rest = embeddings[kept]
    distances, found = search(open_index(rest), rest, queries, k, not_same=films)
    return distances, np.where(found < 0, -1, kept[found])


def _distances(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """L2 distance of one query [d] to vectors [m, d], as a difference in float64: [m]."""
    return np.sqrt(((vectors.astype(np.float64) - query) ** 2).sum(1))


def _rounding(query: np.ndarray, vectors: np.ndarray) -> float:
    """How far FAISS's squared distances in float32 can be off: large squares are added before they cancel."""
    largest = float(query @ query) + float(np.einsum("md,md->m", vectors, vectors).max(initial=0.0))
    return 4 * float(np.finfo(np.float32).eps) * len(query) ** 0.5 * largest


def _everything(
    query: np.ndarray, embeddings: np.ndarray, kept: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """All positions that are kept, and their exact distances."""
    near = np.arange(len(embeddings)) if kept is None else np.flatnonzero(kept)
    step = max(1, _BLOCK_BYTES // (8 * embeddings.shape[1]))
    parts = [_distances(query, embeddings[near[i : i + step]]) for i in range(0, len(near), step)]
    return near, np.concatenate(parts) if parts else np.zeros(0)
