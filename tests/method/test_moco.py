import copy
import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from m2s_lib.errors import M2SError
from m2s_lib.method.moco import KeyQueue, alignment, info_nce, momentum_update, nt_xent, uniformity


def unit(*shape, seed=0, dtype=torch.float64):
    return F.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1
    )


def literal_loss(q, k, queue, temperature):
    """MoCo's own formulation: put the logits together and classify into class 0."""
    positive = torch.einsum("nc,nc->n", q, k)[:, None]
    logits = torch.cat([positive, torch.einsum("nc,kc->nk", q, queue)], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)), logits


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_loss_and_gradient_equal_the_literal_form(length, temperature):
    k, queue = unit(6, 8, seed=1), unit(length, 8, seed=2)
    a, b = unit(6, 8).requires_grad_(), unit(6, 8).requires_grad_()
    got = info_nce(a, k, queue, temperature)
    expected, logits = literal_loss(b, k, queue, temperature)
    got.loss.backward()
    expected.backward()
    torch.testing.assert_close(got.loss, expected, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-8)
    assert got.accuracy.item() == pytest.approx((logits.argmax(1) == 0).double().mean().item())


def test_the_positive_is_the_larger_of_the_keys_that_exist():
    q, queue = unit(50, 8), unit(20, 8, seed=2)
    keys = unit(50, 2, 8, seed=1)
    mask = torch.ones(50, 2, dtype=torch.bool)
    mask[:10, 0], mask[10:20, 1] = False, False
    got = info_nce(q, keys, queue, 0.1, mask)
    for i in range(50):
        scores = {p: float(q[i] @ keys[i, p]) for p in range(2) if mask[i, p]}
        assert got.chosen[i] == max(scores, key=scores.get)
    assert set(got.chosen[20:].tolist()) == {0, 1}
    chosen = keys[torch.arange(50), got.chosen]
    torch.testing.assert_close(got.loss, literal_loss(q, chosen, queue, 0.1)[0])


def test_no_gradient_reaches_keys_or_queue_through_the_loss():
    q = unit(4, 8).requires_grad_()
    k, queue = unit(4, 8, seed=1), unit(9, 8, seed=2)
    info_nce(q, k, queue).loss.backward()
    assert q.grad.abs().sum() > 0
    assert k.grad is None
    assert queue.grad is None


def test_a_collapsed_encoder_scores_no_accuracy():
    same = torch.ones(4, 8) / math.sqrt(8)
    got = info_nce(same, same, same[:1].expand(10, 8))
    assert got.accuracy == 0
    assert got.loss.item() == pytest.approx(math.log(11), abs=1e-5)


def test_nt_xent_equals_the_loop_over_views():
    q, k, t = unit(5, 8), unit(5, 8, seed=1), 0.2
    views, losses, right = torch.cat([q, k]), [], 0
    for i in range(10):
        pair = (i + 5) % 10
        scores = {j: float(views[i] @ views[j]) / t for j in range(10) if j != i}
        losses.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[pair])
        right += max(scores, key=scores.get) == pair
    got = nt_xent(q, k, t)
    assert got.loss.item() == pytest.approx(sum(losses) / 10)
    assert got.accuracy.item() == pytest.approx(right / 10)


@hypothesis.given(st.integers(1, 12), st.lists(st.integers(0, 30), max_size=8))
@hypothesis.settings(max_examples=80, deadline=None)
def test_queue_holds_exactly_the_last_keys_whatever_the_batches(length, batches):
    queue, seen = KeyQueue(length, 1), []
    slots = queue.keys[:, 0].tolist()  # the oracle: one key at a time
    for b in batches:
        keys = [float(len(seen) + i + 100) for i in range(b)]
        for i, key in enumerate(keys):
            slots[(len(seen) + i) % length] = key
        queue.enqueue(torch.tensor(keys).reshape(b, 1))
        seen += keys
        assert queue.keys[:, 0].tolist() == slots
    if len(seen) >= length:
        assert sorted(queue.keys[:, 0].tolist()) == seen[len(seen) - length :]


def test_queue_starts_with_unit_vectors_of_its_seed():
    queue = KeyQueue(20, 8, seed=3)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(20))
    assert torch.equal(queue.keys, KeyQueue(20, 8, seed=3).keys)
    assert not torch.equal(queue.keys, KeyQueue(20, 8, seed=4).keys)
    assert len(queue.negatives()) == 20


def test_queue_can_show_its_filled_part_only():
    queue = KeyQueue(5, 2, filled_only=True)
    assert queue.negatives().shape == (0, 2)
    queue.enqueue(torch.ones(3, 2))
    assert torch.equal(queue.negatives(), torch.ones(3, 2))
    queue.enqueue(torch.zeros(4, 2))
    assert queue.negatives().shape == (5, 2)


def test_a_queue_of_no_keys_stays_empty():
    queue = KeyQueue(0, 2)
    queue.enqueue(torch.ones(3, 2), torch.arange(3))
    assert queue.negatives().shape == (0, 2)


@pytest.mark.parametrize("own_pair", [True, False])
@pytest.mark.parametrize("source", ["queue", "batch", "both"])
@pytest.mark.parametrize("filled_only", [True, False])
def test_negatives_and_which_count_by_a_loop(source, own_pair, filled_only):
    queue = KeyQueue(7, 8, filled_only=filled_only)
    queue.enqueue(unit(3, 8).float(), torch.tensor([4, 5, 6]))
    k, pair = unit(4, 8, seed=1).float(), torch.tensor([5, 6, 6, 9])
    keys, counts = queue.negatives_of(k, pair, source, own_pair)
    queued = list(zip(queue.keys, queue.pairs, strict=True))[: 3 if filled_only else 7]
    for i in range(4):
        wanted = [k[j] for j in range(4) if j != i and (own_pair or pair[j] != pair[i])]
        wanted = [] if source == "queue" else wanted
        if source != "batch":
            wanted += [key for key, of in queued if own_pair or of != pair[i]]
        got = keys if counts is None else keys[counts[i]]
        assert sorted(map(tuple, got.tolist())) == sorted(tuple(x.tolist()) for x in wanted)
    assert (counts is None) == (source == "queue" and own_pair)


def test_a_query_without_negatives_has_no_loss_and_a_gradient():
    q, k = unit(2, 8).requires_grad_(), unit(2, 8, seed=1)
    counts = torch.tensor([[False, False, False], [True, False, True]])
    got = info_nce(q, k, unit(3, 8, seed=2), 0.1, counts=counts)
    one = info_nce(q[1:], k[1:], unit(3, 8, seed=2)[[0, 2]], 0.1)
    torch.testing.assert_close(got.loss, one.loss / 2)
    got.loss.backward()
    assert q.grad.isfinite().all()
    assert (q.grad[0] == 0).all()


def small_model(seed):
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return model


def test_momentum_update_is_the_formula_and_copies_buffers():
    query, key = small_model(0), small_model(1)
    query(unit(8, 5, dtype=torch.float32))  # moves the running statistics
    before = copy.deepcopy(key)
    momentum_update(query, key, 0.9)
    for new, old, q in zip(key.parameters(), before.parameters(), query.parameters(), strict=True):
        torch.testing.assert_close(new.data, 0.9 * old.data + 0.1 * q.data, rtol=1e-6, atol=1e-7)
        assert torch.equal(new.data, torch.lerp(old.data, q.data, 1 - 0.9))
    assert all(torch.equal(a, b) for a, b in zip(key.buffers(), query.buffers(), strict=True))
    assert not torch.equal(key[1].running_mean, before[1].running_mean)


def test_momentum_update_refuses_weights_in_which_it_would_stall():
    key = small_model(1).to(torch.bfloat16)
    with pytest.raises(M2SError, match="bfloat16.*keep fp32 weights"):
        momentum_update(small_model(0), key, 0.999)


def test_alignment_and_uniformity_by_their_definitions():
    q, k = unit(6, 8), unit(6, 8, seed=1)
    assert alignment(q, k).item() == pytest.approx(
        sum(float(((a - b) ** 2).sum()) for a, b in zip(q, k, strict=True)) / 6
    )
    pairs = [math.exp(-2 * float(((q[i] - q[j]) ** 2).sum())) for i in range(6) for j in range(i)]
    assert uniformity(q).item() == pytest.approx(math.log(sum(pairs) / len(pairs)))
    assert alignment(q, q) == 0
    assert uniformity(q[:1].expand(4, 8)).item() == pytest.approx(0)


@pytest.mark.gpu
def test_loss_on_cuda_equals_the_cpu():
    q, keys, queue = unit(16, 32).float(), unit(16, 2, 32, seed=1).float(), unit(100, 32, seed=2).float()
    cpu, gpu = info_nce(q, keys, queue), info_nce(q.cuda(), keys.cuda(), queue.cuda())
    torch.testing.assert_close(gpu.loss.cpu(), cpu.loss, rtol=1e-4, atol=1e-5)
    assert torch.equal(gpu.chosen.cpu(), cpu.chosen)
