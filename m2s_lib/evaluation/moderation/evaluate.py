"""Moderation: AP of each class (section 4.4b, supp. 1.4), and what a moderator gets who asks for a recall."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.metrics import NOT_MEASURED, threshold_table
from m2s_lib.evaluation.moderation.files import BACKGROUND, BENCHMARK, CLASSES
from m2s_lib.evaluation.probes.probes import ProbeConfig
from m2s_lib.evaluation.tasks import RankingTask

TASK = "moderation"  # of the predictions; the result rows name the class
AVERAGE = "average"
NO_EXAMPLE = "no example in test"
THRESHOLD_COLUMNS = (
    *("encoder", "class", "recall_wanted", "threshold", "val_precision", "val_recall", "precision"),
    *("precision_low", "precision_high", "recall", "recall_low", "recall_high", "flagged", "n_positive", "n"),
)

# The paper gives the shape (two hidden layers of 512, supp. 1.4) and neither rate nor epochs.
CONFIG = ProbeConfig(lr=0.1, batch=256, epochs=100, dropout=0.25, choose="ap")


def moderation_task(
    table: pd.DataFrame, classes: Sequence[str] = CLASSES, background: str = BACKGROUND
) -> RankingTask:
    """Returns the task for the protocol.

    Args:
        table: of `read_mcd`. classes: as given to it.
        background: the class that the average leaves out; '' averages over all.
    """
    if background not in ("", *classes):
        raise M2SError(f"the background class is {background!r}, the classes are {list(classes)}; '' is none")
    return RankingTask(
        benchmark=BENCHMARK,
        name=TASK,
        items=table[["item", "film_id", "split", "label"]].reset_index(drop=True),
        y=table["class_id"].to_numpy(np.int64),
        config=CONFIG,
        classes=tuple(classes),
        background=background,
        mean_name=(AVERAGE, "AP"),
    )


def thresholds(
    predictions: pd.DataFrame, task: RankingTask, recalls: Sequence[float] = (0.5, 0.8, 0.9, 0.95)
) -> pd.DataFrame:
    """Returns the threshold table of every encoder but the control, of its first seed.

    Args:
        predictions: of `protocol.compare`. recalls: that a moderator may want.

    Returns:
        encoder, class, and the columns of `metrics.threshold_table`; a class without a clip in validation and
        the background class are left out.
    """
    tables = [pd.DataFrame(columns=list(THRESHOLD_COLUMNS))]
    film = dict(zip(task.items["item"], task.items["film_id"], strict=True))
    mine = predictions[~predictions["encoder"].str.contains("permuted", regex=False)]
    for encoder, rows in mine.groupby("encoder", sort=False):
        rows = rows[rows["seed"] == rows["seed"].iloc[0]]
        parts = [rows[rows["split"] == s] for s in ("val", "test")]
        for c, name in enumerate(task.classes):
            labels = [(part["label"] == name).to_numpy() for part in parts]
            if name == task.background or not labels[0].any():
                continue
            scores = [np.array([s[c] for s in part["scores"]]) for part in parts]
            films = parts[1]["item"].map(film).to_numpy(object)
            made = threshold_table(labels[0], scores[0], labels[1], scores[1], recalls, films)
            tables.append(made.assign(**{"encoder": encoder, "class": name})[list(THRESHOLD_COLUMNS)])
    return pd.concat(tables[1:], ignore_index=True) if len(tables) > 1 else tables[0]


def mcd_summary(wide: pd.DataFrame, task: RankingTask, digits: int = 3) -> pd.DataFrame:
    """Returns `protocol.summary` of AP as text: a class without a clip in test says so, an encoder that is
    missing says "not measured"."""
    text = wide.map(lambda v: f"{v:.{digits}f}" if np.isfinite(v) else NOT_MEASURED)
    for name in set(task.classes) - set(task.items["label"].to_numpy()[task.rows("test")]):
        text.loc[wide.notna().any(axis=1), name] = NO_EXAMPLE
    return text.rename_axis(columns=None)


def as_in_paper(results: pd.DataFrame, task: RankingTask) -> pd.DataFrame:
    """Returns the rows that mean what the paper's mean: no control, no class that the paper does not have,
    and the average only where it is over the paper's classes."""
    rows = results[~results["encoder"].str.contains("permuted", regex=False)]
    same = set(task.classes) == set(CLASSES) and task.background == BACKGROUND
    return rows if same else rows[rows["task"].isin(CLASSES)]


def describe_pretrained(table: pd.DataFrame, pretrained: Sequence[str]) -> str:
    """Returns a warning that names the test films of a table which representations were trained on, or a
    sentence that there are none; and why nothing can be measured, where the table has too few films.

    Args:
        table: of `read_mcd`. pretrained: film_id or IMDb id of the films that were trained on.
    """
    test = set(table.loc[table["split"] == "test", "film_id"])
    if not test:
        return f"No test film among {table['film_id'].nunique()}: a split by film needs at least three."
    seen = sorted(test & set(pretrained))
    if not seen:
        return f"None of the {len(test)} test films is known to have been trained on."
    return (
        f"WARNING: {len(seen)} of the {len(test)} test films were trained on (without labels), the first is "
        f"{seen[0]}: numbers on them flatter what was trained here. Leave them out of 01's films, or of test."
    )
