"""The embedded films: a small world of films planned from a seed, with true themes, labels and viewers.

The world is hard in the way the paper says films are hard (sections 1 and 4.2, supplementary Fig. 1-3):

* What is strong in each frame are *appearance kinds* (night or day, warm or cold, crowd or empty, close-up
  or wide). All films and all themes share them, so appearance finds look-alikes.
* A scene's *theme* shows weakly in each frame (a faint pattern on the walls, some of the time) and clearly
  only in the interplay of shots: the order in which camera set-ups alternate, the path on which a prop moves
  from one keyframe to the next, and the rhythm of the cutting.
* How people speak in a scene follows its theme in most scenes; place and relationship do not, and show in
  each frame. So some of the benchmarks' tasks ask for themes and some for appearance.
* Viewers have tastes in themes; the watch log comes from them. So co-watch knows about themes, pixels hardly
  do.

`plan_world` decides everything and draws nothing; `synthetic_frames` draws a shot, `synthetic_files` writes
the films and the truth about them, `synthetic_labels` the labels in the benchmarks' formats.
"""

from dataclasses import dataclass, field

import numpy as np

from m2s_lib.errors import M2SError

THEMES = (
    "chase", "courtship", "heist", "duel", "feast", "journey",
    "lesson", "vigil", "trial", "haunting", "rehearsal", "farewell",
)  # fmt: skip
GENRES = ("Comedy", "Action-Crime-Adventure", "Romance", "Thriller-Horror")  # LVU's four
PLACES = ("office", "airport", "school", "hotel", "prison", "restaurant")  # LVU's six
RELATIONSHIPS = ("friend", "ex_boyfriend_ex_girlfriend", "husband_wife", "boyfriend_girlfriend")
SPEAKING = ("explains", "confronts", "discuss", "teaches", "threatens")
DECADES = tuple(range(1930, 2020, 10))
MODERATION = ("none", "sex", "violence", "drug-use")  # shown as abstract signs only

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

TRANSITIONS = ("cut", "dissolve", "fade")


@dataclass(frozen=True)
class WorldConfig:
    """Size and strength of the embedded world."""

    seed: int = 0
    films: int = 96  # films free for pre-training; with 48 the mining precision is not stable
    benchmark_films: int = 24  # more films, in the benchmarks' validation and test sets
    shots: int = 60  # shots per film, about
    viewers: int = 600  # people in the watch log
    fps: int = 8
    width: int = 128
    height: int = 96
    theme_strength: float = 0.12  # contrast of the theme's pattern in a frame, 0..1
    theme_presence: float = 0.6  # share of shots that show the pattern


@dataclass(frozen=True)
class Setup:
    """A camera set-up of a scene: what every shot taken from it shares."""

    close: bool  # close-up or wide
    angle: float  # horizontal position of the camera on the set, 0..1
    person: int  # who is in front
    wall: int  # which of four walls is behind: its colour and its light


@dataclass(frozen=True)
class Shot:
    """One shot: which set-up, how long, how it ends, what varies."""

    setup: Setup
    frames: int
    transition: str  # to the next shot: cut, dissolve or fade
    pan: float  # widths of the picture per shot
    light: float  # factor on brightness at the shot's end, near 1
    zoom: float  # small change of scale against the set-up
    shows_theme: bool
    prop: tuple[float, float]  # position of the prop, 0..1


@dataclass(frozen=True)
class Scene:
    """A scene: a place, a theme, people, appearance kinds, and its shots."""

    theme: int
    place: int
    relationship: int
    speaking: int
    moderation: int
    night: bool
    warm: bool
    crowd: bool
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Film:
    """A film: metadata, a look of its own, and its scenes."""

    number: int
    film_id: str
    imdb_id: str
    title: str
    genre: int
    director: int
    writer: int
    year: int
    split: str  # '' for pre-training films, 'train', 'val' or 'test' where a benchmark uses the film
    themes: tuple[float, ...]  # share of each theme
    tint: tuple[float, float, float]
    grain: float
    letterbox: int  # rows of black at top and bottom
    popularity: float
    synopsis: str
    scenes: tuple[Scene, ...] = field(repr=False)

    @property
    def shots(self) -> list[tuple[int, Shot]]:
        """All shots in order, each with the number of its scene."""
        return [(number, shot) for number, scene in enumerate(self.scenes) for shot in scene.shots]


@dataclass(frozen=True)
class World:
    """All films and the viewers' tastes."""

    config: WorldConfig
    films: tuple[Film, ...]


def plan_world(config: WorldConfig) -> World:
    """Plan every film of the world; the same config gives the same world, film by film.

    Raises:
        M2SError: for a world too small to hold pairs, scenes or cuts.
    """
    if config.films + config.benchmark_films < 2 or config.shots < 1 or config.fps < 4:
        raise M2SError(
            f"an embedded world needs at least 2 films, 1 shot a film and 4 frames a second; got {config}"
        )
    count = config.films + config.benchmark_films
    return World(config, tuple(_plan_film(config, i) for i in range(count)))


def _plan_film(config: WorldConfig, number: int) -> Film:
    rng = np.random.default_rng([config.seed, 1, number])
    genre = int(rng.integers(len(GENRES)))
    director, writer = _credits(rng, genre)
    themes = _film_themes(rng, genre, writer)
    year = int(rng.choice(DECADES) + rng.integers(10))
    hue = np.asarray([np.cos(director), np.cos(director + 2.1), np.cos(director + 4.2)])
    return Film(
        number=number,
        film_id=f"film_{number:03d}",
        imdb_id=f"tt{9_000_000 + 1000 * (config.seed % 900) + number:07d}",
        title=_title(rng, number),
        genre=genre,
        director=director,
        writer=writer,
        year=year,
        split=_split(config, number),
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


def _split(config: WorldConfig, number: int) -> str:
    """Benchmark films alternate between validation and test; every pre-training film may be trained on."""
    if number < config.films:
        return "train"
    return "val" if number % 2 else "test"


def _plan_scenes(config: WorldConfig, number: int, themes: np.ndarray) -> tuple[Scene, ...]:
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
) -> Scene:
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
            Shot(
                setup=setups[name],
                frames=max(6, round(seconds * config.fps)),
                transition=str(rng.choice(TRANSITIONS, p=[0.90, 0.06, 0.04])),
                pan=float(rng.choice([0, 0, 0.1, -0.1])),
                light=float(rng.uniform(0.92, 1.08)),
                zoom=float(rng.uniform(0.9, 1.1)),
                shows_theme=bool(rng.random() < config.theme_presence),
                prop=(float(here[0]), float(here[1])),
            )
        )
    return Scene(
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


_ADJECTIVES = "Silent Golden Broken Distant Crimson Hollow Electric Paper Second Winter Burning Lost".split()
_NOUNS = "Harbour Garden Signal Promise Orchard Mirror Station Letter Empire Tide Lantern Corridor".split()
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


def _title(rng: np.random.Generator, number: int) -> str:
    adjective = _ADJECTIVES[number % 12]
    return f"The {adjective} {_NOUNS[(number // 12 + 5 * number) % 12]}" + (
        "" if number < 60 else f" {1 + number // 60}"
    )


def _synopsis(rng: np.random.Generator, themes: np.ndarray) -> str:
    """A few sentences; each theme of the film is told with a chance that grows with its share."""
    told = [t for t in np.argsort(-themes) if themes[t] > 0 and rng.random() < 0.55 + themes[t]]
    parts = [_PHRASES[THEMES[t]] for t in told] or ["a town changes while nobody looks"]
    name = str(rng.choice(["Ada", "Bruno", "Chiara", "Dmitri", "Esther", "Farid", "Greta", "Hugo"]))
    return f"{name} comes home. " + " Then ".join(p[0].upper() + p[1:] + "." for p in parts)


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
        taste = rng.dirichlet(np.full(len(THEMES), 0.15))
        appeal = popularity * np.exp(9.0 * mixtures @ taste)
        count = int(min(rng.integers(8, 22), np.count_nonzero(appeal)))
        watched = rng.choice(len(appeal), size=count, replace=False, p=appeal / appeal.sum())
        times = 1_200_000_000 + int(rng.integers(3e8)) + np.cumsum(rng.integers(3600, 14 * 86400, size=count))
        rows += [(viewer, int(f), int(t)) for f, t in zip(watched, times, strict=True)]
    return rows
