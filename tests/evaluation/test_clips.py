"""Clips: which shots stand for a clip, what is missing and why, embeddings by item, bad tables."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.clips import ItemVectors, clip_scenes, mean_by_owner, read_clips


def store(n, seconds=2.0):
    """A film of n shots of equal length."""
    starts = seconds * np.arange(n)
    return SimpleNamespace(n_shots=n, shots=pd.DataFrame({"start_s": starts, "end_s": starts + seconds}))


def clips(*rows):
    return pd.DataFrame(rows, columns=["item", "film_id", "start_s", "end_s"])


WHOLE = (np.nan, np.nan)


def test_a_folder_of_clips_is_films_of_one_clip(tmp_path):
    for name in ("-abc.mp4", "b.MKV", "notes.txt"):
        (tmp_path / name).write_text("")
    table = read_clips(tmp_path)
    assert table["item"].tolist() == table["film_id"].tolist() == ["-abc", "b"]
    assert table[["start_s", "end_s"]].isna().all().all()


@pytest.mark.parametrize("name", ["item", "youtube_id", "clip"])
def test_a_table_of_clips(tmp_path, name):
    path = tmp_path / "clips.csv"
    path.write_text(f"{name},film_id,start_s,end_s\nz,f1,1.5,9\na,f2,,\n")
    table = read_clips(path)
    assert table["item"].tolist() == ["a", "z"]
    assert table.loc[1, ["start_s", "end_s"]].tolist() == [1.5, 9]
    assert table.loc[0, ["start_s", "end_s"]].isna().all()
    path.write_text(f"{name},film_id\nz,f1\n")
    assert read_clips(path)["start_s"].isna().all()


def test_the_middle_nine_shots_stand_for_a_clip():
    scenes, missing = clip_scenes(clips(("whole", "f", *WHOLE), ("part", "f", 10, 40)), {"f": store(30)})
    assert scenes.to_dict("records") == [
        {"item": "whole", "film_id": "f", "shot": 10, "n_shots": 9},
        {"item": "part", "film_id": "f", "shot": 8, "n_shots": 9},  # 15 shots 5..19, the middle 9 from 8 on
    ]
    assert missing.empty


def test_all_windows_of_a_clip():
    scenes, _ = clip_scenes(clips(("whole", "f", *WHOLE)), {"f": store(30)}, windows="all")
    assert scenes["shot"].tolist() == [0, 9, 18]


def test_a_short_clip_is_one_shorter_scene():
    scenes, missing = clip_scenes(clips(("short", "f", 0, 5)), {"f": store(30)}, windows="all")
    assert scenes[["shot", "n_shots"]].to_numpy().tolist() == [[0, 2]]  # shots with their middle at 1 and 3 s
    assert missing.empty


def test_clips_that_cannot_be_had_are_listed_with_reasons():
    table = clips(("gone", "g", *WHOLE), ("unread", "u", *WHOLE), ("late", "f", 100, 110))
    scenes, missing = clip_scenes(table, {"f": store(3)}, reasons={"u": "no frame could be decoded"})
    assert scenes.empty
    assert dict(zip(missing["item"], missing["reason"], strict=True)) == {
        "gone": "film g is not there",
        "unread": "no frame could be decoded",
        "late": "no shot of film f in 100..110 s",
    }


def test_item_vectors_count_what_is_not_listed_and_average_windows():
    vectors = ItemVectors({"a": [1.0, 2], "b": [[1.0, 2], [3, 4]], "c": [5.0, 6]}, ["a", "b", "d"], "ours")
    assert vectors.extra == 1
    assert vectors.found(["a", "d", "b"]).tolist() == [True, False, True]
    x, owners = vectors.rows(["b", "a"])
    assert owners.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(mean_by_owner(x, owners), vectors.means(["b", "a"]))


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (
            {"x": [1.0]},
            r"ours: none of the 1 embeddings belongs to one of the 2 listed items \(given e.g. 'x'",
        ),
        ({}, "none of the 0 embeddings"),
        ({"a": [1.0, 2], "b": [1.0]}, "ours: item b has width 1, item a has 2"),
        ({"a": [1.0, np.nan]}, "the embedding of item a is not finite"),
        ({"a": np.ones((2, 2, 2))}, r"item a has an embedding float64 \(2, 2, 2\)"),
        ({"a": ["x"]}, "item a has an embedding"),
        ({"a": np.zeros((0, 4))}, "item a has an embedding"),
    ],
)
def test_bad_embeddings_are_named(embeddings, message):
    with pytest.raises(M2SError, match=message):
        ItemVectors(embeddings, ["a", "b"], "ours")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item;film_id\na;b\n", r"needs item \(or one of .*and film_id, separated by commas"),
        ("item,start_s\na,1\n", "film_id"),
        ("item,film_id,start_s,end_s\na,f,1,1:30\n", "end_s of clip a is '1:30', expected seconds"),
        ("item,film_id,start_s,end_s\na,f,9,1\n", "clip a ends at 1 s, before its start 9 s"),
        ("item,film_id\na,f\na,g\n", "1 clips are there more than once, the first is a"),
    ],
)
def test_bad_tables_are_named(tmp_path, text, message):
    path = tmp_path / "clips.csv"
    path.write_text(text)
    with pytest.raises(M2SError, match=message):
        read_clips(path)


def test_an_absent_or_empty_source_is_named(tmp_path):
    with pytest.raises(M2SError, match="holds no video file"):
        read_clips(tmp_path)
    with pytest.raises(M2SError, match="cannot be read as a CSV table"):
        read_clips(tmp_path / "absent.csv")
    with pytest.raises(M2SError, match="expected 'middle' or 'all'"):
        clip_scenes(clips(), {}, windows="first")
