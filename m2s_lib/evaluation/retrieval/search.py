"""Scenes as rows: cut films into scenes, embed them with several encoders, find neighbours, score them."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.encoders import (
    ColourEncoder,
    Encoder,
    OurSceneEncoder,
    RandomInit,
    embed_scenes,
)
from m2s_lib.evaluation.paper.mining_precision import scene_theme
from m2s_lib.evaluation.retrieval.index import open_index, precision_at_k, query_precision, search
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.method.movie_encoder import MovieEncoder, load_movie_encoder


def scene_table(stores: Mapping[str, ShotStore], n: int, stride: int) -> pd.DataFrame:
    """Scenes of n shots, every `stride` shots: film_id, shot, n_shots, start_s, end_s; shorter films give
    none.

    Raises M2SError when no film is long enough.
    """
    films, firsts, starts, ends = [], [], [], []
    for film, store in stores.items():
        shots, first = store.shots, np.arange(0, store.n_shots - n + 1, stride)
        if len(first):
            films.append(film)
            firsts.append(first)
            starts.append(shots["start_s"].to_numpy()[first])
            ends.append(shots["end_s"].to_numpy()[first + n - 1])
    if not films:
        raise M2SError(f"none of {len(stores)} films has {n} shots: lower 03.shots_per_scene")
    film = np.repeat(np.array(films, dtype=object), [len(first) for first in firsts])
    columns = {"film_id": film, "shot": np.concatenate(firsts), "n_shots": n}
    return pd.DataFrame({**columns, "start_s": np.concatenate(starts), "end_s": np.concatenate(ends)})


def scene_embeddings(
    scenes: pd.DataFrame,
    stores: Mapping[str, ShotStore],
    features: Mapping[str, np.ndarray],
    movie_encoder: str | os.PathLike,
    scene_encoder: str | os.PathLike | None,
    *,
    batch: int,
    device: torch.device | str,
    place: Callable[[str, int], np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """Embeddings of all scenes by encoder, the main one first: name -> float32 [scenes, d].

    Args:
        scenes: of `scene_table`. features: film_id -> E_shot features [n_shots, d].
        movie_encoder: E_movie's file. scene_encoder: E_scene's file, or None where none was trained.
        place: an encoder's name and d -> float32 [scenes, d] to fill, such as
            `scene_collection.EmbeddingFiles`; None fills memory.
    """
    place = place or (lambda name, dim: np.empty((len(scenes), dim), np.float32))
    encoder = load_movie_encoder(movie_encoder).encoder
    embeddings = {}

    def embed(each: Encoder, where: torch.device | str) -> None:
        out = place(each.name, each.dim)
        embeddings[each.name] = embed_scenes(each, stores, scenes, batch, where, out=out)

    if scene_encoder is not None:
        ours = OurSceneEncoder(scene_encoder, "E_scene")
        for each in (ours, RandomInit(ours.model.config)):
            embed(each, device)
    for name, of in (("E_movie mean", partial(_movie_features, encoder)), ("E_shot mean", np.asarray)):
        width = of(features[scenes["film_id"].iloc[0]]).shape[1]
        embeddings[name] = _means(scenes, features, of, place(name, width))
    if all(store.has_pixels for store in stores.values()):
        embed(ColourEncoder(), "cpu")
    return embeddings


@torch.inference_mode()
def _movie_features(encoder: MovieEncoder, x: np.ndarray) -> np.ndarray:
    return encoder.scene_features(torch.from_numpy(np.array(x))).numpy()


def _means(
    scenes: pd.DataFrame, features: Mapping[str, np.ndarray], of: Callable, out: np.ndarray
) -> np.ndarray:
    """Mean over each scene of what `of` makes of its film's features, into `out`; one film at a time."""
    first, n = scenes["shot"].to_numpy(), scenes["n_shots"].to_numpy()
    for film, rows in scenes.reset_index(drop=True).groupby("film_id", sort=False).indices.items():
        x = of(features[film])
        for row in rows:
            out[row] = x[first[row] : first[row] + n[row]].mean(axis=0)
    return out


def _labels(scenes: pd.DataFrame, themes: Mapping[str, Sequence]) -> np.ndarray:
    rows = zip(scenes["film_id"], scenes["shot"], scenes["n_shots"], strict=True)
    return np.asarray([scene_theme(themes[film], shot, n) for film, shot, n in rows], dtype=object)


def compare_retrieval(
    scenes: pd.DataFrame,
    embeddings: Mapping[str, np.ndarray],
    themes: Mapping[str, Sequence],
    ks: Sequence[int] = (1, 5, 10),
) -> tuple[pd.DataFrame, float]:
    """P@k by true theme, every scene a query, no neighbours from its own film; and chance.

    Returns:
        encoder, metric ('P@k'), value, ci_low, ci_high (0..1, a 95 % bootstrap over films), n (queries);
        and the share
        of scene pairs of different films that share their theme.
    """
    labels, films = _labels(scenes, themes), scenes["film_id"].to_numpy()
    rows = []
    for name, vectors in embeddings.items():
        _, found = search(open_index(vectors), vectors, vectors, max(ks), not_same=(films, films))
        neighbours = np.where(found >= 0, labels[found], None)
        overall = precision_at_k(labels, neighbours, ks).query("label == 'all queries'").set_index("k")
        for k in ks:
            low, high = _film_interval(films, query_precision(labels, neighbours, k))
            row = {"encoder": name, "metric": f"P@{k}", "value": overall.precision[k]}
            rows.append({**row, "ci_low": low, "ci_high": high, "n": len(labels)})
    return pd.DataFrame(rows), _chance(labels, films)


def _chance(labels: np.ndarray, films: np.ndarray) -> float:
    """Share of scene pairs of different films with the same label; counted, not listed: there are N^2."""
    of_label, of_film = pd.factorize(labels)[0], pd.factorize(films)[0]
    of_both = of_label * (of_film.max() + 1) + of_film

    def alike(codes: np.ndarray) -> int:
        return int((np.unique(codes, return_counts=True)[1] ** 2).sum())

    pairs = len(labels) ** 2 - alike(of_film)
    return (alike(of_label) - alike(of_both)) / pairs if pairs else float("nan")


def _film_interval(films: np.ndarray, values: np.ndarray, samples: int = 1000) -> tuple[float, float]:
    """95 % interval of the mean of `values`, resampling whole films: scenes of one film are not
    independent."""
    _, at = np.unique(films, return_inverse=True)
    total, count = np.bincount(at, values), np.bincount(at)
    draws = np.random.default_rng(0).integers(0, len(count), (samples, len(count)))
    return tuple(np.quantile(total[draws].sum(1) / count[draws].sum(1), [0.025, 0.975]))


def example_queries(scenes: pd.DataFrame, count: int, *, film_id: str = "", shot: int = 0) -> list[int]:
    """Rows of `scenes` to ask for: the scene of `film_id` nearest to `shot`, or `count` spread over the
    table.

    Raises M2SError for a film without scenes.
    """
    if film_id:
        own = scenes[scenes["film_id"] == film_id]
        if own.empty:
            known = ", ".join(sorted(set(scenes["film_id"]))[:10])
            raise M2SError(f"query_film {film_id!r} has no scene in the index; films that have: {known}, …")
        return [int((own["shot"] - shot).abs().idxmin())]
    return [int(i) for i in np.linspace(0, len(scenes) - 1, min(count, len(scenes)) + 2)[1:-1].round()]


def nearest_scenes(
    index,
    embeddings: np.ndarray,
    scenes: pd.DataFrame,
    row: int,
    k: int,
    themes: Mapping[str, Sequence] | None = None,
) -> pd.DataFrame:
    """The k scenes of other films nearest to scene `row`: the scenes' columns, distance, and label where
    themes are known.

    `attrs["query_label"]` is the query's own theme, '' when unknown.
    """
    films = scenes["film_id"].to_numpy()
    distance, found = search(
        index, embeddings, embeddings[row : row + 1], k, not_same=(films[row : row + 1], films)
    )
    found, distance = found[0][found[0] >= 0], distance[0][found[0] >= 0]
    table = scenes.iloc[found].reset_index(drop=True).assign(distance=distance)
    if themes:
        table["label"] = _labels(table, themes)
    table.attrs["query_label"] = str(_labels(scenes.iloc[[row]], themes)[0]) if themes else ""
    return table
