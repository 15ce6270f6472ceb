"""S, the similarity of films from metadata, behind one name (section 4.1.1)."""

import os
from pathlib import Path

import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity.metadata_similarity import (
    cowatch_neighbours,
    genre_neighbours,
    random_pairs,
    show_neighbours,
    synopsis_neighbours,
)
from m2s_lib.films.similarity.watch_log import (
    match_watch_log,
    movielens_films,
    read_movielens,
    read_watch_log,
)

SOURCES = ("cowatch", "genre", "synopsis", "random")


def read_any_log(path: str | os.PathLike) -> pd.DataFrame:
    """A watch log from a MovieLens folder or from a CSV or parquet table (user, film_id, time)."""
    return read_movielens(path) if Path(path).is_dir() else read_watch_log(path)


def choose_source(source: str, films: pd.DataFrame, watch_log: str) -> str:
    """The source that 'auto' stands for: the first of co-watch, genre, synopsis that there is data for,
    else random."""
    if source != "auto":
        return source
    if watch_log:
        return "cowatch"
    for column, name in (("genres", "genre"), ("synopsis", "synopsis")):
        if (films[column].fillna("").str.len() > 0).sum() >= 2:
            return name
    return "random"


def similar_films(
    source: str,
    films: pd.DataFrame,
    *,
    watch_log: str | os.PathLike = "",
    neighbours: int = 3,
    order: str = "symmetric",
    min_count: int = 10,
    shrinkage: float = 20.0,
    window: int = 5,
    synopsis_model: str = "tfidf",
    seed: int = 0,
) -> pd.DataFrame:
    """Similar film pairs by one kind of metadata.

    Args:
        source: 'cowatch', 'genre', 'synopsis' or 'random' (the control of Table 1, row 10).
        films: the film table, benchmark films already left out.
        watch_log: for 'cowatch'; the other arguments are those of `metadata_similarity`.

    Returns:
        film_a < film_b, rank, score, source. `attrs["counts"]` says what could not be used.

    Raises:
        M2SError: an unknown source, co-watch without a log, or a source that gives no pair at all.
    """
    if source == "cowatch":
        if not watch_log:
            raise M2SError(
                "metadata_source 'cowatch' needs a watch log: set 02.watch_log to a MovieLens folder or table"
            )
        log, counts = match_watch_log(read_any_log(watch_log), films)
        pairs = cowatch_neighbours(log, films, neighbours, order, min_count, shrinkage, window)
        pairs.attrs["counts"] = {**counts, **pairs.attrs.get("counts", {})}
    elif source == "genre":
        pairs = genre_neighbours(films, neighbours, seed)
    elif source == "synopsis":
        pairs = synopsis_neighbours(films, neighbours, synopsis_model)
    elif source == "random":
        pairs = random_pairs(films, neighbours, seed)
    else:
        raise M2SError(f"metadata source {source!r} is unknown: use one of {list(SOURCES)}")
    if pairs.empty:
        raise M2SError(
            f"{source} gives no similar pair among {len(films)} films ({pairs.attrs.get('counts', {})}): "
            f"add the metadata, or set 02.metadata_source to one of {[s for s in SOURCES if s != source]}"
        )
    return _leave_dissimilar(pairs, len(films))


def _leave_dissimilar(pairs: pd.DataFrame, n_films: int) -> pd.DataFrame:
    """At most half of all film pairs may be similar, or a handful of films would leave none to tell them
    from."""
    most = max(1, n_films * (n_films - 1) // 4)
    if len(pairs) <= most:
        return pairs
    best = pairs.sort_values(["rank", "score", "film_a", "film_b"], ascending=[True, False, True, True]).head(
        most
    )
    best = best.sort_index().reset_index(drop=True)
    best.attrs["counts"] = {
        **pairs.attrs.get("counts", {}),
        "pairs": most,
        "left_out_for_contrast": len(pairs) - most,
    }
    return best


def log_catalogue(watch_log: str | os.PathLike) -> pd.DataFrame:
    """The films that a MovieLens folder knows by title (film_id, title, year, genres, …); empty for other
    logs."""
    if watch_log and (Path(watch_log) / "movies.csv").is_file():
        return movielens_films(watch_log)
    return pd.DataFrame({"film_id": [], "title": []})


def log_neighbours(
    watch_log: str | os.PathLike,
    catalogue: pd.DataFrame,
    titles: list[str],
    neighbours: int = 3,
    order: str = "symmetric",
    shrinkage: float = 20.0,
) -> pd.DataFrame:
    """Co-watch neighbours of some titles among all films of a watch log, as a table to read."""
    log, _ = match_watch_log(read_any_log(watch_log), catalogue)
    pairs = cowatch_neighbours(log, catalogue, neighbours, order, shrinkage=shrinkage)
    return show_neighbours(pairs, catalogue, titles, neighbours)
