"""Hyper-parameters chosen by the validation set, and a record of every probe that was trained (supp. 1.2)."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from m2s_lib.evaluation.probes.probes import ProbeConfig

SEARCH_GRID = tuple({"lr": lr, "dropout": p} for lr in (0.01, 0.1, 0.5) for p in (0.1, 0.5))


def search_configs(
    config: ProbeConfig, seeds: Sequence[int], grid: Sequence[Mapping] = (), changes: Mapping | None = None
) -> list[ProbeConfig]:
    """The configs to train: each setting of the grid with every seed, settings outermost.

    Args:
        config: what is not changed.
        seeds: one probe each.
        grid: changes to choose among, such as `SEARCH_GRID`; empty: no search.
        changes: of every config; the grid has the last word.
    """
    settings = [dataclasses.replace(config, **{**(changes or {}), **g}) for g in grid or ({},)]
    return [dataclasses.replace(c, seed=seed) for c in settings for seed in seeds]


def best_setting(probes: Sequence, n_seeds: int) -> list:
    """Of probes in the order of `search_configs`, those of the setting with the best mean validation score.

    Equal scores are decided by the lower mean loss, then by the earlier setting; [] without probes. The seeds
    share the choice, so no seed is better for having been lucky in the search.
    """
    settings = [list(probes[i : i + n_seeds]) for i in range(0, len(probes), n_seeds)]

    def score(setting: list) -> tuple[float, float]:
        return np.mean([p.outcome.val_score for p in setting]), -np.mean(
            [p.outcome.val_loss for p in setting]
        )

    return max(settings, key=score, default=[])


def probe_rows(task: str, encoder: str, probes: Sequence, chosen: Sequence) -> list[dict]:
    """One row a probe: task, encoder, its hyper-parameters, best_epoch, val_score, val_loss, diverged_at,
    chosen."""
    results = ("best_epoch", "val_score", "val_loss", "diverged_at")
    return [
        {"task": task, "encoder": encoder}
        | dataclasses.asdict(probe.config)
        | {name: getattr(probe.outcome, name) for name in results}
        | {"chosen": any(probe is c for c in chosen)}
        for probe in probes
    ]
