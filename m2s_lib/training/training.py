"""What a contrastive training needs beside its loop: batches, learning rate, checkpoints, processes, log.

The loop itself, the method, stands in the notebooks 01 and 04 (and in trained_baselines.py, which compares):

    for query, key, pair in run.batches():
        ...  # momentum update, query, key, loss, step, enqueue
        run.note(loss, accuracy, q, k)
"""

import copy
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2s_lib.errors import M2SError
from m2s_lib.method.moco import KeyQueue
from m2s_lib.progress import Progress
from m2s_lib.training.checkpoint import discard, identity, restore, save
from m2s_lib.training.config import ContrastiveConfig, learning_rate
from m2s_lib.training.distributed import Ranks
from m2s_lib.training.loop import Loop
from m2s_lib.training.reading import read_batches
from m2s_lib.training.step_log import COLUMNS, StepLog

log = logging.getLogger(__name__)


class PairSource(Protocol):
    """Where queries and their potential positive keys come from; one index is one query."""

    def __len__(self) -> int: ...

    def digest(self) -> str:
        """Hash of the pairs and their pictures: what a continued training has to be about."""

    def batch(
        self, indices: np.ndarray, generator: np.random.Generator, part: slice | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries uint8 [b, ...]; keys uint8 [b, P, ...], of which a mask bool [b, P] says which exist, or
        uint8 [b, ...], one for each, with the film pair int64 [b] that it is of.

        With `part` only those rows of the batch are read; draws are made for all of `indices` all the same.
        """


class Encoding(nn.Module):
    """An encoder that computes in bf16 under autocast, or as it is, and gives fp32; its parameters are the
    encoder's own."""

    def __init__(self, encoder: nn.Module, kind: str, bf16: bool):
        super().__init__()
        self.encoder, self.kind, self.bf16 = encoder, kind, bf16

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames [b, ...] to float32 [b, d]."""
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.bf16):
            out = self.encoder(frames)
        return out.float()


class _SharedQueue(KeyQueue):
    """The same queue in every process that trains: it takes the keys of all of them."""

    ranks = Ranks()

    def gather(self, x: Tensor) -> Tensor:
        return self.ranks.gather(x)


class Training:
    """One training: what its loop reads and changes, and what goes on around it.

    Every epoch visits the queries in an order drawn from (seed, epoch); every batch has a generator of its
    own from (seed, epoch, position), so a run continued from a checkpoint gives, on the CPU, the same losses
    to the last bit as one that was never stopped. The last incomplete batch of an epoch is dropped, as MoCo
    does; with fewer pairs than a batch, all of them are the batch.

    With a launcher the loop runs in its processes (see `loop.Loop`), each of which reads and encodes its rows
    of the same batches; the losses are those of one process up to rounding, a checkpoint goes on with any
    number of them, and here the loop has no step left.

    Args:
        encoder: maps what `pairs` gives, uint8 frames or shot features [b, ...], to [b, d], has `out_dim` = d,
            and must not draw random numbers (no dropout). It is trained in place.
        pairs: where queries and keys come from; None: there are none, and nothing is trained.
        config: how to train.
        checkpoint: folder for resuming; None keeps nothing. Without `resume` what is there is replaced.
        device: where to train; the encoder stays there.
        launcher: starts the processes that train together, see `launchers.launcher`; None trains in this one.
        title: name in the progress lines.

    Attributes:
        f, g: query and key encoder, to [b, d] in fp32, not normalised. queue: of keys. optimizer: AdamW on
        f's parameters. step: how many are done. log: one row a step, with COLUMNS.
    """

    def __init__(
        self,
        encoder: nn.Module,
        pairs: PairSource | None,
        config: ContrastiveConfig,
        checkpoint: str | os.PathLike | None = None,
        *,
        resume: bool = True,
        device: torch.device | str = "cpu",
        launcher: object | None = None,
        title: str = "contrastive training",
    ):
        self.pairs, self.config, self.resume = pairs, config, resume
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.device, self.launcher, self.title = torch.device(device), launcher, title
        self.ranks, self.step, self.rows = Ranks.here(), 0, []
        self.encoder = encoder.to(self.device).train()
        averaging = self.ranks.averaging(self.encoder)  # first: it makes all ranks' weights the same
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.f, self.g = (self._encoding(e) for e in (averaging, self.key_encoder))
        self.queue = _SharedQueue(
            config.queue, encoder.out_dim, filled_only=config.queue_filled_only, seed=config.seed
        ).to(self.device)
        self.queue.ranks = self.ranks
        self.optimizer = torch.optim.AdamW(
            self.f.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.identity: dict = {}  # see checkpoint.identity; set before the first step
        self._steps_log = StepLog(self)

    def _encoding(self, encoder: nn.Module) -> Encoding:
        kind, asked = self.device.type, self.config.precision
        if self.config.compile and kind == "cuda":
            encoder = torch.compile(encoder)
        return Encoding(encoder, kind, asked == "bf16" or (asked == "auto" and kind == "cuda"))

    @property
    def log(self) -> pd.DataFrame:
        """step, epoch, loss, accuracy, lr, pairs_per_s, and alignment and uniformity of the last batch of
        each epoch (NaN in other rows)."""
        return pd.DataFrame(self.rows, columns=COLUMNS, dtype=None if self.rows else float)

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """This process's rows of one batch after another, on the device, from where a checkpoint ends.

        The caller is a `for` statement, whose body trains. Its text belongs to the checkpoint, so that a
        changed loss is trained anew.

        Raises:
            M2SError: no pairs, a loss that is not finite, an unfinished checkpoint of another configuration,
                a batch that the number of processes does not divide, or a second call.
        """
        if self.pairs is None or not self.config.epochs:
            return iter(())
        if self.step:
            raise M2SError(
                f"this training of {self.title} has had {self.step} steps: run the cell that makes it again, "
                "then the loop (what has a checkpoint goes on from it, a changed loop begins anew)"
            )
        loop = Loop.of(sys._getframe(1), self)
        if self.launcher is None:
            self._begin(loop)
            return self._steps()
        if self.checkpoint is None:
            raise M2SError(f"{self.title} in several processes needs a folder for its checkpoints")
        if not self.resume:
            discard(self.checkpoint)
        self.launcher.run(loop)
        self.resume = True
        self._begin(loop)
        return iter(())

    def note(self, loss: Tensor, accuracy: Tensor, q: Tensor, k: Tensor) -> None:
        """Records the step that the loop is in.

        Args:
            loss, accuracy: [], of this process's rows. q, k: [b, d] queries and their keys, of unit length.
        """
        self._steps_log.note(loss, accuracy, q, k)

    def _begin(self, loop: Loop) -> None:
        batch = self._checked_batch()
        self.per_epoch = len(self.pairs) // batch
        self.batch, self.total = batch, self.config.length(self.per_epoch)
        if self.checkpoint is not None:
            self.identity = identity(self, loop.meaning)
            self.finished = restore(self.checkpoint, self) if self.resume else discard(self.checkpoint)
        self.ranks.agree({"step": self.step, "pairs": len(self.pairs), **self.identity})

    def _steps(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        steps, per_epoch, part = self._steps_log, self.per_epoch, self.ranks.part(self.batch)
        bar = Progress(self.title, self.total - self.step, "steps", quiet=self.ranks.rank > 0)
        steps.begin(self.batch)
        if self.step == 0 and self.config.queue_filled_only:
            self._fill_queue()
        while self.step < self.total:
            epoch, first = divmod(self.step, per_epoch)
            positions = range(first, min(per_epoch, self.total - epoch * per_epoch))
            coming = (self.pairs, self.config, self.batch, epoch, positions, self.device, part)
            for position, batch in read_batches(*coming):
                lr = learning_rate(self.step, per_epoch, self.config)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                steps.at(epoch, lr, ends=position == positions[-1])
                yield batch
                self.step += 1
                bar.step(note=steps.text)
                if self.checkpoint is not None and steps.due():
                    steps.flush()
                    save(self.checkpoint, self, finished=False)
        steps.flush()
        if self.checkpoint is not None and not self.finished:
            save(self.checkpoint, self, finished=True)

    def _checked_batch(self) -> int:
        """Pairs a step, of all ranks together, after a word about what is unusual."""
        n, config, ranks = len(self.pairs), self.config, self.ranks
        if n == 0:
            raise M2SError("there are no pairs to train on: the stage before selected none")
        batch = min(config.batch, n)
        if self.launcher is not None:
            return batch  # the processes have looked
        self.queue.first_row = ranks.part(batch).start
        if ranks.rank == 0 and n < config.batch:
            log.warning("only %d pairs for a batch of %d: all of them are one batch", n, config.batch)
        if ranks.rank == 0 and config.queue > n:
            log.warning(
                "the queue holds %d keys and there are %d pairs: a query meets older keys of its own "
                "positive as negatives; a queue of at most %d avoids it",
                config.queue,
                n,
                n,
            )
        return batch

    def _fill_queue(self) -> None:
        """Keys of some pairs, so that the first step of a queue without random keys has negatives."""
        indices = np.random.default_rng((self.config.seed, 0)).permutation(len(self.pairs))[-self.batch :]
        generator = np.random.default_rng((self.config.seed, 0, 0, 1))
        query, keys, about = self.pairs.batch(indices, generator, self.ranks.part(self.batch))
        several = keys.ndim > query.ndim
        if several:
            keys = keys[torch.arange(len(keys)), about.int().argmax(dim=1)]  # the first that exists
        with torch.no_grad():
            k = F.normalize(self.g(keys.to(self.device)), dim=-1)
        self.queue.enqueue(k, None if several else about.to(self.device))
