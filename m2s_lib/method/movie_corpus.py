"""The films that movie similarity learning trains on: their shot features, and pairs of them.

A film pair is one number, low index * films + high index, so that sets of pairs are sorted arrays.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_encoder import check_features

_HOST_BYTES = 64 << 20  # of a corpus held in memory on the CPU: reading larger ones costs little there
_GPU_SHARE = 0.6  # of a GPU's free memory, the rest is for training
_SMALLEST = 1e-4  # of the largest variance: a direction with less is not brought up to the others


def room_on(device: torch.device) -> int:
    """Bytes of a corpus that may be held on a device."""
    return int(_GPU_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else _HOST_BYTES


class MovieCorpus:
    """Shot features of many films, cut out and padded as batches ask for them.

    They are one tensor on the device while that has room for them, so that a batch is one index_select. A
    corpus that is larger stays where it lies, memory-mapped files as a rule, and each batch reads its films
    from there: the same numbers, in memory that does not grow with the films.

    Args:
        features: film_id -> [n_shots, d]; kept in the order of the sorted ids.
        limit: keep only the first `limit` shots of each film; None keeps all.
        standardise: centre the features and divide by the root mean square of their lengths.
        whiten: after centring, also bring all directions to the same variance.
        device, dtype: of what `take` gives.
        resident_bytes: largest corpus that is held on the device; None leaves it to `room_on`.

    Attributes:
        mean: [d] float64, what was subtracted (zero without `standardise`).
        length: what was divided by (1 without `standardise`).
        whitening: [d, d] float64, what the centred features were multiplied by; None without `whiten`.
        rows: [all shots + 1, d], the last row zero, for padding; None for a corpus that is read as needed.
        width: d.

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
        resident_bytes: int | None = None,
        whiten: bool = False,
    ):
        self.films = sorted(features)
        self.index = {film: i for i, film in enumerate(self.films)}
        self.device, self.dtype = torch.device(device), dtype
        self._features, self._limit, self._scale = features, limit, 1.0
        first = np.asarray(features[self.films[0]])
        self.width = first.shape[-1] if first.ndim else 0
        self.whitening = None
        counts = self._measure(standardise)
        if whiten:
            self.whitening = self._whitening()
        self.counts = torch.tensor(counts, device=device)
        self.starts = self.counts.cumsum(0) - self.counts
        self.rows = None
        room = room_on(self.device) if resident_bytes is None else resident_bytes
        if (sum(counts) + 1) * self.width * dtype.itemsize <= room:
            self.rows = torch.zeros(sum(counts) + 1, self.width, dtype=dtype, device=device)
            for i, (start, count) in enumerate(zip(self.starts.tolist(), counts, strict=True)):
                self.rows[start : start + count] = self._film(i, count)

    def _measure(self, standardise: bool) -> list[int]:
        """Checks every film, computes mean and length, and returns the shots of each film."""
        counts, total, square = [], np.zeros(self.width), 0.0
        for film in self.films:
            x = check_features(film, self._features[film], self.width)[: self._limit]
            if not len(x):
                raise M2SError(f"film {film!r} has no shot features: leave it out or encode it again")
            counts.append(len(x))
            total += x.sum(axis=0, dtype=np.float64)
            square += float(np.einsum("ud,ud->", x, x, dtype=np.float64))
        n = sum(counts)
        self.mean = total / n if standardise else np.zeros(self.width)
        self.length = float(np.sqrt(max(square / n - self.mean @ self.mean, 0.0))) if standardise else 1.0
        if self.length**2 <= 1e-10 * square / n:
            raise M2SError(
                f"the shot features of all {len(counts)} films are the same: encode the films again"
            )
        return counts

    def _whitening(self) -> np.ndarray:
        """W [d, d]: (x - mean) / length @ W has like variance in all directions and mean square length 1."""
        square, n = np.zeros((self.width, self.width)), 0
        for film in self.films:
            x = np.asarray(self._features[film][: self._limit], dtype=np.float64)
            x = (x - self.mean) / self.length
            square, n = square + x.T @ x, n + len(x)
        variance, directions = np.linalg.eigh(square / n)
        raised = np.maximum(variance, _SMALLEST * variance[-1])
        return directions / np.sqrt(raised * (variance / raised).sum())

    def _film(self, i: int, count: int) -> Tensor:
        """The first shots of film number i, standardised: float32 [count, d], on the CPU."""
        x = np.asarray(self._features[self.films[i]][:count], dtype=np.float64)
        x = (x - self.mean) / self.length
        x = x if self.whitening is None else x @ self.whitening
        return torch.from_numpy(x.astype(np.float32))

    def multiply(self, factor: float) -> None:
        """Multiplies all features by a number."""
        if self.rows is None:
            self._scale *= factor
        else:
            self.rows.mul_(factor)

    def take(self, films: Tensor, u: int) -> tuple[Tensor, Tensor]:
        """Cuts films out of the corpus.

        Args:
            films: indices [b] into `.films`.
            u: shots per film; longer films are cut, shorter ones zero-padded at the end.

        Returns:
            Features [b, u, d] and how many of the u shots are real [b].
        """
        lengths = self.counts[films].clamp(max=u)
        if self.rows is None:
            return self._read(films, u, lengths), lengths
        t = torch.arange(u, device=films.device)
        rows = self.starts[films][:, None] + t  # [b, u]
        rows = torch.where(t < lengths[:, None], rows, len(self.rows) - 1)
        return self.rows.index_select(0, rows.flatten()).unflatten(0, rows.shape), lengths

    def _read(self, films: Tensor, u: int, lengths: Tensor) -> Tensor:
        """What index_select would have given, from where the features lie."""
        out = torch.zeros(len(films), u, self.width, dtype=self.dtype)
        for row, film, count in zip(out, films.tolist(), lengths.tolist(), strict=True):
            row[:count] = self._film(film, count)
        return out.to(self.device).mul_(self._scale)

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
    """Draws `count` random pair numbers that are not in `taken`; the same pair may come twice.

    The caller makes sure that at least one pair is not taken.
    """
    drawn = np.empty(0, dtype=np.int64)
    while len(drawn) < count:
        a, b = rng.integers(0, n_films, size=(2, max(2 * count, 64)))
        codes = np.minimum(a, b) * n_films + np.maximum(a, b)
        drawn = np.concatenate([drawn, codes[(a != b) & ~np.isin(codes, taken)]])
    return drawn[:count]


def split_pairs(
    rng: np.random.Generator, n_films: int, similar: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Holds out a share of the similar pairs and as many dissimilar ones.

    Args:
        rng: draws the split.
        n_films: films in the corpus.
        similar: pair numbers [pairs], unique.
        share: of the similar pairs to hold out; at least one when above 0. One similar and one dissimilar
            pair always stay for training, where there are any.

    Returns:
        Pair numbers to train on, held-out similar, held-out dissimilar; each sorted.
    """
    free = n_films * (n_films - 1) // 2 - len(similar)
    held = max(round(share * len(similar)), 1 if share > 0 else 0)
    held = max(min(held, len(similar) - 1, free - 1), 0)
    order = rng.permutation(len(similar))
    others = np.empty(0, dtype=np.int64)
    while len(others) < held:
        taken = np.union1d(similar, others)
        others = np.union1d(others, draw_dissimilar(rng, n_films, taken, held - len(others)))
    return np.sort(similar[order[held:]]), np.sort(similar[order[:held]]), others
