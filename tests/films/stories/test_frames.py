import dataclasses

import numpy as np
import pytest

from m2s_lib.films.stories.frames import draw_keyframe, draw_shot
from m2s_lib.films.stories.plan import KINDS
from m2s_lib.films.stories.story import ACTIONS, THEMES
from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.records import PLACES
from tests.helpers.worlds import TINY_STORIES as TINY
from tests.helpers.worlds import redrawn

WORLD = plan_world(TINY)
FILM = WORLD.films[0]


def far(a, b):
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_a_shot_has_its_frames_and_is_drawn_the_same_each_time():
    frames = draw_shot(TINY, FILM, 0, 1)
    assert frames.dtype == np.uint8
    assert frames.shape == (FILM.scenes[0].shots[1].frames, TINY.height, TINY.width, 3)
    np.testing.assert_array_equal(frames, draw_shot(TINY, FILM, 0, 1))


def test_a_keyframe_is_the_frame_in_the_middle():
    frames = draw_shot(TINY, FILM, 0, 1)
    np.testing.assert_array_equal(draw_keyframe(TINY, FILM, 0, 1), frames[len(frames) // 2])


@pytest.mark.parametrize("kind", [*ACTIONS, *KINDS])
def test_every_kind_of_shot_differs_from_the_empty_set_and_moves(kind):
    frames = redrawn(FILM, kind=kind, pan=0.0, x=0.5)
    empty = redrawn(FILM, kind="empty", pan=0.0, x=0.5)
    moves = {far(frames[0], frame) > 0 for frame in frames[1:]}
    assert True in moves  # the grain alone if nobody is there
    assert kind == "empty" or far(frames, empty) > 0.5


def test_a_picture_shows_what_happens_and_not_the_theme():
    """The same shot under another theme is the same picture."""
    np.testing.assert_array_equal(redrawn(FILM, theme=0), redrawn(FILM, theme=len(THEMES) - 1))


def test_a_film_is_nearer_to_itself_than_to_others_in_its_colours():
    """Looks: mean colours of shots differ more between films than between shots of a scene."""
    means = np.array(
        [[draw_keyframe(TINY, f, 0, j).mean((0, 1)) for j in range(6)] for f in WORLD.films]
    )  # [films, shots, 3]
    within = means.std(1).mean()
    between = means.mean(1).std(0).mean()
    assert between > within


@pytest.mark.parametrize("place", range(len(PLACES)))
@pytest.mark.parametrize("kind", ["empty", "outside"])
def test_places_differ_inside_and_outside(place, kind):
    here = redrawn(FILM, kind=kind, place=place)
    others = [redrawn(FILM, kind=kind, place=p) for p in range(len(PLACES)) if p != place]
    assert min(far(here, other) for other in others) > 0.3


def test_night_is_darker_than_day():
    day, night = (redrawn(FILM, kind="empty", time=time).mean() for time in ("day", "night"))
    assert night < 0.9 * day


def test_letterbox_rows_are_black():
    film = dataclasses.replace(FILM, look=dataclasses.replace(FILM.look, letterbox=6))
    frames = draw_shot(TINY, film, 0, 0)
    assert frames[:, :6].max() == frames[:, -6:].max() == 0
    assert frames[:, 6:-6].mean() > 5


def test_old_films_without_colour_are_grey():
    look = dataclasses.replace(FILM.look, saturation=0.0, gains=(1.0, 1.0, 1.0))
    picture = draw_keyframe(TINY, dataclasses.replace(FILM, look=look), 0, 0).astype(int)
    assert np.abs(picture - picture.mean(-1, keepdims=True)).max() <= 1
