"""Who watches what: viewers with tastes in themes, their watch log, and what they think of a scene."""

import numpy as np

from m2s_lib.films.world.records import Film, World


def watch_log(world: World) -> list[tuple[int, int, int]]:
    """Who watched which film when: (viewer, film number, time in s), viewers drawn from tastes in themes.

    A viewer likes one or two themes, watches films in proportion to popularity times taste, and goes from one
    film to the next, so both symmetric co-watch and "watched after" carry the themes.
    """
    rng = np.random.default_rng([world.config.seed, 3])
    mixtures = np.asarray([f.themes for f in world.films])
    popularity = np.asarray([f.popularity for f in world.films])
    rows = []
    for viewer in range(1, world.config.viewers + 1):
        taste = rng.dirichlet(np.full(mixtures.shape[1], 0.15))
        appeal = popularity * np.exp(world.config.taste * mixtures @ taste)
        count = int(min(rng.integers(8, 22), np.count_nonzero(appeal)))
        watched = rng.choice(len(appeal), size=count, replace=False, p=appeal / appeal.sum())
        times = 1_200_000_000 + int(rng.integers(3e8)) + np.cumsum(rng.integers(3600, 14 * 86400, size=count))
        rows += [(viewer, int(f), int(t)) for f, t in zip(watched, times, strict=True)]
    return rows


def audience(world: World, film: Film, number: int) -> tuple[int, int, int]:
    """Views, likes and dislikes of a scene: the film's popularity, a taste for themes, and luck.

    About half of the variance of ln(views), and somewhat more of the share of likes, is the theme's. Means
    are near those of the real lists (11.8 and 0.91).
    """
    tastes = np.random.default_rng([world.config.seed, 8]).standard_normal((2, len(film.themes)))
    rng = np.random.default_rng([world.config.seed, 9, film.number, number])
    taste, liking = tastes[:, film.scenes[number].theme]
    fame = np.log(film.popularity) / 0.7
    views = int(np.exp(11.76 + 1.3 * taste + 0.9 * fame + 0.9 * rng.standard_normal()))
    share = np.clip(0.90 + 0.08 * liking + 0.02 * fame + 0.04 * rng.standard_normal(), 0.3, 0.995)
    votes = max(20, views // 100)
    likes = round(votes * share)
    return views, likes, votes - likes
