"""Probes: stacked training against a plain torch loop, choice of the epoch, divergence, bad input."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.probes.hashed_random import ORDER, Room, hash_bits, hash_keys, kept_units, shuffled
from m2s_lib.evaluation.probes.probe_scores import group_means, macro_ap
from m2s_lib.evaluation.probes.probes import ProbeConfig, ProbeData, train_probe_sets, train_probes

D = 10
WIDE = 80  # more features than training items: a stack moves its first layer item by item
SMALL = ProbeConfig(hidden=16, epochs=6, batch=16, lr=0.3, dropout=0.3)


def made_up(n=50, d=D, classes=3, seed=0, strength=2.0):
    """Classes as shifted normal clouds."""
    rng = np.random.default_rng(seed)
    centres = strength * np.random.default_rng(99).standard_normal((classes, d))
    y = rng.integers(classes, size=n)
    return (centres[y] + rng.standard_normal((n, d))).astype(np.float32), y


def labels_for(loss, y, classes=3):
    if loss == "bce":
        return (y[:, None] >= np.arange(classes)[None]).astype(np.float32)
    return (y / 2 - 1).astype(np.float32) if loss == "mse" else y


def torch_loss(loss, out, y):
    if loss == "cross_entropy":
        return torch.nn.functional.cross_entropy(out, y)
    if loss == "mse":
        return torch.nn.functional.mse_loss(out[:, 0], y)
    return torch.nn.functional.binary_cross_entropy_with_logits(out, y)


def slow_training(x, y, x_val, y_val, c: ProbeConfig, outputs):
    """Oracle: one torch.nn model, autograd, torch.optim.SGD, a dropout that is told what to drop."""
    mean, std = x.mean(0), x.std(0)
    x, x_val, y, y_val = (torch.tensor(v) for v in ((x - mean) / std, (x_val - mean) / std, y, y_val))
    sizes = [x.shape[1], *[c.hidden] * c.layers, outputs]
    layers = [torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)]
    generator = torch.Generator().manual_seed(c.seed)
    with torch.no_grad():
        for layer in layers:
            bound = layer.in_features**-0.5
            weight = torch.rand(layer.in_features, layer.out_features, generator=generator)
            layer.weight.copy_((2 * weight - 1).T * bound)
            layer.bias.copy_((2 * torch.rand(layer.out_features, generator=generator) - 1) * bound)
    sgd = torch.optim.SGD([p for layer in layers for p in layer.parameters()], lr=c.lr)
    best, seeds = (-np.inf, np.inf, None), np.array([c.seed], np.uint64)
    for epoch in range(1, c.epochs + 1):
        order = shuffled(hash_keys(seeds, epoch, ORDER), torch.tensor([len(x)]))[0]
        drop = torch.full((1, 1, 1), c.dropout)
        masks = [
            kept_units(hash_keys(seeds, epoch, i + 1), drop, 0, len(x), c.hidden)[0] for i in range(c.layers)
        ]
        for first in range(0, len(x), c.batch):
            rows = slice(first, first + c.batch)
            h = x[order[rows]]
            for i, layer in enumerate(layers[:-1]):
                h = torch.relu(layer(h)) * masks[i][rows]
            sgd.zero_grad()
            torch_loss(c.loss, layers[-1](h), y[order[rows]]).backward()
            if c.clip:
                torch.nn.utils.clip_grad_norm_(sgd.param_groups[0]["params"], c.clip)
            sgd.step()
        with torch.no_grad():
            h = x_val
            for layer in layers[:-1]:
                h = torch.relu(layer(h))
            out = layers[-1](h)
            loss = float(torch_loss(c.loss, out, y_val))
            score = -loss
            if c.loss == "cross_entropy":
                score = (out.argmax(1) == y_val).double().mean().item()
            elif c.loss == "bce":
                score = average_precision_score(y_val, out, average="macro")
        if score > best[0] or (score == best[0] and loss < best[1]):
            best = (score, loss, epoch, [p.detach().clone() for p in sgd.param_groups[0]["params"]])
    return best


VARIED = [
    dataclasses.replace(SMALL, seed=s, lr=lr, dropout=p)
    for s, lr, p in ((0, 0.3, 0.3), (1, 0.05, 0.0), (7, 0.5, 0.75))
]


@pytest.mark.parametrize("loss", ["cross_entropy", "mse", "bce"])
@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize(
    ("together", "clip", "d"), [(1, 0, D), (3, 0, D), (3, 0.2, D), (3, 0, WIDE), (3, 0.2, WIDE)]
)
def test_training_equals_a_plain_torch_loop(loss, layers, together, clip, d):
    """Alone and in a stack, where one probe is limited or none; the last batch of an epoch is smaller."""
    (x, y), (x_val, y_val) = made_up(d=d), made_up(30, d=d, seed=1)
    y, y_val = labels_for(loss, y), labels_for(loss, y_val)
    configs = [dataclasses.replace(c, loss=loss, layers=layers, lr=c.lr / 10 * D / d) for c in VARIED]
    configs[0] = dataclasses.replace(configs[0], clip=clip)
    probes = train_probes(x, y, x_val, y_val, configs, together=together)
    for config, probe in zip(configs, probes, strict=True):
        score, val_loss, epoch, params = slow_training(x, y, x_val, y_val, config, 1 if loss == "mse" else 3)
        assert probe.best_epoch == epoch
        assert probe.val_score == pytest.approx(score, abs=1e-5)
        assert probe.val_loss == pytest.approx(val_loss, abs=1e-5)
        for mine, theirs in zip(probe.weights, params, strict=True):
            np.testing.assert_allclose(mine.squeeze(0), theirs.numpy().T, atol=1e-5)


@pytest.mark.parametrize("d", [12, WIDE])
def test_stacks_side_by_side_are_the_same_to_the_last_bit(d):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((40, d)).astype(np.float32), rng.integers(0, 3, 40)
    configs = [ProbeConfig(hidden=8, batch=8, epochs=2, seed=s, lr=0.1) for s in range(20)]
    threads = torch.get_num_threads()
    found = [train_probes(x, y, x, y, configs, together=n) for n in (20, 6)]  # one stack, and four
    assert torch.get_num_threads() == threads
    assert [p.config.seed for p in found[1]] == list(range(20))
    for one, other in zip(*found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.weights, other.weights, strict=True))
        assert one.history.equals(other.history)


@pytest.mark.parametrize("d", [D, WIDE])
def test_tasks_of_different_size_and_classes_share_a_stack_without_touching_each_other(d):
    sets = []
    for i, (n, classes) in enumerate([(50, 3), (33, 5), (60, 2)]):
        x, y = made_up(n, d, classes, seed=i)
        x_val, y_val = made_up(20, d, classes, seed=9 + i)
        sets.append((ProbeData(x, y, x_val, y_val, classes, name=f"task {i}"), VARIED))
    sets[2] = (sets[2][0], [dataclasses.replace(c, epochs=3) for c in VARIED])  # these leave the stack early
    stacked, alone = train_probe_sets(sets), train_probe_sets(sets, together=1)
    for data, mine, theirs in zip(sets, stacked, alone, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.best_epoch == b.best_epoch
            assert len(a.history) == len(b.history) == a.config.epochs
            np.testing.assert_allclose(a.predict(data[0].x_val), b.predict(data[0].x_val), atol=1e-5)
            assert a.predict(data[0].x_val).shape[1] == data[0].outputs


def test_the_chosen_epoch_is_the_best_of_the_history_and_predict_gives_its_score():
    (x, y), (x_val, y_val) = made_up(strength=0.4), made_up(200, seed=1, strength=0.4)
    probe = train_probes(x, y, x_val, y_val, [dataclasses.replace(SMALL, epochs=30)])[0]
    best = probe.history.sort_values(["val_score", "val_loss"], ascending=[False, True]).iloc[0]
    assert probe.best_epoch == best["epoch"] < 30
    predicted = probe.predict(x_val)
    np.testing.assert_allclose(predicted.sum(1), 1, atol=1e-5)
    assert (predicted.argmax(1) == y_val).mean() == pytest.approx(probe.val_score)


@pytest.mark.parametrize("seed", range(4))
def test_equal_scores_are_decided_by_the_loss(seed):
    """Four validation items know five scores: most epochs tie, and overfitting raises the loss."""
    (x, y), (x_val, y_val) = made_up(strength=0.3), made_up(4, seed=1, strength=0.3)
    probe = train_probes(x, y, x_val, y_val, [dataclasses.replace(SMALL, epochs=30, seed=seed)])[0]
    best = probe.history[probe.history["val_score"] == probe.history["val_score"].max()]
    assert len(best) > 1
    assert probe.best_epoch == best.loc[best["val_loss"].idxmin(), "epoch"]


def test_patience_ends_a_probe_and_leaves_its_best_epoch():
    (x, y), (x_val, y_val) = made_up(strength=0.4), made_up(200, seed=1, strength=0.4)
    long, short = train_probes(
        x, y, x_val, y_val, [dataclasses.replace(SMALL, epochs=30, patience=p) for p in (0, 3)]
    )
    assert len(short.history) < len(long.history) == 30
    assert len(short.history) == short.best_epoch + 3


def test_a_diverging_probe_ends_alone():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    wild, calm = (dataclasses.replace(SMALL, loss="mse", lr=lr, dropout=0) for lr in (1e3, 0.01))
    probes = train_probes(x, y / 2.0, x_val, y_val / 2.0, [wild, calm])
    assert 0 < probes[0].diverged_at <= 6
    assert np.isfinite(probes[0].predict(x_val)).all()
    assert probes[1].diverged_at == 0
    assert len(probes[1].history) == 6


def test_a_limited_gradient_keeps_squared_errors_from_running_away():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 200)), 2 * rng.standard_normal(200)
    config = ProbeConfig(loss="mse", hidden=64, lr=0.3, batch=16, epochs=6, dropout=0.8)
    wild, calm = train_probes(x, y, x[:50], y[:50], [config, dataclasses.replace(config, clip=1.0)])
    assert wild.diverged_at > 0
    assert calm.diverged_at == 0


def test_permuted_labels_give_chance_and_true_ones_do_not():
    (x, y), (x_val, y_val), (x_test, y_test) = (made_up(n, seed=s) for n, s in ((300, 0), (100, 1), (600, 2)))
    rng = np.random.default_rng(0)
    true = train_probes(x, y, x_val, y_val, [SMALL])[0]
    chance = train_probes(x, rng.permutation(y), x_val, rng.permutation(y_val), [SMALL])[0]
    assert (true.predict(x_test).argmax(1) == y_test).mean() > 0.9
    assert abs((chance.predict(x_test).argmax(1) == y_test).mean() - 1 / 3) < 0.15


def test_standardising_makes_scale_and_offset_irrelevant():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    there = train_probes(x, y, x_val, y_val, [SMALL])[0].predict(x_val)
    moved = train_probes(8 * x + 64, y, 8 * x_val + 64, y_val, [SMALL])[0].predict(8 * x_val + 64)
    np.testing.assert_allclose(there, moved, atol=1e-3)
    plain = dataclasses.replace(SMALL, standardize=False)
    probe = train_probes(x, y, x_val, y_val, [plain])[0]
    assert (probe.mean == 0).all()
    assert (probe.scale == 1).all()


def test_a_constant_feature_does_no_harm():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    constant = [np.hstack([v, np.full((len(v), 1), 0.1, np.float32)]) for v in (x, x_val)]
    probe = train_probes(constant[0], y, constant[1], y_val, [SMALL])[0]
    assert probe.scale[-1] == 1
    assert probe.val_score > 0.8


def test_windows_of_a_video_are_averaged_before_validation_scores():
    """Two windows a video: the sum of probabilities decides, as LVU scores videos."""
    (x, y), (x_val, y_val) = made_up(strength=0.5), made_up(60, seed=1, strength=0.5)
    rng = np.random.default_rng(0)
    windows = np.repeat(x_val, 2, 0) + rng.standard_normal((120, D)).astype(np.float32)
    groups = np.repeat([f"video {i}" for i in range(60)], 2)
    probe = train_probes(x, y, windows, np.repeat(y_val, 2), [SMALL], val_groups=groups)[0]
    mean = probe.predict(windows).reshape(60, 2, 3).mean(1)
    assert (mean.argmax(1) == y_val).mean() == pytest.approx(probe.val_score)


def test_group_means_by_hand():
    means, first = group_means(torch.tensor([[[1.0], [5.0], [3.0]]]), torch.tensor([1, 0, 1]))
    assert means.tolist() == [[[5.0], [2.0]]]
    assert first.tolist() == [1, 0]


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 25), c=st.integers(1, 4), levels=st.integers(1, 20), seed=st.integers(0, 99))
def test_macro_ap_equals_scikit_learn(n, c, levels, seed):
    rng = np.random.default_rng(seed)
    hot, scores = rng.random((n, c)) < 0.4, rng.integers(levels, size=(3, n, c)) / levels
    hot[0, 0] = True
    some = hot.any(0)
    wanted = [
        np.mean([average_precision_score(hot[:, i], s[:, i]) for i in np.flatnonzero(some)]) for s in scores
    ]
    np.testing.assert_allclose(macro_ap(torch.tensor(scores), torch.tensor(hot)), wanted, rtol=1e-9)


def test_random_numbers_by_hash_are_even_and_independent_of_how_they_are_asked_for():
    keys = hash_keys(np.arange(4, dtype=np.uint64), 3, 1)
    bits = hash_bits(keys, 0, 40_000)
    assert torch.equal(bits[:, 1000:1500], hash_bits(keys, 1000, 500))
    assert len(set(bits.flatten().tolist())) > 159_000  # 160,000 numbers of 32 bits: about 3 meet
    share = ((bits >> 31) & 1).double().mean(1)
    assert (share - 0.5).abs().max() < 0.01
    dropout = torch.tensor([0.0, 0.1, 0.5, 0.8])[:, None, None]
    masks = kept_units(keys, dropout, 0, 200, 101)
    kept = (masks > 0).double().mean((1, 2))
    np.testing.assert_allclose(kept, 1 - dropout.flatten(), atol=0.012)
    np.testing.assert_allclose(masks.mean((1, 2)), 1, atol=0.06)
    correlation = np.corrcoef((bits.double() > 0).numpy())
    assert abs(correlation - np.eye(4)).max() < 0.02


def test_shuffled_gives_each_model_its_own_order_and_padding_last():
    keys = hash_keys(np.array([5, 6, 5], np.uint64), 1, ORDER)
    order = shuffled(keys, torch.tensor([8, 8, 5]))
    assert sorted(order[0].tolist()) == list(range(8))
    assert order[0].tolist() != order[1].tolist()
    assert sorted(order[2, :5].tolist()) == list(range(5))


@settings(max_examples=25)
@given(n=st.integers(2, 24), extra=st.integers(0, 8), v=st.integers(1, 9), seed=st.integers(0, 999))
def test_a_first_layer_moved_by_items_is_the_one_moved_by_features(n, extra, v, seed):
    """Few items (a stack of both models) against each alone, with values far from 0 and not standardised."""
    (x, y), (x_val, y_val) = made_up(n, n + extra, seed=seed), made_up(v, n + extra, seed=seed + 1)
    c = dataclasses.replace(SMALL, lr=0.02, batch=5, epochs=4, standardize=False)
    configs = [c, dataclasses.replace(c, seed=seed, epochs=2)]
    few, alone = (train_probes(x, y, x_val, y_val, configs, outputs=3, together=k) for k in (2, 1))
    for a, b in zip(few, alone, strict=True):
        np.testing.assert_allclose(a.history["val_loss"], b.history["val_loss"], rtol=1e-3, atol=1e-4)
        if a.best_epoch == b.best_epoch:
            for mine, theirs in zip(a.weights, b.weights, strict=True):
                np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_room_is_given_again_and_grows():
    room, like = Room(), torch.zeros(1)
    first = room.take("a", like, 2, 3)
    assert room.take("a", like, 2, 3) is first
    assert room.take("b", like, 2, 3).data_ptr() != first.data_ptr()
    assert room.take("a", like, 4).data_ptr() == first.data_ptr()
    assert room.take("a", like, 6).data_ptr() == first.data_ptr()
    larger = room.take("a", like, 5, 5)
    assert larger.shape == (5, 5)
    assert larger.dtype == torch.float32
    assert room.take("c", like, 7, dtype=torch.int32).dtype == torch.int32


X, Y = np.ones((4, 2), np.float32), np.array([0, 1, 0, 1])
HOLES = np.array([0, 1, np.nan, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": X[0]}, r"training features have shape \(2,\), expected \[at least 1, d\]"),
        ({"x_val": np.ones((4, 3))}, r"validation features have shape \(4, 3\), expected \[at least 1, 2\]"),
        ({"x_train": X * [[1], [np.nan], [1], [1]]}, "1 of 4 rows are not finite, the first is row 1"),
        ({"y_train": Y[:3]}, "3 training labels for 4 rows"),
        ({"y_train": Y / 2}, "expected class numbers int"),
        ({"y_val": Y - 1}, "expected class numbers int"),
        ({"outputs": 1}, r"labels reach 1, expected 0\.\.0"),
        ({"val_groups": np.arange(3)}, "3 groups for 4 validation items"),
        ({"configs": []}, "no config"),
        ({"configs": [SMALL, dataclasses.replace(SMALL, loss="mse")]}, "configs of one loss"),
        ({"configs": [dataclasses.replace(SMALL, loss="bce")], "y_train": Y / 2}, "expected 0 or 1"),
        ({"configs": [dataclasses.replace(SMALL, loss="mse")], "y_val": HOLES}, "expected finite numbers"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"x_train": X, "y_train": Y, "x_val": X, "y_val": Y, "configs": [SMALL]} | change
    with pytest.raises(M2SError, match=message):
        train_probes(**given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "hinge"}, "loss 'hinge'"),
        ({"choose": "top-1", "loss": "mse"}, "cannot be chosen by 'top-1'"),
        ({"dropout": 1.0}, "dropout is 1.0, expected 0 or more and below 1"),
        ({"batch": 0}, r"batch is 0, expected 1\.\."),
        ({"lr": -1}, "lr is -1"),
    ],
)
def test_bad_config_is_named(change, message):
    with pytest.raises(M2SError, match=message):
        ProbeConfig(**change)


def test_predict_refuses_features_of_another_width():
    probe = train_probes(*made_up(), *made_up(10, seed=1), [SMALL])[0]
    with pytest.raises(M2SError, match=r"shape \(3, 7\), expected \[at least 1, 10\]"):
        probe.predict(np.ones((3, 7)))


@pytest.mark.gpu
def test_a_gpu_trains_the_same_probes():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    for a, b in zip(
        *(train_probes(x, y, x_val, y_val, VARIED, device=d) for d in ("cpu", "cuda")), strict=True
    ):
        np.testing.assert_allclose(a.predict(x_val), b.predict(x_val), atol=1e-3)
