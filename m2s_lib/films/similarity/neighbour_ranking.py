"""Counting who watched what together, ranking neighbours, joining directed neighbours to undirected pairs."""

import numpy as np
import pandas as pd
from scipy import sparse

from m2s_lib.errors import M2SError
from m2s_lib.progress import progress

_CELLS = 4_000_000  # cells of the film x film table that are looked at together: bounds the memory

# how often a film comes first [F], comes second [F], and all in all
Margins = tuple[np.ndarray, np.ndarray, float]
# directed neighbours: film, neighbour, rank, score
Named = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def symmetric_views(
    log: pd.DataFrame, ids: np.ndarray, min_count: int
) -> tuple[sparse.csr_array, sparse.csr_array, Margins]:
    """Who watched what: X [users, F] of zeros and ones, so that X^T X counts the users two films share.

    Args:
        log: columns user, film_id (only ids of `ids`).
        ids: sorted film ids [F].
        min_count: a film with fewer viewers cannot share that many, so its views are dropped before counting.
    """
    users, n_users = _codes(log["user"])
    views = _ones(users, _film_index(log, ids), (n_users, len(ids)))
    watched = views.sum(0)  # [F]
    views.data *= (watched >= min_count)[views.indices]
    views.eliminate_zeros()
    return views, views, (watched, watched, n_users)


def successive_views(
    log: pd.DataFrame, ids: np.ndarray, window: int, counts: dict[str, int]
) -> tuple[sparse.csr_array, sparse.csr_array, Margins]:
    """Who watched what next: X and Y, both [moments, F], so that (X^T Y)[a, b] counts users with b soon after
    a.

    A moment is one time of one user. Row g of X has the films of moment g, row g of Y those of the next
    `window` moments of the same user. Views without a time are left out; `counts["views_without_time"]` says
    how many.
    """
    timed = log[log["time"].notna()]
    counts["views_without_time"] = len(log) - len(timed)
    if not len(timed):
        raise M2SError(
            f'none of the {len(log):,} views in the watch log has a time, and order="watched_after" goes by '
            'time: give the log a column time, or take order="symmetric"'
        )
    table = pd.DataFrame({"user": _codes(timed["user"])[0], "film": _film_index(timed, ids)})
    table["time"] = timed["time"].to_numpy()
    first = table.groupby(["user", "film"], sort=False)["time"].min().reset_index()
    # a user's moments are consecutive
    moment = first.groupby(["user", "time"], sort=True).ngroup().to_numpy()
    shape = (int(moment.max()) + 1, len(ids))
    films = _ones(moment, first["film"].to_numpy(), shape)
    user = np.zeros(shape[0], np.int64)
    user[moment] = first["user"]
    later = [np.arange(min(s, shape[0]), shape[0]) for s in range(1, window + 1)]
    rows, cols = np.concatenate([t - s for s, t in enumerate(later, 1)]), np.concatenate(later)
    same = user[rows] == user[cols]
    nexts = _ones(rows[same], cols[same], (shape[0], shape[0])) @ films  # [moments, F]
    begins, follows = films.T @ nexts.sum(1), nexts.T @ films.sum(1)  # [F] each
    return films, nexts, (begins, follows, float(begins.sum()))


def nearest_by_views(
    left: sparse.csr_array,
    right: sparse.csr_array,
    margins: Margins,
    neighbours: int,
    min_count: int,
    shrinkage: float,
    score: str = "lift",
) -> Named:
    """The best `neighbours` of each film by the scores of `cowatch_neighbours`.

    Args:
        left, right: [rows, F]; left^T right are the counts of film pairs, made in blocks of films.
        margins: begins [F], follows [F], total.

    Returns:
        Directed neighbours (film, neighbour, rank, score).
    """
    begins, follows, total = margins
    n_films = left.shape[1]
    block = max(1, _CELLS // n_films)
    by_film, named = left.T.tocsr(), []
    for start in progress(range(0, n_films, block), "counting films watched together", unit="blocks"):
        together = (by_film[start : start + block] @ right).tocoo()  # [block, F]
        a, b, n_ab = together.row + start, together.col, together.data
        kept = (a != b) & (n_ab >= min_count)
        a, b, n_ab = a[kept], b[kept], n_ab[kept]
        if score == "count":
            values = n_ab.astype(float)
        else:
            lift = n_ab * float(total) / (begins[a].astype(float) * follows[b])
            values = np.log(lift) * n_ab / (n_ab + shrinkage)
        more = values > 0
        named.append(_first_of_each(a[more], b[more], values[more], neighbours))
    return tuple(np.concatenate(part) for part in zip(*named, strict=True))


def nearest_by_dot(embeddings: np.ndarray | sparse.csr_array, neighbours: int) -> Named:
    """The best `neighbours` of each film by dot product, those above 0 only.

    Args:
        embeddings: [F, d], dense or sparse.
        neighbours: films named by each film.
    """
    n = embeddings.shape[0]
    block = max(1, _CELLS // n)
    named = []
    for start in range(0, n, block):
        dots = embeddings[start : start + block] @ embeddings.T  # [block, F]
        dots = dots.toarray() if sparse.issparse(dots) else np.asarray(dots)
        rows = np.arange(len(dots))
        dots[rows, rows + start] = 0
        k = min(neighbours, n - 1)
        least = np.partition(dots, n - k, axis=1)[:, n - k, None]  # [block, 1]; ties at the edge stay in
        a, b = np.nonzero((dots >= least) & (dots > 0))
        named.append(_first_of_each(a + start, b, dots[a, b].astype(float), neighbours))
    return tuple(np.concatenate(part) for part in zip(*named, strict=True))


def undirected_pairs(ids, film, neighbour, rank, score, source: str, counts: dict[str, int]) -> pd.DataFrame:
    """Directed neighbours as the film_pairs table: each pair once, with its better rank and score.

    Args:
        ids: sorted film ids [F].
        film, neighbour: indices into `ids`; rank, score: of the neighbour among the film's.
        source: "cowatch", "genre", "synopsis" or "random".
        counts: goes into `attrs["counts"]`, with films, films_with_neighbours and pairs added.
    """
    film, neighbour = np.asarray(film, np.int64), np.asarray(neighbour, np.int64)
    pairs = pd.DataFrame(
        {
            "film_a": np.minimum(film, neighbour),  # ids are sorted, so the smaller index is the smaller id
            "film_b": np.maximum(film, neighbour),
            "rank": np.asarray(rank, np.int64),
            "score": np.asarray(score, float),
        }
    )
    pairs = pairs.groupby(["film_a", "film_b"], as_index=False).agg({"rank": "min", "score": "max"})
    pairs = pairs.sort_values(["rank", "score", "film_a", "film_b"], ascending=[True, False, True, True])
    ends = pd.unique(pd.concat([pairs["film_a"], pairs["film_b"]]))
    for side in ("film_a", "film_b"):
        pairs[side] = ids[pairs[side].to_numpy()].astype(str)
    pairs = pairs.assign(source=source).reset_index(drop=True)
    pairs.attrs["counts"] = counts | {
        "films": len(ids),
        "films_with_neighbours": len(ends),
        "pairs": len(pairs),
    }
    return pairs


def _first_of_each(film: np.ndarray, neighbour: np.ndarray, score: np.ndarray, k: int) -> Named:
    """Of each film the k best neighbours, ties by the lower neighbour."""
    order = np.lexsort((neighbour, -score, film))
    film, neighbour, score = film[order], neighbour[order], score[order]
    starts = np.flatnonzero(np.diff(film, prepend=-1))
    rank = np.arange(len(film)) - np.repeat(starts, np.diff(starts, append=len(film))) + 1
    top = rank <= k
    return film[top], neighbour[top], rank[top], score[top]


def _codes(values: pd.Series) -> tuple[np.ndarray, int]:
    codes, unique = pd.factorize(values)
    return codes, len(unique)


def _film_index(log: pd.DataFrame, ids: np.ndarray) -> np.ndarray:
    """The position of each row's film in the sorted `ids`."""
    codes, films = pd.factorize(log["film_id"])
    return np.searchsorted(ids, np.asarray(films, dtype=object))[codes]


def _ones(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """Sparse int32 matrix with a 1 at each (row, col), however often it is listed."""
    matrix = sparse.csr_array((np.ones(len(rows), np.int32), (rows, cols)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
