"""Momentum contrast (section 3.2.2, Eq. 1 and 3): loss, queue of keys, momentum update, two measures."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2s_lib.errors import M2SError

_NEVER = -1e9  # a logit that counts for nothing; finite, so that a query without any negative has a gradient


class Contrast(NamedTuple):
    """Result of a contrastive loss over a batch."""

    loss: Tensor  # [], mean over the batch
    accuracy: Tensor  # [], share of queries whose positive scores above every negative, 0..1
    chosen: Tensor  # int64 [b], which of the P potential keys was the positive


def info_nce(
    q: Tensor,
    k: Tensor,
    negatives: Tensor,
    temperature: float = 0.07,
    mask: Tensor | None = None,
    counts: Tensor | None = None,
) -> Contrast:
    """InfoNCE over one positive and K negatives (Eq. 3); the positive is the nearest key (Eq. 1).

    With l+ the positive and l_i the negative logits, the loss -log(exp l+ / (exp l+ + sum exp l_i)) is
    softplus(logsumexp(l_i) - l+), so no [b, 1 + K] matrix is put together. A query whose positive only ties
    with a negative does not count as right: an encoder that has collapsed scores 0, not 1.

    Args:
        q: [b, d] queries of unit length; gradients flow here.
        k: keys of unit length without gradient, [b, d] or [b, P, d].
        negatives: [K, d] of unit length; must stay untouched until the backward pass is done.
        temperature: tau.
        mask: bool [b, P], which potential keys exist; every row needs one. None: all.
        counts: bool [b, K], which negatives count for which query. None: all.
    """
    k = k[:, None] if k.ndim == 2 else k  # [b, P, d]
    q = q / temperature
    positives = torch.einsum("bd,bpd->bp", q, k)  # [b, P]
    if mask is not None:
        positives = positives.masked_fill(~mask, -torch.inf)
    positive, chosen = positives.max(dim=1)  # [b], [b]
    others = q @ negatives.T  # [b, K]
    if counts is not None:
        others = others.masked_fill(~counts, _NEVER)
    loss = F.softplus(others.logsumexp(dim=1) - positive).mean()
    accuracy = (positive > others.detach().amax(dim=1)).float().mean()
    return Contrast(loss, accuracy.detach(), chosen)


def nt_xent(q: Tensor, k: Tensor, temperature: float = 0.07) -> Contrast:
    """SimCLR's loss, a comparator: each of the 2b views against its pair and the other 2b - 2.

    Args:
        q, k: [b, d] of unit length, row i of one being the pair of row i of the other; gradients flow through
            both.
    """
    b = len(q)
    views = torch.cat([q, k])  # [2b, d]
    logits = (views @ views.T / temperature).fill_diagonal_(-torch.inf)  # [2b, 2b]
    pair = torch.arange(2 * b, device=q.device).roll(b)  # [2b]
    positive = logits.gather(1, pair[:, None])[:, 0]  # [2b]
    others = logits.detach().scatter(1, pair[:, None], -torch.inf).amax(dim=1)
    loss = F.cross_entropy(logits, pair)
    return Contrast(loss, (positive > others).float().mean().detach(), pair.new_zeros(b))


class KeyQueue(nn.Module):
    """Ring buffer of the last K keys, the negatives of section 3.2.2, and which film pair each is of.

    Starts with random unit vectors, as MoCo does. `filled_only` leaves those out of the negatives: in small
    runs, where a queue is a good part of the training, random directions are negatives that teach nothing.
    With K = 0 nothing is kept.

    Args:
        length: K, keys. width: d. seed: for the random start.
    """

    first_row = 0  # of this process's rows in the batch of all processes that train together

    def __init__(self, length: int, width: int, *, filled_only: bool = False, seed: int = 0):
        super().__init__()
        start = torch.randn(length, width, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("keys", F.normalize(start, dim=1))  # [K, d]
        self.register_buffer("pairs", torch.full((length,), -1))  # [K], -1: of none
        self.filled_only = filled_only
        self.seen = 0  # keys enqueued so far; a Python number, so that no step waits for the device

    def negatives(self) -> Tensor:
        """[K, d], or [filled, d] when only the filled part counts."""
        return self.keys[: self._counted()]

    def negatives_of(
        self, k: Tensor, pair: Tensor, source: str = "queue", own_pair: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Negatives of a batch, and which of them count for which query.

        Args:
            k: [b, d] keys of this batch, row i being query i's own. pair: int64 [b], the film pair of each.
            source: 'queue', 'batch' (the other keys of this batch, as in MoCo v3) or 'both'.
            own_pair: whether keys of the query's own film pair count.

        Returns:
            [K, d], [b + K, d] or [b, d], and bool [b, as many], None when all count for all.
        """
        keys, pairs = [], []
        if source != "batch":
            keys, pairs = [self.negatives()], [self.pairs[: self._counted()]]
        if source != "queue":
            keys, pairs = [self.gather(k), *keys], [self.gather(pair), *pairs]
        if source == "queue" and own_pair:
            return keys[0], None
        keys, pairs = torch.cat(keys), torch.cat(pairs)
        counts = torch.ones(len(k), len(keys), dtype=torch.bool, device=k.device)
        if source != "queue":
            rows = torch.arange(len(k), device=k.device)
            counts[rows, self.first_row + rows] = False  # its own key is the positive
        return keys, counts if own_pair else counts & (pair[:, None] != pairs)

    def gather(self, x: Tensor) -> Tensor:
        """Rows of all processes that train together; here there is one."""
        return x

    def _counted(self) -> int:
        return min(self.seen, len(self.keys)) if self.filled_only else len(self.keys)

    @torch.no_grad()
    def enqueue(self, keys: Tensor, pair: Tensor | None = None) -> None:
        """Put keys [b, d], and the film pairs [b] that they are of, over the oldest ones.

        b need not divide K and may exceed it, then the last K stay. Call it after the backward pass, which
        still needs the old keys.
        """
        if not (length := len(self.keys)):
            return
        keys = self.gather(keys.to(self.keys.dtype))
        pair = keys.new_full((len(keys),), -1, dtype=torch.long) if pair is None else self.gather(pair)
        skipped = max(0, len(keys) - length)
        at = (self.seen + skipped) % length
        self.seen += len(keys)
        for ring, new in ((self.keys, keys[skipped:]), (self.pairs, pair[skipped:])):
            first = min(len(new), length - at)
            ring[at : at + first] = new[:first]
            ring[: len(new) - first] = new[first:]


@torch.no_grad()
def momentum_update(query: nn.Module, key: nn.Module, momentum: float) -> None:
    """Key parameters become momentum * key + (1 - momentum) * query, in place; buffers are copied.

    Raises:
        M2SError: a key parameter is below fp32, where a step of 1 - momentum = 0.001 rounds to nothing.
    """
    keys, queries = list(key.parameters()), list(query.parameters())
    if low := next((p.dtype for p in keys if p.dtype in (torch.bfloat16, torch.float16)), None):
        raise M2SError(f"the momentum encoder is {low}: keep fp32 weights and compute in bf16 under autocast")
    torch._foreach_lerp_(keys, queries, 1 - momentum)
    for to, source in zip(key.buffers(), query.buffers(), strict=True):
        to.copy_(source)


def alignment(q: Tensor, k: Tensor) -> Tensor:
    """Mean squared distance of pairs [b, d] of unit length (Wang and Isola 2020): 0 best, 4 worst."""
    return (q - k).square().sum(dim=1).mean()


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    """Log of the mean Gaussian potential of pairs among x [b, d] of unit length (Wang and Isola 2020).

    0 when all points are one; lower is more spread out, about -2t for random directions in many dimensions.
    """
    return torch.pdist(x).square().mul(-t).exp().mean().log()
