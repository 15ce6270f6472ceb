"""Made-up shot features and the slow mean of windows, for the tests of mining."""

import numpy as np
import pandas as pd


def unit(rng, n_shots, d=512):
    x = rng.normal(size=(n_shots, d)) + np.repeat(rng.normal(size=(n_shots // 5 + 1, d)), 5, axis=0)[:n_shots]
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def corpus(lengths=(40, 55, 30, 61), d=16, seed=0):
    rng = np.random.default_rng(seed)
    return {f"film{k}": unit(rng, n, d) for k, n in enumerate(lengths)}


def every_pair(features):
    names = list(features)
    return pd.DataFrame(
        [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]], columns=["film_a", "film_b"]
    )


def windows(x1, x2, n):
    """Oracle: the mean of each n x n window of A, in float64."""
    a = x1.astype(np.float64) @ x2.astype(np.float64).T
    return np.array(
        [[a[i : i + n, j : j + n].mean() for j in range(len(x2) - n + 1)] for i in range(len(x1) - n + 1)]
    )
