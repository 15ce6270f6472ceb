"""Training in several processes (section 3.2.2): on the GPUs of one machine, or with Ray Train on many.

A launcher has `run(function, job)`: it calls `function(**job)` in every process, with `device` the process's
own, after torch.distributed is set up. Nothing comes back but files, which the first process writes.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import StorePaths
from m2s_lib.method.weights import load_encoder
from m2s_lib.training.checkpoint import finished_log
from m2s_lib.training.local_launcher import LocalLauncher
from m2s_lib.training.ray_launcher import RayLauncher


class Launcher(Protocol):
    """Starts the processes of a training and waits for them."""

    def run(self, function: Callable, job: dict) -> None:
        """Call `function(**job)`, importable by name, in every process; `job` can be pickled and names
        `device` ('cpu' or 'cuda') and `path`, the encoder's file."""


def launcher(engine: str, address: str = "", workers: int = 1, device: str = "auto") -> Launcher | None:
    """Who starts the training's processes; None: it runs here, in this one.

    Args:
        engine: 'local' or 'ray'.
        address: of the Ray cluster; '' is one that is known already, or a new one on this machine.
        workers: processes; 0 is one for each GPU of the machine or cluster, 1 trains here.
        device: as `pick_device` takes it; with Ray, 'auto' are GPUs where the cluster has enough.
    """
    if engine not in ("local", "ray"):
        raise M2SError(f"engine {engine!r} is unknown: use 'local' or 'ray'")
    if workers < 0:
        raise M2SError(f"train_workers is {workers}: it must be at least 1, or 0 for one for each GPU")
    if engine == "ray" and workers != 1:
        return RayLauncher(workers, address, None if device == "auto" else device.startswith("cuda"))
    count = workers or (torch.cuda.device_count() if device != "cpu" else 0)
    return LocalLauncher(count) if count > 1 else None


def train_with(
    train: Launcher | None, function: Callable, job: dict, path: str | os.PathLike, device: torch.device | str
) -> tuple[torch.nn.Module, pd.DataFrame]:
    """Encoder and log of `function(**job, path=path, device=device)`, which trains and writes the encoder.

    Args:
        train: None calls it here; a launcher calls it in its processes and the result is read from the files.
        job: its other arguments; `stores` go to other processes as paths.
    """
    if train is None:
        return function(**job, path=path, device=device)
    path, device = Path(path).absolute(), torch.device(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    train.run(function, {**job, "stores": _as_paths(job["stores"]), "path": path, "device": str(device)})
    return load_encoder(path, device), finished_log(path.with_suffix(".training"))


def _as_paths(stores: Mapping[str, object]) -> Mapping[str, object]:
    """The same films, opened lazily in the process that they are sent to."""
    if all(hasattr(store, "path") for store in stores.values()):
        return StorePaths({film: Path(store.path).absolute() for film, store in stores.items()})
    return stores
