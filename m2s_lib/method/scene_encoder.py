"""E_scene: scenes of any number of shots and frames to one vector, and the pairs it learns from."""

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.frame_encoder import EncoderConfig, FrameEncoder
from m2s_lib.method.shot_encoder import ShotFrames


@dataclasses.dataclass(frozen=True)
class SceneEncoderConfig(EncoderConfig):
    """E_scene; the defaults are the paper's ViT-B/16 at 128 px."""

    out_dim: int = 128  # width of the contrast output (supp. 1.1c)


class SceneEncoder(FrameEncoder):
    """E_scene (section 3.2.1): one transformer over the patches of all frames of a scene.

    `embed` is the representation, the class token before the last fully connected layer; calling the module
    gives that layer's output, which exists for contrast only (section 3.2.2).

    >>> encoder = SceneEncoder(SceneEncoderConfig.preset("test"))
    >>> encoder.embed(torch.zeros(2, 9, 1, 32, 32, 3, dtype=torch.uint8)).shape
    torch.Size([2, 32])
    """

    def embed(self, scenes: Tensor) -> Tensor:
        """The scene representation: uint8 [b, n, k, h, w, c] to [b, D], not normalised."""
        return self.token(scenes)

    def forward(self, scenes: Tensor) -> Tensor:
        """The contrast output: uint8 [b, n, k, h, w, c] to [b, out_dim], not normalised."""
        return self.fc(self.token(scenes))


class ScenePairs:
    """Mined scene pairs as a pair source for training: query and key scene of one pair (section 3.2).

    Which of the two films gives the query is drawn anew for each batch, and with `shift` also how far it
    moves each of the two windows, within its film.

    Args:
        table: columns film_a, film_b, shot_a, shot_b, n_shots (first shots of the two windows); one n_shots
            for all.
        stores: film_id to a store with `n_shots`, `keyframes()` and, for films that do not fit, `scene(start,
            n)`; or `shot_tokens.FeatureFilms`, whose features then stand for pixels: [b, n, d].
        shift: the most shots by which a window moves; 0 leaves it where it was mined.
        resident_bytes: keyframes up to this size in all are held in memory, larger sets are read as needed.
        device: where resident keyframes live.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        stores: Mapping[str, object],
        *,
        shift: int = 0,
        resident_bytes: int = 4 << 30,
        device: torch.device | str = "cpu",
    ):
        lengths = sorted(set(table["n_shots"].tolist()))
        if len(lengths) != 1:
            raise M2SError(
                f"scene pairs need one length and at least one row; n_shots has {lengths or 'no rows'}"
            )
        self.n_shots, self.shift = int(lengths[0]), shift
        used = pd.unique(pd.concat([table["film_a"], table["film_b"]]))
        if unknown := [film for film in used if film not in stores]:
            raise M2SError(
                f"{len(unknown)} films of the scene pairs have no shot store, the first is {unknown[0]}: "
                "run 01_shot_encoding for them, or mine again"
            )
        self.frames = ShotFrames(stores, resident_bytes, device, films=used)
        number = {film: i for i, film in enumerate(self.frames.films)}
        self._films = table[["film_a", "film_b"]].map(number.__getitem__).to_numpy(np.int64)  # [pairs, 2]
        self._shots = table[["shot_a", "shot_b"]].to_numpy(np.int64)  # [pairs, 2]
        pair = np.sort(self._films, axis=1) @ [len(number), 1]
        self._film_pair = np.unique(pair, return_inverse=True)[1].reshape(-1)  # [pairs], numbers from 0
        last = self._shots + self.n_shots
        bad = np.argwhere((self._shots < 0) | (last > self.frames.n_shots[self._films]))
        if len(bad):
            row, side = bad[0]
            film = self._films[row, side]
            raise M2SError(
                f"scene pair {row}: shots {self._shots[row, side]} to {last[row, side] - 1} are outside film "
                f"{self.frames.films[film]}, which has {self.frames.n_shots[film]} shots: mine again from "
                "its features"
            )

    def digest(self) -> str:
        """Hash of the pairs, their length and the pixels: what a continued training has to be about."""
        parts = (
            self._films.tobytes()
            + self._shots.tobytes()
            + f"{self.n_shots} {self.shift} {self.frames.digest()}".encode()
        )
        return hashlib.blake2b(parts, digest_size=16).hexdigest()

    def __len__(self) -> int:
        return len(self._films)

    def batch(
        self, indices: np.ndarray, generator: np.random.Generator, part: slice | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query and key uint8 [b, n, k, h, w, c], and their film pair int64 [b], of the rows `part`."""
        rows = part or slice(None)
        side = generator.integers(0, 2, len(indices))  # [b], 0 when film_a gives the query
        moves = np.zeros((len(indices), 2), np.int64)
        if self.shift:
            moves = generator.integers(-self.shift, self.shift + 1, (len(indices), 2))
        indices, side, moves = indices[rows], side[rows], moves[rows]
        query, key = (
            self._scenes(indices, s, move) for s, move in ((side, moves[:, 0]), (1 - side, moves[:, 1]))
        )
        return query, key, torch.from_numpy(self._film_pair[indices])

    def _scenes(self, indices: np.ndarray, side: np.ndarray, move: np.ndarray) -> Tensor:
        """One side's windows of these pairs, moved within their films: uint8 [b, n, k, h, w, c]."""
        film = self._films[indices, side]
        last = self.frames.n_shots[film] - self.n_shots
        shot = np.clip(self._shots[indices, side] + move, 0, last)
        return self.frames.scenes(film, shot, self.n_shots)
