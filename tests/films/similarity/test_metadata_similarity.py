"""Similar film pairs: each source against a slow oracle or its definition, and what holds for all of them."""

import itertools
import math
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity import neighbour_ranking
from m2s_lib.films.similarity.metadata_similarity import (
    cowatch_neighbours,
    genre_neighbours,
    random_pairs,
    show_neighbours,
    synopsis_neighbours,
)
from m2s_lib.films.similarity.watch_log import movielens_films, read_movielens

COLUMNS = ["film_a", "film_b", "rank", "score", "source"]


def together_symmetric(log):
    """Slow and obvious: users by film, then intersections."""
    viewers = {}
    for row in log.itertuples():
        viewers.setdefault(row.film_id, set()).add(row.user)
    n = {f: len(u) for f, u in viewers.items()}
    n_ab = {(a, b): len(viewers[a] & viewers[b]) for a, b in itertools.permutations(viewers, 2)}
    return n_ab, n, n, log["user"].nunique()


def together_after(log, window):
    """Slow and obvious: per user, each film's first time, and the films of the next `window` times."""
    n_ab = {}
    for user in log["user"].unique():
        first = {}
        for row in log[log["user"] == user].itertuples():
            first[row.film_id] = min(row.time, first.get(row.film_id, math.inf))
        moments = sorted(set(first.values()))
        for a, b in itertools.permutations(first, 2):
            if 0 < moments.index(first[b]) - moments.index(first[a]) <= window:
                n_ab[a, b] = n_ab.get((a, b), 0) + 1
    begins, follows = {}, {}
    for (a, b), n in n_ab.items():
        begins[a], follows[b] = begins.get(a, 0) + n, follows.get(b, 0) + n
    return n_ab, begins, follows, sum(n_ab.values())


def oracle_pairs(n_ab, begins, follows, total, neighbours, min_count, shrinkage):
    named = {}
    for (a, b), n in n_ab.items():
        if n >= min_count:
            score = math.log(n * total / (begins[a] * follows[b])) * n / (n + shrinkage)
            if score > 1e-12:
                named.setdefault(a, []).append((-round(score, 12), b))
    pairs = {}
    for a, found in named.items():
        for rank, (score, b) in enumerate(sorted(found)[:neighbours], start=1):
            old = pairs.get((min(a, b), max(a, b)), (rank, -math.inf))
            pairs[min(a, b), max(a, b)] = (min(old[0], rank), max(old[1], -score))
    return pairs


def as_dict(pairs):
    return {(p.film_a, p.film_b): (p.rank, round(p.score, 12)) for p in pairs.itertuples()}


def check_contract(pairs, films, neighbours, source):
    assert list(pairs.columns) == COLUMNS
    assert (pairs["film_a"] < pairs["film_b"]).all()
    assert not pairs.duplicated(["film_a", "film_b"]).any()
    assert set(pairs["film_a"]) | set(pairs["film_b"]) <= set(films["film_id"])
    assert pairs["rank"].dtype == np.int64
    assert pairs["rank"].between(1, neighbours).all()
    assert pairs["score"].notna().all()
    assert set(pairs["source"]) <= {source}
    assert len(pairs) <= neighbours * len(films)
    assert pairs.attrs["counts"]["pairs"] == len(pairs)


def film_table(n):
    return pd.DataFrame({"film_id": [f"f{i}" for i in range(n)], "imdb_id": ""})


def random_log(seed, users=40, films=9, views=150, times=30):
    rng = np.random.default_rng(seed)
    film = (films * rng.random(views) ** 2).astype(int)
    log = pd.DataFrame({"user": rng.integers(users, size=views), "film_id": [f"f{i}" for i in film]})
    return log.assign(time=rng.integers(times, size=views).astype(float))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("neighbours", "min_count", "shrinkage"), [(1, 1, 0), (2, 2, 20), (3, 4, 5)])
def test_cowatch_equals_the_oracle(seed, neighbours, min_count, shrinkage, monkeypatch):
    monkeypatch.setattr(neighbour_ranking, "_CELLS", 20)  # several blocks of films
    log, films = random_log(seed), film_table(9)
    pairs = cowatch_neighbours(log, films, neighbours, min_count=min_count, shrinkage=shrinkage)
    expected = oracle_pairs(*together_symmetric(log), neighbours, min_count, shrinkage)
    check_contract(pairs, films, neighbours, "cowatch")
    got = as_dict(pairs)
    assert got.keys() == expected.keys()
    for pair, (rank, score) in expected.items():
        assert got[pair][0] == rank
        assert got[pair][1] == pytest.approx(score, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("window", [1, 2, 100])
def test_watched_after_equals_the_oracle(seed, window):
    log, films = random_log(seed, times=6), film_table(9)
    pairs = cowatch_neighbours(log, films, 2, "watched_after", min_count=2, shrinkage=3, window=window)
    expected = oracle_pairs(*together_after(log, window), 2, 2, 3)
    got = as_dict(pairs)
    assert got.keys() == expected.keys()
    for pair, (rank, score) in expected.items():
        assert got[pair] == (rank, pytest.approx(score, abs=1e-9))


@pytest.mark.parametrize("order", ["symmetric", "watched_after"])
def test_the_papers_score_is_the_count(order):
    """The films most often watched after each film, ranked by how often; popular ones included."""
    log, films = random_log(3, times=6), film_table(9)
    n_ab = together_symmetric(log)[0] if order == "symmetric" else together_after(log, 2)[0]
    pairs = cowatch_neighbours(log, films, 2, order, min_count=2, window=2, score="count")
    expected = {}
    for a in films["film_id"]:
        after = sorted((-n, b) for (first, b), n in n_ab.items() if first == a and n >= 2)
        for rank, (n, b) in enumerate(after[:2], start=1):
            old = expected.get((min(a, b), max(a, b)), (rank, -math.inf))
            expected[min(a, b), max(a, b)] = (min(old[0], rank), max(old[1], -n))
    assert as_dict(pairs) == expected
    with pytest.raises(M2SError, match="score is 'votes', expected one of"):
        cowatch_neighbours(log, films, score="votes")


def test_popular_films_are_not_everybodys_neighbour():
    """Everyone saw the blockbuster; a and b share few viewers, but nearly all of theirs."""
    views = [(u, "blockbuster") for u in range(100)]
    views += [(u, f) for f in ("a", "b") for u in range(10)] + [(u, "c") for u in range(5, 40)]
    log = pd.DataFrame(views, columns=["user", "film_id"])
    films = pd.DataFrame({"film_id": ["a", "b", "blockbuster", "c"]})
    pairs = cowatch_neighbours(log, films, 1, min_count=2)
    assert as_dict(pairs).keys() == {("a", "b"), ("a", "c")}  # of a and b, c takes the lower id


def test_watching_order_is_what_counts_for_watched_after():
    """b always follows a at once; c is watched by the same people, at the same moment as a or long after."""
    views = (
        [(u, "a", 0) for u in range(9)] + [(u, "b", 1) for u in range(9)] + [(u, "c", 0) for u in range(9)]
    )
    views += [(u, "d", 1) for u in range(20, 29)] + [(u, "e", 0) for u in range(20, 29)]
    log = pd.DataFrame(views, columns=["user", "film_id", "time"])
    pairs = cowatch_neighbours(log, pd.DataFrame({"film_id": list("abcde")}), 3, "watched_after", min_count=1)
    assert set(as_dict(pairs)) == {("a", "b"), ("b", "c"), ("d", "e")}  # never a-c, the same moment


@settings(deadline=None, max_examples=30)
@given(
    views=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 4)), min_size=1, max_size=60
    ),
    order=st.sampled_from(["symmetric", "watched_after"]),
    seed=st.integers(0, 99),
)
def test_the_order_of_rows_does_not_matter(views, order, seed):
    log = pd.DataFrame([(u, f"f{f}", float(t)) for u, f, t in views], columns=["user", "film_id", "time"])
    films = film_table(6)
    try:
        pairs = cowatch_neighbours(log, films, 2, order, min_count=1)
    except M2SError as error:
        if "go together more often than chance" not in str(error):
            raise
        return
    check_contract(pairs, films, 2, "cowatch")
    shuffled = cowatch_neighbours(
        log.sample(frac=1, random_state=seed), films.sample(frac=1, random_state=seed), 2, order, min_count=1
    )
    pd.testing.assert_frame_equal(pairs, shuffled)


def test_cowatch_that_cannot_be():
    log, films = random_log(0), film_table(9)
    with pytest.raises(M2SError, match="order is 'after', expected one of"):
        cowatch_neighbours(log, films, order="after")
    with pytest.raises(M2SError, match="neighbours is 0, expected 1 or more"):
        cowatch_neighbours(log, films, 0)
    with pytest.raises(M2SError, match="shrinkage is -1, expected 0 or more"):
        cowatch_neighbours(log, films, shrinkage=-1)
    with pytest.raises(
        M2SError, match=r"min_count=500 users \(the most watched films have \[\d+, \d+\] viewers"
    ):
        cowatch_neighbours(log, films, min_count=500)
    with pytest.raises(M2SError, match="none of the 150 views in the watch log has a time"):
        cowatch_neighbours(log.drop(columns="time"), films, order="watched_after")
    with pytest.raises(M2SError, match="no film in common"):
        cowatch_neighbours(log, films.assign(film_id=[f"g{i}" for i in range(9)]))
    with pytest.raises(M2SError, match=r"1 film ids occur more than once, e.g. \['f0'\]"):
        cowatch_neighbours(log, films.assign(film_id=["f0", "f0"] + [f"f{i}" for i in range(2, 9)]))


def test_cowatch_on_the_real_log(shared_data):
    folder = shared_data / "movielens" / "ml-latest-small"
    log, films = read_movielens(folder), movielens_films(folder)
    start = time.perf_counter()
    pairs = cowatch_neighbours(log, films)
    assert time.perf_counter() - start < 4  # 0.4 s alone on one core
    check_contract(pairs, films, 3, "cowatch")
    shown = show_neighbours(
        pairs, films, ["The Godfather", "Toy Story", "Alien", "Finding Nemo"], neighbours=1
    )
    assert shown["neighbour"].tolist() == [
        "The Godfather: Part II",
        "Toy Story 2",
        "Aliens",
        "The Incredibles",
    ]
    genres = films.set_index("film_id")["genres"].str.split("|").map(set)

    def overlap(table):
        both = [(genres[a], genres[b]) for a, b in zip(table["film_a"], table["film_b"], strict=True)]
        return np.mean([len(a & b) / len(a | b) for a, b in both])

    assert overlap(pairs) > 1.8 * overlap(random_pairs(films))  # films watched together share genres, unasked


def test_genre_pairs_share_a_genre():
    genres = ["Drama|War", "drama", "Comedy", "Comedy|War", "", None, "Western"]
    films = film_table(7).assign(genres=genres)
    pairs = genre_neighbours(films, neighbours=5, seed=3)
    check_contract(pairs, films, 5, "genre")
    assert {k: round(v[1], 3) for k, v in as_dict(pairs).items()} == {
        ("f0", "f1"): 0.5,
        ("f0", "f3"): 0.333,
        ("f2", "f3"): 0.5,
    }
    assert pairs.attrs["counts"]["films_without_genres"] == 2
    assert pairs.attrs["counts"]["films_with_neighbours"] == 4


def test_genre_pairs_are_drawn_evenly_and_more_than_64_genres_work():
    films = film_table(70).assign(
        genres=[f"g{i % 35}|h{i}" for i in range(70)]
    )  # 105 genres, two films to a g
    pairs = genre_neighbours(films, neighbours=1)
    assert as_dict(pairs).keys() == {tuple(sorted((f"f{i}", f"f{i + 35}"))) for i in range(35)}
    films = film_table(6).assign(genres="Drama")
    drawn = [as_dict(genre_neighbours(films, 1, seed)).keys() for seed in range(300)]
    often = [
        sum((f"f{a}", f"f{b}") in d for d in drawn) / 300 for a, b in itertools.combinations(range(6), 2)
    ]
    assert min(often) > 0.25  # each of 15 pairs is named with chance 1 - (4/5)^2 = 0.36
    assert max(often) < 0.47


def test_synopses_by_tfidf():
    synopses = [
        "a pilot crosses the desert by plane",
        "the pilot and his plane are lost in a desert storm",
        "two cooks open a restaurant in Paris",
        "a restaurant in Paris is saved by its cooks",
        "",
        None,
    ]
    films = film_table(6).assign(synopsis=synopses)
    pairs = synopsis_neighbours(films, neighbours=1)
    check_contract(pairs, films, 1, "synopsis")
    assert as_dict(pairs).keys() == {("f0", "f1"), ("f2", "f3")}
    assert pairs.attrs["counts"]["films_without_synopsis"] == 2
    shuffled = synopsis_neighbours(films.sample(frac=1, random_state=1), neighbours=1)
    pd.testing.assert_frame_equal(pairs, shuffled)


def test_random_pairs_are_random_and_repeatable():
    films = film_table(50)
    pairs = random_pairs(films, 3, seed=1)
    check_contract(pairs, films, 3, "random")
    assert set(pairs["film_a"]) | set(pairs["film_b"]) == set(films["film_id"])
    pd.testing.assert_frame_equal(pairs, random_pairs(films.iloc[::-1], 3, seed=1))
    assert as_dict(pairs).keys() != as_dict(random_pairs(films, 3, seed=2)).keys()


@pytest.mark.parametrize("n", [2, 3, 5])
def test_fewer_films_than_neighbours(n):
    films = film_table(n).assign(genres="Drama", synopsis="same words everywhere")
    every = set(itertools.combinations(films["film_id"], 2))
    assert as_dict(random_pairs(films, 9)).keys() == every
    assert as_dict(genre_neighbours(films, 9)).keys() == every
    assert as_dict(synopsis_neighbours(films, 9)).keys() == every


def test_metadata_that_cannot_do():
    films = film_table(3).assign(genres=["a", "b", ""], synopsis=["x", "", ""])
    with pytest.raises(M2SError, match=r"no two of the 3 films share a genre \(1 have none\)"):
        genre_neighbours(films)
    with pytest.raises(M2SError, match="1 of 3 films have a synopsis, at least 2 are needed"):
        synopsis_neighbours(films)
    with pytest.raises(M2SError, match="the 2 synopses have no word in common"):
        synopsis_neighbours(films.assign(synopsis=["apples", "oranges", ""]))
    with pytest.raises(M2SError, match="synopses have no words in them"):
        synopsis_neighbours(films.assign(synopsis=["the", "and", "of"]))
    with pytest.raises(M2SError, match="1 film cannot be paired"):
        random_pairs(films.head(1))
    with pytest.raises(M2SError, match="the film table has 0 films"):
        random_pairs(films.head(0))
    with pytest.raises(M2SError, match="lacks the column genres: found"):
        genre_neighbours(films.drop(columns="genres"))
    with pytest.raises(M2SError, match="lacks the column film_id"):
        random_pairs(films.drop(columns="film_id"))


def test_neighbours_shown_as_a_table():
    films = pd.DataFrame(
        {"film_id": ["a", "b", "c"], "title": ["Alpha", "Beta", "Gamma"], "year": [1990, 1991, 1992]}
    )
    pairs = pd.DataFrame(
        {"film_a": ["a", "a"], "film_b": ["b", "c"], "rank": [2, 1], "score": [0.1, 0.9], "source": "cowatch"}
    )
    shown = show_neighbours(pairs, films, ["Alpha", "no such film", "c"])
    assert shown.to_dict("list") == {
        "film": ["Alpha", "Alpha", "Gamma"],
        "neighbour": ["Gamma", "Beta", "Alpha"],
        "year": [1992, 1991, 1990],
        "score": [0.9, 0.1, 0.9],
        "source": ["cowatch"] * 3,
    }
    assert show_neighbours(pairs, films, []).empty
