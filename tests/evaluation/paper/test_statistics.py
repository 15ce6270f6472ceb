"""The protocol's statistics against enumeration, tables and hand-worked numbers."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from m2s_lib.evaluation.paper.primaries import COLUMNS, HELD_OUT, PRIMARIES, measure_primaries
from m2s_lib.evaluation.paper.statistics import (
    OPPOSITE,
    SHOWN,
    SMALLER,
    UNDECIDED,
    as_good_p,
    exploratory_verdict,
    holm,
    paired_test,
    sign_flip_p,
    verdict,
)
from m2s_lib.evaluation.results import EMBEDDED_FILMS


def every_flip(d):
    """Slow and obvious: the share of all sign flips whose mean is at least as far from 0, either side."""
    means = [np.mean(np.multiply(signs, d)) for signs in product((1, -1), repeat=len(d))]
    return np.mean([abs(m) >= abs(np.mean(d)) - 1e-12 for m in means])


@pytest.mark.parametrize("seed", range(6))
def test_sign_flips_are_all_tried(seed):
    rng = np.random.default_rng(seed)
    d = rng.normal(0.3, 1, rng.integers(2, 9))
    assert sign_flip_p(d) == pytest.approx(every_flip(d))


def test_eight_worlds_reach_holms_first_step_and_seven_do_not():
    assert sign_flip_p([0.1] * 7 + [0.2]) == pytest.approx(2 / 2**8)
    assert sign_flip_p([0.1] * 7 + [0.2]) < 0.05 / 6 < sign_flip_p([0.1] * 6 + [0.2])
    assert np.isnan(sign_flip_p([0.1]))


def test_the_paired_difference_has_students_interval():
    a, b = [0.5, 0.7, np.nan, 0.9], [0.4, 0.5, 0.1, 0.6]
    found = paired_test(a, b)
    low, high = stats.t.interval(0.95, 2, 0.2, stats.sem([0.1, 0.2, 0.3]))
    assert [found[k] for k in ("difference", "ci_low", "ci_high")] == pytest.approx([0.2, low, high])
    assert (found["worlds"], found["p_sign_flip"]) == (3, pytest.approx(0.25))
    nothing = paired_test([], [])
    assert nothing["worlds"] == 0
    assert np.isnan(nothing["difference"])


def test_holm_by_hand():
    """p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") of R."""
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    corrected = holm([np.nan, 0.01, 0.02])
    assert corrected[1:].tolist() == pytest.approx([0.03, 0.04])  # what was not measured still counts
    assert np.isnan(corrected[0])


def test_as_good_as_is_two_one_sided_tests():
    d = np.array([0.01, -0.02, 0.0, 0.02, 0.01])
    t = [(d.mean() + 0.05) / stats.sem(d), (0.05 - d.mean()) / stats.sem(d)]
    assert as_good_p(d) == pytest.approx(max(stats.t.sf(t, 4)))
    assert as_good_p(d) < 0.05 < as_good_p(d + 0.05)
    assert as_good_p(d - 0.2) > 0.9
    assert (as_good_p([0.01, 0.01]), as_good_p([0.2, 0.2])) == (0.0, 1.0)
    assert np.isnan(as_good_p([0.01]))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.10, 0.05, 0.15, 0.04), SHOWN),
        ((-0.10, -0.15, -0.05, 0.04), OPPOSITE),
        ((0.10, 0.05, 0.15, 0.06), UNDECIDED),
        ((0.01, 0.005, 0.015, 0.04), SMALLER),  # certain, and too small to matter
        ((0.00, -0.02, 0.02, 1.0), SMALLER),
        ((0.00, -0.02, 0.04, 1.0), UNDECIDED),
        ((np.nan, np.nan, np.nan, np.nan), UNDECIDED),
    ],
)
def test_verdicts(numbers, expected):
    assert verdict(*numbers) == expected


def test_exploratory_verdicts_go_by_the_interval():
    intervals = [(0.04, 0.2), (-0.2, -0.04), (-0.1, 0.2), (-0.01, 0.02), (np.nan, np.nan)]
    assert [exploratory_verdict(*i) for i in intervals] == [SHOWN, OPPOSITE, UNDECIDED, SMALLER, UNDECIDED]


def worlds(task, metric, split, setting, encoder, values):
    table = pd.DataFrame({"value": values, "repeat": [f"world {i}" for i in range(len(values))]})
    about = {"task": task, "metric": metric, "split": split, "setting": setting, "encoder": encoder}
    return table.assign(benchmark=EMBEDDED_FILMS, **about)


def test_primaries_are_paired_within_worlds_and_corrected_for_six():
    base = np.linspace(0.3, 0.6, 8)
    ours = worlds("scene retrieval", "P@1", HELD_OUT, "row 1", "ours (co-watch)", base)
    random = worlds(
        "scene retrieval", "P@1", HELD_OUT, "row 10", "ours (random)", base - 0.2 + 0.01 * (base > 0.4)
    )
    everywhere = worlds("scene retrieval", "P@1", "all", "row 1", "ours (co-watch)", base + 9)
    found = measure_primaries(pd.concat([random[::-1], ours, everywhere]), frozen="abc")
    assert tuple(found.columns) == COLUMNS
    assert found["claim"].tolist() == [p.claim for p in PRIMARIES]
    row = found[found["claim"] == "metadata helps E_scene"].iloc[0]
    assert row["difference"] == pytest.approx(np.mean(0.2 - 0.01 * (base > 0.4)))
    assert row[["p_sign_flip", "p_holm"]].tolist() == pytest.approx([2 / 2**8, 6 * 2 / 2**8])
    assert row[["verdict", "worlds", "frozen"]].tolist() == [SHOWN, 8, "abc"]
    others = found[found["claim"] != "metadata helps E_scene"]
    assert set(others["verdict"]) == {UNDECIDED}
    assert others["worlds"].sum() == 0


def test_there_are_six_primaries_and_ours_is_better_in_all():
    assert len({p.claim for p in PRIMARIES}) == len(PRIMARIES) == 6
    assert {p.a.setting for p in PRIMARIES} == {"row 1"}
