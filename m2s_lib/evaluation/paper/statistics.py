"""Statistics of a difference that was measured in several worlds: the protocol that claims are judged by.

A world (the films of one seed) is the unit: each gives one difference, paired within it. Differences are
shares, so 0.03 is 3 points.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from m2s_lib.evaluation.paper.repeats import mean_interval

SMALLEST = 0.03  # an effect below 3 points does not matter
MARGIN = 0.05  # "as good as": not further apart than 5 points
LEVEL = 0.05  # of every test
SHOWN, OPPOSITE, SMALLER, UNDECIDED = "shown", "opposite", "smaller than 3 points", "undecided"


def paired_test(a: Sequence[float], b: Sequence[float]) -> dict:
    """Compares two values that were measured in the same worlds.

    Args:
        a, b: float [worlds], in the same order; a world in which either is NaN does not count.

    Returns:
        difference (mean of a - b), ci_low, ci_high (Student's 95 % interval over worlds), p_sign_flip (NaN
        for fewer than two worlds), worlds.
    """
    d = np.asarray(a, float) - np.asarray(b, float)
    d = d[np.isfinite(d)]
    mean, low, high = mean_interval(d)
    test = {"difference": mean, "ci_low": low, "ci_high": high, "p_sign_flip": sign_flip_p(d)}
    return test | {"worlds": len(d)}


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the exact sign-flip test: every way to exchange a and b in some worlds is tried.

    Args:
        differences: float [worlds]. With n worlds p is at least 2 / 2^n.
    """
    d = np.asarray(differences, float)
    if len(d) < 2:
        return np.nan
    test = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    return float(test.pvalue)


def holm(p: Sequence[float]) -> np.ndarray:
    """p values corrected by Holm's step-down method, float [n]; those that are NaN stay so, and count."""
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")  # NaN last
    steps = p[order] * (len(p) - np.arange(len(p)))
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def as_good_p(differences: Sequence[float], margin: float = MARGIN) -> float:
    """p of two one-sided t tests (TOST): small where the mean lies within -margin and margin.

    Args:
        differences: float [worlds]; NaN for fewer than two.
    """
    d = np.asarray(differences, float)
    if len(d) < 2:
        return np.nan
    if np.ptp(d) == 0:  # no spread, for which t is not defined
        return 0.0 if abs(d[0]) < margin else 1.0
    above = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(d, margin, alternative="less").pvalue
    return float(max(above, below))


def verdict(difference: float, ci_low: float, ci_high: float, p: float) -> str:
    """What a difference says: smaller than 3 points, shown (a is better), opposite, or undecided.

    Args:
        difference, ci_low, ci_high: of `paired_test`. p: corrected for all that is tested.
    """
    if ci_low > -SMALLEST and ci_high < SMALLEST:
        return SMALLER
    if not p < LEVEL:  # NaN too
        return UNDECIDED
    return SHOWN if difference > 0 else OPPOSITE


def exploratory_verdict(ci_low: float, ci_high: float) -> str:
    """`verdict` by the 95 % interval alone, without correction: for what was not fixed beforehand."""
    p = 0.0 if ci_low > 0 or ci_high < 0 else 1.0
    return verdict(ci_low, ci_low, ci_high, p)
