"""E_scene for a run: trained on the mined scene pairs, resumed where a killed run stopped (section 3.2.2)."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch

from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig, ScenePairs
from m2s_lib.method.training import ContrastiveConfig, train_contrastive
from m2s_lib.method.weights import load_backbone, save_encoder

LOG_COLUMNS = ["step", "epoch", "loss", "accuracy", "lr", "pairs_per_s"]


def scene_encoder_for(
    scene_pairs: pd.DataFrame,
    stores: Mapping[str, object],
    config: SceneEncoderConfig,
    training: ContrastiveConfig,
    *,
    weights: str,
    folder: str | os.PathLike,
    device: torch.device | str,
) -> tuple[SceneEncoder | None, pd.DataFrame]:
    """E_scene and its training log; the encoder is written to `folder`/scene_encoder.safetensors.

    Args:
        scene_pairs: of stage 03. stores: film_id -> shot store; empty when the films have no pixels.
        weights: a checkpoint to start from, '' to start at random.
        folder: where the encoder and, while training, its checkpoint lie; a killed training goes on from
            there.

    Returns:
        (None, empty log) without stores or pairs: there is nothing to train on.
    """
    if not stores or scene_pairs.empty:
        empty = {c: pd.Series(dtype=float) for c in [*LOG_COLUMNS, "alignment", "uniformity"]}
        return None, pd.DataFrame(empty)
    encoder = SceneEncoder(config, seed=training.seed).to(device)
    if weights:
        load_backbone(encoder, weights)
    checkpoint = Path(folder) / "scene_encoder.training"
    pairs = ScenePairs(scene_pairs, stores, device=device)
    log = train_contrastive(encoder, pairs, training, checkpoint=checkpoint, device=device, what="E_scene")
    save_encoder(Path(folder) / "scene_encoder.safetensors", encoder)
    return encoder, log
