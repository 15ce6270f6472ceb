"""The training loops of the notebooks 01 and 04, executed as they stand there."""

import pandas as pd
import torch
from torch.nn.functional import normalize

from benchmarks.gates import loops
from m2s_lib.method.moco import info_nce, momentum_update
from m2s_lib.method.shot_encoder import ShotPairs
from m2s_lib.training.training import Training

NOTEBOOKS = {"shot": "01_shot_encoding", "scene": "04_moco_training"}


def loop_of(kind: str) -> str:
    """The cell with the loop of 'shot' (01) or 'scene' (04)."""
    return loops.cell(NOTEBOOKS[kind], "run.batches()")


def execute(loop: str, run: Training, kind: str, **names: object) -> None:
    """Run a cell with a loop, as a kernel does; `names` replace what the notebook has."""
    m, tau = run.config.momentum, run.config.temperature
    known = {
        "run": run, "torch": torch, "normalize": normalize,
        "momentum_update": momentum_update, "info_nce": info_nce,
        f"{kind}_momentum": m, f"{kind}_temperature": tau,
        "scene_negatives": "queue", "scene_own_pair": True,
    }  # fmt: skip
    loops.execute(loop, known | names)


def train(encoder, pairs, config, checkpoint=None, *, options=(), **names) -> pd.DataFrame:
    """Train with the loop of 01 (shot pairs) or 04 (scene pairs); the log."""
    run = Training(encoder, pairs, config, checkpoint, **dict(options))
    kind = "shot" if isinstance(getattr(pairs, "pairs", pairs), ShotPairs) else "scene"
    execute(loop_of(kind), run, kind, **names)
    return run.log


class Stop(Exception):
    """What ends a training in a test."""


def stops_at(run: Training, step: int):
    """A `momentum_update` that ends the training as it begins a step."""

    def update(*arguments):
        if run.step == step:
            raise Stop
        momentum_update(*arguments)

    return update
