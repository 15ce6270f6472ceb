"""E_shot for a run: trained, or started from given weights and kept (section 3.1.1; Table 1, row 14)."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig, ShotPairs
from m2s_lib.method.weights import load_backbone, save_encoder
from m2s_lib.training.distributed import Ranks
from m2s_lib.training.launchers import Launcher, train_with
from m2s_lib.training.training import ContrastiveConfig, train_contrastive


def shot_encoder_for(
    stores: Mapping[str, object],
    config: ShotEncoderConfig,
    training: ContrastiveConfig,
    *,
    share: float,
    weights: str,
    folder: str | os.PathLike,
    device: torch.device | str,
    train: Launcher | None = None,
) -> tuple[ShotEncoder | None, pd.DataFrame]:
    """E_shot and its training log; the encoder is written to `folder`/shot_encoder.safetensors.

    Args:
        stores: films to train on, film_id -> shot store.
        share: part of the shots that become queries.
        weights: a checkpoint that is loaded and kept as it is, '' to train.
        folder: where the encoder and, while training, its checkpoint lie; a killed training goes on from
            there.
        train: starts the processes that train together; None trains in this one.

    Returns:
        (None, empty log) when the films have no pixels: their features came ready.
    """
    if stores and not any(store.has_pixels for store in stores.values()):
        return None, pd.DataFrame()
    path = Path(folder) / "shot_encoder.safetensors"
    if not weights:
        job = {"stores": stores, "config": config, "training": training, "share": share}
        return train_with(train, train_shot_encoder, job, path, device)
    encoder = ShotEncoder(config, seed=training.seed).to(device)
    load_backbone(encoder, weights)
    save_encoder(path, encoder)
    return encoder, pd.DataFrame()


def train_shot_encoder(
    stores: Mapping[str, object],
    config: ShotEncoderConfig,
    training: ContrastiveConfig,
    share: float,
    path: Path,
    device: torch.device | str,
) -> tuple[ShotEncoder, pd.DataFrame]:
    """Train E_shot, in as many processes as call this, and write it to `path`."""
    encoder = ShotEncoder(config, seed=training.seed).to(device)
    pairs = ShotPairs(stores, share=share, seed=training.seed, device=device)
    checkpoint = path.with_suffix(".training")
    log = train_contrastive(encoder, pairs, training, checkpoint=checkpoint, device=device, what="E_shot")
    if Ranks.here().rank == 0:
        save_encoder(path, encoder)
    return encoder, log
