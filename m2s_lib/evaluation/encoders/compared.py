"""The encoders that 05, 06 and 07 compare: ours, what it learned from, and the baselines of the paper."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from m2s_lib.evaluation.encoders.baselines import TRAINED_HERE
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.encoders import (
    Encoder,
    JoinedEncoder,
    OurSceneEncoder,
    ShotMeanEncoder,
    ShotwiseEncoder,
)
from m2s_lib.evaluation.encoders.trained_baselines import train_comparator
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.scene_vectors import Sources
from m2s_lib.method.scene_encoder import SceneEncoderConfig
from m2s_lib.training.config import ContrastiveConfig

SHOT_MEAN = "E_shot mean"
_WRITTEN = {"cowatch": "co-watch"}


class TokensOfKeyframes(ShotwiseEncoder):
    """E_scene over shot tokens where films are keyframes: E_shot makes the features, the tokens join them."""

    def __init__(self, tokens: OurSceneEncoder, shots: ShotMeanEncoder):
        self.name, self.dim, self._tokens, self._shots = tokens.name, tokens.dim, tokens.model, shots.model

    def embed_shots(self, shots: Tensor) -> Tensor:
        return self._shots.embed(shots).float()

    def join(self, shots: Tensor) -> Tensor:
        return self._tokens.embed(shots).float()


def our_name(source: str) -> str:
    """E_scene's name in the tables, by the metadata its pairs came from: "ours (co-watch)"."""
    return f"ours ({_WRITTEN.get(source, source)})"


def compared_encoders(
    *,
    compared: Sequence[str],
    source: str,
    scene_encoder: str | os.PathLike | None,
    shot_encoder: str | os.PathLike | None,
    beside: str | os.PathLike = "",
    trained_dir: str | os.PathLike = "",
    weights_dir: str | os.PathLike = "",
    features_dir: str | os.PathLike = "",
    hub: bool = False,
    device: torch.device | str = "cpu",
    shape: SceneEncoderConfig | None = None,
) -> tuple[list[str | Encoder], Sources]:
    """What `scene_vectors` and `shot_vectors` take.

    Args:
        compared: names of baselines, see `baselines.NAMES` and `baselines.ELSEWHERE`.
        source: kind of metadata behind E_scene's pairs (cowatch, genre, synopsis, random).
        scene_encoder, shot_encoder: files of E_scene and E_shot; None where nothing was trained.
        beside: a second E_scene whose features are put beside the first's (Table 1, row 13), '' for none.
        trained_dir: folder of the baselines trained here.
        weights_dir, features_dir, hub: as in `Sources`.
        shape: of "random init" where no E_scene was trained.

    Returns:
        E_scene as "ours (...)", "E_shot mean", then the names, as far as there are; and where to find them.
        "random init" has E_scene's shape, `shape` where nothing was trained.
    """
    shots = None if shot_encoder is None else ShotMeanEncoder(shot_encoder, SHOT_MEAN)
    encoders, others = [], list(compared)
    if scene_encoder is not None:
        ours = OurSceneEncoder(scene_encoder, our_name(source))
        both = [
            _of_keyframes(one, shots) for one in (ours, *([OurSceneEncoder(beside)] if str(beside) else []))
        ]
        joined = len(both) > 1 and not any(isinstance(one, Missing) for one in both)
        encoders = [JoinedEncoder(both, f"{our_name(source)}, joined") if joined else both[0]]
        if ours.reads_features:
            before = _of_keyframes(ours.untrained(), shots)
            others = [before if name == before.name else name for name in compared]
        else:
            shape = ours.model.config
    if shots is not None:
        encoders.append(shots)
    sources = Sources(
        weights_dir, features_dir, trained_dir, shape or SceneEncoderConfig(), online=hub, device=device
    )
    return [*encoders, *others], sources


def _of_keyframes(one: OurSceneEncoder, shots: ShotMeanEncoder | None) -> Encoder | Missing:
    """An encoder as benchmarks use it, which give keyframes: one of features needs E_shot before it."""
    if not one.reads_features:
        return one
    if shots is None:
        why = "it reads features of a pretrained encoder, which sees larger frames than the benchmarks keep"
        return Missing(one.name, why)
    return TokensOfKeyframes(one, shots)


def shown_encoder(encoders: Sequence[str | Encoder]) -> str:
    """Whose predictions the figures show: ours, else the first that there is."""
    names = [one if isinstance(one, str) else one.name for one in encoders]
    return next((n for n in names if n.startswith("ours")), names[0] if names else "")


def train_compared(
    compared: Sequence[str],
    stores: Mapping[str, object],
    config: SceneEncoderConfig,
    training: ContrastiveConfig,
    folder: str | os.PathLike,
    *,
    share: float = 1.0,
    device: torch.device | str = "cpu",
    launcher: object | None = None,
) -> pd.DataFrame:
    """Train those of `compared` that are trained here (SimCLR, MoCo, ShotCoL), as `train_comparator` does.

    Returns:
        Their training logs below one another, with a column `encoder`; no row when nothing is to train.
    """
    logs = []
    for name in [n for n in compared if n in TRAINED_HERE] if len(stores) else []:
        where = {"share": share, "device": device, "launcher": launcher}
        _, log = train_comparator(name, stores, config, training, folder, **where)
        logs.append(log.assign(encoder=name))
    return pd.concat(logs, ignore_index=True) if logs else pd.DataFrame(columns=["encoder", "epoch", "loss"])


def by_item(vectors: Vectors, items: Sequence[str]) -> dict[str, np.ndarray]:
    """Vectors by item, those without one left out: item -> float32 [its scenes, d]."""
    values, items = vectors.values, np.asarray(items, dtype=object)
    good = np.isfinite(values).all(1)
    rows = pd.Series(np.flatnonzero(good)).groupby(items[good], sort=False).agg(list)
    return {str(item): values[index] for item, index in rows.items()}
