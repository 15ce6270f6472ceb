"""Moderation with frozen features: an MLP, AP of each class, thresholds (section 4.4b, supp. 1.4).

AP of each class and their average are the paper's metric; what a moderator gets who asks for a recall is
added.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.clips import ItemSequences, ItemVectors, mean_by_owner
from m2s_lib.evaluation.metrics import UNMEASURED, Measured, average_precisions, threshold_table
from m2s_lib.evaluation.moderation.files import BACKGROUND, BENCHMARK, CLASSES, SPLITS
from m2s_lib.evaluation.probes.probe_search import best_setting, probe_rows, search_configs
from m2s_lib.evaluation.probes.probes import ProbeConfig, ProbeData, train_probe_sets
from m2s_lib.evaluation.results import Evaluation, prediction_table, result_row, result_table

TASK = "moderation"  # of the predictions; the result rows name the class
AVERAGE = "average"
THRESHOLD_COLUMNS = (
    *("encoder", "class", "recall_wanted", "threshold", "val_precision", "val_recall", "precision"),
    *("precision_low", "precision_high", "recall", "recall_low", "recall_high", "flagged", "n_positive", "n"),
)

# The paper gives the shape (two hidden layers of 512, supp. 1.4) and neither rate nor epochs.
CONFIG = ProbeConfig(lr=0.1, batch=256, epochs=100, dropout=0.25, choose="ap")


def evaluate_mcd(
    table: pd.DataFrame,
    embeddings: Mapping[str, np.ndarray],
    encoder: str,
    *,
    classes: Sequence[str] = CLASSES,
    background: str = BACKGROUND,
    config: ProbeConfig = CONFIG,
    seeds: Sequence[int] = (0,),
    search_grid: Sequence[Mapping] = (),
    recalls: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    device: torch.device | str = "cpu",
    permuted: bool = False,
    trainer: Callable = train_probe_sets,
    frames: int = 0,
    benchmark: str = BENCHMARK,
    **changes,
) -> tuple[Evaluation, pd.DataFrame]:
    """Train and measure one encoder on moderation.

    Args:
        table: of `read_mcd`.
        embeddings: item to float32 [d] or [windows, d] (scores are averaged over a clip's windows).
        encoder: its name in the tables.
        classes: as given to `read_mcd`.
        background: the class that the average leaves out; '' averages over all.
        config, seeds, search_grid, trainer, frames, changes: as in `evaluate_lvu`.
        permuted: permute the labels inside each split: the control, which must give chance. Test labels too:
            clips of one class lie together, and a network taught nonsense still ranks whole classes first or
            last, by luck.
        recalls: that the threshold table is made for.

    Returns:
        The evaluation: rows "AP" of each class and of task "average", split test, intervals by a bootstrap
        over films; a class without a clip in test is nan. And the threshold table of the first seed: encoder,
        class, and the columns of `metrics.threshold_table`; a class without a clip in validation is left out.
    """
    if background not in ("", *classes):
        raise M2SError(f"the background class is {background!r}, the classes are {list(classes)}; '' is none")
    sequences = (frames,) if frames else ()
    vectors = (ItemSequences if frames else ItemVectors)(embeddings, table["item"], encoder, *sequences)
    parts = {s: table[(table["split"] == s) & vectors.found(table["item"])] for s in SPLITS}
    parts = {s: _permuted(rows) for s, rows in parts.items()} if permuted else parts
    if empty := [s for s in ("train", "val") if not len(parts[s])]:
        raise M2SError(f"{encoder}: no clip with an embedding in {empty} of {len(table)} listed clips")
    each = search_configs(config, seeds, search_grid, changes)
    probes = trainer([(_items(parts, vectors, len(classes)), each)], device=device)[0]
    encoder = f"{encoder} (permuted labels)" if permuted else encoder
    chosen = best_setting(probes, len(seeds))
    rows, tables, thresholds = [], [], pd.DataFrame()
    for seed, probe in zip(seeds, chosen, strict=True):
        scores = {s: _scores(parts[s], vectors, probe, len(classes)) for s in ("val", "test")}
        rows += _rows(parts["test"], table, scores["test"], classes, background, benchmark, encoder, seed)
        test, predicted = parts["test"], [classes[c] for c in scores["test"].argmax(1)]
        tables.append(prediction_table(
            benchmark, TASK, "test", encoder, seed, test["item"], test["label"], predicted, scores["test"]
        ))  # fmt: skip
        if seed == seeds[0]:
            thresholds = _thresholds(parts, scores, classes, background, recalls, encoder)
    about = pd.DataFrame(probe_rows(TASK, encoder, probes, chosen))
    return Evaluation(result_table(rows), pd.concat(tables, ignore_index=True), about), thresholds


def _permuted(rows: pd.DataFrame) -> pd.DataFrame:
    order = np.random.default_rng(0).permutation(len(rows))
    return rows.assign(**{c: rows[c].to_numpy()[order] for c in ("label", "class_id")})


def _items(parts: Mapping[str, pd.DataFrame], vectors: ItemVectors, outputs: int) -> ProbeData:
    (x, owners), (x_val, val_owners) = (vectors.rows(parts[s]["item"]) for s in ("train", "val"))
    y, y_val = (parts[s]["class_id"].to_numpy() for s in ("train", "val"))
    groups = None if len(x_val) == len(y_val) else val_owners
    return ProbeData(x, y[owners], x_val, y_val[val_owners], outputs, groups, TASK)


def _scores(rows: pd.DataFrame, vectors: ItemVectors, probe, outputs: int) -> np.ndarray:
    """Probabilities of each clip: [n, C]."""
    if not len(rows):
        return np.zeros((0, outputs))
    x, owners = vectors.rows(rows["item"])
    return mean_by_owner(probe.predict(x), owners)


def _rows(test, table, scores, classes, background, benchmark, encoder, seed) -> list[dict]:
    """Result rows of one seed: AP of each class, then the average without the background class."""
    listed = table[table["split"] == "test"]
    into = [c for c in classes if c != background]
    films = test["film_id"].to_numpy()
    by_class, mean = average_precisions(
        test["class_id"].to_numpy(), scores, classes, average_over=into, groups=films, seed=seed
    ) if len(test) else (pd.DataFrame(), UNMEASURED)  # fmt: skip
    measured = {AVERAGE: mean} | {r["class"]: Measured(r["ap"], r["ci_low"], r["ci_high"], len(test))
                                  for r in by_class.to_dict("records") if r["measured"]}  # fmt: skip
    return [
        result_row(benchmark, task, "test", encoder, "AP", measured.get(task, UNMEASURED),
                   n_found=len(test), n_listed=len(listed), seed=seed)
        for task in (*classes, AVERAGE)
    ]  # fmt: skip


def _thresholds(parts, scores, classes, background, recalls, encoder) -> pd.DataFrame:
    """The threshold table of every class with an example in validation, but the background's."""
    tables = [pd.DataFrame(columns=THRESHOLD_COLUMNS)]
    for c, name in enumerate(classes):
        labels = {s: parts[s]["class_id"].to_numpy() == c for s in ("val", "test")}
        if name == background or not labels["val"].any():
            continue
        made = threshold_table(
            labels["val"], scores["val"][:, c], labels["test"], scores["test"][:, c], recalls
        )
        tables.append(made.assign(**{"encoder": encoder, "class": name})[list(THRESHOLD_COLUMNS)])
    return pd.concat(tables[1:], ignore_index=True) if len(tables) > 1 else tables[0]
