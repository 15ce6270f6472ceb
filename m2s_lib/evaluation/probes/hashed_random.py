"""Random numbers by hash: the value at a place depends on (seed, epoch, purpose, place) and on nothing else.

A model that is trained in a stack, alone, on a CPU or on a GPU thereby sees the same order and the same
dropout. The mixing steps are Wellons' lowbias32; products wrap around at 32 bits.
"""

import math

import numpy as np
import torch
from torch import Tensor

_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B
ORDER = 0  # purpose of a key: the order of the items; 1, 2, ... are the dropout of each layer


class Room:
    """Memory that is used again and again: asking for half a megabyte costs more than the sums done in it."""

    def __init__(self):
        self._given: dict[object, Tensor] = {}

    def take(self, what: object, like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Memory of this shape, given for `what` before, with old values; device and type are those of `like`
        unless told."""
        given = self._given.get(what)
        if given is not None and given.shape == shape:
            return given
        count = math.prod(shape)
        if given is None or given.untyped_storage().nbytes() < count * given.itemsize:
            given = like.new_empty(count, dtype=dtype)
        given = self._given[what] = given.as_strided((count,), (1,)).view(shape)
        return given


def hash_keys(seeds: np.ndarray, epoch: int, purpose: int) -> Tensor:
    """One 32-bit key for each seed uint64 [E]: int32 [E]."""
    keys = _mix(seeds.astype(np.uint32) ^ _mix((seeds >> np.uint64(32)).astype(np.uint32)))
    for word in (epoch, purpose):
        keys = _mix(keys + np.uint32(0x9E3779B9) ^ np.uint32(word))
    return torch.from_numpy(keys.view(np.int32))


def hash_bits(keys: Tensor, first: int, count: int, room: Room | None = None) -> Tensor:
    """Random bits of the places first .. first + count under each key: int32 [E, count] (in `room`)."""
    x, shifted = (room or Room()).take("bits", keys, 2, len(keys), count, dtype=torch.int32)
    places = torch.arange(first, first + count, dtype=torch.int32, device=keys.device)
    torch.bitwise_xor(places, keys[:, None], out=x)
    for by, factor in ((16, _FIRST), (15, _SECOND - (1 << 32)), (16, 1)):
        torch.bitwise_right_shift(x, by, out=shifted)
        x ^= shifted.bitwise_and_((1 << 32 - by) - 1)  # the shift keeps the sign, which must not come in
        x *= factor
    return x


def shuffled(keys: Tensor, n: Tensor) -> Tensor:
    """An order of 0 .. n-1 for each key: int64 [E, most n]; the places beyond a model's own n come last."""
    most = int(n.max())
    drawn = hash_bits(keys, 0, most).long()
    drawn[torch.arange(most, device=n.device) >= n[:, None]] = 1 << 40
    return drawn.argsort(dim=1, stable=True)


def kept_units(
    keys: Tensor, dropout: Tensor, first: int, rows: int, width: int, room: Room | None = None
) -> Tensor:
    """Dropout of the rows first .. first + rows: 1 / (1 - p) where a unit is kept, else 0; [E, rows, width].

    Args:
        keys: int32 [E]. dropout: p of each model [E, 1, 1], 0 <= p < 1; counted in 65536ths.
        room: where to work and to leave what is returned.
    """
    room = room or Room()
    half = -(-width // 2)  # one hash makes two 16-bit numbers
    drawn = hash_bits(keys, first * half, rows * half, room).view(torch.int16)
    below = (dropout * 65536 - 32768).round().to(torch.int16)
    kept = drawn.view(len(keys), rows, 2 * half)[..., :width].ge_(below)  # 0 or 1; a bool is slow to convert
    units = room.take("units", keys, *kept.shape, dtype=torch.float32)
    return units.copy_(kept).mul_(1 / (1 - dropout))


def _mix(x: np.ndarray) -> np.ndarray:
    """lowbias32 of uint32 numbers."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(_FIRST)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(_SECOND)
    return x ^ (x >> np.uint32(16))
