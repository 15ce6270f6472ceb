"""Which clips the figures of moderation show: two encoders on clips of every class, and where one errs."""

from collections.abc import Sequence

import pandas as pd

from m2s_lib.evaluation.examples import in_turn, surest_first
from m2s_lib.evaluation.moderation.evaluate import TASK
from m2s_lib.evaluation.moderation.files import CLASSES


def class_examples(
    predictions: pd.DataFrame,
    scenes: pd.DataFrame,
    ours: str,
    other: str = "",
    *,
    classes: Sequence[str] = CLASSES,
    n: int = 2,
) -> pd.DataFrame:
    """Returns n test clips of each class for `predictions_figure` (supp. Fig. 10), right and wrong ones in
    turn, the surest of either first.

    Args:
        predictions: of `protocol.compare`. scenes: item, film_id, shot, n_shots.
        ours, other: encoders; '' leaves the second out.
        classes: in the order of the rows.

    Returns:
        The columns of `surest_first`, and with a second encoder other_prediction and other_score.
    """
    table = _beside(predictions, scenes, ours, other)
    chosen = in_turn(table, n, by=["label"])
    return pd.concat([chosen[chosen["label"] == c] for c in classes], ignore_index=True)


def surest_errors(
    predictions: pd.DataFrame, scenes: pd.DataFrame, ours: str, other: str = "", *, n: int = 4
) -> pd.DataFrame:
    """Returns the n test clips that ours has wrong and is surest of; arguments as in `class_examples`."""
    table = _beside(predictions, scenes, ours, other)
    return table[~table["right"]].head(n).drop(columns="right").reset_index(drop=True)


def _beside(predictions: pd.DataFrame, scenes: pd.DataFrame, ours: str, other: str) -> pd.DataFrame:
    """Our predictions, the surest first, with those of the other encoder."""
    table = surest_first(predictions, scenes, TASK, ours)
    if not other:
        return table
    names = {"prediction": "other_prediction", "score": "other_score"}
    second = surest_first(predictions, scenes, TASK, other)[["item", *names]].rename(columns=names)
    table = table.merge(second, on="item", how="left")
    return table.assign(other_prediction=table["other_prediction"].fillna(""))
