"""E_shot: shots to 512-d appearance vectors, and the neighbours that it learns from (section 3.1.1)."""

import dataclasses
import functools
import hashlib
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.frame_encoder import EncoderConfig, FrameEncoder


@dataclasses.dataclass(frozen=True)
class ShotEncoderConfig(EncoderConfig):
    """E_shot; the defaults are a ViT-B/16 at 128 px."""

    out_dim: int = 512  # width of a shot feature (section 3.1.2)


class ShotEncoder(FrameEncoder):
    """E_shot (section 3.1.1): the k frames of a shot, stacked like those of a scene, to 512 numbers.

    Its output is both what is contrasted and the feature: `embed` gives it at unit length, because training
    compares dot products of unit vectors; calling the module gives it before normalisation.

    >>> encoder = ShotEncoder(ShotEncoderConfig.preset("test"))
    >>> encoder.embed(torch.zeros(2, 1, 32, 32, 3, dtype=torch.uint8)).shape
    torch.Size([2, 512])
    """

    def embed(self, shots: Tensor) -> Tensor:
        """Features: uint8 [b, k, h, w, c] (or scenes [b, n, k, h, w, c]) to [b, out_dim] of unit length."""
        return F.normalize(self(shots).float(), dim=-1)

    def forward(self, shots: Tensor) -> Tensor:
        """uint8 [b, k, h, w, c] (or scenes [b, n, k, h, w, c]) to [b, out_dim], not normalised."""
        return self.fc(self.token(shots))


class ShotFrames:
    """Keyframes of many films under one numbering, in memory when they fit, else read as needed.

    They are read when first asked for; to another process go the stores, not the pictures.

    Args:
        stores: film_id to a shot store: `n_shots`, `frame_shape`, `keyframes()` uint8 [n_shots, k, h, w, c]
            and, when they do not fit, `scene(start, n)` uint8 [n, k, h, w, c]. A store is asked for by film
            each time and never kept, so the mapping may open and close them.
        resident_bytes: the largest total that is held in memory.
        device: where it is held.
        films: which films, in this order; None: all.
    Raises:
        M2SError: no films, a store without pixels, or films whose frames differ in shape.
    """

    def __init__(
        self,
        stores: Mapping[str, object],
        resident_bytes: int,
        device: torch.device | str = "cpu",
        films: Sequence[str] | None = None,
    ):
        self.films = list(stores if films is None else films)
        self._stores, self._resident_bytes, self._device = stores, resident_bytes, device
        self.n_shots = np.zeros(len(self.films), np.int64)  # [films]
        self.shape = self._measure()  # (k, h, w, c)
        self._start = np.cumsum(self.n_shots) - self.n_shots  # first row of each film

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "pixels"}

    @functools.cached_property
    def pixels(self) -> Tensor | None:
        """uint8 [rows, k, h, w, c], the shots of all films; None when they do not fit. Features: [rows, d]."""
        rows, kind = int(self.n_shots.sum()), torch.float32 if len(self.shape) == 1 else torch.uint8
        if rows * int(np.prod(self.shape)) * kind.itemsize > self._resident_bytes:
            return None
        pixels = torch.empty(rows, *self.shape, dtype=kind)
        for film, start, n in zip(self.films, self._start, self.n_shots, strict=True):
            if n:
                pixels[start : start + n] = torch.from_numpy(np.array(self._stores[film].keyframes()))
        return pixels.to(self._device)

    def _measure(self) -> tuple[int, ...]:
        """Fill in n_shots and return the frame shape that all films share."""
        first, without = None, []
        for i, film in enumerate(self.films):
            store = self._stores[film]
            self.n_shots[i] = store.n_shots
            if not getattr(store, "has_pixels", True):
                without.append(film)
            elif store.n_shots:
                shape = tuple(store.frame_shape)
                first = first or (film, shape)
                if shape != first[1]:
                    raise M2SError(
                        f"film {film} has frames (k, h, w, c) {shape} and film {first[0]} {first[1]}: scan "
                        "all films with the same frame size and frames per shot"
                    )
        if without:
            raise M2SError(
                f"{len(without)} films have features but no pixels, the first is {without[0]}: training "
                "needs keyframes; scan the films themselves"
            )
        if first is None:
            raise M2SError("there are no shots to train on: run 01_shot_encoding first")
        return first[1]

    def digest(self) -> str:
        """Hash of the films, their order and their pixels."""
        parts = [repr((self.films, self.n_shots.tolist(), self.shape))]
        for film in self.films:
            store = self._stores[film]
            known = getattr(store, "metadata", {}).get("pixels_crc32")  # spares reading them
            parts.append(repr(known or zlib.crc32(np.ascontiguousarray(store.keyframes()))))
        return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest()

    def scenes(self, film: np.ndarray, shot: np.ndarray, n: int) -> Tensor:
        """The n shots from `shot` on of each film number: [b], [b] to uint8 [b, n, k, h, w, c]."""
        if self.pixels is None:
            parts = [self._stores[self.films[f]].scene(int(s), n) for f, s in zip(film, shot, strict=True)]
            return torch.from_numpy(np.stack(parts))
        rows = torch.from_numpy((self._start[film] + shot)[:, None] + np.arange(n))  # [b, n]
        flat = self.pixels.index_select(0, rows.flatten().to(self.pixels.device))  # [b n, k, h, w, c]
        return flat.unflatten(0, rows.shape)


class ShotPairs:
    """Shots and their neighbours two further as a pair source for training (section 3.1.1, Eq. 1).

    A query shot x_t has the potential keys x_(t-2) and x_(t+2) of the same film; at a film's ends only the
    one that exists counts, and a shot with neither (a film of one or two shots, the middle of three) is no
    query.

    Args:
        stores: film_id to a shot store, see ShotFrames.
        share: part of all shots that become queries, 0..1 (section 4.1.2: 0.3), drawn with `seed`.
        offsets: where keys stand, in shots from the query; ShotCoL's neighbourhood is range(-8, 9) without 0.
    Attributes:
        queries: [q, 2] film number and shot; films_without: how many films have no possible query.
    """

    def __init__(
        self,
        stores: Mapping[str, object],
        *,
        share: float = 0.3,
        offsets: Sequence[int] = (-2, 2),
        seed: int = 0,
        resident_bytes: int = 4 << 30,
        device: torch.device | str = "cpu",
    ):
        if not 0 < share <= 1:
            raise M2SError(f"share {share} of the shots cannot be queries: it must be above 0 and at most 1")
        self.frames = ShotFrames(stores, resident_bytes, device)
        self.offsets = np.array(offsets, np.int64)
        n = self.frames.n_shots
        film = np.repeat(np.arange(len(n)), n)  # [all shots]
        shot = np.concatenate([np.arange(m) for m in n])
        possible = np.flatnonzero(self._valid(film, shot).any(1))
        self.films_without = len(n) - len(np.unique(film[possible]))
        count = min(len(possible), max(1, round(share * len(film))))
        chosen = np.sort(np.random.default_rng(seed).permutation(possible)[:count])
        if not len(chosen):
            raise M2SError(
                f"none of {len(n)} films has a shot with a neighbour at {list(offsets)}: the longest has "
                f"{n.max()} shots, at least 3 are needed"
            )
        self.queries = np.stack([film[chosen], shot[chosen]], 1)  # [q, 2]

    def _valid(self, film: np.ndarray, shot: np.ndarray) -> np.ndarray:
        """Which keys exist inside the film: [b], [b] to bool [b, P]."""
        key = shot[:, None] + self.offsets
        return (key >= 0) & (key < self.frames.n_shots[film][:, None])

    def digest(self) -> str:
        """Hash of the queries, offsets and pixels: what a continued training has to be about."""
        parts = self.queries.tobytes() + self.offsets.tobytes() + self.frames.digest().encode()
        return hashlib.blake2b(parts, digest_size=16).hexdigest()

    def __len__(self) -> int:
        return len(self.queries)

    def batch(
        self, indices: np.ndarray, generator: np.random.Generator, part: slice | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query uint8 [b, k, h, w, c], keys uint8 [b, P, k, h, w, c], mask bool [b, P], of the rows `part`.

        A key that the mask excludes repeats the query's own frames. `generator` is not used, nothing is
        random here.
        """
        film, shot = self.queries[indices[part or slice(None)]].T  # [b], [b]
        mask = self._valid(film, shot)  # [b, P]
        key = np.where(mask, shot[:, None] + self.offsets, shot[:, None])  # [b, P]
        query = self.frames.scenes(film, shot, 1)[:, 0]
        keys = self.frames.scenes(np.repeat(film, key.shape[1]), key.ravel(), 1)[:, 0]  # [b P, k, h, w, c]
        return query, keys.unflatten(0, key.shape), torch.from_numpy(mask)
