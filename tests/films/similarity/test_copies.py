"""Copies of a film: found by their cuts and pictures, and nothing else is."""

import numpy as np
import pytest

from m2s_lib.films.similarity.copies import find_copies


def film(seed: int, shots: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    starts = np.r_[0.0, rng.uniform(1, 6, shots - 1).cumsum()]
    x = rng.standard_normal((shots, 8)).astype(np.float32)
    return starts, x / np.linalg.norm(x, axis=1, keepdims=True)


def copies(**films) -> dict[str, str]:
    starts, features = ({name: f[i] for name, f in films.items()} for i in (0, 1))
    return dict(find_copies(starts, features).itertuples(index=False))


def encoded_again(starts, x):
    """Another encoder: cuts a frame off, one shot more, features a little different."""
    rng = np.random.default_rng(9)
    y = x + 0.02 * rng.standard_normal(x.shape).astype(np.float32)
    y = np.insert(y / np.linalg.norm(y, axis=1, keepdims=True), 5, y[4], axis=0)
    return np.insert(starts + 0.04, 5, (starts[4] + starts[5]) / 2), y


def test_a_copy_is_found_and_named_after_the_first():
    a = film(0)
    found = copies(a=a, b=film(1), copy=a, again=encoded_again(*a), c=film(2))
    assert found == {"copy": "a", "again": "a"}


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("other pictures", (film(0)[0], film(5)[1])),
        ("other cuts", (film(5)[0], film(0)[1])),
        ("half of it", tuple(v[:10] for v in film(0))),
        ("times that nobody knows", (np.full(20, np.nan), film(0)[1])),
    ],
)
def test_what_is_no_copy(what, other):
    assert copies(a=film(0), b=other) == {}


def test_a_film_of_two_shots_is_no_copy():
    short = tuple(v[:2] for v in film(0))
    assert copies(a=short, b=short) == {}
