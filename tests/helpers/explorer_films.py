"""Four small films and two encoders for the explorer and the gallery, without training anything."""

import numpy as np
import pandas as pd

from m2s_lib.display.explorer.data import ScenePairs
from m2s_lib.mining.pair_view import PairView
from m2s_lib.mining.similar_scenes import MiningConfig
from tests.helpers.display_stores import make_store

LENGTHS = {"a": 20, "b": 14, "c": 9, "short": 3}
TITLES = {"a": "Alpha <script>alert(1)</script>", "b": "Beta", "c": "", "short": "A short one"}
N = 4


def make_scenes(folder, n=N, lengths=LENGTHS, titles=TITLES) -> ScenePairs:
    stores = {film: make_store(folder, film, n=count) for film, count in lengths.items()}
    features = {
        film: np.random.default_rng(i).normal(size=(count, 8)).astype(np.float32)
        for i, (film, count) in enumerate(lengths.items())
    }
    ids = list(lengths)
    films = pd.DataFrame(
        {"title": [titles.get(f, f) for f in ids], "path": [f"{f}.mp4" for f in ids]}, index=ids
    )
    pairs = pd.DataFrame(
        [(ids[0], ids[1], 0.9), (ids[0], ids[2], 0.5), (ids[1], ids[3], 0.95)] if len(ids) > 3 else
        [(ids[0], ids[1], 0.9)],
        columns=["film_a", "film_b", "score"],
    )  # fmt: skip
    other = {film: x[:, ::-1].copy() ** 2 for film, x in features.items()}
    views = {"first": PairView(features, MiningConfig(n)), "second": PairView(other, MiningConfig(n))}
    return ScenePairs(films, stores, views, pairs, n, folder)
