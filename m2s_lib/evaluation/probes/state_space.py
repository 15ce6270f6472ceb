"""The end-to-end row: a state-space head on frame features, in the manner of ViS4mer (section 4.2.2).

ViS4mer (Islam and Bertasius, ECCV 2022) reads the features of 60 frames with state-space layers, pooling
the time between them. This is a reading of it with S4D layers (a diagonal state matrix), not the authors'
code. It is trained by the loop of the probes, with the same order of items and choice of the epoch, and
reported in the same tables:

>>> evaluate_lvu(tasks, frame_features, "ViS4mer-style", frames=60, trainer=train_sequences, configs=CONFIGS)

Letters: b batch, L frames, D width, S states.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.lvu.files import TASKS
from m2s_lib.evaluation.probes.hashed_random import hash_keys, kept_units
from m2s_lib.evaluation.probes.probe_scores import probabilities
from m2s_lib.evaluation.probes.probe_training import Outcome, StackData, train_stack
from m2s_lib.evaluation.probes.probes import ProbeConfig, ProbeData

_LOOK = 256  # sequences looked at together when nothing is learned


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


CONFIGS = {
    task: replace(StateSpaceConfig(), loss="mse" if kind.regression else "cross_entropy")
    for task, kind in TASKS.items()
}


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

    def __init__(self, d: int, outputs: int, config: StateSpaceConfig):
        super().__init__()
        generator = torch.Generator().manual_seed(config.seed)
        widths = [max(1, config.hidden >> i) for i in range(config.layers + 1)]
        self.first = _linear(d, widths[0])
        self.norms = nn.ModuleList(nn.LayerNorm(w) for w in widths[:-1])
        self.mixers = nn.ModuleList(DiagonalStateSpace(w, config.states, generator) for w in widths[:-1])
        self.linears = nn.ModuleList(_linear(w, w) for w in widths[:-1])
        self.halves = nn.ModuleList(_linear(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.last = _linear(widths[-1], outputs)
        for layer in (m for m in self.modules() if isinstance(m, nn.Linear)):
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, drop: Callable[[Tensor, int], Tensor] = lambda h, _: h) -> Tensor:
        """x [b, L, d + 1], last column 1 for frames, 0 for padding -> [b, C]; drop(h, block) drops units."""
        there = x[..., -1:]  # [b, L, 1]
        h = self.first(x[..., :-1]) * there
        for i, mixer in enumerate(self.mixers):
            mixed = F.gelu(mixer(self.norms[i](h) * there))  # padding comes last: it cannot reach a frame
            h = h + drop(self.linears[i](mixed), i)
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


@dataclass(eq=False)
class SequenceProbe:
    """A trained head with the weights of its best epoch; the attributes of `Probe`."""

    config: StateSpaceConfig
    head: StateSpaceHead
    mean: np.ndarray
    scale: np.ndarray
    best_epoch: int
    val_score: float
    val_loss: float
    diverged_at: int
    history: pd.DataFrame

    @property
    def n_parameters(self) -> int:
        """Numbers that were learned."""
        return sum(p.numel() for p in self.head.parameters())

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Sequences float32 [n, L, d + 1], as `ItemSequences` gives, -> float32 [n, C]."""
        x = torch.from_numpy(_scaled(_sequences(x, "sequences", len(self.mean)), self.mean, self.scale))
        with torch.no_grad():
            out = torch.cat([self.head(part) for part in x.split(_LOOK)])
        return probabilities(self.config.loss, out).numpy()


def train_sequences(
    tasks: Sequence[tuple[ProbeData, Sequence[StateSpaceConfig]]], *, device: torch.device | str = "cpu"
) -> list[list[SequenceProbe]]:
    """Train heads one by one; the counterpart of `train_probe_sets` for x [n, L, d + 1].

    Raises:
        M2SError: items that are no sequences, values that are not finite, or a config of another kind.
    """
    return [[_train(data, config, torch.device(device)) for config in configs] for data, configs in tasks]


class _OneHead:
    """A head as a stack of one model, for `train_stack`."""

    widths = (1,)  # no dropout of the stack's own

    def __init__(self, head: StateSpaceHead, config: StateSpaceConfig):
        self.head, self.config, self.loss = head, config, config.loss
        self.seeds, self.steps = np.array([config.seed], np.uint64), 0
        slow = [p for m in head.mixers for p in (m.log_decay, m.frequency, m.log_dt)]
        named = {id(p) for p in slow}
        fast = [p for p in head.parameters() if id(p) not in named]
        groups = [
            {"params": slow, "weight_decay": 0.0},
            {"params": fast, "weight_decay": config.weight_decay},
        ]
        self.optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr)

    def masks(self, epoch: int, first: int, rows: int) -> None:
        return None

    def descend(self, x: Tensor, y: Tensor, share: Tensor, masks: None) -> None:
        self.steps += 1
        out = self.head(x[0], self._drop)
        y, share = y[0], share[0, :, 0]
        if self.loss == "cross_entropy":
            losses = F.cross_entropy(out, y, reduction="none")
        else:
            error = F.mse_loss if self.loss == "mse" else F.binary_cross_entropy_with_logits
            losses = error(out, y, reduction="none").mean(1)
        self.optimizer.zero_grad()
        (losses * share).sum().backward()
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.head.parameters(), self.config.clip)
        self.optimizer.step()

    def _drop(self, h: Tensor, block: int) -> Tensor:
        if not self.config.dropout:
            return h
        keys = hash_keys(self.seeds, self.steps, block + 1).to(h.device)
        p = torch.full((1, 1, 1), self.config.dropout, device=h.device)
        return h * kept_units(keys, p, 0, h.shape[0] * h.shape[1], h.shape[2]).view_as(h)

    def outputs(self, x: Tensor, which: Tensor) -> Tensor:
        return torch.cat([self.head(part) for part in x.split(_LOOK)])[None]  # [1, n, C]

    def states(self, which: Tensor | slice) -> list[Tensor]:
        return [p.detach()[None] for p in self.head.parameters()]

    def keep(self, which: Tensor) -> None:
        pass


def _train(data: ProbeData, config: StateSpaceConfig, device: torch.device) -> SequenceProbe:
    if not isinstance(config, StateSpaceConfig):
        raise M2SError(
            f"a state-space head needs a StateSpaceConfig, got {type(config).__name__}: see CONFIGS"
        )
    what = f" of {data.name}" if data.name else ""
    x, x_val = (
        _sequences(v, f"{p} sequences{what}")
        for v, p in ((data.x_train, "training"), (data.x_val, "validation"))
    )
    mean, scale = _scaling(x, config.standardize)
    y, y_val = (_labels(v, config.loss) for v in (data.y_train, data.y_val))
    outputs = data.outputs or (
        int(max(y.max(), y_val.max())) + 1 if config.loss == "cross_entropy" else y.shape[1]
    )
    head = StateSpaceHead(x.shape[2] - 1, outputs, config).to(device)
    groups = None
    if data.val_groups is not None:
        groups = torch.from_numpy(pd.factorize(np.asarray(data.val_groups, object))[0].astype(np.int64)).to(
            device
        )
    stacked = StackData(
        x=torch.from_numpy(_scaled(x, mean, scale))[None].to(device),
        y=y[None].to(device),
        n=torch.tensor([len(x)], device=device),
        x_val=[torch.from_numpy(_scaled(x_val, mean, scale)).to(device)],
        y_val=[y_val.to(device)],
        groups=[groups],
    )
    out: Outcome = train_stack(_OneHead(head, config), stacked, [config], [0], config.choice)[0]
    with torch.no_grad():
        for p, best in zip(head.parameters(), out.state, strict=True):
            p.copy_(best)
    epochs = range(1, len(out.losses) + 1)
    history = pd.DataFrame({"epoch": epochs, "val_loss": out.losses, "val_score": out.scores})
    return SequenceProbe(
        config, head.cpu(), mean, scale, out.epoch, out.score, out.loss, out.diverged_at, history
    )


def _labels(y: np.ndarray, loss: str) -> Tensor:
    if loss == "cross_entropy":
        return torch.from_numpy(np.asarray(y).astype(np.int64))
    return torch.from_numpy(np.asarray(y, np.float32).reshape(len(y), -1))


def _sequences(x: np.ndarray, what: str, d: int = 0) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 3 or not x.size or x.shape[2] < 2 or (d and x.shape[2] != d + 1):
        raise M2SError(
            f"{what} have shape {x.shape}, expected [n, frames, {d + 1 if d else 'd + 1'}]: give `frames`"
        )
    if not np.isfinite(x).all():
        raise M2SError(
            f"{what}: item {int((~np.isfinite(x)).any((1, 2)).argmax())} has values that are not finite"
        )
    return np.ascontiguousarray(x, np.float32)


def _scaling(x: np.ndarray, standardize: bool) -> tuple[np.ndarray, np.ndarray]:
    frames = x[x[..., -1] > 0][:, :-1]  # [frames that are there, d]
    if not standardize:
        return np.zeros(frames.shape[1], np.float32), np.ones(frames.shape[1], np.float32)
    mean, scale = frames.mean(0, dtype=np.float64), frames.std(0, dtype=np.float64)
    return mean.astype(np.float32), np.where(scale <= 1e-7 * (np.abs(mean) + 1), 1, scale).astype(np.float32)


def _scaled(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    there = x[..., -1:]
    return np.concatenate([(x[..., :-1] - mean) / scale * there, there], -1)
