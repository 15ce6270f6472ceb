"""The two tables that every evaluation writes: results.parquet and predictions.parquet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from m2s_lib.evaluation.metrics import Measured

RESULT_COLUMNS = (
    "benchmark",
    "task",
    "split",
    "encoder",
    "metric",
    "value",  # shares are fractions 0..1; nan is "not measured"
    "ci_low",
    "ci_high",
    "n",  # items that the value rests on
    "n_found",  # listed items for which there were features
    "n_listed",  # items that the benchmark lists
    "seed",
)
EMBEDDED_FILMS = "embedded films"  # the only ones whose true themes are known
PREDICTION_KEYS = ("benchmark", "task", "split", "encoder", "seed")  # whose prediction it is
PREDICTION_COLUMNS = (*PREDICTION_KEYS, "item", "label", "prediction", "scores")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gives: two tables as results.parquet and predictions.parquet have them, and how
    each probe was trained (`probe_search.probe_rows`)."""

    results: pd.DataFrame
    predictions: pd.DataFrame
    probes: pd.DataFrame


def result_row(
    benchmark: str,
    task: str,
    split: str,
    encoder: str,
    metric: str,
    measured: Measured,
    *,
    n_found: int,
    n_listed: int,
    seed: int = 0,
) -> dict:
    """One row of results.parquet."""
    numbers = (measured.value, measured.ci_low, measured.ci_high, measured.n, n_found, n_listed, seed)
    return dict(zip(RESULT_COLUMNS, (benchmark, task, split, encoder, metric, *numbers), strict=True))


def result_table(rows: Sequence[dict]) -> pd.DataFrame:
    """Rows as the table, columns in order and of one type each; it has its columns without a row, too."""
    table = pd.DataFrame(list(rows), columns=list(RESULT_COLUMNS))
    floats = dict.fromkeys(("value", "ci_low", "ci_high"), float)
    ints = dict.fromkeys(("n", "n_found", "n_listed", "seed"), np.int64)
    return table.astype(floats | ints)


def theme_results(task: str, table: pd.DataFrame, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """What true themes tell (`compare_mining`, `compare_retrieval`) as result rows of the embedded films.

    Args:
        table: encoder, metric, value, ci_low, ci_high (shares 0..1), n; without a row where themes are not
            known.
        names: encoder to its name in the other tables.
    """
    if not len(table):
        return result_table([])
    table = table.assign(encoder=[(names or {}).get(e, e) for e in table["encoder"]])
    table = table.assign(benchmark=EMBEDDED_FILMS, task=task, split="all", seed=0)
    counts = {"n_found": table["n"], "n_listed": table["n"]}
    return result_table(table.assign(**counts)[list(RESULT_COLUMNS)].to_dict("records"))


def empty_results(results: pd.DataFrame | None = None) -> Evaluation:
    """An evaluation without a row, or of result rows that have no predictions."""
    predictions = pd.DataFrame({c: pd.Series(dtype=object) for c in PREDICTION_COLUMNS})
    return Evaluation(result_table([]) if results is None else results, predictions, pd.DataFrame())


def no_outputs() -> dict[str, pd.DataFrame]:
    """Returns the tables of an evaluation stage that has nothing to measure, by file."""
    nothing = empty_results()
    fields = ("results", "predictions", "probes")
    return {f"{field}.parquet": getattr(nothing, field) for field in fields}


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Returns several evaluations as one."""
    tables, nothing = {}, empty_results()
    for field in ("results", "predictions", "probes"):
        some = [getattr(p, field) for p in parts if len(getattr(p, field))]
        tables[field] = pd.concat(some, ignore_index=True) if some else getattr(nothing, field)
    return Evaluation(**tables)


def prediction_table(
    benchmark: str,
    task: str,
    split: str,
    encoder: str,
    seed: int,
    items: Sequence[str],
    labels: Sequence,
    predictions: Sequence,
    scores: np.ndarray,
) -> pd.DataFrame:
    """Predictions of one encoder on one split, one row an item.

    Args:
        items: ids [n].
        labels, predictions: class names or numbers [n]; written as text, so that tasks share one file.
        scores: float [n, C] probabilities of the classes, or [n, 1] the predicted number.
    """
    table = pd.DataFrame({"item": [str(i) for i in items], "label": [_text(v) for v in labels]})
    table["prediction"] = [_text(v) for v in predictions]
    table["scores"] = list(np.asarray(scores, np.float32))
    keys = dict(zip(PREDICTION_KEYS, (benchmark, task, split, encoder, seed), strict=True))
    return table.assign(**keys)[list(PREDICTION_COLUMNS)]


def _text(value) -> str:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
