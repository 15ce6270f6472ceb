"""Scene mining: what is kept, film pairs that give nothing, runs that are killed and go on."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from m2s_lib.errors import M2SError
from m2s_lib.method.greedy import greedy_pairs
from m2s_lib.method.movie_encoder import MovieEncoder
from m2s_lib.mining.miner import PairMiner
from m2s_lib.mining.pair_view import PairView
from m2s_lib.mining.scene_mining import best_film_pair, mine_pairs, paper_count_check
from m2s_lib.mining.similar_scenes import MiningConfig, keep_count, scene_similarity, score_floor
from tests.helpers.mining_films import corpus, every_pair, windows

COLUMNS = ["film_a", "film_b", "shot_a", "shot_b", "n_shots", "score", "rank"]


def test_best_half_of_the_greedy_picks():
    features = corpus()
    pairs = every_pair(features)
    found = mine_pairs(features, pairs, MiningConfig(5))
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
    assert len(mine_pairs(features, pairs, MiningConfig(5, ratio=1.0))) > len(found)


def test_no_shot_is_used_twice_in_a_film_pair():
    features = corpus((120, 90, 100))
    for keep in ("best_half", "above_median"):
        found = mine_pairs(features, every_pair(features), MiningConfig(4, keep))
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
        found = mine_pairs(features, pairs, MiningConfig(4, "above_median", ratio))
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
    plain = mine_pairs(features, pairs, MiningConfig(5))
    pd.testing.assert_frame_equal(
        mine_pairs(stretched, pairs, MiningConfig(5, normalise=True)), plain, atol=1e-5
    )
    assert not mine_pairs(stretched, pairs, MiningConfig(5))["shot_a"].equals(plain["shot_a"])


def test_e_movie_is_read_before_its_last_layer():
    features = corpus()
    torch.manual_seed(0)
    encoder = MovieEncoder(16, 24).train()
    found = mine_pairs(features, every_pair(features), MiningConfig(5), encoder=encoder)
    weight, bias = encoder.fc1.weight.detach().numpy(), encoder.fc1.bias.detach().numpy()
    hidden = {film: np.maximum(x @ weight.T + bias, 0) for film, x in features.items()}
    by_hand = mine_pairs(hidden, every_pair(features), MiningConfig(5))
    pd.testing.assert_frame_equal(found, by_hand, atol=1e-5)


def test_short_films_are_counted():
    features = corpus((40, 8, 55, 0))
    found = mine_pairs(features, every_pair(features))
    assert set(zip(found["film_a"], found["film_b"], strict=True)) == {("film0", "film2")}
    assert found.attrs == {
        "too_short": [
            {"film": "film1", "shots": 8, "needed": 9},
            {"film": "film3", "shots": 0, "needed": 9},
        ],
        "film_pairs_without": 5,
    }
    nothing = mine_pairs(features, every_pair(features).iloc[:0])
    assert list(nothing.columns) == COLUMNS
    assert len(nothing) == 0
    assert (nothing.dtypes == found.dtypes).all()


def test_a_film_pair_counts_once():
    features = corpus()
    once = pd.DataFrame({"film_a": ["film0", "film1"], "film_b": ["film2", "film3"]})
    again = pd.DataFrame({"film_a": ["film2", "film1"], "film_b": ["film0", "film3"]})
    pd.testing.assert_frame_equal(
        mine_pairs(features, pd.concat([once, again]), MiningConfig(5)),
        mine_pairs(features, once, MiningConfig(5)),
    )


def test_bad_input_is_said():
    features = corpus()
    pairs = every_pair(features)
    with pytest.raises(M2SError, match="1 films of the film pairs have no shot features, e.g. 'film3'"):
        mine_pairs({film: features[film] for film in ("film0", "film1", "film2")}, pairs)
    with pytest.raises(M2SError, match="hold 'film0' with itself"):
        mine_pairs(features, pd.DataFrame({"film_a": ["film0"], "film_b": ["film0"]}))
    with pytest.raises(M2SError, match="keep is 'half'"):
        MiningConfig(keep="half")
    with pytest.raises(M2SError, match="ratio is 0"):
        MiningConfig(ratio=0)
    with pytest.raises(M2SError, match="a scene of 0 shots"):
        MiningConfig(0)
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


def test_shards_give_what_one_pass_gives(tmp_path):
    features = corpus((40, 55, 30, 61, 6))
    pairs, config = every_pair(features), MiningConfig(7)
    expected = mine_pairs(features, pairs, config)
    mined = mine_pairs(features, pairs, config, shards=tmp_path / "shards", shard=3)
    pd.testing.assert_frame_equal(mined, expected)
    assert mined.attrs == expected.attrs
    assert list(tmp_path.iterdir()) == []


def stopped(features, pairs, config, folder, monkeypatch, after):
    """Mining that is interrupted before shard number `after`; the shards that it was at."""
    mined, real = [], PairMiner.mine

    def stops(self, part):
        mined.append(part)
        if len(mined) == after:
            raise KeyboardInterrupt
        return real(self, part)

    monkeypatch.setattr(PairMiner, "mine", stops)
    with pytest.raises(KeyboardInterrupt):
        mine_pairs(features, pairs, config, shards=folder, shard=2)
    return mined


def test_a_stopped_run_goes_on(tmp_path, monkeypatch):
    features, config = corpus(), MiningConfig(5)
    pairs, folder = every_pair(features), tmp_path / "shards"
    real = PairMiner.mine
    mined = stopped(features, pairs, config, folder, monkeypatch, 3)
    shards = sorted(folder.iterdir())
    assert len(shards) == 2
    shards[0].write_bytes(b"damaged")
    again = mine_pairs(features, pairs, config, shards=folder, shard=2)
    assert len(mined) == 5  # the third shard and the damaged one; the other was kept
    monkeypatch.setattr(PairMiner, "mine", real)
    pd.testing.assert_frame_equal(again, mine_pairs(features, pairs, config))


@pytest.mark.parametrize(
    "other",
    [
        MiningConfig(5, ratio=0.2),
        MiningConfig(5, similarity=lambda x1, x2, n: scene_similarity(x1, x2, n) ** 2),
        MiningConfig(5, select=lambda b, n: tuple(a[:1] for a in greedy_pairs(b, n))),
    ],
)
def test_shards_of_a_run_with_other_settings_are_not_taken_over(tmp_path, monkeypatch, other):
    features = corpus()
    pairs, folder = every_pair(features), tmp_path / "shards"
    with monkeypatch.context() as patch:
        stopped(features, pairs, MiningConfig(5), folder, patch, 3)
    found = mine_pairs(features, pairs, other, shards=folder, shard=2)
    pd.testing.assert_frame_equal(found, mine_pairs(features, pairs, other))
    assert len(found) != len(mine_pairs(features, pairs, MiningConfig(5))) or other.ratio == 0.5
    assert list(tmp_path.iterdir()) == []


def largest(x1, x2, n):
    """B of another kind: the largest value of each window of A."""
    return F.max_pool2d((x1 @ x2.T)[None], n, 1)[0]


def diagonal(b, n):
    """Another choice: the windows on the diagonal, every n, best first."""
    at = np.arange(0, min(b.shape), n)
    at = at[np.argsort(-b[at, at], kind="stable")]
    return at, at, b[at, at]


@pytest.mark.parametrize("keep", ["best_half", "above_median"])
def test_another_similarity_is_used_everywhere(keep):
    features = corpus((40, 55, 4))
    config = MiningConfig(5, keep, similarity=largest)
    found = mine_pairs(features, every_pair(features), config)
    a = features["film0"] @ features["film1"].T
    expected = np.array([[a[i : i + 5, j : j + 5].max() for j in range(51)] for i in range(36)])
    i, j, score = greedy_pairs(expected.astype(np.float32), 5, config.floor(expected))
    count = config.count(len(i))
    assert found["shot_a"].tolist() == i[:count].tolist()
    assert found["shot_b"].tolist() == j[:count].tolist()
    assert np.allclose(found["score"], score[:count], atol=1e-6)
    seen, picks = PairView(features, config)("film0", "film1")
    assert np.allclose(seen, expected, atol=1e-6)
    assert picks.query("kept")["shot_a"].tolist() == found["shot_a"].tolist()


@pytest.mark.parametrize("keep", ["best_half", "above_median"])
def test_another_choice_is_used_everywhere(keep):
    features = corpus((40, 55))
    config = MiningConfig(5, keep, ratio=1.0, select=diagonal)
    found = mine_pairs(features, every_pair(features), config)
    assert found["shot_a"].tolist() == found["shot_b"].tolist()
    assert sorted(found["shot_a"]) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert (np.diff(found["score"]) <= 0).all()
    _, picks = PairView(features, config)("film0", "film1")
    assert picks["kept"].all()
    assert picks["shot_a"].tolist() == found["shot_a"].tolist()


def test_the_film_pair_with_the_best_scene_pair():
    features = corpus((40, 55, 30))
    pairs = every_pair(features)
    mined = mine_pairs(features, pairs, MiningConfig(5))
    best = mined.loc[mined["score"].idxmax()]
    assert best_film_pair(mined, pairs) == (best["film_a"], best["film_b"])
    assert best_film_pair(mined.head(0), pairs) == ("film0", "film1")


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
    found = mine_pairs(features, pairs, MiningConfig(ratio=1.0, normalise=True))
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
    found = mine_pairs(features, pairs, MiningConfig(9, keep), device="cuda")
    pd.testing.assert_frame_equal(found, mine_pairs(features, pairs, MiningConfig(9, keep)), atol=1e-6)


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_b_of_one_pair_is_the_b_that_mining_chooses_from(encoded, normalise):
    features = corpus((30, 24), d=12)
    torch.manual_seed(0)
    encoder = MovieEncoder(12, 8).eval() if encoded else None
    config = MiningConfig(5, ratio=1.0, normalise=normalise)
    b, _ = PairView(features, config, encoder=encoder)("film0", "film1")
    assert b.shape == (26, 20)
    assert b.dtype == np.float32
    i, j, score = greedy_pairs(b, 5)
    found = mine_pairs(features, every_pair(features), config, encoder=encoder)
    assert found["shot_a"].tolist() == i.tolist()
    assert found["shot_b"].tolist() == j.tolist()
    assert found["score"].tolist() == score.tolist()  # the same product, to the last bit
    x = [torch.from_numpy(features[f]) for f in ("film0", "film1")]
    if encoded:
        x = [torch.relu(encoder.fc1(v)) for v in x]
    if normalise:
        x = [v / v.norm(dim=1, keepdim=True) for v in x]
    assert np.allclose(b, windows(*(v.detach().numpy() for v in x), 5), atol=1e-5)


@pytest.mark.parametrize("similarity", [scene_similarity, largest])
def test_b_of_a_film_shorter_than_a_scene_is_empty(similarity):
    b, picks = PairView(corpus((30, 4)), MiningConfig(5, similarity=similarity))("film0", "film1")
    assert b.size == len(picks) == 0
