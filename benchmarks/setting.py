"""What a benchmark is and where it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.timing import NONE, Work
from m2s_lib.errors import M2SError


@dataclass(frozen=True)
class Setting:
    """Where and how large: `small` is for tests (seconds in all), else the sizes that the aims are for."""

    folder: Path  # for files made on the way
    device: torch.device
    small: bool = False
    as_gpu: bool = False  # for tests: the GPU's way of doing it (bf16, batches, its baseline) on the CPU

    @property
    def gpu(self) -> bool:
        """Whether the GPU's way is taken."""
        return self.as_gpu or self.device.type == "cuda"

    def size(self, full: int, small: int, gpu: int | None = None) -> int:
        """`full`, or `gpu` instead of it on the GPU where it is given, or `small`."""
        return small if self.small else gpu if gpu is not None and self.gpu else full

    def bf16(self, enabled: bool = True):
        """Autocast to bf16 on the GPU; nothing elsewhere."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled and self.gpu)


class Aim(NamedTuple):
    """What a row aims at; NaN: nothing."""

    ratio: float = NONE  # baseline over ours, at least
    over_floor: float = NONE  # at most
    most_s: float = NONE  # seconds an item, at most
    wait: float = NONE  # share of the time spent waiting for data, at most


@dataclass(frozen=True)
class Benchmark:
    """A hot path: what it is compared with, and what is aimed at on CPU and on CUDA (the fields of Aim)."""

    name: str
    item: str  # what seconds are counted for
    baseline: str
    make: Callable[[Setting], Work]  # asserts that both sides agree
    cpu: tuple[float, ...] | None = ()  # None: not run there
    cuda: tuple[float, ...] | None = None

    def aim(self, device: torch.device) -> Aim | None:
        """What is aimed at there; None: it does not run there."""
        aims = self.cuda if device.type == "cuda" else self.cpu
        return None if aims is None else Aim(*aims)


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
