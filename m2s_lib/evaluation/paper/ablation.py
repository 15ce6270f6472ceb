"""What the rows of Table 1 tell beside their results: how long each took, what a mined pair is worth, which
metadata finds which themes, and what the other reading of "top 50 %" changes."""

from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.metrics import wilson
from m2s_lib.evaluation.paper.published import TASK_OF_COLUMN, read_published, read_settings
from m2s_lib.evaluation.paper.repeats import FIRST_ROW, mean_interval, over_repeats, rows_of

OTHER_READING = "row 1, above median"  # row 1 with keep = above_median (supp. 3a), see the ablation profile
_TRAINING, _MINING = "04", "03"  # stages


def row_times(rows: pd.DataFrame) -> pd.DataFrame:
    """How long each row took, beside the paper's time relative to row 1 (Table 1).

    Args:
        rows: of `repeats.rows_of`.

    Returns:
        row, metadata, films, shots, frames and time_published (as the paper has the row, NaN for rows that it
        does not have), training (of stage 04) and all_stages (of all its stages, shared ones included), both
        relative to row 1 and means over repeats (NaN where a stage is missing), status and reason (of what
        failed). They are seconds of the CPUs, or of a clock where a GPU was used, and differ a little between
        equal runs.
    """
    paper = read_settings("Table 1").set_index("row")
    lines = []
    for name, stages in rows.groupby("row", sort=False):
        training = stages[stages["stage"].str.startswith(_TRAINING)]["compute_s"]
        bad = stages[stages["status"] != "done"]
        lines.append(
            {"row": name}
            | _as_published(name, paper)
            | {"training": training.mean(), "all_stages": _total(stages)}
            | {"status": bad["status"].iloc[0] if len(bad) else "done"}
            | {"reason": " ".join(bad["reason"].iloc[0].split()) if len(bad) else ""}
        )
    table = pd.DataFrame(lines)
    first = table[table["row"] == FIRST_ROW]
    for column in ("training", "all_stages"):
        base = first[column].iloc[0] if len(first) else np.nan
        table[column] = table[column] / base if base else np.nan
    return table


def row_encoders(stage) -> dict[str, str]:
    """What each row's E_scene was in this run, such as 'tiny, from shot_encoder.safetensors': its preset, and
    the weights that it started from where they were not random.

    Args:
        stage: an open stage; the records that it reads become its inputs.
    """
    told = {}
    for row in rows_of(stage).itertuples():
        if row.stage.startswith(_TRAINING) and row.status == "done":
            about = stage.read_json(f"{row.place}{row.stage}/run.json")["parameters"]
            weights = Path(about.get("scene_weights", "")).name
            told[row.row] = about.get("scene_encoder", "") + f", from {weights}" * bool(weights)
    return told


def _as_published(row: str, paper: pd.DataFrame) -> dict:
    number = row.removeprefix("row ")
    known = number.isdecimal() and int(number) in paper.index
    said = paper.loc[int(number)] if known else pd.Series(dtype=object)
    names = {"metadata": "metadata", "films": "pretrain_films", "shots": "shots", "frames": "frames"}
    told = {mine: said.get(theirs, "") for mine, theirs in names.items()}
    return told | {"time_published": float(said.get("time", np.nan))}


def _total(stages: pd.DataFrame) -> float:
    """Mean over repeats of the seconds of all stages; NaN when one is missing."""
    sums = stages.groupby("folder")["compute_s"].agg(lambda s: s.sum(skipna=False))
    return float(sums.mean())


def themes_by_metadata(stage) -> pd.DataFrame:
    """Which kind of metadata finds which themes: for each row, the scene pairs that its own E_movie mined
    from its own film pairs.

    Args:
        stage: an open stage; the tables that it reads become its inputs.

    Returns:
        row, metadata, theme, n_pairs, n_same, precision, ci_low, ci_high (Wilson, pairs taken as
        independent), counts summed over repeats; the line with theme "all" has all themes, and chance, the
        share over all window pairs of the row's film pairs. No line where themes are not known.
    """
    parts, chances = [], []
    for row in rows_of(stage).itertuples():
        folder = f"{row.place}{row.stage}"
        found = stage.run_dir / folder / "precision_by_theme.parquet"
        if not row.stage.startswith(_MINING) or row.status != "done" or not found.is_file():
            continue
        themes = stage.read_parquet(f"{folder}/{found.name}")
        if not len(themes):
            continue
        own = themes["encoder"].iloc[0]  # the row's own metadata comes first
        about = {"row": row.row, "metadata": own}
        parts.append(themes[themes["encoder"] == own].drop(columns=["encoder", "precision"]).assign(**about))
        precision = stage.read_parquet(f"{folder}/mining_precision.parquet", ["encoder", "mean"])
        chance = precision.loc[precision["encoder"] == "chance", "mean"]
        chances.append(about | {"chance": chance.iloc[0] if len(chance) else np.nan})
    columns = ["row", "metadata", "theme", "n_pairs", "n_same", "precision", "ci_low", "ci_high", "chance"]
    if not parts:
        return pd.DataFrame(columns=columns)
    every, keys = pd.concat(parts, ignore_index=True), ["row", "metadata", "theme"]
    every = pd.concat([every.assign(theme="all"), every], ignore_index=True)
    table = every.groupby(keys, sort=False, as_index=False)[["n_pairs", "n_same"]].sum()
    low, high = zip(*map(wilson, table["n_same"], table["n_pairs"]), strict=True)
    table = table.assign(precision=table["n_same"] / table["n_pairs"], ci_low=low, ci_high=high)
    mean = pd.DataFrame(chances).groupby(["row", "metadata"], sort=False, as_index=False)["chance"].mean()
    table = table.merge(mean.assign(theme="all"), on=keys, how="left")
    return table[columns]


def worth_of_pairs(stage) -> pd.DataFrame:
    """What a mined pair is worth in the first row: how many share a theme, by the share of each film pair's
    scene pairs that is kept.

    Args:
        stage: an open stage; the tables that it reads become its inputs.

    Returns:
        ratio, lowest_score (of what is kept), n_pairs, n_same, precision, ci_low, ci_high, repeats. Of
        several repeats counts are sums and the rest means, with Student's 95 % interval; of one the interval
        is Wilson's, pairs taken as independent. No line where themes are not known.
    """
    columns = ["ratio", "lowest_score", "n_pairs", "n_same", "precision"]
    rows, parts = rows_of(stage), []
    for row in rows[rows["row"] == rows["row"].iloc[0]].itertuples():
        place = f"{row.place}{row.stage}/precision_by_share.parquet"
        if row.stage.startswith(_MINING) and row.status == "done" and (stage.run_dir / place).is_file():
            parts.append(stage.read_parquet(place, columns))
    lines = []
    for ratio, of_ratio in pd.concat(parts).groupby("ratio") if parts else ():
        counts = of_ratio[["n_pairs", "n_same"]].sum()
        mean, low, high = mean_interval(of_ratio["precision"].to_numpy())
        if len(of_ratio) == 1:
            low, high = wilson(*counts[["n_same", "n_pairs"]])
        score = of_ratio["lowest_score"].mean()
        lines.append((ratio, score, *counts, mean, low, high, len(of_ratio)))
    return pd.DataFrame(lines, columns=[*columns, "ci_low", "ci_high", "repeats"])


def readings_compared(measured: pd.DataFrame) -> pd.DataFrame:
    """Row 1's results under both readings of "top 50 %": the best half of the greedy picks (section 4.1.2)
    and a threshold at B's median (supp. 3a).

    Args:
        measured: of `repeats.read_measured`.

    Returns:
        benchmark, task, split, metric, best_half, above_median, difference (above_median - best_half), n; of
        our encoder only. No line when the run has no row `OTHER_READING`.
    """
    ours = measured[
        measured["encoder"].str.startswith("ours") & measured["row"].isin([FIRST_ROW, OTHER_READING])
    ]
    ours = ours[~ours["encoder"].str.contains("permuted", regex=False)]
    means = over_repeats(ours, by=["row"])
    keys = ["benchmark", "task", "split", "metric"]
    sides = [means[means["row"] == r].set_index(keys) for r in (FIRST_ROW, OTHER_READING)]
    both = sides[0][["value", "n"]].rename(columns={"value": "best_half"})
    both = both.join(sides[1]["value"].rename("above_median"), how="inner").reset_index()
    both = both.dropna(subset=["best_half", "above_median"])
    return both.assign(difference=both["above_median"] - both["best_half"])[
        [*keys, "best_half", "above_median", "difference", "n"]
    ]


def hyper_parameters(probes: pd.DataFrame) -> pd.DataFrame:
    """Supplementary Table 1 beside what this run's probes on our features were trained with.

    Args:
        probes: probes.parquet of 05; no line is fine.

    Returns:
        task (the paper's word), setting, published, here (NaN: no probe was trained).
    """
    fields = {"learning rate": "lr", "batch size": "batch", "epochs": "epochs", "dropout": "dropout"}
    mine = pd.DataFrame(columns=["task"])
    if len(probes):
        ours = probes["encoder"].str.startswith("ours") & ~probes["encoder"].str.contains(
            "permuted", regex=False
        )
        mine = probes[ours & probes["chosen"]].drop_duplicates("task")
    mine, lines = mine.set_index("task"), []
    for row in read_published(["Supp. Table 1"]).itertuples():
        task = TASK_OF_COLUMN.get(row.column, row.column)
        if row.metric not in fields:
            raise M2SError(f"supplementary Table 1 has the setting {row.metric!r}, known are {list(fields)}")
        here = float(mine.loc[task, fields[row.metric]]) if task in mine.index else np.nan
        lines.append({"task": row.column, "setting": row.metric, "published": row.value, "here": here})
    return pd.DataFrame(lines)
