"""Shards of film pairs as work for an engine: on this machine, or by tasks of a cluster."""

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from m2s_lib.io import read_npy, write_parquet
from m2s_lib.mining.miner import PairMiner
from m2s_lib.parallel import Unseen, unseen

Item = tuple[list, str, dict | None]  # film pairs, their digest, their features where they have to travel


def shard_path(folder: Path, digest: str) -> Path:
    """Where a shard's table lies."""
    return folder / f"{digest}.parquet"


def with_features(features: Mapping[str, np.ndarray]) -> Callable[[Item], Item]:
    """For workers that do not see the features' files: a shard with the features of its films."""

    def attach(item: Item) -> Item:
        pairs, digest, _ = item
        return pairs, digest, {film: np.array(features[film]) for pair in pairs for film in pair}

    return attach


class ShardMiner:
    """A `PairMiner` as an engine's work; to another process go E_movie and where the features are.

    Features that are mapped files are opened there by their paths, others travel once to each machine. What
    was opened is compared with the shard's digest, so a file of that name with other features is not used.
    """

    def __init__(self, miner: PairMiner, shards: list[list]):
        self.config, self.encoder = miner.config, miner.encoder
        self.films = {film for shard in shards for pair in shard for film in pair}
        self.features, self.miner = miner.features, miner

    def __getstate__(self) -> dict:
        encoder = None if self.encoder is None else copy.deepcopy(self.encoder).cpu()
        features = {film: _file_of(self.features[film]) for film in sorted(self.films)}
        return {"config": self.config, "encoder": encoder, "features": _Features(features), "miner": None}

    def __call__(self, device: torch.device | str) -> Callable[[Item, Path | None], pd.DataFrame]:
        """The work of one worker; what it computes for a film stays for its next shard."""
        miner = self.miner or PairMiner(self.features, self.config, self.encoder, device)

        def work(item: Item, folder: Path | None) -> pd.DataFrame:
            pairs, digest, attached = item
            if attached is not None:
                table = PairMiner(attached, self.config, self.encoder, device).mine(pairs)
            elif self.miner is None and miner.digest(pairs) != digest:
                raise Unseen(f"the features of {pairs[0][0]!r} or others are not the same files everywhere")
            else:
                table = miner.mine(pairs)
            if folder is not None:
                write_parquet(table, shard_path(folder, digest))
            return table

        return work


class _Features(Mapping):
    """Features by film, opened when asked for where they are files."""

    def __init__(self, sources: dict[str, str | np.ndarray]):
        self.sources = sources

    def __getitem__(self, film: str) -> np.ndarray:
        source = self.sources[film]
        if not isinstance(source, str):
            return source
        if not Path(source).is_file():
            raise unseen(source)
        return read_npy(source)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)


def _file_of(x: np.ndarray) -> str | np.ndarray:
    """The .npy file that an array is a map of; the array itself where it is in memory."""
    name = getattr(x, "filename", None) if isinstance(x, np.memmap) else None
    return str(name) if str(name).endswith(".npy") else np.asarray(x)
