"""All encoders on LVU: rows of Table 2 and supplementary Table 2, with floor, control and what is missing."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from m2s_lib.evaluation.encoders.compared import by_item
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.lvu.evaluate import BENCHMARK, evaluate_lvu, place_retrieval
from m2s_lib.evaluation.lvu.files import LvuTask, constant_baseline
from m2s_lib.evaluation.probes.state_space import CONFIGS, train_sequences
from m2s_lib.evaluation.results import Evaluation, empty_results, joined, result_row, result_table
from m2s_lib.evaluation.scene_vectors import missing_rows
from m2s_lib.progress import Progress

BASELINE = "largest class or mean"
RETRIEVAL = "place retrieval"
_KS = (1, 5, 10)


def compare_lvu(
    tasks: Mapping[str, LvuTask],
    found: Mapping[str, Vectors | Missing],
    items: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    permuted: str = "",
    search_grid: Sequence[Mapping] = (),
    device: torch.device | str = "cpu",
    **changes,
) -> Evaluation:
    """Every encoder on every task, on frozen features.

    Args:
        tasks: of `read_lvu`.
        found: encoder to the vectors of its scenes, or why there are none, see `scene_vectors`.
        items: the video that each row of the vectors belongs to; a video may have several scenes.
        seeds, search_grid, device, changes: as in `evaluate_lvu`.
        permuted: encoder that is measured with permuted labels too: the control, which has to give chance.

    Returns:
        The rows of `evaluate_lvu` below one another, those of `BASELINE` (what the largest class of training,
        or its mean, scores) first; an encoder that is missing has rows that are not measured.
    """
    parts = [empty_results(_baseline_rows(tasks))]
    ready = {n: by_item(v, items) for n, v in found.items() if isinstance(v, Vectors)}
    bar = Progress("probes on LVU", len(ready), "encoders")
    for name, one in found.items():
        if isinstance(one, Missing):
            parts.append(empty_results(_missing(tasks, one)))
            continue
        how = {"seeds": seeds, "search_grid": search_grid, "device": device}
        parts.append(evaluate_lvu(tasks, ready[name], name, **how, **changes))
        if name == permuted:
            parts.append(evaluate_lvu(tasks, ready[name], name, permuted=True, **how, **changes))
        bar.step(1)
    return joined(parts)


def end_to_end_lvu(
    tasks: Mapping[str, LvuTask],
    frames: Mapping[str, np.ndarray],
    *,
    length: int,
    seeds: Sequence[int] = (0,),
    device: torch.device | str = "cpu",
    name: str = "ViS4mer-style",
    **changes,
) -> Evaluation:
    """The state-space head on sequences of frame features (`state_space`), trained for each task.

    Args:
        frames: video to float32 [its frames, d]. length: frames a sequence is cut or padded to.
    """
    how = {"seeds": seeds, "device": device, "trainer": train_sequences, "configs": CONFIGS, "frames": length}
    return evaluate_lvu(tasks, frames, name, **how, **changes)


def compare_place_retrieval(
    task: LvuTask,
    found: Mapping[str, Vectors | Missing],
    items: Sequence[str],
    *,
    other_films_only: bool = False,
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """`place_retrieval` for every encoder: the rows, and encoder to its neighbours."""
    tables, neighbours = [], {}
    for name, one in found.items():
        if isinstance(one, Missing):
            what = f"{RETRIEVAL}{' in other films' if other_films_only else ''}: all queries"
            about = {"benchmark": BENCHMARK, "task": what, "split": "val"}
            metrics = [f"P@{k}" for k in _KS]
            tables.append(missing_rows(one, **about, metrics=metrics, n_listed=len(task.split("val"))))
            continue
        rows, neighbours[name] = place_retrieval(
            task, by_item(one, items), name, ks=_KS, other_films_only=other_films_only
        )
        tables.append(rows)
    return pd.concat(tables, ignore_index=True), neighbours


def lvu_summary(results: pd.DataFrame) -> pd.DataFrame:
    """Test results as one row an encoder and one column a task, means over seeds: top-1 or MSE."""
    test = results[(results["split"] == "test") & results["metric"].isin(["top-1", "MSE"])]
    wide = test.pivot_table(index="encoder", columns="task", values="value", aggfunc="mean", sort=False)
    return wide.reindex(pd.unique(test["encoder"]))


def _metric(task: LvuTask) -> str:
    return "MSE" if task.kind.regression else "top-1"


def _baseline_rows(tasks: Mapping[str, LvuTask]) -> pd.DataFrame:
    rows = []
    for task in tasks.values():
        for split in ("val", "test"):
            listed = len(task.split(split))
            measured = constant_baseline(task, split)
            rows.append(result_row(BENCHMARK, task.name, split, BASELINE, _metric(task), measured,
                                   n_found=listed, n_listed=listed))  # fmt: skip
    return result_table(rows)


def _missing(tasks: Mapping[str, LvuTask], one: Missing) -> pd.DataFrame:
    return pd.concat(
        [
            missing_rows(one, benchmark=BENCHMARK, task=t.name, split="test", metrics=[_metric(t)],
                         n_listed=len(t.split("test")))
            for t in tasks.values()
        ],
        ignore_index=True,
    )  # fmt: skip
