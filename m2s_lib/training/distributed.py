"""The processes that train together, each on its part of one batch, with the losses of one process (section
3.2.2)."""

import dataclasses
import warnings

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from m2s_lib.errors import M2SError

TIMEOUT_S = 900.0  # how long a process waits for the others: the first may be writing a large checkpoint


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process among `size` that train together; alone it does nothing at all.

    Every one has the same weights, the same queue and draws the same random numbers; they differ in which
    rows of a batch they read and encode.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> "Ranks":
        """As torch.distributed was set up (by a launcher), or alone."""
        ready = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if ready else cls()

    def part(self, batch: int) -> slice:
        """Which rows of a batch are this process's; in the order of the ranks they are the batch.

        Raises M2SError for a batch that cannot be dealt out evenly.
        """
        if batch % self.size:
            fits = batch - batch % self.size
            raise M2SError(
                f"a batch of {batch} pairs cannot be dealt out evenly to {self.size} processes: use "
                f"{f'a batch of {fits}, or ' if fits else ''}train_workers that divide {batch} (when there "
                "are fewer pairs than the configured batch, all of them are the batch)"
            )
        mine = batch // self.size
        return slice(self.rank * mine, (self.rank + 1) * mine)

    def averaging(self, model: nn.Module) -> nn.Module:
        """The model with gradients that are means over all ranks, sent while the backward pass goes on."""
        if self.size == 1:
            return model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the option's new name is not in older torch
            return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)

    def gather(self, x: Tensor) -> Tensor:
        """All ranks' rows, in their order: [b, ...] to [size b, ...].

        Gradients flow to this rank's own rows, times `size`: for a loss that every rank computes of all rows
        (SimCLR's), the mean over ranks that `averaging` takes is then the gradient of that one loss.
        """
        return x if self.size == 1 else _Gather.apply(x, self)

    def agree(self, state: dict) -> None:
        """Check that all ranks start from the same state; M2SError says what differs where."""
        if self.size == 1:
            return
        states: list = [None] * self.size
        dist.all_gather_object(states, state)
        for rank, other in enumerate(states):
            if differ := [f"{n} {other[n]} (process 0: {v})" for n, v in states[0].items() if other[n] != v]:
                raise M2SError(
                    f"process {rank} of {self.size} starts from another state: {'; '.join(differ)}. All of "
                    "them must see the same run directory and films, on storage that they share"
                )


class _Gather(torch.autograd.Function):
    """all_gather along the first axis, see Ranks.gather."""

    @staticmethod
    def forward(ctx, x: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        out = x.new_empty(ranks.size * len(x), *x.shape[1:])
        dist.all_gather(list(out.chunk(ranks.size)), x.contiguous())
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad[ctx.ranks.part(len(grad))] * ctx.ranks.size, None
