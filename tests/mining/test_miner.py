"""B against the windows of A, and the miner's cache, threads, batches, digests and memory."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.mining import miner as pair_miner
from m2s_lib.mining.miner import PairMiner
from m2s_lib.mining.scene_mining import mine_pairs
from m2s_lib.mining.similar_scenes import MiningConfig, keep_count, scene_features, scene_similarity
from tests.helpers.mining_films import corpus, every_pair, unit, windows


@pytest.mark.parametrize("n", [1, 2, 7, 9, 16])
def test_b_is_the_mean_of_each_window(n):
    rng = np.random.default_rng(0)
    x1, x2 = unit(rng, 70), unit(rng, 64)
    b = scene_similarity(x1, x2, n)
    assert b.dtype == np.float32
    assert np.abs(b - windows(x1, x2, n)).max() <= 2e-7
    t = scene_similarity(torch.from_numpy(x1), torch.from_numpy(x2), n)
    assert np.abs(t.numpy() - b).max() <= 2e-7


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 10**6))
def test_scene_features_are_sliding_means(n_shots, n, seed):
    x = np.random.default_rng(seed).normal(size=(n_shots, 3)).astype(np.float32)
    expected = [x[i : i + n].astype(np.float64).mean(axis=0) for i in range(n_shots - n + 1)]
    found = scene_features(x, n)
    assert found.shape == (len(expected), 3)
    assert found.dtype == np.float32
    if expected:
        assert np.abs(found - expected).max() < 1e-6


def test_long_films_do_not_drift():
    x = np.full((20_000, 1), 0.1, dtype=np.float32)
    assert np.abs(scene_features(x, 9) - np.float32(0.1)).max() < 1e-8
    with pytest.raises(M2SError, match="scene of 0 shots"):
        scene_features(x, 0)


@pytest.mark.parametrize(
    ("n", "ratio", "kept"), [(86, 0.5, 43), (5, 0.5, 3), (1, 0.5, 1), (0, 0.5, 0), (10, 0.3, 3)]
)
def test_keep_count(n, ratio, kept):
    assert keep_count(n, ratio) == kept
    assert keep_count(n, 1.0) == n


@pytest.mark.parametrize("keep", ["best_half", "above_median"])
def test_workers_and_batches_change_nothing(keep, monkeypatch):
    features = corpus((40, 55, 30, 61, 6, 25))
    pairs = list(every_pair(features).itertuples(index=False, name=None))
    config = MiningConfig(7, keep)
    plain = PairMiner(features, config, workers=1).mine(pairs)
    threads = torch.get_num_threads()
    pd.testing.assert_frame_equal(PairMiner(features, config, workers=3).mine(pairs), plain)
    assert torch.get_num_threads() == threads
    miner = PairMiner(features, config)
    monkeypatch.setattr(pair_miner, "_BATCH_WINDOWS", 10_000)
    monkeypatch.setattr(miner, "_choose", miner._choose_batched)  # the path of accelerators, on the CPU
    pd.testing.assert_frame_equal(miner.mine(pairs), plain, atol=1e-6)


def test_films_are_pooled_once(monkeypatch):
    features = corpus()
    calls = []
    real = pair_miner.scene_features
    monkeypatch.setattr(pair_miner, "scene_features", lambda x, n: calls.append(len(x)) or real(x, n))
    plain = mine_pairs(features, every_pair(features), MiningConfig(5))
    assert sorted(calls) == [30, 40, 55, 61]
    calls.clear()
    monkeypatch.setitem(pair_miner._CACHE_BYTES, "cpu", 1)  # no room: one film stays, the result too
    pd.testing.assert_frame_equal(mine_pairs(features, every_pair(features), MiningConfig(5)), plain)
    assert len(calls) > 4


def test_the_digest_covers_all_that_shapes_a_shard():
    features = corpus()
    pairs = list(every_pair(features).itertuples(index=False, name=None))
    changed = {film: x.copy() for film, x in features.items()}
    changed["film2"][11, 3] += 0.01
    torch.manual_seed(0)
    digests = [
        PairMiner(features, MiningConfig(5)).digest(pairs),
        PairMiner(features, MiningConfig(6)).digest(pairs),
        PairMiner(features, MiningConfig(5, ratio=0.4)).digest(pairs),
        PairMiner(features, MiningConfig(5), MovieEncoder(16)).digest(pairs),
        PairMiner(features, MiningConfig(5), MovieEncoder(16)).digest(pairs),
        PairMiner(features, MiningConfig(5)).digest(pairs[:-1]),
        PairMiner(changed, MiningConfig(5)).digest(pairs),
        PairMiner(features, MiningConfig(5, similarity=lambda x1, x2, n: x1 @ x2.T)).digest(pairs),
        PairMiner(features, MiningConfig(5, similarity=lambda x1, x2, n: 2 * x1 @ x2.T)).digest(pairs),
        PairMiner(features, MiningConfig(5, select=lambda b, n: ([0], [0], [b[0, 0]]))).digest(pairs),
    ]
    assert len(set(digests)) == len(digests)
    assert PairMiner(dict(features), MiningConfig(5)).digest(pairs) == digests[0]


def test_a_is_never_allocated():
    """Of all that torch makes for a film pair, B [42, 52] is the only array of that size, and A is none."""
    features = corpus((50, 60))
    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in tree_leaves(out) if torch.is_tensor(t))
            return out

    with Sizes():
        found = PairMiner(features, MiningConfig(9)).mine([("film0", "film1")])
    assert len(found)
    assert max(sizes) == 42 * 52 < 50 * 60


def test_memory_of_long_films():
    """Two films of 3,000 shots: B is 36 MB, and little may lie beside it."""
    rng = np.random.default_rng(0)
    features = {name: rng.normal(size=(3000, 64)).astype(np.float32) for name in ("a", "b")}
    miner = PairMiner(features, MiningConfig(9))
    miner.mine([("a", "b")])  # fills the caches and the buffer, which torch allocates
    tracemalloc.start()
    found = miner.mine([("a", "b")])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) > 100
    assert [buffer.nbytes for buffer in miner._buffers] == [2992**2 * 4]
    assert peak < 100 << 20
