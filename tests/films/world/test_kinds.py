"""What holds for both kinds of embedded world."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.stories.plan import StoriesConfig
from m2s_lib.films.world.kinds import KINDS, kind_of, of_kind, plan_world
from m2s_lib.films.world.plan import WorldConfig
from m2s_lib.films.world.records import SPEAKING
from m2s_lib.films.world.viewers import watch_log
from tests.helpers.worlds import TINY, TINY_STORIES

both = pytest.mark.parametrize("tiny", [TINY, TINY_STORIES], ids=list(KINDS))


@pytest.fixture(scope="module", params=[WorldConfig, StoriesConfig], ids=list(KINDS))
def world(request):
    return plan_world(request.param())


@both
def test_the_same_config_plans_the_same_world(tiny):
    assert plan_world(tiny) == plan_world(tiny)
    other = plan_world(dataclasses.replace(tiny, seed=4))
    assert [f.scenes for f in other.films] != [f.scenes for f in plan_world(tiny).films]


@both
def test_a_larger_world_begins_with_the_same_films(tiny):
    larger = plan_world(dataclasses.replace(tiny, films=6, benchmark_films=0))
    assert larger.films[:3] == plan_world(tiny).films[:3]


@both
@pytest.mark.parametrize(
    "change", [dict(films=1, benchmark_films=0), dict(shots=0), dict(fps=3)], ids=["films", "shots", "fps"]
)
def test_a_world_that_is_too_small_is_refused_with_what_it_needs(tiny, change):
    with pytest.raises(M2SError, match="at least 2 films, 1 shot a film and 4 frames a second"):
        plan_world(dataclasses.replace(tiny, **change))


def test_a_kind_takes_the_sizes_and_has_its_own_pictures():
    size = WorldConfig(seed=5, films=7, benchmark_films=3, shots=11, viewers=13)
    assert of_kind("shapes", size) is size
    config = of_kind("stories", size)
    assert config == StoriesConfig(seed=5, films=7, benchmark_films=3, shots=11, viewers=13)
    assert (config.width, size.width) == (160, 128)
    assert (kind_of(size), kind_of(config)) == (KINDS["shapes"], KINDS["stories"])


def test_an_unknown_kind_is_refused_with_those_that_are_there():
    with pytest.raises(M2SError, match=r"unknown kind of embedded world 'story'.*'shapes', 'stories'"):
        of_kind("story", TINY)


def test_the_first_world_is_seed_0_and_the_second_a_development_world():
    assert (WorldConfig().seed, StoriesConfig().seed) == (0, 100)


def test_ids_are_unique_and_well_formed(world):
    assert len({f.film_id for f in world.films}) == len({f.imdb_id for f in world.films}) == 120
    assert len({f.title for f in world.films}) == 120
    assert all(len(f.imdb_id) == 9 and f.imdb_id.startswith("tt") for f in world.films)


def test_benchmark_films_are_the_last_and_alternate_between_val_and_test(world):
    assert Counter(f.split for f in world.films) == {"train": 96, "val": 12, "test": 12}
    assert all(f.split == "train" for f in world.films[:96])


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
    of_nearest = np.take_along_axis(shared, nearest, axis=1).mean()
    chance = shared[~np.eye(len(shared), dtype=bool)].mean()
    assert of_nearest > chance + 0.2, (of_nearest, chance)


def test_speaking_and_moderation_follow_the_theme(world):
    plan = kind_of(world.config).planning[0]
    scenes = [scene for film in world.films for scene in film.scenes]
    as_theme = np.mean([s.speaking == plan.THEME_SPEAKING[s.theme] for s in scenes])
    assert as_theme == pytest.approx(
        plan.SPEAKS_AS_THEME + (1 - plan.SPEAKS_AS_THEME) / len(SPEAKING), abs=0.05
    )
    # moderation, too: as its theme, or by the share that the class has in any scene
    moderated = np.mean([s.moderation == plan.THEME_MODERATION[s.theme] for s in scenes])
    of_any = np.mean([(0.55, 0.15, 0.15, 0.15)[plan.THEME_MODERATION[s.theme]] for s in scenes])
    assert moderated == pytest.approx(
        plan.MODERATES_AS_THEME + (1 - plan.MODERATES_AS_THEME) * of_any, abs=0.05
    )


def test_every_theme_is_told_somewhere(world):
    themes = {scene.theme for f in world.films for scene in f.scenes}
    assert themes == set(range(len(world.config.themes)))
