"""E_shot for a run: trained and kept as a file, given and kept as it is, resumed, absent without pictures."""

import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from m2s_lib.training.shot_training import shot_encoder_for

from m2s_lib.errors import M2SError
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig, ShotPairs
from m2s_lib.method.shot_features import encode_films, encode_shots
from m2s_lib.method.weights import load_encoder, save_encoder
from m2s_lib.training import training
from m2s_lib.training.training import ContrastiveConfig, train_contrastive
from tests.helpers.display_stores import make_store
from tests.helpers.fake_films import LearnableStore

SHAPE = ShotEncoderConfig.preset("test")
CONFIG = ContrastiveConfig(
    epochs=3, batch=8, warmup_epochs=1, queue=16, momentum=0.9, lr=1e-3, checkpoint_every_s=0
)


def stores(count=4, first=0):
    return {f"f{i}": LearnableStore(first + i, 8) for i in range(count)}


def make(folder, films=None, config=CONFIG, share=1.0, weights=""):
    return shot_encoder_for(
        films or stores(), SHAPE, config, share=share, weights=weights, folder=folder, device="cpu"
    )


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_it_is_the_plain_training_and_is_written(tmp_path):
    encoder, log = make(tmp_path)
    literal = ShotEncoder(SHAPE, seed=CONFIG.seed)
    wanted = train_contrastive(literal, ShotPairs(stores(), share=1.0, seed=CONFIG.seed), CONFIG)
    assert log.loss.tolist() == wanted.loss.tolist()
    assert same(encoder, literal)
    assert same(load_encoder(tmp_path / "shot_encoder.safetensors"), literal)
    assert not same(encoder, ShotEncoder(SHAPE, seed=CONFIG.seed))


def test_a_share_of_the_shots_are_queries(tmp_path):
    _, log = make(tmp_path, share=0.5)
    assert len(log) == CONFIG.epochs * (16 // CONFIG.batch)


def test_given_weights_are_kept_and_nothing_is_trained(tmp_path):
    given = ShotEncoder(SHAPE, seed=9)
    torch.save({n: t for n, t in given.backbone.state_dict().items()}, tmp_path / "given.pt")
    encoder, log = make(tmp_path / "run", weights=str(tmp_path / "given.pt"))
    assert log.empty
    assert same(encoder.backbone, given.backbone)
    assert same(load_encoder(tmp_path / "run" / "shot_encoder.safetensors").backbone, given.backbone)
    assert not (tmp_path / "run" / "shot_encoder.training").exists()


def test_films_without_pictures_need_no_encoder(tmp_path):
    films = {"a": make_store(tmp_path, "a", pixels=False), "b": make_store(tmp_path, "b", pixels=False)}
    encoder, log = make(tmp_path / "run", films)
    assert encoder is None
    assert log.empty
    assert not (tmp_path / "run").exists()


def test_one_film_without_pictures_among_others_is_named(tmp_path):
    films = {"a": make_store(tmp_path, "a"), "b": make_store(tmp_path, "b", pixels=False)}
    with pytest.raises(M2SError, match="1 films have features but no pixels, the first is b"):
        make(tmp_path / "run", films)


class Stop(Exception):
    pass


def stop_at(monkeypatch, step):
    """Let the process die, as far as training can tell, when it begins a step."""
    literal = training.moco_step

    def until(run, *batch):
        if run.step == step:
            raise Stop
        return literal(run, *batch)

    monkeypatch.setattr(training, "moco_step", until)


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole, log = make(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(Stop):
            make(tmp_path / "cut")
    steps = []
    literal = training.moco_step
    monkeypatch.setattr(
        training, "moco_step", lambda run, *batch: (steps.append(run.step), literal(run, *batch))[1]
    )
    encoder, again = make(tmp_path / "cut")
    assert steps[0] == 7
    assert same(encoder, whole)
    pd.testing.assert_frame_equal(again.drop(columns="pairs_per_s"), log.drop(columns="pairs_per_s"))


def test_a_finished_training_is_not_done_again(tmp_path, monkeypatch):
    first, log = make(tmp_path)
    stop_at(monkeypatch, 0)
    again, kept = make(tmp_path)
    assert same(first, again)
    assert kept.loss.tolist() == log.loss.tolist()


@pytest.mark.parametrize("stopped", [False, True])
def test_other_films_are_trained_on_anew(tmp_path, monkeypatch, stopped):
    """As many shots as before, other pictures: neither a finished nor a stopped training counts."""
    with monkeypatch.context() as patch:
        if stopped:
            stop_at(patch, 7)
            with pytest.raises(Stop):
                make(tmp_path)
        else:
            make(tmp_path)
    encoder, log = make(tmp_path, stores(first=50))
    fresh, wanted = make(tmp_path / "fresh", stores(first=50))
    assert log.loss.tolist() == wanted.loss.tolist()
    assert same(encoder, fresh)


def test_a_film_that_went_while_training_was_stopped_does_not_stop_the_run(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(Stop):
            make(tmp_path)
    encoder, _ = make(tmp_path, stores(count=3))
    assert same(encoder, make(tmp_path / "fresh", stores(count=3))[0])


@pytest.fixture
def counted(monkeypatch):
    done = []
    from m2s_lib.method import shot_features

    literal = shot_features.encode_shots
    monkeypatch.setattr(
        shot_features,
        "encode_shots",
        lambda e, store, **k: (done.append(int(store.keyframes()[0, 0, 0, 0, 0])), literal(e, store, **k))[1],
    )
    return done


def test_features_that_are_done_are_not_done_again(tmp_path, counted):
    encoder, films = ShotEncoder(SHAPE, seed=1), stores()
    assert encode_films(encoder, films, tmp_path) == 4 == len(counted)
    first = {film: np.load(tmp_path / f"{film}.npy") for film in films}
    for film, store in films.items():
        np.testing.assert_array_equal(first[film], encode_shots(encoder, store))
        np.testing.assert_allclose(np.linalg.norm(first[film], axis=1), 1, atol=1e-5)
    (tmp_path / "f2.npy").unlink()
    times = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.npy")}
    assert encode_films(encoder, films, tmp_path) == 1
    assert len(counted) == 5
    np.testing.assert_array_equal(np.load(tmp_path / "f2.npy"), first["f2"])
    assert {n: (tmp_path / n).stat().st_mtime_ns for n in times} == times


def test_other_weights_do_all_films_again(tmp_path, counted):
    films = stores()
    encode_films(ShotEncoder(SHAPE, seed=1), films, tmp_path)
    other = ShotEncoder(SHAPE, seed=2)
    (tmp_path / "gone.npy").write_bytes((tmp_path / "f0.npy").read_bytes())  # a film that is no more
    assert encode_films(other, films, tmp_path) == 4
    assert len(counted) == 8
    assert sorted(p.name for p in tmp_path.glob("*.npy")) == [f"f{i}.npy" for i in range(4)]
    for film, store in films.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{film}.npy"), encode_shots(other, store))


@pytest.mark.slow
@pytest.mark.fault
def test_a_killed_encoding_keeps_whole_files_only(tmp_path):
    """SIGKILL while the third film is encoded; what is there is whole, the rest is done by the next call."""
    code = f"""
import os, signal, sys
from m2s_lib.method import shot_features
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.shot_features import encode_films
from tests.training.test_shot_training import stores
literal, done = shot_features.encode_shots, []
def until(*a, **k):
    done.append(1)
    if len(done) == 3: os.kill(os.getpid(), {int(signal.SIGKILL)})
    return literal(*a, **k)
shot_features.encode_shots = until
encode_films(ShotEncoder(ShotEncoderConfig.preset("test"), seed=1), stores(), {str(tmp_path)!r})
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert sorted(p.name for p in tmp_path.glob("*.npy")) == ["f0.npy", "f1.npy"]
    encoder = ShotEncoder(SHAPE, seed=1)
    assert encode_films(encoder, stores(), tmp_path) == 2
    for film, store in stores().items():
        np.testing.assert_allclose(np.load(tmp_path / f"{film}.npy"), encode_shots(encoder, store), atol=1e-6)


def test_the_same_weights_are_the_same_bytes(tmp_path):
    """Bytes decide whether later stages run again; safetensors writes several metadata keys in any order."""
    encoder, seen = ShotEncoder(SHAPE, seed=3), set()
    for _ in range(12):
        save_encoder(tmp_path / "e.safetensors", encoder)
        seen.add((tmp_path / "e.safetensors").read_bytes())
    assert len(seen) == 1
