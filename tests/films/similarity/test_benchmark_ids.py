"""Ids of benchmark films, read from the real layouts, and the exclusion."""

import json

import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.similarity.benchmark_ids import LVU_TASKS, benchmark_imdb_ids, exclude_benchmark_films

HEADERS = {
    "view_count": "view_count youtube_id imdb_id",
    "like_ratio": "like_count dislike_count youtube_id imdb_id",
}


@pytest.fixture
def lvu(tmp_path):
    root = tmp_path / "lvu_1.0"
    for number, task in enumerate(LVU_TASKS):
        (root / task).mkdir(parents=True)
        header = HEADERS.get(task, "class_id class_name youtube_id imdb_id")
        front = {"view_count": "531", "like_ratio": "7 3"}.get(task, r"0 \N")
        for s, split in enumerate(("train", "val", "test")):
            line = f"{front} -bcdefghij{s} tt{number:06d}{s}\n"
            (root / task / f"{split}.csv").write_text(f"{header}\n{line}")
    return root


@pytest.fixture
def split318(tmp_path):
    path = tmp_path / "split318.json"
    path.write_text(
        json.dumps({"train": ["tt0000500"], "val": ["tt0000001"], "test": ["tt0000601"], "all": []})
    )
    return path


def test_validation_and_test_films_of_both_benchmarks(lvu, split318):
    ids = benchmark_imdb_ids(lvu, split318)
    expected = {f"tt{n:06d}{s}" for n in range(9) for s in (1, 2)} | {"tt0000601"}
    assert set(ids) == expected
    assert ids["tt0000001"] == "LVU scene val, MovieNet val"
    assert list(ids) == sorted(ids)
    assert benchmark_imdb_ids(lvu.parent, split318) == ids  # the folder above lvu_1.0 will do
    assert benchmark_imdb_ids() == {}


def test_ids_from_a_file_of_ones_own(tmp_path):
    (tmp_path / "mine.csv").write_text('imdb_id,why\n"tt0000003",x\n42,y\n\n')
    assert benchmark_imdb_ids(extra=tmp_path / "mine.csv") == {
        "tt0000003": "mine.csv",
        "tt0000042": "mine.csv",
    }


def test_excluding_films(lvu):
    films = pd.DataFrame(
        {
            "film_id": ["a", "b", "c", "d"],
            "title": ["A", "B", "C", "D"],
            "imdb_id": ["tt0000001", "", None, "1"],
            "year": 2000,
        }
    )
    kept, n_excluded, table = exclude_benchmark_films(films, benchmark_imdb_ids(lvu))
    assert kept["film_id"].tolist() == ["b", "c"]
    assert kept.index.tolist() == [0, 1]
    assert n_excluded == 2
    assert table.to_dict("list") == {
        "film_id": ["a", "d"],
        "title": ["A", "D"],
        "imdb_id": ["tt0000001", "1"],
        "found_in": ["LVU scene val", "LVU scene val"],
    }
    same, none, empty = exclude_benchmark_films(films, {})
    assert (len(same), none, len(empty)) == (4, 0, 0)
    assert exclude_benchmark_films(films, {"tt0000001"})[1] == 2


def test_a_partial_lvu_folder_is_said_aloud(lvu, caplog):
    for file in (lvu / "genre").iterdir():
        file.unlink()
    (lvu / "genre").rmdir()
    assert len(benchmark_imdb_ids(lvu)) == 16
    assert "8 of 9 LVU tasks" in caplog.text
    assert "genre" in caplog.text


def test_bad_benchmarks_are_named(lvu, split318, tmp_path):
    with pytest.raises(M2SError, match="is not an LVU folder"):
        benchmark_imdb_ids(tmp_path / "nowhere")
    (lvu / "year" / "val.csv").write_text("class_id class_name youtube_id imdb_id\n0 1990 abc tt1\n")
    with pytest.raises(M2SError, match=r"val.csv, line 2: '0 1990 abc tt1' does not end in an IMDb id"):
        benchmark_imdb_ids(lvu)
    (lvu / "year" / "val.csv").unlink()
    with pytest.raises(M2SError, match=r"val.csv cannot be read \(No such file"):
        benchmark_imdb_ids(lvu)
    split318.write_text('{"train": []}')
    with pytest.raises(M2SError, match=r'expected lists "val" and "test", found \[.train.\]'):
        benchmark_imdb_ids(movienet_split=split318)
    split318.write_text("[1]")
    with pytest.raises(M2SError, match="found list"):
        benchmark_imdb_ids(movienet_split=split318)
    with pytest.raises(M2SError, match="missing"):
        benchmark_imdb_ids(movienet_split=tmp_path / "none.json")
    (tmp_path / "empty.txt").write_text("hello\n")
    with pytest.raises(M2SError, match="holds no IMDb id"):
        benchmark_imdb_ids(extra=tmp_path / "empty.txt")
    with pytest.raises(M2SError, match=r"lacks the column\(s\) \['imdb_id'\]"):
        exclude_benchmark_films(pd.DataFrame({"film_id": ["a"]}), {})
