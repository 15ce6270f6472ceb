"""Blurring hides detail, keeps shape and colour, and is on unless asked otherwise."""

import inspect

import numpy as np
import pytest

from m2s_lib.display.blur import blurred
from m2s_lib.errors import M2SError


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, size=(*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(64, 48), (5, 64, 48), (2, 3, 33, 70)])
def test_detail_goes_and_mean_stays(shape):
    pictures = noise(*shape)
    before = pictures.copy()
    got = blurred(pictures)
    assert got.shape == pictures.shape
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(pictures, before)
    assert got.std() < 0.5 * pictures.std()
    np.testing.assert_allclose(got.mean((-3, -2)), pictures.mean((-3, -2)), atol=4)


def test_a_sharp_pattern_cannot_be_read_any_more():
    """Stripes of 2 px: neighbours differed by 255."""
    stripes = np.zeros((96, 128, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    got = blurred(stripes).astype(int)
    assert np.abs(np.diff(got, axis=1)).max() < 80


def test_on_is_the_default_and_off_changes_nothing():
    picture = noise(20, 20)
    assert inspect.signature(blurred).parameters["on"].default is True
    assert blurred(picture, on=False) is picture
    assert not np.array_equal(blurred(picture), picture)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": 0.001}, "a blur of 0.001 was asked for, expected 0.02..1"),
        ({"pictures": np.zeros((4, 4), np.uint8)}, r"uint8 \(4, 4\), expected uint8 \[..., h, w, c\]"),
        ({"pictures": np.zeros((4, 4, 3))}, "float64"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(M2SError, match=message):
        blurred(**({"pictures": noise(8, 8)} | change))
