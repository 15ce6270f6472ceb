import dataclasses

import numpy as np
import pytest

from m2s_lib.films.world.frames import draw_shot
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.plan import THEMES
from tests.helpers.worlds import TINY

WORLD = plan_world(TINY)


def redrawn(film, shot_change=None, **scene_change):
    """Shot 0 of scene 0 with something else about it."""
    scene = film.scenes[0]
    first = dataclasses.replace(scene.shots[0], **(shot_change or {}))
    scene = dataclasses.replace(scene, shots=(first, *scene.shots[1:]), **scene_change)
    return draw_shot(TINY, dataclasses.replace(film, scenes=(scene, *film.scenes[1:])), 0, 0)


def test_a_shot_has_its_frames_and_is_drawn_the_same_each_time():
    film = WORLD.films[0]
    frames = draw_shot(TINY, film, 0, 1)
    assert frames.dtype == np.uint8
    assert frames.shape == (film.scenes[0].shots[1].frames, TINY.height, TINY.width, 3)
    np.testing.assert_array_equal(frames, draw_shot(TINY, film, 0, 1))


@pytest.mark.parametrize("number", range(4))
def test_colours_do_not_tell_the_theme_but_the_picture_does(number):
    film = WORLD.films[number]
    pictures = [redrawn(film, dict(shows_theme=True), theme=t).astype(float) for t in range(len(THEMES))]
    colours = np.asarray([p.mean((0, 1, 2)) for p in pictures])  # [themes, 3]
    other_time = redrawn(film, dict(shows_theme=True), night=not film.scenes[0].night).astype(float)
    by_time = np.abs(other_time.mean((0, 1, 2)) - colours[film.scenes[0].theme]).mean()
    assert np.ptp(colours, axis=0).max() < 0.1 * by_time
    for i in range(len(THEMES)):
        for j in range(i):
            assert np.abs(pictures[i] - pictures[j]).mean() > np.abs(colours[i] - colours[j]).mean() + 1


def test_appearance_is_stronger_than_the_theme():
    film = WORLD.films[0]
    now = redrawn(film, dict(shows_theme=True)).astype(float)
    themes = [redrawn(film, dict(shows_theme=True), theme=t).astype(float) for t in range(len(THEMES))]
    other_time = redrawn(film, dict(shows_theme=True), night=not film.scenes[0].night).astype(float)
    most = max(np.abs(now - p).mean() for p in themes)
    assert np.abs(now - other_time).mean() > most


def test_a_shot_that_does_not_show_its_theme_looks_the_same_with_any():
    film = WORLD.films[0]
    a, b = (redrawn(film, dict(shows_theme=False), theme=t) for t in (1, 2))
    np.testing.assert_array_equal(a, b)


def test_letterbox_rows_are_black():
    film = dataclasses.replace(WORLD.films[0], letterbox=6)
    frames = draw_shot(TINY, film, 0, 0)
    assert frames[:, :6].max() == frames[:, -6:].max() == 0
    assert frames[:, 6:-6].mean() > 5


@pytest.mark.parametrize("place", range(6))
def test_places_differ(place):
    film = WORLD.films[0]
    here = redrawn(film, place=place).astype(float)
    others = [redrawn(film, place=p).astype(float) for p in range(6) if p != place]
    assert min(np.abs(here - o).mean() for o in others) > 0.3


def test_the_moderation_class_is_a_coloured_border_of_the_prop():
    film = WORLD.films[0]
    plain = redrawn(film, moderation=0).astype(int)
    for kind in (1, 2, 3):
        changed = np.abs(redrawn(film, moderation=kind).astype(int) - plain).sum(-1) > 0  # [t, h, w]
        assert 0 < changed[0].sum() <= 7 * 4
