"""Shot features on disk: one float32 .npy a film, checked against the film's shots when read.

A corpus has tens of thousands of them, so only the last used are mapped into memory: each mapping is an open
file, and its pages count as the process's memory.
"""

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.io import read_npy

OPEN = 64  # files mapped at a time
_AGAIN = "delete it and run stage 01_shot_encoding again"


def feature_path(folder: str | os.PathLike, film_id: str) -> Path:
    """Where a film's features lie."""
    return Path(folder) / f"{film_id}.npy"


class FeatureFolder(Mapping):
    """film_id -> float32 [n_shots, d], memory-mapped when asked for; the `OPEN` last used stay mapped.

    Made by `read_features`, which has checked every file. Threads may share it; to another process goes the
    folder's name, not the features.
    """

    def __init__(self, folder: str | os.PathLike, films: Iterable[str]):
        self.folder, self._films = Path(folder), dict.fromkeys(films)
        self._open = functools.lru_cache(OPEN)(functools.partial(_mapped, self.folder))

    def __getitem__(self, film_id: str) -> np.ndarray:
        if film_id not in self._films:
            raise KeyError(film_id)
        return self._open(film_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._films)

    def __len__(self) -> int:
        return len(self._films)

    def __contains__(self, film_id: object) -> bool:
        return film_id in self._films

    def __reduce__(self):
        return FeatureFolder, (str(self.folder), list(self._films))


def _mapped(folder: Path, film_id: str, *, check: bool = False) -> np.ndarray:
    """A film's features; with `check` compared with their checksum, once for all the times to come."""
    path = feature_path(folder, film_id)
    try:
        return read_npy(path) if check else np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise M2SError(f"film {film_id} has no features at {path}: run stage 01_shot_encoding") from error
    except (ValueError, EOFError, OSError) as error:
        raise M2SError(f"features of film {film_id} at {path} cannot be read ({error}): {_AGAIN}") from error


def read_features(folder: str | os.PathLike, stores: Mapping[str, ShotStore]) -> FeatureFolder:
    """Features of all films of `stores`: film_id -> float32 [n_shots, d], memory-mapped, a few at a time.

    Raises:
        M2SError: a film without a file, another number of rows than shots, values that are not finite, or
            films of different widths; the film and both numbers are named.
    """
    first: tuple[str, int] | None = None
    for film_id, store in stores.items():
        x, path = _mapped(Path(folder), film_id, check=True), feature_path(folder, film_id)
        if x.ndim != 2 or len(x) != store.n_shots:
            raise M2SError(
                f"film {film_id} has {store.n_shots} shots but features {x.shape} at {path}: {_AGAIN}"
            )
        if not np.isfinite(x).all():
            shot = int(np.argwhere(~np.isfinite(x).all(axis=1))[0, 0])
            raise M2SError(f"features of film {film_id} are not finite at shot {shot} ({path}): {_AGAIN}")
        first = first or (film_id, x.shape[1])
        if x.shape[1] != first[1]:
            raise M2SError(
                f"film {film_id} has features of width {x.shape[1]}, film {first[0]} {first[1]}: {_AGAIN}"
            )
    return FeatureFolder(folder, stores)
