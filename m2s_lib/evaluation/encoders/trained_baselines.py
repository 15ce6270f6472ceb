"""SimCLR, MoCo and ShotCoL on the same films, by the engine that trains E_scene (Tables 2 and 4).

All three learn from single shots and differ in what counts as the same: two augmented views of one shot
(SimCLR and MoCo), or the most similar shot within eight to either side (ShotCoL).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.baselines import TRAINED_HERE, slug
from m2s_lib.evaluation.encoders.encoders import SceneEncoderPerShot
from m2s_lib.method.moco import info_nce, momentum_update, nt_xent
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotPairs
from m2s_lib.method.weights import save_encoder
from m2s_lib.training.config import ContrastiveConfig
from m2s_lib.training.training import Training

_SAME_SHOT = (0,)
NEIGHBOURS = tuple(o for o in range(-8, 9) if o)  # ShotCoL's neighbourhood: 8 shots before and after
_VIEWS = {"flip": True, "crop": 0.4, "jitter": 0.4}


@dataclass(frozen=True)
class _Recipe:
    """What sets a comparator apart."""

    loop: Callable[[Training], None]
    offsets: Sequence[int]
    views: dict  # augmentation: two views of one shot need it, a neighbour is another view already


def train_comparator(
    name: str,
    stores: Mapping[str, object],
    config: SceneEncoderConfig,
    training: ContrastiveConfig,
    folder: str | os.PathLike,
    *,
    share: float = 1.0,
    device: torch.device | str = "cpu",
    launcher: object | None = None,
) -> tuple[SceneEncoderPerShot, pd.DataFrame]:
    """Train one comparator and write it to `folder`/<name>.safetensors; a killed run goes on where it was.

    Args:
        name: 'SimCLR', 'MoCo' or 'ShotCoL'.
        stores: film_id to a shot store, the films that E_scene may be trained on.
        config: shape of the encoder, E_scene's own for a fair comparison.
        training: steps, batch, rates and seed; augmentation is the comparator's.
        folder: where `comparators(trained_dir=...)` looks for it.
        share: part of the shots that become queries.
        launcher: starts the processes that train together; None trains in this one.

    Returns:
        The encoder, and the training log.
    """
    recipes = {
        "SimCLR": _Recipe(_simclr, _SAME_SHOT, _VIEWS),
        "MoCo": _Recipe(momentum_contrast, _SAME_SHOT, _VIEWS),
        "ShotCoL": _Recipe(momentum_contrast, NEIGHBOURS, {}),
    }
    if name not in recipes:
        raise M2SError(f"comparator {name!r} is unknown: use one of {list(TRAINED_HERE)}")
    recipe, path = recipes[name], Path(folder) / f"{slug(name)}.safetensors"
    pairs = ShotPairs(stores, share=share, offsets=recipe.offsets, seed=training.seed, device=device)
    training = replace(training, **({"flip": False, "crop": 1.0, "jitter": 0.0} | recipe.views))
    model = SceneEncoder(config, seed=training.seed)
    run = Training(
        model, pairs, training, path.with_suffix(".training"), device=device, launcher=launcher, title=name
    )
    recipe.loop(run)
    save_encoder(path, model)
    return SceneEncoderPerShot(model, name), run.log


def momentum_contrast(run: Training) -> None:
    """Momentum contrast, as in the notebook 01."""
    m, tau = run.config.momentum, run.config.temperature
    for query, keys, exists in run.batches():
        momentum_update(run.f, run.g, m)
        q = F.normalize(run.f(query), dim=-1)  # [b, d]
        with torch.no_grad():
            k = F.normalize(run.g(keys.flatten(0, 1)), dim=-1).unflatten(0, exists.shape)  # [b, P, d]
        loss, accuracy, chosen = info_nce(q, k, run.queue.negatives(), tau, exists)
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        k_0 = k[torch.arange(len(k), device=k.device), chosen]  # [b, d]
        run.queue.enqueue(k_0)
        run.note(loss, accuracy, q, k_0)


def _simclr(run: Training) -> None:
    """SimCLR: both views by one encoder with gradients, the rest of the batch as negatives; the first
    existing key is the pair."""
    tau = run.config.temperature
    for query, keys, exists in run.batches():
        key = keys[torch.arange(len(keys), device=keys.device), exists.int().argmax(dim=1)]
        q, k = F.normalize(run.f(torch.cat([query, key])), dim=-1).chunk(2)  # [b, d] each
        loss, accuracy, _ = nt_xent(run.ranks.gather(q), run.ranks.gather(k), tau)
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        run.queue.enqueue(k.detach())
        run.note(loss, accuracy, q, k)
