"""One interface for everything that turns scenes into vectors: ours, the baselines, colour and chance.

The evaluation stages know only `Encoder` (name, dim, embed) and `embed_scenes`, which applies one to a table
of scenes. What an encoder is made of, and where other people's weights come from, is in `baselines`.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2s_lib.errors import M2SError
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotEncoder
from m2s_lib.method.shot_tokens import FeatureFilms, ShotTokenEncoder
from m2s_lib.method.weights import load_encoder
from m2s_lib.progress import Progress

COLOUR_BINS = 64  # 4 x 4 x 4 of red, green and blue
_PIXEL_SIDE = 8  # raw pixels are averaged to 8 x 8 before they are compared
_HISTOGRAM_BYTES = 64 << 20  # of pixel codes held at once


class Encoder:
    """A frozen encoder of scenes.

    Attributes:
        name: as it appears in tables and figures.
        dim: d, width of what `embed` gives.
        reads_features: whether `embed` takes shot features [b, n, d] and no pixels.
    """

    name: str
    dim: int
    reads_features = False

    def embed(self, scenes: Tensor) -> Tensor:
        """Scenes uint8 [b, n, k, h, w, c], RGB, on this encoder's device, to float32 [b, d]."""
        raise NotImplementedError

    def to(self, device: torch.device | str) -> Self:
        """Move the weights, where there are any; returns the encoder."""
        for value in vars(self).values():
            if isinstance(value, nn.Module):
                value.to(device)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, dim={self.dim})"


class JoinedEncoder(Encoder):
    """Several encoders' features of a scene, one after the other (Table 1, row 13)."""

    def __init__(self, parts: Sequence[Encoder], name: str):
        self.parts, self.name, self.dim = list(parts), name, sum(p.dim for p in parts)

    def embed(self, scenes: Tensor) -> Tensor:
        return torch.cat([p.embed(scenes) for p in self.parts], dim=1)

    def to(self, device: torch.device | str) -> Self:
        for part in self.parts:
            part.to(device)
        return self


class ShotwiseEncoder(Encoder):
    """An encoder that looks at one shot at a time and joins what it saw.

    `embed_scenes` gives it each shot once, however many scenes share it: windows at stride 1 share nine in
    ten.
    """

    def embed_shots(self, shots: Tensor) -> Tensor:
        """Shots uint8 [b, k, h, w, c] to float32 [b, e], whatever `join` takes."""
        raise NotImplementedError

    def join(self, shots: Tensor) -> Tensor:
        """What the shots of scenes gave, [b, n, e], to the scenes' [b, d]; the mean unless said otherwise."""
        return shots.mean(1)

    def embed(self, scenes: Tensor) -> Tensor:
        shots = self.embed_shots(scenes.flatten(0, 1))  # [b n, e]
        return self.join(shots.unflatten(0, scenes.shape[:2]))


class ColourEncoder(ShotwiseEncoder):
    """Square-root colour histogram of a scene, of unit length: what colour alone can do."""

    name, dim = "colour", COLOUR_BINS

    def embed_shots(self, shots: Tensor) -> Tensor:
        return _histograms(shots)

    def join(self, shots: Tensor) -> Tensor:
        return shots.mean(1).sqrt()


class PixelEncoder(ShotwiseEncoder):
    """The mean picture of a scene at 8 x 8 pixels, in 0..1: what raw pixels can do."""

    name, dim = "pixels", 3 * _PIXEL_SIDE**2

    def embed_shots(self, shots: Tensor) -> Tensor:
        frames = shots.flatten(0, 1).movedim(-1, 1).float() / 255  # [b k, c, h, w]
        small = F.adaptive_avg_pool2d(frames, _PIXEL_SIDE).flatten(1)  # [b k, c 8 8]
        return small.unflatten(0, shots.shape[:2]).mean(1)  # [b, c 8 8]


class OurSceneEncoder(Encoder):
    """E_scene (section 3.2.1): the class token before the last fully connected layer.

    Args:
        model: a SceneEncoder, a ShotTokenEncoder, or the path of a scene_encoder.safetensors.
        name: as it appears in tables, for instance "ours (co-watch)".
    """

    def __init__(self, model: SceneEncoder | ShotTokenEncoder | str | os.PathLike, name: str = "ours"):
        self.name, self.model = name, _scene_encoder(model)
        self.dim = self.model.config.width
        self.reads_features = isinstance(self.model, ShotTokenEncoder)

    def stores(self, stores: Mapping[str, object], features: Mapping[str, np.ndarray]) -> Mapping:
        """What `embed_scenes` needs of films: their shot stores, or their shot features."""
        return FeatureFilms(features) if self.reads_features else stores

    def untrained(self, seed: int = 0) -> "OurSceneEncoder":
        """The same before any training, with the same whitening of features: "random init"."""
        if not self.reads_features:
            return RandomInit(self.model.config, seed)
        return OurSceneEncoder(self.model.untrained(seed), RandomInit.name)

    def embed(self, scenes: Tensor) -> Tensor:
        return _forward(self.model, scenes)


class RandomInit(OurSceneEncoder):
    """E_scene before any training: what its architecture alone can do."""

    name = "random init"

    def __init__(self, config: SceneEncoderConfig | None = None, seed: int = 0):
        super().__init__(SceneEncoder(config or SceneEncoderConfig(), seed).eval(), self.name)


class SceneEncoderPerShot(ShotwiseEncoder):
    """A scene encoder that was trained on single shots; a scene is the mean of its shots.

    This is how the baselines that learn from shots (SimCLR, MoCo, ShotCoL) see a scene.
    """

    def __init__(self, model: SceneEncoder | str | os.PathLike, name: str):
        self.name, self.model = name, _scene_encoder(model)
        self.dim = self.model.config.width

    def embed_shots(self, shots: Tensor) -> Tensor:
        return _forward(self.model, shots)


class ShotMeanEncoder(ShotwiseEncoder):
    """The mean of the shots' E_shot features: what a scene is before mining (section 3.1.2).

    Args:
        model: a ShotEncoder, or the path of a shot_encoder.safetensors.
    """

    def __init__(self, model: ShotEncoder | str | os.PathLike, name: str = "E_shot mean"):
        self.model = load_encoder(model) if isinstance(model, str | os.PathLike) else model.eval()
        if not isinstance(self.model, ShotEncoder):
            raise M2SError(f"{model} holds a {type(self.model).__name__}, expected a shot encoder (stage 01)")
        self.name, self.dim = name, self.model.out_dim

    def embed_shots(self, shots: Tensor) -> Tensor:
        return _forward(self.model, shots)


def _forward(model: nn.Module, frames: Tensor) -> Tensor:
    """`model.embed`, computed in bf16 on CUDA and in the weights' type elsewhere, as float32."""
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=frames.device.type == "cuda"):
        return model.embed(frames).float()


def _scene_encoder(model) -> SceneEncoder | ShotTokenEncoder:
    loaded = load_encoder(model) if isinstance(model, str | os.PathLike) else model.eval()
    if not isinstance(loaded, SceneEncoder | ShotTokenEncoder):
        raise M2SError(f"{model} holds a {type(loaded).__name__}, expected a scene encoder (stage 04)")
    return loaded


def colour_features(store_or_keyframes) -> np.ndarray:
    """Square-root colour histograms of a film's shots, of unit length: float32 [n_shots, 64].

    Red, green and blue are cut into four equal parts each; all k keyframes of a shot count alike.

    Args:
        store_or_keyframes: a shot store, or uint8 [n_shots, k, h, w, c].
    """
    keyframes = store_or_keyframes
    if not isinstance(keyframes, np.ndarray):
        keyframes = keyframes.keyframes()
    n, *shape = keyframes.shape
    step = max(1, _HISTOGRAM_BYTES // max(8 * int(np.prod(shape)) // 3, 1))
    parts = [torch.from_numpy(np.array(keyframes[i : i + step])) for i in range(0, n, step)]
    return np.concatenate(
        [np.empty((0, COLOUR_BINS), np.float32), *(_histograms(shots).sqrt().numpy() for shots in parts)]
    )


def _histograms(shots: Tensor) -> Tensor:
    """Shares of the 64 colour bins: uint8 [b, k, h, w, c] to float32 [b, 64], rows that sum to 1."""
    if shots.dtype != torch.uint8 or shots.ndim != 5 or shots.shape[-1] != 3:
        raise M2SError(f"shots must be uint8 [b, k, h, w, 3], not {shots.dtype} {list(shots.shape)}")
    r, g, b = (shots >> 6).flatten(1, 3).unbind(-1)  # each [b, pixels], 0..3
    codes = ((r << 4) + (g << 2) + b).long()  # [b, pixels], 0..63
    rows = torch.arange(len(codes), device=codes.device)[:, None] * COLOUR_BINS
    counts = torch.bincount((codes + rows).flatten(), minlength=len(codes) * COLOUR_BINS)
    return counts.view(-1, COLOUR_BINS).float() / max(codes.shape[1], 1)


def embed_scenes(
    encoder: Encoder,
    stores: Mapping[str, object],
    scenes: pd.DataFrame,
    batch: int = 32,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Embed a table of scenes, each shot once where the encoder looks at shots one by one.

    Args:
        encoder: moved to `device`.
        stores: film_id to a shot store (`n_shots`, `frame_shape`, `scene(start, n)`).
        scenes: columns film_id, shot (first of the scene) and n_shots; lengths may differ.
        batch: scenes a forward pass (nine times as many shots).

    Returns:
        float32 [N, d], in the order of the table.

    Raises:
        M2SError: a film without a store or pixels, a scene outside its film, or an embedding that is not
            finite, each with film and shot.
    """
    _check_scenes(stores, scenes)
    encoder.to(device)
    out = np.empty((len(scenes), encoder.dim), np.float32)
    embed = _embed_by_shot if isinstance(encoder, ShotwiseEncoder) else _embed_whole
    with torch.inference_mode():
        embed(encoder, stores, scenes.reset_index(drop=True), batch, torch.device(device), out)
    bad = ~np.isfinite(out).all(1)
    if bad.any():
        row = scenes.iloc[int(bad.argmax())]
        raise M2SError(
            f"{encoder.name}: {int(bad.sum())} of {len(out)} embeddings are not finite, the first is film "
            f"{row['film_id']}, shot {row['shot']}: check the weights"
        )
    return out


def shot_embeddings(
    encoder: Encoder,
    stores: Mapping[str, object],
    films: list[str] | None = None,
    batch: int = 256,
    device: torch.device | str = "cpu",
) -> dict[str, np.ndarray]:
    """Every shot by itself, as a scene of one shot (section 4.3b): film_id to float32 [n_shots, d]."""
    films = list(stores if films is None else films)
    if unknown := [f for f in films if f not in stores]:
        raise M2SError(f"{len(unknown)} films have no shot store, the first is {unknown[0]}: run stage 01")
    each = [(film, shot, 1) for film in films for shot in range(stores[film].n_shots)]
    table = pd.DataFrame(each, columns=["film_id", "shot", "n_shots"])
    values = embed_scenes(encoder, stores, table, batch, device)
    ends = np.cumsum([stores[film].n_shots for film in films], dtype=np.int64)
    return dict(zip(films, np.split(values, ends[:-1]), strict=True)) if films else {}


def _check_scenes(stores: Mapping[str, object], scenes: pd.DataFrame) -> None:
    if missing := [c for c in ("film_id", "shot", "n_shots") if c not in scenes.columns]:
        raise M2SError(f"the table of scenes lacks the columns {missing}: it has {list(scenes.columns)}")
    first, n = scenes["shot"].to_numpy(), scenes["n_shots"].to_numpy()
    for film, rows in scenes.groupby("film_id", sort=False).indices.items():
        if film not in stores:
            raise M2SError(f"film {film} has no shot store: run stage 01 for it, or leave its scenes out")
        if not getattr(stores[film], "has_pixels", True):
            raise M2SError(f"film {film} has features but no pixels: an encoder needs its keyframes")
        count = stores[film].n_shots
        bad = (first[rows] < 0) | (n[rows] < 1) | (first[rows] + n[rows] > count)
        if bad.any():
            row = rows[bad][0]
            raise M2SError(
                f"film {film}: a scene of {n[row]} shots from shot {first[row]} does not fit its {count} "
                "shots"
            )


def _embed_whole(encoder, stores, scenes, batch, device, out) -> None:
    """Scenes of one length and frame shape together, film after film, so that each store is read once."""
    bar = Progress(f"embedding, {encoder.name}", len(scenes), "scenes")
    film, first = scenes["film_id"].to_numpy(object), scenes["shot"].to_numpy()
    film_code, films = pd.factorize(film)
    shape_code = pd.factorize(np.array([str(tuple(stores[f].frame_shape)) for f in films], object))[0]
    keys = [scenes["n_shots"].to_numpy(), shape_code[film_code]]
    for (n, _), rows in scenes.groupby(keys, sort=False).indices.items():
        rows = rows[np.lexsort((first[rows], pd.factorize(film_code[rows])[0]))]
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            pixels = np.stack([stores[film[r]].scene(int(first[r]), int(n)) for r in part])
            out[part] = encoder.embed(torch.from_numpy(pixels).to(device)).float().cpu().numpy()
            bar.step(len(part))


def _embed_by_shot(encoder, stores, scenes, batch, device, out) -> None:
    """Film by film: its needed shots once, then the scenes from what they gave."""
    bar = Progress(f"embedding, {encoder.name}", len(scenes), "scenes")
    first, n = scenes["shot"].to_numpy(np.int64), scenes["n_shots"].to_numpy(np.int64)
    for film, rows in scenes.groupby("film_id", sort=False).indices.items():
        store = stores[film]
        needed = np.unique(np.concatenate([np.arange(first[r], first[r] + n[r]) for r in rows]))
        parts = []
        for start in range(0, len(needed), 9 * batch):
            pixels = np.concatenate([store.scene(int(s), 1) for s in needed[start : start + 9 * batch]])
            parts.append(encoder.embed_shots(torch.from_numpy(pixels).to(device)))
        shots = torch.cat(parts)  # [needed, e]
        place = np.searchsorted(needed, first)  # a scene's shots are neighbours in `needed` too
        for length in np.unique(n[rows]):
            same = rows[n[rows] == length]
            for start in range(0, len(same), 1024):
                part = same[start : start + 1024]
                at = torch.from_numpy(place[part][:, None] + np.arange(length)).to(device)  # [b, n]
                out[part] = encoder.join(shots[at]).float().cpu().numpy()
        bar.step(len(rows))
