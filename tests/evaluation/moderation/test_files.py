"""Moderation: reading tables of clips and splitting them by film."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.moderation.files import CLASSES, read_mcd, split_by_film, split_table
from tests.helpers.moderation_tables import clips


def test_a_file_and_a_table_read_alike(tmp_path):
    table = clips()
    table.to_csv(tmp_path / "clips.csv", index=False)
    a, b = read_mcd(tmp_path / "clips.csv"), read_mcd(table)
    pd.testing.assert_frame_equal(a, b, check_dtype=False)
    assert a["class_id"].tolist() == [CLASSES.index(c) for c in table["label"]]
    assert "clip" in table.columns  # the caller's table is not touched


def test_clips_that_are_files_are_items_by_their_name():
    table = read_mcd(clips(20, 9).assign(clip=[f"clips/c{i}.mp4" for i in range(20)]))
    assert table["item"].tolist()[:2] == ["c0", "c1"]
    assert table["path"].tolist()[:2] == ["clips/c0.mp4", "clips/c1.mp4"]


def test_files_of_one_name_keep_their_folder():
    names = [f"{folder}/c{i}.mp4" for folder in "abc" for i in range(3)]
    table = read_mcd(clips(9, 9).assign(clip=names, film_id=list("aaabbbccc")))
    assert table["item"].tolist()[:4] == ["a/c0", "a/c1", "a/c2", "b/c0"]


def test_stretches_of_films_need_no_item(tmp_path):
    path = tmp_path / "stretches.csv"
    rows = ["a,1.5,6,sex,train", "a,6,11,none,train", "b,0,5,none,val", "c,0,5,sex,test"]
    path.write_text("film_id,start_s,end_s,label,split\n" + "\n".join(rows))
    table = read_mcd(path)
    assert table["item"].tolist() == ["a 1.5-6", "a 6-11", "b 0-5", "c 0-5"]
    assert table["start_s"].tolist() == [1.5, 6, 0, 0]
    path.write_text("item,film_id,start_s,end_s,label,split\nx,a,1,2,sex,train\ny,b,,,sex,val\n")
    mixed = read_mcd(path)
    assert mixed["start_s"].isna().tolist() == [False, True]  # y is a file of its own
    assert mixed["item"].tolist() == ["x", "y"]


def test_a_tables_own_split_is_kept(tmp_path):
    table = clips(4, 4).assign(film_id=list("abcd"), split=["test", "val", "train", "train"])
    assert read_mcd(table)["split"].tolist() == ["test", "val", "train", "train"]


def test_the_split_is_70_10_20_by_film_with_classes_alike():
    table = clips(4000, 900)
    table["split"] = split_by_film(table)
    assert table.groupby("film_id")["split"].nunique().max() == 1
    shares = table["split"].value_counts(normalize=True)
    assert shares[["train", "val", "test"]].tolist() == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
    by_class = pd.crosstab(table["label"], table["split"], normalize="index")
    np.testing.assert_allclose(by_class[["train", "val", "test"]], [[0.7, 0.1, 0.2]] * 4, atol=0.02)


@settings(deadline=None, max_examples=40)
@given(films=st.integers(3, 12), n=st.integers(12, 60), seed=st.integers(0, 50))
def test_no_film_is_in_two_parts_and_no_part_is_empty(films, n, seed):
    table = clips(n, films, seed)
    table.loc[: films - 1, "film_id"] = [f"f{i}" for i in range(films)]
    split = split_by_film(table, seed=seed)
    assert set(split) == {"train", "val", "test"}
    assert pd.Series(split).groupby(table["film_id"]).nunique().max() == 1
    np.testing.assert_array_equal(split, split_by_film(table, seed=seed))


def test_another_seed_gives_another_split():
    table = clips()
    assert (split_by_film(table, seed=0) != split_by_film(table, seed=1)).any()


def test_split_table_counts_clips_films_and_classes():
    labels = ["sex", "none", "none", "violence", "none"]
    table = pd.DataFrame({"item": list("12345"), "film_id": list("aabcc"), "label": labels})
    table = read_mcd(table.assign(split=["train", "train", "val", "test", "test"]))
    counts = split_table(table, found=["1", "2", "3", "4"], short=["2", "4"]).set_index("split")
    assert counts.index.tolist() == ["train", "val", "test"]
    assert counts["n_films"].tolist() == [1, 1, 1]
    assert counts["n_listed"].tolist() == [2, 1, 2]
    assert counts["n_found"].tolist() == [2, 1, 1]
    assert counts["n_short"].tolist() == [1, 0, 1]
    assert counts["sex"].tolist() == [1, 0, 0]
    assert counts["violence"].tolist() == [0, 0, 1]
    assert counts["none"].tolist() == [1, 1, 0]  # clip 5 was not found
    assert split_table(table)["n_found"].tolist() == [2, 1, 2]


TWO = {"clip": ["a", "b"], "film_id": ["f", "g"], "label": ["sex", "none"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"label": ["sex", "gore"]},
            "row 2: clip b has the unknown class 'gore', one of 1 such clips; the classes are",
        ),
        ({"clip": ["a", "a"]}, "row 2: clip a is listed before, one of 1 rows that repeat a clip"),
        ({"film_id": ["f", ""]}, "row 2: film_id is empty"),
        ({"split": ["train", "valid"]}, "row 2: clip b has the split 'valid'"),
        (
            {"film_id": ["f", "f"], "split": ["train", "test"]},
            r"1 films are in two parts .* f in \['test', 'train'\]",
        ),
        ({"start_s": [0, 9], "end_s": [5, 3]}, "clip b ends at 3 s, before its start 9 s"),
        ({"start_s": [0, 9], "end_s": [5, ""]}, "clip b needs both start_s and end_s"),
        ({"start_s": [0, "x"], "end_s": [5, 6]}, "start_s of clip b is 'x', expected seconds"),
    ],
)
def test_bad_tables_are_named(change, message):
    with pytest.raises(M2SError, match=message):
        read_mcd(pd.DataFrame(TWO | change))


def test_bad_files_are_named_with_their_line(tmp_path):
    path = tmp_path / "clips.csv"
    pd.DataFrame(TWO).to_csv(path, index=False, sep=";")
    with pytest.raises(M2SError, match=r"clips.csv has the columns \['clip;film_id;label'\]: it needs item"):
        read_mcd(path)
    with pytest.raises(M2SError, match="cannot be read as a CSV table"):
        read_mcd(tmp_path / "absent.csv")
    path.write_text("clip,film_id,label\na,f,sex\n\nb,g,gore\n")  # an empty line counts, and is no clip
    with pytest.raises(M2SError, match=r"clips.csv, line 4: clip b has the unknown class 'gore'"):
        read_mcd(path)
    path.write_text("clip,film_id,label\na,f,sex\nb,g,none\na,f,none\n")
    with pytest.raises(M2SError, match=r"clips.csv, line 4: clip a is listed before"):
        read_mcd(path)
