"""All encoders on boundaries and places: chance, what is missing, OVSD, which boundaries the figure shows."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.movienet.compare import (
    boundary_examples,
    compare_boundaries,
    compare_places,
    ovsd_pictures,
    ovsd_ready_features,
)
from m2s_lib.evaluation.movienet.files import MovieNet, task_name
from m2s_lib.evaluation.movienet.ovsd import read_ovsd
from m2s_lib.evaluation.movienet.place_tagging import TASK, PlaceScenes, read_places
from m2s_lib.evaluation.movienet.scene_boundaries import LEFT_OUT, RANDOM
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS, prediction_table
from m2s_lib.films.store.shot_store import ShotStore, write_shots
from tests.evaluation.movienet.test_ovsd import write_film
from tests.evaluation.movienet.test_place_tagging import write_annotation
from tests.evaluation.movienet.test_scene_boundaries import world
from tests.helpers.fake_films import FakeStore

OURS, NOISE, CLIP = "ours (co-watch)", "noise", "CLIP ViT-B/16"
METRICS = ["pooled AP", "mean per-film AP", "mIoU", "recall@3s"]


def table_of(results, split="test"):
    return results[results["split"] == split].set_index(["encoder", "metric"])


@pytest.fixture(scope="module")
def labels():
    """Nine films, whose scenes have looks of their own; one shot of a test film has no label."""
    films, embeddings, split = world()
    films[0].labels[7] = -1
    return MovieNet(films, split, pd.DataFrame(), task_name("same")), embeddings


@pytest.fixture(scope="module")
def boundaries(labels):
    data, embeddings = labels
    rng = np.random.default_rng(5)
    noise = {f: rng.standard_normal(x.shape).astype(np.float32) for f, x in embeddings.items()}
    found = {OURS: embeddings, CLIP: Missing(CLIP, "no weights"), NOISE: noise}
    return compare_boundaries(data, found, seeds=(0, 1), epochs=40, threshold="val")


def test_boundaries_of_every_encoder_beside_chance(labels, boundaries):
    results = boundaries.results
    assert tuple(results.columns) == RESULT_COLUMNS
    assert tuple(boundaries.predictions.columns) == PREDICTION_COLUMNS
    assert pd.unique(results["encoder"]).tolist() == [RANDOM, OURS, CLIP, NOISE]
    assert set(results["task"]) == {"scene boundaries (uncertain = same scene)"}
    assert set(results["benchmark"]) == {"MovieNet"}
    by = results[results["seed"] == 0].set_index(["encoder", "metric"])
    chance = by.loc[(RANDOM, "pooled AP"), "value"]
    assert by.loc[(OURS, "pooled AP"), "value"] > 0.9
    assert by.loc[(OURS, "mean per-film AP"), "value"] > 0.9
    assert by.loc[(OURS, "mIoU"), "value"] > 0.8
    assert by.loc[(NOISE, "pooled AP"), "value"] == pytest.approx(chance, abs=0.15)
    films = labels[0].films
    tested = [f.film_id for f in films if labels[0].split[f.film_id] == "test"]
    assert set(boundaries.predictions["item"].str.split(":").str[0]) == set(tested)


def test_missing_encoders_have_a_row_for_every_metric_and_seed(boundaries):
    results = boundaries.results
    rows = results[results["encoder"] == CLIP]
    assert rows["metric"].tolist() == METRICS * 2
    assert rows["seed"].tolist() == [0] * 4 + [1] * 4
    assert rows["value"].isna().all()
    assert rows["n_found"].eq(0).all()
    assert set(results["n_listed"]) == {3 * 59 - 1}  # the same boundaries for everyone
    assert CLIP not in set(boundaries.predictions["encoder"])


def test_permuted_labels_are_near_chance():
    films, embeddings, split = world(permuted=True)
    data = MovieNet(films, split, pd.DataFrame(), task_name())
    by = table_of(compare_boundaries(data, {OURS: embeddings}, epochs=40).results)["value"]
    assert by[OURS, "pooled AP"] == pytest.approx(by[RANDOM, "pooled AP"], abs=0.15)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Scenes of 16 films with one place each, and embeddings that show it."""
    folder, rng = tmp_path_factory.mktemp("movienet"), np.random.default_rng(0)
    names = ["airport", "hotel", "office"]
    split = {f"tt{i:02d}": ("train", "train", "val", "test")[i % 4] for i in range(16)}
    for film in split:
        write_annotation(folder, film, [([i, i + 1], names[rng.integers(3)]) for i in range(20)])
    data = read_places(folder, split, min_count=5)
    x = data.labels() @ rng.standard_normal((3, 12)) + 0.2 * rng.standard_normal((320, 12))
    return data, x.astype(np.float32)


def test_places_of_every_encoder_beside_chance(places):
    data, x = places
    gone = x.copy()
    gone[np.flatnonzero(data.scenes["split"] == "test")[:5]] = np.nan
    shuffled = np.random.default_rng(1).permutation(x)
    found = {
        OURS: Vectors(OURS, x),
        CLIP: Missing(CLIP, "no weights"),
        NOISE: Vectors(NOISE, shuffled),
        "gaps": Vectors("gaps", gone),
    }
    got = compare_places(data, found, seeds=(0, 1), epochs=30)
    assert tuple(got.results.columns) == RESULT_COLUMNS
    assert tuple(got.predictions.columns) == PREDICTION_COLUMNS
    assert pd.unique(got.results["encoder"]).tolist() == ["random scores", OURS, CLIP, NOISE, "gaps"]
    rows = got.results[got.results["metric"] == "mAP"]
    assert rows.groupby("encoder").size().to_dict() == {
        "random scores": 1,
        OURS: 2,
        CLIP: 2,
        NOISE: 2,
        "gaps": 2,
    }
    by = rows[rows["seed"] == 0].set_index("encoder")
    assert by.loc[OURS, "value"] > 0.95
    assert by.loc[NOISE, "value"] == pytest.approx(by.loc["random scores", "value"], abs=0.15)
    assert np.isnan(by.loc[CLIP, "value"])
    assert by["n_listed"].eq(80).all()
    assert by["n_found"].to_dict() == {"random scores": 80, OURS: 80, CLIP: 0, NOISE: 80, "gaps": 75}
    assert set(got.predictions["encoder"]) == {OURS, NOISE, "gaps"}


def write_ovsd(folder, films):
    """Films in OVSD's layout, ten frames a shot, from labelled films and their embeddings."""
    for film, x in films:
        shots = [(10 * i, 10 * i + 9) for i in range(film.n_shots)]
        starts = [0, *(10 * (i + 1) for i in np.flatnonzero(film.labels[:-1] == 1))]
        ends = [*(s - 1 for s in starts[1:]), 10 * film.n_shots - 1]
        write_film(folder / film.film_id, shots, zip(starts, ends, strict=True), x)
    return folder


def test_ready_features_untrained_and_with_one_film_left_out(tmp_path):
    films, embeddings, _ = world(films=5, shots=40)
    data = read_ovsd(write_ovsd(tmp_path, [(f, embeddings[f.film_id]) for f in films]))
    got = ovsd_ready_features(data, name="looks", seeds=(0, 1), epochs=60, hidden=128)
    results = got.results
    assert tuple(results.columns) == RESULT_COLUMNS
    assert pd.unique(results["encoder"]).tolist() == [RANDOM, "looks, untrained", "looks"]
    assert set(results["benchmark"]) == {"OVSD"}
    assert results.groupby("split", sort=False)["encoder"].unique().map(list).to_dict() == {
        "all films": [RANDOM, "looks, untrained"],
        LEFT_OUT: ["looks"],
    }
    by = table_of(results, "all films")["value"]
    chance = by[RANDOM, "mean per-film AP"]
    assert by["looks, untrained", "mean per-film AP"] > chance + 0.3
    trained = results[(results["encoder"] == "looks") & (results["metric"] == "mean per-film AP")]
    assert trained["seed"].tolist() == [0, 1]
    assert (trained["value"] > chance + 0.25).all()
    assert trained["n"].tolist() == [5, 5]
    assert len(got.predictions) == 3 * 5 * 39


def timed_store(folder, name, n, seconds=1.0):
    """A film without pictures: n shots of so many seconds, 24 frames a second."""
    start = np.arange(n) * round(24 * seconds)
    shots = pd.DataFrame(
        {"shot": range(n), "start_frame": start, "end_frame": start + round(24 * seconds) - 1}
    )
    shots = shots.assign(start_s=start / 24, end_s=start / 24 + seconds)
    return ShotStore(write_shots(folder / f"{name}.arrow", shots, None, aspect=1.0, fps=24.0, source="video"))


def test_films_as_pictures_by_every_encoder_untrained(tmp_path):
    write_film(tmp_path / "ovsd/01", [(0, 9)], [(0, 23), (24 * 3, 24 * 5), (24 * 8, 24 * 10)])
    (tmp_path / "ovsd/01/name.txt").write_text("Big Buck")
    stores = {f: timed_store(tmp_path, f, n) for f, n in (("a", 12), ("other", 9), ("short", 1))}
    titles = {"a": "Big Buck (2008)", "other": "Not in it", "short": "Big Buck, one shot", "c": "Big Buck II"}
    looks = np.repeat(np.eye(3, dtype=np.float32), (3, 5, 4), axis=0)  # scenes of 3, 5 and 4 shots
    noise = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
    found = {OURS: {"a": looks}, NOISE: {"a": noise}, CLIP: Missing(CLIP, "no weights"), "BaSSL": {}}
    got, films = ovsd_pictures(titles, stores, tmp_path / "ovsd", found)
    assert films.to_dict("records") == [
        {"film_id": "a", "title": "Big Buck (2008)", "n_shots": 12, "n_scenes": 3, "n_boundaries": 2,
         "n_merged": 0, "n_far": 0}
    ]  # fmt: skip
    assert set(got.results["task"]) == {"scene boundaries, own shots"}
    by = table_of(got.results, "all films")
    assert by.loc[(f"{OURS}, untrained", "pooled AP"), "value"] == pytest.approx(1)
    assert by.loc[(f"{NOISE}, untrained", "pooled AP"), "value"] < 1
    for name in (CLIP, "BaSSL"):  # without weights, and with features of other films only
        assert np.isnan(by.loc[(f"{name}, untrained", "pooled AP"), "value"])
        assert by.loc[(f"{name}, untrained", "pooled AP"), ["n_found", "n_listed"]].tolist() == [0, 11]
    assert set(got.predictions["encoder"]) == {f"{OURS}, untrained", f"{NOISE}, untrained"}


def test_no_film_of_ovsd_as_pictures_is_no_row(tmp_path):
    write_film(tmp_path / "01", [(0, 9)], [(0, 9)])
    got, films = ovsd_pictures({"a": "Another"}, {"a": timed_store(tmp_path, "a", 5)}, tmp_path, {OURS: {}})
    assert (len(got.results), len(got.predictions), len(films)) == (0, 0, 0)
    assert tuple(got.results.columns) == RESULT_COLUMNS


TASK_NAME = task_name()
SCORED = [  # film, the shot before, label, score
    ("a", 0, 1, 0.99),  # too near to the film's beginning to be drawn
    ("a", 5, 1, 0.9),
    ("a", 8, 0, 0.8),
    ("a", 11, 1, 0.1),
    ("b", 4, 1, 0.7),
    ("b", 7, 0, 0.6),
    ("b", 9, 1, 0.2),
    ("b", 17, 0, 0.95),  # too near to its end
    ("c", 6, 0, 0.3),
    ("gone", 6, 1, 0.97),  # has no pictures
]


@pytest.fixture
def predicted():
    tables = []
    for seed in (3, 2):
        for name in ("colour", "ours"):
            rows = SCORED if (seed, name) == (2, "ours") else [(f, s, 1 - y, p) for f, s, y, p in SCORED]
            items, y = [f"{f}:{s:04d}" for f, s, *_ in rows], [r[2] for r in rows]
            scores = np.array([[r[3]] for r in rows])
            said = [int(r[3] > 0.5) for r in rows]
            about = ("MovieNet", TASK_NAME, "test", name, seed)
            tables.append(prediction_table(*about, items, y, said, scores))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def films():
    return {"a": FakeStore(1, 20), "b": FakeStore(2, 20), "c": FakeStore(3, 20)}


def test_the_surest_right_false_and_missed_in_turn_of_different_films(predicted, films):
    rows = boundary_examples(predicted, films, TASK_NAME, "ours", n=3, around=4)
    where = list(zip(rows["film_id"], rows["after"], strict=True))
    # the surest right one; the surest false alarm of another film than a; of a third film none is missed, so
    # the most surely missed of all
    assert where == [("a", 5), ("b", 7), ("a", 11)]
    assert rows[["label", "prediction"]].to_numpy().tolist() == [[1, 1], [0, 1], [1, 0]]
    assert rows["score"].tolist() == pytest.approx([0.9, 0.6, 0.1])
    assert rows["shot"].tolist() == [2, 4, 8]  # four shots before the line, four behind it
    assert rows["boundary"].eq(4).all()
    assert rows["n_shots"].eq(8).all()
    assert rows["scenes"].tolist() == ["", "", ""]


def test_no_boundary_is_shown_twice_and_none_beyond_a_film(predicted, films):
    rows = boundary_examples(predicted, films, TASK_NAME, "ours", n=20, around=4)
    where = list(zip(rows["film_id"], rows["after"], strict=True))
    assert len(set(where)) == len(where)
    assert set(where) == {(f, s) for f, s, *_ in SCORED} - {("a", 0), ("b", 17), ("gone", 6)}
    assert (rows["shot"] >= 0).all()
    assert (rows["shot"] + rows["n_shots"] <= 20).all()
    near = boundary_examples(predicted, films, TASK_NAME, "ours", n=1, around=1)
    assert near[["film_id", "after", "shot", "n_shots"]].to_numpy().tolist() == [["a", 0, 0, 2]]
    assert len(boundary_examples(predicted, films, TASK_NAME, "ours", around=11)) == 0


def test_an_encoder_without_predictions_says_so(predicted, films):
    with pytest.raises(
        M2SError, match="no predictions of 'CLIP' for 'scene boundaries': it was not measured"
    ):
        boundary_examples(predicted, films, TASK_NAME, "CLIP")
    with pytest.raises(M2SError, match="for 'other task'"):
        boundary_examples(predicted, films, "other task", "ours")


@pytest.fixture
def tagged(tmp_path) -> PlaceScenes:
    """a: scenes 0..5, 6..11 (not tagged), 12..; b: 0..15 (of which the encoder sees the middle nine), 16.."""
    write_annotation(tmp_path, "a", [([0, 6], "hotel"), ([6, 12], None), ([12, 20], ["office", "airport"])])
    write_annotation(tmp_path, "b", [([0, 16], "office"), ([16, 20], "hotel")])
    write_annotation(tmp_path, "c", [([0, 7], "hotel"), ([7, 20], "office")])
    return read_places(tmp_path, dict.fromkeys("abc", "test"), min_count=1)


def test_places_on_both_sides_are_those_of_the_scenes_that_meet_there(predicted, films, tagged):
    said = {"a_0000": "hotel", "a_0002": "office", "b_0000": "airport|office", "c_0000": "office"}
    about = ("MovieNet", TASK, "test", "ours")
    tagging = pd.concat(
        [prediction_table(*about, seed, list(said), list(said), names, np.zeros((4, 3)))
         for seed, names in ((1, ["no"] * 4), (0, list(said.values())))],
    )  # fmt: skip
    rows = boundary_examples(predicted, films, TASK_NAME, "ours", tagged, tagging, n=20)
    got = {(r.film_id, r.after): r.scenes for r in rows.itertuples()}
    assert got["a", 5] == ""  # the scene that follows has no tag
    assert got["a", 8] == ""
    assert got["a", 11] == ""
    inside = "office (predicted airport, office)"
    for after in (4, 7, 9):  # inside one scene, also where the encoder does not look
        assert got["b", after] == f"place: {inside} | {inside}"
    assert got["c", 6] == "place: hotel (predicted office) | office (predicted -)"
    alone = boundary_examples(predicted, films, TASK_NAME, "ours", tagged, n=20).set_index(
        ["film_id", "after"]
    )
    assert alone.loc[("c", 6), "scenes"] == "place: hotel (predicted -) | office (predicted -)"


def test_a_scenes_places_are_named_one_after_the_other(predicted, films, tmp_path):
    write_annotation(tmp_path, "a", [([0, 6], ["hotel", "office"]), ([6, 20], ["airport", "hotel"])])
    both = read_places(tmp_path, {"a": "test"}, min_count=1)
    rows = boundary_examples(predicted, films, TASK_NAME, "ours", both, n=1)
    assert rows["scenes"].tolist() == ["place: hotel, office (predicted -) | airport, hotel (predicted -)"]
