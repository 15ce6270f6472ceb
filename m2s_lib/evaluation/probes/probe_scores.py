"""Losses of the probes, and the validation scores that choose an epoch.

Letters: b batch, n items, G groups of items, C outputs.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

LOSSES = ("cross_entropy", "mse", "bce")
CHOICES = ("top-1", "ap", "loss")


def mean_loss(loss: str, out: Tensor, y: Tensor) -> Tensor:
    """Returns the mean loss of outputs [b, C] over class numbers int64 [b], or numbers or 0/1 [b, C]."""
    if loss == "cross_entropy":
        return F.cross_entropy(out, y)
    return F.mse_loss(out, y) if loss == "mse" else F.binary_cross_entropy_with_logits(out, y)


def val_score(loss: str, out: Tensor, y: Tensor, groups: Tensor | None, choose: str) -> float:
    """Returns the score of outputs [n, C] on validation, higher is better. Items of a group count as one.

    The outputs of a group are averaged as LVU does: probabilities for classes, numbers for regression.
    """
    if choose == "loss" and (groups is None or loss != "mse"):
        return -float(mean_loss(loss, out, y))
    out = probabilities(loss, out)
    if groups is not None:
        out, first = group_means(out, groups)
        y = y[first]
    if choose == "loss":
        return -float(F.mse_loss(out, y))
    if choose == "top-1":
        return float((out.argmax(-1) == y).double().mean())
    hot = F.one_hot(y, out.shape[-1]) if loss == "cross_entropy" else y
    return macro_ap(out, hot.bool())


def probabilities(loss: str, out: Tensor) -> Tensor:
    """Returns outputs as they are read: probabilities of exclusive or independent classes, or numbers."""
    if loss == "mse":
        return out
    return out.softmax(-1) if loss == "cross_entropy" else out.sigmoid()


def group_means(out: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Returns means of [n, C] over the items of each group, [G, C], and each one's first item int64 [G]."""
    count = int(groups.max()) + 1
    sizes = torch.bincount(groups, minlength=count)
    means = out.new_zeros(count, out.shape[1]).index_add_(0, groups, out) / sizes[:, None]
    first = torch.full((count,), len(groups), device=groups.device)
    first.scatter_reduce_(0, groups, torch.arange(len(groups), device=groups.device), "amin")
    return means, first


def macro_ap(scores: Tensor, hot: Tensor) -> float:
    """Returns the mean average precision over the classes with a positive: scores, bool [n, C]; 0 of none.

    Equal scores are one step, as in scikit-learn, which would take a second an epoch for a hundred classes.
    """
    hot, scores = hot[:, hot.any(0)], scores[:, hot.any(0)]
    if not hot.shape[1]:
        return 0.0
    ranked, order = scores.sort(dim=0, descending=True, stable=True)
    right = hot.gather(0, order).double()  # [n, C]
    rank = torch.arange(len(scores), device=scores.device)[:, None].expand_as(ranked)
    step_ends = torch.ones_like(ranked, dtype=torch.bool)
    step_ends[:-1] = ranked[1:] != ranked[:-1]
    end = torch.where(step_ends, rank, len(scores)).flip(0).cummin(0).values.flip(0)
    precision = right.cumsum(0).gather(0, end) / (end + 1)
    return float(((right * precision).sum(0) / right.sum(0)).mean())
