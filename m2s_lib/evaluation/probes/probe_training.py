"""The training loop of all probes: one network, its own order of items, the epoch chosen on validation.

Letters: b batch, n items, d features, C outputs.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from m2s_lib.evaluation.probes.probe_scores import mean_loss, val_score

_LOOK = 8192  # items looked at together when nothing is learned


@dataclass(frozen=True)
class Items:
    """Items of a probe: the rows `rows` int64 [n] of `values` [N, ...], gathered a batch at a time, so that
    `values` may be a view in which items overlap; y is int64 [n] or float [n, C]."""

    values: Tensor
    rows: Tensor
    y: Tensor
    groups: Tensor | None = None  # int64 [n]: items whose outputs are averaged before they are scored

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: Tensor) -> Tensor:
        return self.values[self.rows[which]]


@dataclass
class Outcome:
    """How training one probe went."""

    best_epoch: int = 0  # the chosen one; 0 is the untrained network, when no epoch was better or finite
    val_score: float = -math.inf  # on validation, higher is better
    val_loss: float = math.inf
    diverged_at: int = 0  # the epoch after which the validation loss was not finite; 0 is never
    losses: list[float] = field(default_factory=list)  # on validation, after each epoch
    scores: list[float] = field(default_factory=list)


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, so that probes can be trained side by side."""

    def __init__(self, p: float, generator: torch.Generator):
        super().__init__()
        self.p, self.generator = p, generator

    def forward(self, h: Tensor) -> Tensor:
        if not self.training or not self.p:
            return h
        return h * torch.empty_like(h).bernoulli_(1 - self.p, generator=self.generator) / (1 - self.p)


def draw_weights(model: nn.Module, seed: int) -> None:
    """Draws the linear layers' weights, biases too, from +-1/sqrt(inputs) as torch does, from a seed."""
    generator = torch.Generator().manual_seed(seed)
    for layer in (m for m in model.modules() if isinstance(m, nn.Linear)):
        for p in (layer.weight, layer.bias):
            nn.init.uniform_(p, -(layer.in_features**-0.5), layer.in_features**-0.5, generator=generator)


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, items: Items, val: Items, config, choose: str
) -> Outcome:
    """Trains a network and leaves it with the weights of its best epoch on validation.

    Args:
        model, items, val: on one device.
        config: ProbeConfig: loss, batch, epochs, clip, patience and the seed of the order are used.
        choose: 'top-1', 'ap' or 'loss'; equal scores are decided by the loss, then by the earlier epoch.
    """
    outcome, best = Outcome(), [p.detach().clone() for p in model.state_dict().values()]
    generator = torch.Generator().manual_seed(config.seed)
    for epoch in range(1, config.epochs + 1):
        model.train()
        for which in (
            torch.randperm(len(items), generator=generator).to(items.rows.device).split(config.batch)
        ):
            optimizer.zero_grad()
            mean_loss(config.loss, model(items[which]), items.y[which]).backward()
            if config.clip:
                nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
        out = outputs(model, val.values, val.rows)
        loss = float(mean_loss(config.loss, out, val.y))
        score = val_score(config.loss, out, val.y, val.groups, choose)
        outcome.losses.append(loss)
        outcome.scores.append(score)
        if not math.isfinite(loss):
            outcome.diverged_at = epoch
            break
        if (score, -loss) > (outcome.val_score, -outcome.val_loss):
            outcome.best_epoch, outcome.val_score, outcome.val_loss = epoch, score, loss
            best = [p.detach().clone() for p in model.state_dict().values()]
        if config.patience and epoch - outcome.best_epoch >= config.patience:
            break
    model.load_state_dict(dict(zip(model.state_dict(), best, strict=True)))
    return outcome


def outputs(model: nn.Module, values: Tensor, rows: Tensor) -> Tensor:
    """Returns what the network gives for some rows of values, in blocks: [n, C]."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(values[part]) for part in rows.split(_LOOK)])


def side_by_side(train_one: Callable, jobs: Sequence[tuple], device: torch.device) -> list:
    """Returns `train_one(*job)` of each job. On the CPU several run at a time, each on one core: the products
    of one step are too small to be shared, cores would wait for each other longer than they compute."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or not jobs:
        return [train_one(*job) for job in jobs]
    try:
        with ThreadPoolExecutor(
            min(threads, len(jobs)), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            return list(pool.map(lambda job: train_one(*job), jobs))
    finally:
        torch.set_num_threads(threads)
