"""The end-to-end row: a state-space head on frame features, in the manner of ViS4mer (section 4.2.2).

ViS4mer (Islam and Bertasius, ECCV 2022) reads the features of 60 frames with state-space layers, pooling
the time between them. This is a reading of it with S4D layers (a diagonal state matrix), not the authors'
code. It is a probe with another network: `train_probes` takes its config and sequences [n, L, d + 1], whose
last column is 1 for frames and 0 for padding.

Letters: b batch, L frames, D width, S states.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.probes.probe_training import Dropout
from m2s_lib.evaluation.probes.probes import ProbeConfig, Standardize, scaling


@dataclass(frozen=True)
class StateSpaceConfig(ProbeConfig):
    """How the head is built and trained; fields of `ProbeConfig` that read differently here are repeated."""

    hidden: int = 256  # D of the first block; every block halves it, as ViS4mer does
    layers: int = 3  # blocks
    lr: float = 1e-3  # of AdamW: state-space layers do not learn with plain SGD
    batch: int = 16  # sequences a step
    epochs: int = 100  # the loss settles earlier than with the MLPs
    dropout: float = 0.2  # after each block's state-space layer
    states: int = 32  # S, complex, of each channel
    weight_decay: float = 0.01  # not on the state matrix and the time step

    def build(self, x: np.ndarray, n_outputs: int, generator: torch.Generator) -> nn.Module:
        """Returns the untrained head for training sequences [n, L, d + 1], standardised by their frames."""
        mean, scale = scaling(x[x[..., -1] > 0][:, :-1], self.standardize)
        standardize = Standardize(torch.from_numpy(mean), torch.from_numpy(scale))
        return StateSpaceHead(standardize, n_outputs, self, generator)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Returns AdamW."""
        slow = [p for m in model.mixers for p in (m.log_decay, m.frequency, m.log_dt)]
        fast = [p for p in model.parameters() if all(p is not s for s in slow)]
        groups = [{"params": slow, "weight_decay": 0.0}] if slow else []
        groups.append({"params": fast, "weight_decay": self.weight_decay})
        return torch.optim.AdamW(groups, lr=self.lr)

    def checked(self, x: np.ndarray, name: str, width: int = 0) -> np.ndarray:
        """Returns sequences float32 [n, L, d + 1], checked."""
        x = np.asarray(x)
        if x.ndim != 3 or not x.size or x.shape[2] < 2 or (width and x.shape[2] != width):
            raise M2SError(f"{name} have shape {x.shape}, expected [n, frames, {width or 'd + 1'}]")
        bad = ~np.isfinite(x).all((1, 2))
        if bad.any():
            raise M2SError(f"{name}: item {int(bad.argmax())} has values that are not finite")
        return np.ascontiguousarray(x, np.float32)


class DiagonalStateSpace(nn.Module):
    """One S4D layer: a linear system with a diagonal state for each channel, applied as a causal convolution.

    y_l = sum_j K_(l-j) u_j + D u_l with K_l = 2 Re sum_s C_s (exp(dt A_s) - 1) / A_s exp(dt A_s l).
    """

    def __init__(self, width: int, states: int, generator: torch.Generator):
        super().__init__()
        self.log_decay = nn.Parameter(torch.full((width, states), math.log(0.5)))  # A = -exp(.) + i pi s
        self.frequency = nn.Parameter(math.pi * torch.arange(states).float().repeat(width, 1))
        log_dt = math.log(1e-3) + torch.rand(width, generator=generator) * math.log(1e2)  # dt 0.001 .. 0.1
        self.log_dt = nn.Parameter(log_dt)
        self.c = nn.Parameter(torch.randn(width, states, 2, generator=generator) / states**0.5)
        self.skip = nn.Parameter(torch.ones(width))

    def kernel(self, length: int) -> Tensor:
        """K [D, L]."""
        a = torch.complex(-self.log_decay.exp(), self.frequency)  # [D, S]
        step = a * self.log_dt.exp()[:, None]
        c = torch.view_as_complex(self.c) * (step.exp() - 1) / a
        powers = (step[..., None] * torch.arange(length, device=step.device)).exp()  # [D, S, L]
        return 2 * torch.einsum("ds,dsl->dl", c, powers).real

    def forward(self, u: Tensor) -> Tensor:
        """u [b, L, D] -> y [b, L, D]."""
        length = u.shape[1]
        spectrum = (
            torch.fft.rfft(u, n=2 * length, dim=1) * torch.fft.rfft(self.kernel(length), n=2 * length).T
        )
        return torch.fft.irfft(spectrum, n=2 * length, dim=1)[:, :length] + u * self.skip


class StateSpaceHead(nn.Module):
    """Frame features to outputs: blocks of norm, state space, GELU, linear, residual and pooling."""

    def __init__(
        self, standardize: Standardize, outputs: int, config: StateSpaceConfig, generator: torch.Generator
    ):
        """standardize: of the frames. config: the seed draws the mixers. generator: of the dropout."""
        super().__init__()
        draw = torch.Generator().manual_seed(config.seed)
        widths = [max(1, config.hidden >> i) for i in range(config.layers + 1)]
        self.standardize, self.dropout = standardize, Dropout(config.dropout, generator)
        self.first = _linear(len(standardize.mean), widths[0])
        self.norms = nn.ModuleList(nn.LayerNorm(w) for w in widths[:-1])
        self.mixers = nn.ModuleList(DiagonalStateSpace(w, config.states, draw) for w in widths[:-1])
        self.linears = nn.ModuleList(_linear(w, w) for w in widths[:-1])
        self.halves = nn.ModuleList(_linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.last = _linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [b, L, d + 1], last column 1 for frames, 0 for padding -> [b, C]."""
        there = x[..., -1:]  # [b, L, 1]
        h = self.first(self.standardize(x[..., :-1]) * there) * there
        for i, mixer in enumerate(self.mixers):
            mixed = F.gelu(mixer(self.norms[i](h) * there))  # padding comes last: it cannot reach a frame
            h = h + self.dropout(self.linears[i](mixed))
            h, there = _halve_time(self.halves[i](h), there)
        return self.last((h * there).sum(1) / there.sum(1).clamp(min=1))


def _linear(into: int, out: int) -> nn.Linear:
    """A linear layer that draws nothing from torch's global generator; the head fills it."""
    return nn.utils.skip_init(nn.Linear, into, out)


def _halve_time(h: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of every two frames that are there: [b, L, D] -> [b, ceil(L / 2), D]."""
    odd = h.shape[1] % 2
    h, there = F.pad(h, (0, 0, 0, odd)), F.pad(there, (0, 0, 0, odd))
    pairs = (h * there).unflatten(1, (-1, 2)).sum(2)
    count = there.unflatten(1, (-1, 2)).sum(2)
    return pairs / count.clamp(min=1), (count > 0).to(h.dtype)
