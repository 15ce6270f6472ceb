"""Which clips the figures of moderation show: two encoders on clips of every class, and where one errs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from m2s_lib.evaluation.moderation.compare import CHANCE
from m2s_lib.evaluation.moderation.evaluate import AVERAGE
from m2s_lib.evaluation.moderation.files import CLASSES


def best_other(results: pd.DataFrame, ours: str) -> str:
    """The encoder beside ours with the highest average AP, '' where no other was measured."""
    rows = results[(results["task"] == AVERAGE) & (results["metric"] == "AP")].dropna(subset="value")
    no_encoder = rows["encoder"].isin([ours, CHANCE]) | rows["encoder"].str.contains("permuted", regex=False)
    means = rows[~no_encoder].groupby("encoder", sort=False)["value"].mean()
    return str(means.idxmax()) if len(means) else ""


def class_examples(
    predictions: pd.DataFrame,
    scenes: pd.DataFrame,
    ours: str,
    other: str = "",
    *,
    classes: Sequence[str] = CLASSES,
    n: int = 2,
) -> pd.DataFrame:
    """n test clips of each class for `predictions_figure` (supp. Fig. 10): those that ours has right and
    wrong in turn, the surest of either first.

    Args:
        predictions: of `compare_mcd`; the first seed is shown.
        scenes: item, film_id, shot, n_shots; of a clip with several the first is shown.
        ours, other: encoders; '' leaves the second out.
        classes: in the order of the rows.

    Returns:
        film_id, shot, n_shots, label, prediction, score (of the prediction), title (the clip), and with a
        second encoder other_prediction and other_score.
    """
    said = _said(predictions, scenes, ours, other)
    said["turn"] = said.groupby(["label", "right"]).cumcount()
    said = said.sort_values(["turn", "right"], ascending=[True, False], kind="stable")
    rows = [said[said["label"] == c].head(n) for c in classes]
    return pd.concat(rows, ignore_index=True).drop(columns=["turn", "right"])


def surest_errors(
    predictions: pd.DataFrame, scenes: pd.DataFrame, ours: str, other: str = "", *, n: int = 4
) -> pd.DataFrame:
    """The n test clips that ours has wrong and is surest of; columns and arguments as in `class_examples`."""
    said = _said(predictions, scenes, ours, other)
    return said[~said["right"]].head(n).drop(columns="right").reset_index(drop=True)


def _said(predictions: pd.DataFrame, scenes: pd.DataFrame, ours: str, other: str) -> pd.DataFrame:
    """Every test clip with what was said of it, the surest first."""
    where = scenes.drop_duplicates("item")[["item", "film_id", "shot", "n_shots"]]
    table = _of(predictions, ours).merge(where, on="item").assign(title=lambda t: t["item"])
    if other:
        second = _of(predictions, other).drop(columns="label")
        names = {"prediction": "other_prediction", "score": "other_score"}
        table = table.merge(second.rename(columns=names), on="item", how="left")
        table["other_prediction"] = table["other_prediction"].fillna("")
    table = table.sort_values(["score", "item"], ascending=[False, True], kind="stable")
    return table.assign(right=table["label"] == table["prediction"])


def _of(predictions: pd.DataFrame, encoder: str) -> pd.DataFrame:
    mine = predictions[(predictions["encoder"] == encoder) & (predictions["split"] == "test")]
    mine = mine[mine["seed"] == mine["seed"].min()]
    scores = [float(np.max(s)) for s in mine["scores"]]
    return mine[["item", "label", "prediction"]].assign(score=scores)
