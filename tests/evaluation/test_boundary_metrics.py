import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from m2s_lib.evaluation.boundary_metrics import (
    FilmScores,
    best_f1_threshold,
    film_aps,
    film_mean,
    film_miou,
    film_recall,
    pooled,
    pooled_ap,
    random_ap,
)


def film(labels, scores, name="f", bounds=None, fps=24.0):
    n = len(labels) + 1
    if bounds is None:
        bounds = np.stack([np.arange(n) * 24, np.arange(n) * 24 + 23], axis=1)
    return FilmScores(name, np.arange(n - 1), np.array(labels, np.int8), np.array(scores, float), bounds, fps)


def random_films(count, seed, m=30):
    rng = np.random.default_rng(seed)
    return [
        film((rng.random(m) < 0.3).astype(int), np.round(rng.random(m), 1), f"f{i}") for i in range(count)
    ]


# The code of LGSS (lgss/utilis) in spirit: dictionaries and loops, for one film.
def field_scenes(flags, bounds):
    scenes, start = [], 0
    for shot, flag in enumerate(flags):
        if flag:
            scenes.append((int(bounds[start][0]), int(bounds[shot][1])))
            start = shot + 1
    return scenes


def field_miou(f, threshold):
    true = field_scenes(f.label, f.bounds)
    found = field_scenes(f.score > threshold, f.bounds)

    def ratio(a, b):
        low, high = max(a[0], b[0]), min(a[1], b[1])
        return 0 if low >= high else (high - low) / (max(a[1], b[1]) - min(a[0], b[0]))

    def one_way(these, those):
        return np.mean([max(ratio(a, b) for b in those) for a in these])

    return 0 if not found else np.mean([one_way(true, found), one_way(found, true)])


def field_recall(f, threshold):
    hits = total = 0
    for shot, label in enumerate(f.label):
        if label != 1:
            continue
        total += 1
        for other in range(max(shot - 5, 0), min(shot + 6, len(f.label))):
            gap = abs(int(f.bounds[shot][1]) - int(f.bounds[other][1])) / f.fps
            if f.score[other] > threshold and gap < 3:
                hits += 1
                break
    return hits / total


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(0, 10_000), st.sampled_from([0.2, 0.5, 0.9]))
def test_miou_and_recall_equal_the_fields_loops(m, seed, threshold):
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.integers(2, 90, m + 1))
    bounds = np.stack([np.r_[0, ends[:-1] + 1], ends], axis=1)
    f = film((rng.random(m) < 0.3).astype(int), rng.random(m), bounds=bounds)
    if not f.label.any():
        assert np.isnan(film_miou(f, threshold))
        assert np.isnan(film_recall(f, threshold))
        return
    assert film_miou(f, threshold) == pytest.approx(field_miou(f, threshold))
    assert film_recall(f, threshold) == pytest.approx(field_recall(f, threshold))


def test_miou_by_hand():
    # true scenes: shots 0-1 and 2-3; predicted: 0-3 in one. Frames 0..47, 48..95; 0..95.
    f = film([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.9])
    assert film_miou(f, 0.5) == pytest.approx(((47 / 95 + 47 / 95) / 2 + 47 / 95) / 2)
    perfect = film([0, 1, 0, 1], [0, 1, 0, 1])
    assert film_miou(perfect, 0.5) == 1
    assert film_recall(perfect, 0.5) == 1


def test_no_predicted_boundary_and_a_scene_of_one_frame_do_not_crash():
    silent = film([0, 1, 0], [0.1, 0.2, 0.3])
    assert film_miou(silent, 0.5) == 0
    assert film_recall(silent, 0.5) == 0
    short = film([1, 1], [1, 1], bounds=np.array([[0, 0], [1, 1], [2, 9]]))
    assert film_miou(short, 0.5) == 1


def test_recall_depends_on_the_frame_rate():
    f = film([0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1])  # three shots of a second each away: not under 3 s
    assert film_recall(f, 0.5) == 0
    faster = film([0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1], fps=25.0)
    assert film_recall(faster, 0.5) == 1


def test_ap_equals_scikit_learn_pooled_and_per_film():
    films = random_films(5, seed=3)
    label = np.concatenate([f.label for f in films])
    score = np.concatenate([f.score for f in films])
    assert pooled_ap(films) == pytest.approx(average_precision_score(label, score))
    each = film_aps(films)
    assert each["f2"] == pytest.approx(average_precision_score(films[2].label, films[2].score))
    assert film_aps([film([0, 0], [0.1, 0.2])]) == {}
    assert np.isnan(pooled_ap([film([0, 0], [0.1, 0.2])]))


@pytest.mark.parametrize(("n", "positives"), [(1, 1), (4, 1), (5, 2), (6, 5), (6, 6)])
def test_random_ap_is_the_mean_over_all_orders(n, positives):
    values = []
    for where in itertools.combinations(range(n), positives):
        label = np.zeros(n, int)
        label[list(where)] = 1
        values.append(average_precision_score(label, -np.arange(n)))
    assert random_ap(n, positives) == pytest.approx(np.mean(values))


def test_random_ap_nears_the_positive_rate():
    assert random_ap(106_000, 8110) == pytest.approx(8110 / 106_000, abs=2e-4)
    assert np.isnan(random_ap(5, 0))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 25), st.integers(0, 999))
def test_best_threshold_has_the_best_f1(m, seed):
    rng = np.random.default_rng(seed)
    f = film((rng.random(m) < 0.4).astype(int), np.round(rng.random(m), 1))
    cut = best_f1_threshold([f])
    if not f.label.any():
        assert cut == 0.5
        return
    best = max(f1_score(f.label, f.score > t, zero_division=0) for t in np.r_[f.score - 1e-9, f.score])
    assert f1_score(f.label, f.score > cut, zero_division=0) == pytest.approx(best)


def test_intervals_hold_the_values_and_shrink_with_more_films():
    widths = []
    for count in (4, 40):
        films = random_films(count, 1)
        whole, mean = pooled(films), film_mean(film_aps(films))
        assert whole.value == pytest.approx(pooled_ap(films))
        assert whole.ci_low < whole.value < whole.ci_high
        assert mean.value == pytest.approx(np.mean(list(film_aps(films).values())))
        assert mean.ci_low < mean.value < mean.ci_high
        assert (whole.n, mean.n) == (30 * count, count)
        widths.append(mean.ci_high - mean.ci_low)
    assert widths[1] < widths[0]


def test_one_film_has_no_interval_and_none_no_value():
    films = random_films(1, 2)
    assert np.isfinite(pooled(films).value)
    assert np.isnan([pooled(films).ci_low, film_mean({"a": 0.5}).ci_high]).all()
    assert np.isnan([pooled([]).value, film_mean({"a": float("nan")}).value]).all()
    assert film_mean({"a": float("nan"), "b": 0.25}).n == 1
