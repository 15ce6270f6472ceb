import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import open_stores, write_shots
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig, ShotFrames, ShotPairs
from m2s_lib.method.shot_features import encode_shots
from tests.helpers.fake_films import FakeStore

FILMS = {"a": 1, "b": 2, "c": 3, "d": 5, "e": 30}  # shots of each film; a and b have no pairs


def stores(**films):
    return {film: FakeStore(10 + i, n) for i, (film, n) in enumerate((films or FILMS).items())}


def coded(frames):
    """(film number, shot) that the pixels of uint8 [..., k, h, w, c] say."""
    first = frames[..., 0, 0, 0, :2]
    assert (frames[..., :2] == first[..., None, None, None, :]).all()
    return first.int().numpy()


@pytest.mark.parametrize("resident_bytes", [1 << 20, 0])
def test_keys_are_two_shots_away_in_the_same_film_and_masked_at_its_ends(resident_bytes):
    pairs = ShotPairs(stores(), share=1.0, resident_bytes=resident_bytes)
    assert (pairs.frames.pixels is None) == (resident_bytes == 0)
    query, keys, mask = pairs.batch(np.arange(len(pairs)), np.random.default_rng(0))
    assert query.shape == (len(pairs), 1, 4, 4, 3)
    assert keys.shape == (len(pairs), 2, 1, 4, 4, 3)
    assert mask.any(1).all()
    lengths = dict(zip(range(10, 15), FILMS.values(), strict=True))
    for (film, t), (before, after), (has_before, has_after) in zip(
        coded(query), coded(keys), mask, strict=True
    ):
        assert has_before == (t - 2 >= 0)
        assert has_after == (t + 2 < lengths[film])
        if has_before:
            assert tuple(before) == (film, t - 2)
        if has_after:
            assert tuple(after) == (film, t + 2)


def test_queries_are_the_shots_with_a_neighbour_and_films_without_are_counted():
    pairs = ShotPairs(stores(), share=1.0)
    assert pairs.films_without == 2
    assert pairs.queries.tolist() == [
        [2, 0],
        [2, 2],
        *([3, t] for t in range(5)),
        *([4, t] for t in range(30)),
    ]


def test_a_share_of_all_shots_is_drawn_with_the_seed():
    all_shots = sum(FILMS.values())
    pairs = ShotPairs(stores(), share=0.3, seed=1)
    assert len(pairs) == round(0.3 * all_shots)
    assert np.array_equal(pairs.queries, ShotPairs(stores(), share=0.3, seed=1).queries)
    assert not np.array_equal(pairs.queries, ShotPairs(stores(), share=0.3, seed=2).queries)
    assert len(np.unique(pairs.queries, axis=0)) == len(pairs)


def test_other_offsets_serve_shotcol():
    offsets = [o for o in range(-8, 9) if o]
    pairs = ShotPairs(stores(), share=1.0, offsets=offsets)
    query, keys, mask = pairs.batch(np.array([len(pairs) - 1]), np.random.default_rng(0))
    film, t = coded(query)[0]
    assert t == 29
    assert mask[0].tolist() == [o < 0 for o in offsets]
    assert [tuple(x) for x in coded(keys)[0][:8]] == [(film, t + o) for o in offsets[:8]]


def test_scenes_are_read_alike_from_memory_and_from_stores():
    many = {"x": FakeStore(1, 12, k=2), "y": FakeStore(2, 9, k=2)}
    film, shot = np.array([0, 1, 1, 0]), np.array([8, 0, 5, 2])
    held, read = ShotFrames(many, 1 << 20).scenes(film, shot, 4), ShotFrames(many, 0).scenes(film, shot, 4)
    assert torch.equal(held, read)
    assert torch.equal(held[1], torch.from_numpy(many["y"].keyframes()[0:4]))
    assert held.shape == (4, 4, 2, 4, 4, 3)


def test_the_real_shot_store_serves_training_and_encoding(tmp_path):
    for i, (film, n) in enumerate({"p": 4, "q": 7}.items()):
        shots = pd.DataFrame(
            {"shot": range(n), "start_frame": range(0, 10 * n, 10), "end_frame": range(9, 10 * n, 10)}
        )
        shots = shots.assign(start_s=shots["start_frame"] / 10, end_s=shots["start_frame"] / 10 + 1)
        keyframes = FakeStore(50 * i, n, side=32).keyframes()
        path = tmp_path / f"{film}.arrow"
        write_shots(path, shots, keyframes, aspect=1.5, fps=10.0, source="video")
    films = open_stores(tmp_path, keep=1)
    held, read = (ShotPairs(films, share=1.0, resident_bytes=size) for size in (1 << 30, 0))
    assert held.queries.tolist() == [[0, t] for t in range(4)] + [[1, t] for t in range(7)]
    for a, b in zip(*(p.batch(np.arange(11), np.random.default_rng(0)) for p in (held, read)), strict=True):
        assert torch.equal(a, b)
    assert encode_shots(ShotEncoder(ShotEncoderConfig.preset("test")), films["q"]).shape == (7, 512)


def test_errors_name_films_and_numbers():
    with pytest.raises(M2SError, match="film q has frames .*8, 8.* and film p .*4, 4"):
        ShotFrames({"p": FakeStore(0, 3), "q": FakeStore(1, 3, side=8)}, 1 << 20)
    dark = FakeStore(0, 3)
    dark.has_pixels = False
    with pytest.raises(M2SError, match="1 films have features but no pixels, the first is p"):
        ShotFrames({"p": dark}, 1 << 20)
    with pytest.raises(M2SError, match="there are no shots to train on"):
        ShotPairs({})
    with pytest.raises(M2SError, match="none of 2 films .* longest has 2 shots, at least 3"):
        ShotPairs(stores(p=2, q=1))
    with pytest.raises(M2SError, match="share 0 .* above 0 and at most 1"):
        ShotPairs(stores(), share=0)


def test_features_are_unit_vectors_and_do_not_depend_on_the_batch():
    encoder = ShotEncoder(ShotEncoderConfig.preset("test"), seed=0)
    store = FakeStore(3, 11, k=2, side=32)
    features = encode_shots(encoder, store, batch=4)
    assert features.dtype == np.float32
    assert features.shape == (11, 512)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(features, encode_shots(encoder, store, batch=11), atol=1e-5)
    shots = torch.from_numpy(store.keyframes())
    with torch.no_grad():
        np.testing.assert_allclose(features, encoder.embed(shots).numpy(), atol=1e-5)
        torch.testing.assert_close(encoder.embed(shots), encoder.embed(shots[:, None]))  # a scene of one shot


def test_features_of_an_empty_film():
    encoder = ShotEncoder(ShotEncoderConfig.preset("test"))
    assert encode_shots(encoder, FakeStore(0, 0, side=32)).shape == (0, 512)


@pytest.mark.gpu
def test_features_on_cuda_are_near_those_of_the_cpu():
    encoder, store = ShotEncoder(ShotEncoderConfig.preset("test")), FakeStore(3, 11, side=32)
    cpu = encode_shots(encoder, store, device="cpu")
    np.testing.assert_allclose(encode_shots(encoder, store, device="cuda"), cpu, atol=0.02)
