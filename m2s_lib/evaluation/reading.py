"""Sentences that read numbers off result tables."""

import numpy as np
import pandas as pd

from m2s_lib.evaluation.metrics import NOT_MEASURED

_SHARES = ("top-1", "AP", "mAP", "pooled AP", "mean per-film AP", "P@1", "P@5", "P@10", "mIoU", "recall@3s")


def rows_of(results: pd.DataFrame, task: str, metric: str, split: str = "test") -> pd.DataFrame:
    """Returns value, ci_low, ci_high and n by encoder, means over seeds, of what was measured."""
    same = (results["task"] == task) & (results["metric"] == metric) & (results["split"] == split)
    rows = results[same].dropna(subset="value")
    return rows.groupby("encoder", sort=False)[["value", "ci_low", "ci_high", "n"]].mean()


def number(row: pd.Series, metric: str) -> str:
    """Returns a value with its interval as text: "41.2 % [33.0, 49.5]"."""
    scale, unit, digits = (100, " %", 1) if metric in _SHARES else (1, "", 2)
    text = f"{scale * row['value']:.{digits}f}{unit}"
    if not np.isfinite(row["ci_low"]):
        return text
    return f"{text} [{scale * row['ci_low']:.{digits}f}, {scale * row['ci_high']:.{digits}f}]"


def beside(results: pd.DataFrame, task: str, metric: str, encoders: list[str], split: str = "test") -> str:
    """Returns a sentence with the numbers of some encoders: "genre, top-1: ours 41.2 % [...], ..."."""
    rows = rows_of(results, task, metric, split)
    named = [(e, number(rows.loc[e], metric) if e in rows.index else NOT_MEASURED) for e in encoders if e]
    return f"{task}, {metric}: " + ", ".join(f"{name} {value}" for name, value in named) + "."


def how_sure(
    results: pd.DataFrame, task: str, metric: str, ours: str, other: str, split: str = "test"
) -> str:
    """Returns a sentence on whether two encoders can be told apart by their intervals."""
    rows = rows_of(results, task, metric, split)
    if ours not in rows.index or other not in rows.index:
        return f"{task}, {metric}: {ours or 'ours'} and {other or 'another encoder'} were not both measured."
    a, b = rows.loc[ours], rows.loc[other]
    if not np.isfinite([a["ci_low"], b["ci_low"]]).all():
        return f"{task}, {metric}: without intervals nothing can be said of {ours} against {other}."
    apart = a["ci_low"] > b["ci_high"] or b["ci_low"] > a["ci_high"]
    less = metric == "MSE"
    better = ours if (a["value"] > b["value"]) != less else other
    if apart:
        return (
            f"{task}, {metric}: the 95 % intervals of {ours} and {other} do not overlap; {better} is ahead."
        )
    return f"{task}, {metric}: the 95 % intervals of {ours} and {other} overlap; they cannot be told apart."
