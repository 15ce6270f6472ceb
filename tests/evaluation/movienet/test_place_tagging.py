import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.movienet.place_tagging import PLACE_PROBE, describe_places, place_task, read_places
from m2s_lib.evaluation.protocol import compare
from tests.helpers.boundary_films import write_annotation


def test_scenes_and_their_places(tmp_path):
    write_annotation(
        tmp_path, "tt1", [([0, 4], ["office", "hotel", "office"]), ([4, 24], "hotel"), ([24, 25], None)]
    )
    write_annotation(
        tmp_path, "tt2", [([0, 2], ["hotel"]), ([2, 4], ["barn"]), ([3, 90], ["hotel"]), ([5, 5], ["office"])]
    )
    (tmp_path / "annotation" / "tt3.json").write_text(json.dumps({"imdb_id": "tt3", "scene": None}))
    split = {"tt1": "train", "tt2": "test", "tt3": "val", "tt4": "val"}
    places = read_places(tmp_path, split, {"tt1": 30, "tt2": 30}, min_count=2)
    assert places.classes == ["hotel", "office"]
    assert places.scenes.drop(columns=["start", "end", "split"]).to_numpy().tolist() == [
        ["tt1_0000", "tt1", 0, 4, "office|hotel"],
        ["tt1_0001", "tt1", 9, 9, "hotel"],  # the middle nine of 20 shots
        ["tt2_0000", "tt2", 0, 2, "hotel"],
        ["tt2_0003", "tt2", 5, 1, "office"],  # an empty range is one shot
    ]
    assert places.labels().tolist() == [[True, True], [True, False], [True, False], [False, True]]
    report = places.report.set_index("film_id")
    assert report.loc["tt1", ["n_scenes", "n_tagged", "n_untagged"]].tolist() == [3, 2, 1]
    assert report.loc["tt2", ["n_scenes", "n_tagged", "n_rare", "n_outside"]].tolist() == [4, 2, 1, 1]
    assert report["status"].tolist() == ["ok", "ok", "ok", "failed"]
    assert "tt4.json is missing" in report.loc["tt4", "reason"]
    text = describe_places(places)
    assert text.startswith("4 tagged scenes (2 train, 0 val, 2 test); 2 of 2 classes have a test scene")
    assert "1 of rare places, 1 beyond their film" in text


def test_scenes_that_cannot_be_understood_are_counted(tmp_path):
    odd = [
        (["a", 4], ["hotel"]),
        ([4, 2], ["hotel"]),
        ([0, 4], 7),
        (None, ["hotel"]),
        ([0, 4], ["hotel"]),
        ([0, 4], [" "]),
    ]
    write_annotation(tmp_path, "tt1", odd)
    places = read_places(tmp_path / "annotation", {"tt1": "train"}, min_count=1)
    row = places.report.iloc[0]
    assert (row["n_bad"], row["n_tagged"], row["n_untagged"]) == (4, 1, 1)


def test_nothing_to_read_is_said(tmp_path):
    write_annotation(tmp_path, "tt1", [([0, 4], ["hotel"])])
    rare, absent = read_places(tmp_path, {"tt1": "train"}), read_places(tmp_path, {"tt9": "train"})
    assert "is named 25 times; the most frequent is 'hotel', 1 times: lower min_count" in rare.note
    assert "no tagged scene of the 1 films" in absent.note
    assert "tt9.json is missing" in describe_places(absent)
    for places in (rare, absent, read_places(tmp_path, {})):
        assert len(compare([place_task(places)], {}, []).results) == 0


@pytest.fixture
def tagged(tmp_path):
    """Scenes whose embedding shows their places; the place "moon" is in no test film."""
    rng = np.random.default_rng(0)
    names, rows = ["airport", "hotel", "moon", "office"], []
    split = {f"tt{i}": ("train", "train", "val", "test")[i % 4] for i in range(16)}
    for film, part in split.items():
        scenes = []
        for i in range(30):
            hot = rng.random(4) < 0.35
            hot[2] &= part != "test"
            hot[1] |= not hot.any()
            rows.append(hot)
            scenes.append(([i, i + 1], [n for n, on in zip(names, hot, strict=True) if on]))
        write_annotation(tmp_path, film, scenes)
    x = np.array(rows) @ rng.standard_normal((4, 12)) + 0.2 * rng.standard_normal((len(rows), 12))
    return read_places(tmp_path, split, min_count=5), x.astype(np.float32)


QUICK = {"hidden": 16, "lr": 1.0, "batch": 32, "epochs": 25, "dropout": 0.0}


def test_map_is_the_mean_over_classes_with_a_test_scene(tagged):
    places, x = tagged
    task, items = place_task(places), places.scenes["item"]
    shuffled = Vectors("noise", np.random.default_rng(1).permutation(x))
    got = compare([task], {"looks": Vectors("looks", x), "noise": shuffled}, items, **QUICK)
    results = got.results[got.results["encoder"] == "looks"].set_index("metric")
    value, mean = results["value"], got.results[got.results["metric"] == "mAP"].set_index("encoder")["value"]
    hot = places.labels()[(places.scenes["split"] == "test").to_numpy()]
    mine = got.predictions[(got.predictions["encoder"] == "looks") & (got.predictions["split"] == "test")]
    scores = np.stack(mine["scores"])
    each = [average_precision_score(hot[:, c], scores[:, c]) for c in (0, 1, 3)]
    assert value["mAP"] == pytest.approx(np.mean(each))
    assert value["mAP"] > 0.9
    assert results.loc["classes", ["value", "n"]].tolist() == [3, 4]
    assert np.isnan(value["AP moon"])
    assert results.loc["AP moon", "n"] == 0
    assert (mine["label"] == mine["prediction"]).mean() > 0.6
    assert hot[:, [0, 1, 3]].mean() < mean["random scores"] < mean["looks"]
    assert abs(mean["noise"] - mean["random scores"]) < 0.1


def test_the_defaults_are_the_papers():
    probe = (PLACE_PROBE.lr, PLACE_PROBE.dropout, PLACE_PROBE.epochs, PLACE_PROBE.batch)
    assert probe == (5.0, 0.25, 200, 512)
    assert (PLACE_PROBE.hidden, PLACE_PROBE.layers, PLACE_PROBE.loss) == (512, 2, "bce")
