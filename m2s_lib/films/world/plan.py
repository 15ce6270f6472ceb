"""The embedded films: a small world of films planned from a seed, with true themes, labels and viewers.

The world is hard in the way the paper says films are hard (sections 1 and 4.2, supplementary Fig. 1-3):

* What is strong in each frame are *appearance kinds* (night or day, warm or cold, crowd or empty, close-up
  or wide). All films and all themes share them, so appearance finds look-alikes.
* A scene's *theme* shows weakly in each frame (a faint pattern on the walls, some of the time) and clearly
  only in the interplay of shots: the order in which camera set-ups alternate, the path on which a prop moves
  from one keyframe to the next, and the rhythm of the cutting.
* How people speak in a scene follows its theme in most scenes; place and relationship do not, and show in
  each frame. So some of the benchmarks' tasks ask for themes and some for appearance.
* Viewers have tastes in themes; the watch log comes from them (`viewers`). So co-watch knows about themes,
  pixels hardly do.

`plan_film` decides everything and draws nothing; `frames` draws a shot, `files` writes the films and the
truth about them, `labels` the labels in the benchmarks' formats.
"""

from dataclasses import dataclass

import numpy as np

from m2s_lib.films.world.records import (
    DECADES,
    GENRES,
    PLACES,
    RELATIONSHIPS,
    SPEAKING,
    Film,
    Scene,
    Shot,
    WorldSize,
    cutting,
    identity,
)

THEMES = (
    "chase", "courtship", "heist", "duel", "feast", "journey",
    "lesson", "vigil", "trial", "haunting", "rehearsal", "farewell",
)  # fmt: skip
# Order of camera set-ups by theme: what a single frame cannot show.
ALTERNATION = (
    "AB", "ABC", "ABAC", "ABCB", "ABCD", "ABACAD",
    "ABCDCB", "ABABC", "ABCAC", "ABABCD", "ABACBC", "ABDC",
)  # fmt: skip
# Path of the prop over the shots of a scene, as (dx, dy) per shot in widths and heights of the picture.
PROP_STEP = (
    (0.16, 0), (-0.16, 0), (0, 0.16), (0, -0.16), (0.12, 0.12), (-0.12, 0.12),
    (0.12, -0.12), (0, 0), (-0.12, -0.12), (0.30, 0), (0, 0.30), (0.22, 0.22),
)  # fmt: skip
# Mean shot length by theme, in seconds.
RHYTHM_S = (0.9, 1.7, 1.2, 1.0, 1.5, 1.8, 1.4, 2.0, 1.3, 1.1, 1.6, 1.9)
# How people mostly speak in scenes of a theme; only the interplay of shots tells the theme, so it tells this.
THEME_SPEAKING = (4, 2, 0, 1, 2, 0, 3, 2, 1, 4, 3, 0)
SPEAKS_AS_THEME = 0.8  # share of scenes; in the others any way is as likely
# What moderation mostly finds in scenes of a theme, and in which share of scenes; in the others each class is
# as likely as over all: courtship and farewell, duel and haunting, feast and vigil are not "none".
THEME_MODERATION = (0, 1, 0, 2, 3, 0, 0, 3, 0, 2, 0, 1)
MODERATES_AS_THEME = 0.8
GENRE_THEMES = ((4, 6, 10, 5), (0, 2, 3, 5), (1, 11, 10, 4), (7, 9, 8, 2))  # themes that a genre favours


@dataclass(frozen=True)
class WorldConfig(WorldSize):
    """Size and strength of the embedded world."""

    theme_strength: float = 0.12  # contrast of the theme's pattern in a frame, 0..1
    theme_presence: float = 0.6  # share of shots that show the pattern

    themes = THEMES
    taste = 9.0
    pixels_depend_on = (*WorldSize.pixels_depend_on, "theme_strength")


@dataclass(frozen=True)
class Setup:
    """A camera set-up of a scene: what every shot taken from it shares."""

    close: bool  # close-up or wide
    angle: float  # horizontal position of the camera on the set, 0..1
    person: int  # who is in front
    wall: int  # which of four walls is behind: its colour and its light


@dataclass(frozen=True)
class ShapesShot(Shot):
    """One shot: from which set-up, and what varies."""

    setup: Setup
    zoom: float  # small change of scale against the set-up
    shows_theme: bool
    prop: tuple[float, float]  # position of the prop, 0..1


@dataclass(frozen=True)
class ShapesScene(Scene):
    """A scene with its appearance kinds."""

    night: bool
    warm: bool
    crowd: bool


@dataclass(frozen=True)
class ShapesFilm(Film):
    """A film with a look of its own."""

    tint: tuple[float, float, float]
    grain: float
    letterbox: int  # rows of black at top and bottom


def plan_film(config: WorldConfig, number: int) -> ShapesFilm:
    """Plans one film of a world; the same config gives the same film."""
    rng = np.random.default_rng([config.seed, 1, number])
    genre = int(rng.integers(len(GENRES)))
    director, writer = _credits(rng, genre)
    themes = _film_themes(rng, genre, writer)
    year = int(rng.choice(DECADES) + rng.integers(10))
    hue = np.asarray([np.cos(director), np.cos(director + 2.1), np.cos(director + 4.2)])
    return ShapesFilm(
        **identity(config, number),
        genre=genre,
        director=director,
        writer=writer,
        year=year,
        themes=tuple(float(t) for t in themes),
        tint=tuple(float(v) for v in 1 + 0.08 * hue),
        grain=float(0.02 + 0.03 * (2019 - year) / 90),
        letterbox=int(rng.choice([0, 0, 6])),
        popularity=float(rng.lognormal(0, 0.7)),
        synopsis=_synopsis(rng, themes),
        scenes=_plan_scenes(config, number, themes),
    )


def _credits(rng: np.random.Generator, genre: int) -> tuple[int, int]:
    """Director and writer, each out of ten, who mostly stay with their genre."""
    own = [i for i in range(10) if i % 4 == genre]
    return tuple(int(rng.choice(own) if rng.random() < 0.7 else rng.integers(10)) for _ in range(2))


def _film_themes(rng: np.random.Generator, genre: int, writer: int) -> np.ndarray:
    """A film's mixture of themes: two, of which the genre and the writer suggest some."""
    weights = np.full(len(THEMES), 0.5)
    weights[list(GENRE_THEMES[genre])] += 0.8
    weights[writer] += 0.8
    chosen = rng.choice(len(THEMES), size=2, replace=False, p=weights / weights.sum())
    themes = np.zeros(len(THEMES))
    themes[chosen] = (0.55, 0.45)
    return themes


def _plan_scenes(config: WorldConfig, number: int, themes: np.ndarray) -> tuple[ShapesScene, ...]:
    rng = np.random.default_rng([config.seed, 2, number])
    speech = np.random.default_rng([config.seed, 4, number])
    scenes, planned, last = [], 0, -1
    while planned < config.shots:
        p = themes.copy()
        if last >= 0 and np.count_nonzero(p) > 1:
            p[last] = 0  # neighbouring scenes differ in theme, so a boundary is a boundary
        last = int(rng.choice(len(p), p=p / p.sum()))
        length = int(min(rng.integers(9, 15), config.shots - planned))
        if config.shots - planned - length < 5:
            length = config.shots - planned
        scenes.append(_plan_scene(config, rng, speech, last, length))
        planned += length
    return tuple(scenes)


def _plan_scene(
    config: WorldConfig, rng: np.random.Generator, speech: np.random.Generator, theme: int, length: int
) -> ShapesScene:
    kinds = rng.random(3) < 0.5
    walls, close = rng.permutation(4), rng.random() < 0.5
    setups = {
        name: Setup(
            close=bool((number + close) % 2 if number < 2 else rng.random() < 0.5),
            angle=float((walls[number] + rng.random()) / 4),
            person=int(rng.integers(2)),
            wall=int(walls[number]),
        )
        for number, name in enumerate("ABCD")
    }
    start = int(rng.integers(len(ALTERNATION[theme])))
    order = [ALTERNATION[theme][(start + i) % len(ALTERNATION[theme])] for i in range(length)]
    prop = rng.random(2)
    shots = []
    for i, name in enumerate(order):
        seconds = RHYTHM_S[theme] * rng.uniform(0.75, 1.25)
        here = (prop + i * np.asarray(PROP_STEP[theme]) + 0.02 * rng.standard_normal(2)) % 1
        shots.append(
            ShapesShot(
                setup=setups[name],
                **cutting(config, rng, seconds),
                zoom=float(rng.uniform(0.9, 1.1)),
                shows_theme=bool(rng.random() < config.theme_presence),
                prop=(float(here[0]), float(here[1])),
            )
        )
    return ShapesScene(
        theme=theme,
        place=int(rng.integers(len(PLACES))),
        relationship=int(rng.integers(len(RELATIONSHIPS))),
        speaking=_speaking(speech, theme, int(rng.integers(len(SPEAKING)))),
        moderation=_moderation(speech, theme, int(rng.choice(4, p=[0.55, 0.15, 0.15, 0.15]))),
        night=bool(kinds[0]),
        warm=bool(kinds[1]),
        crowd=bool(kinds[2]),
        shots=tuple(shots),
    )


def _speaking(rng: np.random.Generator, theme: int, any_way: int) -> int:
    """How people speak in a scene of a theme."""
    return THEME_SPEAKING[theme] if rng.random() < SPEAKS_AS_THEME else any_way


def _moderation(rng: np.random.Generator, theme: int, any_class: int) -> int:
    """What moderation finds in a scene of a theme."""
    return THEME_MODERATION[theme] if rng.random() < MODERATES_AS_THEME else any_class


_PHRASES = {
    "chase": "someone runs for their life through narrow streets, pursued by a stranger who never tires",
    "courtship": "two people meet by accident, fall in love and hide it from everyone who knows them",
    "heist": "a crew plans to rob a vault, counts the guards and waits for the one night that fits",
    "duel": "old rivals face each other again, and honour asks for a fight that only one can win",
    "feast": "a family gathers around a table, drinks, sings and says what should stay unsaid",
    "journey": "travellers cross a wide country by train and on foot, towards a place none of them has seen",
    "lesson": "a teacher takes on a stubborn pupil and learns as much as is taught",
    "vigil": "someone waits at a bedside through a long night, keeping watch and keeping a secret",
    "trial": "a jury hears the witnesses, and the verdict turns on a lie told in court",
    "haunting": "footsteps sound in an empty house where a ghost has not forgiven the living",
    "rehearsal": "an orchestra rehearses for the premiere while the conductor loses faith in the music",
    "farewell": "old friends say goodbye at the harbour, and the ship leaves without the one who promised",
}


def _synopsis(rng: np.random.Generator, themes: np.ndarray) -> str:
    """A few sentences; each theme of the film is told with a chance that grows with its share."""
    told = [t for t in np.argsort(-themes) if themes[t] > 0 and rng.random() < 0.55 + themes[t]]
    parts = [_PHRASES[THEMES[t]] for t in told] or ["a town changes while nobody looks"]
    name = str(rng.choice(["Ada", "Bruno", "Chiara", "Dmitri", "Esther", "Farid", "Greta", "Hugo"]))
    return f"{name} comes home. " + " Then ".join(p[0].upper() + p[1:] + "." for p in parts)
