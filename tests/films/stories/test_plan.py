import dataclasses
from collections import Counter

import numpy as np
import pytest
from m2s_lib.films.stories.viewers import watch_log

from m2s_lib.errors import M2SError
from m2s_lib.films.stories.plan import (
    MODERATES_AS_THEME,
    SPEAKING,
    SPEAKS_AS_THEME,
    THEME_MODERATION,
    THEME_SPEAKING,
    StoriesConfig,
    plan_stories,
)
from m2s_lib.films.stories.story import ACTIONS, STORIES, THEMES
from tests.helpers.worlds import TINY


@pytest.fixture(scope="module")
def world():
    return plan_stories(StoriesConfig())


def test_the_same_config_plans_the_same_world():
    assert plan_stories(TINY) == plan_stories(TINY)
    other = plan_stories(dataclasses.replace(TINY, seed=4))
    assert [f.scenes for f in other.films] != [f.scenes for f in plan_stories(TINY).films]


def test_a_larger_world_begins_with_the_same_films():
    larger = plan_stories(dataclasses.replace(TINY, films=6, benchmark_films=0))
    assert larger.films[:3] == plan_stories(TINY).films[:3]


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


def test_ids_are_unique_and_well_formed(world):
    assert len({f.film_id for f in world.films}) == len({f.imdb_id for f in world.films}) == 120
    assert len({f.title for f in world.films}) == 120
    assert all(len(f.imdb_id) == 9 and f.imdb_id.startswith("tt") for f in world.films)


def test_benchmark_films_are_the_last_and_alternate_between_val_and_test(world):
    assert Counter(f.split for f in world.films) == {"train": 96, "val": 12, "test": 12}
    assert all(f.split == "train" for f in world.films[:96])


@pytest.mark.parametrize(
    "change", [dict(films=1, benchmark_films=0), dict(shots=0), dict(fps=3)], ids=["films", "shots", "fps"]
)
def test_a_world_that_is_too_small_is_refused_with_what_it_needs(change):
    with pytest.raises(M2SError, match="at least 2 films, 1 shot a film and 4 frames a second"):
        plan_stories(dataclasses.replace(TINY, **change))


def test_viewers_watch_each_film_once_in_the_order_of_the_log(world):
    rows = watch_log(world)
    assert rows == watch_log(world)
    assert {viewer for viewer, _, _ in rows} == set(range(1, world.config.viewers + 1))
    assert len({(viewer, film) for viewer, film, _ in rows}) == len(rows)
    for viewer in (1, 2, 600):
        times = [time for v, _, time in rows if v == viewer]
        assert times == sorted(times)


def test_films_watched_by_the_same_people_share_themes_more_often_than_films_do(world):
    seen = np.zeros((world.config.viewers + 1, len(world.films)))
    for viewer, film, _ in watch_log(world):
        seen[viewer, film] = 1
    together = seen.T @ seen / np.sqrt(np.outer(seen.sum(0), seen.sum(0)))
    np.fill_diagonal(together, -1)
    mixtures = np.asarray([f.themes for f in world.films]) > 0
    shared = mixtures.astype(int) @ mixtures.T > 0
    nearest = np.argsort(-together, axis=1)[:, :3]
    found = np.take_along_axis(shared, nearest, axis=1).mean()
    chance = shared[~np.eye(len(shared), dtype=bool)].mean()
    assert found > chance + 0.2, (found, chance)


def test_speaking_and_moderation_follow_the_theme(world):
    scenes = [scene for film in world.films for scene in film.scenes]
    as_theme = np.mean([s.speaking == THEME_SPEAKING[s.theme] for s in scenes])
    assert as_theme == pytest.approx(SPEAKS_AS_THEME + (1 - SPEAKS_AS_THEME) / len(SPEAKING), abs=0.05)
    # moderation, too: as its theme, or by the share that the class has in any scene
    moderated = np.mean([s.moderation == THEME_MODERATION[s.theme] for s in scenes])
    of_any = np.mean([(0.55, 0.15, 0.15, 0.15)[THEME_MODERATION[s.theme]] for s in scenes])
    assert moderated == pytest.approx(MODERATES_AS_THEME + (1 - MODERATES_AS_THEME) * of_any, abs=0.05)


def test_every_theme_is_told_somewhere(world):
    assert {scene.theme for f in world.films for scene in f.scenes} == set(range(len(THEMES)))
