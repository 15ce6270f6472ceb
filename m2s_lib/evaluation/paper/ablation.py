"""What the settings of a run tell beside their results: how long each took, what a mined pair is worth, which
metadata finds which themes, and what the other reading of "top 50 %" changes.

A "table of a setting" is a pair: a dict with setting and repeat, and a table that a stage wrote there
(`m2s_lib.stages.gather.stage_tables`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.metrics import wilson
from m2s_lib.evaluation.paper.published import TASK_OF_COLUMN, is_ours, read_published, read_settings
from m2s_lib.evaluation.paper.repeats import FIRST, mean_interval, over_repeats

OTHER_READING = "row 1, above median"  # row 1 with keep = above_median (supp. 3a), see the ablation profile
TableOfSetting = tuple[Mapping[str, str], pd.DataFrame]
_TRAINING = "04"
_PROBE_FIELDS = {"learning rate": "lr", "batch size": "batch", "epochs": "epochs", "dropout": "dropout"}
_TIMES = [
    "setting", "metadata", "films", "shots", "frames", "time_published", "training", "all_stages", "status",
    "reason",
]  # fmt: skip
_SHARE = ["ratio", "lowest_score", "n_pairs", "n_same", "precision"]
_THEME = ["setting", "metadata", "theme", "n_pairs", "n_same", "precision", "ci_low", "ci_high", "chance"]


def setting_times(stages: pd.DataFrame) -> pd.DataFrame:
    """How long each setting took, beside the paper's time relative to row 1 (Table 1).

    Args:
        stages: setting, folder, stage, status, reason, compute_s: a row for each stage of each repeat.

    Returns:
        setting; metadata, films, shots, frames and time_published (as the paper has them, empty or NaN for
        settings that it does not have); training (of stage 04) and all_stages (of all stages, shared ones
        included), both relative to the first setting and means over repeats (NaN where a stage is missing);
        status and reason (of what failed). They are seconds of the CPUs, or of a clock where a GPU was used,
        and differ a little between equal runs.
    """
    paper, lines = read_settings("Table 1").set_index("row"), []
    for name, of_setting in stages.groupby("setting", sort=False):
        training = of_setting[of_setting["stage"].str.startswith(_TRAINING)]["compute_s"]
        total = of_setting.groupby("folder")["compute_s"].agg(lambda s: s.sum(skipna=False))
        failed = of_setting[of_setting["status"] != "done"][["status", "reason"]]
        status, reason = failed.iloc[0] if len(failed) else ("done", "")
        about = {"setting": name} | _as_published(name, paper)
        times = {"training": training.astype(float).mean(), "all_stages": total.astype(float).mean()}
        lines.append(about | times | {"status": status, "reason": " ".join(reason.split())})
    table = pd.DataFrame(lines, columns=_TIMES)
    for column in ("training", "all_stages"):
        first = table.loc[table["setting"] == FIRST, column]
        table[column] /= first.iloc[0] if len(first) and first.iloc[0] else np.nan
    return table


def _as_published(setting: str, paper: pd.DataFrame) -> dict:
    """What Table 1 says about a setting that is one of its rows."""
    number = setting.removeprefix("row ")
    known = number.isdecimal() and int(number) in paper.index
    row = paper.loc[int(number)] if known else pd.Series(dtype=object)
    names = {"metadata": "metadata", "films": "pretrain_films", "shots": "shots", "frames": "frames"}
    values = {mine: row.get(theirs, "") for mine, theirs in names.items()}
    return values | {"time_published": float(row.get("time", np.nan))}


def setting_encoders(parameters: Mapping[str, Mapping]) -> dict[str, str]:
    """What each setting's E_scene was, such as 'tiny, from shot_encoder.safetensors': its preset, and the
    weights that it started from where they were not random.

    Args:
        parameters: setting -> parameters of its stage 04.
    """
    weights = {setting: Path(p.get("scene_weights", "")).name for setting, p in parameters.items()}
    presets = {setting: p.get("scene_encoder", "") for setting, p in parameters.items()}
    return {s: presets[s] + (f", from {weights[s]}" if weights[s] else "") for s in parameters}


def themes_by_metadata(
    by_theme: Sequence[TableOfSetting], precision: Sequence[TableOfSetting]
) -> pd.DataFrame:
    """Which kind of metadata finds which themes: for each setting, the scene pairs that its own E_movie mined
    from its own film pairs.

    Args:
        by_theme: precision_by_theme.parquet of 03 in each setting. precision: mining_precision.parquet.

    Returns:
        setting, metadata, theme, n_pairs, n_same, precision, ci_low, ci_high (Wilson, pairs taken as
        independent), counts summed over repeats; the line with theme "all" has all themes, and chance, the
        share over all window pairs of the setting's film pairs. No line where themes are not known.
    """
    parts, chances = [], []
    of_chance = {(a["setting"], a["repeat"]): _chance(table) for a, table in precision}
    for about, table in by_theme:
        own = table["encoder"].iloc[0]  # the setting's own metadata comes first
        keys = {"setting": about["setting"], "metadata": own}
        parts.append(table.loc[table["encoder"] == own, ["theme", "n_pairs", "n_same"]].assign(**keys))
        chances.append(keys | {"chance": of_chance.get((about["setting"], about["repeat"]), np.nan)})
    if not parts:
        return pd.DataFrame(columns=_THEME)
    every, keys = pd.concat(parts, ignore_index=True), ["setting", "metadata", "theme"]
    every = pd.concat([every.assign(theme="all"), every], ignore_index=True)
    table = every.groupby(keys, sort=False, as_index=False)[["n_pairs", "n_same"]].sum()
    low, high = zip(*map(wilson, table["n_same"], table["n_pairs"]), strict=True)
    table = table.assign(precision=table["n_same"] / table["n_pairs"], ci_low=low, ci_high=high)
    mean = pd.DataFrame(chances).groupby(keys[:2], sort=False, as_index=False)["chance"].mean()
    return table.merge(mean.assign(theme="all"), on=keys, how="left")[_THEME]


def _chance(precision: pd.DataFrame) -> float:
    values = precision.loc[precision["encoder"] == "chance", "mean"]
    return float(values.iloc[0]) if len(values) else np.nan


def worth_of_pairs(by_share: Sequence[TableOfSetting]) -> pd.DataFrame:
    """What a mined pair is worth in the first setting: how many share a theme, by the share of each film
    pair's scene pairs that is kept.

    Args:
        by_share: precision_by_share.parquet of 03 in each setting, the first setting first.

    Returns:
        ratio, lowest_score (of what is kept), n_pairs, n_same, precision, ci_low, ci_high, repeats. Of
        several repeats counts are sums and the rest means, with Student's 95 % interval; of one the interval
        is Wilson's, pairs taken as independent. No line where themes are not known.
    """
    first = by_share[0][0]["setting"] if by_share else FIRST
    parts = [table[_SHARE] for about, table in by_share if about["setting"] == first]
    lines = []
    for ratio, of_ratio in pd.concat(parts).groupby("ratio") if parts else ():
        counts = of_ratio[["n_pairs", "n_same"]].sum()
        mean, low, high = mean_interval(of_ratio["precision"].to_numpy())
        if len(of_ratio) == 1:
            low, high = wilson(*counts[["n_same", "n_pairs"]])
        score = of_ratio["lowest_score"].mean()
        lines.append((ratio, score, *counts, mean, low, high, len(of_ratio)))
    return pd.DataFrame(lines, columns=[*_SHARE, "ci_low", "ci_high", "repeats"])


def readings_compared(measured: pd.DataFrame) -> pd.DataFrame:
    """Row 1's results under both readings of "top 50 %": the best half of the greedy picks (section 4.1.2)
    and a threshold at B's median (supp. 3a).

    Args:
        measured: result rows with setting and repeat.

    Returns:
        benchmark, task, split, metric, best_half, above_median, difference (above_median - best_half), n; of
        our encoder only. No line when the run has no setting `OTHER_READING`.
    """
    ours = measured[is_ours(measured["encoder"]) & measured["setting"].isin([FIRST, OTHER_READING])]
    means = over_repeats(ours, by=["setting"])
    keys = ["benchmark", "task", "split", "metric"]
    first, other = (means[means["setting"] == s].set_index(keys) for s in (FIRST, OTHER_READING))
    both = first[["value", "n"]].rename(columns={"value": "best_half"})
    both = both.join(other["value"].rename("above_median"), how="inner").reset_index()
    both = both.dropna(subset=["best_half", "above_median"])
    both["difference"] = both["above_median"] - both["best_half"]
    return both[[*keys, "best_half", "above_median", "difference", "n"]]


def hyper_parameters(probes: pd.DataFrame) -> pd.DataFrame:
    """Supplementary Table 1 beside what a run's probes on our features were trained with.

    Args:
        probes: probes.parquet of 05; no line is fine.

    Returns:
        task (the paper's word), setting, published, here (NaN: no probe was trained).
    """
    mine = pd.DataFrame(columns=["task"])
    if len(probes):
        mine = probes[is_ours(probes["encoder"]) & probes["chosen"]].drop_duplicates("task")
    mine, lines = mine.set_index("task"), []
    for row in read_published(["Supp. Table 1"]).itertuples():
        task = TASK_OF_COLUMN.get(row.column, row.column)
        if row.metric not in _PROBE_FIELDS:
            raise M2SError(
                f"supplementary Table 1 has the setting {row.metric!r}, known are {list(_PROBE_FIELDS)}"
            )
        here = float(mine.loc[task, _PROBE_FIELDS[row.metric]]) if task in mine.index else np.nan
        lines.append({"task": row.column, "setting": row.metric, "published": row.value, "here": here})
    return pd.DataFrame(lines)
