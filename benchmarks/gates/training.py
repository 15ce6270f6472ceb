"""Encoders that the gates train: E_shot as in notebook 01, scene encoders with the true themes as labels."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gates.windows import LENGTH, Windows
from m2s_lib.evaluation.encoders.trained_baselines import momentum_contrast
from m2s_lib.films.stories.story import THEMES
from m2s_lib.method.augmentation import augment
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig, ShotPairs
from m2s_lib.method.shot_features import encode_shots
from m2s_lib.training.config import ContrastiveConfig
from m2s_lib.training.training import Training


@dataclass(frozen=True)
class Budget:
    """What each training with labels may cost; fixed before anything is measured."""

    steps: int = 600
    batch: int = 32  # scenes
    lr: float = 1e-3
    patch: int = 8  # px, of E_shot and E_scene
    pixels: bool = True  # E_scene from pixels too; without, tokens only


class _Film:
    """Keyframes in memory as a shot store."""

    has_pixels = True

    def __init__(self, frames: np.ndarray):
        self._frames, self.n_shots, self.frame_shape = frames[:, None], len(frames), frames[:1].shape

    def keyframes(self) -> np.ndarray:
        return self._frames  # [n, 1, h, w, c]


def shot_features(windows: Windows, frames: np.ndarray, budget: Budget) -> tuple[ShotEncoder, np.ndarray]:
    """E_shot, trained on the films for training as in notebook 01, and its features: float32 [shots, D]."""
    config = ShotEncoderConfig.preset("tiny", patch=budget.patch)
    training = ContrastiveConfig(
        epochs=6, batch=128, lr=1e-3, warmup_epochs=0.5, momentum=0.99,
        queue=2048, queue_filled_only=True, precision="bf16",
    )  # fmt: skip
    films, at = {}, 0
    for film in windows.world.films:
        if film.split == "train":
            films[film.film_id] = _Film(frames[at : at + len(film.shots)])
        at += len(film.shots)
    encoder = ShotEncoder(config, seed=0)
    momentum_contrast(Training(encoder, ShotPairs(films, share=1.0, seed=0), training, title="E_shot"))
    return encoder, encode_shots(encoder, _Film(frames))


class ShotTokens(nn.Module):
    """A small transformer over the shot features of a scene.

    Args:
        width: of the shot features.
    """

    def __init__(self, width: int, inner: int = 128, depth: int = 2):
        super().__init__()
        self.project = nn.Linear(width, inner)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH + 1, inner))
        layer = nn.TransformerEncoderLayer(inner, 4, 2 * inner, 0.2, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)

    def forward(self, shots: Tensor) -> Tensor:
        """float32 [b, n, width] to [b, inner]."""
        x = F.pad(self.project(shots), (0, 0, 1, 0)) + self.position  # [b, 1 + n, inner]
        return self.blocks(x)[:, 0]


def learned_representations(
    windows: Windows, frames: np.ndarray, features: np.ndarray, encoder: ShotEncoder, budget: Budget
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Scene encoders trained with labels: name, vectors [windows, D], accuracy on held-out windows."""
    torch.manual_seed(0)
    scaled = torch.from_numpy((features - features.mean(0)) / features.std(0))
    tokens = ShotTokens(features.shape[1])
    yield "shot tokens", *_with_labels(tokens, 128, scaled, windows, budget)
    if not budget.pixels:
        return
    pixels = torch.from_numpy(frames[:, None])  # [shots, 1, h, w, c]
    config = SceneEncoderConfig.preset("tiny", patch=budget.patch)
    for name, start in (("E_scene from pixels", None), ("E_scene from E_shot", encoder)):
        scene = SceneEncoder(config, seed=0)
        if start is not None:
            scene.backbone.load_state_dict(start.backbone.state_dict())
        yield name, *_with_labels(scene.embed, config.width, pixels, windows, budget, scene)


def _with_labels(
    encode, width: int, shots: Tensor, windows: Windows, budget: Budget, module: nn.Module | None = None
) -> tuple[np.ndarray, float]:
    """Train an encoder and a linear layer on pure windows of the films for training; vectors and accuracy."""
    module, head = module or encode, nn.Linear(width, len(THEMES))
    parameters = [*module.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, budget.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, budget.lr, total_steps=budget.steps, pct_start=0.1
    )
    rng, start = np.random.default_rng(0), time.perf_counter()
    module.train()
    for _ in range(budget.steps):
        scenes, themes = _batch(shots, windows, rng, budget.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=shots.dtype == torch.uint8):
            loss = F.cross_entropy(head(encode(scenes)).float(), themes, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    module.eval()
    print(f"{budget.steps} steps in {time.perf_counter() - start:.0f} s, loss {loss.item():.2f}", flush=True)
    with torch.inference_mode():
        numbers = torch.from_numpy(windows.shots())
        vectors = torch.cat([encode(shots[part]).float() for part in numbers.split(64)])
        right = head(vectors).argmax(1).numpy() == windows.theme
    return vectors.numpy(), float(right[windows.held_out].mean())


def _batch(shots: Tensor, windows: Windows, rng: np.random.Generator, size: int) -> tuple[Tensor, Tensor]:
    """Scenes of the films for training, a random pure window of each; pictures mirrored and recoloured."""
    train = np.flatnonzero(~windows.held_out)
    rows = rng.choice(train, size)
    lengths = [
        len(windows.world.films[f].scenes[s].shots)
        for f, s in zip(windows.film[rows], windows.scene[rows], strict=True)
    ]
    same = (windows.film[rows] == windows.film[rows - 1]) & (windows.scene[rows] == windows.scene[rows - 1])
    begin = np.where(same & (rows > 0), windows.first[rows - 1], windows.first[rows])
    first = begin + rng.integers(0, np.array(lengths) - LENGTH + 1)
    scenes = shots[torch.from_numpy(first[:, None] + np.arange(LENGTH))]
    if scenes.dtype == torch.uint8:
        scenes = augment(scenes, rng, flip=True, crop=0.8, jitter=0.3)
    return scenes, torch.from_numpy(windows.theme[rows])
