"""Metrics with their intervals: top-1 as k of n, MSE, average precision, and what a chosen recall costs.

Shares are fractions 0..1, as in scikit-learn; the paper prints per cent. Intervals are 95 %. Clips of one
film are no independent draws, so wherever items belong to films (`groups`) the bootstrap draws whole films:
`resamples` is the one place where that is done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError

NOT_MEASURED = "not measured"
DRAWS = 1000  # bootstrap samples; 2.5 % of them are 25, enough for the second digit of an interval
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


def resamples(
    n: int,
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: Sequence | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> np.ndarray:
    """Returns a statistic of bootstrap samples, each drawn film by film: [draws, ...].

    Args:
        n: items, 1 or more.
        statistic: of samples given as how often each item was drawn, float64 [some draws, n], to
            [some draws, ...].
        groups: film of each item [n]; None draws items one by one.
    """
    codes = np.arange(n) if groups is None else pd.factorize(np.asarray(groups, dtype=object))[0]
    if len(codes) != n:
        raise M2SError(f"{len(codes)} groups were given for {n} items")
    films, rng = int(codes.max()) + 1, np.random.default_rng(seed)
    times = rng.multinomial(films, np.full(films, 1 / films), size=draws).astype(float)  # [draws, films]
    step = max(1, _BLOCK // n)
    return np.concatenate([statistic(times[i : i + step, codes]) for i in range(0, draws, step)])


def interval(samples: np.ndarray) -> tuple[float, float]:
    """Returns the middle 95 % of the finite samples; (nan, nan) of none."""
    samples = samples[np.isfinite(samples)]
    if not len(samples):
        return np.nan, np.nan
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


def wilson(k: int, n: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share k of n, never outside 0..1; (nan, nan) for n = 0."""
    from scipy.stats import binomtest

    if not 0 <= k <= n:
        raise M2SError(f"a share needs 0 <= k <= n, got k = {k} of n = {n}")
    if n == 0:
        return np.nan, np.nan
    both = binomtest(k, n).proportion_ci(method="wilson")
    return float(both.low), float(both.high)


def share(right: Sequence[bool], *, groups: Sequence | None = None, seed: int = 0) -> Measured:
    """Returns the share of items that are right, as k of n.

    Args:
        right: bool [n].
        groups: film of each item [n]: the interval is a bootstrap over films, or Wilson's over as many films
            where they all agree and a bootstrap has no width. None: Wilson's over items.
    """
    right = np.asarray(right, bool)
    k, n = int(right.sum()), len(right)
    if not n:
        return UNMEASURED
    if groups is None:
        return Measured(k / n, *wilson(k, n), n, k)
    if k in (0, n):
        films = len(pd.unique(np.asarray(groups, dtype=object)))
        return Measured(k / n, *wilson(films * k // n, films), n, k)
    measured = mean(right, groups=groups, seed=seed)
    return Measured(k / n, measured.ci_low, measured.ci_high, n, k)


def top1(labels: Sequence, predictions: Sequence, *, groups: Sequence | None = None) -> Measured:
    """Returns the share of items whose prediction is the label (section 4.2); groups as in `share`."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    _same_length(labels, predictions)
    return share(labels == predictions, groups=groups)


def mse(
    targets: Sequence[float], predictions: Sequence[float], *, groups: Sequence | None = None, seed: int = 0
) -> Measured:
    """Returns the mean squared error in the targets' units (section 4.2), with a bootstrap interval.

    Args:
        targets, predictions: [n], finite.
        groups: film of each item [n]; None draws items one by one.
        seed: of the bootstrap.
    """
    targets, predictions = np.asarray(targets, float), np.asarray(predictions, float)
    _same_length(targets, predictions)
    _finite(predictions, "predictions")
    return mean((targets - predictions) ** 2, groups=groups, seed=seed)


def mean(values: Sequence[float], *, groups: Sequence | None = None, seed: int = 0) -> Measured:
    """Returns the mean of one number an item, with a bootstrap interval; arguments as in `mse`."""
    values = np.asarray(values, float)
    if not len(values):
        return UNMEASURED
    means = resamples(len(values), lambda w: w @ values / w.sum(1), groups, seed=seed)
    return Measured(float(values.mean()), *interval(means), len(values))


def average_precision(labels: Sequence, scores: Sequence[float]) -> float:
    """Returns the average precision of one class, as scikit-learn defines it; nan without a positive.

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
) -> tuple[pd.DataFrame, Measured]:
    """Returns the average precision of each class and their mean (macro AP, sections 4.3a and 4.4b).

    A class without a positive has no average precision: its row says so with nan, and the mean leaves it out.

    Args:
        labels: class numbers int [n], or several labels an item as bool [n, C].
        scores: float [n, C], finite, higher is more likely.
        classes: names of the C classes.
        average_over: classes that the mean takes in; None for all. The paper's average over the moderation
            classes leaves "none" out.
        groups: film of each item [n]; None draws items one by one.
        seed: of the bootstrap.

    Returns:
        Table class, ap, ci_low, ci_high, n_positive, n, measured; and the mean over the measured classes.
    """
    scores, classes = np.asarray(scores, float), list(classes)
    hot = _one_hot(np.asarray(labels), scores, classes)
    _finite(scores, "scores")
    unknown = sorted(set(average_over or []) - set(classes))
    if unknown:
        raise M2SError(f"the average is asked over {unknown}, the classes are {classes}")
    values = np.array([average_precision(hot[:, c], scores[:, c]) for c in range(len(classes))])
    measured = hot.any(0)
    samples = np.full((DRAWS, len(classes)), np.nan)
    if measured.any():
        ranked = [_Ranked(hot[:, c], scores[:, c]) for c in np.flatnonzero(measured)]
        samples[:, measured] = resamples(
            len(scores), lambda w: np.stack([r.average_precision(w) for r in ranked], 1), groups, seed=seed
        )
    table = pd.DataFrame({"class": classes, "ap": values})
    table[["ci_low", "ci_high"]] = [interval(samples[:, c]) for c in range(len(classes))]
    table = table.assign(n_positive=hot.sum(0), n=len(scores), measured=measured)
    into = measured & np.isin(classes, list(average_over or classes))
    if not into.any():
        return table, UNMEASURED
    kept = samples[:, into]
    means = np.nanmean(kept[~np.isnan(kept).all(1)], axis=1)
    return table, Measured(float(values[into].mean()), *interval(means), len(scores))


def threshold_at(labels: Sequence, scores: Sequence[float], recall: float) -> float:
    """Returns the threshold with the best precision among those that reach `recall`; of equals the highest.

    Args:
        labels: bool [n] with a positive. scores: [n], finite; an item is flagged from the threshold on.
    """
    from sklearn.metrics import precision_recall_curve

    labels, scores = np.asarray(labels, bool), np.asarray(scores, float)
    _same_length(labels, scores)
    _finite(scores, "scores")
    if not 0 < recall <= 1:
        raise M2SError(f"recall is {recall}, expected more than 0 and at most 1")
    if not labels.any():
        raise M2SError(f"none of the {len(labels)} items is positive: recall has no meaning")
    precision, reached, thresholds = precision_recall_curve(labels, scores)
    enough = np.flatnonzero(reached[:-1] >= recall - 1e-12)
    best = precision[enough].max()
    return float(thresholds[enough[precision[enough] >= best].max()])


def threshold_table(
    val_labels: Sequence,
    val_scores: Sequence[float],
    test_labels: Sequence,
    test_scores: Sequence[float],
    recalls: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    groups: Sequence | None = None,
) -> pd.DataFrame:
    """Returns what a moderator gets who wants a recall: thresholds chosen on validation, measured on test.

    Chosen on the test items themselves, both numbers would be too good.

    Args:
        groups: film of each test item, as in `share`.

    Returns:
        One row a recall: recall_wanted, threshold, val_precision, val_recall, precision, precision_low,
        precision_high, recall, recall_low, recall_high, flagged, n_positive, n (of test).
    """
    val_labels, val_scores = np.asarray(val_labels, bool), np.asarray(val_scores, float)
    test_labels, test_scores = np.asarray(test_labels, bool), np.asarray(test_scores, float)
    _same_length(test_labels, test_scores)
    films = None if groups is None else np.asarray(groups, dtype=object)
    rows = []
    for wanted in recalls:
        threshold = threshold_at(val_labels, val_scores, wanted)
        chosen, flagged = val_scores >= threshold, test_scores >= threshold
        row = {"recall_wanted": wanted, "threshold": threshold}
        row |= {"val_precision": val_labels[chosen].mean(), "val_recall": chosen[val_labels].mean()}
        for name, right, among in (
            ("precision", test_labels, flagged),
            ("recall", flagged, test_labels),
        ):
            got = share(right[among], groups=None if films is None else films[among])
            row |= {name: got.value, f"{name}_low": got.ci_low, f"{name}_high": got.ci_high}
        counts = {"flagged": int(flagged.sum()), "n_positive": int(test_labels.sum())}
        rows.append(row | counts | {"n": len(test_labels)})
    return pd.DataFrame(rows)


class _Ranked:
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
