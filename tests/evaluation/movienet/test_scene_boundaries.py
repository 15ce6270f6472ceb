"""Scene boundaries on made-up films: rows, folds, counts, chance, what cannot be measured."""

import numpy as np
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.movienet.scene_boundaries import (
    METRICS,
    SBD_PROBE,
    About,
    chance_rows,
    evaluate_boundaries,
    evaluate_untrained,
    film_scores,
    leave_one_film_out,
    look_change,
)
from m2s_lib.evaluation.movienet.shot_windows import ShotWindows
from m2s_lib.evaluation.probes.probes import ProbeConfig
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS
from tests.helpers.boundary_films import make_film, world

QUICK = ProbeConfig(loss="bce", hidden=16, lr=0.3, batch=32, epochs=12, dropout=0.2)
LOOKS = About("MovieNet", "looks")


def value(results, metric):
    return results.set_index("metric")["value"][metric]


def evaluated(world, **how):
    return evaluate_boundaries(*world, LOOKS, config=QUICK, **how)


def test_results_and_predictions_follow_the_contract():
    got = evaluated(world(), seeds=(4,))
    results, predictions = got.results, got.predictions
    assert tuple(results.columns) == RESULT_COLUMNS
    assert tuple(results["metric"]) == METRICS
    assert set(results["seed"]) == {4}
    assert results["n"].tolist() == [3 * 59, 3, 3, 3]
    assert set(results["n_found"]) == set(results["n_listed"]) == {177}
    assert value(results, "pooled AP") > 0.9
    assert value(results, "mIoU") > 0.6
    assert (results["ci_low"] <= results["value"]).all()
    assert (results["value"] <= results["ci_high"]).all()
    assert tuple(predictions.columns) == PREDICTION_COLUMNS
    assert len(predictions) == 177
    assert predictions["item"].iloc[0] == "f0:0000"
    assert predictions["prediction"].tolist() == [str(int(s[0] > 0.5)) for s in predictions["scores"]]


def test_training_never_sees_the_test_films():
    """What the test films look like, and their labels, changes no score of the other folds."""
    films, embeddings, split = world(films=6)
    other = [make_film(f.film_id, 1 - f.labels) if split[f.film_id] == "test" else f for f in films]
    scores = [
        np.stack(evaluate_boundaries(f, embeddings, split, LOOKS, config=QUICK).predictions["scores"])
        for f in (films, other)
    ]
    np.testing.assert_array_equal(*scores)
    changed = [make_film("f0", 1 - films[0].labels), *films[1:]]
    folds = [
        leave_one_film_out(f, embeddings, LOOKS, config=QUICK, threshold=0.5)[0].predictions
        for f in (films, changed)
    ]
    mine = [np.stack(p["scores"][p["item"].str.startswith("f0:")]) for p in folds]
    np.testing.assert_array_equal(*mine)
    others = [np.stack(p["scores"][p["item"].str.startswith("f2:")]) for p in folds]
    assert not np.array_equal(*others)


def test_the_seed_matters_and_nothing_else():
    first, again, other = (value(evaluated(world(), seeds=(s,)).results, "pooled AP") for s in (0, 0, 1))
    assert first == again != other


def test_permuted_labels_give_chance():
    films, embeddings, split = world(films=12, shots=120, permuted=True)
    results = evaluated((films, embeddings, split)).results
    chance = chance_rows([f for f in films if split[f.film_id] == "test"], LOOKS)
    assert abs(value(results, "pooled AP") - value(chance, "pooled AP")) < 0.1
    assert value(chance, "positive rate") < value(chance, "pooled AP") < value(chance, "mean per-film AP")


def test_leaving_one_film_out_tests_every_film_once():
    films, embeddings, _ = world(films=6)
    got, by_seed = leave_one_film_out(films, embeddings, LOOKS, config=QUICK, seeds=(0, 1))
    assert set(got.results["split"]) == {"leave one film out"}
    assert got.results["seed"].tolist() == [0] * 4 + [1] * 4
    assert value(got.results[:4], "mean per-film AP") > 0.8
    assert got.predictions["item"].nunique() == len(got.predictions) / 2 == 6 * 59
    assert [len(scored.films) for scored in by_seed] == [6, 6]
    few, nothing = leave_one_film_out(films[:3], embeddings, LOOKS, config=QUICK)
    assert few.results["value"].isna().all()
    assert few.results["n_listed"].eq(3 * 59).all()
    assert nothing == []


def test_missing_and_short_films_are_counted():
    films, embeddings, split = world()
    del embeddings["f0"]
    embeddings["f3"] = embeddings["f3"][:50]
    results = evaluated((films, embeddings, split)).results
    assert set(results["n_listed"]) == {177}
    assert set(results["n_found"]) == {177 - 59 - 10}


def test_what_cannot_be_evaluated_is_not_measured():
    films, embeddings, split = world()
    untested = {f: "train" if s == "test" else s for f, s in split.items()}
    same = [make_film(f.film_id, np.zeros(60)) for f in films]
    for given in ((films, embeddings, untested), (same, embeddings, split), ([], {}, {}), (films, {}, split)):
        got = evaluated(given)
        assert got.results["value"].isna().all()
        assert tuple(got.results["metric"]) == METRICS
        assert len(got.predictions) == 0
    with pytest.raises(M2SError, match="threshold 'best' is unknown"):
        evaluated((films, embeddings, split), threshold="best")
    windows = ShotWindows(films, embeddings)
    with pytest.raises(M2SError, match="expected one finite score for each"):
        film_scores(windows, np.full(len(windows), np.nan))


def test_validation_without_a_boundary_and_constant_features_are_fine():
    films, embeddings, split = world()
    films = [make_film(f.film_id, 0 * f.labels) if split[f.film_id] == "val" else f for f in films]
    embeddings = {f: np.c_[x, np.full(len(x), 3.0)].astype(np.float32) for f, x in embeddings.items()}
    assert value(evaluated((films, embeddings, split), threshold="val").results, "pooled AP") > 0.8


def test_the_defaults_are_the_papers():
    assert (SBD_PROBE.lr, SBD_PROBE.dropout, SBD_PROBE.epochs, SBD_PROBE.batch) == (0.03, 0.8, 800, 4096)
    assert (SBD_PROBE.hidden, SBD_PROBE.layers, SBD_PROBE.loss, SBD_PROBE.choice) == (512, 2, "bce", "ap")


def test_look_change_equals_cosines_by_hand():
    films, embeddings, _ = world(films=2, shots=9)
    windows = ShotWindows(films, embeddings)
    expected = []
    for window in np.asarray(windows).reshape(len(windows), 4, -1):
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a in window[:2] for b in window[2:]]
        expected.append(1 - max(cosines))
    np.testing.assert_allclose(look_change(windows), expected, atol=1e-6)


def test_without_training_even_one_film_can_be_scored():
    films, embeddings, _ = world()
    got, scored = evaluate_untrained(films[:1], embeddings, About("OVSD", "looks"))
    assert got.results["metric"].tolist() == ["pooled AP", "mean per-film AP"]
    assert set(got.results["encoder"]) == {"looks, untrained"}
    assert value(got.results, "pooled AP") > 0.7
    assert got.results["ci_low"].isna().all()
    assert len(got.predictions) == len(scored[0].films[0].score) == 59
    nothing, none = evaluate_untrained(films[:1], {}, About("OVSD", "looks"))
    assert nothing.results["value"].isna().all()
    assert none == []
