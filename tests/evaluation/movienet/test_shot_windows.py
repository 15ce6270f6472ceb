import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.movienet.shot_windows import LabelledFilm, ShotWindows, match_embeddings
from tests.helpers.boundary_films import make_film


def make_films(counts, seed=0, d=3):
    rng = np.random.default_rng(seed)
    films = [make_film(f"f{i}", rng.choice([-1, 0, 1], n)) for i, n in enumerate(counts)]
    return films, {f.film_id: rng.standard_normal((f.n_shots, d)).astype(np.float32) for f in films}


def slow_windows(films, embeddings, n):
    """Concatenation, shot by shot, staying inside the film."""
    rows = []
    for film in films:
        x = embeddings[film.film_id]
        for shot in range(film.n_shots - 1):
            if film.labels[shot] == -1:
                continue
            around = range(shot - n // 2 + 1, shot + n // 2 + 1)
            rows.append(np.concatenate([x[min(max(s, 0), film.n_shots - 1)] for s in around]))
    return np.array(rows, np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), max_size=5), st.sampled_from([2, 4, 6]), st.integers(0, 99))
def test_view_equals_concatenation_and_never_crosses_films(counts, n, seed):
    films, embeddings = make_films(counts, seed)
    windows = ShotWindows(films, embeddings, n)
    expected = slow_windows(films, embeddings, n)
    assert len(windows) == len(expected) == len(windows.labels)
    if len(expected):
        np.testing.assert_array_equal(np.asarray(windows), expected)
        np.testing.assert_array_equal(windows[len(windows) - 1], expected[-1])
        np.testing.assert_array_equal(windows[[0]], expected[:1])
        assert windows.shape == expected.shape
    labels = [f.labels[s] for f in films for s in range(f.n_shots - 1) if f.labels[s] != -1]
    np.testing.assert_array_equal(windows.labels, labels)


def test_windows_are_views_of_one_array():
    films, embeddings = make_films([50, 40], d=8)
    windows = ShotWindows(films, embeddings)
    assert np.shares_memory(windows.view, windows.array)
    assert windows.array.nbytes == (50 + 40 + 4) * 8 * 4  # one row more at each end of each film
    assert not windows.view.flags.writeable


def test_what_does_not_fit_is_cut_or_left_out_and_counted():
    films, embeddings = make_films([6, 6, 6, 6])
    films = [make_film(f.film_id, [0, 1, 0, 0, 1, 0]) for f in films]
    embeddings["f1"] = embeddings["f1"][:4]
    embeddings["f2"] = np.concatenate([embeddings["f2"], embeddings["f2"][:2]])
    del embeddings["f3"]
    kept, rows, report = match_embeddings(films, embeddings)
    assert [(f.film_id, f.n_shots, len(rows[f.film_id])) for f in kept] == [
        ("f0", 6, 6),
        ("f1", 4, 4),
        ("f2", 6, 6),
    ]
    assert report["status"].tolist() == ["ok", "cut", "cut", "failed"]
    assert report["reason"].tolist() == [
        "",
        "6 shots, 4 embeddings",
        "6 shots, 8 embeddings",
        "no embeddings",
    ]
    assert report[["n_listed", "n_found"]].to_numpy().tolist() == [[5, 5], [5, 3], [5, 5], [5, 0]]
    assert len(ShotWindows(kept, rows)) == 13


def test_a_single_shot_is_not_enough():
    films, embeddings = make_films([1])
    kept, _, report = match_embeddings(films, embeddings)
    assert kept == []
    assert report["reason"].tolist() == ["only 1 shots with embeddings"]
    assert len(match_embeddings([], {})[2]) == 0


def test_bad_input_is_named():
    films, embeddings = make_films([5, 4])
    with pytest.raises(M2SError, match="film f1 has no embeddings"):
        ShotWindows(films, {"f0": embeddings["f0"]})
    with pytest.raises(M2SError, match=r"film f1: embeddings of shape \(4, 2\), expected \[4 shots, 3\]"):
        ShotWindows(films, embeddings | {"f1": np.zeros((4, 2), np.float32)})
    embeddings["f1"][2, 1] = np.nan
    with pytest.raises(M2SError, match="film f1: the embedding of shot 2 is not finite"):
        ShotWindows(films, embeddings)
    with pytest.raises(M2SError, match="a window of 3 shots has no middle"):
        ShotWindows(films, embeddings, 3)
    with pytest.raises(M2SError, match="film a: 2 shots and 1 labels"):
        LabelledFilm("a", np.zeros((2, 2)), np.zeros(1))
