"""E_movie for a run: what is done and unchanged is read back, what changed is trained again."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.method.movie_encoder import load_movie_encoder
from m2s_lib.method.movie_pooling import Pooling
from m2s_lib.method.movie_similarity import MovieTrainConfig
from m2s_lib.training.movie_training import MovieTraining
from tests.helpers.movie_loop import run_loop, train, training_loop

CONFIG = MovieTrainConfig(Pooling(12, 2, 1, 3, 2), hidden=8, epochs=2, batch=8, held_out=0.25)
SEEDS = [4, 5]


def corpus(seed=0):
    rng = np.random.default_rng(seed)
    return {f"f{i}": rng.normal(size=(9 + i, 6)).astype(np.float32) for i in range(8)}


def pairs(*steps):
    rows = [(f"f{i}", f"f{i + step}") for step in steps for i in range(8 - step)]
    return pd.DataFrame(rows, columns=["film_a", "film_b"])


PAIRS = {"cowatch": pairs(1), "random": pairs(3)}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The notebook's loop, into one folder; `run.calls` has seed and pair count of what is really trained."""

    def run(features, pairs, config, seeds, loop=None):
        run.calls.clear()
        stage = SimpleNamespace(path=tmp_path.joinpath)
        return run_loop(config, loop, features=features, pairs=pairs, movie_seeds=seeds, stage=stage)

    real = MovieTraining._prepare

    def counted(self, features, pairs, device):
        run.calls.append((self.seed, len(pairs)))
        real(self, features, pairs, device)

    run.calls = []
    monkeypatch.setattr(MovieTraining, "_prepare", counted)
    return run


def same_model(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_each_source_and_seed_is_the_plain_training(run):
    trained = run(corpus(), PAIRS, CONFIG, SEEDS)
    assert run.calls == [(4, 7), (5, 7), (4, 5), (5, 5)]
    assert list(trained) == [("cowatch", 4), ("cowatch", 5), ("random", 4), ("random", 5)]
    literal = train(corpus(), PAIRS["random"], replace(CONFIG, seed=5))
    assert same_model(trained["random", 5].model, literal.model)
    assert trained["random", 5].log.loss.tolist() == literal.log.loss.tolist()
    assert not same_model(trained["cowatch", 4].model, trained["cowatch", 5].model)


def test_what_is_done_is_read_back_and_is_the_same(run, tmp_path):
    first = run(corpus(), PAIRS, CONFIG, SEEDS)
    assert len(first["cowatch", 4].log) > 0
    second = run(corpus(), PAIRS, CONFIG, SEEDS)
    assert run.calls == []
    assert list(first) == list(second)
    for (source, seed), a in first.items():
        b = second[source, seed]
        assert same_model(a.model, b.model)
        assert same_model(
            load_movie_encoder(tmp_path / f"movie_encoders/{source}-seed{seed}.safetensors"), a.model
        )
        assert not b.model.training
        assert a.held_out == pytest.approx(b.held_out)
        pd.testing.assert_frame_equal(a.log, b.log)
        pd.testing.assert_frame_equal(a.held_out_pairs, b.held_out_pairs, check_dtype=False)
        pd.testing.assert_frame_equal(a.roc, b.roc)


def test_nothing_held_out_is_read_back_too(run):
    config = replace(CONFIG, held_out=0.0)
    first = run(corpus(), {"random": pairs(1)}, config, [1])["random", 1]
    again = run(corpus(), {"random": pairs(1)}, config, [1])["random", 1]
    assert run.calls == []
    assert len(first.roc) == len(again.roc) == 0
    assert first.held_out["n"] == again.held_out["n"] == 0
    assert np.isnan(first.held_out["auc"])
    assert pd.isna(again.held_out["auc"])
    assert list(again.held_out_pairs.columns) == list(first.held_out_pairs.columns)


def one_value_more():
    changed = corpus()
    changed["f3"][2, 1] += 1e-3
    return changed


@pytest.mark.parametrize(
    ("features", "table", "config"),
    [
        (one_value_more(), PAIRS["cowatch"], CONFIG),
        ({f: x for f, x in corpus().items() if f != "f7"}, PAIRS["cowatch"].iloc[:-1], CONFIG),
        (corpus(), PAIRS["cowatch"].iloc[:-1], CONFIG),
        (corpus(), PAIRS["cowatch"], replace(CONFIG, lr=0.05)),
        (corpus(), PAIRS["cowatch"], replace(CONFIG, whiten=True)),
        (corpus(), PAIRS["cowatch"], replace(CONFIG, pooling=Pooling(12, 2, 2, 2, 2))),
    ],
)
def test_what_changed_is_trained_again(run, tmp_path, features, table, config):
    run(corpus(), {"cowatch": PAIRS["cowatch"]}, CONFIG, [1])
    again = run(features, {"cowatch": table}, config, [1])["cowatch", 1]
    assert len(run.calls) == 1
    fresh = train(features, table, replace(config, seed=1))
    assert same_model(again.model, fresh.model)
    assert same_model(load_movie_encoder(tmp_path / "movie_encoders/cowatch-seed1.safetensors"), fresh.model)


def test_a_loop_with_another_loss_is_trained_again(run):
    first = run(corpus(), {"random": pairs(1)}, CONFIG, [1])["random", 1]
    smoothed = training_loop().replace('reduction="sum")', 'reduction="sum", label_smoothing=0.2)')
    other = run(corpus(), {"random": pairs(1)}, CONFIG, [1], smoothed)["random", 1]
    assert len(run.calls) == 1
    assert not same_model(first.model, other.model)
    moved = "\n\n" + training_loop() + "# the same in another place\n"
    run(corpus(), {"random": pairs(1)}, CONFIG, [1], smoothed)
    assert run.calls == []
    run(corpus(), {"random": pairs(1)}, CONFIG, [1], moved)
    assert len(run.calls) == 1  # of the loop that was there before
    run(corpus(), {"random": pairs(1)}, CONFIG, [1])
    assert run.calls == []


def test_a_training_that_was_cut_off_before_its_last_file_is_done_again(run, tmp_path):
    run(corpus(), PAIRS, CONFIG, SEEDS)
    (tmp_path / "movie_encoders" / "random-seed4.json").unlink()
    run(corpus(), PAIRS, CONFIG, SEEDS)
    assert run.calls == [(4, 5)]


def test_a_second_run_writes_the_same_bytes(run, tmp_path):
    """Bytes decide whether later stages run again; safetensors writes several metadata keys in any order."""
    path, seen = tmp_path / "movie_encoders" / "random-seed1.safetensors", set()
    for _ in range(12):
        run(corpus(), {"random": pairs(1)}, CONFIG, [1])
        seen.add(path.read_bytes())
        path.unlink()
    assert len(seen) == 1
