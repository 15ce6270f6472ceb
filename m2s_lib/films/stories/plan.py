"""The second embedded world: films that a person can read, planned from a seed, with true themes.

The world is hard in the way the paper says films are hard (sections 1 and 4.2, supplementary Fig. 1-3):

* What is strong in each frame is a film's *look*: palette and grade, line, texture, framing, its cast in
  their costumes, the sets, time of day and weather (`looks`, `sets`).
* A scene's *theme* is what happens: a pair of actions in an order of its own (`story`). A third of a scene's
  shots show one of the two; the others (the house from outside, faces, hands, empty rooms, people who talk)
  fit any theme, and each action is part of three themes. So one shot hardly tells the theme, several do.
* Places, relationships, directors and writers go with themes in part (Cramer's V between 0.3 and 0.4), how
  people speak and what moderation finds in most scenes.
* Viewers have tastes in themes; the watch log comes from them (`m2s_lib.films.world.viewers`).

`plan_film` decides everything and draws nothing; `frames` draws a shot. What writes films, truth and
labels is those of `m2s_lib.films.world`.
"""

from dataclasses import dataclass

import numpy as np

from m2s_lib.films.stories.looks import TIMES, WEATHERS, Look, plan_look
from m2s_lib.films.stories.story import STORIES, THEMES, action_shots, tell
from m2s_lib.films.world.records import (
    DECADES,
    GENRES,
    Film,
    Scene,
    Shot,
    WorldSize,
    cutting,
    identity,
)

# What goes with each theme, in the order of THEMES.
THEME_PLACE = (1, 2, 4, 4, 0, 5, 3, 1, 0, 2, 5, 3)
THEME_RELATIONSHIP = (0, 0, 1, 1, 1, 2, 0, 2, 2, 3, 3, 3)
THEME_SPEAKING = (4, 2, 1, 1, 0, 2, 0, 2, 4, 3, 3, 0)
THEME_MODERATION = (0, 0, 2, 2, 0, 3, 0, 0, 2, 3, 1, 3)
GENRE_THEMES = ((1, 4, 5, 6), (0, 2, 3, 8), (5, 7, 10, 11), (0, 8, 9, 3))  # themes that a genre favours
PLACE_AS_THEME, RELATIONSHIP_AS_THEME = 0.36, 0.36  # share of scenes; in the others any is as likely
CREDIT_AS_THEME = 0.75  # share of films whose director, and whose writer, goes with one of their themes
SPEAKS_AS_THEME, MODERATES_AS_THEME = 0.8, 0.8
GENRE_PULL = 6.5  # how much likelier a genre's themes are than others

KINDS = ("outside", "close", "two", "hands", "empty", "walker")  # of shots that show no action
_KEEPS_KIND = 0.8  # share of such shots that show what their set-up mostly shows
_KIND_SHARES = (0.14, 0.28, 0.20, 0.12, 0.10, 0.16)


@dataclass(frozen=True)
class StoriesConfig(WorldSize):
    """Size and strength of the embedded world."""

    seed: int = 100  # a development world; see docs/evidence.md
    width: int = 160
    correlations: float = 1.0  # factor on how much place, relationship, director and writer go with themes

    themes = THEMES
    taste = 6.3


@dataclass(frozen=True)
class Setup:
    """A camera set-up of a scene: what every shot taken from it shares."""

    offset: float  # of the camera along the set, widths of the picture
    zoom: float  # of the lens, about 1
    person: int  # who of the scene's cast is in front
    wall: int  # which of the look's four walls is behind
    kind: str  # of KINDS: what it mostly shows


@dataclass(frozen=True)
class StoryShot(Shot):
    """One shot: what it shows, from which set-up, and what varies."""

    kind: str  # an action, or one of KINDS
    setup: Setup
    x: float  # where it happens, 0..1 of the picture's width
    size: float  # of the people, about 1
    side: int  # 1 or -1: looking to the right or to the left
    phase: float  # of the movement, 0..1


@dataclass(frozen=True)
class StoryScene(Scene):
    """A scene with its time, weather, set and cast."""

    time: str
    weather: str
    variant: int  # of the set: what stands where
    cast: tuple[int, ...]  # who of the film's cast is in it


@dataclass(frozen=True)
class StoryFilm(Film):
    """A film with a look of its own."""

    look: Look


def plan_film(config: StoriesConfig, number: int) -> StoryFilm:
    """Plans one film of a world; the same config gives the same film."""
    rng = np.random.default_rng([config.seed, 1, number])
    genre = int(rng.integers(len(GENRES)))
    themes = _film_themes(rng, genre)
    director, writer = (_credit(rng, config, themes, shift) for shift in (0, 5))
    year = int(rng.choice(DECADES) + rng.integers(10))
    return StoryFilm(
        **identity(config, number),
        genre=genre,
        director=director,
        writer=writer,
        year=year,
        themes=tuple(float(t) for t in themes),
        look=plan_look(np.random.default_rng([config.seed, 5, number]), director, year, config.height),
        popularity=float(rng.lognormal(0, 0.7)),
        synopsis=tell(rng, themes),
        scenes=_plan_scenes(config, number, themes),
    )


def _film_themes(rng: np.random.Generator, genre: int) -> np.ndarray:
    """A film's mixture of themes: two, which its genre suggests: float64 [themes]."""
    weights = np.ones(len(THEMES))
    weights[list(GENRE_THEMES[genre])] = GENRE_PULL
    themes = np.zeros(len(THEMES))
    themes[rng.choice(len(THEMES), size=2, replace=False, p=weights / weights.sum())] = (0.55, 0.45)
    return themes


def _credit(rng: np.random.Generator, config: StoriesConfig, themes: np.ndarray, shift: int) -> int:
    """A director or a writer, out of ten, who mostly works on one of the film's themes."""
    if rng.random() < CREDIT_AS_THEME * config.correlations:
        return int((rng.choice(np.flatnonzero(themes)) * 7 + shift) % 12 % 10)
    return int(rng.integers(10))


def _plan_scenes(config: StoriesConfig, number: int, themes: np.ndarray) -> tuple[StoryScene, ...]:
    """Scenes of both themes in any order; the film's last scene may be longer or shorter than others."""
    rng = np.random.default_rng([config.seed, 2, number])
    lengths, planned = [], 0
    while planned < config.shots:
        length = int(min(rng.integers(9, 15), config.shots - planned))
        if config.shots - planned - length < 5:
            length = config.shots - planned
        lengths.append(length)
        planned += length
    order = rng.choice(len(themes), size=len(lengths), p=themes)
    if len(set(order)) == 1 and len(order) > 1:
        (other,) = set(np.flatnonzero(themes)) - set(order)
        order[rng.integers(len(order))] = other
    return tuple(
        _plan_scene(config, number, i, int(t), n) for i, (t, n) in enumerate(zip(order, lengths, strict=True))
    )


def _plan_scene(config: StoriesConfig, film: int, number: int, theme: int, length: int) -> StoryScene:
    rng = np.random.default_rng([config.seed, 3, film, number])

    def as_theme(of_theme: tuple[int, ...], share: float, p: list[float]) -> int:
        """What goes with the theme in a share of scenes, else any."""
        return of_theme[theme] if rng.random() < share else int(rng.choice(len(p), p=p))

    return StoryScene(
        theme=theme,
        place=as_theme(THEME_PLACE, PLACE_AS_THEME * config.correlations, [1 / 6] * 6),
        relationship=as_theme(THEME_RELATIONSHIP, RELATIONSHIP_AS_THEME * config.correlations, [1 / 4] * 4),
        speaking=as_theme(THEME_SPEAKING, SPEAKS_AS_THEME, [1 / 5] * 5),
        moderation=as_theme(THEME_MODERATION, MODERATES_AS_THEME, [0.55, 0.15, 0.15, 0.15]),
        time=str(rng.choice(TIMES, p=[0.5, 0.2, 0.3])),
        weather=str(rng.choice(WEATHERS, p=[0.6, 0.2, 0.1, 0.1])),
        variant=int(rng.integers(1 << 30)),
        cast=tuple(int(i) for i in rng.permutation(5)[:3]),
        shots=_plan_shots(config, rng, theme, length),
    )


def _plan_shots(
    config: StoriesConfig, rng: np.random.Generator, theme: int, length: int
) -> tuple[StoryShot, ...]:
    """Set-ups that come back, each with a kind of shot; actions where the theme has them."""
    walls, kinds = rng.permutation(4), rng.choice(KINDS, size=4, replace=False, p=_KIND_SHARES)
    setups = [
        Setup(float(x), float(zoom), int(person), int(wall), str(kind))
        for x, zoom, person, wall, kind in zip(
            rng.uniform(0, 1.4, 4),
            rng.uniform(0.8, 1.25, 4),
            rng.integers(3, size=4),
            walls,
            kinds,
            strict=True,
        )
    ]
    actions, before, shots = action_shots(rng, theme, length), -1, []
    for i in range(length):
        others = [k for k in range(4) if k != before]
        before = int(rng.choice(others, p=_favour_first(len(others))))
        kind = setups[before].kind if rng.random() < _KEEPS_KIND else str(rng.choice(KINDS, p=_KIND_SHARES))
        seconds = STORIES[theme].pace * rng.uniform(0.85, 1.55)
        shots.append(
            StoryShot(
                kind=actions.get(i, kind),
                setup=setups[before],
                **cutting(config, rng, seconds),
                x=float(rng.uniform(0.3, 0.7)),
                size=float(rng.uniform(0.78, 1.1)),
                side=int(rng.choice([-1, 1])),
                phase=float(rng.random()),
            )
        )
    return tuple(shots)


def _favour_first(n: int) -> np.ndarray:
    """Probabilities that fall: a scene has two main set-ups and some that come seldom."""
    p = 0.5 ** np.arange(n)
    return p / p.sum()
