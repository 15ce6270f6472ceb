"""One pair as mining sees it: B by the definition, and the same choice as `mine_pairs`."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.mining.pair_view import PairView
from m2s_lib.mining.scene_mining import mine_pairs
from m2s_lib.mining.similar_scenes import MiningConfig

FEATURES = {
    f: np.random.default_rng(i).normal(size=(n, 6)).astype(np.float32)
    for i, (f, n) in enumerate([("a", 30), ("b", 21)])
}


@pytest.mark.parametrize("keep", ["best_half", "above_median"])
@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_what_is_kept_is_what_mining_writes(keep, ratio):
    n = 5
    b, picks = PairView(FEATURES, MiningConfig(n, keep, ratio))("a", "b")
    pairs = pd.DataFrame({"film_a": ["a"], "film_b": ["b"]})
    mined = mine_pairs(FEATURES, pairs, MiningConfig(n, keep, ratio))
    kept = picks[picks.kept]
    assert (
        kept[["shot_a", "shot_b", "rank"]].values.tolist()
        == mined[["shot_a", "shot_b", "rank"]].values.tolist()
    )
    np.testing.assert_allclose(kept.score, mined.score, rtol=1e-6)
    windows = [np.stack([x[i : i + n].mean(0) for i in range(len(x) - n + 1)]) for x in FEATURES.values()]
    np.testing.assert_allclose(b, windows[0] @ windows[1].T, rtol=1e-4, atol=1e-5)
    for row in picks.itertuples():
        assert row.score == pytest.approx(b[row.shot_a, row.shot_b])


def test_unknown_films_are_named():
    with pytest.raises(M2SError, match="film x has no shot features among the 2 given"):
        PairView(FEATURES)("a", "x")
