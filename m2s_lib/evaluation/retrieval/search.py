"""Scenes as rows: cut films into scenes, embed them with several encoders, list neighbours, score them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from m2s_lib.encoders.names import is_picture_encoder
from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.encoders import ColourEncoder, OurSceneEncoder, embed_scenes
from m2s_lib.evaluation.metrics import mean
from m2s_lib.evaluation.paper.mining_precision import scene_theme
from m2s_lib.evaluation.retrieval.index import query_precision, search
from m2s_lib.evaluation.vectors import whitening
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.films.store.subtitles import words_between
from m2s_lib.method.movie_encoder import MovieEncoder, load_movie_encoder


def scene_table(stores: Mapping[str, ShotStore], n: int, stride: int) -> pd.DataFrame:
    """Scenes of n shots, every `stride` shots: film_id, shot, n_shots, start_s, end_s.

    The last scene of a film ends with it: shots that are left over are a shorter scene, and so is a film of
    fewer than n shots.
    """
    parts = []
    for film, store in stores.items():
        first = np.arange(0, max(store.n_shots - n, 0) + 1, stride)
        if first[-1] + n < store.n_shots:
            first = np.append(first, first[-1] + n)
        length = np.minimum(n, store.n_shots - first)
        start = store.shots["start_s"].to_numpy()[first]
        end = store.shots["end_s"].to_numpy()[first + length - 1]
        columns = {"film_id": film, "shot": first, "n_shots": length, "start_s": start, "end_s": end}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def scene_words(scenes: pd.DataFrame, subtitles: pd.DataFrame) -> list[str]:
    """What the subtitles say in each scene, '' where there are none.

    Args:
        scenes: of `scene_table`. subtitles: film_id, start_s, end_s, text.
    """
    of_film = dict(iter(subtitles.groupby("film_id"))) if len(subtitles) else {}
    return [
        words_between(of_film[s.film_id], s.start_s, s.end_s) if s.film_id in of_film else ""
        for s in scenes.itertuples()
    ]


def scene_embeddings(
    scenes: pd.DataFrame,
    stores: Mapping[str, ShotStore],
    features: Mapping[str, np.ndarray],
    movie_encoder: str | os.PathLike | None,
    scene_encoder: str | os.PathLike | None,
    *,
    batch: int,
    device: torch.device | str,
    encoder: str = "E_shot",
) -> Iterator[tuple[str, np.ndarray]]:
    """Embeddings of all scenes by one encoder after the other, the main one first.

    Args:
        scenes: of `scene_table`. features: film_id -> E_shot features [n_shots, d].
        movie_encoder, scene_encoder: files of E_movie and E_scene, None where none was trained.
        encoder: what made the features; a pretrained one goes by its name.

    Yields:
        The encoder's name and float32 [scenes, d].
    """
    if scene_encoder is not None:
        ours = OurSceneEncoder(scene_encoder, "E_scene")
        for each in (ours, ours.untrained()):
            yield each.name, embed_scenes(each, each.stores(stores, features), scenes, batch, device)
    pretrained = is_picture_encoder(encoder)
    if pretrained:
        yield f"{encoder} mean", _means(scenes, features, np.asarray)
    if movie_encoder is not None:
        movie = load_movie_encoder(movie_encoder).encoder
        yield "E_movie mean", _means(scenes, features, partial(_movie_features, movie))
    if not pretrained:
        yield "E_shot mean", _means(scenes, features, np.asarray)
    if all(store.has_pixels for store in stores.values()):
        colour = ColourEncoder()
        yield colour.name, embed_scenes(colour, stores, scenes, batch, "cpu")


@torch.inference_mode()
def _movie_features(movie: MovieEncoder, x: np.ndarray) -> np.ndarray:
    return movie.scene_features(torch.from_numpy(np.array(x))).numpy()


def _means(scenes: pd.DataFrame, features: Mapping[str, np.ndarray], of: Callable) -> np.ndarray:
    """Mean over each scene of what `of` makes of its film's features: float32 [scenes, d]; a film at a time."""
    first, n, means = scenes["shot"].to_numpy(), scenes["n_shots"].to_numpy(), None
    for film, rows in scenes.groupby("film_id", sort=False).indices.items():
        x = of(features[film])
        if means is None:
            means = np.empty((len(scenes), x.shape[1]), np.float32)
        for row in rows:
            means[row] = x[first[row] : first[row] + n[row]].mean(axis=0)
    return means


def compare_retrieval(
    scenes: pd.DataFrame,
    embeddings: Mapping[str, np.ndarray],
    themes: Mapping[str, Sequence],
    ks: Sequence[int] = (1, 5, 10),
    gallery: np.ndarray | None = None,
) -> tuple[pd.DataFrame, float]:
    """P@k by true theme, no neighbours from a query's own film; and chance.

    Args:
        scenes: of `scene_table`. embeddings: encoder -> float32 [scenes, d].
        themes: film_id -> theme of each shot; empty where they are not known.
        gallery: bool [scenes], scenes that are searched; the others are the queries. None: every scene is
            searched and is a query.

    Returns:
        encoder, metric ('P@k'), value, ci_low, ci_high (0..1, a 95 % bootstrap over films), n (queries);
        and the share of scene pairs of different films that share their theme, of all scenes. Without a row
        and NaN where no theme is known, no other film has a scene, or there is no query.
    """
    columns = ["encoder", "metric", "value", "ci_low", "ci_high", "n"]
    films = scenes["film_id"].to_numpy()
    keep = np.ones(len(scenes), bool) if gallery is None else gallery
    asked = keep if gallery is None else ~keep
    if not themes or scenes["film_id"].nunique() < 2 or not (keep.any() and asked.any()):
        return pd.DataFrame(columns=columns), float("nan")
    labels, rows = _labels(scenes, themes), []
    for name, vectors in embeddings.items():
        _, near = search(vectors[keep], vectors[asked], max(ks), not_same=(films[asked], films[keep]))
        neighbours = np.where(near >= 0, labels[keep][near], None)
        for k in ks:
            m = mean(query_precision(labels[asked], neighbours, k), groups=films[asked])
            rows.append((name, f"P@{k}", m.value, m.ci_low, m.ci_high, m.n))
    return pd.DataFrame(rows, columns=columns), _chance(labels, films)


def whitened(vectors: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Vectors whose main directions have like variance (PCA), float32 [n, those of 99 % of the variance].

    Args:
        vectors: float32 [n, d]. fit: bool [n], rows that it is fitted on; fewer than two change nothing.
    """
    return whitening(vectors[fit])(vectors)


def _labels(scenes: pd.DataFrame, themes: Mapping[str, Sequence]) -> np.ndarray:
    rows = scenes[["film_id", "shot", "n_shots"]].itertuples(index=False)
    return np.asarray([scene_theme(themes[film], shot, n) for film, shot, n in rows], dtype=object)


def _chance(labels: np.ndarray, films: np.ndarray) -> float:
    """Share of scene pairs of different films with the same label; counted, not listed: there are N^2."""
    pairs = pd.DataFrame({"label": labels, "film": films})
    same_label, same_film, both = (
        float((pairs.groupby(keys).size() ** 2).sum()) for keys in ("label", "film", ["label", "film"])
    )
    others = len(pairs) ** 2 - same_film
    return (same_label - both) / others if others else float("nan")


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
    embeddings: np.ndarray,
    scenes: pd.DataFrame,
    row: int,
    k: int,
    themes: Mapping[str, Sequence] | None = None,
) -> pd.DataFrame:
    """The k scenes of other films nearest to scene `row`: the scenes' columns, distance, and label where
    themes are known. Without a row where there is no other film.

    `attrs["query_label"]` is the query's own theme, '' when unknown.
    """
    others = (scenes["film_id"] != scenes["film_id"].iloc[row]).to_numpy()
    distance, near = (part[0] for part in search(embeddings, embeddings[row : row + 1], k, keep=others))
    table = scenes.iloc[near[near >= 0]].reset_index(drop=True).assign(distance=distance[near >= 0])
    if themes:
        table["label"] = _labels(table, themes)
    table.attrs["query_label"] = str(_labels(scenes.iloc[[row]], themes)[0]) if themes else ""
    return table
