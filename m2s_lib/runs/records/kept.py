"""What a stage keeps of a computation: tables, arrays and JSON, by the ending of the file's name."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.io import atomic_path, read_json, read_npy, read_parquet, write_json, write_npy, write_parquet


def write_value(path: str | os.PathLike, value: object) -> None:
    """Writes a value as the ending of `path` says, atomically: .parquet (a table), .npy (an array), .npz (a
    dict of arrays) or .json."""
    path = Path(path)
    if path.suffix == ".parquet" and isinstance(value, pd.DataFrame):
        write_parquet(value, path)
    elif path.suffix == ".npy" and isinstance(value, np.ndarray):
        write_npy(path, value)
    elif path.suffix == ".npz" and isinstance(value, dict):
        with atomic_path(path) as temporary, open(temporary, "wb") as f:
            np.savez(f, allow_pickle=False, **value)
    elif path.suffix == ".json":
        write_json(path, value)
    else:
        raise M2SError(
            f"a {type(value).__name__} cannot be kept as {path.name}: .parquet takes a table, .npy an array, "
            ".npz a dict of arrays, .json numbers, text, lists and dicts"
        )


def read_value(path: str | os.PathLike) -> object:
    """Reads what `write_value` has written; arrays are in memory."""
    path = Path(path)
    if path.suffix == ".parquet":
        return read_parquet(path)
    if path.suffix == ".json":
        return read_json(path)
    if path.suffix == ".npy":
        return np.array(read_npy(path))
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)
