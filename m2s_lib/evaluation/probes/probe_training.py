"""The training loop of all probes: many MLPs of one shape as stacked matrices, each with its own data order,
dropout, learning rate and chosen epoch.

Letters: E models in the stack, T data sets, b batch, d features, H hidden width, C outputs.

A model's result does not depend on which models it is stacked with: its first weights, its order of items and
its dropout come from its own seed, through a hash of (seed, epoch, place) that is the same on every device.
Gradients are written out by hand: the step p -= lr * grad is then one matrix product into p, without a copy
of the weights for the gradient.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from m2s_lib.evaluation.probes.hashed_random import ORDER, Room, hash_keys, kept_units, shuffled
from m2s_lib.evaluation.probes.probe_scores import loss_gradient, val_loss, val_score

_NEVER = -1e30  # logit of an output that a model of the stack does not have
LOOK = 1 << 25  # numbers of one layer held at once on validation items
_MASKS_AT_ONCE = {"cpu": 1 << 21, "cuda": 1 << 25}  # random numbers in one go: fewer calls, launches


@dataclass
class Outcome:
    """What came out of training one model."""

    state: list[Tensor]
    epoch: int = 0  # the chosen one; 0 is the untrained model, when no epoch was better or finite
    score: float = -math.inf  # on validation, higher is better
    loss: float = math.inf
    diverged_at: int = 0  # the epoch after which the validation loss was not finite; 0 is never
    losses: list[float] = field(default_factory=list)  # on validation, after each epoch
    scores: list[float] = field(default_factory=list)


@dataclass
class StackData:
    """Training and validation items of T data sets, padded to the largest: rows beyond n are never drawn."""

    x: Tensor  # [T, n, ...]
    y: Tensor  # [T, n] class numbers or [T, n, C]
    n: Tensor  # int64 [T]
    x_val: list[Tensor]  # T tensors [n_val, ...]
    y_val: list[Tensor]
    groups: list[Tensor | None]  # int64 [n_val]: items whose outputs are averaged before they are scored


class MLPStack:
    """E MLPs of one shape: weights [E, in, out] and biases [E, 1, out], layer after layer."""

    def __init__(self, sizes: list[int], outputs: list[int], configs: list, device: torch.device):
        """sizes: d, hidden widths, C. outputs: how many of the C each model has. configs: ProbeConfig."""
        self.params = [p.to(device) for p in _first_weights(sizes, outputs, [c.seed for c in configs])]
        self.seeds = np.array([c.seed for c in configs], np.uint64)
        self.lr = torch.tensor([c.lr for c in configs], device=device)[:, None, None]
        self.dropout = torch.tensor([c.dropout for c in configs], device=device)[:, None, None]
        self.clip = torch.tensor([c.clip or 1e30 for c in configs], device=device)[:, None, None]
        self.drops, self.clips = any(c.dropout > 0 for c in configs), any(c.clip for c in configs)
        self.loss, self.widths = configs[0].loss, sizes[1:-1]
        self.rooms = [Room() for _ in self.widths]  # for the masks of each layer
        self.room = Room()  # for what one step computes
        absent = torch.arange(sizes[-1])[None] >= torch.tensor(outputs)[:, None]
        self.absent = (absent.float() * _NEVER)[:, None].to(device) if absent.any() else None  # [E, 1, C]

    def descend(self, x: Tensor, y: Tensor, share: Tensor, masks: list[Tensor] | None) -> None:
        """One step of gradient descent.

        Args:
            x: [E, b, d]. y: int64 [E, b] or float [E, b, C].
            share: [E, b, 1], each item's part in its model's mean loss; 0 for padding.
            masks: of `masks`, [E, b, H] a layer.
        """
        out, inputs = layers(self.params, self.absent, x, masks, self.room)
        gradient = loss_gradient(self.loss, out, y).mul_(share * self.lr)  # [E, b, C], scaled once for all
        self._step(self.params, inputs, masks, gradient)

    def _step(self, params, inputs, masks, gradient: Tensor, through: bool = False) -> Tensor | None:
        """Move some layers against the scaled gradient [E, b, C] of the last one's outputs.

        Args:
            params, inputs, masks: of these layers, of `layers`.
            through: the first layer's inputs are units too, whose mask comes first.

        Returns:
            With `through` the gradient of what these units were before they were cut at 0 and dropped.
        """
        steps = []  # of weights and biases, kept where their norm is to be limited
        for layer in range(len(params) // 2 - 1, -1, -1):
            weight, bias, below = params[2 * layer], params[2 * layer + 1], None
            if layer or through:
                below = self.room.take(("below", layer), gradient, *inputs[layer].shape)
                torch.bmm(gradient, weight.mT, out=below)
                torch.ops.aten.threshold_backward.grad_input(below, inputs[layer], 0, grad_input=below)
                if masks is not None:
                    below.mul_(masks[layer if through else layer - 1])
            if self.clips:
                steps += [(weight, inputs[layer].mT @ gradient), (bias, gradient.sum(1, keepdim=True))]
            else:
                weight.baddbmm_(inputs[layer].mT, gradient, alpha=-1)
                bias.sub_(gradient.sum(1, keepdim=True))
            gradient = below
        if self.clips:
            self._limited(steps)
        return gradient

    def _limited(self, steps: list[tuple[Tensor, Tensor]]) -> None:
        """Take the steps, each model's together no longer than lr * clip, as clip_grad_norm_ does."""
        norm = torch.stack([(s * s).sum((1, 2), keepdim=True) for _, s in steps]).sum(0).sqrt()  # [E, 1, 1]
        scale = (self.clip * self.lr / (norm + 1e-6 * self.lr)).clamp(max=1)
        for p, step in steps:
            p.sub_(step * scale)

    def masks(self, epoch: int, first: int, rows: int) -> list[Tensor] | None:
        """Dropout of the places first .. first + rows of the epoch's order, valid until the next call:
        [E, rows, H] a layer."""
        if not self.drops:
            return None
        keys = [hash_keys(self.seeds, epoch, i + 1).to(self.lr.device) for i in range(len(self.widths))]
        return [
            kept_units(k, self.dropout, first, rows, width, room)
            for k, width, room in zip(keys, self.widths, self.rooms, strict=True)
        ]

    def outputs(self, x: Tensor, which: Tensor) -> Tensor:
        """Outputs of the models `which` int64 [m] on the same items [n, d]: [m, n, C], in blocks of items."""
        every = len(which) == len(self.seeds)
        params = self.params if every else self.states(which)
        absent = self.absent if every or self.absent is None else self.absent[which]
        block = max(1, LOOK // (len(which) * max([x.shape[-1], *self.widths])))
        parts = (x[i : i + block].expand(len(which), -1, -1) for i in range(0, len(x), block))
        return torch.cat([layers(params, absent, part, room=self.room)[0] for part in parts], 1)

    def states(self, which: Tensor | slice) -> list[Tensor]:
        """Parameters of the models `which` int64 [m], stacked; those of a slice are not copied."""
        return [p[which] for p in self.params]

    def keep(self, which: Tensor) -> None:
        """Go on with the models `which` int64 [m] only."""
        self.params = self.states(which)
        self.seeds = self.seeds[which.cpu().numpy()]
        self.lr, self.dropout, self.clip = self.lr[which], self.dropout[which], self.clip[which]
        self.absent = None if self.absent is None else self.absent[which]

    def weights(self, e: int, state: list[Tensor]) -> list[Tensor]:
        """Parameters of model e from its `states`: the same here."""
        return state


def layers(params: list[Tensor], absent: Tensor | None, x: Tensor, masks=None, room: Room | None = None):
    """x [E, b, d] -> outputs [E, b, C] and the inputs of every layer, hidden units in `room`; masks [E, b, H]
    scale them."""
    inputs, room = [x], room or Room()
    for layer in range(0, len(params) - 2, 2):
        h = room.take(("units", layer), x, *x.shape[:2], params[layer].shape[2])
        torch.baddbmm(params[layer + 1], inputs[-1], params[layer], out=h).relu_()
        inputs.append(h if masks is None else h.mul_(masks[layer // 2]))
    out = torch.baddbmm(params[-1], inputs[-1], params[-2])
    return (out if absent is None else out + absent), inputs


def train_stack(stack, data: StackData, configs: list, of_data: list[int], choose: str) -> list[Outcome]:
    """Train all models of a stack; each one's state is that of its best epoch on validation.

    Args:
        stack: MLPStack, or another with its methods.
        data: T data sets.
        configs: ProbeConfig of each model [E]; batch and loss are the same for all.
        of_data: data set of each model [E].
        choose: 'top-1', 'ap' or 'loss'; equal scores are decided by the loss, then by the earlier epoch.
    """
    device = data.x.device
    best = [p.clone() for p in stack.states(slice(None))]  # [E, ...], each model's of its best epoch
    outcomes = [Outcome([]) for _ in configs]
    left, of_data = list(range(len(configs))), torch.tensor(of_data, device=device)
    for epoch in range(1, max(c.epochs for c in configs) + 1):
        _one_epoch(stack, data, of_data, configs[left[0]].batch, epoch)
        with torch.no_grad():
            going_on, improved = _validate(stack, data, of_data, [outcomes[e] for e in left], choose, epoch)
            _keep(best, stack, left, improved)
        for place, e in enumerate(left):
            c = configs[e]
            waited = epoch - outcomes[e].epoch
            going_on[place] &= epoch < c.epochs and not (c.patience and waited >= c.patience)
        if not all(going_on):
            which = torch.tensor([i for i, on in enumerate(going_on) if on], dtype=torch.long, device=device)
            left = [e for e, on in zip(left, going_on, strict=True) if on]
            if not left:
                break
            stack.keep(which)
            of_data = of_data[which]
    for e, out in enumerate(outcomes):
        out.state = [p[e].clone() for p in best]
    return outcomes


def _keep(best: list[Tensor], stack, left: list[int], improved: list[int]) -> None:
    """Copy the parameters of the models at the places `improved` of the stack; `left` says which they are."""
    if len(improved) == len(best[0]):  # all: nothing to look up
        for kept, new in zip(best, stack.states(slice(None)), strict=True):
            kept.copy_(new)
    elif improved:
        device = best[0].device
        to = torch.tensor([left[place] for place in improved], device=device)
        which = torch.tensor(improved, device=device)
        for kept, new in zip(best, stack.states(which), strict=True):
            kept.index_copy_(0, to, new)


def _one_epoch(stack, data: StackData, of_data: Tensor, batch: int, epoch: int) -> None:
    """One pass of every model over its items; models with fewer items rest in the last steps."""
    n = data.n[of_data]  # [E]
    order = shuffled(hash_keys(stack.seeds, epoch, ORDER).to(n.device), n)  # [E, n]
    rows, most = order.shape[1], data.x.shape[1]
    order += (of_data * most)[:, None]
    x_all, share = data.x.flatten(0, 1), _shares(n, rows, batch)  # [T n, ...], [E, n, 1]
    y_all = data.y.flatten(0, 1).index_select(0, order.flatten()).unflatten(0, order.shape)  # [E, n, ...]
    ahead = max(
        1, _MASKS_AT_ONCE.get(n.device.type, 1 << 21) // (len(n) * batch * max(stack.widths, default=1))
    )
    masks, room = None, x_all.new_empty(len(n) * batch, *x_all.shape[1:])  # new memory for each step is slow
    for first in range(0, rows, batch):
        step = slice(first, min(first + batch, rows))
        if first % (ahead * batch) == 0:
            start, masks = first, stack.masks(epoch, first, min(ahead * batch, rows - first))
        here = None if masks is None else [m[:, step.start - start : step.stop - start] for m in masks]
        items = order[:, step]  # [E, b]
        x = torch.index_select(x_all, 0, items.flatten(), out=room[: items.numel()])
        stack.descend(x.unflatten(0, items.shape), y_all[:, step], share[:, step], here)


def _shares(n: Tensor, rows: int, batch: int) -> Tensor:
    """Each place's part in the mean loss of its step, 0 beyond a model's n items: [E] -> [E, rows, 1]."""
    steps = -(-rows // batch)
    real = (torch.arange(steps * batch, device=n.device) < n[:, None]).unflatten(1, (steps, batch))
    share = real / real.sum(2, keepdim=True).clamp(min=1)  # [E, steps, b]
    return share.flatten(1)[:, :rows, None]


def _validate(
    stack, data: StackData, of_data: Tensor, outcomes: list[Outcome], choose: str, epoch: int
) -> tuple[list[bool], list[int]]:
    """Score every model on its validation items: False for those that diverged, and the places of those that
    are better than before."""
    improved, going_on = [], [True] * len(outcomes)
    for t in of_data.unique().tolist():
        mine = (of_data == t).nonzero()[:, 0]
        outputs = stack.outputs(data.x_val[t], mine)
        loss = val_loss(stack.loss, outputs, data.y_val[t])
        scores = val_score(stack.loss, outputs, data.y_val[t], data.groups[t], choose, loss)
        for place, score, value in zip(mine.tolist(), scores.tolist(), loss.tolist(), strict=True):
            out = outcomes[place]
            out.losses.append(value)
            out.scores.append(score)
            if not math.isfinite(value):
                out.diverged_at, going_on[place] = epoch, False
            elif score > out.score or (score == out.score and value < out.loss):
                out.epoch, out.score, out.loss = epoch, score, value
                improved.append(place)
    return going_on, sorted(improved)


def _first_weights(sizes: list[int], outputs: list[int], seeds: list[int]) -> list[Tensor]:
    """Weights [E, in, out] and biases [E, 1, out] of each layer as torch.nn.Linear draws them, uniform in
    +-1/sqrt(inputs); outputs that a model does not have are 0."""
    params = []
    for into, out in zip(sizes, sizes[1:], strict=False):
        params += [torch.zeros(len(seeds), into, out), torch.zeros(len(seeds), 1, out)]
    for e, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        for place, p in enumerate(params):
            width = outputs[e] if place >= len(params) - 2 else p.shape[2]
            p[e, :, :width] = torch.rand(p.shape[1], width, generator=generator)
    for place, p in enumerate(params):
        p.mul_(2).sub_(1).div_(sizes[place // 2] ** 0.5)
    for p in params[-2:]:
        p *= (torch.arange(p.shape[2]) < torch.tensor(outputs)[:, None])[:, None]
    return params
