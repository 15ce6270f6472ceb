"""E_scene over shot tokens: a small transformer over the frozen features of a scene's shots. Not in the paper.

The paper's E_scene reads pixels and belongs to millions of scene pairs; this one reads what E_shot, or a
pretrained encoder, has made of each shot. It sees their order, and trains on a CPU in minutes.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from m2s_lib.errors import M2SError


@dataclasses.dataclass(frozen=True)
class ShotTokensConfig:
    """Shape of the encoder."""

    features: int  # d, width of the shot features
    components: int = 128  # principal components of them that become tokens
    width: int = 128  # D
    depth: int = 2  # blocks
    heads: int = 4  # attention heads
    out_dim: int = 128  # width of the contrast output, as E_scene's


class ShotTokenEncoder(nn.Module):
    """Shots as tokens, in their order, to one vector.

    The features are whitened first: their principal components at unit variance, found once by `fit` and kept
    with the weights, so the encoder reads features as they are on disk.

    >>> encoder = ShotTokenEncoder(ShotTokensConfig(features=16, components=8))
    >>> encoder.embed(torch.zeros(2, 9, 16)).shape
    torch.Size([2, 128])
    """

    def __init__(self, config: ShotTokensConfig, seed: int = 0):
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("axes", torch.eye(config.features, config.components))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.project = nn.Linear(config.components, width)
            self.class_token = nn.Parameter(0.02 * torch.randn(width))
            # no dropout: a training that is resumed has to draw nothing
            layer = nn.TransformerEncoderLayer(
                width, config.heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.blocks = nn.TransformerEncoder(layer, config.depth, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(width)
            self.fc = nn.Linear(width, config.out_dim)

    @property
    def out_dim(self) -> int:
        return self.config.out_dim

    @classmethod
    def of(cls, features: Mapping[str, np.ndarray], seed: int = 0) -> Self:
        """An encoder for films' features, whitened on them; without any film it is one that reads nothing."""
        width = next((x.shape[1] for x in features.values()), 1)
        encoder = cls(ShotTokensConfig(width, components=min(width, ShotTokensConfig.components)), seed)
        return encoder.fit(features.values()) if len(features) else encoder

    @torch.no_grad()
    def fit(self, films: Iterable[np.ndarray]) -> Self:
        """Find the whitening of features [n, d], film after film; returns the encoder."""
        count, total, products = 0, 0.0, 0.0
        for x in films:
            x = torch.from_numpy(np.array(x, np.float64))
            count, total, products = count + len(x), total + x.sum(0), products + x.T @ x
        mean = total / count
        variance, axes = torch.linalg.eigh(products / count - mean[:, None] * mean)  # ascending
        variance, axes = variance.flip(0), axes.flip(1)
        kept = min(self.config.components, int((variance > 1e-9 * variance[0]).sum()))
        self.mean.copy_(mean)
        self.axes.zero_()
        self.axes[:, :kept] = axes[:, :kept] / variance[:kept].sqrt()
        return self

    @torch.no_grad()
    def untrained(self, seed: int = 0, components: int = 0) -> Self:
        """A new encoder with this one's whitening, or its first `components`; 0: all."""
        kept = min(components or self.config.components, self.config.components)
        encoder = type(self)(dataclasses.replace(self.config, components=kept), seed)
        encoder.mean.copy_(self.mean)
        encoder.axes.copy_(self.axes[:, :kept])
        return encoder

    def embed(self, shots: Tensor) -> Tensor:
        """The scene representation: features float32 [b, n, d] of any n to [b, D], not normalised."""
        if shots.ndim != 3 or shots.shape[-1] != self.config.features:
            raise M2SError(
                f"shot features must be [b, n, {self.config.features}], as this encoder was trained on, not "
                f"{list(shots.shape)}"
            )
        x = self.project((shots - self.mean) @ self.axes)  # [b, n, D]
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1)  # [b, 1 + n, D]
        x = x + positions(x.shape[1], x.shape[2]).to(x)
        return self.norm(self.blocks(x)[:, 0])

    def forward(self, shots: Tensor) -> Tensor:
        """The contrast output: [b, n, d] to [b, out_dim], not normalised."""
        return self.fc(self.embed(shots))


def positions(n: int, width: int) -> Tensor:
    """Sines and cosines of the places 0 .. n - 1 (Vaswani et al., 2017): float32 [n, width]."""
    rates = torch.exp(-torch.arange(0, width, 2) * (np.log(10_000.0) / width))  # [width / 2]
    angles = torch.arange(n)[:, None] * rates  # [n, width / 2]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


@dataclasses.dataclass(frozen=True)
class FilmFeatures:
    """One film's shot features where a shot store's keyframes are asked for: its "frames" have the shape (d,).

    Attributes: features: float32 [n_shots, d].
    """

    features: np.ndarray
    has_pixels = True  # whether there is something for an encoder to read

    @property
    def n_shots(self) -> int:
        return len(self.features)

    @property
    def frame_shape(self) -> tuple[int]:
        return self.features.shape[1:]

    def keyframes(self) -> np.ndarray:
        """All shots, [n_shots, d]."""
        return self.features

    def scene(self, start: int, n: int) -> np.ndarray:
        """Shots start .. start + n - 1, [n, d]."""
        return self.features[start : start + n]


class FeatureFilms(Mapping):
    """film_id -> `FilmFeatures`, from shot features by film: what `ScenePairs` and `embed_scenes` read as stores."""

    def __init__(self, features: Mapping[str, np.ndarray]):
        self._features = features

    def __getitem__(self, film_id: str) -> FilmFeatures:
        return FilmFeatures(self._features[film_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)
