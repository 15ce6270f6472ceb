"""The average pool of movie similarity learning as sums over blocks of shots (§3.1.2, Fig. 2, §4.1.2)."""

from dataclasses import asdict, dataclass
from math import gcd

import torch
from torch import Tensor

from m2s_lib.errors import M2SError


@dataclass(frozen=True)
class Pooling:
    """Lengths of Fig. 2, in shots for the average pool and in rows of B for the max pool (§4.1.2).

    Raises M2SError when no window fits.
    """

    shots: int = 1024  # length every film is cut or zero-padded to
    avg_kernel: int = 16  # shots in a "scene" of B
    avg_stride: int = 8
    max_kernel: int = 16  # rows of B in a neighbourhood of V
    max_stride: int = 8

    def __post_init__(self):
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise M2SError(f"Pooling.{name} is {value!r}: it must be a whole number of at least 1")
        if self.avg_kernel > self.shots:
            raise M2SError(f"avg_kernel {self.avg_kernel} is longer than {self.shots} shots: lower it")
        if self.max_kernel > self.all_rows:
            raise M2SError(f"max_kernel {self.max_kernel} exceeds the {self.all_rows} rows of B: lower it")

    @property
    def all_rows(self) -> int:
        """Rows of the whole B (127 in the paper)."""
        return (self.shots - self.avg_kernel) // self.avg_stride + 1

    @property
    def side(self) -> int:
        """Rows of V (14 in the paper)."""
        return (self.all_rows - self.max_kernel) // self.max_stride + 1

    @property
    def rows(self) -> int:
        """Rows of B that the max pool reads (120 in the paper): floor mode leaves the last ones out."""
        return min(self.all_rows, (self.side - 1) * self.max_stride + self.max_kernel)

    @property
    def shots_read(self) -> int:
        """Shots that reach V (968 in the paper); later ones change nothing and are never computed."""
        return (self.rows - 1) * self.avg_stride + self.avg_kernel

    @property
    def n_values(self) -> int:
        """Values in V (196 in the paper)."""
        return self.side**2


def valid_shots(lengths: Tensor, u: int, dtype: torch.dtype) -> Tensor:
    """1 for the real shots of each film, 0 for padding: lengths [b] -> [b, u]."""
    return (torch.arange(u, device=lengths.device) < lengths[:, None]).to(dtype)


def block_sums(h: Tensor, valid: Tensor, pooling: Pooling) -> Tensor:
    """Sums over blocks of gcd(kernel, stride) real shots: h [b, u, d], valid [b, u] -> [b, blocks, d]."""
    block = gcd(pooling.avg_kernel, pooling.avg_stride)
    if h.is_cuda:
        return masked_sums(h, valid, block)
    return torch.einsum("bgsd,bgs->bgd", h.unflatten(1, (-1, block)), valid.unflatten(1, (-1, block)))


def masked_sums(h: Tensor, valid: Tensor, block: int) -> Tensor:
    """`block_sums` for a GPU, where the contraction would be a product of one row for each block: tens of
    thousands of them. Added up in float32 and rounded once, under autocast too."""
    return (h * valid[..., None]).unflatten(1, (-1, block)).sum(2, dtype=h.dtype)


def window_means(blocks: Tensor, pooling: Pooling) -> Tensor:
    """Averages over the windows of the average pool from `block_sums`: [b, blocks, d] -> [b, rows, d]."""
    block = gcd(pooling.avg_kernel, pooling.avg_stride)
    per_window, step = pooling.avg_kernel // block, pooling.avg_stride // block
    last = (pooling.rows - 1) * step + 1
    return sum(blocks[:, i : i + last : step] for i in range(per_window)) / pooling.avg_kernel


def pool_shots(h: Tensor, valid: Tensor, pooling: Pooling) -> Tensor:
    """Average pool over time, padding counted as zeros: h [b, u, d], valid [b, u] -> [b, rows, d].

    Sums blocks first, so each shot is read once however windows overlap.
    """
    return window_means(block_sums(h, valid, pooling), pooling)


class DroppedSums(torch.autograd.Function):
    """block_sums(dropout(relu(z))), with one array of z's size in each direction.

    What is kept for the way back is the dropped-out values themselves: where they are above zero the gradient
    of a block goes through, times dropout's scale. The same numbers as the three steps one by one, to the
    last bit; those write seven such arrays, which costs as much as the FC layer.
    """

    @staticmethod
    def forward(ctx, z: Tensor, keep: Tensor, scale: float, valid: Tensor, pooling: Pooling) -> Tensor:
        h = z.detach().relu_()  # z itself: nothing else reads FC1's output
        h.mul_(keep).mul_(scale)
        ctx.save_for_backward(h, valid)
        ctx.scale = scale
        return block_sums(h, valid, pooling)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        h, valid = ctx.saved_tensors
        h = h.unflatten(1, (gradient.shape[1], -1))  # [b, g, s, d]
        through = (gradient * ctx.scale)[:, :, None].expand_as(h)
        z = torch.ops.aten.threshold_backward(through, h, 0).flatten(1, 2)  # [b, u, d]
        if not valid.all():
            z.mul_(valid[..., None])
        return z, None, None, None, None
