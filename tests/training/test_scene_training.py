"""E_scene for a run: trained, resumed, started from weights, absent without pictures or pairs."""

import numpy as np
import pandas as pd
import pytest
import torch
from m2s_lib.training.scene_training import LOG_COLUMNS, scene_encoder_for

from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig, ScenePairs
from m2s_lib.method.weights import load_encoder
from m2s_lib.training import training
from m2s_lib.training.training import ContrastiveConfig, train_contrastive
from tests.helpers.fake_films import LearnableStore
from tests.training.test_shot_training import Stop, same, stop_at

SHAPE = SceneEncoderConfig.preset("test")
CONFIG = ContrastiveConfig(
    epochs=3, batch=4, warmup_epochs=1, queue=8, momentum=0.9, lr=1e-3, checkpoint_every_s=0
)


def stores():
    return {f"f{i}": LearnableStore(i, 8) for i in range(4)}


def table(step=1, n=2):
    rows = [(f"f{i}", f"f{(i + step) % 4}", 2 * s, 6 - 2 * s) for i in range(4) for s in range(3)]
    return pd.DataFrame(rows, columns=["film_a", "film_b", "shot_a", "shot_b"]).assign(n_shots=n)


def make(folder, pairs=None, films=None, config=CONFIG, weights=""):
    pairs = table() if pairs is None else pairs
    films = stores() if films is None else films
    return scene_encoder_for(pairs, films, SHAPE, config, weights=weights, folder=folder, device="cpu")


def test_it_is_the_plain_training_and_is_written(tmp_path):
    encoder, log = make(tmp_path)
    literal = SceneEncoder(SHAPE, seed=CONFIG.seed)
    wanted = train_contrastive(literal, ScenePairs(table(), stores()), CONFIG)
    assert list(log.columns[:6]) == LOG_COLUMNS
    assert len(log) == 9
    assert log.loss.tolist() == wanted.loss.tolist()
    assert same(encoder, literal)
    assert same(load_encoder(tmp_path / "scene_encoder.safetensors"), literal)


@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_stopped_training_goes_on_to_the_same_losses(tmp_path, monkeypatch, at):
    whole, log = make(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, at)
        with pytest.raises(Stop):
            make(tmp_path / "cut")
    assert not (tmp_path / "cut" / "scene_encoder.safetensors").exists()
    steps, literal = [], training.moco_step
    monkeypatch.setattr(training, "moco_step", lambda run, *b: (steps.append(run.step), literal(run, *b))[1])
    encoder, again = make(tmp_path / "cut")
    assert steps == list(range(at, 9))
    assert same(encoder, whole)
    pd.testing.assert_frame_equal(again.drop(columns="pairs_per_s"), log.drop(columns="pairs_per_s"))


def test_without_pictures_or_pairs_nothing_is_trained(tmp_path):
    for pairs, films in ((table(), {}), (table().iloc[:0], stores())):
        encoder, log = make(tmp_path, pairs, films)
        assert encoder is None
        assert log.empty
        assert list(log.columns[:6]) == LOG_COLUMNS
        assert (
            log.groupby("epoch")[["loss", "alignment", "uniformity"]].mean().empty
        )  # as the notebook shows it
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stopped", [False, True])
def test_as_many_other_scene_pairs_are_trained_on_anew(tmp_path, monkeypatch, stopped):
    with monkeypatch.context() as patch:
        if stopped:
            stop_at(patch, 5)
            with pytest.raises(Stop):
                make(tmp_path)
        else:
            make(tmp_path)
    encoder, log = make(tmp_path, table(step=2))
    fresh, wanted = make(tmp_path / "fresh", table(step=2))
    assert log.loss.tolist() == wanted.loss.tolist()
    assert same(encoder, fresh)


def test_scenes_of_another_length_are_trained_on_anew(tmp_path):
    make(tmp_path)
    encoder, _ = make(tmp_path, table(n=1))
    assert same(encoder, make(tmp_path / "fresh", table(n=1))[0])


def test_given_weights_are_the_start(tmp_path):
    given = SceneEncoder(SHAPE, seed=9)
    torch.save(given.backbone.state_dict(), tmp_path / "given.pt")
    start = {**vars(CONFIG), "lr": 1e-12, "weight_decay": 0.0}  # so small that nothing moves
    encoder, log = make(
        tmp_path / "run", config=ContrastiveConfig(**start), weights=str(tmp_path / "given.pt")
    )
    assert len(log) == 9
    assert np.allclose(*(_flat(e.backbone) for e in (encoder, given)), atol=1e-6)
    assert not np.allclose(*(_flat(e.backbone) for e in (SceneEncoder(SHAPE), given)), atol=1e-3)


def test_other_start_weights_are_trained_from_anew(tmp_path):
    torch.save(SceneEncoder(SHAPE, seed=9).backbone.state_dict(), tmp_path / "given.pt")
    make(tmp_path / "run")
    encoder, _ = make(tmp_path / "run", weights=str(tmp_path / "given.pt"))
    assert same(encoder, make(tmp_path / "fresh", weights=str(tmp_path / "given.pt"))[0])


def _flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()]).numpy()
