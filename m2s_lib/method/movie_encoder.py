"""E_movie and the pair model of movie similarity learning (§3.1.2, Fig. 2): B and V without building A.

Average pooling is linear, so B = pool(A) = pool(Y1) pool(Y2)^T, and the last layer of E_movie is linear too,
so pool(FC2(h)) = FC2(pool(h)) as long as its bias counts only real shots. What is left per film is one FC
over its shots and a few pooled rows; the [u, v] matrix A is never allocated.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_pooling import DroppedSums, Pooling, pool_shots, valid_shots, window_means
from m2s_lib.tensor_files import read_tensors, save_tensors

FEATURE_WIDTH = 512  # d of E_shot's output (§3.1.1)


def check_features(film_id: str, x: np.ndarray, width: int = FEATURE_WIDTH) -> np.ndarray:
    """Returns one film's shot features as float32 [n_shots, width], or raise M2SError with film and shot."""
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] != width:
        raise M2SError(f"film {film_id!r}: features of shape {list(x.shape)}, expected [shots, {width}]")
    if x.dtype.kind != "f":
        raise M2SError(f"film {film_id!r}: features of type {x.dtype}, expected floats; encode it again")
    x = np.ascontiguousarray(x, dtype=np.float32)
    finite = np.isfinite(x)
    if not finite.all():
        shot = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise M2SError(f"film {film_id!r}, shot {shot}: the feature is not finite; encode this film again")
    return x


class ShotDropout(nn.Module):
    """Dropout of single values, drawn for each shot before any pooling.

    On the CPU the mask comes from random bytes, so p is rounded to 1/256 (0.5 is exact): torch's own
    kernel can cost as much as the FC layer. Draws from torch's global generator; seed it around the call.
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0 <= p < 1:
            raise M2SError(f"dropout is {p}: it must be at least 0 and below 1")
        self.p = p

    def forward(self, h: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return h
        if h.is_cuda:
            return F.dropout(h, self.p)
        keep, scale = self.draw(h.shape)
        return h * keep.to(h.dtype).mul_(scale)

    def draw(self, shape: torch.Size) -> tuple[Tensor, float]:
        """Which values stay (bool of `shape`, on the CPU) and what those are multiplied by."""
        drop = min(round(self.p * 256), 255)  # of 256 byte values
        words = torch.empty((shape.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        keep = words.view(torch.uint8)[: shape.numel()] >= drop
        return keep.view(shape), 256 / (256 - drop)


class MovieEncoder(nn.Module):
    """E_movie: FC 512 - ReLU - dropout 0.5 - FC 512 on frozen shot features (§3.1.2, §4.1.2).

    The paper names two FC layers with dropout between them; the ReLU is our reading, since two FC layers in a
    row would be one linear map.

    Args:
        width: d of the shot features.
        hidden: width of both layers' outputs.
        dropout: share of hidden values dropped while training.
    """

    def __init__(self, width: int = FEATURE_WIDTH, hidden: int = 512, dropout: float = 0.5):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dropout = ShotDropout(dropout)
        self.fc2 = nn.Linear(hidden, hidden)

    def scene_features(self, x: Tensor) -> Tensor:
        """Features before the last FC, [..., d] -> [..., hidden], no dropout; mining compares these."""
        return F.relu_(self.fc1(x))

    def forward(self, x: Tensor) -> Tensor:
        """Shot features [..., d] -> E_movie's output [..., hidden]."""
        return self.fc2(self.dropout(self.scene_features(x)))


class MoviePairModel(nn.Module):
    """E_movie and L_output: are two films similar? (§3.1.2, Fig. 2)

    L_output gives two logits (dissimilar, similar), so that the paper's cross-entropy is torch's.

    Args:
        pooling: lengths of Fig. 2.
        width, hidden, dropout: as in MovieEncoder.
    """

    def __init__(
        self,
        pooling: Pooling | None = None,
        width: int = FEATURE_WIDTH,
        hidden: int = 512,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.pooling = pooling or Pooling()
        self.encoder = MovieEncoder(width, hidden, dropout)
        self.output = nn.Linear(self.pooling.n_values, 2)

    def pooled(self, x: Tensor, lengths: Tensor) -> Tensor:
        """E_movie's output averaged over each window that V reads; padding is zero after E_movie, not before.

        Args:
            x: shot features [b, u, d], any u; rows from `lengths` on are ignored. The matrix products of
                bfloat16 features are bfloat16 too, the weights stay as they are.
            lengths: shots of each film [b], int.

        Returns:
            [b, rows, hidden]: one film's half of B. Fixed per film in eval mode, so it can be kept.
        """
        read = self.pooling.shots_read
        if x.shape[1] != read:
            x = F.pad(x[:, :read], (0, 0, 0, read - min(read, x.shape[1])))  # [b, read, d]
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.dtype == torch.bfloat16):
            h, valid = self._hidden_means(x, lengths)
            share = pool_shots(
                valid[..., None], valid, self.pooling
            )  # [b, rows, 1] real shots in each window
            return F.linear(h, self.encoder.fc2.weight) + share * self.encoder.fc2.bias  # [b, rows, hidden]

    def _hidden_means(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """FC1's output averaged over each window [b, rows, hidden], and which shots are real [b, u]."""
        encoder, dropout = self.encoder, self.encoder.dropout
        if x.is_cuda or not (dropout.training and dropout.p):
            h = dropout(encoder.scene_features(x))
            valid = valid_shots(lengths, x.shape[1], h.dtype)
            return pool_shots(h, valid, self.pooling), valid
        z = encoder.fc1(x)
        valid = valid_shots(lengths, x.shape[1], z.dtype)
        keep, scale = dropout.draw(z.shape)
        sums = DroppedSums.apply(z, keep, scale, valid, self.pooling)
        return window_means(sums, self.pooling), valid

    def compare(self, p1: Tensor, p2: Tensor) -> Tensor:
        """Logits [b, 2] from two films' pooled rows [b, rows, hidden]: B, max pool, L_output."""
        b = p1 @ p2.mT  # [b, rows, rows]
        v = F.max_pool2d(b[:, None], self.pooling.max_kernel, self.pooling.max_stride)  # [b, 1, side, side]
        return self.output(v.flatten(1))

    def forward(self, x1: Tensor, len1: Tensor, x2: Tensor, len2: Tensor) -> Tensor:
        """Logits (dissimilar, similar) of film pairs.

        Args:
            x1, x2: shot features [b, u, d] and [b, v, d], zero-padded at the end.
            len1, len2: real shots of each film [b].

        Returns:
            [b, 2].
        """
        return self.compare(self.pooled(x1, len1), self.pooled(x2, len2))


@torch.no_grad()
def fold_into_first_layer(
    encoder: MovieEncoder, mean: np.ndarray, scale: float, whitening: np.ndarray | None = None
) -> None:
    """Changes FC1 so that it gives for x what it gave for (x - mean) * scale, times `whitening` if given.

    Args:
        encoder: changed in place.
        mean: [d] float64. whitening: [d, d] float64, or None for none.
        scale: a number.
    """
    fc1 = encoder.fc1
    weight = fc1.weight.double() * scale
    if whitening is not None:
        weight = weight @ torch.from_numpy(whitening).to(weight.device).T
    fc1.bias.copy_(fc1.bias.double() - weight @ torch.from_numpy(mean).to(weight.device))
    fc1.weight.copy_(weight)


def save_movie_encoder(path: str | Path, model: MoviePairModel, config: dict | None = None) -> None:
    """Writes E_movie and L_output as safetensors; their shape, `config` and a checksum go to its metadata."""
    first = model.encoder.fc1
    shape = {"width": first.in_features, "hidden": first.out_features, "dropout": model.encoder.dropout.p}
    about = {"shape": {"pooling": asdict(model.pooling), **shape}, "config": config or {}}
    save_tensors(path, model.state_dict(), "movie_encoder", about)


def load_movie_encoder(path: str | Path, device: str | torch.device = "cpu") -> MoviePairModel:
    """Reads what `save_movie_encoder` wrote, in eval mode; `.encoder` is E_movie.

    Raises M2SError when the file is missing, damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise M2SError(f"{path} is missing: run 02_movie_similarity first")
    try:
        tensors, about = read_tensors(path)
        shape = dict(about["movie_encoder"]["shape"])
        model = MoviePairModel(Pooling(**shape.pop("pooling")), **shape)
        model.load_state_dict(tensors)
    except (M2SError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise M2SError(f"{path} is not a movie encoder ({error}): run 02_movie_similarity again") from error
    return model.to(device).eval()
