"""Tasks: labelled items, and how scores of them are measured (top-1, MSE, average precision).

What every benchmark with labelled clips or scenes shares; where items and labels come from is said by the
benchmark's own files.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from m2s_lib.evaluation.boundary_metrics import random_ap
from m2s_lib.evaluation.metrics import UNMEASURED, Measured, average_precisions, mse, top1
from m2s_lib.evaluation.probes.probes import ProbeConfig
from m2s_lib.evaluation.results import prediction_table, result_row, result_table

SPLITS = ("train", "val", "test")
LARGEST = "largest class or mean"
RANDOM = "random scores"
SEPARATOR = "|"  # between the labels of an item that has several
Row = tuple[str, str, Measured]  # task, metric, value


@dataclass(frozen=True, kw_only=True)
class Task:
    """One question of a benchmark.

    Attributes:
        items: item, film_id, split, label (text), a row an item.
        y: one a row: class numbers int [n], numbers float [n], or several labels an item bool [n, C].
        config: of its probe.
        classes: names of the C classes.
        measured: splits whose scores are measured; predictions are kept of val and test.
    """

    benchmark: str
    name: str
    items: pd.DataFrame
    y: np.ndarray
    config: ProbeConfig
    classes: tuple[str, ...] = ()
    measured: tuple[str, ...] = ("test",)
    chance_name = RANDOM

    def rows(self, split: str) -> np.ndarray:
        """Returns the numbers of a split's items int64 [m]."""
        return np.flatnonzero((self.items["split"] == split).to_numpy())

    def films(self, rows: np.ndarray) -> np.ndarray:
        return self.items["film_id"].to_numpy(object)[rows]

    @property
    def outputs(self) -> int:
        return len(self.classes) or 1

    def names(self) -> list[tuple[str, str]]:
        """Returns task and metric of the rows that stand in the results measured or not."""
        raise NotImplementedError

    def measure(self, rows: np.ndarray, scores: np.ndarray) -> list[Row]:
        """Returns what the scores [m, C] of some items are worth; no item is not measured."""
        raise NotImplementedError

    def chance(self, split: str) -> list[Row]:
        """Returns what can be had without looking at the items of a split."""
        raise NotImplementedError

    def written(self, scores: np.ndarray) -> list:
        """Returns the predictions that go with scores [m, C]."""
        return [self.classes[c] or f"class {c}" for c in scores.argmax(1)]

    def permuted(self) -> "Task":
        """Returns the task with its labels permuted inside each split, test too: the control.

        Items of one class lie together, and a network taught nonsense still ranks whole classes first or
        last, by luck; so with true test labels the control would not give chance.
        """
        order, rng = np.arange(len(self.items)), np.random.default_rng(0)
        for split in SPLITS:
            order[self.rows(split)] = rng.permutation(self.rows(split))
        items = self.items.assign(label=self.items["label"].to_numpy()[order])
        return dataclasses.replace(self, items=items, y=self.y[order])

    def result_rows(
        self, encoder: str, split: str, measured: list[Row], n_found: int, seed: int = 0
    ) -> pd.DataFrame:
        """Returns rows of results.parquet."""
        counts = {"n_found": n_found, "n_listed": len(self.rows(split)), "seed": seed}
        about = (self.benchmark, split, encoder)
        return result_table([_row(about, *row, counts) for row in measured])

    def unmeasured(self, encoder: str, n_found: int = 0, seed: int = 0) -> pd.DataFrame:
        """Returns the rows of an encoder of which nothing can be measured."""
        nothing = [(*name, UNMEASURED) for name in self.names()]
        return self.result_rows(encoder, "test", nothing, n_found, seed)

    def chance_rows(self) -> pd.DataFrame:
        """Returns the rows of `chance` for the measured splits."""
        tables = [
            self.result_rows(self.chance_name, s, self.chance(s), len(self.rows(s))) for s in self.measured
        ]
        return pd.concat(tables, ignore_index=True)

    def prediction_rows(
        self, encoder: str, split: str, rows: np.ndarray, scores: np.ndarray, seed: int
    ) -> pd.DataFrame:
        """Returns rows of predictions.parquet."""
        there = self.items.iloc[rows]
        about = (self.benchmark, self.name, split, encoder, seed)
        return prediction_table(*about, there["item"], there["label"], self.written(scores), scores)


def _row(about: tuple, task: str, metric: str, measured: Measured, counts: dict) -> dict:
    benchmark, split, encoder = about
    return result_row(benchmark, task, split, encoder, metric, measured, **counts)


@dataclass(frozen=True, kw_only=True)
class ClassTask(Task):
    """One class of several, measured by top-1."""

    chance_name = LARGEST

    def names(self) -> list[tuple[str, str]]:
        return [(self.name, "top-1")]

    def measure(self, rows: np.ndarray, scores: np.ndarray) -> list[Row]:
        return [(self.name, "top-1", top1(self.y[rows], scores.argmax(1), groups=self.films(rows)))]

    def chance(self, split: str) -> list[Row]:
        train, rows = self.rows("train"), self.rows(split)
        if not len(train):
            return [(self.name, "top-1", UNMEASURED)]
        return self.measure(rows, np.tile(np.bincount(self.y[train], minlength=self.outputs), (len(rows), 1)))


@dataclass(frozen=True, kw_only=True)
class NumberTask(Task):
    """A number, measured by the mean squared error."""

    chance_name = LARGEST

    def names(self) -> list[tuple[str, str]]:
        return [(self.name, "MSE")]

    def measure(self, rows: np.ndarray, scores: np.ndarray) -> list[Row]:
        return [(self.name, "MSE", mse(self.y[rows], scores[:, 0], groups=self.films(rows)))]

    def chance(self, split: str) -> list[Row]:
        train, rows = self.rows("train"), self.rows(split)
        if not len(train):
            return [(self.name, "MSE", UNMEASURED)]
        return self.measure(rows, np.full((len(rows), 1), self.y[train].mean()))

    def written(self, scores: np.ndarray) -> list:
        return list(scores[:, 0])


@dataclass(frozen=True, kw_only=True)
class RankingTask(Task):
    """Classes that items are ranked by, measured by the AP of each and their mean.

    Attributes:
        y: class numbers int [n], or several labels an item bool [n, C].
        background: the class that the mean leaves out; '' for none.
        mean_name: task and metric of the mean.
        one_task: whether the APs of the classes are metrics of one task ("AP office"), with a row that counts
            the classes, or a task each.
    """

    background: str = ""
    mean_name: tuple[str, str] = ("average", "AP")
    one_task: bool = False

    def names(self) -> list[tuple[str, str]]:
        return [self.mean_name] if self.one_task else [*((c, "AP") for c in self.classes), self.mean_name]

    def measure(self, rows: np.ndarray, scores: np.ndarray) -> list[Row]:
        if not len(rows):
            return [(*name, UNMEASURED) for name in self.names()]
        into = [c for c in self.classes if c != self.background]
        table, mean = average_precisions(
            self.y[rows], scores, self.classes, average_over=into, groups=self.films(rows)
        )
        if not self.one_task:
            each = [(c, "AP", _of_class(row, len(rows))) for c, row in table.set_index("class").iterrows()]
            return [*each, (*self.mean_name, mean)]
        known = Measured(int(table["measured"].sum()), np.nan, np.nan, len(table))
        each = [
            (self.name, f"AP {r['class']}", _of_class(r, int(r["n_positive"]))) for _, r in table.iterrows()
        ]
        return [(*self.mean_name, mean), (self.name, "classes", known), *each]

    def chance(self, split: str) -> list[Row]:
        y = self.y[self.rows(split)]
        hot = y if y.ndim == 2 else y[:, None] == np.arange(self.outputs)
        values = [random_ap(len(hot), int(n)) for n in hot.sum(0)]
        into = [
            v for c, v in zip(self.classes, values, strict=True) if c != self.background and np.isfinite(v)
        ]
        expected = dict(zip(((c, "AP") for c in self.classes), values, strict=True))
        expected[self.mean_name] = float(np.mean(into)) if into else np.nan
        return [(*name, _exact(expected[name], len(hot))) for name in self.names()]

    def written(self, scores: np.ndarray) -> list:
        if self.y.ndim == 1:
            return super().written(scores)
        names = np.array(self.classes, dtype=object)
        chosen = (scores > 0.5) | (scores == scores.max(1, keepdims=True))  # [m, C]
        return [SEPARATOR.join(names[row]) for row in chosen]


def _of_class(row: pd.Series, n: int) -> Measured:
    measured = Measured(row["ap"], row["ci_low"], row["ci_high"], n)
    return measured if row["measured"] or not n else Measured(np.nan, np.nan, np.nan, 0)


def _exact(value: float, n: int) -> Measured:
    return Measured(value, np.nan, np.nan, n if np.isfinite(value) else 0)
