"""Features computed elsewhere, for the baselines whose models cannot be run here (tables 2-5).

One file for each encoder and scene set, `<encoder>/<scene set>.npz` or `.parquet`, rows with the ids of the
items (clips, scenes, shots) they belong to. Items without a row are counted; a file that is wrong is refused.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.baselines import slug
from m2s_lib.evaluation.encoders.weight_files import Missing

SUFFIXES = (".npz", ".parquet")


@dataclass(frozen=True)
class Vectors:
    """Embeddings of listed items by one encoder.

    Attributes:
        values: float32 [N, d], a row an item in the order asked for; NaN where there is none.
        missing: ids of the items without a row.
    """

    name: str
    values: np.ndarray
    missing: tuple[str, ...] = ()

    @property
    def n_listed(self) -> int:
        return len(self.values)

    @property
    def n_found(self) -> int:
        return len(self.values) - len(self.missing)

    @property
    def found(self) -> np.ndarray:
        """bool [N]."""
        return np.isfinite(self.values).all(1)


def computed_features(
    name: str, folder: str | os.PathLike, scene_set: str, items: Sequence[str], width: int = 0
) -> Vectors | Missing:
    """The features of one encoder for the items of a scene set, or where to put them.

    Args:
        name: of the encoder; its folder is the name in lower case with underscores (merlot_reserve).
        folder: where all encoders' folders are. scene_set: name of the file, for instance lvu.
        items: ids, in the order wanted.
        width: what the features have to have; 0 takes what comes.

    Raises:
        M2SError: as `read_features_file`.
    """
    base = Path(folder) / slug(name) / scene_set
    for suffix in SUFFIXES:
        path = base.with_name(base.name + suffix)
        if path.is_file():
            return read_features_file(path, items, name, width)
    return Missing(
        name, f"features not found: put them at {base}.npz (items [N], features [N, d]) or .parquet"
    )


def read_features_file(
    path: str | os.PathLike, items: Sequence[str], name: str = "", width: int = 0
) -> Vectors:
    """Features of items from one file: .npz with `items` and `features`, or .parquet with the columns `item`
    and `features` (lists), or `item` and one column a number.

    Raises:
        M2SError: unreadable, another width, NaN or infinite values (item named), a repeated item, rows for
            other items only.
    """
    path = Path(path)
    ids, values = _npz(path) if path.suffix == ".npz" else _parquet(path)
    _check(path, ids, values, width)
    wanted = [str(i) for i in items]
    row = {item: r for r, item in enumerate(ids)}
    at = np.array([row.get(item, -1) for item in wanted], np.int64)
    if len(wanted) and not (at >= 0).any():
        raise M2SError(
            f"{path} has features of other items: none of {len(wanted):,} is among its {len(ids):,} (asked "
            f"for {wanted[0]!r}, it has {ids[0]!r})"
        )
    out = np.full((len(wanted), values.shape[1]), np.nan, np.float32)
    out[at >= 0] = values[at[at >= 0]]
    missing = tuple(item for item, r in zip(wanted, at, strict=True) if r < 0)
    return Vectors(name or path.parent.name, out, missing)


def _npz(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = set(file.files)
            if {"items", "features"} <= names:
                return [str(i) for i in file["items"].tolist()], file["features"]
    except (OSError, ValueError, EOFError) as error:
        message = f"{path} cannot be read ({error}): write it with numpy.savez, items as text"
        raise M2SError(message) from error
    except Exception as error:  # zipfile and zlib raise kinds of their own for a damaged file
        raise M2SError(f"{path} is damaged ({error}): write it again") from error
    raise M2SError(f"{path} has {sorted(names)}, expected items [N] and features [N, d]")


def _parquet(path: Path) -> tuple[list[str], np.ndarray]:
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # pyarrow raises several kinds for a damaged file
        raise M2SError(f"{path} cannot be read ({error}): write it again") from error
    if "item" not in table.columns:
        raise M2SError(f"{path} has no column item; it has {list(table.columns)[:10]}")
    items, rest = table["item"].astype(str).tolist(), table.drop(columns="item")
    if "features" not in rest.columns:
        return items, rest.to_numpy()
    widths = [len(x) for x in rest["features"]]
    other = next((i for i, width in enumerate(widths) if width != widths[0]), None)
    if other is not None:
        raise M2SError(f"{path}: item {items[other]} has {widths[other]} numbers, the first has {widths[0]}")
    return items, np.stack(rest["features"]) if widths else np.zeros((0, 0))


def _check(path: Path, ids: list[str], values: np.ndarray, width: int) -> None:
    if values.ndim != 2 or values.dtype.kind not in "fiu" or len(values) != len(ids) or not values.size:
        raise M2SError(
            f"{path}: {len(ids)} items and features of {values.dtype} {values.shape}, expected numbers "
            f"[{len(ids)}, d]"
        )
    if width and values.shape[1] != width:
        raise M2SError(f"{path} has {values.shape[1]} numbers an item, expected {width}")
    good = np.isfinite(values).all(1)
    if not good.all():
        raise M2SError(
            f"{path}: the features of item {ids[int(good.argmin())]} are NaN or infinite "
            f"({int((~good).sum())} such items); compute them again, or leave these items out"
        )
    again = pd.Index(ids).duplicated()
    if again.any():
        raise M2SError(f"{path}: item {ids[int(again.argmax())]} has two rows ({int(again.sum())} such rows)")
