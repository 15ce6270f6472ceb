"""Training of E_movie: it learns, it does not leak, it repeats itself."""

import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.method import movie_similarity
from m2s_lib.method.movie_corpus import MovieCorpus
from m2s_lib.method.movie_encoder import MoviePairModel
from m2s_lib.method.movie_similarity import (
    MovieTrainConfig,
    Pooling,
    load_movie_encoder,
    pair_scores,
    save_movie_encoder,
    train_movie_encoder,
)

SMALL = Pooling(24, 4, 2, 3, 2)


def world(n_films=32, kinds=4, shots=24, d=24, seed=0, look=1.5):
    """Films of a few kinds; a film shares its kind's theme with its neighbours, and looks with everybody."""
    rng = np.random.default_rng(seed)
    themes, looks = rng.normal(size=(kinds, d)), look * rng.normal(size=(6, d))
    features, kind = {}, {}
    for f in range(n_films):
        name = f"film{f:03d}"
        kind[name] = f % kinds
        runs = np.repeat(rng.integers(0, 6, size=shots // 4 + 1), 4)[: shots - f % 5]
        features[name] = (themes[f % kinds] + looks[runs] + rng.normal(size=(len(runs), d))).astype(
            np.float32
        )
    names = list(features)
    pairs = [(a, names[(i + kinds * step) % n_films]) for i, a in enumerate(names) for step in (1, 2)]
    return features, kind, pd.DataFrame(pairs, columns=["film_a", "film_b"])


def config(**change):
    return MovieTrainConfig(**{"pooling": SMALL, "hidden": 32, "epochs": 12, "batch": 16} | change)


def test_threads_add_up_gradients_in_one_order():
    """Every film is in many pairs of a batch, and their gradients are shared out over threads."""
    features, _, pairs = world(n_films=12, shots=64)
    how = config(pooling=Pooling(64, 8, 4, 4, 2), hidden=128, epochs=3, batch=64)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        once, *again = (train_movie_encoder(features, pairs, how).model.state_dict() for _ in range(4))
    finally:
        torch.set_num_threads(threads)
    for other in again:
        assert all(torch.equal(once[name], other[name]) for name in once)


def test_it_learns_kinds_of_films(tmp_path):
    features, kind, pairs = world()
    result = train_movie_encoder(features, pairs, config(epochs=40, held_out=0.2))
    assert list(result.log.columns) == ["step", "epoch", "loss", "accuracy", "lr", "pairs_per_s"]
    assert result.log["step"].tolist() == list(range(len(result.log)))
    assert result.log["loss"].tail(20).mean() < 0.7 * result.log["loss"].head(5).mean()
    assert result.held_out["n"] == 2 * round(0.2 * len(pairs)) == len(result.held_out_pairs)
    assert result.held_out["chance"] == 0.5
    assert result.held_out["auc"] > 0.8
    assert result.held_out["accuracy"] > 0.65
    assert result.roc[["fpr", "tpr"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    auc = np.trapezoid(result.roc["tpr"], result.roc["fpr"])
    assert auc == pytest.approx(result.held_out["auc"])

    same = [(a, b) for a in features for b in features if a < b and kind[a] == kind[b]]
    other = [(a, b) for a in features for b in features if a < b and kind[a] != kind[b]]
    scores = [
        pair_scores(result.model, features, pd.DataFrame(p, columns=["film_a", "film_b"]))
        for p in (same, other)
    ]
    assert scores[0].mean() > scores[1].mean() + 1

    save_movie_encoder(tmp_path / "e.safetensors", result.model)
    again = pair_scores(load_movie_encoder(tmp_path / "e.safetensors"), features, result.held_out_pairs)
    assert np.allclose(again, result.held_out_pairs["score"], atol=1e-4)  # FC1 took the standardising in


def test_chance_when_pairs_mean_nothing():
    features, _, _ = world()
    names = list(features)
    rng = np.random.default_rng(3)
    pairs = pd.DataFrame(
        [rng.choice(names, 2, replace=False) for _ in range(90)], columns=["film_a", "film_b"]
    )
    result = train_movie_encoder(features, pairs, config(epochs=15, held_out=0.5))
    assert 0.3 < result.held_out["auc"] < 0.7


def test_the_same_seed_gives_the_same_weights():
    features, _, pairs = world(n_films=12)
    state = torch.random.get_rng_state()
    first, second = (train_movie_encoder(features, pairs, config(epochs=2)) for _ in range(2))
    shuffled = train_movie_encoder(
        dict(reversed(features.items())), pairs.sample(frac=1, random_state=1), config(epochs=2)
    )
    other = train_movie_encoder(features, pairs, config(epochs=2, seed=1))
    for a, b, c in zip(*(r.model.state_dict().values() for r in (first, second, shuffled)), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert not torch.equal(first.encoder.fc1.weight, other.encoder.fc1.weight)
    assert torch.equal(torch.random.get_rng_state(), state)  # no trace in the global generator


def test_parts_of_a_batch_add_up():
    features, _, pairs = world(n_films=12)
    whole, parts = (
        train_movie_encoder(features, pairs, config(epochs=2, dropout=0.0, part=part)) for part in (64, 3)
    )
    for a, b in zip(whole.model.state_dict().values(), parts.model.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    assert np.allclose(whole.log["loss"], parts.log["loss"], atol=1e-4)


def test_one_step_is_plain_sgd_on_cross_entropy(monkeypatch):
    """The loop against autograd on the literal pair list that it drew."""
    features, _, pairs = world(n_films=8, kinds=2)
    seen = []
    real = movie_similarity._gradients

    def spy(model, corpus, codes, cfg, rng):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        state = rng.bit_generator.state
        out = real(model, corpus, codes, cfg, rng)
        gradients = {k: p.grad.clone() for k, p in model.named_parameters()}
        seen.append((before, state, corpus, codes, out, gradients))
        return out

    monkeypatch.setattr(movie_similarity, "_gradients", spy)
    train_movie_encoder(features, pairs, config(epochs=1, batch=8, dropout=0.0, clip=1e9))
    before, state, corpus, codes, out, gradients = seen[0]
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    turned = rng.random(len(codes)) >= 0.5
    ab = corpus.films_of(codes)
    ab[:, turned] = ab[::-1, turned]
    model = movie_similarity.MoviePairModel(SMALL, 24, 32, 0.0)
    model.load_state_dict(before)
    x1, n1 = corpus.take(torch.from_numpy(ab[0].copy()), 24)
    x2, n2 = corpus.take(torch.from_numpy(ab[1].copy()), 24)
    target = torch.tensor([1] * 4 + [0] * 4)
    loss = torch.nn.functional.cross_entropy(model(x1, n1, x2, n2), target)
    loss.backward()
    assert loss.item() == pytest.approx(out[0].item(), rel=1e-5)
    for name, p in model.named_parameters():
        assert torch.allclose(p.grad, gradients[name], atol=1e-5)
    second = seen[1][0]
    for name in gradients:
        assert torch.allclose(second[name], before[name] - 0.1 * gradients[name], atol=1e-6)


def test_no_step_is_longer_than_the_clipped_gradient(monkeypatch):
    features, _, pairs = world(n_films=8, kinds=2)
    seen = []
    real = movie_similarity._gradients

    def spy(model, *rest):
        seen.append(torch.cat([p.detach().flatten().clone() for p in model.parameters()]))
        return real(model, *rest)

    monkeypatch.setattr(movie_similarity, "_gradients", spy)
    train_movie_encoder(features, pairs, config(epochs=2, batch=8, clip=1e-3, momentum=0.0))
    lengths = [float((b - a).norm()) for a, b in zip(seen, seen[1:], strict=False)]
    assert lengths
    assert max(lengths) <= 0.1 * 1e-3 * 1.01
    assert min(lengths) > 0


def test_training_never_sees_held_out_pairs(monkeypatch):
    features, _, pairs = world(n_films=10, kinds=2)
    used = []
    real = movie_similarity._gradients
    monkeypatch.setattr(
        movie_similarity, "_gradients", lambda m, c, codes, *a: used.append(codes) or real(m, c, codes, *a)
    )
    result = train_movie_encoder(features, pairs, config(epochs=30, held_out=0.3))
    index = {film: i for i, film in enumerate(sorted(features))}

    def codes(table):
        ab = np.stack([table[c].map(index) for c in ("film_a", "film_b")])
        return set((ab.min(0) * len(index) + ab.max(0)).tolist())

    held = codes(result.held_out_pairs)
    similar = codes(pairs)
    positives = {c for batch in used for c in batch[: len(batch) // 2].tolist()}
    negatives = {c for batch in used for c in batch[len(batch) // 2 :].tolist()}
    assert positives == similar - held
    assert not negatives & (similar | held)
    every = {a * 10 + b for a in range(10) for b in range(a + 1, 10)}
    assert negatives == every - similar - held  # drawn anew each epoch, so all of them come up
    labels = result.held_out_pairs.set_index(["film_a", "film_b"])["similar"]
    assert labels.sum() * 2 == len(labels)
    assert codes(result.held_out_pairs[result.held_out_pairs["similar"]]) <= similar


def test_scores_do_not_depend_on_scale_order_or_company():
    features, _, pairs = world(n_films=12)
    result = train_movie_encoder(features, pairs, config(epochs=3))
    scores = pair_scores(result.model, features, pairs)
    turned = pairs.rename(columns={"film_a": "film_b", "film_b": "film_a"})
    assert np.allclose(pair_scores(result.model, features, turned), scores, atol=1e-6)
    assert pair_scores(result.model, features, pairs.iloc[[4]])[0] == pytest.approx(scores[4], abs=1e-5)
    assert pair_scores(result.model, features, pairs.iloc[:0]).shape == (0,)
    scaled = {film: 50 * x + 7 for film, x in features.items()}
    other = train_movie_encoder(scaled, pairs, config(epochs=3))
    assert np.allclose(other.log["loss"], result.log["loss"], atol=1e-3)


def test_crops_reach_the_end_of_a_film(monkeypatch):
    features, _, pairs = world(n_films=8, kinds=2, shots=40)
    seen = []
    real = movie_similarity.MovieCorpus.take

    def spy(self, films, u, offsets=None):
        seen.append((films.clone(), None if offsets is None else offsets.clone()))
        return real(self, films, u, offsets)

    monkeypatch.setattr(movie_similarity.MovieCorpus, "take", spy)
    train_movie_encoder(features, pairs, config(epochs=20, crop="random"))
    films, offsets = (torch.cat([s[k] for s in seen if s[1] is not None]) for k in (0, 1))
    for film, x in enumerate(features.values()):
        assert sorted(set(offsets[films == film].tolist())) == list(range(len(x) - SMALL.shots + 1))
    seen.clear()
    train_movie_encoder(features, pairs, config(epochs=1))
    assert all(s[1] is None or not s[1].any() for s in seen)


def test_bfloat16_is_close():
    features, _, pairs = world(n_films=16)
    exact, rounded = (
        train_movie_encoder(features, pairs, config(epochs=4, dropout=0.0, precision=p))
        for p in ("float32", "bfloat16")
    )
    assert rounded.encoder.fc1.weight.dtype == torch.float32
    assert np.allclose(exact.log["loss"], rounded.log["loss"], atol=0.05)


def test_no_held_out_pairs():
    features, _, pairs = world(n_films=8, kinds=2)
    result = train_movie_encoder(features, pairs, config(epochs=1, held_out=0.0))
    assert result.held_out["n"] == 0
    assert np.isnan(result.held_out["auc"])
    assert len(result.roc) == len(result.held_out_pairs) == 0
    assert list(result.held_out_pairs.columns) == ["film_a", "film_b", "similar", "score"]


def test_bad_input_is_said():
    features, _, pairs = world(n_films=8, kinds=2)
    with pytest.raises(M2SError, match="1 films and 16 similar pairs: training needs 2 films"):
        train_movie_encoder({"film000": features["film000"]}, pairs, config())
    with pytest.raises(M2SError, match="8 films and 0 similar pairs"):
        train_movie_encoder(features, pairs.iloc[:0], config())
    with pytest.raises(M2SError, match="the loss is not finite in epoch 0: lower lr"):
        train_movie_encoder(features, pairs, config(lr=1e12, epochs=1, batch=4))
    features["film003"][2] = np.nan
    with pytest.raises(M2SError, match="film 'film003', shot 2"):
        train_movie_encoder(features, pairs, config())
    model = movie_similarity.MoviePairModel(SMALL, 24, 32)
    with pytest.raises(M2SError, match="none of the 8 films"):
        pair_scores(model, {}, pairs)
    with pytest.raises(M2SError, match="7 films of the film pairs have no shot features, e.g. 'film001'"):
        pair_scores(model, {"film000": features["film000"]}, pairs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 7}, "batch is 7: it must be even"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"crop": "middle"}, r"crop is 'middle': choose one of \['first', 'random'\]"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_impossible_configurations(change, message):
    with pytest.raises(M2SError, match=message):
        MovieTrainConfig(**change)


@pytest.mark.gpu
def test_cuda_follows_the_cpu():
    features, _, pairs = world(n_films=16)
    cpu, cuda = (
        train_movie_encoder(features, pairs, config(epochs=2, dropout=0.0), device)
        for device in ("cpu", "cuda")
    )
    assert np.allclose(cpu.log["loss"].head(4), cuda.log["loss"].head(4), atol=1e-3)


@pytest.mark.parametrize("part", [1, 3, 64])
def test_films_that_repeat_in_a_batch_give_the_gradients_of_a_loop_over_its_pairs(part):
    """Eight pairs of four films: each film encoded once, or each pair for itself, is one gradient."""
    features, _, _ = world(n_films=4, shots=24, d=6)
    corpus = MovieCorpus(features, standardise=True, dtype=torch.float64)
    setting = config(hidden=5, dropout=0.0, part=part)
    codes = np.array([1, 1, 2, 3, 6, 7, 11, 2])  # similar ones first; pairs (0,1) and (0,2) twice
    torch.manual_seed(0)
    model = MoviePairModel(SMALL, 6, 5, 0.0).double().train()
    seen = movie_similarity._gradients(model, corpus, codes, setting, np.random.default_rng(3))
    found = [p.grad.clone() for p in model.parameters()]
    assert all(g.abs().max() > 0 for g in found)

    model.zero_grad()
    ab = corpus.films_of(codes)
    turned = np.random.default_rng(3).random(len(codes)) < 0.5
    assert 0 < turned.sum() < len(codes)
    total, hits = 0.0, 0
    for k, (a, b) in enumerate(ab.T):
        first, second = (a, b) if turned[k] else (b, a)
        x1, n1 = corpus.take(torch.tensor([first]), SMALL.shots)
        x2, n2 = corpus.take(torch.tensor([second]), SMALL.shots)
        logits = model(x1, n1, x2, n2)
        target = int(k < len(codes) // 2)
        total = total - torch.log_softmax(logits, 1)[0, target] / len(codes)
        hits += int(logits.argmax()) == target
    total.backward()
    for slow, fast in zip((p.grad for p in model.parameters()), found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-9)  # the loss itself is float32
    assert seen.tolist() == pytest.approx([total.item(), hits / len(codes)], rel=1e-6)
