"""Means over repeats against hand-worked ones; what a run without rows gives; what is counted once."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.metrics import Measured
from m2s_lib.evaluation.paper.repeats import (
    FIRST_ROW,
    first_row_folder,
    mean_interval,
    over_repeats,
    read_measured,
)
from m2s_lib.evaluation.results import result_row, result_table, theme_results
from m2s_lib.io import read_parquet, write_parquet


def rows(*values, encoder="ours (co-watch)", row=FIRST_ROW, task="genre", metric="top-1", **more):
    """One result for each repeat a, b, ..., in LVU's test split."""
    about = {"benchmark": "LVU", "split": "test"} | more
    table = result_table(
        [
            result_row(**about, task=task, encoder=encoder, metric=metric, n_found=9, n_listed=10,
                       measured=Measured(v, v - 0.1, v + 0.1, 9))
            for v in values
        ]
    )  # fmt: skip
    return table.assign(row=row, repeat=list("abcdefg"[: len(values)]), stage="05_lvu_evaluation")


def stage(folder, name="09_paper_results"):
    return SimpleNamespace(
        run_dir=folder, name=name, read_parquet=lambda p, columns: read_parquet(folder / p, columns)
    )


def test_the_interval_over_repeats_is_students():
    values = [0.2, 0.3, 0.5]
    found = over_repeats(rows(*values)).iloc[0]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found["value"] == pytest.approx(1 / 3)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx((low, high))
    assert found[["n", "n_found", "n_listed", "seeds", "seed"]].tolist() == [27, 27, 30, 3, 0]


def test_one_repeat_keeps_its_own_interval_and_averages_its_seeds():
    one = rows(0.4)
    both = pd.concat([one, one.assign(seed=1, value=0.6, ci_low=0.5, ci_high=0.7)])
    found = over_repeats(both).iloc[0]
    assert found[["value", "ci_low", "ci_high", "seeds", "n"]].tolist() == pytest.approx(
        [0.5, 0.4, 0.6, 2, 9]
    )


def test_what_two_rows_share_counts_once():
    """The floor is measured in every row alike; keeping rows apart keeps both."""
    floor = rows(0.1, 0.1, encoder="random scores")
    both = pd.concat([floor, floor.assign(row="row 10")])
    assert len(over_repeats(both)) == 1
    assert over_repeats(both)["n"].item() == 18
    assert len(over_repeats(both, by=["row"])) == 2


@pytest.mark.parametrize(("values", "n"), [([], 0), ([0.5], 1), ([0.5, np.nan], 1)])
def test_too_few_values_have_no_interval(values, n):
    mean, low, high = mean_interval(np.array(values, float))
    assert np.isnan([low, high]).all()
    assert np.isnan(mean) == (n == 0)


def test_a_run_without_rows_is_the_first_row(tmp_path):
    for folder in ("05_lvu_evaluation", "07_mcd_evaluation", "09_paper_results"):
        (tmp_path / folder).mkdir()
        plain = rows(0.4).drop(columns=["row", "repeat", "stage"])
        write_parquet(plain, tmp_path / folder / "results.parquet")
    found = read_measured(stage(tmp_path))
    assert found["stage"].tolist() == ["05_lvu_evaluation", "07_mcd_evaluation"]  # not its own
    assert set(found["row"]) == {FIRST_ROW}
    assert first_row_folder(tmp_path) == tmp_path


def test_a_run_of_rows_gives_all_of_them(tmp_path):
    lines = [
        ("row 1", "a", "04_x", "done"),
        ("row 1", "a", "05_y", "failed"),
        ("row 10", "b", "05_y", "done"),
    ]
    table = pd.DataFrame(lines, columns=["row", "folder", "stage", "status"])
    write_parquet(
        table.assign(repeat="", compute_s=1.0, reason="").rename(columns={"row": "setting"}),
        tmp_path / "settings.parquet",
    )
    for row in table.itertuples():
        (tmp_path / "settings" / row.folder / row.stage).mkdir(parents=True)
        if row.status == "done":
            plain = rows(0.4, 0.5).drop(columns=["row", "repeat", "stage"])
            write_parquet(plain, tmp_path / "settings" / row.folder / row.stage / "results.parquet")
    found = read_measured(stage(tmp_path))
    assert found[["row", "stage"]].drop_duplicates().values.tolist() == [
        ["row 1", "04_x"],
        ["row 10", "05_y"],
    ]
    assert len(found) == 4
    assert first_row_folder(tmp_path) == tmp_path / "settings" / "b"  # all of b is done


def test_nothing_measured_says_what_to_run(tmp_path):
    with pytest.raises(M2SError, match=r"no results.parquet: run the stages that measure first \(m2s run"):
        read_measured(stage(tmp_path))


def test_theme_results_are_rows_like_others():
    table = pd.DataFrame({"encoder": ["E_scene"], "metric": ["P@1"], "value": [0.6], "n": [50]})
    found = theme_results("scene retrieval", table.assign(ci_low=0.5, ci_high=0.7), {"E_scene": "ours"})
    assert found.iloc[0][["encoder", "split", "n_found", "seed"]].tolist() == ["ours", "all", 50, 0]
    assert theme_results("scene retrieval", table[:0]).empty
