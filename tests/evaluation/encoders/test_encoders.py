import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.encoders import (
    ColourEncoder,
    Encoder,
    JoinedEncoder,
    OurSceneEncoder,
    PixelEncoder,
    RandomInit,
    SceneEncoderPerShot,
    ShotMeanEncoder,
    colour_features,
    embed_scenes,
    shot_embeddings,
)
from m2s_lib.films.store.shot_store import open_stores, write_shots
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.weights import save_encoder
from tests.helpers.fake_films import FakeStore

TINY = SceneEncoderConfig.preset("test")


def noise_store(seed, n, k=2, side=32):
    store = FakeStore(seed, n, k, side)
    store._pixels = np.random.default_rng(seed).integers(0, 256, store._pixels.shape).astype(np.uint8)
    return store


@pytest.fixture(scope="module")
def stores():
    return {"a": noise_store(1, 12), "b": noise_store(2, 7), "c": noise_store(3, 1)}


@pytest.fixture(scope="module")
def table():
    rows = [("b", 2, 4), ("a", 0, 4), ("a", 8, 4), ("c", 0, 1), ("a", 3, 1), ("b", 0, 7), ("a", 1, 4)]
    return pd.DataFrame(rows, columns=["film_id", "shot", "n_shots"], index=[9, 3, 5, 7, 1, 0, 2])


def every_encoder():
    scene = SceneEncoder(TINY, seed=3)
    shot = ShotEncoder(ShotEncoderConfig.preset("test", out_dim=24), seed=4)
    return [
        ColourEncoder(),
        PixelEncoder(),
        RandomInit(TINY),
        OurSceneEncoder(scene),
        SceneEncoderPerShot(scene, "ShotCoL"),
        ShotMeanEncoder(shot),
    ]


@pytest.mark.parametrize("encoder", every_encoder(), ids=lambda e: e.name)
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_embed_scenes_equals_one_scene_at_a_time(encoder, stores, table, batch):
    found = embed_scenes(encoder, stores, table, batch=batch)
    assert found.dtype == np.float32
    assert found.shape == (len(table), encoder.dim)
    with torch.inference_mode():
        for row, (film, shot, n) in zip(found, table.to_numpy(), strict=True):
            one = encoder.embed(torch.from_numpy(stores[film].scene(shot, n))[None])
            np.testing.assert_allclose(row, one[0].numpy(), atol=2e-5)


def test_embed_scenes_gives_every_shot_once(stores):
    class Counting(ColourEncoder):
        seen = 0

        def embed_shots(self, shots):
            self.seen += len(shots)
            return super().embed_shots(shots)

    encoder = Counting()
    scenes = pd.DataFrame({"film_id": "a", "shot": range(4), "n_shots": 9})
    embed_scenes(encoder, stores, scenes, batch=2)
    assert encoder.seen == 12


def test_films_with_frames_of_another_size_are_embedded_apart():
    stores = {"a": noise_store(1, 4, side=32), "b": noise_store(2, 4, side=16)}
    model = SceneEncoder(SceneEncoderConfig.preset("test", resize=True), seed=0)
    scenes = pd.DataFrame({"film_id": ["a", "b", "a"], "shot": [0, 1, 2], "n_shots": 2})
    encoder = OurSceneEncoder(model)
    found = embed_scenes(encoder, stores, scenes)
    with torch.inference_mode():
        one = encoder.embed(torch.from_numpy(stores["b"].scene(1, 2))[None])
    np.testing.assert_allclose(found[1], one[0].numpy(), atol=2e-5)


def slow_colours(keyframes):
    rows = []
    for shot in keyframes:
        counts = np.zeros((4, 4, 4))
        for r, g, b in shot.reshape(-1, 3):
            counts[r // 64, g // 64, b // 64] += 1
        rows.append(np.sqrt(counts.ravel() / counts.sum()))
    return np.array(rows)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 6), st.integers(0, 1000))
def test_colour_features_are_unit_histograms(n, k, side, seed):
    keyframes = np.random.default_rng(seed).integers(0, 256, (n, k, side, side, 3)).astype(np.uint8)
    found = colour_features(keyframes)
    np.testing.assert_allclose(found, slow_colours(keyframes), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_colour_features_of_a_store_in_small_pieces(monkeypatch):
    store = noise_store(5, 9)
    whole = colour_features(store)
    monkeypatch.setattr("m2s_lib.evaluation.encoders.encoders._HISTOGRAM_BYTES", 1)
    np.testing.assert_array_equal(colour_features(store), whole)
    assert whole.shape == (9, 64)


def test_real_stores_and_weights_files(tmp_path):
    shots = pd.DataFrame({c: range(3) for c in ("shot", "start_frame", "end_frame", "start_s", "end_s")})
    pixels = noise_store(6, 3).keyframes()
    write_shots(tmp_path / "film.arrow", shots, pixels, aspect=1.5, fps=24, source="video")
    write_shots(tmp_path / "blind.arrow", shots, None, aspect=1.5, fps=24, source="features")
    model = SceneEncoder(TINY, seed=9)
    save_encoder(tmp_path / "scene_encoder.safetensors", model)
    encoder = OurSceneEncoder(tmp_path / "scene_encoder.safetensors", "ours (co-watch)")
    stores = open_stores(tmp_path)
    scenes = pd.DataFrame({"film_id": ["film"], "shot": [0], "n_shots": [3]})
    found = embed_scenes(encoder, stores, scenes)
    with torch.inference_mode():
        expected = model.eval().embed(torch.from_numpy(pixels)[None]).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert (encoder.name, encoder.dim) == ("ours (co-watch)", TINY.width)
    with pytest.raises(M2SError, match="film blind has features but no pixels"):
        embed_scenes(encoder, stores, scenes.assign(film_id="blind"))
    with pytest.raises(M2SError, match="expected a shot encoder"):
        ShotMeanEncoder(tmp_path / "scene_encoder.safetensors")
    with pytest.raises(M2SError, match="weights not found: put them at"):
        OurSceneEncoder(tmp_path / "absent.safetensors")


def test_shot_embeddings_are_scenes_of_one_shot(stores):
    encoder = RandomInit(TINY)
    found = shot_embeddings(encoder, stores, batch=5)
    assert {film: len(rows) for film, rows in found.items()} == {"a": 12, "b": 7, "c": 1}
    with torch.inference_mode():
        one = encoder.embed(torch.from_numpy(stores["b"].scene(6, 1))[None])
    np.testing.assert_allclose(found["b"][6], one[0].numpy(), atol=2e-5)
    assert shot_embeddings(encoder, stores, []) == {}
    with pytest.raises(M2SError, match="1 films have no shot store, the first is z"):
        shot_embeddings(encoder, stores, ["a", "z"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"film_id": "z"}, "film z has no shot store"),
        ({"shot": 4}, "film b: a scene of 4 shots from shot 4 does not fit its 7 shots"),
        ({"shot": -1}, "from shot -1"),
        ({"n_shots": 0}, "a scene of 0 shots"),
    ],
)
def test_scenes_that_do_not_exist_are_named(stores, change, message):
    scenes = pd.DataFrame({"film_id": ["b"], "shot": [2], "n_shots": [4]}).assign(**change)
    with pytest.raises(M2SError, match=message):
        embed_scenes(ColourEncoder(), stores, scenes)


def test_a_missing_column_and_broken_weights_are_named(stores):
    with pytest.raises(M2SError, match=r"lacks the columns \['n_shots'\]"):
        embed_scenes(ColourEncoder(), stores, pd.DataFrame({"film_id": ["a"], "shot": [0]}))

    class Broken(Encoder):
        name, dim = "broken", 2

        def embed(self, scenes):
            return torch.full((len(scenes), 2), torch.nan)

    with pytest.raises(
        M2SError, match="broken: 1 of 1 embeddings are not finite, the first is film a, shot 3"
    ):
        embed_scenes(Broken(), stores, pd.DataFrame({"film_id": ["a"], "shot": [3], "n_shots": [2]}))


@pytest.mark.gpu
def test_encoders_on_cuda_agree_with_the_cpu(stores, table):
    for encoder in every_encoder():
        on_cpu = embed_scenes(encoder, stores, table)
        on_gpu = embed_scenes(encoder, stores, table, device="cuda")
        np.testing.assert_allclose(on_gpu, on_cpu, atol=0.05, rtol=0.05)


def test_joined_features_stand_one_after_the_other(stores):
    scenes = pd.DataFrame({"film_id": ["a", "b", "a"], "shot": [0, 1, 5], "n_shots": [4, 3, 2]})
    parts = [PixelEncoder(), ColourEncoder()]
    joined = JoinedEncoder(parts, "both").to("cpu")
    assert joined.dim == sum(p.dim for p in parts)
    expected = np.concatenate([embed_scenes(p, stores, scenes) for p in parts], axis=1)
    np.testing.assert_allclose(embed_scenes(joined, stores, scenes), expected, atol=1e-6)
