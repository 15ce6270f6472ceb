"""LVU's folder: the format as distributed, its oddities, targets by hand, and every kind of bad line."""

import time

import numpy as np
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.lvu.files import (
    LIKE_MEAN,
    TASKS,
    VIEW_LOG_MEAN,
    film_overlap,
    like_target,
    read_lvu,
    task_table,
    view_target,
)
from m2s_lib.films.similarity.benchmark_ids import LVU_TASKS
from tests.helpers.lvu_folders import REAL_SIZES, write_lvu

SCENE = """class_id class_name youtube_id imdb_id
0 office 09-K2ec8lyc tt1175709
0 office -9-K2ec8lyc tt1175709
3 hotel qKs_rXXMZ9A tt0451279
"""


def write_scene(
    folder, train=SCENE, val="4 prison aaaaaaaaaaa tt0451279\n", test="0 office bbbbbbbbbbb tt7654321\n"
):
    """The place task alone, from lines."""
    head = SCENE.splitlines()[0] + "\n"
    (folder / "scene").mkdir(parents=True, exist_ok=True)
    for split, text in (("train", train), ("val", head + val), ("test", head + test)):
        (folder / "scene" / f"{split}.csv").write_text(text)
    return folder


def test_reads_the_lines_of_the_real_lists(tmp_path):
    task = read_lvu(write_scene(tmp_path), ["scene"])["scene"]
    assert task.rows["youtube_id"].tolist()[:2] == ["09-K2ec8lyc", "-9-K2ec8lyc"]
    assert task.rows["split"].tolist() == ["train", "train", "train", "val", "test"]
    assert task.rows["class_id"].tolist() == [0, 0, 3, 4, 0]
    assert task.rows["label"].tolist() == ["office", "office", "hotel", "prison", "office"]
    assert task.classes == ("office", "", "", "hotel", "prison", "")
    assert task.rows["duration_s"].isna().all()
    assert len(task.split("val")) == 1


def test_the_full_folder_is_read_in_under_two_seconds(tmp_path):
    root = write_lvu(tmp_path, REAL_SIZES)
    start = time.perf_counter()
    tasks = read_lvu(tmp_path)  # the folder above is taken, too
    seconds = time.perf_counter() - start
    assert sum(len(t.rows) for t in tasks.values()) == 11_565
    assert {
        t: tuple(len(task.split(s)) for s in ("train", "val", "test")) for t, task in tasks.items()
    } == REAL_SIZES
    assert all(t.rows["duration_s"].notna().all() for t in tasks.values())
    assert seconds < 2
    assert read_lvu(root, ["year"])["year"].rows.equals(tasks["year"].rows)


def test_the_null_of_a_data_base_is_a_class_like_others(tmp_path):
    write_lvu(tmp_path)
    writer = read_lvu(tmp_path, ["writer"])["writer"]
    assert writer.classes[0] == "\\N"
    assert writer.classes[3:] == ("",) * 7
    assert (writer.rows["label"] == "\\N").sum() == 16


def test_targets_are_lvus(tmp_path):
    """The two rows that the format's description shows."""
    assert view_target(100124) == pytest.approx(np.log(100124) - 11.76425435683139)
    assert like_target(100061, 3801) == pytest.approx(10 * 100061 / 103862 - 9.138220535629456)
    write_lvu(tmp_path)
    path = tmp_path / "lvu_1.0" / "like_ratio" / "train.csv"
    path.write_text("like_count dislike_count youtube_id imdb_id\n90 10 29VjYkPPY2s tt0451279\n")
    like = read_lvu(tmp_path, ["like_ratio"])["like_ratio"]
    assert like.split("train")["target"].tolist() == pytest.approx([9 - LIKE_MEAN])
    view = read_lvu(tmp_path, ["view_count"])["view_count"]
    assert abs(view.targets.mean() + VIEW_LOG_MEAN - 11.8) < 1
    assert view.classes == ()


def test_shared_films_are_counted_not_removed(tmp_path):
    task = read_lvu(write_scene(tmp_path), ["scene"])["scene"]
    overlap = film_overlap(task)
    assert overlap["n_films"].tolist() == [1, 0, 0]  # tt0451279 is in train and val
    assert overlap["n_videos"].tolist() == [1, 0, 0]


def test_classes_without_an_item_and_missing_videos_are_counted(tmp_path):
    task = read_lvu(write_scene(tmp_path), ["scene"])
    table = task_table(task, found=["09-K2ec8lyc", "aaaaaaaaaaa", "not listed"]).set_index("split")
    assert table["n_found"].tolist() == [1, 1, 0]
    assert table["n_listed"].tolist() == [3, 1, 1]
    assert table["classes"].tolist() == [2, 1, 1]
    assert table.loc["test", "missing_classes"] == "class 1, class 2, hotel, prison, class 5"
    assert table.loc["val", "shared_films"] == 1


def test_tasks_are_those_of_the_exclusion_list():
    assert tuple(TASKS) == LVU_TASKS


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (SCENE.replace(" ", ","), "first line is 'class_id,class_name.*'class_id class_name youtube_id "
                                  "imdb_id'; the separator is one space"),
        (SCENE.replace(" ", "\t"), "the separator is one space"),
        ("", "the first line is ''"),
        (SCENE + "1 airport cccccccccc,tt1234567\n", "line 5: .*is not 'class_id class_name"),
        (SCENE + "1  ccccccccccc tt1234567\n", "line 5"),
        (SCENE + "1 airport ccccccccccc 1234567\n", "line 5: .*IMDb id such as tt1175709"),
        (SCENE + "6 street ccccccccccc tt1234567\n", r"line 5: class 6 \(street\) is unknown, .* 0\.\.5"),
        (SCENE + "x street ccccccccccc tt1234567\n", "line 5: class_id is 'x', expected a whole number"),
        (SCENE + "-1 street ccccccccccc tt1234567\n", "line 5: class_id is '-1'"),
        (SCENE + "3 motel ccccccccccc tt1234567\n", r"class_id '3' goes with \['hotel', 'motel'\]"),
        (SCENE + "2 hotel ccccccccccc tt1234567\n", r"label 'hotel' goes with \[3, 2\]"),
        (SCENE + "0 office 09-K2ec8lyc tt1175709\n", "video 09-K2ec8lyc is listed more than once "
                                                     r"\(train.csv line 2, train.csv line 5\)"),
        (SCENE + "0 office bbbbbbbbbbb tt1175709\n", r"more than once \(train.csv line 5, test.csv line 2\)"),
    ],
)  # fmt: skip
def test_bad_lines_are_named(tmp_path, lines, message):
    with pytest.raises(M2SError, match=message):
        read_lvu(write_scene(tmp_path, train=lines), ["scene"])


@pytest.mark.parametrize(
    ("task", "line", "message"),
    [
        ("view_count", "0 29VjYkPPY2s tt0451279", "line 2: a count of 0 has no target"),
        ("view_count", "1e6 29VjYkPPY2s tt0451279", "view_count is '1e6'"),
        ("like_ratio", "0 0 29VjYkPPY2s tt0451279", "line 2: a count of 0 has no target"),
        ("like_ratio", "12 29VjYkPPY2s tt0451279", "line 2"),
    ],
)
def test_bad_counts_are_named(tmp_path, task, line, message):
    write_lvu(tmp_path)
    path = tmp_path / "lvu_1.0" / task / "val.csv"
    path.write_text(" ".join(TASKS[task].columns) + f"\n{line}\n")
    with pytest.raises(M2SError, match=message):
        read_lvu(tmp_path, [task])


def test_absent_and_foreign_files_are_named(tmp_path):
    with pytest.raises(M2SError, match="scene.train.csv cannot be read .*LVU's folder has"):
        read_lvu(tmp_path, ["scene"])
    with pytest.raises(M2SError, match=r"unknown LVU tasks \['place'\]: LVU has \['scene'"):
        read_lvu(tmp_path, ["place"])
    write_scene(tmp_path)
    (tmp_path / "lvu_durations.csv").write_text("videoid,duration\nabc,1.5\n")
    with pytest.raises(M2SError, match="lvu_durations.csv, line 2: 'abc,1.5'"):
        read_lvu(tmp_path, ["scene"])
    (tmp_path / "lvu_durations.csv").write_text("a b\n")
    with pytest.raises(M2SError, match="expected 'videoid,duration'"):
        read_lvu(tmp_path, ["scene"])
    (tmp_path / "scene" / "val.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "lvu_durations.csv").unlink()
    with pytest.raises(M2SError, match="not UTF-8 text"):
        read_lvu(tmp_path, ["scene"])
