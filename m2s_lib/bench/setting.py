"""What a benchmark is and where it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from m2s_lib.bench.timing import Work
from m2s_lib.errors import M2SError

NONE = float("nan")


@dataclass(frozen=True)
class Setting:
    """Where and how large: `small` is for tests (seconds in all), else the sizes that the aims are for."""

    folder: Path  # for files made on the way
    device: torch.device
    small: bool = False

    def size(self, full: int, small: int) -> int:
        return small if self.small else full


@dataclass(frozen=True)
class Benchmark:
    """A hot path: what it is compared with, what is aimed at on CPU and on CUDA (ratio, most over floor)."""

    name: str
    item: str  # what seconds are counted for
    baseline: str
    make: Callable[[Setting], Work]  # asserts that both sides agree
    cpu: tuple[float, float] | None = (NONE, NONE)  # None: not run there
    cuda: tuple[float, float] | None = None


def agree(name: str, ours, theirs, tolerance: float = 0.0) -> None:
    """Raise M2SError where two sides of a benchmark differ by more than `tolerance` (absolute)."""
    a, b = (
        np.asarray(x.detach().float().cpu() if isinstance(x, torch.Tensor) else x) for x in (ours, theirs)
    )
    if a.shape != b.shape:
        raise M2SError(f"benchmark {name}: our result has shape {a.shape}, the baseline's {b.shape}")
    apart = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0)
    if not apart <= tolerance:
        raise M2SError(f"benchmark {name}: results differ by {apart:.3g}, allowed {tolerance:.3g}: not timed")


def film_like(rng: np.random.Generator, n_shots: int, d: int = 512) -> np.ndarray:
    """Made-up shot features of unit length [n_shots, d] float32: scenes of about nine shots, and noise."""
    scenes = np.repeat(rng.standard_normal((n_shots // 9 + 1, d)), 9, axis=0)[:n_shots]
    x = scenes + rng.standard_normal((n_shots, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
