"""Rows of vectors, checked once at the boundary."""

import numpy as np

from m2s_lib.errors import M2SError

_ROWS = 1 << 14  # looked at together: a mapped file may be larger than memory


def checked_rows(x: np.ndarray, what: str, width: int = 0) -> np.ndarray:
    """Checked float32 [n, d] with at least one row; M2SError names `what`, both numbers and the bad row."""
    x = np.asarray(x)
    if x.ndim != 2 or not x.size or (width and x.shape[1] != width):
        raise M2SError(f"{what} have shape {x.shape}, expected [at least 1, {width or 'd'}]")
    x = np.ascontiguousarray(x, np.float32)
    bad = np.concatenate([~np.isfinite(part).all(1) for part in np.split(x, range(_ROWS, len(x), _ROWS))])
    if bad.any():
        raise M2SError(
            f"{what}: {int(bad.sum())} of {len(x):,} rows are not finite, the first is row {bad.argmax()}"
        )
    return x
