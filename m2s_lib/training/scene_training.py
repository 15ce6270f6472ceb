"""E_scene for a run: trained on the mined scene pairs, resumed where a killed run stopped (section 3.2.2)."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from m2s_lib.io import read_parquet, write_parquet
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig, ScenePairs
from m2s_lib.method.weights import load_backbone, save_encoder
from m2s_lib.training.distributed import Ranks
from m2s_lib.training.launchers import Launcher, train_with
from m2s_lib.training.training import ContrastiveConfig, train_contrastive

LOG_COLUMNS = ["step", "epoch", "loss", "accuracy", "lr", "pairs_per_s"]
PAIR_COLUMNS = ["film_a", "film_b", "shot_a", "shot_b", "n_shots"]


def scene_encoder_for(
    scene_pairs: pd.DataFrame,
    stores: Mapping[str, object],
    config: SceneEncoderConfig,
    training: ContrastiveConfig,
    *,
    weights: str,
    folder: str | os.PathLike,
    device: torch.device | str,
    train: Launcher | None = None,
) -> tuple[SceneEncoder | None, pd.DataFrame]:
    """E_scene and its training log; the encoder is written to `folder`/scene_encoder.safetensors.

    Args:
        scene_pairs: of stage 03. stores: film_id -> shot store; empty when the films have no pixels.
        weights: a checkpoint to start from, '' to start at random.
        folder: where the encoder and, while training, its checkpoint lie; a killed training goes on from
            there.
        train: starts the processes that train together; None trains in this one.

    Returns:
        (None, empty log) without stores or pairs: there is nothing to train on.
    """
    if not stores or scene_pairs.empty:
        empty = {c: pd.Series(dtype=float) for c in [*LOG_COLUMNS, "alignment", "uniformity"]}
        return None, pd.DataFrame(empty)
    path = Path(folder) / "scene_encoder.safetensors"
    weights = os.path.abspath(weights) if weights else ""
    job = {"stores": stores, "config": config, "training": training, "weights": weights}
    if train is None:
        return train_with(None, train_scene_encoder, {"scene_pairs": scene_pairs, **job}, path, device)
    written = path.absolute().with_suffix(".pairs.parquet")
    write_parquet(scene_pairs[PAIR_COLUMNS], written)
    try:
        return train_with(train, train_scene_encoder, {"scene_pairs": written, **job}, path, device)
    finally:
        written.unlink(missing_ok=True)


def train_scene_encoder(
    scene_pairs: pd.DataFrame | Path,
    stores: Mapping[str, object],
    config: SceneEncoderConfig,
    training: ContrastiveConfig,
    weights: str,
    path: Path,
    device: torch.device | str,
) -> tuple[SceneEncoder, pd.DataFrame]:
    """Train E_scene, in as many processes as call this, and write it to `path`; pairs as a table or its
    parquet file."""
    table = read_parquet(scene_pairs) if isinstance(scene_pairs, Path) else scene_pairs
    encoder = SceneEncoder(config, seed=training.seed).to(device)
    if weights:
        load_backbone(encoder, weights)
    pairs = ScenePairs(table, stores, device=device)
    checkpoint = path.with_suffix(".training")
    log = train_contrastive(encoder, pairs, training, checkpoint=checkpoint, device=device, what="E_scene")
    if Ranks.here().rank == 0:
        save_encoder(path, encoder)
    return encoder, log
