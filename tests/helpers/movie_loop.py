"""E_movie trained by the loop of notebook 02: the tests run the cell that a reader sees."""

from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

from benchmarks.gates.loops import cell
from m2s_lib.method.movie_similarity import MovieTrainConfig
from m2s_lib.training.movie_training import MovieTraining, movie_trainings


def training_loop() -> str:
    """The notebook's loop: one statement, from `for training in` to the end of its cell."""
    source = cell("02_movie_similarity", "in movie_trainings(")
    return source[source.index("for training in movie_trainings(") :]


def run_loop(config: MovieTrainConfig, loop: str | None = None, **names) -> dict:
    """Runs the loop; `names` are those of the notebook that it reads. Returns source and seed -> result."""
    names = {
        "movie_trainings": movie_trainings, "features": None, "pairs": None, "config": config,
        "movie_seeds": [], "stage": SimpleNamespace(path=Path), "torch_device": "cpu", "torch": torch, "F": F,
        "movie_lr": config.lr, "movie_momentum": config.momentum, "movie_clip": config.clip,
        "max_kernel": config.pooling.max_kernel, "max_stride": config.pooling.max_stride, "trained": {},
        **names,
    }  # fmt: skip
    names["folder"] = names["stage"].path("movie_encoders")
    exec(compile(loop or training_loop(), "notebook 02", "exec"), names)
    return names["trained"]


def train(features, pairs, config, device="cpu"):
    """One E_movie, trained by the notebook's loop."""
    training = MovieTraining(features, pairs, config, device)
    (trained,) = run_loop(config, movie_trainings=lambda *_: [training]).values()
    return trained
