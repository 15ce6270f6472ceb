"""Batches for a training: in an order of their own for each epoch, read ahead, augmented on the device."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from m2s_lib.errors import M2SError
from m2s_lib.method.augmentation import augment


def read_batches(
    pairs, config, batch: int, epoch: int, positions: range, device: torch.device, part: slice | None = None
) -> Iterator[tuple[int, tuple[Tensor, Tensor, Tensor]]]:
    """Batches of an epoch with their positions in it, on the device; the next two are read ahead.

    Args:
        pairs: a PairSource. config: a ContrastiveConfig. batch: pairs in a batch. positions: which batches.
        part: rows of each that this process has; None: all.
    """
    part = part or slice(0, batch)
    order = np.random.default_rng((config.seed, epoch)).permutation(len(pairs))

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
            query, keys, about = (t.to(device, non_blocking=True) for t in parts)
            yield position, (*_augmented(query, keys, config, generator, part.start, batch), about)


def _augmented(query: Tensor, keys: Tensor, config, generator: np.random.Generator, first: int, batch: int):
    """Query and every key with draws of their own; they are rows `first` and later of the batch."""
    if not (config.flip or config.crop < 1 or config.jitter):
        return query, keys
    if query.dtype != torch.uint8:
        raise M2SError(
            "crop, jitter and flip change pictures, and these pairs are shot features: leave them off (shift can move)"
        )
    options = {"flip": config.flip, "crop": config.crop, "jitter": config.jitter}
    several = keys.shape[1] if keys.ndim > query.ndim else 1  # P
    flat = keys.reshape(-1, *query.shape[1:])  # [b P, ...]
    flat = augment(flat, generator, **options, first=first * several, whole=batch * several)
    return augment(query, generator, **options, first=first, whole=batch), flat.view_as(keys)
