"""Shot features on disk: one float32 .npy a film, checked against the film's shots when read."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.files import read_npy
from m2s_lib.films.shot_store import ShotStore


def feature_path(folder: str | os.PathLike, film_id: str) -> Path:
    """Where a film's features lie."""
    return Path(folder) / f"{film_id}.npy"


def read_features(folder: str | os.PathLike, stores: Mapping[str, ShotStore]) -> dict[str, np.ndarray]:
    """Features of all films of `stores`: film_id -> float32 [n_shots, d], memory-mapped.

    Raises:
        M2SError: a film without a file, another number of rows than shots, values that are not finite, or
            films of different widths; the film and both numbers are named.
    """
    features: dict[str, np.ndarray] = {}
    again = "delete it and run stage 01_shot_encoding again"
    for film_id, store in stores.items():
        path = feature_path(folder, film_id)
        try:
            x = read_npy(path)
        except FileNotFoundError as error:
            raise M2SError(f"film {film_id} has no features at {path}: run stage 01_shot_encoding") from error
        except (ValueError, EOFError, OSError) as error:
            raise M2SError(
                f"features of film {film_id} at {path} cannot be read ({error}): {again}"
            ) from error
        if x.ndim != 2 or len(x) != store.n_shots:
            raise M2SError(
                f"film {film_id} has {store.n_shots} shots but features {x.shape} at {path}: {again}"
            )
        if not np.isfinite(x).all():
            shot = int(np.argwhere(~np.isfinite(x).all(axis=1))[0, 0])
            raise M2SError(f"features of film {film_id} are not finite at shot {shot} ({path}): {again}")
        if features and x.shape[1] != next(iter(features.values())).shape[1]:
            first, other = next(iter(features.items()))
            raise M2SError(
                f"film {film_id} has features of width {x.shape[1]}, film {first} {other.shape[1]}: {again}"
            )
        features[film_id] = x
    return features
