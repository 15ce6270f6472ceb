"""Embeddings of a benchmark's scenes or shots by every encoder asked for, wherever they come from.

Encoders run here, features computed elsewhere are read, and what cannot be had is a `Missing` that says why.
One encoder is in memory at a time.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.baselines import ELSEWHERE, baseline
from m2s_lib.evaluation.encoders.computed_features import Vectors, computed_features
from m2s_lib.evaluation.encoders.encoders import Encoder, embed_scenes, shot_embeddings
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.method.scene_encoder import SceneEncoderConfig


@dataclass(frozen=True)
class Sources:
    """Where encoders come from."""

    weights_dir: str | os.PathLike = ""  # other people's weights
    features_dir: str | os.PathLike = ""  # features computed elsewhere, see `computed_features`
    trained_dir: str | os.PathLike = ""  # SimCLR, MoCo and ShotCoL, see `trained_baselines`
    scene_config: SceneEncoderConfig = field(default_factory=SceneEncoderConfig)  # of "random init"
    seed: int = 0  # of "random init"
    online: bool = False  # whether a model hub may be asked
    batch: int = 32  # scenes a forward pass
    device: torch.device | str = "cpu"


def scene_vectors(
    encoders: Sequence[str | Encoder],
    scenes: pd.DataFrame,
    stores: Mapping[str, object],
    scene_set: str,
    sources: Sources,
) -> dict[str, Vectors | Missing]:
    """Embeddings of scenes by every encoder, in order.

    Args:
        encoders: names (see `baselines`; those of models that do not run here are looked up among the
            computed features) and encoders that exist already, such as ours.
        scenes: columns item (id), film_id, shot, n_shots. Scenes of films without a store (clips that are
            gone) stay in, as rows of NaN.
        scene_set: name of the benchmark's scenes, the file of computed features.
    """
    items = scenes["item"].astype(str).tolist()
    there = np.array([f in stores for f in scenes["film_id"]], bool)
    out: dict[str, Vectors | Missing] = {}
    for name, encoder in _each(encoders, sources):
        if name in ELSEWHERE:
            out[name] = computed_features(name, sources.features_dir, scene_set, items)
        elif isinstance(encoder, Missing):
            out[name] = encoder
        else:
            values = np.full((len(scenes), encoder.dim), np.nan, np.float32)
            values[there] = embed_scenes(encoder, stores, scenes[there], sources.batch, sources.device)
            missing = tuple(item for item, ok in zip(items, there, strict=True) if not ok)
            out[name] = Vectors(name, values, missing)
    return out


def embed_all(
    encoders: Sequence[str | Encoder],
    scenes: pd.DataFrame,
    stores: Mapping[str, object],
    scene_set: str,
    sources: Sources,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Returns `scene_vectors` as they are kept in files.

    Returns:
        Encoder to float32 [N, d], of those that are there; and one row an encoder: encoder, status ('ready',
        'missing'), width, without (items that have no vector), reason.
    """
    arrays, rows = {}, []
    for name, one in scene_vectors(encoders, scenes, stores, scene_set, sources).items():
        if isinstance(one, Missing):
            rows.append((name, "missing", 0, 0, one.reason))
        else:
            arrays[name] = one.values
            rows.append((name, "ready", one.values.shape[1], len(one.missing), ""))
    return arrays, pd.DataFrame(rows, columns=["encoder", "status", "width", "without", "reason"])


def kept_vectors(arrays: Mapping[str, np.ndarray], table: pd.DataFrame) -> dict[str, Vectors | Missing]:
    """Returns the vectors of `embed_all`, encoder by encoder."""
    missing = table[table["status"] == "missing"].set_index("encoder")["reason"]
    return {
        name: Missing(name, missing[name]) if name in missing else Vectors(name, arrays[name])
        for name in table["encoder"]
    }


def shot_vectors(
    encoders: Sequence[str | Encoder],
    stores: Mapping[str, object],
    films: Mapping[str, int],
    scene_set: str,
    sources: Sources,
) -> dict[str, dict[str, np.ndarray] | Missing]:
    """Embeddings of every shot by itself, film by film, for scene boundaries (section 4.3b).

    Args:
        films: film_id to its number of shots; films without a store are left out.
        scene_set: file of computed features, whose items are "film:shot", the shot in four digits or more.

    Returns:
        Encoder name to film_id to float32 [n_shots, d]; a film that computed features cover in part only is
        left out.
    """
    out: dict[str, dict[str, np.ndarray] | Missing] = {}
    for name, encoder in _each(encoders, sources):
        if name in ELSEWHERE:
            items = [shot_item(film, shot) for film, n in films.items() for shot in range(n)]
            found = computed_features(name, sources.features_dir, scene_set, items)
            out[name] = found if isinstance(found, Missing) else _by_film(found.values, films)
        elif isinstance(encoder, Missing):
            out[name] = encoder
        else:
            have = [f for f in films if f in stores]
            out[name] = shot_embeddings(encoder, stores, have, 9 * sources.batch, sources.device)
    return out


def shot_sequences(
    encoder: Encoder, scenes: pd.DataFrame, stores: Mapping[str, object], sources: Sources
) -> dict[str, np.ndarray]:
    """Features of the shots of scenes, in their order: item -> float32 [its shots, d], for heads that read
    sequences. Scenes of one item follow each other; scenes of films without a store are left out."""
    there = scenes[scenes["film_id"].isin(set(stores))].reset_index(drop=True)
    shots = there.loc[there.index.repeat(there["n_shots"])]
    if shots.empty:
        return {}
    within = shots.groupby(level=0).cumcount()  # the shot's place in its scene
    table = shots.assign(shot=shots["shot"].to_numpy() + within.to_numpy(), n_shots=1).reset_index(drop=True)
    values = embed_scenes(encoder, stores, table, 9 * sources.batch, sources.device)
    rows = pd.Series(np.arange(len(table))).groupby(table["item"].to_numpy(object), sort=False).agg(list)
    return {str(item): values[index] for item, index in rows.items()}


def shot_item(film_id: str, shot: int) -> str:
    """The id of a shot in files of features and predictions."""
    return f"{film_id}:{shot:04d}"


def _by_film(values: np.ndarray, films: Mapping[str, int]) -> dict[str, np.ndarray]:
    ends = np.cumsum(list(films.values()), dtype=np.int64)
    parts = {film: values[end - n : end] for (film, n), end in zip(films.items(), ends, strict=True)}
    return {film: x for film, x in parts.items() if np.isfinite(x).all()}


def _each(
    encoders: Sequence[str | Encoder], sources: Sources
) -> Iterator[tuple[str, Encoder | Missing | None]]:
    """Names with encoders, made one after the other; None for those computed elsewhere."""
    seen = set()
    for one in encoders:
        name = one if isinstance(one, str) else one.name
        if name in seen:
            raise M2SError(f"encoder {name!r} is asked for twice: give each a name of its own")
        seen.add(name)
        if not isinstance(one, str):
            yield name, one
        elif name in ELSEWHERE:
            yield name, None
        else:
            s = sources
            how = {"trained_dir": s.trained_dir, "scene_config": s.scene_config, "seed": s.seed}
            yield name, baseline(name, s.weights_dir, online=s.online, **how)
