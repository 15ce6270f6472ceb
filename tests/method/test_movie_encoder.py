"""The pooled pair model against A, avg_pool2d and max_pool2d as the paper writes them."""

import functools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_encoder import (
    MovieEncoder,
    MoviePairModel,
    ShotDropout,
    check_features,
    fold_into_first_layer,
    load_movie_encoder,
    save_movie_encoder,
)
from m2s_lib.method.movie_pooling import Pooling, block_sums, masked_sums, pool_shots, valid_shots


class FixedDropout(nn.Module):
    """Drops the same values of the same shots in both formulations, however many shots either reads."""

    def __init__(self, masks):
        super().__init__()
        self.masks, self.calls, self.p = masks, 0, 0.5

    def forward(self, h):
        keep, scale = self.draw(h.shape)
        return h * keep * scale

    def draw(self, shape):
        self.calls += 1
        return self.masks[(self.calls - 1) % len(self.masks)][:, : shape[1]], 2.0


def pair_model(pooling, d=6, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    model = MoviePairModel(pooling, width=d, hidden=7).to(dtype)
    nn.init.normal_(model.encoder.fc1.bias)  # a bias that speaks: padded rows are not zero after FC1
    nn.init.normal_(model.encoder.fc2.bias)
    return model


def literal(model, x1, len1, x2, len2):
    """Oracle: E_movie on every shot, padded rows to zero, then A, B, V and L_output."""
    y = [
        model.encoder(x) * valid_shots(n, x.shape[1], x.dtype)[..., None] for x, n in ((x1, len1), (x2, len2))
    ]
    pooling, a = model.pooling, y[0] @ y[1].mT
    b = F.avg_pool2d(a[:, None], pooling.avg_kernel, pooling.avg_stride)
    return model.output(F.max_pool2d(b, pooling.max_kernel, pooling.max_stride).flatten(1))


def films(pooling, lengths, d=6, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), pooling.shots, d, generator=generator, dtype=dtype)
    lengths = torch.tensor(lengths)
    return x * valid_shots(lengths, pooling.shots, dtype)[..., None], lengths


def both(model, pooling, lengths1, lengths2, masks=None):
    """Logits and gradients of the pooled and of the literal formulation."""
    x1, n1 = films(pooling, lengths1, seed=1)
    x2, n2 = films(pooling, lengths2, seed=2)
    found = []
    for formulation in (model, lambda *a: literal(model, *a)):
        if masks is not None:
            model.encoder.dropout = FixedDropout(masks)
        model.zero_grad()
        logits = formulation(x1, n1, x2, n2)
        F.cross_entropy(logits, torch.arange(len(n1)) % 2).backward()
        found.append([logits.detach(), *(p.grad.clone() for p in model.parameters())])
    return found


def assert_equal(found, tolerance=1e-12):
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).abs().max() <= tolerance * max(float(theirs.abs().max()), 1.0)


CASES = [
    Pooling(40, 8, 4, 4, 2),
    Pooling(40, 16, 8, 2, 1),
    Pooling(41, 5, 2, 3, 2),  # kernel is no multiple of the stride
    Pooling(40, 4, 6, 2, 2),  # shots between windows are never read
    Pooling(40, 1, 1, 5, 4),
    Pooling(40, 40, 8, 1, 1),
]


@pytest.mark.parametrize("pooling", CASES, ids=str)
def test_pooled_equals_literal(pooling):
    model = pair_model(pooling).train()
    masks = [torch.rand(3, pooling.shots, 7) < 0.5 for _ in range(2)]
    # full length; shorter than one window; a length that ends inside a window; all padding against a film
    assert_equal(both(model, pooling, [40, 3, 0], [40, 29, 17], masks))
    assert_equal(both(model.eval(), pooling, [40, 1, 0], [1, 40, 0]))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_pooled_equals_literal_for_any_lengths(data):
    draw = data.draw
    shots = draw(st.integers(8, 40))
    kernel, stride = draw(st.integers(1, shots)), draw(st.integers(1, 12))
    rows = (shots - kernel) // stride + 1
    pooling = Pooling(shots, kernel, stride, draw(st.integers(1, rows)), draw(st.integers(1, 6)))
    lengths = draw(st.lists(st.integers(0, shots), min_size=4, max_size=4))
    assert_equal(both(pair_model(pooling).eval(), pooling, lengths[:2], lengths[2:]))


def test_paper_lengths():
    pooling = Pooling()
    assert (pooling.all_rows, pooling.rows, pooling.side, pooling.n_values) == (127, 120, 14, 196)
    assert pooling.shots_read == 968
    model = pair_model(pooling, dtype=torch.float64).eval()
    x, n = films(pooling, [1024, 1000])
    changed = x.clone()
    changed[:, 968:] += 100.0
    literal_change = literal(model, changed, n, x, n) - literal(model, x, n, x, n)
    assert torch.equal(model(changed, n, x, n), model(x, n, x, n))
    assert literal_change.abs().max() == 0  # the paper's own formulation never reads these shots either
    changed[:, 967] += 100.0
    assert not torch.equal(model(changed, n, x, n), model(x, n, x, n))
    assert_equal([[model(x, n, x, n).detach()], [literal(model, x, n, x, n).detach()]])


def test_short_inputs_are_padding():
    pooling = Pooling(40, 8, 4, 4, 2)
    model = pair_model(pooling).eval()
    x, n = films(pooling, [12, 9])
    assert torch.allclose(model(x[:, :12], n, x[:, :12], n), model(x, n, x, n), rtol=0, atol=1e-12)


class Sizes(TorchDispatchMode):
    """Notes how many numbers each result has; nested ones too, whatever an operation is made of."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen += [t.numel() for t in tree_leaves(out) if torch.is_tensor(t)]
        return out


@pytest.mark.parametrize("training", [False, True])
def test_a_is_never_allocated(training):
    """Forward and, in training, backward: nothing of the size of A [1, u, v] appears."""
    pooling = Pooling(200, 8, 4, 4, 2)
    model = pair_model(pooling).train(training)
    x, n = films(pooling, [200])
    with Sizes() as sizes, torch.set_grad_enabled(training):
        logits = model(x, n, x, n)
        if training:
            F.cross_entropy(logits, torch.tensor([1])).backward()
    assert len(sizes.seen) > 10
    assert max(sizes.seen) < pooling.shots_read**2
    with Sizes() as sizes, torch.no_grad():
        literal(model.eval(), x, n, x, n)
    assert max(sizes.seen) >= pooling.shots**2  # what would be seen


def step_by_step(model, x, lengths):
    valid = valid_shots(lengths, x.shape[1], x.dtype)
    h = model.encoder.dropout(model.encoder.scene_features(x))
    return pool_shots(h, valid, model.pooling), valid


def test_fused_dropout_is_the_three_steps_to_the_last_bit():
    """relu, dropout and pooling one by one, by autograd, against the function that does them at once."""
    pooling = Pooling(200, 8, 4, 4, 2)
    x, n = films(pooling, [200, 77, 3, 200], dtype=torch.float32)
    target = torch.tensor([0, 1])
    found = []
    for plain in (False, True):
        model = pair_model(pooling, dtype=torch.float32).train()
        model.encoder.dropout = ShotDropout(0.3).train()
        if plain:
            model._hidden_means = functools.partial(step_by_step, model)
        torch.manual_seed(5)
        logits = model.compare(*model.pooled(x, n).chunk(2))
        F.cross_entropy(logits, target).backward()
        found.append([logits.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_block_sums_are_the_average_pool():
    for pooling in CASES:
        x, n = films(pooling, [pooling.shots, pooling.shots // 2])
        valid = valid_shots(n, pooling.shots, x.dtype)
        read = pooling.shots_read
        expected = F.avg_pool1d(x.mT, pooling.avg_kernel, pooling.avg_stride).mT[:, : pooling.rows]
        found = pool_shots(x[:, :read], valid[:, :read], pooling)
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_the_gpus_block_sums_are_the_same():
    pooling = Pooling(200, 8, 4, 4, 2)
    x, n = films(pooling, [200, 77, 3, 200], dtype=torch.float32)
    valid = valid_shots(n, pooling.shots, x.dtype)
    found, expected = [], []
    for sums, to in (
        (masked_sums(x.requires_grad_(), valid, 4), found),
        (block_sums(x, valid, pooling), expected),
    ):
        to += [sums, *torch.autograd.grad(sums.square().sum(), x)]
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        half = masked_sums(x.bfloat16(), valid.bfloat16(), 4)
    assert half.dtype == torch.bfloat16
    whole = torch.arange(200.0)[None, :, None].expand(4, -1, 3)  # whole numbers: no order of adding matters
    assert torch.equal(masked_sums(whole, valid, 4), block_sums(whole, valid, pooling))


def test_encoder_layers():
    torch.manual_seed(0)
    encoder = MovieEncoder(6, 7).eval()
    x = torch.randn(5, 6)
    h = torch.relu(x @ encoder.fc1.weight.T + encoder.fc1.bias)
    assert torch.allclose(encoder.scene_features(x), h, atol=1e-6)
    assert torch.allclose(encoder(x), h @ encoder.fc2.weight.T + encoder.fc2.bias, atol=1e-6)
    encoder.train()
    assert torch.equal(encoder.scene_features(x), encoder.eval().scene_features(x))  # no dropout in mining
    assert [
        (layer.in_features, layer.out_features) for layer in (MovieEncoder().fc1, MovieEncoder().fc2)
    ] == [(512, 512)] * 2
    assert MovieEncoder().dropout.p == 0.5


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(p):
    torch.manual_seed(3)
    drop = ShotDropout(p).train()
    h = torch.ones(400, 501)
    out = drop(h)
    kept = (out != 0).float().mean()
    assert abs(kept - (1 - p)) < 0.01
    assert abs(out.mean() - 1) < 0.02
    assert out.unique().numel() == 2
    rows = (out != 0).float()
    assert rows.mean(1).std() < 0.05  # single values, not whole shots
    assert torch.equal(drop.eval()(h), h)


def test_dropout_follows_the_seed():
    drop, h = ShotDropout(0.5).train(), torch.ones(9, 13)
    torch.manual_seed(1)
    first = drop(h)
    assert not torch.equal(drop(h), first)
    torch.manual_seed(1)
    assert torch.equal(drop(h), first)
    with pytest.raises(M2SError, match="dropout is 1"):
        ShotDropout(1)


@pytest.mark.parametrize("whitened", [False, True])
def test_the_first_layer_takes_an_affine_map_in(whitened):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    encoder, x = MovieEncoder(6, 5).eval().double(), rng.normal(size=(9, 6))
    mean, whitening = rng.normal(size=6), rng.normal(size=(6, 6)) if whitened else None
    mapped = (x - mean) * 3.5
    mapped = mapped if whitening is None else mapped @ whitening
    expected = encoder(torch.from_numpy(mapped))
    fold_into_first_layer(encoder, mean, 3.5, whitening)
    torch.testing.assert_close(encoder(torch.from_numpy(x)), expected)


def test_saved_and_loaded(tmp_path):
    pooling = Pooling(40, 8, 4, 4, 2)
    model = pair_model(pooling, dtype=torch.float32)
    save_movie_encoder(tmp_path / "e.safetensors", model, {"lr": 0.1})
    loaded = load_movie_encoder(tmp_path / "e.safetensors")
    assert loaded.pooling == pooling
    assert not loaded.training
    x, n = films(pooling, [40, 30], dtype=torch.float32)
    assert torch.equal(loaded(x, n, x, n), model.eval()(x, n, x, n))
    with safe_open(tmp_path / "e.safetensors", framework="pt") as f:
        assert json.loads(f.metadata()["movie_encoder"])["config"] == {"lr": 0.1}


def test_loading_says_what_is_wrong(tmp_path):
    with pytest.raises(M2SError, match="is missing: run 02_movie_similarity first"):
        load_movie_encoder(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(M2SError, match="cut.safetensors is not a movie encoder"):
        load_movie_encoder(tmp_path / "cut.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(M2SError, match="is not a movie encoder"):
        load_movie_encoder(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shots": 8}, "avg_kernel 16 is longer than 8 shots"),
        ({"shots": 24}, "max_kernel 16 exceeds the 2 rows of B"),
        ({"avg_stride": 0}, "Pooling.avg_stride is 0"),
        ({"max_kernel": 2.5}, "Pooling.max_kernel is 2.5"),
    ],
)
def test_impossible_pooling(change, message):
    with pytest.raises(M2SError, match=message):
        Pooling(**change)


def test_bad_features_are_named():
    good = np.zeros((4, 512), np.float32)
    assert check_features("f", good.astype(np.float64)).dtype == np.float32
    bad = good.copy()
    bad[2, 7] = np.nan
    with pytest.raises(M2SError, match="film 'alien', shot 2: the feature is not finite"):
        check_features("alien", bad)
    with pytest.raises(
        M2SError, match=r"film 'alien': features of shape \[4, 300\], expected \[shots, 512\]"
    ):
        check_features("alien", good[:, :300])
    with pytest.raises(M2SError, match="features of type uint8, expected floats"):
        check_features("alien", good.astype(np.uint8))
