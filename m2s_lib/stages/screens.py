"""What the screens read of a finished run: its scenes, and what compares two of its films.

A page opens as fast as this module is imported, so PyTorch waits until a pair or a new scene is asked for.
"""

import os
from pathlib import Path

import pandas as pd

from m2s_lib.encoders.names import is_picture_encoder
from m2s_lib.errors import M2SError
from m2s_lib.evaluation.retrieval.collection import SceneCollection, read_plane, read_vectors
from m2s_lib.evaluation.retrieval.query import QueryEncoders
from m2s_lib.films.store.features import read_features
from m2s_lib.films.store.shot_store import open_stores
from m2s_lib.films.video.decoding import ScanConfig
from m2s_lib.io import read_parquet
from m2s_lib.runs.records import record
from m2s_lib.stages import paths


def read_collection(run_dir: str | os.PathLike) -> SceneCollection:
    """The scenes of a run whose stage 08 has finished; reads only.

    Raises M2SError when 08 has not run there, or its files do not belong together.
    """
    run_dir = Path(run_dir)
    if not (run_dir / paths.ENCODERS).is_file():
        raise M2SError(
            f"{run_dir} has no gallery yet: make it with `m2s run demo` (the demo's, in runs/demo), or with "
            "`m2s run films -p 01.films_dir=...` for films of your own"
        )
    scenes = read_parquet(run_dir / paths.SCENES, ["film_id", "shot", "n_shots", "start_s", "end_s"])
    films = read_parquet(run_dir / paths.FILMS, ["film_id", "title", "path"])
    films["path"] = record.located(films["path"], run_dir)
    scenes = _with_metadata(scenes, films)
    made_with = record.read_record(run_dir, paths.SHOT_ENCODING)["parameters"]
    names = ("frame_size", "frames_per_shot", "detector", "min_shot_s", "reader")
    scan = ScanConfig(threshold=made_with["detector_threshold"], **{name: made_with[name] for name in names})
    files = (paths.SCENE_ENCODER, paths.SHOT_ENCODER, paths.MOVIE_ENCODER, paths.FEATURES)
    return SceneCollection(
        run_dir, scenes, films, open_stores(run_dir / paths.SHOTS),
        read_vectors(run_dir / paths.GALLERY, len(scenes)),
        QueryEncoders(*(run_dir / name for name in files), *_pretrained(made_with)),
        scan, run_dir / paths.EMBEDDED, read_plane(run_dir / paths.GALLERY),
    )  # fmt: skip


def _with_metadata(scenes: pd.DataFrame, films: pd.DataFrame) -> pd.DataFrame:
    """The scenes with their film's genre ('Drama|Comedy') and year as text, where any film has them."""
    for name, column in (("genre", "genres"), ("year", "year")):
        if column in films:
            of_film = dict(zip(films["film_id"], films[column].astype("string").fillna(""), strict=True))
            values = scenes["film_id"].map(of_film).fillna("")
            scenes = scenes.assign(**{name: values}) if (values != "").any() else scenes
    return scenes


def read_pair_views(run_dir: str | os.PathLike) -> dict:
    """What compares any two films of a run, as `display.explorer.data.ScenePairs` takes it; reads only.

    Returns:
        films (indexed by film_id), stores of the films that were read, views (encoder -> PairView: E_movie
        where the run has one, and the films' own features), film_pairs, n_shots, run_dir.
    """
    from m2s_lib.method.movie_encoder import load_movie_encoder
    from m2s_lib.mining.pair_view import PairView
    from m2s_lib.mining.similar_scenes import MiningConfig

    run_dir = Path(run_dir)
    films = read_parquet(run_dir / paths.FILMS, ["film_id", "title", "path", "status"])
    films["path"] = record.located(films["path"], run_dir)
    films = films[films["status"] == "ok"].set_index("film_id")
    stores = open_stores(run_dir / paths.SHOTS).only(films.index)
    features = read_features(run_dir / paths.FEATURES, stores)
    asked = record.read_record(run_dir, paths.SCENE_MINING)["parameters"]
    names = ("shots_per_scene", "keep", "keep_ratio", "normalise_scenes")
    config = MiningConfig(*(asked[name] for name in names))
    views = {}
    if (run_dir / paths.MOVIE_ENCODER).is_file():
        views["E_movie"] = PairView(
            features, config, encoder=load_movie_encoder(run_dir / paths.MOVIE_ENCODER).encoder
        )
    pretrained, _ = _pretrained(record.read_record(run_dir, paths.SHOT_ENCODING)["parameters"])
    views[f"{pretrained} mean" if pretrained else "raw E_shot"] = PairView(features, config)
    pairs = read_parquet(run_dir / paths.FILM_PAIRS, ["film_a", "film_b", "score"])
    return {
        "films": films, "stores": stores, "views": views, "film_pairs": pairs,
        "n_shots": config.n_shots, "run_dir": run_dir,
    }  # fmt: skip


def _pretrained(made_with: dict) -> tuple[str, str]:
    """Name and weights of the picture encoder of a run's stage 01, '' for E_shot."""
    name = made_with.get("shot_encoder", "")
    return (name, made_with.get("shot_weights", "")) if is_picture_encoder(name) else ("", "")
