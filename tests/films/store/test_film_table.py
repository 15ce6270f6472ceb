"""The film table: ids, metadata, and every way a folder or a table can be wrong."""

import logging
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.films.store.film_table import COLUMNS, read_film_table


@pytest.fixture
def folder(tmp_path):
    def make(*names, root="films"):
        for name in names:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return tmp_path / root

    return make


def metadata(tmp_path, text: str):
    path = tmp_path / "metadata.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_kind_of_video_in_every_folder_and_nothing_else(folder):
    names = ["a.mp4", "B.MKV", "sub/c.mov", "sub/deep/d.avi", "e.webm", "f.M4V", "g.mpg", "h.ts"]
    root = folder(*names, "notes.txt", "cover.jpg", ".hidden.mp4", "._a.mp4", ".trash/z.mp4")
    table = read_film_table(root)
    assert sorted(table["film_id"]) == ["B", "a", "c", "d", "e", "f", "g", "h"]
    assert list(table.columns) == COLUMNS
    assert set(table["status"]) == {"pending"}
    assert set(table["reason"]) == {""}
    assert table["title"].tolist() == table["film_id"].tolist()
    assert all(os.path.exists(p) for p in table["path"])
    assert table.attrs["unknown_metadata"] == []
    assert read_film_table(root)["path"].tolist() == table["path"].tolist()


def test_names_with_spaces_unicode_and_signs_become_safe_ids(folder):
    root = folder("My Film (1999).mp4", "映画 café.mp4", "a:b*c.mp4", "cafe\u0301 2.mp4")
    assert set(read_film_table(root)["film_id"]) == {"My Film (1999)", "映画 café", "a_b_c", "café 2"}


def test_two_files_with_the_same_id_are_both_rows_and_the_second_says_rename(folder):
    root = folder("one/film.mp4", "two/film.mkv", "three/film (2).mp4", "two/film.mp4")
    table = read_film_table(root).set_index("film_id")
    assert table.index.is_unique
    assert sorted(table.index) == ["film", "film (2)", "film (3)", "film (4)"]
    assert table["status"].to_dict() == {
        "film": "pending",
        "film (2)": "pending",
        "film (3)": "failed",
        "film (4)": "failed",
    }
    reason = table.loc["film (3)", "reason"]
    assert reason == "one/film.mp4 and two/film.mkv have the same film id 'film': rename one"


@given(st.lists(st.sampled_from(["a", "b", "a (2)", "b (2)", "a (3)"]), min_size=1, max_size=8))
def test_ids_stay_unique_whatever_the_names(tmp_path_factory, stems):
    root = tmp_path_factory.mktemp("films")
    for i, stem in enumerate(stems):
        (root / f"{i:02d}").mkdir()
        (root / f"{i:02d}" / f"{stem}.mp4").write_bytes(b"x")
    table = read_film_table(root)
    assert table["film_id"].is_unique
    assert len(table) == len(stems)
    assert (table["status"] == "pending").sum() == len(set(stems))


def test_names_that_cannot_be_ids_are_rows_with_a_reason(folder):
    table = read_film_table(folder("x" * 201 + ".mp4", "fine.mp4"))
    bad = table[table["status"] == "failed"].iloc[0]
    assert "cannot be a film id" in bad["reason"]
    assert table["film_id"].is_unique


def test_links_that_lead_out_of_the_folder_are_refused(folder, tmp_path):
    root, outside = folder("inside.mp4"), folder("secret.mp4", root="elsewhere")
    (root / "link.mp4").symlink_to(outside / "secret.mp4")
    (root / "within.mp4").symlink_to(root / "inside.mp4")
    table = read_film_table(root).set_index("film_id")
    assert table.loc["link", "status"] == "failed"
    assert "link.mp4 is a link out of" in table.loc["link", "reason"]
    assert table.loc["within", "status"] == "pending"


def test_missing_and_empty_folders_say_what_was_looked_for(folder, tmp_path):
    with pytest.raises(
        M2SError, match=r"films_dir .*nowhere is not a folder: expected one with video files \(mp4 mkv"
    ):
        read_film_table(tmp_path / "nowhere")
    with pytest.raises(
        M2SError, match=r"no film under .*films: looked for video files \(mp4 mkv .*sub-folders included"
    ):
        read_film_table(folder("readme.txt"))
    with pytest.raises(M2SError, match="source is 'vhs', expected one of"):
        read_film_table(tmp_path, source="vhs")


def test_metadata_fills_what_it_knows(folder, tmp_path):
    root = folder("one.mp4", "two film.mp4", "three.mp4")
    path = metadata(
        tmp_path,
        "film_id,title,imdb_id,genres,synopsis,year,split,extra\n"
        'two film,"Two, the film",tt0000012,Drama|Comedy,"A ""quoted"" tale",1999,Train,x\n'
        "one,,114709,,,,,\n"
        "three,Three,12345678,\"Drama, War\",,2001.0,val,\n",
    )  # fmt: skip
    table = read_film_table(root, path).set_index("film_id")
    two = table.loc["two film"]
    assert (two["title"], two["imdb_id"], two["genres"]) == ("Two, the film", "tt0000012", "Drama|Comedy")
    assert (two["synopsis"], two["year"], two["split"]) == ('A "quoted" tale', 1999, "train")
    assert (table.loc["one", "title"], table.loc["one", "imdb_id"], table.loc["one", "genres"]) == (
        "one",
        "tt0114709",
        "",
    )
    assert table.loc["one", "year"] is pd.NA
    assert (table.loc["three", "imdb_id"], table.loc["three", "genres"], table.loc["three", "year"]) == (
        "tt12345678", "Drama|War", 2001,
    )  # fmt: skip
    assert str(table["year"].dtype) == "Int64"


def test_metadata_as_parquet_with_numbers_lists_and_gaps_and_paths(folder, tmp_path):
    root = folder("one.mp4", "sub/two.mp4")
    given = pd.DataFrame(
        {
            "path": ["somewhere/else/one.mp4", r"C:\films\two.mp4"],
            "imdb_id": [114709.0, np.nan],
            "genres": [["Drama", "War"], None],
            "year": pd.array([1995, pd.NA], dtype="Int64"),
        }
    )
    given.to_parquet(tmp_path / "metadata.parquet")
    table = read_film_table(root, tmp_path / "metadata.parquet").set_index("film_id")
    assert table["imdb_id"].tolist() == ["tt0114709", ""]
    assert table["genres"].tolist() == ["Drama|War", ""]
    assert table.loc["one", "year"] == 1995


def test_empty_genres_and_movielens_none_are_empty(folder, tmp_path):
    root = folder("a.mp4", "b.mp4", "c.mp4")
    path = metadata(tmp_path, "film_id,genres\na,\nb,(no genres listed)\nc,Drama||Drama\n")
    assert read_film_table(root, path)["genres"].tolist() == ["", "", "Drama"]


def test_rows_of_unknown_films_are_counted_and_reported(folder, tmp_path, caplog):
    path = metadata(tmp_path, "film_id,title\na,A\nghost,G\nother,O\n")
    with caplog.at_level(logging.WARNING):
        table = read_film_table(folder("a.mp4"), path)
    assert table.attrs["unknown_metadata"] == ["ghost", "other"]
    assert "2 of 3 rows are of films that are not here (ghost, other ...)" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name,title\na,A\n",
            r"has the columns \['name', 'title'\]; expected film_id \(or path\), and any of title",
        ),
        ("film_id,imdb_id\na,nm0000001\n", r"row 1 \(film_id 'a'\): imdb_id is 'nm0000001', expected 'tt'"),
        ("film_id,imdb_id\nb,\na,0\n", r"row 2 \(film_id 'a'\): imdb_id is '0'"),
        ("film_id,imdb_id\na,-5\n", r"imdb_id is '-5'"),
        ("film_id,year\na,MCMXC\n", r"row 1 .* year is 'MCMXC', expected four digits"),
        ("film_id,split\na,dev\n", r"row 1 .* split is 'dev', expected train, val, test or nothing"),
        ("film_id,title\na,A\na,B\n", r"row 2 .* film 'a' is already in row 1"),
        ("film_id,title\n,A\n", r"row 1 \(film_id ''\): .* cannot be a film id"),
        ("film_id,title\na,A,B,C,D\na\n", r"."),
    ],
)
def test_metadata_that_cannot_be_used_names_row_and_column(folder, tmp_path, text, message):
    with pytest.raises(M2SError, match=message):
        read_film_table(folder("a.mp4", "b.mp4"), metadata(tmp_path, text))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_metadata_as_spreadsheets_write_it(folder, tmp_path, encoding, separator):
    rows = [["film_id", "title", "genres", "year"], ["a", "Amélie", "Comédie|Romance", "2001"]]
    path = tmp_path / "metadata.csv"
    path.write_text("\n".join(separator.join(row) for row in rows) + "\n", encoding=encoding)
    table = read_film_table(folder("a.mp4"), path)
    assert table[["title", "genres", "year"]].iloc[0].tolist() == ["Amélie", "Comédie|Romance", 2001]


def test_a_metadata_file_that_is_missing_or_no_table(folder, tmp_path):
    root = folder("a.mp4")
    with pytest.raises(M2SError, match="none.csv is missing: expected a CSV or parquet table"):
        read_film_table(root, tmp_path / "none.csv")
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    with pytest.raises(M2SError, match="broken.parquet cannot be read as a table"):
        read_film_table(root, tmp_path / "broken.parquet")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("big_buck_bunny_2008", "big buck bunny 2008"),
        ("The.Third.Man.1949", "The Third Man 1949"),
        ("Vertigo (1958) v1.2", "Vertigo (1958) v1.2"),
        ("___", "___"),
    ],
)
def test_a_file_name_is_a_title_in_words(tmp_path, name, title):
    (tmp_path / f"{name}.mp4").touch()
    assert read_film_table(tmp_path).title.tolist() == [title]


def test_films_of_other_sources_are_folders(folder, tmp_path):
    root = folder(
        "tt0032138/shot_0000_img_0.jpg", "tt0032138/shot_0001_img_0.jpg", "deep/tt0000001/shot_0000_img_1.jpg"
    )
    table = read_film_table(root, source="movienet")
    assert table["film_id"].tolist() == ["tt0000001", "tt0032138"]
    assert table["imdb_id"].tolist() == ["tt0000001", "tt0032138"]
    root = folder("01/shots.txt", "02/shots.txt", "empty/x.txt", root="ready")
    (root / "02" / "name.txt").write_text("A Title\n")
    assert read_film_table(root, source="features")["title"].tolist() == ["01", "A Title"]


def test_a_real_folder(shared_data):
    table = read_film_table(shared_data / "films")
    assert table["film_id"].tolist() == [
        "big_buck_bunny_2008", "nasa_jwst_promo", "sintel_trailer_2010", "steamboat_willie_1928_excerpt",
    ]  # fmt: skip


def test_an_empty_file_takes_no_name_from_a_good_one(tmp_path):
    (tmp_path / "x.avi").write_bytes(b"")
    (tmp_path / "x.mp4").write_bytes(b"film")
    table = read_film_table(tmp_path).set_index("film_id")
    assert table.path["x"].endswith("x.mp4")
    assert table.status["x"] == "pending"
    assert "x.mp4 and x.avi have the same film id" in table.reason["x (2)"]


def test_an_id_with_the_files_ending_is_the_film(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "x.mp4").write_bytes(b"film")
    (tmp_path / "m.csv").write_text("film_id,title\nx.mp4,A Film\n")
    assert read_film_table(tmp_path / "films", tmp_path / "m.csv").title.tolist() == ["A Film"]


def test_metadata_of_other_films_alone_is_refused(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "x.mp4").write_bytes(b"film")
    (tmp_path / "m.csv").write_text("film_id,title\ny,A Film\n")
    with pytest.raises(M2SError, match="names none of the films: its first film_id is 'y', the first film"):
        read_film_table(tmp_path / "films", tmp_path / "m.csv")
