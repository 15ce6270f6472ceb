"""Results of one run, or of the rows and repeats of one, as one table with means over repeats.

In one run the interval comes from its items (a bootstrap, Wilson). Over repeats, other films and seeds each
time, it is Student's over the repeats' means, which holds what both items and training add.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.results import RESULT_COLUMNS
from m2s_lib.io import read_parquet

TABLE = "settings.parquet"  # of the runs package; a run with settings has one
FIRST_ROW = "row 1"  # what a run without rows is called, after Table 1's base case
ITEM = ("benchmark", "task", "split", "encoder", "metric")


def read_measured(stage) -> pd.DataFrame:
    """results.parquet of all stages of a run, or of all its rows: the contract's columns, row, repeat, stage.

    Args:
        stage: an open stage (`m2s_lib.runs.open_stage`) after those that measure; what is read becomes its
            input. A run without rows is `FIRST_ROW`, its repeat ''.

    Raises:
        M2SError: nothing has been measured in this run.
    """
    keys, name, parts = list(RESULT_COLUMNS), "results.parquet", []
    for row in rows_of(stage).itertuples():
        place = f"{row.place}{row.stage}/{name}"
        if row.stage < stage.name and (stage.run_dir / place).is_file():
            about = {"row": row.row, "repeat": row.repeat, "stage": row.stage}
            parts.append(stage.read_parquet(place, keys).assign(**about))
    if not parts:
        raise M2SError(
            f"{stage.run_dir} holds no results.parquet: run the stages that measure first (m2s run PROFILE)"
        )
    return pd.concat(parts, ignore_index=True)


def rows_of(stage) -> pd.DataFrame:
    """Every row, repeat and stage of a run: the columns of settings.parquet (its `setting` is `row` here) and
    `place`, what stands before a stage's name in a path seen from the run. A run without settings is
    `FIRST_ROW`, its repeat ''.

    Args:
        stage: an open stage; the table becomes its input.
    """
    if (stage.run_dir / TABLE).is_file():
        rows = stage.read_parquet(TABLE, ["setting", "repeat", "folder", "stage", "status", "reason"])
        rows = rows.rename(columns={"setting": "row"})
        return rows.assign(place="settings/" + rows["folder"] + "/")
    found = [p.name for p in sorted(stage.run_dir.glob("[0-9][0-9]_*"))]
    own = {"row": FIRST_ROW, "repeat": "", "folder": "", "status": "done", "compute_s": np.nan, "reason": ""}
    return pd.DataFrame({"stage": found}).assign(**own, place="")


def over_repeats(measured: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each benchmark, task, split, encoder and metric: the mean over repeats and its interval.

    Args:
        measured: of `read_measured`; seeds of one repeat are averaged first. What several rows measured alike
            (chance, an encoder that they share) counts once for each repeat.
        by: more columns to keep apart, such as ["row"].

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
    """Mean of independent values [n] and Student's 95 % interval; the interval is nan for fewer than two."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, mean - float(half), mean + float(half)


def first_row_folder(run_dir: Path) -> Path:
    """The folder whose stages' figures stand for the run: its own, or its first row's."""
    table = run_dir / TABLE
    if not table.is_file():
        return run_dir
    rows = read_parquet(table)
    done = rows.groupby("folder", sort=False)["status"].agg(lambda s: (s == "done").all())
    folders = [*done.index[done], *done.index]
    return run_dir / "settings" / folders[0]


def read_stage(run_dir: Path, stage: str, name: str) -> pd.DataFrame:
    """The table `name` that a stage wrote in a run or row; without a line where it wrote none."""
    path = run_dir / stage / f"{name}.parquet"
    return read_parquet(path) if path.is_file() else pd.DataFrame()
