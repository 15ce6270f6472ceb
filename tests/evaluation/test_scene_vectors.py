import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.encoders import ColourEncoder, OurSceneEncoder, embed_scenes, shot_embeddings
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.scene_vectors import (
    Sources,
    scene_vectors,
    shot_item,
    shot_sequences,
    shot_vectors,
)
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from tests.evaluation.encoders.test_encoders import noise_store

TINY = SceneEncoderConfig.preset("test")


def test_scenes_by_every_kind_of_encoder(tmp_path):
    stores = {"a": noise_store(1, 6), "b": noise_store(2, 5)}
    scenes = pd.DataFrame(
        {"item": ["s0", "s1", "s2"], "film_id": ["a", "gone", "b"], "shot": [0, 0, 1], "n_shots": 3}
    )
    (tmp_path / "bridgeformer").mkdir()
    np.savez(tmp_path / "bridgeformer" / "lvu.npz", items=np.array(["s2", "s0"]), features=np.eye(2, 5))
    sources = Sources(weights_dir=tmp_path, features_dir=tmp_path, scene_config=TINY)
    ours = OurSceneEncoder(SceneEncoder(TINY, seed=1))
    names = [ours, "colour", "random init", "X3D-L", "BridgeFormer", "BaSSL"]
    found = scene_vectors(names, scenes, stores, "lvu", sources)
    assert list(found) == ["ours", "colour", "random init", "X3D-L", "BridgeFormer", "BaSSL"]
    assert [type(v) for v in found.values()] == [Vectors, Vectors, Vectors, Missing, Vectors, Missing]
    for name in ("ours", "colour", "random init"):
        assert found[name].missing == ("s1",)
        assert found[name].found.tolist() == [True, False, True]
    np.testing.assert_array_equal(
        found["colour"].values[[0, 2]], embed_scenes(ColourEncoder(), stores, scenes.iloc[[0, 2]])
    )
    assert found["BridgeFormer"].missing == ("s1",)
    assert not np.allclose(found["ours"].values[0], found["random init"].values[0])
    with pytest.raises(M2SError, match="'colour' is asked for twice"):
        scene_vectors(["colour", "colour"], scenes, stores, "lvu", sources)


def test_shots_by_every_kind_of_encoder(tmp_path):
    stores, films = {"a": noise_store(1, 6)}, {"a": 6, "b": 2, "c": 3}
    items = [shot_item(f, s) for f, n in (("a", 6), ("b", 2), ("c", 2)) for s in range(n)]
    (tmp_path / "lgss").mkdir()
    np.savez(tmp_path / "lgss" / "movienet.npz", items=np.array(items), features=np.ones((10, 4)))
    found = shot_vectors(["colour", "LGSS", "I3D"], stores, films, "movienet", Sources(features_dir=tmp_path))
    assert {f: x.shape for f, x in found["colour"].items()} == {"a": (6, 64)}
    assert {f: x.shape for f, x in found["LGSS"].items()} == {"a": (6, 4), "b": (2, 4)}  # c is not complete
    assert isinstance(found["I3D"], Missing)
    assert shot_item("tt1", 7) == "tt1:0007"


def test_sequences_are_the_shots_of_an_items_scenes_one_after_the_other():
    stores = {"a": noise_store(1, 6), "b": noise_store(2, 5)}
    rows = [("t", "b", 1, 2), ("s", "a", 0, 3), ("gone", "c", 0, 4), ("s", "a", 3, 2), ("s", "b", 0, 2)]
    scenes = pd.DataFrame(rows, columns=["item", "film_id", "shot", "n_shots"])
    every = shot_embeddings(ColourEncoder(), stores)
    got = shot_sequences(ColourEncoder(), scenes, stores, Sources(batch=1))
    assert list(got) == ["t", "s"]
    np.testing.assert_array_equal(got["t"], every["b"][1:3])
    np.testing.assert_array_equal(got["s"], np.concatenate([every["a"][:5], every["b"][:2]]))
    assert got["s"].dtype == np.float32
    twice = scenes.set_axis([0, 1, 0, 1, 0])  # the index of tables that were put together
    again = shot_sequences(ColourEncoder(), twice, stores, Sources())
    np.testing.assert_array_equal(again["s"], got["s"])
    assert shot_sequences(ColourEncoder(), scenes[2:3], stores, Sources()) == {}


def test_overlapping_scenes_of_an_item_keep_their_own_shots():
    stores = {"a": noise_store(1, 6)}
    scenes = pd.DataFrame({"item": "s", "film_id": "a", "shot": [0, 0, 2], "n_shots": [3, 2, 3]})
    got = shot_sequences(ColourEncoder(), scenes, stores, Sources())["s"]
    np.testing.assert_array_equal(
        got, shot_embeddings(ColourEncoder(), stores)["a"][[0, 1, 2, 0, 1, 2, 3, 4]]
    )
