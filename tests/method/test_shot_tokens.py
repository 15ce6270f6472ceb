"""E_scene over shot tokens: whitening against sklearn, any number of shots, their order, files, pairs."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA

from m2s_lib.errors import M2SError
from m2s_lib.method.scene_encoder import ScenePairs
from m2s_lib.method.shot_tokens import FeatureFilms, ShotTokenEncoder, ShotTokensConfig, positions
from m2s_lib.method.weights import load_backbone, load_encoder, save_encoder

N, D = 4, 24


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(D, D)).astype(np.float32)
    return {f"f{i}": (rng.normal(size=(12 + i, D)).astype(np.float32) @ mixed + 3) for i in range(5)}


@pytest.fixture(scope="module")
def encoder(features):
    return ShotTokenEncoder.of(features, seed=1).eval()


def test_whitening_is_that_of_sklearn_film_by_film(features, encoder):
    x = np.concatenate(list(features.values())).astype(np.float64)
    wanted = PCA(whiten=True).fit(x).transform(x) * np.sqrt(len(x) / (len(x) - 1))  # divided by n, not n - 1
    got = ((torch.from_numpy(x).float() - encoder.mean) @ encoder.axes).numpy()
    np.testing.assert_allclose(np.abs(got), np.abs(wanted), atol=2e-3)  # an axis has no sign


def test_directions_without_variance_are_left_out():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) @ np.eye(3, D, dtype=np.float32)
    encoder = ShotTokenEncoder.of({"a": x})
    assert int((encoder.axes.abs().sum(0) > 0).sum()) == 3
    assert torch.isfinite(encoder.embed(torch.from_numpy(x)[None])).all()


@pytest.mark.parametrize("n", [1, 3, 9, 40])
def test_a_scene_has_any_number_of_shots_and_their_order_counts(encoder, n):
    scene = torch.from_numpy(np.random.default_rng(n).normal(size=(2, n, D)).astype(np.float32))
    one = encoder.embed(scene)
    assert one.shape == (2, 128)
    assert encoder(scene).shape == (2, encoder.out_dim)
    torch.testing.assert_close(encoder.embed(scene[1:]), one[1:], rtol=1e-4, atol=1e-5)
    turned = encoder.embed(scene.flip(1))
    assert torch.allclose(turned, one, atol=1e-4) == (n == 1)


def test_positions_are_sines_and_cosines():
    table = positions(7, 8).numpy()
    for place in range(7):
        for i in range(4):
            angle = place / 10_000 ** (2 * i / 8)
            np.testing.assert_allclose(
                table[place, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-6
            )


def test_a_file_gives_the_same_encoder(encoder, tmp_path):
    save_encoder(tmp_path / "e.safetensors", encoder)
    again = load_encoder(tmp_path / "e.safetensors")
    x = torch.ones(1, 5, D)
    assert torch.equal(again.embed(x), encoder.embed(x))
    assert again.config == ShotTokensConfig(D, components=D)


def test_untrained_has_the_same_whitening_and_other_weights(encoder):
    few = encoder.untrained(seed=2, components=5)
    assert few.config == ShotTokensConfig(D, components=5)
    assert torch.equal(few.mean, encoder.mean)
    assert torch.equal(few.axes, encoder.axes[:, :5])
    assert not torch.equal(encoder.untrained(seed=2).fc.weight, encoder.fc.weight)
    assert torch.equal(encoder.untrained(seed=1).fc.weight, encoder.fc.weight)


def test_what_it_refuses(encoder):
    with pytest.raises(M2SError, match=rf"must be \[b, n, {D}\], as this encoder was trained on"):
        encoder.embed(torch.zeros(2, 9, D + 1))
    with pytest.raises(M2SError, match="shot_tokens starts without any"):
        load_backbone(encoder, "clip.safetensors")
    assert ShotTokenEncoder.of({}).config.features == 1  # nothing to train on, and no error


def test_pairs_of_scenes_are_windows_of_the_features(features):
    table = pd.DataFrame(
        [("f0", "f1", 2, 5, N), ("f2", "f0", 0, 7, N)],
        columns=["film_a", "film_b", "shot_a", "shot_b", "n_shots"],
    )
    rng = np.random.default_rng
    for resident in (0, 1 << 20):
        pairs = ScenePairs(table, FeatureFilms(features), resident_bytes=resident)
        query, key, film_pair = pairs.batch(np.array([0, 1]), rng(3))
        assert query.dtype == key.dtype == torch.float32
        sides = [{t.numpy().tobytes() for t in pair} for pair in zip(query, key, strict=True)]
        wanted = [("f0", 2, "f1", 5), ("f2", 0, "f0", 7)]
        assert sides == [
            {features[a][i : i + N].tobytes(), features[b][j : j + N].tobytes()} for a, i, b, j in wanted
        ]
        assert len(set(film_pair.tolist())) == 2
    changed = {film: x + (film == "f0") for film, x in features.items()}
    assert ScenePairs(table, FeatureFilms(changed)).digest() != pairs.digest()
    with pytest.raises(M2SError, match="scene pair 0: shots 2 to 13 are outside film f0, which has 12 shots"):
        ScenePairs(table.assign(n_shots=12), FeatureFilms(features))
