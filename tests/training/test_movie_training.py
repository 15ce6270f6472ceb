"""E_movie for a run: what is done and unchanged is read back, what changed is trained again."""

import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.method.movie_similarity import (
    MovieTrainConfig,
    Pooling,
    load_movie_encoder,
    pair_scores,
    train_movie_encoder,
)
from m2s_lib.training import movie_training
from m2s_lib.training.movie_training import train_movie_encoders

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
def calls(monkeypatch):
    """Seeds and pair counts of the trainings that really happen."""
    made = []

    def counted(features, table, config, device):
        made.append((config.seed, len(table)))
        return train_movie_encoder(features, table, config, device)

    monkeypatch.setattr(movie_training, "train_movie_encoder", counted)
    return made


def same_model(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_each_source_and_seed_is_the_plain_training(tmp_path, calls):
    trained = train_movie_encoders(corpus(), PAIRS, CONFIG, SEEDS, tmp_path)
    assert calls == [(4, 7), (5, 7), (4, 5), (5, 5)]
    literal = train_movie_encoder(corpus(), PAIRS["random"], MovieTrainConfig(**vars(CONFIG) | {"seed": 5}))
    assert same_model(trained["random"][5].model, literal.model)
    assert trained["random"][5].log.loss.tolist() == literal.log.loss.tolist()
    assert not same_model(trained["cowatch"][4].model, trained["cowatch"][5].model)
    later = load_movie_encoder(tmp_path / "movie_encoder.safetensors")
    assert same_model(later, trained["cowatch"][4].model)


def test_what_is_done_is_read_back_and_is_the_same(tmp_path, calls):
    first = train_movie_encoders(corpus(), PAIRS, CONFIG, SEEDS, tmp_path)
    (tmp_path / "movie_encoder.safetensors").unlink()
    calls.clear()
    second = train_movie_encoders(corpus(), PAIRS, CONFIG, SEEDS, tmp_path)
    assert calls == []
    for source in PAIRS:
        for seed in SEEDS:
            a, b = first[source][seed], second[source][seed]
            assert same_model(a.model, b.model)
            assert not b.model.training
            assert a.held_out == pytest.approx(b.held_out)
            pd.testing.assert_frame_equal(a.log, b.log)
            pd.testing.assert_frame_equal(a.held_out_pairs, b.held_out_pairs, check_dtype=False)
            pd.testing.assert_frame_equal(a.roc, b.roc)
            np.testing.assert_array_equal(
                pair_scores(a.model, corpus(), PAIRS[source]), pair_scores(b.model, corpus(), PAIRS[source])
            )
    assert same_model(load_movie_encoder(tmp_path / "movie_encoder.safetensors"), first["cowatch"][4].model)


def test_nothing_held_out_is_read_back_too(tmp_path, calls):
    config = MovieTrainConfig(**vars(CONFIG) | {"held_out": 0.0})
    first = train_movie_encoders(corpus(), {"random": pairs(1)}, config, [1], tmp_path)["random"][1]
    again = train_movie_encoders(corpus(), {"random": pairs(1)}, config, [1], tmp_path)["random"][1]
    assert len(calls) == 1
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
        (corpus(), PAIRS["cowatch"], MovieTrainConfig(**vars(CONFIG) | {"lr": 0.05})),
        (corpus(), PAIRS["cowatch"], MovieTrainConfig(**vars(CONFIG) | {"pooling": Pooling(12, 2, 2, 2, 2)})),
    ],
)
def test_what_changed_is_trained_again(tmp_path, calls, features, table, config):
    train_movie_encoders(corpus(), {"cowatch": PAIRS["cowatch"]}, CONFIG, [1], tmp_path)
    again = train_movie_encoders(features, {"cowatch": table}, config, [1], tmp_path)["cowatch"][1]
    assert len(calls) == 2
    fresh = train_movie_encoder(features, table, MovieTrainConfig(**vars(config) | {"seed": 1}))
    assert same_model(again.model, fresh.model)
    kept = load_movie_encoder(tmp_path / "movie_encoders" / "cowatch-seed1.safetensors")
    assert same_model(kept, fresh.model)


def test_a_training_that_was_cut_off_before_its_last_file_is_done_again(tmp_path, calls):
    train_movie_encoders(corpus(), PAIRS, CONFIG, SEEDS, tmp_path)
    calls.clear()
    (tmp_path / "movie_encoders" / "random-seed4.json").unlink()
    train_movie_encoders(corpus(), PAIRS, CONFIG, SEEDS, tmp_path)
    assert calls == [(4, 5)]


def test_a_second_run_writes_the_same_bytes(tmp_path):
    """Bytes decide whether later stages run again; safetensors writes several metadata keys in any order."""
    seen = set()
    for _ in range(12):
        train_movie_encoders(corpus(), {"random": pairs(1)}, CONFIG, [1], tmp_path)
        seen.add((tmp_path / "movie_encoder.safetensors").read_bytes())
    assert len(seen) == 1
