import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig, ScenePairs
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from tests.helpers.fake_films import FakeStore


def scenes(b, n, k, side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (b, n, k, side, side, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("preset", ["test", "mvitv2_test"])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (4, 1), (9, 1), (2, 3), (16, 1)])
def test_any_number_of_shots_and_frames(preset, n, k):
    encoder = SceneEncoder(SceneEncoderConfig.preset(preset))
    width = encoder.config.width
    x = scenes(2, n, k)
    token, out = encoder.embed(x), encoder(x)
    assert token.shape == (2, width)
    assert out.shape == (2, 128)
    torch.testing.assert_close(out, encoder.fc(token))
    out.square().sum().backward()
    unused = [name for name, p in encoder.named_parameters() if p.grad is None]
    assert unused == []


@pytest.mark.parametrize("preset", ["test", "mvitv2_test"])
def test_a_scene_of_one_frame_is_the_frame(preset):
    scene, shot = (c(k.preset(preset, out_dim=16), seed=3) for c, k in
                   ((SceneEncoder, SceneEncoderConfig), (ShotEncoder, ShotEncoderConfig)))  # fmt: skip
    x = scenes(3, 1, 1)
    torch.testing.assert_close(scene(x), shot(x[:, 0]))


@pytest.mark.parametrize("preset", ["test", "mvitv2_test"])
def test_batch_rows_do_not_mix_and_order_of_shots_counts(preset):
    encoder = SceneEncoder(SceneEncoderConfig.preset(preset), seed=1).eval()
    x = scenes(3, 4, 1)
    with torch.no_grad():
        together = encoder.embed(x)
        torch.testing.assert_close(
            together, torch.cat([encoder.embed(x[i : i + 1]) for i in range(3)]), atol=1e-5, rtol=0
        )
        assert (encoder.embed(x.flip(1)) - together).abs().max() > 1e-4


@pytest.mark.parametrize("preset", ["test", "mvitv2_test"])
def test_the_encoder_is_one_graph_for_the_compiler(preset):
    encoder = SceneEncoder(SceneEncoderConfig.preset(preset), seed=1)
    compiled = torch.compile(encoder, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(scenes(2, 4, 1)), encoder(scenes(2, 4, 1)))


def test_weights_come_from_the_seed_and_the_global_generator_is_kept():
    state = torch.random.get_rng_state()
    a, b, c = (SceneEncoder(SceneEncoderConfig.preset("test"), seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert any(not torch.equal(a[n], c[n]) for n in a)


def test_the_base_preset_is_vit_b_16():
    with torch.device("meta"):
        encoder = SceneEncoder(SceneEncoderConfig.preset("base"))
    vit = encoder.backbone
    assert (len(vit.blocks), vit.embed_dim, vit.patch_embed.grid_size) == (12, 768, (8, 8))
    assert encoder.fc.weight.shape == (128, 768)
    assert encoder.out_dim == 128


def test_frames_of_another_size_are_refused_or_resized_on_request():
    x = scenes(1, 2, 1, side=48)
    with pytest.raises(M2SError, match="frames are 48x48 .* takes 32x32.*resize=True"):
        SceneEncoder(SceneEncoderConfig.preset("test")).embed(x)
    resizing = SceneEncoder(SceneEncoderConfig.preset("test", resize=True))
    grey = torch.full((1, 2, 1, 48, 64, 3), 100, dtype=torch.uint8)
    torch.testing.assert_close(resizing.embed(grey), resizing.embed(grey[:, :, :, :32, :32]))
    assert resizing.embed(x).shape == (1, 32)


def test_inputs_and_configurations_that_cannot_be_are_named():
    encoder = SceneEncoder(SceneEncoderConfig.preset("test"))
    with pytest.raises(M2SError, match=r"scenes must be uint8 .*float32 \[1, 2, 1, 32, 32, 3\]"):
        encoder(scenes(1, 2, 1).float())
    with pytest.raises(M2SError, match=r"scenes must be uint8 .*\[1, 32, 32, 3\]"):
        encoder(scenes(1, 2, 1)[0, 0])
    with pytest.raises(M2SError, match="preset 'huge' is unknown: use one of .*'tiny'"):
        SceneEncoderConfig.preset("huge")
    with pytest.raises(M2SError, match=r"no fields \['widht'\]"):
        SceneEncoderConfig.preset("test", widht=3)
    with pytest.raises(M2SError, match="image_size 100 must be a multiple of 16"):
        SceneEncoderConfig(image_size=100)
    with pytest.raises(M2SError, match="width 30 must be a multiple of heads 4"):
        SceneEncoderConfig(width=30, heads=4)
    with pytest.raises(M2SError, match="arch 'resnet' is unknown"):
        SceneEncoderConfig(arch="resnet")


def table(**changes):
    columns = {"film_a": ["a", "a", "b"], "film_b": ["b", "c", "c"], "shot_a": [0, 3, 7], "shot_b": [1, 0, 2]}
    return pd.DataFrame({**columns, "n_shots": 3, **changes})


def stores():
    return {f: FakeStore(10 + i, 10) for i, f in enumerate(["unused", "c", "a", "b"])}


@pytest.mark.parametrize("resident_bytes", [1 << 20, 0])
def test_scene_pairs_give_both_windows_of_a_row_in_either_role(resident_bytes):
    pairs = ScenePairs(table(), stores(), resident_bytes=resident_bytes)
    number = {"c": 11, "a": 12, "b": 13}
    roles = set()
    for seed in range(8):
        query, key, film_pair = pairs.batch(np.array([2, 0, 1]), np.random.default_rng(seed))
        assert query.shape == key.shape == (3, 3, 1, 4, 4, 3)
        assert len(set(film_pair.tolist())) == 3
        for row, q, k in zip((2, 0, 1), query[..., 0, 0, 0, :2], key[..., 0, 0, 0, :2], strict=True):
            r = table().iloc[row]
            sides = [
                [[number[r[f]], r[s] + i] for i in range(3)]
                for f, s in (("film_a", "shot_a"), ("film_b", "shot_b"))
            ]
            got = [q.tolist(), k.tolist()]
            assert got in (sides, sides[::-1])
            roles.add((row, got == sides))
    assert len(roles) == 6  # every row was seen both ways round


def test_windows_move_by_so_many_shots_and_stay_in_their_film():
    pairs, seen = ScenePairs(table(), stores(), shift=2), {side: set() for side in ("a", "b")}
    for seed in range(200):
        query, key, _ = pairs.batch(np.array([1]), np.random.default_rng(seed))
        for x in (query, key):
            film, first = x[0, 0, 0, 0, 0, :2].tolist()
            assert x[0, :, 0, 0, 0, 1].tolist() == [first, first + 1, first + 2]
            seen["a" if film == 12 else "b"].add(first)
    assert seen == {"a": {1, 2, 3, 4, 5}, "b": {0, 1, 2}}  # row 1: shot 3 of a, shot 0 of c


def test_scene_pairs_of_the_same_two_films_are_one_film_pair():
    both_ways = table(film_a=["a", "b", "b"], film_b=["b", "a", "c"], shot_a=[0, 3, 7], shot_b=[1, 0, 2])
    _, _, film_pair = ScenePairs(both_ways, stores()).batch(np.arange(3), np.random.default_rng(0))
    assert film_pair[0] == film_pair[1] != film_pair[2]


def test_scene_pairs_refuse_what_cannot_be_read():
    with pytest.raises(M2SError, match=r"one length and at least one row; n_shots has \[3, 4\]"):
        ScenePairs(table(n_shots=[3, 4, 3]), stores())
    with pytest.raises(M2SError, match="n_shots has no rows"):
        ScenePairs(table().iloc[:0], stores())
    with pytest.raises(M2SError, match="1 films .* no shot store, the first is z"):
        ScenePairs(table(film_a=["z", "a", "b"]), stores())
    with pytest.raises(M2SError, match="scene pair 2: shots 8 to 10 are outside film b, which has 10 shots"):
        ScenePairs(table(shot_a=[0, 3, 8]), stores())
    with pytest.raises(M2SError, match="scene pair 0: shots -1 to 1"):
        ScenePairs(table(shot_b=[-1, 0, 0]), stores())
