"""Gates of the embedded world: whether it can tell themes apart, measured on development worlds only.

They test the world and never the result: no encoder here is trained on mined pairs.

    g1  themes cannot be read from mean pixels or by an untrained ViT
    g2  they can hardly be read from one shot
    g3  they can be learned with labels from as many scenes as the demo has
    g4  they can be read by whoever sees every action
    g5  metadata knows of them in part, and place, relationship, director and writer go with them in part
    g6  a person names them: `sheets` draws the filmstrips to look at

    python -m benchmarks.gates --worlds 100 101 102 --out runs/gates
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from benchmarks.gates.training import Budget, learned_representations, shot_features
from benchmarks.gates.windows import Windows, correlations, keyframes, metadata_shares
from m2s_lib.errors import M2SError
from m2s_lib.films.stories.plan import StoriesConfig
from m2s_lib.films.stories.story import THEMES
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.records import World
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig

DEVELOPMENT = range(100, 110)  # worlds that may be looked at; reported ones never
HELD_OUT_FILMS = 72
_FILMS_FOR_V = 500  # scenes of one film share its credits, so that V needs many films


def measure_gates(seed: int, budget: Budget, films: int = 96, *, only_plan: bool = False) -> pd.DataFrame:
    """Every number of the gates on one world: columns world, gate, name, value.

    Args:
        seed: of the world. budget: of g2 and g3. films: for training; `HELD_OUT_FILMS` more are held out.
        only_plan: g4 and g5 alone, for which nothing is drawn.

    Raises:
        M2SError: a world that is not for development.
    """
    if seed not in DEVELOPMENT:
        raise M2SError(
            f"world {seed} is not a development world: gates look at {DEVELOPMENT.start} to "
            f"{DEVELOPMENT.stop - 1} only, so that nobody has seen a reported world"
        )
    world = plan_world(StoriesConfig(seed, films, HELD_OUT_FILMS))
    rows = _plan_gates(world)
    if budget.pixels and not only_plan:
        off = plan_world(StoriesConfig(seed, films, HELD_OUT_FILMS, correlations=0.0))
        rows += _pixel_gates(Windows.of(off), keyframes(off), "off")
    if not only_plan:
        rows += _learned_gates(world, budget)
    return pd.DataFrame([(seed, *row) for row in rows], columns=["world", "gate", "name", "value"])


def _plan_gates(world: World) -> list[tuple[str, str, float]]:
    """g4 and g5, from the plan alone."""
    windows = Windows.of(world)
    rows = [("g4", "true shares, P@1", windows.neighbours(np.eye(len(THEMES))[windows.theme]))]
    seen = windows.actions()
    rows.append(("g4", "all actions seen, P@1", windows.neighbours(seen)))
    rows.append(("g4", "their order not seen, P@1", windows.neighbours(seen.sum(1, keepdims=True))))
    rows += [("g5", f"pairs of {name} that share a theme", v) for name, v in metadata_shares(world).items()]
    more = plan_world(StoriesConfig(world.config.seed, _FILMS_FOR_V, 2))
    return rows + [("g5", f"V of {name}", v) for name, v in correlations(more).items()]


def _pixel_gates(windows: Windows, frames: np.ndarray, which: str) -> list[tuple[str, str, float]]:
    """g1; `which` says whether the correlations of the world are on or off."""
    small = frames.reshape(-1, 16, 4, 16, 4, 3).mean((2, 4)).reshape(len(frames), -1) / 255.0  # [shots, 768]
    untrained = SceneEncoder(SceneEncoderConfig.preset("tiny"), seed=0).eval()
    values = {
        "commonest theme": windows.majority(),
        "mean pixels": windows.probe(windows.mean(small)),
        "untrained ViT": windows.probe(embed(untrained.embed, windows, frames)),
        "true place, people, credits": windows.probe(windows.facts()),
    }
    return [("g1", f"correlations {which}: {name}", value) for name, value in values.items()]


def _learned_gates(world: World, budget: Budget) -> list[tuple[str, str, float]]:
    """g1 with the correlations on, g2 and g3."""
    windows, frames = Windows.of(world), keyframes(world)
    rows = _pixel_gates(windows, frames, "on") if budget.pixels else []
    encoder, features = shot_features(windows, frames, budget)
    means = windows.mean(features)
    rows += [
        ("g2", "E_shot, one shot, ridge", windows.probe(features[windows.shots()[:, 4]])),
        ("g2", "E_shot, mean of nine, ridge", windows.probe(means)),
        ("g3", "whitened mean of E_shot, P@1", windows.neighbours(whiten(means, windows.held_out))),
        ("g3", "whitened mean of E_shot, P@1 within twins", windows.twins(whiten(means, windows.held_out))),
    ]
    for name, vectors, accuracy in learned_representations(windows, frames, features, encoder, budget):
        rows.append(("g3", f"{name}, accuracy", accuracy))
        rows.append(("g3", f"{name}, P@1", windows.neighbours(vectors)))
        rows.append(("g3", f"{name}, P@1 within twins", windows.twins(vectors)))
    return rows


@torch.inference_mode()
def embed(encode: Callable, windows: Windows, frames: np.ndarray, batch: int = 64) -> np.ndarray:
    """Windows of keyframes through an encoder: float32 [windows, D].

    Args:
        encode: uint8 [b, n, 1, h, w, c] to [b, D].
    """
    shots = windows.shots()
    parts = [shots[i : i + batch] for i in range(0, len(shots), batch)]
    return np.concatenate([encode(torch.from_numpy(frames[part][:, :, None])).numpy() for part in parts])


def whiten(vectors: np.ndarray, held_out: np.ndarray, keep: int = 64) -> np.ndarray:
    """The first principal components of the films for training at unit variance: [windows, keep]."""
    mean = vectors[~held_out].mean(0)
    _, scale, axes = np.linalg.svd(vectors[~held_out] - mean, full_matrices=False)
    keep = min(keep, int((scale > 1e-6 * scale[0]).sum()))
    return (vectors - mean) @ axes[:keep].T / scale[:keep]
