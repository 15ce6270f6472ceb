"""Films on the device, pair numbers, dissimilar pairs and the held-out split."""

import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_corpus import MovieCorpus, draw_dissimilar, split_pairs


def corpus_features(lengths=(3, 7, 5), d=4, seed=0):
    rng = np.random.default_rng(seed)
    return {f"film{k}": rng.normal(size=(n, d)).astype(np.float32) + 3 for k, n in enumerate(lengths)}


def test_take_cuts_and_pads():
    features = corpus_features()
    corpus = MovieCorpus(features)
    x, lengths = corpus.take(torch.tensor([1, 0]), 5)
    assert lengths.tolist() == [5, 3]
    assert x.shape == (2, 5, 4)
    assert torch.equal(x[0], torch.from_numpy(features["film1"][:5]))
    assert torch.equal(x[1, :3], torch.from_numpy(features["film0"]))
    assert not x[1, 3:].any()


def test_limit_keeps_the_first_shots_and_order_does_not_matter():
    features = corpus_features()
    corpus = MovieCorpus(dict(reversed(features.items())), limit=4)
    assert corpus.films == ["film0", "film1", "film2"]
    assert corpus.counts.tolist() == [3, 4, 4]
    x, lengths = corpus.take(torch.tensor([2]), 6)
    assert lengths.tolist() == [4]
    assert torch.equal(x[0, :4], torch.from_numpy(features["film2"][:4]))


def test_standardised_features_are_centred_and_of_length_one():
    features = corpus_features((30, 50), d=6)
    corpus = MovieCorpus(features, standardise=True)
    every = np.concatenate(list(features.values())).astype(np.float64)
    rows = corpus.rows[:-1].numpy()
    assert np.allclose(rows.mean(0), 0, atol=1e-6)
    assert np.isclose((rows**2).sum(1).mean(), 1, atol=1e-5)
    assert np.allclose(rows * corpus.length + corpus.mean, every, atol=1e-5)
    assert not corpus.rows[-1].any()  # padding stays zero, it is not centred


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_corpus_that_is_read_as_needed_gives_the_same_numbers(dtype):
    held, read = (MovieCorpus(corpus_features((30, 50, 9), d=6), 40, True, dtype=dtype, resident_bytes=room)
                  for room in (1 << 30, 0))  # fmt: skip
    assert held.rows is not None
    assert read.rows is None
    for corpus in (held, read):
        corpus.multiply(3.7)
    films = torch.tensor([2, 0, 1, 0])
    for a, b in zip(held.take(films, 20), read.take(films, 20), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("lengths", [(30, 50, 9), (3, 2)])
def test_whitened_features_vary_alike_in_all_directions(lengths):
    """Of five shots of six values only four directions vary; the others stay without."""
    features = {f: x @ np.diag([9, 5, 2, 1, 0.7, 0.4]) for f, x in corpus_features(lengths, d=6).items()}
    corpus = MovieCorpus(features, standardise=True, whiten=True)
    rows = corpus.rows[:-1].double().numpy()
    variance = np.linalg.eigvalsh(rows.T @ rows / len(rows))[::-1]
    rank = min(6, sum(lengths) - 1)
    assert np.allclose(variance[:rank], 1 / rank, rtol=1e-3)
    assert np.allclose(variance[rank:], 0, atol=1e-6)
    every = np.concatenate([features[f] for f in sorted(features)]).astype(np.float64)
    assert np.allclose((every - corpus.mean) / corpus.length @ corpus.whitening, rows, atol=1e-5)


def test_bad_films_are_named():
    features = corpus_features()
    features["film1"][5, 2] = np.inf
    with pytest.raises(M2SError, match="film 'film1', shot 5: the feature is not finite"):
        MovieCorpus(features)
    features["film1"] = np.zeros((4, 9), np.float32)
    with pytest.raises(M2SError, match=r"film 'film1': features of shape \[4, 9\], expected \[shots, 4\]"):
        MovieCorpus(features)
    features["film1"] = np.zeros((0, 4), np.float32)
    with pytest.raises(M2SError, match="film 'film1' has no shot features"):
        MovieCorpus(features)
    with pytest.raises(M2SError, match="of all 2 films are the same"):
        MovieCorpus({"a": np.ones((3, 4), np.float32), "b": np.ones((5, 4), np.float32)}, standardise=True)


def test_pair_codes_ignore_order():
    corpus = MovieCorpus(corpus_features())
    pairs = pd.DataFrame({"film_a": ["film2", "film0"], "film_b": ["film0", "film2"]})
    codes = corpus.pair_codes(pairs)
    assert codes[0] == codes[1]
    assert corpus.films_of(codes).tolist() == [[0, 0], [2, 2]]
    with pytest.raises(M2SError, match="1 films of the film pairs have no shot features, e.g. 'ghost'"):
        corpus.pair_codes(pd.DataFrame({"film_a": ["film0"], "film_b": ["ghost"]}))
    with pytest.raises(M2SError, match="hold 'film1' with itself"):
        corpus.pair_codes(pd.DataFrame({"film_a": ["film1"], "film_b": ["film1"]}))


def test_dissimilar_pairs_are_the_free_ones():
    rng = np.random.default_rng(0)
    n = 6
    every = {a * n + b for a in range(n) for b in range(a + 1, n)}
    taken = np.array(sorted(every)[:12])
    drawn = draw_dissimilar(rng, n, taken, 500)
    assert len(drawn) == 500
    assert set(drawn.tolist()) == every - set(taken.tolist())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_split_has_no_leak(share):
    rng = np.random.default_rng(1)
    n = 12
    similar = np.array([a * n + a + 1 for a in range(11)])
    train, held, others = split_pairs(rng, n, similar, share)
    assert sorted([*train, *held]) == sorted(similar)
    assert not np.isin(others, similar).any()
    assert len(np.unique(others)) == len(held) == len(others)
    assert len(held) == {0.0: 0, 0.1: 1, 0.5: 6}[share]


def test_split_keeps_a_pair_to_train_on():
    rng = np.random.default_rng(1)
    train, held, others = split_pairs(rng, 4, np.array([1]), 0.9)
    assert (len(train), len(held), len(others)) == (1, 0, 0)


def test_too_many_similar_pairs_leave_none_to_hold_out():
    """Of four films five pairs are similar: the one that is not stays for training."""
    similar = np.array([1, 2, 3, 6, 7])
    train, held, others = split_pairs(np.random.default_rng(0), 4, similar, 0.5)
    assert (train.tolist(), len(held), len(others)) == (similar.tolist(), 0, 0)
