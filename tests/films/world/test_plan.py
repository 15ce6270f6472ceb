from collections import Counter

import pytest

from m2s_lib.films.world.kinds import plan_world
from m2s_lib.films.world.plan import ALTERNATION, WorldConfig


@pytest.fixture(scope="module")
def world():
    return plan_world(WorldConfig())


def test_films_have_the_shots_asked_for_and_scenes_of_several_shots(world):
    for film in world.films:
        assert len(film.shots) == world.config.shots
        assert all(5 <= len(scene.shots) <= 19 for scene in film.scenes)
        assert all(shot.frames >= 6 for _, shot in film.shots)
        assert all(0 <= v < 1 for _, shot in film.shots for v in shot.prop)


def test_neighbouring_scenes_differ_in_theme_and_a_film_tells_its_own_themes(world):
    for film in world.films:
        themes = [scene.theme for scene in film.scenes]
        assert all(a != b for a, b in zip(themes, themes[1:], strict=False))
        assert all(film.themes[t] > 0 for t in themes)


def test_set_ups_alternate_as_the_theme_says(world):
    scene = world.films[0].scenes[0]
    first_seen = {}
    order = [first_seen.setdefault(shot.setup, len(first_seen)) for shot in scene.shots]
    pattern = ALTERNATION[scene.theme] * 20
    renamed = []
    for start in range(len(ALTERNATION[scene.theme])):
        names = {}
        renamed.append([names.setdefault(c, len(names)) for c in pattern[start : start + len(order)]])
    assert order in renamed


def test_place_does_not_follow_the_theme(world):
    scenes = [scene for film in world.films for scene in film.scenes]
    commonest = [Counter(s.place for s in scenes if s.theme == t).most_common(1)[0][1] for t in range(12)]
    assert sum(commonest) / len(scenes) < 0.35  # six places: a sixth each but for chance
