"""The paper's own numbers, and a table that shows them beside measured ones without mixing the two.

`data_manifests/paper/` holds one CSV a table: table, row, model, column, metric, unit, value, reference.
Values stand as printed, so per cent where the unit is '%'. References name the section, and the page where
the paper's list of references tells it. Table 1 and 2 have a second file with what each row was made with.
after_the_paper.csv holds what others published later on the benchmarks of Tables 2 and 4, with its source.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.io import read_csv

PAPER_DIR = Path(__file__).resolve().parents[3] / "data_manifests" / "paper"
FILES = {
    "Table 1": "table1.csv",
    "Table 2": "table2.csv",
    "Table 3": "table3.csv",
    "Table 4": "table4.csv",
    "Table 5": "table5.csv",
    "Supp. Table 1": "supp_table1.csv",
    "Supp. Table 2": "supp_table2.csv",
    "Supp. Table 3": "supp_table3.csv",
}
COLUMNS = ("table", "row", "model", "column", "metric", "unit", "value", "reference")
LATER_FILE, LATER = "after_the_paper.csv", "after the paper: "  # the second begins such a model's name

# What the paper's columns are called in results.parquet. Its "AP" of scene boundaries may be either of two.
TASK_OF_COLUMN = {
    "place": "scene",
    "relation": "relationship",
    "speak": "way_speaking",
    "view": "view_count",
    "like": "like_ratio",
}
_PLACES = ("office", "airport", "school", "hotel", "prison", "restaurant", "all queries")
TASK_OF_COLUMN |= {place: f"place retrieval: {place}" for place in _PLACES}
METRIC_OF_COLUMN = {
    ("scene boundaries", "AP"): "pooled AP",
    ("scene boundaries", "AP, mean over films"): "mean per-film AP",
}


def read_published(tables: Iterable[str] = tuple(FILES), folder: str | os.PathLike = "") -> pd.DataFrame:
    """Published numbers, one row each.

    Args:
        tables: such as "Table 2" or "Supp. Table 3".
        folder: of the CSV files; '' for the project's own.

    Returns:
        table, row (Int64, empty where the table numbers none), model, column, metric, unit, value (float),
        reference; in the paper's order.

    Raises:
        M2SError: an unknown table, an absent file, or one with other columns.
    """
    tables, folder = list(tables), Path(folder or PAPER_DIR)
    for name in tables:
        if name not in FILES:
            raise M2SError(f"table {name!r} is unknown: the paper's are {list(FILES)}")
    return pd.concat([_read_numbers(folder / FILES[name]) for name in tables], ignore_index=True)


def read_later(table: str, folder: str | os.PathLike = "") -> pd.DataFrame:
    """Numbers that others published after the paper on a table's benchmark, as `read_published` gives them.

    Models' names begin with `LATER`; the reference is the source, and says "second-hand" where the number was
    read in another paper than the model's own. Without a row for most tables.
    """
    later = _read_numbers(Path(folder or PAPER_DIR) / LATER_FILE)
    return later[later["table"] == table].assign(model=lambda t: LATER + t["model"])


def _read_numbers(path: Path) -> pd.DataFrame:
    """One file with `COLUMNS`, checked."""
    table = _read(path)
    if tuple(table.columns) != COLUMNS:
        raise M2SError(f"{path} has the columns {list(table.columns)}, expected {list(COLUMNS)}")
    try:
        numbers = {"value": pd.to_numeric(table["value"]).astype(float)}
        numbers["row"] = pd.to_numeric(table["row"]).astype("Int64")
    except (ValueError, TypeError, OverflowError) as error:
        raise M2SError(f"{path}: a value or row is no number ({error})") from error
    return table.assign(**numbers)


def is_ours(encoders: pd.Series) -> pd.Series:
    """Which encoders are E_scene, whatever its metadata; with permuted labels it is a control: bool."""
    return encoders.str.startswith("ours") & ~encoders.str.contains("permuted labels", regex=False)


def read_settings(table: str, folder: str | os.PathLike = "") -> pd.DataFrame:
    """What each row of Table 1 or 2 was made with: films, shots, frames, backbone, ..."""
    if table not in ("Table 1", "Table 2"):
        raise M2SError(f"{table!r} has no settings: only Table 1 and Table 2 have")
    return _read(Path(folder or PAPER_DIR) / FILES[table].replace(".csv", "_settings.csv"))


def beside_measured(
    published: pd.DataFrame,
    measured: pd.DataFrame,
    *,
    same: Mapping[str, str] | None = None,
    split: str = "test",
    tasks: Mapping[str, str] | None = None,
    metrics: Mapping[tuple[str, str], str] | None = None,
) -> pd.DataFrame:
    """Published and measured numbers of one table, side by side, in the paper's unit.

    Args:
        published: of `read_published`, one table.
        measured: rows as in results.parquet; several seeds become their mean. Columns `run` and `seeds`
            (of rows that are means already, see `over_repeats`) are kept.
        same: measured encoder to the paper's model, such as {"ours (co-watch)": "Ours"}; an encoder of the
            paper's name needs no entry, every other one gets a row of its own.
        split: of the measured rows.
        tasks: the paper's column to a measured task; added to `TASK_OF_COLUMN`.
        metrics: the paper's (column, metric) to a measured metric; added to `METRIC_OF_COLUMN`.

    Returns:
        One row for each model and column: model, column, metric, unit, published (nan: not published),
        measured (nan: not measured), ci_low, ci_high, n, n_found, n_listed, seeds, seed_sd, run, encoder,
        reference. Every model has every column.
    """
    if measured.duplicated(["task", "split", "encoder", "metric", "seed"]).any():
        raise M2SError("the measured rows hold one result twice: give the rows of one run and one benchmark")
    published = published[published["metric"] != "difference"]  # follows from the others
    columns = published.drop_duplicates(["column", "metric"])[["column", "metric", "unit"]]
    tasks, metrics = TASK_OF_COLUMN | dict(tasks or {}), METRIC_OF_COLUMN | dict(metrics or {})
    printed = published.set_index(["model", "column", "metric"])
    if not printed.index.is_unique:
        raise M2SError("the published rows hold a model twice: give the rows of one table")
    printed = printed.to_dict("index")
    means = _seed_means(measured[measured["split"] == split])
    name_of = {e: (same or {}).get(e, e) for e in means["encoder"].unique()}
    means = means.set_index(["encoder", "task", "metric"]).to_dict("index")
    rows = []
    for model in dict.fromkeys([*published["model"], *name_of.values()]):
        for encoder in [e for e, m in name_of.items() if m == model] or [""]:
            for c in columns.itertuples(index=False):
                task, metric = tasks.get(c.column, c.column), metrics.get((c.column, c.metric), c.metric)
                one = printed.get((model, c.column, c.metric)), means.get((encoder, task, metric))
                rows.append(_row(model, c, *one, encoder))
    return pd.DataFrame(rows)


def _read(path: Path) -> pd.DataFrame:
    try:
        return read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise M2SError(
            f"{path} cannot be read ({error}): the project's data_manifests/paper holds it"
        ) from error


def _seed_means(measured: pd.DataFrame) -> pd.DataFrame:
    """One row for each task, encoder and metric: means over seeds, of the intervals' ends too."""
    runs = measured.assign(run=measured["run"] if "run" in measured.columns else "")
    keys = ["task", "encoder", "metric"]
    first: Sequence[str] = ("n", "n_found", "n_listed", "run")
    seeds = ("seeds", "first") if "seeds" in runs.columns else ("seed", "nunique")
    return runs.groupby(keys, sort=False, as_index=False).agg(
        **{c: (c, "mean") for c in ("value", "ci_low", "ci_high")},
        **{c: (c, "first") for c in first},
        seeds=seeds,
        seed_sd=("value", "std"),
    )


def _row(model: str, column, printed: dict | None, mean: dict | None, encoder: str) -> dict:
    """One cell of the table: a published and a measured number, either may be None."""
    scale = 100.0 if column.unit == "%" else 1.0  # results are fractions, the paper prints per cent
    numbers = {"measured": np.nan, "ci_low": np.nan, "ci_high": np.nan, "seed_sd": np.nan}
    counts = {"n": 0, "n_found": 0, "n_listed": 0, "seeds": 0, "run": ""}
    if mean is not None:
        numbers = {k: scale * mean["value" if k == "measured" else k] for k in numbers}
        counts = {k: mean[k] for k in counts}
    printed = printed or {"value": np.nan, "reference": ""}
    about = {"model": model, "column": column.column, "metric": column.metric, "unit": column.unit}
    about |= {"published": printed["value"], **numbers, **counts, "encoder": encoder}
    return about | {"reference": printed["reference"]}
