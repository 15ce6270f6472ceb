"""What is planned of any kind of embedded world: its sizes, shots, scenes and films, in the labels' words."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

GENRES = ("Comedy", "Action-Crime-Adventure", "Romance", "Thriller-Horror")  # LVU's four
PLACES = ("office", "airport", "school", "hotel", "prison", "restaurant")  # LVU's six
RELATIONSHIPS = ("friend", "ex_boyfriend_ex_girlfriend", "husband_wife", "boyfriend_girlfriend")
SPEAKING = ("explains", "confronts", "discuss", "teaches", "threatens")
DECADES = tuple(range(1930, 2020, 10))
MODERATION = ("none", "sex", "violence", "drug-use")
TRANSITIONS = ("cut", "dissolve", "fade")

_ADJECTIVES = "Silent Golden Broken Distant Crimson Hollow Electric Paper Second Winter Burning Lost".split()
_NOUNS = "Harbour Garden Signal Promise Orchard Mirror Station Letter Empire Tide Lantern Corridor".split()


@dataclass(frozen=True)
class WorldSize:
    """Size of an embedded world; each kind of world adds what its drawing needs."""

    seed: int = 0
    films: int = 96  # films free for pre-training; with 48 the mining precision is not stable
    benchmark_films: int = 24  # more films, in the benchmarks' validation and test sets
    shots: int = 60  # shots per film, about
    viewers: int = 600  # people in the watch log
    fps: int = 8
    width: int = 128
    height: int = 96

    themes: ClassVar[tuple[str, ...]]  # names of what scenes are about
    taste: ClassVar[float]  # how much a theme that a viewer likes adds to a film's appeal
    pixels_depend_on: ClassVar[tuple[str, ...]] = ("seed", "fps", "width", "height")  # beside a film's plan


@dataclass(frozen=True)
class Shot:
    """One shot: how long, how it ends, what varies; each kind of world adds what it shows."""

    frames: int
    transition: str  # to the next shot: cut, dissolve or fade
    pan: float  # widths of the picture per shot
    light: float  # factor on brightness at the shot's end, near 1


@dataclass(frozen=True)
class Scene:
    """A scene: a place, a theme, people, and its shots."""

    theme: int
    place: int
    relationship: int
    speaking: int
    moderation: int
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Film:
    """A film: metadata and its scenes; each kind of world adds a look."""

    number: int
    film_id: str
    imdb_id: str
    title: str
    genre: int
    director: int
    writer: int
    year: int
    split: str  # 'train', or 'val' or 'test' where only benchmarks use the film
    themes: tuple[float, ...]  # share of each theme
    popularity: float
    synopsis: str
    scenes: tuple[Scene, ...] = field(repr=False)

    @property
    def shots(self) -> list[tuple[int, Shot]]:
        """All shots in order, each with the number of its scene."""
        return [(number, shot) for number, scene in enumerate(self.scenes) for shot in scene.shots]


@dataclass(frozen=True)
class World:
    """All films of a world."""

    config: WorldSize
    films: tuple[Film, ...]


def identity(config: WorldSize, number: int) -> dict[str, object]:
    """What tells a film from others, by the names of `Film`'s fields: number, ids, title and split."""
    return dict(
        number=number,
        film_id=f"film_{number:03d}",
        imdb_id=f"tt{9_000_000 + 1000 * (config.seed % 900) + number:07d}",
        title=_title(number),
        split=_split(config, number),
    )


def cutting(config: WorldSize, rng: np.random.Generator, seconds: float) -> dict[str, object]:
    """How a shot of some seconds is cut and lit, by the names of `Shot`'s fields."""
    return dict(
        frames=max(6, round(seconds * config.fps)),
        transition=str(rng.choice(TRANSITIONS, p=[0.90, 0.06, 0.04])),
        pan=float(rng.choice([0, 0, 0.1, -0.1])),
        light=float(rng.uniform(0.92, 1.08)),
    )


def _title(number: int) -> str:
    adjective, noun = _ADJECTIVES[number % 12], _NOUNS[(number // 12 + 5 * number) % 12]
    return f"The {adjective} {noun}" + ("" if number < 60 else f" {1 + number // 60}")


def _split(config: WorldSize, number: int) -> str:
    """Benchmark films alternate between validation and test; every pre-training film may be trained on."""
    if number < config.films:
        return "train"
    return "val" if number % 2 else "test"
