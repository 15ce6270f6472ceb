import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.movienet.scene_boundaries import (
    chance_rows,
    evaluate_sbd,
    evaluate_untrained,
    leave_one_film_out,
    look_change,
)
from m2s_lib.evaluation.movienet.shot_windows import ShotWindows
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS
from tests.evaluation.movienet.test_shot_windows import make_film


def logistic(x_train, y_train, x_val, y_val, seed):
    model = LogisticRegression(max_iter=500).fit(np.asarray(x_train), y_train)
    return lambda windows: model.predict_proba(np.asarray(windows))[:, 1]


def world(films=9, shots=60, seed=0, permuted=False):
    """Scenes of random length, each with a look of its own; permuted labels have nothing to do with looks."""
    rng = np.random.default_rng(seed)
    labelled, embeddings = [], {}
    for i in range(films):
        labels = (rng.random(shots) < 0.2).astype(np.int8)
        scene = np.r_[0, np.cumsum(labels[:-1])]
        x = rng.standard_normal((scene.max() + 1, 4))[scene] + 0.1 * rng.standard_normal((shots, 4))
        pairs = np.c_[x, np.abs(x - np.roll(x, -1, 0))]  # the look, and how it changes
        labelled.append(make_film(f"f{i}", rng.permutation(labels) if permuted else labels))
        embeddings[f"f{i}"] = pairs.astype(np.float32)
    split = {f"f{i}": "test" if i % 3 == 0 else "val" if i % 3 == 1 else "train" for i in range(films)}
    return labelled, embeddings, split


def value(results, metric):
    return results.set_index("metric")["value"][metric]


def test_results_and_predictions_follow_the_contract():
    films, embeddings, split = world()
    results, predictions = evaluate_sbd(films, embeddings, split, logistic, encoder="looks", seed=4)
    assert tuple(results.columns) == RESULT_COLUMNS
    assert results["metric"].tolist() == ["pooled AP", "mean per-film AP", "mIoU", "recall@3s"]
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
    films, embeddings, split = world()
    seen = []

    def spy(x_train, y_train, x_val, y_val, seed):
        seen.append(({f.film_id for f in x_train.films}, {f.film_id for f in x_val.films}))
        return logistic(x_train, y_train, x_val, y_val, seed)

    evaluate_sbd(films, embeddings, split, spy, encoder="looks")
    train, val = seen[0]
    assert train == {f for f, s in split.items() if s == "train"}
    assert val == {f for f, s in split.items() if s == "val"}
    seen.clear()
    leave_one_film_out(films, embeddings, spy, encoder="looks")
    assert [len(t) for t, _ in seen] == [6] * 9
    for film, (train, val) in zip(films, seen, strict=True):
        assert film.film_id not in train | val
        assert not train & val


def test_permuted_labels_give_chance():
    films, embeddings, split = world(films=12, shots=120, permuted=True)
    results, _ = evaluate_sbd(films, embeddings, split, logistic, encoder="looks")
    chance = chance_rows([f for f in films if split[f.film_id] == "test"], benchmark="MovieNet")
    assert abs(value(results, "pooled AP") - value(chance, "pooled AP")) < 0.08
    assert value(chance, "positive rate") < value(chance, "pooled AP") < value(chance, "mean per-film AP")


def test_leaving_one_film_out_tests_every_film_once():
    films, embeddings, _ = world(films=6)
    results, predictions = leave_one_film_out(films, embeddings, logistic, encoder="looks", threshold="val")
    assert set(results["split"]) == {"leave one film out"}
    assert value(results, "mean per-film AP") > 0.8
    assert predictions["item"].nunique() == len(predictions) == 6 * 59
    with pytest.raises(M2SError, match="needs 4 films, 3 of 3 have embeddings"):
        leave_one_film_out(films[:3], embeddings, logistic, encoder="looks")


def test_a_probe_that_finds_no_boundary_does_not_crash():
    films, embeddings, split = world()
    results, predictions = evaluate_sbd(
        films, embeddings, split, lambda *_: lambda windows: np.zeros(len(windows)), encoder="silent"
    )
    assert value(results, "mIoU") == value(results, "recall@3s") == 0
    assert set(predictions["prediction"]) == {"0"}


def test_missing_and_short_films_are_counted():
    films, embeddings, split = world()
    del embeddings["f0"]
    embeddings["f3"] = embeddings["f3"][:50]
    results, _ = evaluate_sbd(films, embeddings, split, logistic, encoder="looks")
    assert set(results["n_listed"]) == {177}
    assert set(results["n_found"]) == {177 - 59 - 10}


def test_what_cannot_be_evaluated_is_said():
    films, embeddings, split = world()
    untested = {f: "train" if s == "test" else s for f, s in split.items()}
    with pytest.raises(M2SError, match=r"no film with embeddings in \['test'\]; there are 9 labelled films"):
        evaluate_sbd(films, embeddings, untested, logistic, encoder="looks")
    with pytest.raises(M2SError, match="threshold 'best' is unknown"):
        evaluate_sbd(films, embeddings, split, logistic, encoder="looks", threshold="best")
    same = [make_film(f.film_id, np.zeros(60)) for f in films]
    with pytest.raises(M2SError, match="of one kind only"):
        evaluate_sbd(same, embeddings, split, logistic, encoder="looks")
    with pytest.raises(M2SError, match="expected one finite score for each"):
        evaluate_sbd(films, embeddings, split, lambda *_: lambda w: np.full(len(w), np.nan), encoder="looks")


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
    results, predictions = evaluate_untrained(films[:1], embeddings, encoder="looks", benchmark="OVSD")
    assert results["metric"].tolist() == ["pooled AP", "mean per-film AP"]
    assert set(results["encoder"]) == {"looks, untrained"}
    assert value(results, "pooled AP") > 0.7
    assert results["ci_low"].isna().all()
    assert len(predictions) == 59
    with pytest.raises(M2SError, match="none of 1 films has embeddings by looks"):
        evaluate_untrained(films[:1], {}, encoder="looks", benchmark="OVSD")
