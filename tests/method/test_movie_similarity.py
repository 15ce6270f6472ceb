"""Training of E_movie: it learns, it does not leak, it repeats itself."""

import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.method.movie_corpus import MovieCorpus
from m2s_lib.method.movie_encoder import MoviePairModel, load_movie_encoder, save_movie_encoder
from m2s_lib.method.movie_pooling import Pooling
from m2s_lib.method.movie_similarity import MovieTrainConfig, similarity_scores
from m2s_lib.training.movie_training import MovieTraining
from tests.helpers.movie_loop import run_loop, train

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


def scores(model, features, pairs):
    """What the model, which takes raw features, says of film pairs."""
    corpus = MovieCorpus(features, model.pooling.shots_read)
    return similarity_scores(model, corpus, corpus.pair_codes(pairs))


class Spied(MovieTraining):
    """A training that keeps what its loop sees: each part, the model before it, loss and gradients after."""

    def __iter__(self):
        self.seen = []
        for part in super().__iter__():
            before = {name: value.clone() for name, value in self.model.state_dict().items()}
            self.seen.append((part, before))
            yield part

    def record(self, part, loss, logits):
        gradients = {name: p.grad.clone() for name, p in self.model.named_parameters()}
        self.seen[-1] += (loss.item(), gradients)
        super().record(part, loss, logits)


def spied(features, pairs, how):
    """The training, and what it gave."""
    training = Spied(features, pairs, how)
    (trained,) = run_loop(how, movie_trainings=lambda *_: [training]).values()
    return training, trained


def test_threads_add_up_gradients_in_one_order():
    """Every film is in many pairs of a batch, and their gradients are shared out over threads."""
    features, _, pairs = world(n_films=12, shots=64)
    how = config(pooling=Pooling(64, 8, 4, 4, 2), hidden=128, epochs=3, batch=64)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        once, *again = (train(features, pairs, how).model.state_dict() for _ in range(4))
    finally:
        torch.set_num_threads(threads)
    for other in again:
        assert all(torch.equal(once[name], other[name]) for name in once)


def test_it_learns_kinds_of_films(tmp_path):
    features, kind, pairs = world()
    result = train(features, pairs, config(epochs=40, held_out=0.2))
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
    values = [
        scores(result.model, features, pd.DataFrame(p, columns=["film_a", "film_b"])).mean()
        for p in (same, other)
    ]
    assert values[0] > values[1] + 1

    save_movie_encoder(tmp_path / "e.safetensors", result.model)
    again = scores(load_movie_encoder(tmp_path / "e.safetensors"), features, result.held_out_pairs)
    assert np.allclose(again, result.held_out_pairs["score"], atol=1e-4)  # FC1 took the standardising in


def test_chance_when_pairs_mean_nothing():
    features, _, _ = world()
    names = list(features)
    rng = np.random.default_rng(3)
    pairs = pd.DataFrame(
        [rng.choice(names, 2, replace=False) for _ in range(90)], columns=["film_a", "film_b"]
    )
    result = train(features, pairs, config(epochs=15, held_out=0.5))
    assert 0.3 < result.held_out["auc"] < 0.7


def test_the_same_seed_gives_the_same_weights():
    features, _, pairs = world(n_films=12)
    state = torch.random.get_rng_state()
    first, second = (train(features, pairs, config(epochs=2)) for _ in range(2))
    shuffled = train(dict(reversed(features.items())), pairs.sample(frac=1, random_state=1), config(epochs=2))
    other = train(features, pairs, config(epochs=2, seed=1))
    for a, b, c in zip(*(r.model.state_dict().values() for r in (first, second, shuffled)), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert not torch.equal(first.encoder.fc1.weight, other.encoder.fc1.weight)
    assert torch.equal(torch.random.get_rng_state(), state)  # no trace in the global generator


def test_parts_of_a_batch_add_up():
    features, _, pairs = world(n_films=12)
    whole, parts = (train(features, pairs, config(epochs=2, dropout=0.0, part=part)) for part in (64, 3))
    for a, b in zip(whole.model.state_dict().values(), parts.model.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    assert np.allclose(whole.log["loss"], parts.log["loss"], atol=1e-4)


def test_one_step_is_plain_sgd_on_cross_entropy():
    """The loop against autograd on pairs that are encoded one by one."""
    features, _, pairs = world(n_films=8, kinds=2)
    training, _ = spied(features, pairs, config(epochs=1, batch=8, dropout=0.0, clip=1e9))
    (part, before, loss, gradients), (_, after, *_), *_ = training.seen
    model = MoviePairModel(SMALL, 24, 32, 0.0)
    model.load_state_dict(before)
    one, two = part.films.chunk(2)
    logits = model(part.x[one], part.lengths[one], part.x[two], part.lengths[two])
    assert part.similar.tolist() == [1] * 4 + [0] * 4
    expected = torch.nn.functional.cross_entropy(logits, part.similar)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for name, p in model.named_parameters():
        assert torch.allclose(p.grad, gradients[name], atol=1e-5)
        assert torch.allclose(after[name], before[name] - 0.1 * gradients[name], atol=1e-6)


def test_no_step_is_longer_than_the_clipped_gradient():
    features, _, pairs = world(n_films=8, kinds=2)
    training, _ = spied(features, pairs, config(epochs=2, batch=8, clip=1e-3, momentum=0.0))
    weights = [torch.cat([v.flatten() for v in before.values()]) for _, before, *_ in training.seen]
    lengths = [float((b - a).norm()) for a, b in zip(weights, weights[1:], strict=False)]
    assert lengths
    assert max(lengths) <= 0.1 * 1e-3 * 1.01
    assert min(lengths) > 0


def test_training_never_sees_held_out_pairs():
    features, _, pairs = world(n_films=10, kinds=2)
    names = sorted(features)
    training, result = spied(features, pairs, config(epochs=30, held_out=0.3))

    def codes(table):
        return {frozenset(pair) for pair in table[["film_a", "film_b"]].to_numpy().tolist()}

    used = {0: set(), 1: set()}
    by_first_shot = {
        tuple(training._corpus.rows[s].tolist()): i for i, s in enumerate(training._corpus.starts)
    }
    for part, *_ in training.seen:
        films = [names[by_first_shot[tuple(x[0].tolist())]] for x in part.x]
        for a, b, similar in zip(*part.films.chunk(2), part.similar, strict=True):
            used[int(similar)].add(frozenset((films[a], films[b])))
    held, similar = codes(result.held_out_pairs), codes(pairs)
    assert used[1] == similar - held
    every = {frozenset((a, b)) for a in names for b in names if a < b}
    assert used[0] == every - similar - held  # drawn anew each epoch, so all of them come up
    labels = result.held_out_pairs.set_index(["film_a", "film_b"])["similar"]
    assert labels.sum() * 2 == len(labels)
    assert codes(result.held_out_pairs[result.held_out_pairs["similar"]]) <= similar


def test_scores_do_not_depend_on_scale_order_or_company():
    features, _, pairs = world(n_films=12)
    result = train(features, pairs, config(epochs=3))
    values = scores(result.model, features, pairs)
    turned = pairs.rename(columns={"film_a": "film_b", "film_b": "film_a"})
    assert np.allclose(scores(result.model, features, turned), values, atol=1e-6)
    assert scores(result.model, features, pairs.iloc[[4]])[0] == pytest.approx(values[4], abs=1e-5)
    assert scores(result.model, features, pairs.iloc[:0]).shape == (0,)
    scaled = {film: 50 * x + 7 for film, x in features.items()}
    other = train(scaled, pairs, config(epochs=3))
    assert np.allclose(other.log["loss"], result.log["loss"], atol=1e-3)


def test_whitened_training_gives_a_model_of_raw_features():
    """FC1 takes the whitening in: raw features give the scores that whitened ones gave in training."""
    features, _, pairs = world(n_films=16)
    stretch = np.diag(np.linspace(0.1, 10, 24)).astype(np.float32)
    features = {film: x @ stretch for film, x in features.items()}
    result = train(features, pairs, config(epochs=5, held_out=0.2, whiten=True))
    again = scores(result.model, features, result.held_out_pairs)
    assert np.allclose(again, result.held_out_pairs["score"], atol=1e-3)
    plain = train(features, pairs, config(epochs=5, held_out=0.2))
    assert not np.allclose(plain.log["loss"], result.log["loss"], atol=1e-3)


def test_films_that_are_all_similar_leave_nothing_to_train_on():
    features, _, _ = world(n_films=2)
    pairs = pd.DataFrame({"film_a": ["film000"], "film_b": ["film001"]})
    result = train(features, pairs, config())
    assert len(result.log) == 0
    assert list(result.log.columns) == ["step", "epoch", "loss", "accuracy", "lr", "pairs_per_s"]
    assert result.held_out["n"] == 0
    assert np.isfinite(scores(result.model, features, pairs)).all()


def test_bfloat16_is_close():
    features, _, pairs = world(n_films=16)
    exact, rounded = (
        train(features, pairs, config(epochs=4, dropout=0.0, precision=p)) for p in ("float32", "bfloat16")
    )
    assert rounded.encoder.fc1.weight.dtype == torch.float32
    assert np.allclose(exact.log["loss"], rounded.log["loss"], atol=0.05)


def test_no_held_out_pairs():
    features, _, pairs = world(n_films=8, kinds=2)
    result = train(features, pairs, config(epochs=1, held_out=0.0))
    assert result.held_out["n"] == 0
    assert np.isnan(result.held_out["auc"])
    assert len(result.roc) == len(result.held_out_pairs) == 0
    assert list(result.held_out_pairs.columns) == ["film_a", "film_b", "similar", "score"]


def test_bad_input_is_said():
    features, _, pairs = world(n_films=8, kinds=2)
    with pytest.raises(M2SError, match="1 films and 16 similar pairs: training needs 2 films"):
        train({"film000": features["film000"]}, pairs, config())
    with pytest.raises(M2SError, match="8 films and 0 similar pairs"):
        train(features, pairs.iloc[:0], config())
    with pytest.raises(M2SError, match="the loss is not finite in epoch 0: lower lr"):
        train(features, pairs, config(lr=1e12, epochs=1, batch=4))
    features["film003"][2] = np.nan
    with pytest.raises(M2SError, match="film 'film003', shot 2"):
        train(features, pairs, config())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 7}, "batch is 7: it must be even"),
        ({"held_out": 1.0}, "held_out is 1.0"),
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
    cpu, cuda = (train(features, pairs, config(epochs=2, dropout=0.0), device) for device in ("cpu", "cuda"))
    assert np.allclose(cpu.log["loss"].head(4), cuda.log["loss"].head(4), atol=1e-3)


@pytest.mark.parametrize("part", [1, 3, 64])
def test_films_that_repeat_in_a_batch_give_the_gradients_of_a_loop_over_its_pairs(part):
    """Six pairs of four films: each film encoded once, or each pair for itself, is one gradient."""
    features, _, _ = world(n_films=4, shots=24, d=6)
    names = sorted(features)
    pairs = pd.DataFrame([(names[0], b) for b in names[1:]], columns=["film_a", "film_b"])
    how = config(hidden=5, dropout=0.0, part=part, epochs=1, batch=6, held_out=0.0, clip=1e9)
    training, trained = spied(features, pairs, how)
    parts = [seen[0] for seen in training.seen]
    assert [p.ends_batch for p in parts] == [False] * (len(parts) - 1) + [True]
    assert sum(len(p.similar) for p in parts) == parts[0].batch == 6
    assert max(len(p.films) // 2 for p in parts) == (1 if part == 1 else 6)  # four films fit in three pairs
    model = MoviePairModel(SMALL, 6, 5, 0.0)
    model.load_state_dict(training.seen[0][1])
    total, hits = 0.0, 0
    for p in parts:
        for a, b, similar in zip(*p.films.chunk(2), p.similar, strict=True):
            logits = model(p.x[a][None], p.lengths[a][None], p.x[b][None], p.lengths[b][None])
            total = total - torch.log_softmax(logits, 1)[0, similar] / 6
            hits += int(logits.argmax()) == int(similar)
    total.backward()
    gradients = training.seen[-1][3]  # of all parts, added up
    assert all(g.abs().max() > 0 for g in gradients.values())
    for name, p in model.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-4, atol=1e-5)
    assert trained.log[["loss", "accuracy"]].iloc[0].tolist() == pytest.approx(
        [total.item(), hits / 6], rel=1e-5
    )
