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
from m2s_lib.films.similarity.watch_log import NoFilmPairs, movielens_films, read_any_log

SOURCES = ("cowatch", "genre", "synopsis", "random")
AUTO = ("cowatch", "synopsis", "genre", "random")  # what `auto` tries, the best first
GIVEN = AUTO[:-1]  # what `given` tries: what metadata says, and no random pairs
NO_PAIRS = pd.DataFrame({c: [] for c in ("film_a", "film_b", "rank", "score", "source")})
_BEST = {"by": ["rank", "score", "film_a", "film_b"], "ascending": [True, False, True, True]}


def film_pairs_by_source(
    source: str, control: str, films: pd.DataFrame, **how
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Similar film pairs by the chosen kind of metadata, and those of a second kind to compare with.

    Args:
        source: one of SOURCES, or 'auto' or 'given': the first of AUTO or GIVEN that gives pairs.
        control: one of SOURCES, or '' for none; one that gives no pairs is left out.
        films, how: as in `similar_films`.

    Returns:
        source -> film pairs, the chosen one first, none where none of GIVEN gives any; and a sentence on each
        kind that gave none.

    Raises:
        M2SError: as `similar_films`, for a source that is asked for by name.
    """
    pairs, notes = {}, []
    if source in ("auto", "given"):
        for name in AUTO if source == "auto" else GIVEN:
            if _added(pairs, notes, name, films, how):
                break
        if not pairs:
            nothing = not how.get("watch_log") and not films[["genres", "synopsis"]].any(axis=None)
            reasons = ["Nothing says which films are similar."] if nothing else notes
            return {}, [*reasons, "Give 01.metadata or 02.watch_log, and scene pairs can be mined."]
    else:
        pairs[source] = similar_films(source, films, **how)
    if control and control not in pairs:
        _added(pairs, notes, control, films, how)
    return pairs, notes


def _added(pairs: dict, notes: list[str], source: str, films: pd.DataFrame, how: dict) -> bool:
    try:
        pairs[source] = similar_films(source, films, **how)
    except NoFilmPairs as error:
        notes.append(f"No film pairs by {source}: {error}.")
    return source in pairs


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
    score: str = "lift",
    synopsis_model: str = "tfidf",
    seed: int = 0,
    pairs_per_film: float = 0.0,
) -> pd.DataFrame:
    """Similar film pairs by one kind of metadata.

    Args:
        source: 'cowatch', 'genre', 'synopsis' or 'random' (the control of Table 1, row 10).
        films: the film table, benchmark films already left out.
        watch_log: for 'cowatch'; the other arguments are those of `metadata_similarity`.
        pairs_per_film: keep this many pairs a film, so that sources are equally large: the best of 'cowatch'
            and 'synopsis', of 'genre' and 'random' any; 0 keeps all.

    Returns:
        film_a < film_b, rank, score, source. `attrs["counts"]` says what could not be used.

    Raises:
        M2SError: an unknown source. NoFilmPairs: co-watch without a log, a source that gives no pair at all.
    """
    if source == "cowatch":
        if not watch_log:
            raise NoFilmPairs(
                "metadata_source 'cowatch' needs a watch log: set 02.watch_log to a MovieLens folder or table"
            )
        log = read_any_log(watch_log)
        pairs = cowatch_neighbours(log, films, neighbours, order, min_count, shrinkage, window, score)
    elif source == "genre":
        pairs = genre_neighbours(films, neighbours, seed)
    elif source == "synopsis":
        pairs = synopsis_neighbours(films, neighbours, synopsis_model)
    elif source == "random":
        pairs = random_pairs(films, neighbours, seed)
    else:
        raise M2SError(f"metadata source {source!r} is unknown: use one of {list(SOURCES)}")
    if pairs_per_film:
        drawn = pairs.sample(frac=1, random_state=seed) if source in ("genre", "random") else None
        pairs = _cut(pairs, round(pairs_per_film * len(films)), "left_out_for_size", drawn)
    # at most half of all film pairs may be similar, or a handful of films would leave none to tell them from
    return _cut(pairs, len(films) * (len(films) - 1) // 4, "left_out_for_contrast")


def _cut(pairs: pd.DataFrame, most: int, reason: str, order: pd.DataFrame | None = None) -> pd.DataFrame:
    """The first `most` pairs of `order` (None: the best), at least one, in the order of `pairs`."""
    most = max(1, most)
    if len(pairs) <= most:
        return pairs
    order = pairs.sort_values(**_BEST) if order is None else order
    kept = order.head(most).sort_index().reset_index(drop=True)
    kept.attrs["counts"] = {**pairs.attrs["counts"], "pairs": most, reason: len(pairs) - most}
    return kept


def log_neighbours(
    watch_log: str | os.PathLike,
    titles: list[str],
    neighbours: int = 3,
    order: str = "symmetric",
    shrinkage: float = 20.0,
) -> pd.DataFrame | str:
    """Co-watch neighbours of some titles among all films of a MovieLens folder, as a table to read.

    Returns:
        The table, or a sentence where the log knows no titles or none of these.
    """
    if not watch_log or not (Path(watch_log) / "movies.csv").is_file():
        return "The watch log names no titles (02.watch_log is not a MovieLens folder): nothing to show here."
    films = movielens_films(watch_log)
    try:
        pairs = cowatch_neighbours(read_any_log(watch_log), films, neighbours, order, shrinkage=shrinkage)
    except NoFilmPairs as error:
        return f"No neighbours to show: {error}."
    shown = show_neighbours(pairs, films, titles, neighbours)
    return shown if len(shown) else f"The {len(films):,} films of the watch log have none of 02.show_titles."
