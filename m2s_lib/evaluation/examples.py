"""Which items the figures show: predictions right and wrong in turn, the surest first."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from m2s_lib.evaluation.tasks import LARGEST, RANDOM


def first_seed(predictions: pd.DataFrame, task: str, encoder: str, split: str = "test") -> pd.DataFrame:
    """Returns an encoder's predictions of one task and split, of its first seed."""
    same = (predictions["task"] == task) & (predictions["encoder"] == encoder)
    mine = predictions[same & (predictions["split"] == split)]
    return mine[mine["seed"] == mine["seed"].min()]


def surest_first(predictions: pd.DataFrame, scenes: pd.DataFrame, task: str, encoder: str) -> pd.DataFrame:
    """Returns an encoder's test items with a scene, the surest first.

    Args:
        scenes: item, film_id, shot, n_shots; of an item with several the first is shown.

    Returns:
        film_id, shot, n_shots, item, label, prediction, score (of the prediction; nan for a number), title
        (the item), right.
    """
    mine = first_seed(predictions, task, encoder)
    score = [float(np.max(s)) if len(s) > 1 else np.nan for s in mine["scores"]]
    table = mine[["item", "label", "prediction"]].assign(score=score, title=mine["item"])
    where = scenes.drop_duplicates("item")[["item", "film_id", "shot", "n_shots"]]
    table = table.merge(where, on="item").assign(right=lambda t: t["label"] == t["prediction"])
    return table.sort_values(["score", "item"], ascending=[False, True], kind="stable", ignore_index=True)


def in_turn(table: pd.DataFrame, n: int, by: Sequence[str] = ()) -> pd.DataFrame:
    """Returns the first n rows of `surest_first`, right and wrong ones in turn; of each value of `by`, n."""
    turn = table.groupby([*by, "right"], sort=False).cumcount()
    table = table.assign(turn=turn).sort_values(["turn", "right"], ascending=[True, False], kind="stable")
    return (table.groupby(list(by), sort=False).head(n) if by else table.head(n)).drop(
        columns=["turn", "right"]
    )


def best_other(results: pd.DataFrame, ours: str, task: str, metric: str) -> str:
    """Returns the encoder beside ours with the highest value of a metric, '' where no other was measured."""
    rows = results[(results["task"] == task) & (results["metric"] == metric)].dropna(subset="value")
    no_encoder = rows["encoder"].isin([ours, RANDOM, LARGEST])
    rows = rows[~no_encoder & ~rows["encoder"].str.contains("permuted", regex=False)]
    means = rows.groupby("encoder", sort=False)["value"].mean()
    return str(means.idxmax()) if len(means) else ""
