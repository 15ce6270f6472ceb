"""Metrics against scikit-learn, closed forms and cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.metrics import average_precision_score, mean_squared_error

from m2s_lib.errors import M2SError
from m2s_lib.evaluation import metrics
from m2s_lib.evaluation.metrics import (
    NOT_MEASURED,
    average_precision,
    average_precisions,
    mse,
    resamples,
    share,
    threshold_at,
    threshold_table,
    top1,
    wilson,
)


def test_top1_is_k_of_n_with_wilsons_interval():
    got = top1([1] * 42, [1] * 24 + [0] * 18)
    assert (got.k, got.n) == (24, 42)
    z2, p = 1.959963984540054**2, 24 / 42  # Wilson's interval in closed form
    centre, half = p + z2 / 84, (z2 * (p * (1 - p) / 42 + z2 / (4 * 42**2))) ** 0.5
    closed = [(centre - half) / (1 + z2 / 42), (centre + half) / (1 + z2 / 42)]
    assert [got.ci_low, got.ci_high] == pytest.approx(closed, rel=1e-9)
    assert str(got) == "24/42 = 57.1 % [42.2, 70.9]"


@pytest.mark.parametrize(("k", "n", "low", "high"), [(0, 5, 0, 0.43448), (5, 5, 0.56552, 1)])
def test_wilson_at_the_ends(k, n, low, high):
    """At k = n the lower end is n / (n + z2) in closed form."""
    assert wilson(k, n) == pytest.approx((low, high), abs=1e-5)


def test_wilson_covers_the_true_share_about_95_times_in_100():
    rng = np.random.default_rng(0)
    ks = rng.binomial(86, 0.3, size=2000)
    inside = [low <= 0.3 <= high for low, high in (wilson(int(k), 86) for k in ks)]
    assert 0.93 < np.mean(inside) < 0.97


def test_nothing_to_measure_is_said_not_zero():
    assert str(top1([], [])) == NOT_MEASURED
    assert np.isnan(mse([], []).value)
    assert np.isnan(wilson(0, 0)).all()


def test_mse_equals_scikit_learn_and_its_interval_is_the_textbooks():
    """The bootstrap of a mean is close to mean +- 1.96 s / sqrt(n)."""
    rng = np.random.default_rng(1)
    y, p = rng.standard_normal(400), rng.standard_normal(400)
    got = mse(y, p)
    assert got.value == pytest.approx(mean_squared_error(y, p))
    half = 1.96 * ((y - p) ** 2).std() / 20
    assert (got.ci_low, got.ci_high) == pytest.approx((got.value - half, got.value + half), abs=0.05)


def test_clips_of_one_film_widen_the_interval():
    """Ten copies of each item are no more information than one."""
    rng = np.random.default_rng(2)
    y, p = rng.standard_normal(40), rng.standard_normal(40)
    alone, copies = mse(y, p), mse(np.repeat(y, 10), np.repeat(p, 10))
    grouped = mse(np.repeat(y, 10), np.repeat(p, 10), groups=np.repeat(np.arange(40), 10))
    assert (grouped.ci_low, grouped.ci_high) == pytest.approx((alone.ci_low, alone.ci_high), rel=1e-6)
    assert copies.ci_high - copies.ci_low < 0.5 * (grouped.ci_high - grouped.ci_low)


def test_resampling_by_film_equals_scipys_bootstrap_over_films():
    """A mean over films of equal size is the mean of the films' means, which scipy can resample."""
    rng = np.random.default_rng(5)
    values, films = rng.standard_normal((30, 4)) + rng.standard_normal((30, 1)), np.repeat(np.arange(30), 4)
    got = metrics.mean(values.ravel(), groups=films)
    wanted = bootstrap((values.mean(1),), np.mean, n_resamples=9999, method="percentile", rng=1)
    low, high = wanted.confidence_interval
    assert (got.ci_low, got.ci_high) == pytest.approx((low, high), abs=0.06)
    assert got.value == pytest.approx(values.mean())


def test_samples_draw_whole_films_as_often_as_there_are_films():
    films = ["a", "b", "a", "c", "c"]
    times = resamples(5, lambda w: w, films, draws=50)
    assert times.shape == (50, 5)
    np.testing.assert_array_equal(times[:, 0], times[:, 2])
    np.testing.assert_array_equal(times[:, 0] + times[:, 1] + times[:, 3], 3)
    assert len(np.unique(times, axis=0)) > 5


def test_a_share_by_film_is_wider_and_has_a_width_at_its_ends():
    right, films = np.arange(40) % 20 < 10, np.repeat(np.arange(4), 10)
    alone, by_film = share(right), share(right, groups=films)
    assert (by_film.k, by_film.n, by_film.value) == (alone.k, alone.n, alone.value) == (20, 40, 0.5)
    assert by_film.ci_high - by_film.ci_low > alone.ci_high - alone.ci_low
    all_right = share(np.ones(40, bool), groups=films)
    assert (all_right.ci_low, all_right.ci_high) == pytest.approx(wilson(4, 4))
    assert share(np.zeros(40, bool), groups=films).ci_high == pytest.approx(wilson(0, 4)[1])


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(st.booleans(), min_size=1, max_size=30).filter(any),
    levels=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_weighted_average_precision_equals_scikit_learn(labels, levels, seed):
    """The samples of the bootstrap are weights; few levels of score give many ties."""
    rng = np.random.default_rng(seed)
    labels, scores = np.array(labels), rng.integers(levels, size=len(labels)) / levels
    weights = rng.integers(0, 3, size=(5, len(labels)))
    weights[:, labels.argmax()] += 1  # every sample keeps a positive
    got = metrics._Ranked(labels, scores).average_precision(weights.astype(float))
    wanted = [average_precision_score(labels, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(got, wanted, rtol=1e-9)
    assert average_precision(labels, scores) == average_precision_score(labels, scores)


def test_average_precision_by_hand():
    """Ranks 1, 3 and 4 of 5 are right: (1/1 + 2/3 + 3/4) / 3."""
    labels = np.array([1, 0, 1, 1, 0], bool)
    assert average_precision(labels, [5, 4, 3, 2, 1]) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)


def test_macro_average_counts_only_classes_with_a_positive():
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 3, size=60), rng.random((60, 4))
    table, macro = average_precisions(labels, scores, ["a", "b", "c", "unseen"])
    wanted = [average_precision_score(labels == c, scores[:, c]) for c in range(3)]
    assert table["ap"].tolist()[:3] == pytest.approx(wanted)
    assert table["measured"].tolist() == [True, True, True, False]
    assert np.isnan(table["ap"].iloc[3])
    assert table["n_positive"].sum() == 60
    assert macro.value == pytest.approx(np.mean(wanted))
    assert macro.ci_low < macro.value < macro.ci_high
    _, partly = average_precisions(labels, scores, ["a", "b", "c", "unseen"], average_over=["b", "unseen"])
    assert partly.value == pytest.approx(wanted[1])


def test_several_labels_an_item_and_none_at_all():
    hot = np.array([[1, 0], [1, 1], [0, 0]], bool)
    table, macro = average_precisions(hot, np.array([[0.9, 0.2], [0.8, 0.7], [0.1, 0.6]]), ["x", "y"])
    assert table["ap"].tolist() == [1, 1]
    assert macro.value == 1
    _, nothing = average_precisions(np.zeros((3, 2), bool), np.ones((3, 2)), ["x", "y"])
    assert str(nothing) == NOT_MEASURED


def test_threshold_for_a_recall_is_the_most_precise_one():
    """Half of the positives at 0.9 (2 of 3 right), all at 0.5 (4 of 5 right): the lower one is better."""
    labels = np.array([1, 0, 1, 1, 1, 0], bool)
    scores = [0.9, 0.9, 0.9, 0.5, 0.5, 0.1]
    assert threshold_at(labels, scores, 0.5) == 0.5
    assert threshold_at(labels, [0.9, 0.1, 0.9, 0.5, 0.5, 0.1], 0.5) == 0.9


def test_threshold_table_chooses_on_validation_and_measures_on_test():
    val, test = np.array([1, 1, 0, 0], bool), np.array([1, 1, 1, 0, 0], bool)
    table = threshold_table(val, [0.9, 0.6, 0.4, 0.1], test, [0.95, 0.5, 0.7, 0.8, 0.0], recalls=(0.5, 1.0))
    assert table["threshold"].tolist() == [0.9, 0.6]
    assert table["val_recall"].tolist() == [0.5, 1.0]
    assert table["recall"].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert table["precision"].tolist() == pytest.approx([1, 2 / 3])
    assert table["flagged"].tolist() == [1, 3]
    assert (table["precision_low"] < table["precision"]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(3, 2), "k = 3 of n = 2"),
        (lambda: top1([1, 2], [1]), "expected two lists of one length"),
        (lambda: mse([1, 2], [1, np.nan]), "1 of 2 predictions are not finite, the first at \\[1\\]"),
        (lambda: average_precisions(np.array([0, 5]), np.ones((2, 2)), "ab"), "labels lie in 0..5"),
        (lambda: average_precisions(np.array([0, 1]), np.ones((2, 3)), "ab"), "expected scores \\[2, 2\\]"),
        (lambda: average_precisions(np.array([0]), np.array([[np.inf, 0]]), "ab"), "1 of 2 scores are not"),
        (lambda: average_precisions(np.array([0]), np.ones((1, 2)), "ab", average_over="c"), "\\['c'\\]"),
        (lambda: threshold_at([False], [1.0], 0.5), "none of the 1 items is positive"),
        (lambda: threshold_at([True], [1.0], 0), "recall is 0"),
        (lambda: mse([1, 2], [1, 2], groups=["a"]), "1 groups were given for 2 items"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(M2SError, match=message):
        call()
