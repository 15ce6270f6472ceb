"""All encoders on boundaries: chance, what is missing, real films."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.movienet.compare import compare_boundaries, compare_open_films, compare_pictured_films
from m2s_lib.evaluation.movienet.files import MovieNet, task_name
from m2s_lib.evaluation.movienet.ovsd import read_ovsd
from m2s_lib.evaluation.movienet.scene_boundaries import LEFT_OUT
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS
from m2s_lib.evaluation.tasks import RANDOM
from m2s_lib.films.store.shot_store import ShotStore, write_shots
from tests.helpers.boundary_films import world, write_film

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


def test_missing_encoders_have_a_row_for_every_metric(boundaries):
    results = boundaries.results
    rows = results[results["encoder"] == CLIP]
    assert rows["metric"].tolist() == METRICS
    assert rows["value"].isna().all()
    assert rows["n_found"].eq(0).all()
    assert set(results["n_listed"]) == {3 * 59 - 1}  # the same boundaries for everyone
    assert CLIP not in set(boundaries.predictions["encoder"])


def test_permuted_labels_are_near_chance():
    films, embeddings, split = world(permuted=True)
    data = MovieNet(films, split, pd.DataFrame(), task_name())
    by = table_of(compare_boundaries(data, {OURS: embeddings}, epochs=40).results)["value"]
    assert by[OURS, "pooled AP"] == pytest.approx(by[RANDOM, "pooled AP"], abs=0.15)


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
    got = compare_open_films([data], name="looks", seeds=(0, 1), epochs=60, hidden=128)
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


def test_two_data_sets_are_measured_each_and_over_all_films(tmp_path):
    films, embeddings, _ = world(films=9, shots=30)
    both = [[(f, embeddings[f.film_id]) for f in part] for part in (films[:5], films[5:])]
    data = [
        read_ovsd(write_ovsd(tmp_path / n, part), n) for n, part in zip(("OVSD", "BBC"), both, strict=True)
    ]
    results = compare_open_films(data, name="looks", epochs=3, hidden=16).results
    counts = results[results["metric"] == "mean per-film AP"].groupby("benchmark", sort=False)["n"]
    assert counts.unique().map(list).to_dict() == {"OVSD": [5], "BBC": [4], "OVSD + BBC": [9]}
    by = results.set_index(["benchmark", "encoder", "metric"])["value"]
    per_film = {n: by[n, "looks", "mean per-film AP"] for n in ("OVSD", "BBC", "OVSD + BBC")}
    assert per_film["OVSD + BBC"] == pytest.approx((5 * per_film["OVSD"] + 4 * per_film["BBC"]) / 9)
    assert by["OVSD + BBC", RANDOM, "pooled AP"] < by["OVSD + BBC", "looks, untrained", "pooled AP"]
    few = compare_open_films([data[0], read_ovsd(write_ovsd(tmp_path / "few", both[1][:1]), "few")], epochs=1)
    rows = few.results[few.results["split"] == LEFT_OUT].set_index(["benchmark", "metric"])["value"]
    assert rows["few"].isna().all()  # one film leaves nothing to learn from
    assert rows["OVSD"].notna().all()


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
    got, films = compare_pictured_films(titles, stores, tmp_path / "ovsd", found)
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
    got, films = compare_pictured_films(
        {"a": "Another"}, {"a": timed_store(tmp_path, "a", 5)}, tmp_path, {OURS: {}}
    )
    assert (len(got.results), len(got.predictions), len(films)) == (0, 0, 0)
    assert tuple(got.results.columns) == RESULT_COLUMNS
