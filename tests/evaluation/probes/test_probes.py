"""Probes: training against scikit-learn and steps by hand, choice of the epoch, divergence, bad input."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.movienet.shot_windows import LabelledFilm, ShotWindows
from m2s_lib.evaluation.probes.probe_scores import group_means, macro_ap
from m2s_lib.evaluation.probes.probes import ProbeConfig, ProbeData, train_probes

D = 10
SMALL = ProbeConfig(hidden=16, epochs=6, batch=16, lr=0.3, dropout=0.3)


def probes_of(x, y, x_val, y_val, configs, outputs=0, val_groups=None, device="cpu"):
    return train_probes(ProbeData(x, y, x_val, y_val, outputs, val_groups), configs, device=device)


def made_up(n=50, d=D, classes=3, seed=0, strength=2.0):
    """Classes as shifted normal clouds."""
    rng = np.random.default_rng(seed)
    centres = strength * np.random.default_rng(99).standard_normal((classes, d))
    y = rng.integers(classes, size=n)
    return (centres[y] + rng.standard_normal((n, d))).astype(np.float32), y


def test_a_linear_probe_ends_where_scikit_learns_logistic_regression_does():
    (x, y), (x_test, _) = made_up(300, strength=0.4), made_up(50, seed=2, strength=0.4)
    config = ProbeConfig(layers=0, epochs=300, batch=300, lr=1.0, dropout=0.0, choose="loss")
    got = probes_of(x, y, x, y, [config])[0].predict(x_test)
    x_test, x = (x_test - x.mean(0)) / x.std(0), (x - x.mean(0)) / x.std(0)
    wanted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(x, y).predict_proba(x_test)
    np.testing.assert_allclose(got, wanted, atol=5e-3)


def test_a_linear_probe_of_numbers_ends_at_least_squares():
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((200, 4)).astype(np.float32), rng.standard_normal(200)
    y = x @ [1.0, -2.0, 0.5, 0.0] + 3 + noise
    config = ProbeConfig(loss="mse", layers=0, epochs=200, batch=200, lr=0.2, dropout=0.0)
    got = probes_of(x, y, x, y, [config])[0].predict(x)[:, 0]
    np.testing.assert_allclose(got, Ridge(alpha=0).fit(x, y).predict(x), atol=1e-3)


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_one_step_by_hand(clip):
    """All items in one step of a linear probe: W - lr dW, and no longer than lr * clip."""
    (x, y), config = made_up(8), ProbeConfig(layers=0, batch=8, lr=0.5, dropout=0, standardize=False)
    x = x / 10
    first = probes_of(x, y, x, y, [dataclasses.replace(config, lr=0.0, epochs=1)], outputs=3)[0].model[-1]
    probe = probes_of(x, y, x, y, [dataclasses.replace(config, clip=clip, epochs=1)], outputs=3)[0]
    weight, bias = first.weight.detach().numpy(), first.bias.detach().numpy()
    logits = x @ weight.T + bias
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[y]
    steps = [share.T @ x / 8, share.mean(0)]
    norm = np.sqrt(sum((s**2).sum() for s in steps))
    scale = min(1.0, clip / norm) if clip else 1.0
    np.testing.assert_allclose(probe.model[-1].weight.detach(), weight - 0.5 * scale * steps[0], atol=1e-5)
    np.testing.assert_allclose(probe.model[-1].bias.detach(), bias - 0.5 * scale * steps[1], atol=1e-5)


def test_a_probe_depends_on_its_seed_and_not_on_its_company():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    configs = [dataclasses.replace(SMALL, seed=s) for s in range(5)]
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    together = probes_of(x, y, x_val, y_val, configs)
    alone = [probes_of(x, y, x_val, y_val, [c])[0] for c in configs]
    assert torch.get_num_threads() == threads
    assert torch.equal(state, torch.random.get_rng_state())
    for one, other in zip(together, alone, strict=True):
        assert one.history.equals(other.history)
        np.testing.assert_array_equal(one.predict(x_val), other.predict(x_val))
    assert not together[0].history.equals(together[1].history)


def test_dropout_leaves_the_mean_and_ends_with_training():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    probe = probes_of(x, y, x_val, y_val, [dataclasses.replace(SMALL, dropout=0.75)])[0]
    drop = next(m for m in probe.model if hasattr(m, "generator")).train()
    units = drop(torch.ones(400, 100))
    assert set(units.unique().tolist()) == {0.0, 4.0}
    assert float(units.mean()) == pytest.approx(1, abs=0.05)
    probe.model.eval()
    np.testing.assert_array_equal(probe.predict(x_val), probe.predict(x_val))


def test_windows_are_read_from_their_shots_as_if_they_were_written_out():
    rng = np.random.default_rng(0)
    films = [
        LabelledFilm(f, np.stack([np.arange(n)] * 2, 1), np.r_[rng.integers(0, 2, n - 1), -1].astype(np.int8))
        for f, n in (("a", 30), ("b", 20))
    ]
    shots = {f.film_id: rng.standard_normal((f.n_shots, 5)).astype(np.float32) for f in films}
    train, val = (ShotWindows([f], shots) for f in films)
    config = dataclasses.replace(SMALL, loss="bce", standardize=False)
    labels = [w.labels[:, None] for w in (train, val)]
    lazy = probes_of(train, labels[0], val, labels[1], [config])[0]
    written = probes_of(np.asarray(train), labels[0], np.asarray(val), labels[1], [config])[0]
    np.testing.assert_allclose(lazy.predict(val), written.predict(np.asarray(val)), atol=1e-6)
    scaled = probes_of(train, labels[0], val, labels[1], [dataclasses.replace(config, standardize=True)])[0]
    np.testing.assert_allclose(scaled.model[0].mean, np.tile(train.array.mean(0), 4), atol=1e-6)


def test_the_chosen_epoch_is_the_best_of_the_history_and_predict_gives_its_score():
    (x, y), (x_val, y_val) = made_up(strength=0.4), made_up(200, seed=1, strength=0.4)
    probe = probes_of(x, y, x_val, y_val, [dataclasses.replace(SMALL, epochs=30)])[0]
    best = probe.history.sort_values(["val_score", "val_loss"], ascending=[False, True]).iloc[0]
    assert probe.outcome.best_epoch == best["epoch"] < 30
    predicted = probe.predict(x_val)
    np.testing.assert_allclose(predicted.sum(1), 1, atol=1e-5)
    assert (predicted.argmax(1) == y_val).mean() == pytest.approx(probe.outcome.val_score)


@pytest.mark.parametrize("seed", range(4))
def test_equal_scores_are_decided_by_the_loss(seed):
    """Four validation items know five scores: most epochs tie, and overfitting raises the loss."""
    (x, y), (x_val, y_val) = made_up(strength=0.3), made_up(4, seed=1, strength=0.3)
    probe = probes_of(x, y, x_val, y_val, [dataclasses.replace(SMALL, epochs=30, seed=seed)])[0]
    best = probe.history[probe.history["val_score"] == probe.history["val_score"].max()]
    assert len(best) > 1
    assert probe.outcome.best_epoch == best.loc[best["val_loss"].idxmin(), "epoch"]


def test_patience_ends_a_probe_and_leaves_its_best_epoch():
    (x, y), (x_val, y_val) = made_up(strength=0.4), made_up(200, seed=1, strength=0.4)
    long, short = probes_of(
        x, y, x_val, y_val, [dataclasses.replace(SMALL, epochs=30, patience=p) for p in (0, 3)]
    )
    assert len(short.history) < len(long.history) == 30
    assert len(short.history) == short.outcome.best_epoch + 3


def test_a_diverging_probe_ends_alone():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    wild, calm = (dataclasses.replace(SMALL, loss="mse", lr=lr, dropout=0) for lr in (1e3, 0.01))
    probes = probes_of(x, y / 2.0, x_val, y_val / 2.0, [wild, calm])
    assert 0 < probes[0].outcome.diverged_at <= 6
    assert np.isfinite(probes[0].predict(x_val)).all()
    assert probes[1].outcome.diverged_at == 0
    assert len(probes[1].history) == 6


def test_a_limited_gradient_keeps_squared_errors_from_running_away():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 200)), 2 * rng.standard_normal(200)
    config = ProbeConfig(loss="mse", hidden=64, lr=0.3, batch=16, epochs=6, dropout=0.8)
    wild, calm = probes_of(x, y, x[:50], y[:50], [config, dataclasses.replace(config, clip=1.0)])
    assert wild.outcome.diverged_at > 0
    assert calm.outcome.diverged_at == 0


def test_permuted_labels_give_chance_and_true_ones_do_not():
    (x, y), (x_val, y_val), (x_test, y_test) = (made_up(n, seed=s) for n, s in ((300, 0), (100, 1), (600, 2)))
    rng = np.random.default_rng(0)
    true = probes_of(x, y, x_val, y_val, [SMALL])[0]
    chance = probes_of(x, rng.permutation(y), x_val, rng.permutation(y_val), [SMALL])[0]
    assert (true.predict(x_test).argmax(1) == y_test).mean() > 0.9
    assert abs((chance.predict(x_test).argmax(1) == y_test).mean() - 1 / 3) < 0.15


def test_standardising_makes_scale_and_offset_irrelevant():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    there = probes_of(x, y, x_val, y_val, [SMALL])[0].predict(x_val)
    moved = probes_of(8 * x + 64, y, 8 * x_val + 64, y_val, [SMALL])[0].predict(8 * x_val + 64)
    np.testing.assert_allclose(there, moved, atol=1e-3)
    plain = dataclasses.replace(SMALL, standardize=False)
    probe = probes_of(x, y, x_val, y_val, [plain])[0]
    assert (probe.model[0].mean == 0).all()
    assert (probe.model[0].scale == 1).all()


def test_a_constant_feature_does_no_harm():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    constant = [np.hstack([v, np.full((len(v), 1), 0.1, np.float32)]) for v in (x, x_val)]
    probe = probes_of(constant[0], y, constant[1], y_val, [SMALL])[0]
    assert probe.model[0].scale[-1] == 1
    assert probe.outcome.val_score > 0.8


def test_windows_of_a_video_are_averaged_before_validation_scores():
    """Two windows a video: the sum of probabilities decides, as LVU scores videos."""
    (x, y), (x_val, y_val) = made_up(strength=0.5), made_up(60, seed=1, strength=0.5)
    rng = np.random.default_rng(0)
    windows = np.repeat(x_val, 2, 0) + rng.standard_normal((120, D)).astype(np.float32)
    groups = np.repeat([f"video {i}" for i in range(60)], 2)
    probe = probes_of(x, y, windows, np.repeat(y_val, 2), [SMALL], val_groups=groups)[0]
    mean = probe.predict(windows).reshape(60, 2, 3).mean(1)
    assert (mean.argmax(1) == y_val).mean() == pytest.approx(probe.outcome.val_score)


def test_group_means_by_hand():
    means, first = group_means(torch.tensor([[1.0], [5.0], [3.0]]), torch.tensor([1, 0, 1]))
    assert means.tolist() == [[5.0], [2.0]]
    assert first.tolist() == [1, 0]


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 25), c=st.integers(1, 4), levels=st.integers(1, 20), seed=st.integers(0, 99))
def test_macro_ap_equals_scikit_learn(n, c, levels, seed):
    rng = np.random.default_rng(seed)
    hot, scores = rng.random((n, c)) < 0.4, rng.integers(levels, size=(n, c)) / levels
    hot[0, 0] = True
    some = np.flatnonzero(hot.any(0))
    wanted = np.mean([average_precision_score(hot[:, i], scores[:, i]) for i in some])
    assert macro_ap(torch.tensor(scores), torch.tensor(hot)) == pytest.approx(wanted, rel=1e-9)


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
    given = {"x_train": X, "y_train": Y, "x_val": X, "y_val": Y} | change
    configs = given.pop("configs", [SMALL])
    with pytest.raises(M2SError, match=message):
        train_probes(ProbeData(**given), configs)


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
    probe = probes_of(*made_up(), *made_up(10, seed=1), [SMALL])[0]
    with pytest.raises(M2SError, match=r"shape \(3, 7\), expected \[at least 1, 10\]"):
        probe.predict(np.ones((3, 7)))


@pytest.mark.gpu
def test_a_gpu_trains_the_same_probes():
    (x, y), (x_val, y_val) = made_up(), made_up(30, seed=1)
    config = dataclasses.replace(SMALL, dropout=0.0)  # what is dropped is drawn on the device
    here, there = (probes_of(x, y, x_val, y_val, [config], device=d)[0] for d in ("cpu", "cuda"))
    np.testing.assert_allclose(here.predict(x_val), there.predict(x_val), atol=1e-3)
