"""Metrics with their intervals: top-1 as k/n, MSE, average precision, and what a chosen recall costs.

Shares are fractions 0..1, as in scikit-learn; the paper prints per cent. Intervals are 95 %. Where clips come
from the same film they are no independent draws, so the bootstrap can draw whole films (`groups`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError

NOT_MEASURED = "not measured"
DRAWS = 1000  # bootstrap samples; 2.5 % of them are 25, enough for the second digit of an interval
_Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution
_BLOCK = 4 << 20  # numbers in one block of bootstrap samples


@dataclass(frozen=True)
class Measured:
    """A metric, its 95 % interval, and on how many items it rests; `k` where the metric is k of n."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    k: int | None = None

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return NOT_MEASURED
        if self.k is None:
            return f"{self.value:.3f} [{self.ci_low:.3f}, {self.ci_high:.3f}] (n = {self.n:,})"
        low, high = 100 * self.ci_low, 100 * self.ci_high
        return f"{self.k}/{self.n} = {100 * self.value:.1f} % [{low:.1f}, {high:.1f}]"


UNMEASURED = Measured(np.nan, np.nan, np.nan, 0)


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share k of n; (nan, nan) for n = 0. It never leaves 0..1, even at k = n."""
    if not 0 <= k <= n:
        raise M2SError(f"a share needs 0 <= k <= n, got k = {k} of n = {n}")
    if n == 0:
        return np.nan, np.nan
    share, z2 = k / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return (0.0 if k == 0 else float(low)), (1.0 if k == n else float(high))


def top1(labels: Sequence, predictions: Sequence) -> Measured:
    """Share of items whose prediction is the label (§4.2), with k, n and Wilson's interval."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    _same_length(labels, predictions)
    if not len(labels):
        return UNMEASURED
    k, n = int((labels == predictions).sum()), len(labels)
    return Measured(k / n, *wilson(k, n), n, k)


def mse(
    targets: Sequence[float],
    predictions: Sequence[float],
    *,
    groups: Sequence | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Measured:
    """Mean squared error in the targets' units (§4.2), with a bootstrap interval.

    Args:
        targets, predictions: [n], finite.
        groups: film of each item [n]; None draws items one by one.
        seed, draws: of the bootstrap.
    """
    targets, predictions = np.asarray(targets, float), np.asarray(predictions, float)
    _same_length(targets, predictions)
    _finite(predictions, "predictions")
    return mean((targets - predictions) ** 2, groups=groups, seed=seed, draws=draws)


def mean(
    values: Sequence[float], *, groups: Sequence | None = None, seed: int = 0, draws: int = DRAWS
) -> Measured:
    """Mean of one number an item, with a bootstrap interval; arguments as in `mse`."""
    values = np.asarray(values, float)
    if not len(values):
        return UNMEASURED
    means = np.concatenate([w @ values / w.sum(1) for w in _weights(len(values), groups, seed, draws)])
    return Measured(float(values.mean()), *_interval(means), len(values))


def average_precision(labels: Sequence, scores: Sequence[float]) -> float:
    """Average precision of one class, as scikit-learn defines it; nan without a positive.

    Args:
        labels: bool [n]. scores: [n], finite.
    """
    from sklearn.metrics import average_precision_score

    labels, scores = np.asarray(labels, bool), np.asarray(scores, float)
    _same_length(labels, scores)
    _finite(scores, "scores")
    return float(average_precision_score(labels, scores)) if labels.any() else np.nan


def average_precisions(
    labels: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[str],
    *,
    average_over: Sequence[str] | None = None,
    groups: Sequence | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[pd.DataFrame, Measured]:
    """Average precision of each class and their mean (macro AP, §4.3a, §4.4b), with bootstrap intervals.

    A class without a positive has no average precision: its row says so with nan, and the mean leaves it out.

    Args:
        labels: class numbers int [n], or several labels an item as bool [n, C].
        scores: float [n, C], finite, higher is more likely.
        classes: names of the C classes.
        average_over: classes that the mean takes in; None for all. The paper's average over the moderation
            classes leaves "none" out.
        groups: film of each item [n]; None draws items one by one.
        seed, draws: of the bootstrap.

    Returns:
        Table class, ap, ci_low, ci_high, n_positive, n, measured; and the mean over the measured classes.
    """
    scores, classes = np.asarray(scores, float), list(classes)
    hot = _one_hot(np.asarray(labels), scores, classes)
    _finite(scores, "scores")
    unknown = sorted(set(average_over or []) - set(classes))
    if unknown:
        raise M2SError(f"the average is asked over {unknown}, the classes are {classes}")
    samples = np.full((draws, len(classes)), np.nan)
    values = np.array([average_precision(hot[:, c], scores[:, c]) for c in range(len(classes))])
    measured = hot.any(0)
    order = [_Sorted(hot[:, c], scores[:, c]) if measured[c] else None for c in range(len(classes))]
    done = 0
    for weights in _weights(len(scores), groups, seed, draws) if len(scores) else []:
        for c in np.flatnonzero(measured):
            samples[done : done + len(weights), c] = order[c].average_precision(weights)
        done += len(weights)
    table = pd.DataFrame({"class": classes, "ap": values})
    table[["ci_low", "ci_high"]] = [_interval(samples[:, c]) for c in range(len(classes))]
    table = table.assign(n_positive=hot.sum(0), n=len(scores), measured=measured)
    into = measured & np.isin(classes, list(average_over or classes))
    if not into.any():
        return table, UNMEASURED
    kept = samples[:, into]
    means = np.nanmean(kept[~np.isnan(kept).all(1)], axis=1)
    return table, Measured(float(values[into].mean()), *_interval(means), len(scores))


def precision_recall(labels: Sequence, scores: Sequence[float]) -> pd.DataFrame:
    """Every threshold that makes a difference: threshold, precision, recall, flagged; falling thresholds.

    Args:
        labels: bool [n] with a positive. scores: [n], finite; an item is flagged from its threshold on.
    """
    labels, scores = np.asarray(labels, bool), np.asarray(scores, float)
    _same_length(labels, scores)
    _finite(scores, "scores")
    if not labels.any():
        raise M2SError(f"none of the {len(labels)} items is positive: recall has no meaning")
    order = _Sorted(labels, scores)
    hits = np.cumsum(labels[order.order])[order.ends]
    flagged = order.ends + 1
    return pd.DataFrame(
        {
            "threshold": scores[order.order][order.ends],
            "precision": hits / flagged,
            "recall": hits / labels.sum(),
            "flagged": flagged,
        }
    )


def threshold_at(labels: Sequence, scores: Sequence[float], recall: float) -> float:
    """The threshold with the best precision among those that reach `recall`; of equals the highest."""
    if not 0 < recall <= 1:
        raise M2SError(f"recall is {recall}, expected more than 0 and at most 1")
    curve = precision_recall(labels, scores)
    enough = curve[curve["recall"] >= recall - 1e-12]
    return float(enough["threshold"].iloc[int(enough["precision"].to_numpy().argmax())])


def threshold_table(
    val_labels: Sequence,
    val_scores: Sequence[float],
    test_labels: Sequence,
    test_scores: Sequence[float],
    recalls: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
) -> pd.DataFrame:
    """What a moderator gets who wants a recall: thresholds chosen on validation, measured on test.

    Chosen on the test items themselves, both numbers would be too good.

    Returns:
        One row a recall: recall_wanted, threshold, val_precision, val_recall, precision, precision_low,
        precision_high, recall, recall_low, recall_high, flagged, n_positive, n (of test; Wilson's intervals).
    """
    val_labels, val_scores = np.asarray(val_labels, bool), np.asarray(val_scores, float)
    test_labels, test_scores = np.asarray(test_labels, bool), np.asarray(test_scores, float)
    _same_length(test_labels, test_scores)
    rows = []
    for wanted in recalls:
        threshold = threshold_at(val_labels, val_scores, wanted)
        chosen, flagged = val_scores >= threshold, test_scores >= threshold
        hits, positives = int((flagged & test_labels).sum()), int(test_labels.sum())
        row = {"recall_wanted": wanted, "threshold": threshold}
        row |= {"val_precision": val_labels[chosen].mean(), "val_recall": chosen[val_labels].mean()}
        for name, n in (("precision", int(flagged.sum())), ("recall", positives)):
            low, high = wilson(hits, n)
            row |= {name: hits / n if n else np.nan, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"flagged": int(flagged.sum()), "n_positive": positives, "n": len(test_labels)})
    return pd.DataFrame(rows)


class _Sorted:
    """One class's items by falling score, equal scores as one step, ready for weighted samples."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray):
        self.order = np.argsort(-scores, kind="stable")
        ranked = scores[self.order]
        self.ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # last item of each score
        self.labels = labels[self.order]

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Of samples given as weights [draws, n]: [draws]; nan where a sample has no positive."""
        weights = weights[:, self.order]
        hits = np.cumsum(weights * self.labels, 1)[:, self.ends]  # [draws, steps]
        flagged = np.cumsum(weights, 1)[:, self.ends]
        gained = np.diff(hits, axis=1, prepend=0)
        with np.errstate(invalid="ignore"):
            return (gained * hits / np.maximum(flagged, 1)).sum(1) / hits[:, -1]


def _weights(n: int, groups: Sequence | None, seed: int, draws: int):
    """Bootstrap samples as how often each item was drawn: float32 blocks [some draws, n]."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) if groups is None else pd.factorize(np.asarray(groups, dtype=object))[0]
    if len(codes) != n:
        raise M2SError(f"{len(codes)} groups were given for {n} items")
    count = int(codes.max()) + 1
    step = max(1, _BLOCK // max(n, 1))
    for first in range(0, draws, step):
        size = min(step, draws - first)
        drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)  # [size, groups]
        yield times[:, codes].astype(np.float64)


def _interval(samples: np.ndarray) -> tuple[float, float]:
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return np.nan, np.nan
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


def _one_hot(labels: np.ndarray, scores: np.ndarray, classes: list) -> np.ndarray:
    if scores.ndim != 2 or scores.shape[1] != len(classes) or len(labels) != len(scores):
        raise M2SError(
            f"labels {labels.shape} and scores {scores.shape} do not go together: expected scores "
            f"[{len(labels)}, {len(classes)}] for {len(classes)} classes"
        )
    if labels.ndim == 2:
        if labels.shape != scores.shape:
            raise M2SError(f"labels have shape {labels.shape}, the scores {scores.shape}: give one each")
        return labels.astype(bool)
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(classes)):
        raise M2SError(
            f"labels lie in {labels.min()}..{labels.max()}, {len(classes)} classes are 0..{len(classes) - 1}"
        )
    return labels[:, None] == np.arange(len(classes))  # [n, C]


def _same_length(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape or a.ndim != 1:
        raise M2SError(f"{a.shape} labels and {b.shape} predictions: expected two lists of one length")


def _finite(values: np.ndarray, what: str) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        first = np.argwhere(bad)[0].tolist()
        raise M2SError(f"{int(bad.sum())} of {values.size} {what} are not finite, the first at {first}")
