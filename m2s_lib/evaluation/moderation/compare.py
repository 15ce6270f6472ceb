"""All encoders on moderation: rows of Table 5 and supplementary Table 3, with chance, control and what is
missing."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from m2s_lib.evaluation.boundary_metrics import random_ap
from m2s_lib.evaluation.encoders.compared import by_item
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.metrics import NOT_MEASURED, Measured
from m2s_lib.evaluation.moderation.evaluate import AVERAGE, THRESHOLD_COLUMNS, evaluate_mcd
from m2s_lib.evaluation.moderation.files import BACKGROUND, BENCHMARK, CLASSES
from m2s_lib.evaluation.probes.state_space import StateSpaceConfig, train_sequences
from m2s_lib.evaluation.results import Evaluation, empty_results, joined, result_row, result_table
from m2s_lib.evaluation.scene_vectors import missing_rows
from m2s_lib.progress import Progress

CHANCE = "random scores"
NO_EXAMPLE = "no example in test"
SEQUENCE_HEAD = "ViS4mer-style"
END_TO_END = StateSpaceConfig(choose="ap")


def compare_mcd(
    table: pd.DataFrame,
    found: Mapping[str, Vectors | Missing],
    items: Sequence[str],
    *,
    sequences: Mapping[str, np.ndarray] | None = None,
    sequence_epochs: int = END_TO_END.epochs,
    permuted: str = "",
    search_grid: Sequence[Mapping] = (),
    classes: Sequence[str] = CLASSES,
    background: str = BACKGROUND,
    device: torch.device | str = "cpu",
    **how,
) -> tuple[Evaluation, pd.DataFrame]:
    """Every encoder on the labelled clips, on frozen features.

    Args:
        table: of `read_mcd`.
        found: encoder to the vectors of the clips, or why there are none, see `scene_vectors`; without one
            nothing is measured.
        items: the clip that each row of the vectors belongs to.
        sequences: item to float32 [its frames, d], frame features for the row of the state-space head
            (`state_space`), which the paper does not have here; none, no row.
        sequence_epochs: of that head.
        permuted: encoder that is measured with permuted labels too: the control, which has to give chance.
        search_grid, classes, background, device, how: as in `evaluate_mcd`; how and the grid are the probes'.

    Returns:
        The rows of `evaluate_mcd` below one another, those of `CHANCE` first; an encoder that is missing has
        rows that are not measured. And the threshold tables of all encoders, the control left out.
    """
    none = pd.DataFrame(columns=list(THRESHOLD_COLUMNS))
    if not found:
        return empty_results(), none
    parts, thresholds = [empty_results(_chance_rows(table, items, classes, background))], []
    about = {"classes": classes, "background": background, "device": device, **how}
    bar = Progress("probes on MCD", sum(isinstance(v, Vectors) for v in found.values()), "encoders")
    for name, one in found.items():
        if isinstance(one, Missing):
            parts.append(empty_results(_missing(one, table, classes)))
            continue
        vectors = by_item(one, items)
        evaluation, wanted = evaluate_mcd(table, vectors, name, search_grid=search_grid, **about)
        parts.append(evaluation)
        thresholds.append(wanted)
        if name == permuted:
            control = evaluate_mcd(table, vectors, name, search_grid=search_grid, permuted=True, **about)
            parts.append(control[0])
        bar.step(1)
    if sequences:
        about |= {"epochs": sequence_epochs, "frames": max(len(x) for x in sequences.values())}
        row = evaluate_mcd(
            table, sequences, SEQUENCE_HEAD, config=END_TO_END, trainer=train_sequences, **about
        )
        parts.append(row[0])
        thresholds.append(row[1])
    some = [t for t in thresholds if len(t)]
    return joined(parts), pd.concat(some, ignore_index=True) if some else none


def mcd_summary(
    results: pd.DataFrame, table: pd.DataFrame, classes: Sequence[str] = CLASSES, digits: int = 3
) -> pd.DataFrame:
    """AP on test as text, one row an encoder, one column a class and the average; means over seeds.

    A class without a clip in test says so, an encoder that is missing says "not measured".
    """
    test = results[(results["split"] == "test") & (results["metric"] == "AP")]
    wide = test.pivot_table(
        index="encoder", columns="task", values="value", aggfunc="mean", sort=False, dropna=False
    )
    wide = wide.reindex(index=pd.unique(test["encoder"]), columns=[*classes, AVERAGE])
    text = wide.map(lambda v: f"{v:.{digits}f}" if np.isfinite(v) else NOT_MEASURED)
    measured = wide.notna().any(axis=1)
    for name in set(classes) - set(table.loc[table["split"] == "test", "label"]):
        text.loc[measured, name] = NO_EXAMPLE
    return text.rename_axis(columns=None)


def as_in_paper(
    results: pd.DataFrame, classes: Sequence[str] = CLASSES, background: str = BACKGROUND
) -> pd.DataFrame:
    """The rows that mean what the paper's mean: no control, no class that the paper does not have, and the
    average only where it is over the paper's classes."""
    rows = results[~results["encoder"].str.contains("permuted", regex=False)]
    same = set(classes) == set(CLASSES) and background == BACKGROUND
    return rows if same else rows[rows["task"].isin(CLASSES)]


def _chance_rows(table, items, classes, background) -> pd.DataFrame:
    """The expected AP of random scores on the test clips that are there."""
    listed = table[table["split"] == "test"]
    labels = listed.loc[listed["item"].isin(set(items)), "label"]
    values = {c: random_ap(len(labels), int((labels == c).sum())) for c in classes}
    into = [v for c, v in values.items() if c != background and np.isfinite(v)]
    values[AVERAGE] = float(np.mean(into)) if into else np.nan
    return result_table(
        [
            result_row(BENCHMARK, task, "test", CHANCE, "AP",
                       Measured(value, np.nan, np.nan, len(labels) if np.isfinite(value) else 0),
                       n_found=len(labels), n_listed=len(listed))
            for task, value in values.items()
        ]
    )  # fmt: skip


def _missing(one: Missing, table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    listed = int((table["split"] == "test").sum())
    about = {"benchmark": BENCHMARK, "split": "test", "metrics": ["AP"], "n_listed": listed}
    return pd.concat([missing_rows(one, task=t, **about) for t in (*classes, AVERAGE)], ignore_index=True)
