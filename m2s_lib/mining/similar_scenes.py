"""What counts as a similar scene pair (§3.2, §4.1.2, supp. 1.1c and 3a): B, the choice, what is kept."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from m2s_lib.code_digest import code_bytes
from m2s_lib.errors import M2SError
from m2s_lib.method.greedy import Picks, greedy_pairs


def scene_features(x, n: int):
    """Mean of each run of n shots at stride 1, by doubling sums (float32 cumulative sums would cancel).

    Args:
        x: shot features [M, d], numpy or torch.
        n: shots in a scene, at least 1.

    Returns:
        [M - n + 1, d], of x's kind; no rows when the film is shorter than n shots.
    """
    if n < 1:
        raise M2SError(f"a scene of {n} shots: it needs at least 1")
    rows = len(x) - n + 1
    if rows < 1:
        return x[:0]
    total, covered, power, width = None, 0, x, 1  # power[t] is the sum of the `width` shots from t on
    while covered < n:
        if n & width:
            part = power[covered : covered + rows]
            total, covered = part if total is None else total + part, covered + width
        if covered < n:
            power, width = power[:-width] + power[width:], 2 * width
    return total / n


def scene_similarity(x1, x2, n: int):
    """Scene adjacency matrix B over all n x n windows at stride 1 (supp. 1.1c), in strict float32.

    Args:
        x1, x2: shot features [M, d] and [N, d], both numpy or both torch on one device.
        n: shots in a scene.

    Returns:
        B [M - n + 1, N - n + 1]: mean dot product of the shots of scene i of film 1 and scene j of film 2.
    """
    with strict_float32():
        return scene_features(x1, n) @ scene_features(x2, n).T


@dataclass(frozen=True)
class MiningConfig:
    """What counts as a similar scene pair.

    `similarity` and `select` may be other functions. What those read from outside, such as a global variable,
    is not seen by a run that goes on after it was killed.
    """

    n_shots: int = 9  # shots in a scene (supp. 1.1c)
    keep: str = "best_half"  # of the greedy picks (§4.1.2); "above_median": of all windows, before (supp. 3a)
    ratio: float = 0.5  # the share that `keep` keeps (§4.1.2)
    normalise: bool = False  # ours: cosine instead of the paper's dot product
    similarity: Callable = scene_similarity  # (x1 [M, d], x2 [N, d], n) -> B [M - n + 1, N - n + 1], torch
    select: Callable = greedy_pairs  # (B, n) -> i, j, score, best first, numpy

    def __post_init__(self):
        if isinstance(self.n_shots, bool) or not isinstance(self.n_shots, int) or self.n_shots < 1:
            raise M2SError(f"a scene of {self.n_shots!r} shots: it needs a whole number, at least 1")
        if self.keep not in ("best_half", "above_median"):
            raise M2SError(f"keep is {self.keep!r}: choose 'best_half' or 'above_median'")
        if not 0 < self.ratio <= 1:
            raise M2SError(f"ratio is {self.ratio}: it is a share, above 0 and at most 1")

    @property
    def is_papers(self) -> bool:
        """Whether B and the choice are the paper's, for which there are fast paths."""
        return self.similarity is scene_similarity and self.select is greedy_pairs

    def floor(self, b: np.ndarray) -> float:
        """Lowest score that the choice may take: of "above_median" the threshold, else none."""
        return score_floor(b, self.ratio) if self.keep == "above_median" else -math.inf

    def count(self, picks: int) -> int:
        """How many of the picks are kept."""
        return keep_count(picks, self.ratio) if self.keep == "best_half" else picks

    def choose(self, b: np.ndarray, floor: float = -math.inf) -> Picks:
        """All that is selected from B among the windows with a score of at least `floor`, best first."""
        if self.select is greedy_pairs:
            return greedy_pairs(b, self.n_shots, floor)
        i, j, score = self.select(np.where(b < floor, -np.inf, b), self.n_shots)
        return np.asarray(i, np.int64), np.asarray(j, np.int64), np.asarray(score, np.float32)

    def digest(self) -> bytes:
        """Of all that it says."""
        values = [self.n_shots, self.keep, self.ratio, self.normalise]
        return json.dumps(values).encode() + b"".join(map(code_bytes, (self.similarity, self.select)))


@contextlib.contextmanager
def strict_float32() -> Iterator[None]:
    """No TF32 inside: its error of 1e-3 would reorder scene pairs."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def keep_count(n_picks: int, ratio: float) -> int:
    """How many of n picks "the top `ratio`" is: rounded up, so that a single pick stays."""
    return min(n_picks, math.ceil(ratio * n_picks - 1e-9))


def score_floor(b: np.ndarray, ratio: float) -> float:
    """Lowest score among the top `ratio` of all windows of B (its median at 0.5); -inf when B is empty."""
    if not b.size:
        return -math.inf
    at = b.size - keep_count(b.size, ratio)
    return float(np.partition(b, at, axis=None)[at])
