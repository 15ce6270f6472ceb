"""The fast greedy choices against sorting every window and walking down the list."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.method.greedy import greedy_batch, greedy_pairs


def walk(b, n, floor=-np.inf):
    """Oracle: sort all windows by (-score, i, j); take those that overlap nothing taken."""
    windows = sorted((-float(b[i, j]), i, j) for i in range(b.shape[0]) for j in range(b.shape[1]))
    taken = []
    for score, i, j in windows:
        if -score < floor or score == np.inf:
            break
        if all(abs(i - p) >= n and abs(j - q) >= n for p, q in taken):
            taken.append((i, j))
    return taken


def by_rounds(b, n, floor=-np.inf):
    """The choice in parallel rounds, of one matrix."""
    return greedy_batch(b[None], n, floor)[0]


def places(picks):
    return list(zip(picks[0].tolist(), picks[1].tolist(), strict=True))


def matrix(kind, m, n, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "random":
        b = rng.normal(size=(m, n))
    elif kind == "ties":
        b = rng.integers(0, 3, size=(m, n))
    elif kind == "constant":
        b = np.ones((m, n))
    elif kind == "signed zeros":
        b = np.where(rng.random((m, n)) < 0.5, -0.0, 0.0)
    elif kind == "hub":  # all rows want the same columns, so every pick outdates all rows
        b = rng.permutation(n)[None] + 0.01 * rng.random((m, n))
    else:  # film-like: scenes of six shots around random centres
        x, y = (np.repeat(rng.normal(size=(k // 6 + 1, 16)), 6, axis=0)[:k] for k in (m, n))
        b = (x + 0.5 * rng.normal(size=x.shape)) @ (y + 0.5 * rng.normal(size=y.shape)).T
    return b.astype(np.float32)


KINDS = ["random", "ties", "constant", "signed zeros", "hub", "film"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("m", "n"), [(40, 33), (7, 40), (1, 1)])
@pytest.mark.parametrize("shots", [1, 2, 9])
def test_every_kind_gives_the_walks_list(kind, m, n, shots):
    b = matrix(kind, m, n)
    before = b.copy()
    expected = walk(b, shots)
    cpu, rounds = greedy_pairs(b, shots), by_rounds(torch.from_numpy(b), shots)
    assert places(cpu) == expected
    assert places(rounds) == expected
    for picks in (cpu, rounds):
        assert np.array_equal(picks[2], b[picks[0], picks[1]])
        assert np.all(np.diff(picks[2]) <= 0)
    assert np.array_equal(b, before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_floor_ends_the_list_early(kind):
    b = matrix(kind, 30, 30)
    floor = float(np.partition(b, 450, axis=None)[450])
    assert places(greedy_pairs(b, 3, floor)) == walk(b, 3, floor)
    assert places(by_rounds(torch.from_numpy(b), 3, floor)) == walk(b, 3, floor)
    assert greedy_pairs(b, 3, np.inf)[0].size == 0


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 24),
    st.integers(1, 24),
    st.integers(1, 6),
    st.integers(1, 40),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_any_small_matrix(m, n, shots, levels, seed, hub):
    rng = np.random.default_rng(seed)
    b = rng.integers(-levels, levels, size=(m, n)) / 7
    b = (b + (10 * levels * rng.random(n).round(2) if hub else 0)).astype(np.float32)
    b[rng.random((m, n)) < 0.1] = -np.inf
    expected = walk(b, shots)
    assert places(greedy_pairs(b, shots)) == expected
    assert places(by_rounds(torch.from_numpy(b), shots)) == expected


def test_the_hub_reaches_the_argmax_half(monkeypatch):
    from m2s_lib.method import greedy

    calls = []
    real = greedy._repeated_argmax
    monkeypatch.setattr(greedy, "_repeated_argmax", lambda *a: calls.append(len(a[1])) or real(*a))
    b = matrix("hub", 120, 120)
    assert places(greedy_pairs(b, 5)) == walk(b, 5)
    assert len(calls) == 1
    assert 0 < calls[0] < 120
    greedy_pairs(matrix("random", 120, 120), 5)
    assert len(calls) == 1  # ordinary matrices never get there


def test_a_larger_matrix_by_argmax():
    b = matrix("film", 400, 350, seed=3)
    c, expected = b.copy(), []
    while np.isfinite(c.max()):
        i, j = divmod(int(c.argmax()), c.shape[1])
        expected.append((i, j))
        c[max(i - 8, 0) : i + 9] = -np.inf
        c[:, max(j - 8, 0) : j + 9] = -np.inf
    assert places(greedy_pairs(b, 9)) == expected
    assert places(by_rounds(torch.from_numpy(b), 9)) == expected


def test_a_batch_is_its_single_matrices():
    singles = [matrix(kind, 20 + k, 30 - k, seed=k) for k, kind in enumerate(KINDS)]
    batch = np.full((len(singles), 30, 30), -np.inf, dtype=np.float32)
    for k, b in enumerate(singles):
        batch[k, : b.shape[0], : b.shape[1]] = b
    floors = torch.tensor([float(np.median(b)) for b in singles])
    found = greedy_batch(torch.from_numpy(batch), 4, floors)
    assert [places(p) for p in found] == [
        places(greedy_pairs(b, 4, float(f))) for b, f in zip(singles, floors, strict=True)
    ]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_choose_from(shape):
    for picks in (greedy_pairs(np.empty(shape, np.float32), 9), by_rounds(torch.empty(shape), 9)):
        assert [len(a) for a in picks] == [0, 0, 0]
        assert picks[0].dtype == np.int64
        assert picks[2].dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_number_are_refused(bad):
    b = matrix("random", 6, 7)
    b[4, 5] = bad
    with pytest.raises(M2SError, match=r"NaN or inf in row 4"):
        greedy_pairs(b, 2)
    with pytest.raises(M2SError, match="NaN or inf"):
        by_rounds(torch.from_numpy(b), 2)


def test_impossible_arguments_are_refused():
    b = matrix("random", 4, 4)
    with pytest.raises(M2SError, match="scene of 0 shots"):
        greedy_pairs(b, 0)
    with pytest.raises(M2SError, match="scene of 0 shots"):
        by_rounds(torch.from_numpy(b), 0)
    with pytest.raises(M2SError, match=r"shape \[4\]"):
        greedy_pairs(b[0], 2)
    with pytest.raises(M2SError, match="float64, expected torch.float32"):
        by_rounds(torch.from_numpy(b).double(), 2)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_gives_the_cpus_list(kind):
    b = matrix(kind, 300, 280, seed=5)
    assert places(by_rounds(torch.from_numpy(b).cuda(), 9)) == places(greedy_pairs(b, 9))
