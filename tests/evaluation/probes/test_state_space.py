"""The state-space head: the layer against its recurrence, padding, order, the same loop and tables."""

import dataclasses

import numpy as np
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.clips import ItemSequences
from m2s_lib.evaluation.probes.probe_training import draw_weights
from m2s_lib.evaluation.probes.probes import ProbeConfig, ProbeData, Standardize, train_probes
from m2s_lib.evaluation.probes.state_space import (
    DiagonalStateSpace,
    StateSpaceConfig,
    StateSpaceHead,
    _halve_time,
)

SMALL = StateSpaceConfig(hidden=16, layers=2, states=4, epochs=6, lr=0.01)
L, D = 12, 3


def order_task(n, seed):
    """A bump comes either before or after a dip: the mean over frames says nothing."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    x = 0.3 * rng.standard_normal((n, L, D))
    x[np.arange(n), np.where(y == 1, 3, 8), 0] += 3
    x[np.arange(n), np.where(y == 1, 8, 3), 0] -= 3
    return np.concatenate([x, np.ones((n, L, 1))], -1).astype(np.float32), y


def test_the_convolution_equals_the_recurrence():
    """State s_(l+1) = exp(dt A) s_l + (exp(dt A) - 1) / A u_l, read out as 2 Re C s, plus the skip."""
    layer = DiagonalStateSpace(2, 3, torch.Generator().manual_seed(0)).double()
    u = torch.randn(1, 9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a = torch.complex(-layer.log_decay.exp(), layer.frequency)
    move = (a * layer.log_dt.exp()[:, None]).exp()
    state, wanted = torch.zeros(2, 3, dtype=torch.complex128), []
    for frame in u[0]:
        state = move * state + (move - 1) / a * frame[:, None]
        wanted.append(2 * (torch.view_as_complex(layer.c) * state).sum(1).real + layer.skip * frame)
    torch.testing.assert_close(layer(u)[0], torch.stack(wanted))


def test_padding_changes_nothing():
    plain = Standardize(torch.zeros(D), torch.ones(D))
    head = StateSpaceHead(plain, 4, SMALL, torch.Generator()).eval()
    draw_weights(head, 0)
    x = torch.from_numpy(order_task(5, 0)[0])
    padded = torch.cat([x, torch.zeros(5, 7, D + 1)], 1)
    torch.testing.assert_close(head(x), head(padded), atol=1e-5, rtol=1e-5)


def test_time_is_halved_over_frames_that_are_there():
    h = torch.tensor([[[2.0], [4.0], [6.0], [99.0], [99.0]]])
    there = torch.tensor([[[1.0], [1.0], [1.0], [0.0], [0.0]]])
    half, left = _halve_time(h, there)
    assert half[0, :, 0].tolist() == [3.0, 6.0, 0.0]
    assert left[0, :, 0].tolist() == [1.0, 1.0, 0.0]


def test_it_learns_what_only_the_order_tells():
    (x, y), (x_val, y_val), (x_test, y_test) = order_task(120, 0), order_task(60, 1), order_task(200, 2)
    config = dataclasses.replace(SMALL, epochs=25)
    probe = train_probes(ProbeData(x, y, x_val, y_val), [config])[0]
    assert (probe.predict(x_test).argmax(1) == y_test).mean() > 0.9
    assert probe.outcome.val_score == pytest.approx((probe.predict(x_val).argmax(1) == y_val).mean())


def test_the_same_seed_gives_the_same_head_and_global_randomness_is_not_touched():
    (x, y), (x_val, y_val) = order_task(40, 0), order_task(20, 1)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b, other = train_probes(
        ProbeData(x, y, x_val, y_val), [SMALL, SMALL, dataclasses.replace(SMALL, seed=1)]
    )
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(a.predict(x_val), b.predict(x_val))
    assert not np.allclose(a.predict(x_val), other.predict(x_val))
    assert (
        a.outcome.best_epoch
        == a.history.sort_values(["val_score", "val_loss"], ascending=[False, True])["epoch"].iloc[0]
    )


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_numbers_and_several_labels(loss):
    (x, y), (x_val, y_val) = order_task(80, 0), order_task(40, 1)
    hot = [np.stack([v, 1 - v], 1).astype(np.float32) for v in (y, y_val)]
    labels = hot if loss == "bce" else [y.astype(float), y_val.astype(float)]
    config = dataclasses.replace(SMALL, loss=loss, epochs=20, dropout=0.0)
    probe = train_probes(ProbeData(x, labels[0], x_val, labels[1]), [config])[0]
    predicted = probe.predict(x_val)
    assert predicted.shape == (40, 2 if loss == "bce" else 1)
    assert abs(predicted[:, 0] - y_val).mean() < 0.3


def test_sequences_are_thinned_out_evenly_or_padded():
    items = {"long": np.arange(20.0)[:, None], "short": np.array([[1.0], [2.0]])}
    x, owners = ItemSequences(items, ["long", "short"], "frames", 5).rows(["short", "long"])
    assert owners.tolist() == [0, 1]
    assert x[0].tolist() == [[1, 1], [2, 1], [0, 0], [0, 0], [0, 0]]
    assert x[1, :, 0].tolist() == [0, 5, 10, 14, 19]  # 4.75, 9.5, 14.25 rounded
    with pytest.raises(M2SError, match="sequences of 0 frames"):
        ItemSequences(items, ["long"], "frames", 0)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({}, ProbeConfig(), r"training features of place have shape \(4, 2, 3\), expected"),
        (
            {"x_train": np.ones((4, 3))},
            SMALL,
            r"training features of place have shape \(4, 3\), expected \[n, frames",
        ),
        (
            {"x_val": np.full((4, 2, 3), np.nan)},
            SMALL,
            "validation features of place: item 0 has values that are not",
        ),
    ],
)
def test_bad_input_is_named(change, config, message):
    x, y = np.ones((4, 2, 3)), np.array([0, 1, 0, 1])
    data = ProbeData(**({"x_train": x, "y_train": y, "x_val": x, "y_val": y, "name": "place"} | change))
    with pytest.raises(M2SError, match=message):
        train_probes(data, [config])


def test_predict_refuses_another_width():
    (x, y), (x_val, y_val) = order_task(20, 0), order_task(20, 1)
    probe = train_probes(ProbeData(x, y, x_val, y_val), [SMALL])[0]
    with pytest.raises(M2SError, match=r"expected \[n, frames, 4\]"):
        probe.predict(np.ones((2, 5, 9)))
