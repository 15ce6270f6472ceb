"""Losses of the probes, their derivatives, and the validation scores that choose an epoch.

Letters: E models in a stack, b batch, n items, G groups of items, C outputs.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

LOSSES = ("cross_entropy", "mse", "bce")
CHOICES = ("top-1", "ap", "loss")


def val_score(
    loss: str, out: Tensor, y: Tensor, groups: Tensor | None, choose: str, losses: Tensor
) -> Tensor:
    """Score of each model, higher is better: outputs [E, n, C] -> [E]. Items of a group count as one.

    The outputs of a group are averaged as LVU does: probabilities for classes, numbers for regression.
    """
    out = probabilities(loss, out)
    if groups is not None:
        out, first = group_means(out, groups)
        y = y[first]
        losses = ((out - y.view(1, len(y), -1)) ** 2).mean((1, 2)) if loss == "mse" else losses
    if choose == "top-1":
        return (out.argmax(-1) == y).double().mean(1)
    if choose == "ap":
        hot = F.one_hot(y, out.shape[-1]) if loss == "cross_entropy" else y
        return macro_ap(out, hot.bool())
    return -losses.double()


def probabilities(loss: str, out: Tensor) -> Tensor:
    """Outputs as they are read: probabilities of exclusive classes, of independent ones, or numbers."""
    if loss == "mse":
        return out
    return out.softmax(-1) if loss == "cross_entropy" else out.sigmoid()


def group_means(out: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of [E, n, C] over items of one group: [E, G, C]; and the first item of each group int64 [G]."""
    count = int(groups.max()) + 1
    sizes = torch.bincount(groups, minlength=count)
    means = out.new_zeros(len(out), count, out.shape[-1]).index_add_(1, groups, out) / sizes[:, None]
    first = torch.full((count,), len(groups), device=groups.device)
    first = first.scatter_reduce(0, groups, torch.arange(len(groups), device=groups.device), "amin")
    return means, first


def macro_ap(scores: Tensor, hot: Tensor) -> Tensor:
    """Mean average precision over the classes that have a positive: [E, n, C], bool [n, C] -> float64 [E].

    Equal scores are one step, as in scikit-learn.
    """
    hot, scores = hot[:, hot.any(0)], scores[..., hot.any(0)]
    ranked, order = scores.sort(dim=1, descending=True, stable=True)
    right = hot.expand(len(scores), -1, -1).gather(1, order).double()  # [E, n, C]
    place = torch.arange(scores.shape[1], device=scores.device)[:, None].expand(ranked.shape[1:])
    step_ends = torch.ones_like(ranked, dtype=torch.bool)
    step_ends[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    end = torch.where(step_ends, place, scores.shape[1]).flip(1).cummin(1).values.flip(1)
    precision = right.cumsum(1).gather(1, end) / (end + 1)
    return ((right * precision).sum(1) / right.sum(1)).mean(1)


def loss_gradient(loss: str, out: Tensor, y: Tensor) -> Tensor:
    """Derivative of each item's loss by its outputs [E, b, C]."""
    if loss == "cross_entropy":
        return out.softmax(-1).scatter_add_(-1, y[..., None], out.new_full((*y.shape, 1), -1.0))
    error = (out.sigmoid() - y) if loss == "bce" else 2 * (out - y)
    return error / out.shape[-1]


def val_loss(loss: str, out: Tensor, y: Tensor) -> Tensor:
    """Mean loss over the items: [E]."""
    if loss == "cross_entropy":
        return -out.log_softmax(-1)[:, torch.arange(len(y), device=y.device), y].mean(1)
    if loss == "mse":
        return ((out - y) ** 2).mean((1, 2))
    return F.binary_cross_entropy_with_logits(out, y.expand_as(out), reduction="none").mean((1, 2))
