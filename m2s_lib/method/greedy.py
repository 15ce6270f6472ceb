"""Greedy choice of scene pairs that do not overlap (§3.2, supp. 1.1c and 3a), fast on the CPU and on CUDA.

All functions give the list that this gives: sort all windows by descending score, then lower i, then lower
j; walk down; take a window unless a taken one is nearer than n rows or nearer than n columns.
"""

import heapq

import numpy as np
import torch
from torch import Tensor

from m2s_lib.errors import M2SError

Picks = tuple[np.ndarray, np.ndarray, np.ndarray]


def greedy_pairs(b: np.ndarray, n: int, floor: float = -np.inf) -> Picks:
    """Chooses scene pairs from B in descending score, each shot of either film at most once.

    Rows are walked in the order of their best windows; a row is corrected only when it comes up and its
    columns are taken, and waits in a heap from then on (an outdated best is never too low). Where all rows
    want the same columns that is slow, so after one correction a row (films need 0.1 to 1) the rest is done
    by repeated argmax over what is free.

    Args:
        b: scores [M, N] of windows starting at shot i of film 1 and shot j of film 2; -inf is never chosen.
        n: shots in a window.
        floor: stop at scores below this.

    Returns:
        i, j (int64) and score (dtype of b), best first.

    Raises:
        M2SError: a score is NaN or +inf, or n is below 1.
    """
    b = np.ascontiguousarray(b)
    _check(b, n)
    if not b.size:
        return _picks([], b)
    floor = float(b.dtype.type(floor))
    best = b.argmax(axis=1)  # the first of equals, so the lowest j
    top = b[np.arange(len(b)), best]
    if not (top < np.inf).all():  # argmax finds NaN first
        raise M2SError(f"scene similarities hold NaN or inf in row {int(np.flatnonzero(~(top < np.inf))[0])}")
    m, end = len(b), len(b) + n  # a row behind the last, which is worst and never used
    ahead, scores, columns = np.argsort(-top, kind="stable").tolist(), (-top).tolist(), best.tolist()
    ahead.append(end)
    heap: list[tuple[float, int, int]] = []  # rows that were corrected
    side, near = n - 1, b"\1" * (2 * n - 1)  # room on both sides, so that what is near needs no limits
    row_used, column_used = bytearray(end + n), bytearray(b.shape[1] + 2 * side)
    shut = np.zeros(b.shape[1] + 2 * side, dtype=b.dtype)  # added to a row: -inf over used columns
    over = shut[side : side + b.shape[1]]
    chosen: list[tuple[int, int]] = []
    at, corrections = 0, 0
    while corrections < m:
        while row_used[(i := ahead[at]) + side]:
            at += 1
        while heap and row_used[heap[0][1] + side]:
            heapq.heappop(heap)
        entry = (scores[i], i, columns[i]) if i < m else (np.inf, end, 0)
        corrected = bool(heap) and heap[0] < entry
        score, i, j = heap[0] if corrected else entry
        if score == np.inf or -score < floor:
            return _picks(chosen, b)
        if not column_used[j + side]:  # its row is used from now on, which takes it out of either list
            chosen.append((i, j))
            row_used[i : i + len(near)] = column_used[j : j + len(near)] = near
            shut[j : j + len(near)] = -np.inf
            continue
        row = b[i] + over
        j = int(row.argmax())
        if corrected:
            heapq.heapreplace(heap, (-float(row[j]), i, j))
        else:
            heapq.heappush(heap, (-float(row[j]), i, j))
            at += 1
        corrections += 1
    free = (np.frombuffer(used, dtype=np.uint8)[side:] == 0 for used in (row_used, column_used))
    rows, columns = (np.flatnonzero(f[:size]) for f, size in zip(free, b.shape, strict=True))
    return _picks(chosen + _repeated_argmax(b, rows, columns, n, floor), b)


def _check(b, n: int) -> None:
    if b.ndim != 2:
        raise M2SError(f"scene similarities of shape {list(b.shape)}, expected [M, N]")
    if n < 1:
        raise M2SError(f"a scene of {n} shots: it needs at least 1")


def _picks(chosen: list[tuple[int, int]], b: np.ndarray) -> Picks:
    i, j = np.array(chosen, dtype=np.int64).reshape(-1, 2).T
    return i.copy(), j.copy(), b[i, j] if len(i) else np.empty(0, dtype=b.dtype)


def _repeated_argmax(b: np.ndarray, rows: np.ndarray, columns: np.ndarray, n: int, floor: float) -> list:
    """The rest of the choice on a compact copy of the free rows and columns; used rows leave it by halves."""
    chosen = []
    c = b.take(rows, axis=0).take(columns, axis=1) if len(columns) < b.shape[1] else b.take(rows, axis=0)
    free = np.ones(len(rows), dtype=bool)
    while c.size:
        i, j = divmod(int(c.argmax()), c.shape[1])  # the first of equals: lowest i, then lowest j
        if c[i, j] < floor or c[i, j] == -np.inf:
            break
        chosen.append((int(rows[i]), int(columns[j])))
        top, bottom = np.searchsorted(rows, [rows[i] - n + 1, rows[i] + n])
        left, right = np.searchsorted(columns, [columns[j] - n + 1, columns[j] + n])
        c[top:bottom] = -np.inf
        c[:, left:right] = -np.inf
        free[top:bottom] = False
        if free.sum() < len(rows) / 2:
            c, rows = c[free], rows[free]
            free = np.ones(len(rows), dtype=bool)
    return chosen


def greedy_batch(b: Tensor, n: int, floor: float | Tensor = -np.inf) -> list[Picks]:
    """`greedy_pairs` for many film pairs at once, in rounds that need no order.

    A window that beats every window within n rows or n columns of it is chosen by the greedy walk whatever
    happens elsewhere, so each round takes all of these at once and shuts their rows and columns; 10 to 20
    rounds do a film pair. Score and position are packed into one int64, so ties are exact on every device.

    Args:
        b: float32 scores [P, M, N]; pad smaller pairs with -inf, which is never chosen.
        n: shots in a window.
        floor: stop at scores below this, one for all or one for each pair [P].

    Returns:
        For each of the P pairs i, j and score as `greedy_pairs` gives them.

    Raises:
        M2SError: NaN or +inf scores, another dtype, or n below 1.
    """
    if b.dtype != torch.float32:
        raise M2SError(f"scene similarities of type {b.dtype}, expected torch.float32")
    if n < 1:
        raise M2SError(f"a scene of {n} shots: it needs at least 1")
    if not b.numel():
        return [_picks([], np.empty(b.shape[1:], np.float32)) for _ in range(len(b))]
    if not bool((b < np.inf).all()):
        raise M2SError("scene similarities hold NaN or inf")
    keys, rounds = _keys(b, floor), []
    near = torch.arange(1 - n, n, device=b.device)
    while True:
        rows, columns = keys.amax(2), keys.amax(1)  # [P, M], [P, N]
        j = (_LOW - (rows & _LOW)) % b.shape[2]  # [P, M] column of each row's best
        best = (rows > _NEVER) & (rows == _strip_max(rows, n)) & (rows == _strip_max(columns, n).gather(1, j))
        p, i = best.nonzero(as_tuple=True)  # [picks of this round]
        if not len(p):
            return _collect(rounds, b)
        j = j[p, i]
        rounds.append(torch.stack([p, i, j]))
        keys[p[:, None], (i[:, None] + near).clamp(0, b.shape[1] - 1)] = _NEVER
        keys.mT[p[:, None], (j[:, None] + near).clamp(0, b.shape[2] - 1)] = _NEVER


_LOW = (1 << 32) - 1
_NEVER = -(1 << 63)


def _keys(b: Tensor, floor: float | Tensor) -> Tensor:
    """int64 [P, M, N] that sort like (score, lower i, lower j): the float's bits, then the position."""
    if isinstance(floor, Tensor):
        floor = floor[:, None, None]  # [P, 1, 1]
    bits = (b + 0.0).view(torch.int32)  # adding 0 makes -0 equal to 0
    order = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    position = torch.arange(b.shape[1] * b.shape[2], device=b.device).view(b.shape[1:])
    keys = (order.long() << 32) + (_LOW - position)
    return keys.masked_fill_((b < floor) | (b == -np.inf), _NEVER)


def _strip_max(x: Tensor, n: int) -> Tensor:
    """Largest of the 2n - 1 values around each place: [P, L] -> [P, L]."""
    x = torch.nn.functional.pad(x, (n - 1, n - 1), value=_NEVER)
    return x.unfold(1, 2 * n - 1, 1).amax(2)


def _collect(rounds: list[Tensor], b: Tensor) -> list[Picks]:
    """The rounds' picks (p, i, j), sorted within each pair as the greedy walk finds them."""
    picks = torch.cat(rounds, dim=1) if rounds else torch.empty(3, 0, dtype=torch.int64, device=b.device)
    score = b[tuple(picks)].cpu().numpy()
    p, i, j = picks.cpu().numpy()
    order = np.lexsort((j, i, -score, p))
    ends = np.searchsorted(p[order], np.arange(1, len(b)))
    return list(zip(*(np.split(a[order], ends) for a in (i, j, score)), strict=True))
