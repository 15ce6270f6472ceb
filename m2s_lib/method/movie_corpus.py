"""The films that movie similarity learning trains on: their shot features on the device, and pairs of them.

A film pair is one number, low index * films + high index, so that sets of pairs are sorted arrays.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_encoder import check_features


class MovieCorpus:
    """Shot features of many films as one tensor [all shots + 1, d]; its last row is zero, for padding.

    Args:
        features: film_id -> [n_shots, d]; kept in the order of the sorted ids.
        limit: keep only the first `limit` shots of each film; None keeps all.
        standardise: centre the features and divide by the root mean square of their lengths.
        device, dtype: of the tensor.

    Attributes:
        mean: [d] float64, what was subtracted (zero without `standardise`).
        length: what was divided by (1 without `standardise`).

    Raises:
        M2SError: a film without shots, of another width, or with a value that is not finite.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        limit: int | None = None,
        standardise: bool = False,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.films = sorted(features)
        self.index = {film: i for i, film in enumerate(self.films)}
        first = np.asarray(features[self.films[0]])
        width = first.shape[-1] if first.ndim else 0
        counts, total, square = [], np.zeros(width), 0.0
        for film in self.films:
            x = check_features(film, features[film], width)[:limit]
            if not len(x):
                raise M2SError(f"film {film!r} has no shot features: leave it out or encode it again")
            counts.append(len(x))
            total += x.sum(axis=0, dtype=np.float64)
            square += float(np.einsum("ud,ud->", x, x, dtype=np.float64))
        n = sum(counts)
        self.mean = total / n if standardise else np.zeros(width)
        self.length = float(np.sqrt(max(square / n - self.mean @ self.mean, 0.0))) if standardise else 1.0
        if self.length**2 <= 1e-10 * square / n:
            raise M2SError(
                f"the shot features of all {len(counts)} films are the same: encode the films again"
            )
        self.counts = torch.tensor(counts, device=device)
        self.starts = self.counts.cumsum(0) - self.counts
        self.rows = torch.zeros(n + 1, width, dtype=dtype, device=device)
        for film, start, count in zip(self.films, self.starts.tolist(), counts, strict=True):
            x = (np.asarray(features[film][:limit], dtype=np.float64) - self.mean) / self.length
            self.rows[start : start + count] = torch.from_numpy(x.astype(np.float32))

    def take(self, films: Tensor, u: int, offsets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cut films out of the corpus.

        Args:
            films: indices [b] into `.films`.
            u: shots per film; shorter films are zero-padded at the end.
            offsets: first shot of each film [b]; None starts all at 0.

        Returns:
            Features [b, u, d] and how many of the u shots are real [b].
        """
        offsets = torch.zeros_like(films) if offsets is None else offsets
        lengths = (self.counts[films] - offsets).clamp(max=u)
        t = torch.arange(u, device=films.device)
        rows = (self.starts[films] + offsets)[:, None] + t  # [b, u]
        rows = torch.where(t < lengths[:, None], rows, len(self.rows) - 1)
        return self.rows.index_select(0, rows.flatten()).unflatten(0, rows.shape), lengths

    def pair_codes(self, pairs: pd.DataFrame) -> np.ndarray:
        """Numbers of the film pairs in columns film_a and film_b [pairs], in either order.

        Raises M2SError for a film without features and for a film paired with itself.
        """
        named = pd.unique(pd.concat([pairs["film_a"], pairs["film_b"]]))
        if missing := sorted(str(film) for film in named if film not in self.index):
            raise M2SError(
                f"{len(missing)} films of the film pairs have no shot features, e.g. {missing[0]!r}: "
                "encode them or drop their pairs"
            )
        ab = np.stack([pairs[c].map(self.index).to_numpy(dtype=np.int64) for c in ("film_a", "film_b")])
        if (same := ab[0] == ab[1]).any():
            raise M2SError(f"the film pairs hold {self.films[ab[0][same][0]]!r} with itself: drop that row")
        return ab.min(axis=0) * len(self.films) + ab.max(axis=0)

    def films_of(self, codes: np.ndarray) -> np.ndarray:
        """Film indices [2, pairs] of pair numbers, the lower one first."""
        return np.stack(np.divmod(codes, len(self.films)))


def draw_dissimilar(rng: np.random.Generator, n_films: int, taken: np.ndarray, count: int) -> np.ndarray:
    """Draw `count` random pair numbers that are not in `taken`; the same pair may come twice.

    The caller makes sure that at least one pair is not taken.
    """
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        a, b = rng.integers(0, n_films, size=(2, max(2 * count, 64)))
        codes = np.minimum(a, b) * n_films + np.maximum(a, b)
        found = np.concatenate([found, codes[(a != b) & ~np.isin(codes, taken)]])
    return found[:count]


def split_pairs(
    rng: np.random.Generator, n_films: int, similar: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hold out a share of the similar pairs and as many dissimilar ones.

    Args:
        rng: draws the split.
        n_films: films in the corpus.
        similar: pair numbers [pairs], unique.
        share: of the similar pairs to hold out; at least one when above 0; one always stays for training.

    Returns:
        Pair numbers to train on, held-out similar, held-out dissimilar; each sorted.

    Raises:
        M2SError: too few dissimilar pairs exist.
    """
    held = min(max(round(share * len(similar)), 1 if share > 0 else 0), len(similar) - 1)
    free = n_films * (n_films - 1) // 2 - len(similar)
    if free < held + 1:
        raise M2SError(
            f"{n_films} films with {len(similar)} similar pairs leave {free} dissimilar, {held + 1} needed: "
            "keep fewer neighbours per film or add films"
        )
    order = rng.permutation(len(similar))
    others = np.empty(0, dtype=np.int64)
    while len(others) < held:
        taken = np.union1d(similar, others)
        others = np.union1d(others, draw_dissimilar(rng, n_films, taken, held - len(others)))
    return np.sort(similar[order[held:]]), np.sort(similar[order[:held]]), others
