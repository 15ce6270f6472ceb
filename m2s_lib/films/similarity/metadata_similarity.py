"""S: which films are similar, from a watch log, genres, synopses, or at random (§4.1.1, Table 1 rows 10-13).

Every function returns the film_pairs table: film_a < film_b (undirected, each pair once), rank (the better of
the two films' ranks, 1 = nearest), score (larger = nearer; what it is depends on the source) and source.
"Three most similar movies on average" is read as: each film names its `neighbours` nearest, and a pair that
both name is kept once, so there are at most neighbours x films pairs. `attrs["counts"]` says how many films
got none, and why.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity.neighbour_ranking import (
    nearest_by_dot,
    nearest_by_views,
    successive_views,
    symmetric_views,
    undirected_pairs,
)
from m2s_lib.films.similarity.text_embeddings import embed_texts
from m2s_lib.films.similarity.watch_log import NoFilmPairs, match_watch_log

ORDERS, SCORES = ("symmetric", "watched_after"), ("lift", "count")


def cowatch_neighbours(
    log: pd.DataFrame,
    films: pd.DataFrame,
    neighbours: int = 3,
    order: str = "symmetric",
    min_count: int = 10,
    shrinkage: float = 20.0,
    window: int = 5,
    score: str = "lift",
) -> pd.DataFrame:
    """Film pairs that the same people watched, ranked (§4.1.1).

    `score="count"` is the paper's: the films most often watched after a film, n_ab. Corrected for popularity
    by `score="lift"` it is a discounted pointwise mutual information,

        score(a, b) = log( n_ab * N / (n_a * n_b) ) * n_ab / (n_ab + shrinkage)

    The first factor asks how much more often a and b go together than two films of their popularity would by
    chance, so blockbusters do not become everybody's neighbour; the second holds back pairs that few people
    vouch for. Pairs seen together no more often than chance (score <= 0) are left out. On ml-latest-small
    this names Toy Story 2 first for Toy Story and Aliens for Alien, where the plain cosine names Independence
    Day for Toy Story, and shrinkage 20 is where neighbours share most tags, a thing the log knows nothing of.

    `order="symmetric"` counts users who watched both: n_ab users with both films, n_a users of a, N users.
    Take it for MovieLens, whose times are rating-entry times: people type in years of viewing in one sitting
    (median user span 0.05 days in ml-latest-small), so "after" there is the order of a list. It stands in for
    the paper's "watched after", which `order="watched_after"` counts for logs with real times: n_ab users for
    whom b is within the next `window` moments after a; films with the same time are one moment and do not
    follow each other; a repeated viewing counts at its first time. Then n_a, n_b and N are the sums of these
    counts over b, a and both, and of the two directions of a pair the better one counts.

    Args:
        log: columns user, film_id (or IMDb id), and time in seconds for "watched_after".
        films: the film table: film_id, and imdb_id where the log uses it.
        neighbours: films named by each film, 1 or more.
        order: "symmetric" or "watched_after".
        min_count: a pair that fewer users vouch for is left out, 1 or more.
        shrinkage: users at which a pair keeps half of its score, 0 or more; 0 is the plain lift, which
            prefers obscure pairs; 50 and more leans to the well known.
        window: moments that count as "after", 1 or more; 1 is the very next one.
        score: "lift" or "count"; `shrinkage` is of the first alone.

    Returns:
        film_pairs table, source "cowatch".

    Raises:
        M2SError: no times where they are needed. NoFilmPairs: no film in common, or no pair left.
    """
    for name, value, known in (("order", order, ORDERS), ("score", score, SCORES)):
        if value not in known:
            raise M2SError(f"{name} is {value!r}, expected one of {known}")
    _at_least(1, neighbours=neighbours, min_count=min_count, window=window)
    _at_least(0, shrinkage=shrinkage)
    matched, counts = match_watch_log(log, films)
    ids = _film_ids(films)
    if order == "symmetric":
        left, right, margins = symmetric_views(matched, ids, min_count)
    else:
        left, right, margins = successive_views(matched, ids, window, counts)
    named = nearest_by_views(left, right, margins, neighbours, min_count, shrinkage, score)
    if not len(named[0]):
        viewers = matched.groupby("film_id", observed=True)["user"].nunique().nlargest(2).tolist()
        raise NoFilmPairs(
            f"no two of the {counts['matched_films']:,} films go together more often than chance for at "
            f"least min_count={min_count} users (the most watched films have {viewers} viewers; "
            f"{counts['users']:,} users, {counts['rows_matched']:,} views): lower min_count or give a longer "
            "watch log"
        )
    return undirected_pairs(ids, *named, "cowatch", counts)


def genre_neighbours(films: pd.DataFrame, neighbours: int = 3, seed: int = 0) -> pd.DataFrame:
    """Random film pairs that share a genre (§4.1.1); score is the share of their genres in common (Jaccard).

    Films without genres get no neighbours and are counted in `attrs["counts"]["films_without_genres"]`.

    Args:
        films: columns film_id, genres ('|'-joined).
        neighbours: films drawn for each film.
        seed: of the draw; the order of the rows does not matter.
    """
    _at_least(1, neighbours=neighbours)
    ids = _film_ids(films)
    genres = _column(films, "genres").reindex(ids)
    member = _members(genres)  # [films, genres]
    rng = np.random.default_rng(seed)
    rows, cols, ranks = [], [], []
    for i in np.flatnonzero(member.any(1)):
        shared = np.flatnonzero(member[:, member[i]].any(1))  # [candidates], itself among them
        shared = shared[shared != i]
        drawn = rng.choice(shared, min(neighbours, len(shared)), replace=False)
        rows += [i] * len(drawn)
        cols += drawn.tolist()
        ranks += range(1, len(drawn) + 1)
    counts = {"films_without_genres": int((~member.any(1)).sum())}
    if not rows:
        raise NoFilmPairs(
            f"no two of the {len(ids):,} films share a genre ({counts['films_without_genres']:,} have none): "
            "give the metadata table a column genres such as 'Drama|Comedy', or take another source of "
            "similarity"
        )
    a, b = member[rows], member[cols]
    return undirected_pairs(ids, rows, cols, ranks, (a & b).sum(1) / (a | b).sum(1), "genre", counts)


def synopsis_neighbours(films: pd.DataFrame, neighbours: int = 3, model: str = "tfidf") -> pd.DataFrame:
    """Film pairs whose synopses say similar things: the dot product of text embeddings of length one
    (§4.1.1).

    Films without a synopsis get no neighbours and are counted in `attrs["counts"]["films_without_synopsis"]`.

    Args:
        films: columns film_id, synopsis.
        neighbours: films named by each film.
        model: "tfidf" (no download), or the name or folder of a sentence-transformers model.
    """
    _at_least(1, neighbours=neighbours)
    ids = _film_ids(films)
    synopses = _column(films, "synopsis").reindex(ids).str.strip()
    known = np.flatnonzero(synopses != "")
    counts = {"films_without_synopsis": len(ids) - len(known)}
    if len(known) < 2:
        raise NoFilmPairs(
            f"{len(known)} of {len(ids):,} films have a synopsis, at least 2 are needed: give the metadata "
            "table a column synopsis, or take another source of similarity"
        )
    embeddings = embed_texts(synopses.iloc[known].tolist(), model)
    named = nearest_by_dot(embeddings, neighbours)
    if not len(named[0]):
        raise NoFilmPairs(f"the {len(known):,} synopses have no word in common: give longer synopses")
    return undirected_pairs(ids, known[named[0]], known[named[1]], named[2], named[3], "synopsis", counts)


def random_pairs(films: pd.DataFrame, neighbours: int = 3, seed: int = 0) -> pd.DataFrame:
    """The control (Table 1 row 10): each film with `neighbours` others drawn at random; the score is 0."""
    _at_least(1, neighbours=neighbours)
    ids = _film_ids(films)
    if len(ids) < 2:
        raise M2SError(f"{len(ids)} film cannot be paired: at least 2 films are needed")
    k, n = min(neighbours, len(ids) - 1), len(ids)
    rng = np.random.default_rng(seed)
    drawn = np.array([rng.choice(n - 1, k, replace=False) for _ in range(n)])  # [films, k]
    cols = drawn + (drawn >= np.arange(n)[:, None])  # a film is never its own neighbour
    rows, ranks = np.repeat(np.arange(n), k), np.tile(np.arange(1, k + 1), n)
    return undirected_pairs(ids, rows, cols.ravel(), ranks, np.zeros(n * k), "random", {})


def show_neighbours(
    pairs: pd.DataFrame, films: pd.DataFrame, shown: Iterable[str], neighbours: int = 3
) -> pd.DataFrame:
    """The neighbours of some films as a table to read: film, then one row per neighbour, nearest first.

    Args:
        pairs: a film_pairs table.
        films: columns film_id, title, and optionally year and genres.
        shown: film ids or titles; of films with the same title, the first. Unknown ones are left out.
        neighbours: rows per film at most; the partners that named this film count too, so there can be more
            than were asked for when the pairs were made.
    """
    by_id = films.drop_duplicates("film_id").set_index("film_id")
    columns = [c for c in ("title", "year", "genres") if c in by_id.columns]
    film_of = {title: film for film, title in by_id["title"][::-1].items()} | {
        film: film for film in by_id.index
    }
    both = pd.concat([pairs, pairs.rename(columns={"film_a": "film_b", "film_b": "film_a"})])
    both = both.sort_values(["score", "rank", "film_b"], ascending=[False, True, True], kind="stable")
    tables = []
    for film in (film_of[name] for name in shown if name in film_of):
        rows = both[both["film_a"] == film].drop_duplicates("film_b").head(neighbours)
        named = by_id.reindex(rows["film_b"])[columns].reset_index(drop=True)
        named = named.rename(columns={"title": "neighbour"})
        named.insert(0, "film", by_id.at[film, "title"])
        tables.append(named.assign(score=rows["score"].round(3).to_numpy(), source=rows["source"].to_numpy()))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _film_ids(films: pd.DataFrame) -> np.ndarray:
    """Sorted unique film ids, so that the order of the rows cannot matter."""
    if "film_id" not in films.columns:
        raise M2SError(f"the film table lacks the column film_id: found {list(films.columns)}")
    if not len(films):
        raise M2SError(
            "the film table has 0 films, at least 2 are needed: run stage 01 on a folder with films"
        )
    ids = films["film_id"].astype(str)
    if ids.duplicated().any():
        twice = sorted(ids[ids.duplicated()].unique())
        raise M2SError(
            f"{len(twice)} film ids occur more than once, e.g. {twice[:3]}: give every film its own film_id"
        )
    return np.sort(ids.to_numpy(dtype=object))


def _column(films: pd.DataFrame, name: str) -> pd.Series:
    """A text column by film_id, '' where unknown."""
    if name not in films.columns:
        raise M2SError(f"the film table lacks the column {name}: found {list(films.columns)}")
    return pd.Series(films[name].fillna("").astype(str).to_numpy(), index=films["film_id"].astype(str))


def _members(genres: pd.Series) -> np.ndarray:
    """Boolean [films, genres] from '|'-joined names; upper and lower case alike."""
    sets = [{g.strip() for g in text.casefold().split("|")} - {""} for text in genres]
    names = {g: j for j, g in enumerate(sorted(set().union(*sets)))}
    member = np.zeros((len(sets), len(names)), bool)
    for i, film in enumerate(sets):
        member[i, [names[g] for g in film]] = True
    return member


def _at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise M2SError(f"{name} is {value!r}, expected {least} or more")
