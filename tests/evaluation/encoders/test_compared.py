"""Which encoders a run compares: ours and what it learned from first, what is absent said, not lost."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.compared import (
    SHOT_MEAN,
    by_item,
    compared_encoders,
    our_name,
    shown_encoder,
    train_compared,
)
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.encoders import OurSceneEncoder, RandomInit, ShotMeanEncoder
from m2s_lib.evaluation.scene_vectors import scene_vectors
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.weights import save_encoder
from m2s_lib.training.config import ContrastiveConfig
from tests.helpers.fake_films import FakeStore, LearnableStore

TINY = SceneEncoderConfig.preset("test", out_dim=16)
QUICK = ContrastiveConfig(epochs=2, batch=8, lr=1e-3, warmup_epochs=1, queue=16, checkpoint_every_s=60)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A run after stage 04: files of E_shot, E_scene and no baseline."""
    run = tmp_path_factory.mktemp("run")
    save_encoder(run / "04_moco_training/scene_encoder.safetensors", SceneEncoder(TINY, seed=3))
    shot = ShotEncoder(ShotEncoderConfig.preset("test", out_dim=24), seed=4)
    save_encoder(run / "01_shot_encoding/shot_encoder.safetensors", shot)
    (run / "04_moco_training/comparators").mkdir()
    return run


def test_ours_comes_first_then_what_it_learned_from_then_the_names(weights):
    encoders, sources = compared_encoders(
        compared=["random init", "X3D-L"],
        source="cowatch",
        scene_encoder=weights / "04_moco_training/scene_encoder.safetensors",
        shot_encoder=weights / "01_shot_encoding/shot_encoder.safetensors",
        weights_dir="my weights",
        hub=True,
        device="cpu",
    )
    ours, mean, *names = encoders
    assert isinstance(ours, OurSceneEncoder)
    assert ours.name == "ours (co-watch)"
    assert isinstance(mean, ShotMeanEncoder)
    assert (mean.name, mean.dim) == (SHOT_MEAN, 24)
    assert names == ["random init", "X3D-L"]
    assert sources.scene_config == TINY
    assert (sources.weights_dir, sources.online) == ("my weights", True)
    scenes = pd.DataFrame({"item": ["s"], "film_id": ["a"], "shot": [0], "n_shots": [3]})
    found = scene_vectors(encoders, scenes, {"a": FakeStore(1, 4, side=32)}, "lvu", sources)
    assert found["random init"].values.shape == found["ours (co-watch)"].values.shape  # the same shape


def test_where_nothing_was_trained_the_baselines_remain():
    encoders, sources = compared_encoders(
        compared=["colour"], source="genre", scene_encoder=None, shot_encoder=None
    )
    assert encoders == ["colour"]
    assert sources.scene_config == SceneEncoderConfig()
    assert shown_encoder(encoders) == "colour"
    assert shown_encoder([]) == ""


def test_a_file_of_another_encoder_is_refused(weights):
    files = {
        k: weights / "01_shot_encoding/shot_encoder.safetensors" for k in ("scene_encoder", "shot_encoder")
    }
    with pytest.raises(M2SError, match="holds a ShotEncoder, expected a scene encoder"):
        compared_encoders(compared=[], source="genre", **files)


@pytest.mark.parametrize(
    ("source", "name"),
    [("cowatch", "ours (co-watch)"), ("synopsis", "ours (synopsis)"), ("random", "ours (random)")],
)
def test_our_name_says_where_the_pairs_came_from(source, name):
    assert our_name(source) == name
    assert shown_encoder(["colour", RandomInit(TINY), name, SHOT_MEAN]) == name


def test_only_what_is_compared_and_trained_here_is_trained(tmp_path):
    stores = {f"f{i}": LearnableStore(i, 8) for i in range(2)}
    log = train_compared(["colour", "ShotCoL", "MoCo", "BaSSL"], stores, TINY, QUICK, tmp_path)
    assert pd.unique(log["encoder"]).tolist() == ["ShotCoL", "MoCo"]
    assert np.isfinite(log["loss"]).all()
    assert log.index.tolist() == list(range(len(log)))
    assert sorted(p.stem for p in tmp_path.glob("*.safetensors")) == ["moco", "shotcol"]
    for compared, films in ((["colour"], stores), (["SimCLR"], {})):
        nothing = train_compared(compared, films, TINY, QUICK, tmp_path / "none")
        assert len(nothing) == 0
        assert {"encoder", "epoch", "loss"} <= set(nothing.columns)
    assert not (tmp_path / "none").exists()


def test_vectors_of_one_item_are_put_together_and_gaps_left_out():
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    values[3, 1] = np.nan
    items = pd.Series(["b", "a", "b", "c", "a"], index=[7, 7, 0, 1, 2])  # rows of a table that was cut
    got = by_item(Vectors("E", values, ("c",)), items)
    assert {k: v.tolist() for k, v in got.items()} == {"b": [[0, 1], [4, 5]], "a": [[2, 3], [8, 9]]}
    assert list(got) == ["b", "a"]
    assert by_item(Vectors("E", np.full((1, 2), np.nan), ("a",)), ["a"]) == {}
