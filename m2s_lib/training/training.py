"""The one contrastive training engine (section 3.2.2, supp. 1.1c): E_shot, E_scene and the comparators."""

import dataclasses
import logging
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from m2s_lib.errors import M2SError
from m2s_lib.method.augmentation import augment
from m2s_lib.method.moco import info_nce, momentum_update, nt_xent
from m2s_lib.progress import Progress
from m2s_lib.training.checkpoint import Run, Step, StepLog, discard, identity, of_all_ranks, restore, save
from m2s_lib.training.distributed import Ranks

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ContrastiveConfig:
    """How to train; the defaults are the paper's (supp. 1.1c)."""

    method: str = (
        "moco"  # 'moco', or 'simclr': keys through the same encoder, the rest of the batch as negatives
    )
    epochs: int = 100  # passes over the queries
    batch: int = 128  # pairs a step
    lr: float = 1.5e-4  # peak learning rate of AdamW
    weight_decay: float = 0.01  # on all parameters, as MoCo v3 does
    warmup_epochs: float = 40  # linear warm-up, then half a cosine down to 0, per step
    momentum: float = 0.999  # of the key encoder
    temperature: float = 0.07  # tau
    queue: int = 65_536  # K, keys; keep it below the number of pairs
    queue_filled_only: bool = (
        False  # True: negatives are real keys only, for runs of few steps (see KeyQueue)
    )
    flip: bool = False  # random mirror images; the paper describes no augmentation
    crop: float = 1.0  # smallest area of a random crop, 1 is off
    jitter: float = 0.0  # brightness, contrast, saturation, 0 is off
    seed: int = 0  # order of the pairs and every random draw; the model has its own
    compile: bool = False  # torch.compile on CUDA; worth its minute of start from some thousand steps on
    bf16_on_cpu: bool = False  # True: about twice as fast on CPUs with AVX512-BF16 or AMX, slower on others
    checkpoint_every_s: float = 600.0  # seconds between checkpoints; 0 writes one after every step

    def __post_init__(self):
        if self.method not in ("moco", "simclr"):
            raise M2SError(f"method {self.method!r} is unknown: use 'moco' or 'simclr'")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise M2SError(
                f"warmup_epochs {self.warmup_epochs} must be below epochs {self.epochs}, or the rate "
                f"{self.lr} is never reached (the paper: 40 of 100)"
            )
        for name, low, high in (
            ("batch", 1, 1 << 20),
            ("queue", 1, 1 << 30),
            ("momentum", 0, 1),
            ("temperature", 1e-6, 1e6),
            ("crop", 1e-3, 1),
            ("jitter", 0, 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise M2SError(f"{name} {getattr(self, name)} must lie in {low}..{high}")


class PairSource(Protocol):
    """Where queries and their potential positive keys come from; one index is one query."""

    def __len__(self) -> int: ...

    def batch(
        self, indices: np.ndarray, generator: np.random.Generator, part: slice | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query uint8 [b, ...], keys uint8 [b, P, ...], mask bool [b, P] with a true entry in every row.

        With `part` only those rows of the batch are read; draws are made for all of `indices` all the same.
        """


def train_contrastive(
    model: nn.Module,
    pairs: PairSource,
    config: ContrastiveConfig,
    *,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = True,
    device: torch.device | str = "cpu",
    what: str = "contrastive training",
) -> pd.DataFrame:
    """Train `model` in place and return the log.

    Every epoch visits the queries in an order drawn from (seed, epoch); every batch has a generator of its
    own from (seed, epoch, position), so a run continued from a checkpoint gives, on the CPU, the same losses
    to the last bit as one that was never stopped. The last incomplete batch of an epoch is dropped, as MoCo
    does; with fewer pairs than a batch, all of them are the batch.

    Called in several processes that a launcher started, each reads and encodes its rows of the same batches;
    the losses are those of one process up to rounding, and a checkpoint goes on with any number of them.

    Args:
        model: maps uint8 frames [b, ...] to [b, d], has `out_dim` = d, and must not draw random numbers (no
            dropout).
        pairs: where queries and keys come from.
        config: how to train.
        checkpoint: folder for resuming; None keeps nothing. Without `resume` what is there is replaced.
        device: where to train; the model stays there.
        what: name in the progress lines.
    Returns:
        One row a step: step, epoch, loss, accuracy, lr, pairs_per_s, and alignment and uniformity of the last
        batch of each epoch (NaN in other rows).
    Raises:
        M2SError: no pairs, a loss that is not finite, an unfinished checkpoint of another configuration, or a
            batch that the number of processes does not divide.
    """
    batch = _checked_batch(len(pairs), config, Ranks.here())
    per_epoch = len(pairs) // batch
    run = Run(model, config, torch.device(device))
    if checkpoint is not None:
        run.identity = identity(run, pairs)
        restore(checkpoint, run) if resume else discard(checkpoint)
    run.ranks.agree({"step": run.step, "pairs": len(pairs), **run.identity})
    one_step = moco_step if config.method == "moco" else simclr_step
    bar = Progress(what, config.epochs * per_epoch - run.step, "steps", quiet=run.ranks.rank > 0)
    steps = StepLog(run, batch)
    if run.step == 0 and config.queue_filled_only:
        run.queue.enqueue(_last_keys(run, pairs, batch))
    for epoch in range(run.step // per_epoch, config.epochs):
        first = run.step - epoch * per_epoch
        for position, query, keys, mask in _batches(pairs, run, epoch, first, batch):
            lr = learning_rate(run.step, per_epoch, config)
            for group in run.optimizer.param_groups:
                group["lr"] = lr
            out = one_step(run, query, keys, mask)
            run.optimizer.zero_grad()
            out.loss.backward()
            run.optimizer.step()
            out = of_all_ranks(run.ranks, out)
            run.queue.enqueue(out.k.detach())
            steps.note(epoch, lr, out, ends=position == per_epoch - 1)
            run.step += 1
            bar.step(note=steps.said)
            if checkpoint is not None and steps.due():
                steps.flush()
                save(checkpoint, run, finished=False)
    steps.flush()
    if checkpoint is not None:
        save(checkpoint, run, finished=True)
    return pd.DataFrame(run.rows)


def moco_step(run: Run, query: Tensor, keys: Tensor, mask: Tensor) -> Step:
    """Momentum contrast: q by the encoder, k by its running average, negatives from the queue (Eq. 3)."""
    momentum_update(run.model, run.key_model, run.config.momentum)
    q = run.encode(query)  # [b, d]
    with torch.no_grad():
        k = run.encode(keys.flatten(0, 1), keys=True).unflatten(0, keys.shape[:2])  # [b, P, d]
    loss, accuracy, chosen = info_nce(q, k, run.queue.negatives(), run.config.temperature, mask)
    return Step(loss, accuracy, q.detach(), k[torch.arange(len(k), device=k.device), chosen])


def simclr_step(run: Run, query: Tensor, keys: Tensor, mask: Tensor) -> Step:
    """SimCLR, a comparator: both views by one encoder with gradients; the first existing key is the pair."""
    at = mask.int().argmax(dim=1)  # [b]
    key = keys[torch.arange(len(keys), device=keys.device), at]
    q, k = run.encode(torch.cat([query, key])).chunk(2)  # [b, d] each
    loss, accuracy, _ = nt_xent(run.ranks.gather(q), run.ranks.gather(k), run.config.temperature)
    return Step(loss, accuracy, q.detach(), k.detach())


def learning_rate(step: int, per_epoch: int, config: ContrastiveConfig) -> float:
    """Linear warm-up to `lr` over warmup_epochs, then half a cosine to 0 at the end of the last epoch."""
    warm = config.warmup_epochs * per_epoch
    if step < warm:
        return config.lr * (step + 1) / warm if warm >= 1 else config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / (config.epochs * per_epoch - warm)))


def _checked_batch(n: int, config: ContrastiveConfig, ranks: Ranks) -> int:
    """Pairs a step, of all ranks together, after saying what is unusual."""
    if n == 0:
        raise M2SError("there are no pairs to train on: the stage before selected none")
    ranks.part(min(config.batch, n))
    if ranks.rank == 0:
        _say_what_is_unusual(n, config)
    return min(config.batch, n)


def _say_what_is_unusual(n: int, config: ContrastiveConfig) -> None:
    if n < config.batch:
        log.warning("only %d pairs for a batch of %d: all of them are one batch", n, config.batch)
    if config.method == "moco" and config.queue > n:
        log.warning(
            "the queue holds %d keys and there are %d pairs: a query meets older keys of its own positive as "
            "negatives; a queue of at most %d avoids it",
            config.queue,
            n,
            n,
        )


def _batches(
    pairs: PairSource, run: Run, epoch: int, first: int, batch: int
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """This rank's rows of batches `first` and later of an epoch, on the device; the next are read ahead."""
    config, device, part = run.config, run.device, run.ranks.part(batch)
    order = np.random.default_rng((config.seed, epoch)).permutation(len(pairs))
    positions = range(first, len(pairs) // batch)

    def read(position: int) -> tuple[tuple[Tensor, ...], np.random.Generator]:
        generator = np.random.default_rng((config.seed, epoch, position))
        parts = pairs.batch(order[position * batch : (position + 1) * batch], generator, part)
        return tuple(
            t.pin_memory() if device.type == "cuda" and t.device.type == "cpu" else t for t in parts
        ), generator

    with ThreadPoolExecutor(1) as reader:
        coming = [reader.submit(read, p) for p in positions[:2]]
        for position in positions:
            parts, generator = coming.pop(0).result()
            if position + 2 < positions.stop:
                coming.append(reader.submit(read, position + 2))
            query, keys, mask = (t.to(device, non_blocking=True) for t in parts)
            yield position, *_augmented(query, keys, config, generator, part.start, batch), mask


def _augmented(query: Tensor, keys: Tensor, config, generator: np.random.Generator, first: int, batch: int):
    """Query and every key with draws of their own; they are rows `first` and later of the batch."""
    if not (config.flip or config.crop < 1 or config.jitter):
        return query, keys
    how = {"flip": config.flip, "crop": config.crop, "jitter": config.jitter}
    p = keys.shape[1]
    flat = augment(keys.flatten(0, 1), generator, **how, first=first * p, whole=batch * p)  # [b P, ...]
    return augment(query, generator, **how, first=first, whole=batch), flat.view_as(keys)


def _last_keys(run: Run, pairs: PairSource, batch: int) -> Tensor:
    """Keys of some pairs, so that the first step of a queue without random keys has negatives."""
    indices = np.random.default_rng((run.config.seed, 0)).permutation(len(pairs))[-batch:]
    generator = np.random.default_rng((run.config.seed, 0, 0, 1))
    _, keys, mask = pairs.batch(indices, generator, run.ranks.part(batch))
    with torch.no_grad():
        at = mask.int().argmax(dim=1)
        mine = run.encode(keys[torch.arange(len(keys)), at].to(run.device), keys=True)
        return run.ranks.gather(mine)  # [b, d]
