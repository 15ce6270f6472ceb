"""Means over repeats of what was measured in one setting or several.

In one run the interval comes from its items (a bootstrap, Wilson). Over repeats, other films and seeds each
time, it is Student's over the repeats' means, which holds what both items and training add.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from m2s_lib.evaluation.results import RESULT_COLUMNS

FIRST = "row 1"  # the base case of Table 1, and what a run of one setting is
ITEM = ("benchmark", "task", "split", "encoder", "metric")


def over_repeats(measured: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each benchmark, task, split, encoder and metric: the mean over repeats and its interval.

    Args:
        measured: result rows with the columns setting and repeat (`m2s_lib.stages.gather.measured_results`);
            seeds of one repeat are averaged first. What several settings measured alike (chance, an encoder
            that they share) counts once for each repeat.
        by: more columns to keep apart, such as ["setting"].

    Returns:
        The contract's columns (seed 0), those of `by`, seeds: the repeats or, where there is one, its seeds,
        and sd: the standard deviation over them, NaN for one. With two repeats or more the interval is
        Student's 95 % interval of the mean; with one it is that of the run itself, averaged over seeds.
    """
    keys = [*by, *ITEM]
    single = measured.drop_duplicates([*keys, "repeat", "seed"])
    numbers = {c: (c, "mean") for c in ("value", "ci_low", "ci_high")}
    counts = {c: (c, "first") for c in ("n", "n_found", "n_listed")}
    of_repeat = single.groupby([*keys, "repeat"], sort=False, as_index=False).agg(
        **numbers, **counts, seeds=("seed", "nunique"), sd=("value", "std")
    )
    rows = []
    for values, part in of_repeat.groupby(keys, sort=False):
        row = dict(zip(keys, values, strict=True)) | part.iloc[0].drop([*keys, "repeat"]).to_dict()
        if len(part) > 1:
            mean, low, high = mean_interval(part["value"].to_numpy())
            row |= {"value": mean, "ci_low": low, "ci_high": high, "seeds": len(part)}
            row["sd"] = part["value"].std()
            row |= part[list(counts)].sum().to_dict()
        rows.append(row | {"seed": 0})
    return pd.DataFrame(rows, columns=[*by, *RESULT_COLUMNS, "seeds", "sd"])


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of independent values [n] and Student's 95 % interval; the interval is nan for fewer than two.

    Values that are not finite do not count.
    """
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half
