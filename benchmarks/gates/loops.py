"""The training loops of the notebooks 02 and 04, executed as they stand there."""

import json
import linecache
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from m2s_lib.method.moco import info_nce, momentum_update
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.method.movie_similarity import MovieTrainConfig
from m2s_lib.training.movie_training import movie_trainings
from m2s_lib.training.training import Training

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def train_movie(
    features, film_pairs: pd.DataFrame, config: MovieTrainConfig, folder: Path
) -> tuple[MovieEncoder, float]:
    """E_movie by the loop of 02, read back from `folder` where it is done; and its held-out AUC.

    Args:
        features: film_id -> float32 [shots, d]. film_pairs: columns film_a, film_b.
    """
    loop = cell("02_movie_similarity", "in movie_trainings(")
    names = {
        "movie_trainings": movie_trainings, "features": features, "pairs": {"": film_pairs}, "config": config,
        "movie_seeds": [config.seed], "folder": folder, "torch_device": "cpu", "torch": torch, "F": F,
        "movie_lr": config.lr, "movie_momentum": config.momentum, "movie_clip": config.clip,
        "max_kernel": config.pooling.max_kernel, "max_stride": config.pooling.max_stride, "trained": {},
    }  # fmt: skip
    execute(loop[loop.index("for training in movie_trainings(") :], names)
    (trained,) = names["trained"].values()
    return trained.model.encoder, trained.held_out["auc"]


def train_scene(run: Training, negatives: str, own_pair: bool) -> pd.DataFrame:
    """The loop of 04; E_scene is trained in place. Returns its log.

    Args:
        negatives, own_pair: as in `KeyQueue.negatives_of`.
    """
    names = {
        "run": run, "torch": torch, "normalize": F.normalize, "momentum_update": momentum_update,
        "info_nce": info_nce, "scene_momentum": run.config.momentum,
        "scene_temperature": run.config.temperature, "scene_negatives": negatives, "scene_own_pair": own_pair,
    }  # fmt: skip
    execute(cell("04_moco_training", "run.batches()"), names)
    return run.log


def cell(notebook: str, holds: str) -> str:
    """The one code cell of a notebook that holds a text."""
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (source,) = (source for source in sources if holds in source)
    return source


def execute(source: str, names: dict[str, object]) -> None:
    """Run a cell as a kernel does: `Training.batches` reads the text of the loop that calls it."""
    file = f"<loop {hash(source)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), names)
