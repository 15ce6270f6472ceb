"""Shot features: written once, done again for other weights, whole after a kill."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.shot_features import encode_films, encode_shots
from m2s_lib.method.weights import save_encoder
from tests.helpers.fake_films import LearnableStore

SHAPE = ShotEncoderConfig.preset("test")


def stores():
    return {f"f{i}": LearnableStore(i, 8) for i in range(4)}


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
from tests.method.test_shot_features import stores
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
