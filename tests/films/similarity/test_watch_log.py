"""Watch logs: MovieLens folders, own tables, and matching to the film table."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity.watch_log import (
    imdb_id,
    match_watch_log,
    movielens_films,
    read_any_log,
    read_movielens,
    read_watch_log,
    split_title,
)


@pytest.fixture
def movielens(tmp_path):
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,10,4.0,100\n1,20,0.5,90\n2,10,3.0,50\n2,99,3.0,51\n2,30,3.0,52\n"
    )
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n10,"Godfather, The (1972)",Crime|Drama\n20,Moonlight,(no genres listed)\n'
        "30,Twice (1990),Drama\n40,Twice again (1990),Drama\n"
    )
    (tmp_path / "links.csv").write_text(
        "movieId,imdbId,tmdbId\n10,0068646,238\n20,4975722,\n30,0000007,1\n40,0000007,2\n"
    )
    return tmp_path


def test_movielens_ratings_become_views_with_imdb_ids(movielens):
    log = read_movielens(movielens)
    assert log.astype({"film_id": str}).to_dict("list") == {
        "user": [1, 1, 2, 2],
        "film_id": ["tt0068646", "tt4975722", "tt0068646", "tt0000007"],
        "time": [100.0, 90.0, 50.0, 52.0],
    }
    assert log.attrs["counts"] == {"rows": 4, "users": 2, "films": 3, "unknown_films": 1, "unknown_rows": 1}


def test_movielens_films_are_a_film_table(movielens):
    films = movielens_films(movielens)
    assert films["film_id"].tolist() == ["tt0000007", "tt0068646", "tt4975722"]
    assert films["title"].tolist() == ["Twice", "The Godfather", "Moonlight"]
    assert films["year"].dtype == "Int64"
    assert films["year"].fillna(0).tolist() == [1990, 1972, 0]
    assert films["genres"].tolist() == ["Drama", "Crime|Drama", ""]
    assert (films["imdb_id"] == films["film_id"]).all()
    assert films.attrs["counts"] == {"films": 3, "without_imdb_id": 0, "repeated_imdb_id": 1}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Toy Story (1995)", ("Toy Story", 1995)),
        ("Seven (a.k.a. Se7en) (1995)", ("Seven (a.k.a. Se7en)", 1995)),
        ("Postman, The (Postino, Il) (1994)", ("The Postman (Postino, Il)", 1994)),
        ("Avventura, L' (Adventure, The) (1960)", ("L'Avventura (Adventure, The)", 1960)),
        ("Paris, Texas (1984)", ("Paris, Texas", 1984)),
        ("Death Note: Desu nôto (2006–2007)", ("Death Note: Desu nôto", 2006)),
        ("2001: A Space Odyssey (1968) ", ("2001: A Space Odyssey", 1968)),
        ("Babylon 5", ("Babylon 5", None)),
        ("(1968)", ("", 1968)),
    ],
)
def test_titles_lose_their_year_and_get_their_article_back(written, read):
    assert split_title(written) == read


@pytest.mark.parametrize(
    ("value", "expected"),
    [(7, "tt0000007"), ("0114709", "tt0114709"), ("tt12345678", "tt12345678"), ("114709.0", "tt0114709")]
    + [("TT0114709", "tt0114709"), (" Tt114709 ", "tt0114709")]
    + [
        (f"{address}tt0114709{rest}", "tt0114709")
        for address, rest in (
            ("https://www.imdb.com/title/", "/"),
            ("http://m.imdb.com/title/", "/?ref_=nv_sr_1"),
            ("imdb.com/title/", ""),
            ("https://www.imdb.com/de/title/", "/reference/"),
        )
    ]
    + [
        (v, "")
        for v in ("", None, float("nan"), "nm0000001", "tt", "-5", "https://www.imdb.com/name/nm0000001/")
    ],
)
def test_imdb_ids_have_one_spelling(value, expected):
    assert imdb_id(value) == expected


def test_the_real_folder(shared_data):
    folder = shared_data / "movielens" / "ml-latest-small"
    log, films = read_movielens(folder), movielens_films(folder)
    assert log.attrs["counts"] == {
        "rows": 100836,
        "users": 610,
        "films": 9724,
        "unknown_films": 0,
        "unknown_rows": 0,
    }
    assert len(films) == 9742
    assert (
        films.set_index("film_id").at["tt0167260", "title"] == "The Lord of the Rings: The Return of the King"
    )
    _, counts = match_watch_log(log, films)
    assert counts["unwatched_films"] == 18


def test_movielens_folder_with_a_file_or_column_missing(movielens):
    (movielens / "movies.csv").write_text("movieId,title\n1,A\n")
    with pytest.raises(
        M2SError, match=r"movies.csv lacks .*genres.*found \['movieId', 'title'\], expected .*genres"
    ):
        movielens_films(movielens)
    (movielens / "links.csv").unlink()
    with pytest.raises(M2SError, match=r"links.csv is missing.*this one has \['movies.csv', 'ratings.csv'\]"):
        read_movielens(movielens)


def test_movielens_folder_with_a_damaged_number(movielens):
    (movielens / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,x,4.0,100\n")
    with pytest.raises(M2SError, match=r"ratings.csv cannot be read as a MovieLens table"):
        read_movielens(movielens)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_own_table_in_both_formats(tmp_path, suffix):
    table = pd.DataFrame(
        {
            "user": ["a", "b", None],
            "film_id": ["007", "x", "x"],
            "time": ["2020-01-01", "2020-01-02T00:00:01Z", ""],
        }
    )
    path = tmp_path / f"log{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    log = read_watch_log(path)
    assert log["film_id"].astype(str).tolist() == ["007", "x"]
    assert log["time"].tolist() == [1577836800.0, 1577923201.0]
    assert log.attrs["counts"] == {"rows": 2, "users": 2, "films": 2, "incomplete_rows": 1}


def test_times_may_be_numbers_dates_or_absent(tmp_path):
    path = tmp_path / "log.parquet"
    base = pd.DataFrame({"user": [1, 2], "film_id": [5, 6]})
    base.assign(time=pd.to_datetime(["1970-01-02", None])).to_parquet(path)
    np.testing.assert_array_equal(read_watch_log(path)["time"], [86400.0, np.nan])
    base.assign(time=[3, 4.5]).to_parquet(path)
    np.testing.assert_array_equal(read_watch_log(path)["time"], [3.0, 4.5])
    base.to_parquet(path)
    assert read_watch_log(path)["time"].isna().all()
    assert read_watch_log(path)["film_id"].tolist() == ["5", "6"]


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
def test_times_may_be_parts_of_seconds(tmp_path, per_second):
    path = tmp_path / "log.csv"
    path.write_text(
        f"user,film_id,time\n1,a,{1577836800 * per_second}\n1,b,{1577923200 * per_second}\n2,c,\n"
    )
    np.testing.assert_array_equal(read_watch_log(path)["time"], [1577836800.0, 1577923200.0, np.nan])


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_as_spreadsheets_write_them(tmp_path, separator, encoding):
    path = tmp_path / "log.csv"
    rows = [("user", "film_id", "time"), ("José", "Amélie", "3"), ("Zoë", "tt0114709", "4")]
    path.write_text("\n".join(separator.join(row) for row in rows) + "\n", encoding=encoding)
    log = read_watch_log(path)
    assert log["user"].tolist() == ["José", "Zoë"]
    assert log["film_id"].astype(str).tolist() == ["Amélie", "tt0114709"]
    assert log["time"].tolist() == [3.0, 4.0]


def test_movielens_1m_is_refused_by_its_name(tmp_path):
    (tmp_path / "ratings.dat").write_text("1::1193::5::978300760\n")
    (tmp_path / "movies.dat").write_text("1::Toy Story (1995)::Animation\n")
    for read in (read_movielens, movielens_films, read_any_log):
        with pytest.raises(
            M2SError, match=r"format of MovieLens 1M and 10M \(ratings.dat, '::' between values\)"
        ):
            read(tmp_path)


def test_own_table_that_cannot_be_used(tmp_path):
    path = tmp_path / "log.csv"
    with pytest.raises(M2SError, match="log.csv is missing: give a CSV or parquet table"):
        read_watch_log(path)
    path.write_text("viewer;film\n1;2\n")
    with pytest.raises(
        M2SError, match=r"lacks the column\(s\) \['user', 'film_id'\]: found \['viewer', 'film'\]"
    ):
        read_watch_log(path)
    path.write_text("user,film_id,time\n1,2,yesterday\n1,3,5\n")
    with pytest.raises(M2SError, match="1 of 2 times are neither numbers .* 'yesterday'"):
        read_watch_log(path)
    path.write_bytes(b"")
    with pytest.raises(M2SError, match="cannot be read as a table"):
        read_watch_log(path)
    (tmp_path / "log.parquet").write_bytes(b"not parquet")
    with pytest.raises(M2SError, match="cannot be read as a table"):
        read_watch_log(tmp_path / "log.parquet")


def test_matching_by_film_id_first_and_imdb_id_second():
    films = pd.DataFrame({"film_id": ["a", "b", "tt0000009"], "imdb_id": ["tt0000001", None, "tt0000001"]})
    log = pd.DataFrame({"user": [1, 1, 2, 2, 3], "film_id": ["a", "tt1", "tt0000009", "nope", "b"]})
    matched, counts = match_watch_log(log, films)
    assert matched["film_id"].astype(str).tolist() == ["a", "a", "tt0000009", "b"]
    assert matched["time"].isna().all()
    assert counts == {
        "rows": 5,
        "rows_matched": 4,
        "users": 3,
        "log_films": 5,
        "matched_films": 3,
        "unknown_films": 1,
        "unwatched_films": 0,
    }


def test_ids_are_found_however_they_are_spelled():
    films = pd.DataFrame({"film_id": ["a"], "imdb_id": ["tt0114709"]})
    spelled = ["TT0114709", "tt114709", " tt0114709", "https://www.imdb.com/title/tt0114709/"]
    matched, _ = match_watch_log(pd.DataFrame({"user": range(4), "film_id": spelled}), films)
    assert matched["film_id"].astype(str).tolist() == ["a"] * 4


def test_a_short_number_is_not_taken_for_an_imdb_id():
    films = pd.DataFrame({"film_id": ["a"], "imdb_id": ["tt0000017"]})
    with pytest.raises(M2SError, match="no film in common: give the films an imdb_id"):
        match_watch_log(pd.DataFrame({"user": [1], "film_id": ["17"]}), films)


def test_matching_says_what_does_not_meet():
    films = pd.DataFrame({"film_id": ["a", "b"], "imdb_id": ["", "tt0000002"]})
    log = pd.DataFrame({"user": [1, 1], "film_id": ["x", "y"]})
    with pytest.raises(
        M2SError,
        match=r"2 rows, 2 films such as 'x'.*2 films such as 'a', 1 with an imdb_id.*no film in common",
    ):
        match_watch_log(log, films)
    with pytest.raises(M2SError, match="the watch log has 0 rows"):
        match_watch_log(log.head(0), films)
    with pytest.raises(M2SError, match="the film table has 0 rows"):
        match_watch_log(log, films.head(0))
    with pytest.raises(M2SError, match=r"the watch log lacks the column\(s\) \['user'\]"):
        match_watch_log(log.drop(columns="user"), films)
