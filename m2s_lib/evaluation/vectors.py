"""Rows of vectors: checked once at the boundary, and whitened."""

from collections.abc import Callable

import numpy as np

from m2s_lib.errors import M2SError

_ROWS = 1 << 14  # looked at together: a mapped file may be larger than memory
_VARIANCE = 0.99  # share of the variance that whitening keeps: the rest is noise, which it would blow up


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


def whitening(x_train: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the PCA whitening of training vectors [n, d] as a function of vectors [m, d].

    It keeps the components of 99 % of the variance, so what it gives may be narrower than d.
    """
    from sklearn.decomposition import PCA

    if len(x_train) < 2:
        return lambda x: x
    pca = PCA(n_components=_VARIANCE, whiten=True, svd_solver="full").fit(np.asarray(x_train, np.float64))
    return lambda x: pca.transform(np.asarray(x, np.float64)).astype(np.float32)
