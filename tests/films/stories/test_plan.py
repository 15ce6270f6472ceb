import numpy as np
import pytest

from m2s_lib.films.stories.plan import (
    StoriesConfig,
)
from m2s_lib.films.stories.story import ACTIONS, STORIES
from m2s_lib.films.world.kinds import plan_world


@pytest.fixture(scope="module")
def world():
    return plan_world(StoriesConfig())


def test_films_have_the_shots_asked_for_and_scenes_of_several_shots(world):
    for film in world.films:
        assert len(film.shots) == world.config.shots
        assert all(5 <= len(scene.shots) <= 19 for scene in film.scenes)
        assert all(shot.frames >= 6 for _, shot in film.shots)


def test_a_film_tells_its_own_two_themes_in_any_order(world):
    for film in world.films:
        themes = [scene.theme for scene in film.scenes]
        assert set(themes) == set(np.flatnonzero(film.themes))
    repeats = [a.theme == b.theme for f in world.films for a, b in zip(f.scenes, f.scenes[1:], strict=False)]
    assert 0.2 < np.mean(repeats) < 0.7  # themes do not alternate strictly


def test_scenes_show_the_two_actions_of_their_theme_and_other_shots(world):
    shares = []
    for scene in (s for f in world.films for s in f.scenes if len(s.shots) >= 9):
        shown = [shot.kind for shot in scene.shots if shot.kind in ACTIONS]
        assert set(shown) == set(STORIES[scene.theme].actions)
        shares.append(len(shown) / len(scene.shots))
    assert 0.25 < np.mean(shares) < 0.45


def test_neighbouring_shots_have_other_set_ups(world):
    for scene in world.films[0].scenes:
        pairs = zip(scene.shots, scene.shots[1:], strict=False)
        assert all(a.setup != b.setup for a, b in pairs)
        assert len({shot.setup for shot in scene.shots}) <= 4
