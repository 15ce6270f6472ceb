"""Means over repeats against hand-worked ones; what is counted once."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from m2s_lib.evaluation.paper.repeats import mean_interval, over_repeats
from m2s_lib.evaluation.results import theme_results
from tests.helpers.result_rows import rows


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


def test_what_two_settings_share_counts_once():
    """The floor is measured in every setting alike; keeping settings apart keeps both."""
    floor = rows(0.1, 0.1, encoder="random scores")
    both = pd.concat([floor, floor.assign(setting="row 10")])
    assert len(over_repeats(both)) == 1
    assert over_repeats(both)["n"].item() == 18
    assert len(over_repeats(both, by=["setting"])) == 2


@pytest.mark.parametrize(("values", "n"), [([], 0), ([0.5], 1), ([0.5, np.nan], 1)])
def test_too_few_values_have_no_interval(values, n):
    mean, low, high = mean_interval(np.array(values, float))
    assert np.isnan([low, high]).all()
    assert np.isnan(mean) == (n == 0)


def test_nothing_measured_has_no_means():
    assert over_repeats(rows(0.4)[:0], by=["setting"]).empty


def test_theme_results_are_rows_like_others():
    table = pd.DataFrame({"encoder": ["E_scene"], "metric": ["P@1"], "value": [0.6], "n": [50]})
    found = theme_results("scene retrieval", table.assign(ci_low=0.5, ci_high=0.7), {"E_scene": "ours"})
    assert found.iloc[0][["encoder", "split", "n_found", "seed"]].tolist() == ["ours", "all", 50, 0]
    assert theme_results("scene retrieval", table[:0]).empty
