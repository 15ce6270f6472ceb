"""E_movie for a run: one for each kind of metadata and seed, kept as files so that a killed run goes on.

It trains in one process: at the paper's size there are some 36,000 steps (45,000 similar film pairs, 128 a
step, 100 epochs) of about 0.5 TFLOP, the pooled product being cheap: by that count minutes on one GPU.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.io import read_json, read_parquet, write_json, write_parquet
from m2s_lib.method.movie_similarity import (
    MovieTrainConfig,
    MovieTraining,
    load_movie_encoder,
    save_movie_encoder,
    train_movie_encoder,
)


def train_movie_encoders(
    features: Mapping[str, np.ndarray],
    pairs: Mapping[str, pd.DataFrame],
    config: MovieTrainConfig,
    seeds: Sequence[int],
    folder: str | os.PathLike,
    device: str | torch.device = "cpu",
) -> dict[str, dict[int, MovieTraining]]:
    """Train E_movie on each source's pairs with each seed; those that are done and unchanged are read back.

    The first seed of the first source is also written to `folder`/movie_encoder.safetensors, for later
    stages.

    Args:
        features: film_id -> [n_shots, d]. pairs: source -> film_pairs table.
        config: its seed is replaced by each of `seeds`.
        folder: gets movie_encoders/<source>-seed<n>.safetensors and beside each its log and held-out pairs.

    Returns:
        source -> seed -> MovieTraining.
    """
    folder, content = Path(folder), _content(features)
    trained: dict[str, dict[int, MovieTraining]] = {}
    for source, table in pairs.items():
        trained[source] = {}
        for seed in seeds:
            base = folder / "movie_encoders" / f"{source}-seed{seed}"
            trained[source][seed] = _one(base, features, content, table, replace(config, seed=seed), device)
    first = next(iter(trained.values()))[seeds[0]]
    save_movie_encoder(folder / "movie_encoder.safetensors", first.model)
    return trained


def _one(
    base: Path, features, content: bytes, table: pd.DataFrame, config: MovieTrainConfig, device
) -> MovieTraining:
    stamp = _stamp(content, table, config)
    files = {part: base.with_name(f"{base.name}.{part}.parquet") for part in ("log", "pairs", "roc")}
    done = base.with_name(f"{base.name}.json")
    weights = base.with_name(f"{base.name}.safetensors")
    with contextlib.suppress(M2SError, KeyError):  # nothing kept, or something of it missing or damaged
        if (kept := read_json(done))["stamp"] == stamp:
            tables = {part: read_parquet(path) for part, path in files.items()}
            model = load_movie_encoder(weights, device)
            return MovieTraining(model, tables["log"], kept["held_out"], tables["pairs"], tables["roc"])
    result = train_movie_encoder(features, table, config, device)
    save_movie_encoder(weights, result.model)
    for part, value in (("log", result.log), ("pairs", result.held_out_pairs), ("roc", result.roc)):
        write_parquet(value, files[part])
    write_json(
        done, {"stamp": stamp, "held_out": result.held_out}
    )  # last: its presence says that all is there
    return result


def _content(features) -> bytes:
    """Hash of every film's features, read once however many encoders are trained on them."""
    digest = hashlib.blake2b(digest_size=16)
    for film in sorted(features):
        digest.update(film.encode() + np.ascontiguousarray(features[film]).tobytes())
    return digest.digest()


def _stamp(content: bytes, table: pd.DataFrame, config: MovieTrainConfig) -> str:
    """Hash of what shapes the result: configuration, pairs, and the features by their hash."""
    digest = hashlib.blake2b(json.dumps(asdict(config)).encode(), digest_size=16)
    digest.update(table[["film_a", "film_b"]].to_csv(index=False).encode() + content)
    return digest.hexdigest()
