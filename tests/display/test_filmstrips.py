"""Filmstrips: order, proportions, gaps, middle frames, films without pixels or times."""

import math

import numpy as np
import pytest

from m2s_lib.display.filmstrips import GAP, filmstrip, placeholder, poster_shot, shown_frames, timecode_range
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore, write_shots
from tests.helpers.display_stores import colour, make_store


def test_shots_stand_side_by_side_in_order(tmp_path):
    strip = filmstrip(make_store(tmp_path, "a"), 3, 4, height_px=36)
    assert strip.dtype == np.uint8
    assert strip.shape == (36, 4 * 64 + 3 * GAP, 3)
    for i in range(4):
        left = i * (64 + GAP)
        assert (strip[:, left : left + 64] == colour(3 + i)).all()
        assert (strip[:, left + 64 : left + 64 + GAP] == 255).all()


def test_the_middle_keyframe_is_shown(tmp_path):
    assert (filmstrip(make_store(tmp_path, "a", k=3), 2, 1) == colour(2, 1)).all()


def test_black_keyframes_are_not_shown_where_there_is_a_choice():
    scene = np.zeros((2, 3, 8, 8, 3), np.uint8)
    scene[0, 2], scene[1, 1] = 90, 120  # the last of the first shot, the middle of the second
    np.testing.assert_array_equal(shown_frames(scene)[:, 0, 0, 0], [90, 120])
    assert (shown_frames(np.zeros_like(scene)) == 0).all()


def test_a_scene_is_shown_by_a_shot_that_can_be_seen(tmp_path):
    store = make_store(tmp_path, "a", n=5)
    assert poster_shot(store, 1, 3) == 2
    frames = np.zeros((3, 1, 8, 8, 3), np.uint8)
    frames[2] = 50
    write_shots(tmp_path / "b.arrow", store.shots[:3], frames, aspect=1.0, fps=2.0, source="video")
    assert poster_shot(ShotStore(tmp_path / "b.arrow"), 0, 3) == 2


def test_rows(tmp_path):
    strip = filmstrip(make_store(tmp_path, "a", aspect=1.0), 0, 9, height_px=20, per_row=5)
    assert strip.shape == (2 * 20 + GAP, 5 * (20 + GAP) - GAP, 3)
    assert (strip[20 + GAP :, :20] == colour(5)).all()
    assert (strip[20 + GAP :, 4 * (20 + GAP) :] == 255).all()
    assert filmstrip(make_store(tmp_path, "b", aspect=1.0), 0, 2, 20, per_row=5).shape == (20, 40 + GAP, 3)


@pytest.mark.parametrize(
    ("aspect", "width"),
    [(1.0, 72), (2.35, 169), (0.5, 36), (math.nan, 128), (0.0, 128), (math.inf, 128), (99.0, 288)],
)
def test_proportions_are_the_films(tmp_path, aspect, width):
    assert filmstrip(make_store(tmp_path, "a", aspect=aspect), 0, 1).shape == (72, width, 3)


def test_a_film_without_pixels_says_so(tmp_path):
    store = make_store(tmp_path, "a", aspect=1.0, pixels=False)
    strip = filmstrip(store, 0, 5, height_px=30)
    np.testing.assert_array_equal(strip, placeholder(30, 5 * (30 + GAP) - GAP))


def test_when_a_scene_plays(tmp_path):
    assert timecode_range(make_store(tmp_path, "a"), 2, 3) == "00:10-00:25"
    assert timecode_range(make_store(tmp_path, "b", seconds=1000.0), 3, 2) == "0:50:00-1:23:20"
    store = make_store(tmp_path, "c", timed=False)
    assert timecode_range(store, 2, 3) == "shots 2-4"
    assert timecode_range(store, 2, 1) == "shot 2"


@pytest.mark.parametrize(("start", "n"), [(18, 3), (-1, 2), (0, 0)])
@pytest.mark.parametrize("pixels", [True, False])
def test_shots_outside_the_film(tmp_path, start, n, pixels):
    store = make_store(tmp_path, "a", pixels=pixels)
    with pytest.raises(
        M2SError, match=rf"film a: a scene of {n} shots from shot {start} .* 20 shots \(0..19\)"
    ):
        filmstrip(store, start, n)
    with pytest.raises(M2SError, match="film a"):
        timecode_range(store, start, n)


def test_no_height(tmp_path):
    with pytest.raises(M2SError, match="height_px is 0"):
        filmstrip(make_store(tmp_path, "a"), 0, 1, height_px=0)
