"""One name for every kind of metadata: what it chooses, what it gives, what it says when it cannot."""

import re

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity.metadata_similarity import (
    cowatch_neighbours,
    genre_neighbours,
    random_pairs,
    synopsis_neighbours,
)
from m2s_lib.films.similarity.similar_films import (
    SOURCES,
    film_pairs_by_source,
    log_neighbours,
    similar_films,
)
from m2s_lib.films.similarity.watch_log import NoFilmPairs, read_any_log
from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.ingest import ingest_films

COLUMNS = ["film_a", "film_b", "rank", "score", "source"]


@pytest.fixture
def films():
    number = np.arange(8)
    return pd.DataFrame({
        "film_id": [f"f{i}" for i in number], "title": [f"Film {i}" for i in number], "imdb_id": "",
        "genres": ["Comedy", "Drama"] * 4,
        "synopsis": ["a ship sails", "a ship comes home", "a thief robs a bank", "the bank was robbed"] * 2,
    })  # fmt: skip


@pytest.fixture
def log(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        (u, f"f{f}", 100 * t) for u in range(60) for t, f in enumerate(rng.choice(4, 3, False) + 4 * (u % 2))
    ]
    path = tmp_path / "log.csv"
    pd.DataFrame(rows, columns=["user", "film_id", "time"]).to_csv(path, index=False)
    return path


def test_each_source_is_its_own_function(films, log):
    how = dict(watch_log=log, neighbours=2, min_count=2, shrinkage=1.0, seed=5)
    wanted = {
        "cowatch": cowatch_neighbours(read_any_log(log), films, 2, "symmetric", 2, 1.0),
        "genre": genre_neighbours(films, 2, 5),
        "synopsis": synopsis_neighbours(films, 2, "tfidf"),
        "random": random_pairs(films, 2, 5),
    }
    assert set(wanted) == set(SOURCES)
    for source, table in wanted.items():
        found = similar_films(source, films, **how)
        pd.testing.assert_frame_equal(found, table)
        assert list(found.columns) == COLUMNS
        assert found.source.eq(source).all()
        assert (found.film_a < found.film_b).all()
        assert not found.duplicated(["film_a", "film_b"]).any()


def test_cowatch_finds_who_was_watched_by_the_same_people(films, log):
    pairs = similar_films("cowatch", films, watch_log=log, neighbours=1, min_count=1, shrinkage=1.0)
    halves = [{int(a[1]) // 4, int(b[1]) // 4} for a, b in zip(pairs.film_a, pairs.film_b, strict=True)]
    assert all(len(half) == 1 for half in halves)
    after = similar_films(
        "cowatch", films, watch_log=log, neighbours=1, min_count=1, order="watched_after", window=1
    )
    assert after.attrs["counts"]["rows"] == pairs.attrs["counts"]["rows"] == 180
    assert after.attrs["counts"]["views_without_time"] == 0  # counted where times count


def test_films_that_only_the_watch_log_knows_are_counted(films, log):
    pairs = similar_films("cowatch", films.iloc[1:], watch_log=log, neighbours=1, min_count=1)
    counts = pairs.attrs["counts"]
    assert (counts["unknown_films"], counts["matched_films"], counts["log_films"]) == (1, 7, 8)
    assert counts["rows"] == 180
    assert counts["rows_matched"] < 180


NOTHING = {"genres": "", "synopsis": None}
ONE_OF_EACH = {"genres": ["Drama"] + [""] * 7, "synopsis": ["only one"] + [""] * 7}


@pytest.mark.parametrize(
    ("with_log", "metadata", "source", "notes"),
    [
        (True, {}, "cowatch", []),
        (False, {}, "synopsis", ["No film pairs by cowatch: .* set 02.watch_log"]),
        (False, {"synopsis": ""}, "genre", ["by cowatch", "by synopsis: 0 of 8 films have a synopsis"]),
        (
            False,
            NOTHING,
            "random",
            ["by cowatch", "by synopsis", "by genre: no two of the 8 films share a genre"],
        ),
        (False, ONE_OF_EACH, "random", ["by cowatch", "1 of 8 films have a synopsis", r"\(7 have none\)"]),
    ],
)
def test_auto_takes_the_first_that_gives_film_pairs(films, log, with_log, metadata, source, notes):
    how = {"watch_log": log if with_log else "", "min_count": 2, "shrinkage": 1.0}
    pairs, said = film_pairs_by_source("auto", "", films.assign(**metadata), **how)
    assert list(pairs) == [source]
    pd.testing.assert_frame_equal(pairs[source], similar_films(source, films.assign(**metadata), **how))
    assert len(said) == len(notes)
    for sentence, part in zip(said, notes, strict=True):
        assert re.search(part, sentence)


def test_auto_leaves_a_watch_log_that_matches_nothing(films, log):
    pairs, notes = film_pairs_by_source(
        "auto", "random", films.assign(film_id=list("abcdefgh")), watch_log=log
    )
    assert list(pairs) == ["synopsis", "random"]
    assert "have no film in common: give the films an imdb_id" in notes[0]
    empty = log.with_name("empty.csv")
    empty.write_text("user,film_id,time\n")
    pairs, notes = film_pairs_by_source("auto", "", films, watch_log=empty)
    assert list(pairs) == ["synopsis"]
    assert "the watch log has 0 rows" in notes[0]
    empty.write_text("person,film_id\n1,2\n")
    with pytest.raises(M2SError, match="lacks the column"):  # it cannot be read, which is no reason to go on
        film_pairs_by_source("auto", "", films, watch_log=empty)


def test_a_source_that_is_asked_for_by_name_is_not_replaced(films, log):
    with pytest.raises(NoFilmPairs, match="share a genre"):
        film_pairs_by_source("genre", "random", films.assign(genres=""))
    pairs, notes = film_pairs_by_source("random", "genre", films.assign(genres=""))
    assert list(pairs) == ["random"]
    assert len(notes) == 1
    assert "No film pairs by genre" in notes[0]
    pairs, notes = film_pairs_by_source("genre", "genre", films)
    assert (list(pairs), notes) == (["genre"], [])


@pytest.mark.parametrize("source", SOURCES)
def test_sources_are_cut_to_one_size(films, log, source):
    how = dict(watch_log=log, neighbours=2, min_count=1, shrinkage=1.0)
    every = similar_films(source, films, **how)
    cut = similar_films(source, films, pairs_per_film=0.5, **how)
    assert len(cut) == 4 < len(every)
    assert cut.attrs["counts"]["left_out_for_size"] > 0
    keys = ["film_a", "film_b"]
    kept = every.merge(cut[keys], on=keys)
    pd.testing.assert_frame_equal(kept, cut)
    best = every.sort_values(["rank", "score", *keys], ascending=[True, False, True, True]).head(4)
    ranked = set(map(tuple, cut[keys].to_numpy())) == set(map(tuple, best[keys].to_numpy()))
    others = similar_films(source, films, pairs_per_film=0.5, seed=3, **how)
    assert ranked == (source in ("cowatch", "synopsis"))  # the rest are drawn
    assert others.equals(cut) == (source in ("cowatch", "synopsis"))
    assert len(similar_films(source, films, pairs_per_film=0.01, **how)) == 1


def test_what_cannot_be_says_what_to_set(films, tmp_path):
    with pytest.raises(M2SError, match="metadata_source 'cowatch' needs a watch log: set 02.watch_log"):
        similar_films("cowatch", films)
    with pytest.raises(M2SError, match=r"metadata source 'mood' is unknown: use one of \['cowatch', 'genre'"):
        similar_films("mood", films)
    with pytest.raises(M2SError, match="no such|does not exist|missing"):
        similar_films("cowatch", films, watch_log=tmp_path / "none.csv")
    with pytest.raises(M2SError, match="genre"):
        similar_films("genre", films.assign(genres=""))


def test_only_movielens_knows_titles(log, shared_data):
    for other in ("", log):
        assert "names no titles (02.watch_log is not a MovieLens folder)" in log_neighbours(other, ["Alien"])
    folder = shared_data / "movielens" / "ml-latest-small"
    assert "The 9,742 films of the watch log have none of 02.show_titles" in log_neighbours(
        folder, ["no such film", ""]
    )


def test_neighbours_that_a_film_lover_accepts(shared_data):
    folder = shared_data / "movielens" / "ml-latest-small"
    titles = ["Toy Story", "Alien", "The Godfather", "The Matrix", "Shrek", "Finding Nemo", "no such film"]
    shown = log_neighbours(folder, titles, neighbours=3)
    named = shown.groupby("film").neighbour.apply(set)
    for film, neighbour in {
        "Toy Story": "Toy Story 2", "Alien": "Aliens", "The Godfather": "The Godfather: Part II",
        "The Matrix": "The Matrix Reloaded", "Shrek": "Shrek 2",
        "Finding Nemo": "The Incredibles",
    }.items():  # fmt: skip
        assert neighbour in named[film], (film, named[film])


@pytest.fixture(scope="module")
def ovsd(shared_data, tmp_path_factory):
    """Nine real films with ready features, ingested as the first notebook does."""
    out = tmp_path_factory.mktemp("ovsd")
    return out, ingest_films(
        read_film_table(shared_data / "ovsd", source="features"), out, source="features", workers=1
    )


def test_real_features_through_pairs_and_mining(ovsd):
    from m2s_lib.films.store.features import read_features
    from m2s_lib.films.store.shot_store import open_stores
    from m2s_lib.mining.scene_mining import mine_pairs

    out, films = ovsd
    assert films.status.eq("ok").all()
    assert {"Big Buck Bunny", "Pentagon"} <= set(films.title)
    features = read_features(out / "features", open_stores(out / "shots"))
    assert {film: len(x) for film, x in features.items()} == films.set_index("film_id").n_shots.to_dict()
    genres = [
        "Animation|Comedy",
        "Animation|Sci-Fi",
        "Sci-Fi|Drama",
        "Drama",
        "Drama",
        "Comedy",
        "Drama",
        "Drama",
        "Drama",
    ]
    for pairs in (
        similar_films("genre", films.assign(genres=genres), neighbours=2),
        similar_films("random", films, neighbours=2, seed=1),
    ):
        found = mine_pairs(features, pairs)
        assert set(map(tuple, found[["film_a", "film_b"]].to_numpy())) == set(
            map(tuple, pairs[["film_a", "film_b"]].to_numpy())
        )
        assert np.isfinite(found.score).all()
        for row in found.sample(20, random_state=0).itertuples():
            a = features[row.film_a][row.shot_a : row.shot_a + 9].astype(np.float64)
            b = features[row.film_b][row.shot_b : row.shot_b + 9].astype(np.float64)
            assert row.score == pytest.approx((a @ b.T).mean(), rel=1e-4)
