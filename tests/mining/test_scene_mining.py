"""Scene mining: what is kept, film pairs that give nothing, runs that are killed and go on."""

import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.method.greedy import greedy_pairs
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.mining import scene_mining
from m2s_lib.mining.miner import PairMiner, score_floor
from m2s_lib.mining.scene_mining import (
    keep_count,
    mine_pairs,
    mine_to,
    pair_similarity,
    paper_count_check,
    scene_similarity,
)
from tests.helpers.mining_films import corpus, every_pair, windows

COLUMNS = ["film_a", "film_b", "shot_a", "shot_b", "n_shots", "score", "rank"]


def test_best_half_of_the_greedy_picks():
    features = corpus()
    pairs = every_pair(features)
    found = mine_pairs(features, pairs, 5)
    assert list(found.columns) == COLUMNS
    assert found["n_shots"].eq(5).all()
    at = 0
    for a, b in pairs.itertuples(index=False):
        matrix = scene_similarity(features[a], features[b], 5)
        i, j, score = greedy_pairs(matrix, 5)
        count = -(-len(i) // 2)
        rows = found.iloc[at : at + count]
        at += count
        assert rows["film_a"].eq(a).all()
        assert rows["film_b"].eq(b).all()
        assert rows["shot_a"].tolist() == i[:count].tolist()
        assert rows["shot_b"].tolist() == j[:count].tolist()
        assert np.allclose(rows["score"], score[:count], atol=1e-6)
        assert rows["rank"].tolist() == list(range(1, count + 1))
    assert at == len(found)
    assert len(mine_pairs(features, pairs, 5, ratio=1.0)) > len(found)


def test_no_shot_is_used_twice_in_a_film_pair():
    features = corpus((120, 90, 100))
    for keep in ("best_half", "above_median"):
        found = mine_pairs(features, every_pair(features), 4, keep=keep)
        for _, rows in found.groupby(["film_a", "film_b"]):
            for side in ("shot_a", "shot_b"):
                assert np.diff(np.sort(rows[side])).min() >= 4


def test_above_median_filters_all_windows_first():
    features = corpus((60, 50))
    pairs = every_pair(features)
    matrix = scene_similarity(features["film0"], features["film1"], 4)
    ordered = np.sort(matrix, axis=None)
    for ratio in (0.5, 0.1):
        floor = score_floor(matrix, ratio)
        assert floor == ordered[len(ordered) - keep_count(len(ordered), ratio)]
        masked = np.where(matrix >= floor, matrix, -np.inf)
        found = mine_pairs(features, pairs, 4, keep="above_median", ratio=ratio)
        i, j, _ = greedy_pairs(masked, 4)
        assert found["shot_a"].tolist() == i.tolist()
        assert found["shot_b"].tolist() == j.tolist()
        assert found["score"].min() >= floor
    assert score_floor(np.empty((0, 3), np.float32), 0.5) == -np.inf


def test_normalise_is_cosine():
    features = corpus()
    stretched = {
        film: x * np.linspace(1, 9, len(x), dtype=np.float32)[:, None] for film, x in features.items()
    }
    pairs = every_pair(features)
    plain = mine_pairs(features, pairs, 5)
    pd.testing.assert_frame_equal(mine_pairs(stretched, pairs, 5, normalise=True), plain, atol=1e-5)
    assert not mine_pairs(stretched, pairs, 5)["shot_a"].equals(plain["shot_a"])


def test_e_movie_is_read_before_its_last_layer():
    features = corpus()
    torch.manual_seed(0)
    encoder = MovieEncoder(16, 24).train()
    found = mine_pairs(features, every_pair(features), 5, encoder=encoder)
    weight, bias = encoder.fc1.weight.detach().numpy(), encoder.fc1.bias.detach().numpy()
    hidden = {film: np.maximum(x @ weight.T + bias, 0) for film, x in features.items()}
    by_hand = mine_pairs(hidden, every_pair(features), 5)
    pd.testing.assert_frame_equal(found, by_hand, atol=1e-5)


def test_short_films_are_counted():
    features = corpus((40, 8, 55, 0))
    found = mine_pairs(features, every_pair(features), 9)
    assert set(zip(found["film_a"], found["film_b"], strict=True)) == {("film0", "film2")}
    assert found.attrs == {
        "too_short": [
            {"film": "film1", "shots": 8, "needed": 9},
            {"film": "film3", "shots": 0, "needed": 9},
        ],
        "film_pairs_without": 5,
    }
    nothing = mine_pairs(features, every_pair(features).iloc[:0], 9)
    assert list(nothing.columns) == COLUMNS
    assert len(nothing) == 0
    assert (nothing.dtypes == found.dtypes).all()


def test_a_film_pair_counts_once():
    features = corpus()
    once = pd.DataFrame({"film_a": ["film0", "film1"], "film_b": ["film2", "film3"]})
    again = pd.DataFrame({"film_a": ["film2", "film1"], "film_b": ["film0", "film3"]})
    pd.testing.assert_frame_equal(
        mine_pairs(features, pd.concat([once, again]), 5), mine_pairs(features, once, 5)
    )


def test_bad_input_is_said():
    features = corpus()
    pairs = every_pair(features)
    with pytest.raises(M2SError, match="1 films of the film pairs have no shot features, e.g. 'film3'"):
        mine_pairs({film: features[film] for film in ("film0", "film1", "film2")}, pairs)
    with pytest.raises(M2SError, match="hold 'film0' with itself"):
        mine_pairs(features, pd.DataFrame({"film_a": ["film0"], "film_b": ["film0"]}))
    with pytest.raises(M2SError, match="keep is 'half'"):
        mine_pairs(features, pairs, keep="half")
    with pytest.raises(M2SError, match="ratio is 0"):
        mine_pairs(features, pairs, ratio=0)
    with pytest.raises(M2SError, match="a scene of 0 shots"):
        mine_pairs(features, pairs, 0)
    with pytest.raises(M2SError, match="workers is -1"):
        mine_pairs(features, pairs, workers=-1)
    with pytest.raises(
        M2SError, match=r"film 'film0': features of shape \[40, 16\], expected \[shots, 512\]"
    ):
        mine_pairs(features, pairs, encoder=MovieEncoder())
    huge = {film: x * np.float32(1e30) for film, x in features.items()}
    with pytest.raises(M2SError, match="films 'film0' and 'film1': scene similarities hold NaN or inf"):
        mine_pairs(huge, pairs)
    features["film1"][3, 4] = np.nan
    with pytest.raises(M2SError, match="film 'film1', shot 3: the feature is not finite"):
        mine_pairs(features, pairs)


def test_mine_to_writes_what_mine_pairs_returns(tmp_path):
    features = corpus((40, 55, 30, 61, 6))
    pairs = every_pair(features)
    expected = mine_pairs(features, pairs, 7)
    found = mine_to(tmp_path / "scene_pairs.parquet", features, pairs, 7, shard=3)
    pd.testing.assert_frame_equal(found, expected)
    assert found.attrs == expected.attrs
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scene_pairs.parquet"), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["scene_pairs.parquet"]


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    features = corpus()
    pairs = every_pair(features)
    path = tmp_path / "scene_pairs.parquet"
    mined = []
    real = PairMiner.mine

    def stops(self, part):
        mined.append(part)
        if len(mined) == 3:
            raise KeyboardInterrupt
        return real(self, part)

    monkeypatch.setattr(PairMiner, "mine", stops)
    with pytest.raises(KeyboardInterrupt):
        mine_to(path, features, pairs, 5, shard=2)
    assert not path.exists()
    shards = sorted((tmp_path / "scene_pairs.parquet.shards").iterdir())
    assert len(shards) == 2
    shards[0].write_bytes(b"damaged")
    found = mine_to(path, features, pairs, 5, shard=2)
    assert len(mined) == 5  # the third shard and the damaged one; the other was kept
    monkeypatch.setattr(PairMiner, "mine", real)
    pd.testing.assert_frame_equal(found, mine_pairs(features, pairs, 5))


def test_shards_of_a_run_with_other_parameters_are_not_taken_over(tmp_path, monkeypatch):
    features = corpus()
    pairs = every_pair(features)
    path = tmp_path / "scene_pairs.parquet"
    real = scene_mining.write_parquet

    def stops(table, to):
        if to == path:
            raise KeyboardInterrupt
        real(table, to)

    monkeypatch.setattr(scene_mining, "write_parquet", stops)
    with pytest.raises(KeyboardInterrupt):
        mine_to(path, features, pairs, 5, shard=2)
    monkeypatch.setattr(scene_mining, "write_parquet", real)
    found = mine_to(path, features, pairs, 5, ratio=0.2, shard=2)
    pd.testing.assert_frame_equal(found, mine_pairs(features, pairs, 5, ratio=0.2))
    assert [p.name for p in tmp_path.iterdir()] == ["scene_pairs.parquet"]


def test_the_papers_count_fits_the_best_half():
    table = paper_count_check().set_index("keep")
    published = 2.5e6  # Table 2, row 10
    distance = (table["scene_pairs"] / published).apply(np.log).abs()
    assert distance.idxmin() == "best_half"
    assert (
        table.loc["above_median", "scene_pairs"] > 0.95 * table.loc["all", "scene_pairs"]
    )  # drops next to none
    assert table.loc["all", "per_film_pair"] <= 1088 // 9
    half = paper_count_check(500, 10, samples=2)
    assert (half["scene_pairs"] == (half["per_film_pair"] * 10).round()).all()


def test_real_films(shared_data):
    """OVSD's films by their VGG features: all positive, so every film has scenes that suit all others."""
    features = {
        p.parent.name: np.load(p) for p in sorted((shared_data / "ovsd").glob("*/features_vgg19.npy"))
    }
    pairs = every_pair(features)
    found = mine_pairs(features, pairs, 9, ratio=1.0, normalise=True)
    a, b = min(features, key=lambda f: len(features[f])), max(features, key=lambda f: len(features[f]))
    rows = found[found["film_a"].isin([a, b]) & found["film_b"].isin([a, b])]
    x1, x2 = (features[f] / np.linalg.norm(features[f], axis=1, keepdims=True) for f in sorted((a, b)))
    c, expected = windows(x1, x2, 9), []
    while np.isfinite(c.max()):
        i, j = np.unravel_index(c.argmax(), c.shape)
        expected.append(c[i, j])
        c[max(i - 8, 0) : i + 9] = -np.inf
        c[:, max(j - 8, 0) : j + 9] = -np.inf
    assert len(rows) == len(expected)
    assert np.allclose(rows["score"], expected, atol=1e-5)
    assert len(found.groupby(["film_a", "film_b"])) == len(pairs)


@pytest.mark.gpu
@pytest.mark.parametrize("keep", ["best_half", "above_median"])
def test_cuda_mines_the_same(keep):
    features = corpus((140, 255, 130, 61, 6))
    pairs = every_pair(features)
    found = scene_mining.mine_pairs(features, pairs, 9, keep=keep, device="cuda")
    pd.testing.assert_frame_equal(found, mine_pairs(features, pairs, 9, keep=keep), atol=1e-6)


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_b_of_one_pair_is_the_b_that_mining_chooses_from(encoded, normalise):
    features = corpus((30, 24), d=12)
    torch.manual_seed(0)
    encoder = MovieEncoder(12, 8).eval() if encoded else None
    how = {"encoder": encoder, "normalise": normalise}
    b = pair_similarity(features["film0"], features["film1"], 5, **how)
    assert b.shape == (26, 20)
    assert b.dtype == np.float32
    i, j, score = greedy_pairs(b, 5)
    found = mine_pairs(features, every_pair(features), 5, ratio=1.0, **how)
    assert found["shot_a"].tolist() == i.tolist()
    assert found["shot_b"].tolist() == j.tolist()
    assert found["score"].tolist() == score.tolist()  # the same product, to the last bit
    x = [torch.from_numpy(features[f]) for f in ("film0", "film1")]
    if encoded:
        x = [torch.relu(encoder.fc1(v)) for v in x]
    if normalise:
        x = [v / v.norm(dim=1, keepdim=True) for v in x]
    assert np.allclose(b, windows(*(v.detach().numpy() for v in x), 5), atol=1e-5)


def test_b_of_a_film_shorter_than_a_scene_is_empty():
    features = corpus((30, 4))
    assert pair_similarity(features["film0"], features["film1"], 5).size == 0
