"""SimCLR, MoCo and ShotCoL on the same films, by the engine that trains E_scene (Tables 2 and 4).

All three learn from single shots and differ in what counts as the same: two augmented views of one shot
(SimCLR and MoCo), or the most similar shot within eight to either side (ShotCoL).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.baselines import TRAINED_HERE, slug
from m2s_lib.evaluation.encoders.encoders import SceneEncoderPerShot
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotPairs
from m2s_lib.method.weights import save_encoder
from m2s_lib.training.distributed import Ranks
from m2s_lib.training.launchers import Launcher, train_with
from m2s_lib.training.training import ContrastiveConfig, train_contrastive

_SAME_SHOT = (0,)
_NEIGHBOURS = tuple(o for o in range(-8, 9) if o)  # ShotCoL's neighbourhood: 8 shots before and after


@dataclass(frozen=True)
class _Recipe:
    """What sets a comparator apart."""

    method: str
    offsets: Sequence[int]
    views: dict  # augmentation: two views of one shot need it, a neighbour is another view already


_VIEWS = {"flip": True, "crop": 0.4, "jitter": 0.4}
_RECIPES = {
    "SimCLR": _Recipe("simclr", _SAME_SHOT, _VIEWS),
    "MoCo": _Recipe("moco", _SAME_SHOT, _VIEWS),
    "ShotCoL": _Recipe("moco", _NEIGHBOURS, {}),
}


def train_comparator(
    name: str,
    stores: Mapping[str, object],
    config: SceneEncoderConfig,
    training: ContrastiveConfig,
    folder: str | os.PathLike,
    *,
    share: float = 1.0,
    device: torch.device | str = "cpu",
    train: Launcher | None = None,
) -> tuple[SceneEncoderPerShot, pd.DataFrame]:
    """Train one comparator and write it to `folder`/<name>.safetensors; a killed run goes on where it was.

    Args:
        name: 'SimCLR', 'MoCo' or 'ShotCoL'.
        stores: film_id to a shot store, the films that E_scene may be trained on.
        config: shape of the encoder, E_scene's own for a fair comparison.
        training: steps, batch, rates and seed; method and augmentation are the comparator's.
        folder: where `comparators(trained_dir=...)` looks for it.
        share: part of the shots that become queries.
        train: starts the processes that train together; None trains in this one.

    Returns:
        The encoder, and the training log.
    """
    if name not in _RECIPES:
        raise M2SError(f"comparator {name!r} is unknown: use one of {list(TRAINED_HERE)}")
    path = Path(folder) / f"{slug(name)}.safetensors"
    job = {"name": name, "stores": stores, "config": config, "training": training, "share": share}
    model, log = train_with(train, train_single_shots, job, path, device)
    return SceneEncoderPerShot(model, name), log


def train_single_shots(
    name: str,
    stores: Mapping[str, object],
    config: SceneEncoderConfig,
    training: ContrastiveConfig,
    share: float,
    path: Path,
    device: torch.device | str,
) -> tuple[SceneEncoder, pd.DataFrame]:
    """Train one comparator, in as many processes as call this, and write it to `path`."""
    recipe = _RECIPES[name]
    pairs = ShotPairs(stores, share=share, offsets=recipe.offsets, seed=training.seed, device=device)
    augmentation = {"flip": False, "crop": 1.0, "jitter": 0.0} | recipe.views
    training = replace(training, method=recipe.method, **augmentation)
    model = SceneEncoder(config, seed=training.seed)
    checkpoint = path.with_suffix(".training")
    log = train_contrastive(model, pairs, training, checkpoint=checkpoint, device=device, what=name)
    if Ranks.here().rank == 0:
        save_encoder(path, model)
    return model, log
