"""Art direction: what all frames of a film share. Its palette and grade, its line, its texture, its cast."""

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from m2s_lib.films.stories.canvas import Colour
from m2s_lib.films.stories.figures import HATS, Costume

TEXTURES = ("grain", "weave", "scan", "halftone", "brush")
TIMES = ("day", "evening", "night")
WEATHERS = ("clear", "rain", "snow", "fog")
_SKINS = ((244, 208, 176), (224, 172, 132), (198, 140, 98), (146, 98, 66), (104, 70, 50))
_HAIRS = ((40, 30, 26), (92, 58, 34), (170, 120, 60), (120, 120, 124), (140, 56, 30))


@dataclass(frozen=True)
class Look:
    """The art direction of a film; colours are before the grade."""

    walls: tuple[Colour, ...]  # four variants, so that a cut to another side of a set can be seen
    floors: tuple[Colour, ...]
    wood: Colour
    cloth: Colour
    metal: Colour
    ink: Colour
    outline: float  # px, 0 for none
    saturation: float  # 0 is black and white
    gains: tuple[float, float, float]  # of red, green and blue: sepia, cold, warm
    contrast: float
    texture: str
    grain: float  # levels
    vignette: float  # how dark the corners are, 0..1
    letterbox: int  # rows of black at top and bottom
    pattern: int  # of walls: plain, stripes, panels, bricks
    cast: tuple[Costume, ...]

    def grade(self, time: str):
        """The function that turns a colour into the film's at a time of day."""
        light = {"day": (1, 1, 1), "evening": (1.0, 0.86, 0.70), "night": (0.68, 0.76, 0.96)}[time]
        if not self.saturation:
            light = (sum(light) / 3,) * 3
        grey = np.full((3, 3), 1 / 3) * (1 - self.saturation)
        matrix = np.diag(self.gains) @ (self.saturation * np.eye(3) + grey) @ np.diag(light)

        def graded(colour: Colour) -> Colour:
            value = self.contrast * (matrix @ np.asarray(colour) - 110) + 110
            return tuple(int(v) for v in np.clip(value, 4, 251))

        return graded


def plan_look(rng: np.random.Generator, director: int, year: int, height: int) -> Look:
    """A film's look: its own colours and cast, its director's line and framing, its decade's film stock."""
    style = np.random.default_rng([77, director])  # the same in every world
    old = year < 1955 and rng.random() < 0.75
    hue, spread, light = rng.random(), rng.uniform(0.05, 0.5), rng.uniform(0.58, 0.9)
    walls = [
        _hsv(rng, hue + spread * k / 4, rng.uniform(0.15, 0.5), light * share)
        for k, share in enumerate(rng.permutation([0.74, 0.86, 1.0, 1.12]))
    ]
    floors = [_hsv(rng, hue + 0.4 + k / 10, rng.uniform(0.15, 0.45), rng.uniform(0.3, 0.6)) for k in range(4)]
    tint = tuple(rng.uniform(0.86, 1.12, 3).tolist())
    stock = ((1.06, 0.98, 0.84), (1.0, 1.0, 1.0))[int(rng.integers(2))]  # sepia or grey
    return Look(
        walls=tuple(walls),
        floors=tuple(floors),
        wood=_hsv(rng, 0.08, rng.uniform(0.35, 0.6), rng.uniform(0.35, 0.65)),
        cloth=_hsv(rng, rng.random(), rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.8)),
        metal=_hsv(rng, 0.6, 0.12, rng.uniform(0.4, 0.7)),
        ink=_hsv(rng, hue + 0.5, 0.4, rng.uniform(0.08, 0.22)),
        outline=0.8 if old else float(style.choice([0.0, 0.5, 0.8, 1.1])),
        saturation=0.0 if old else float(rng.uniform(0.55, 1.2)),
        gains=stock if old else tint,
        contrast=float(rng.uniform(1.05, 1.35) if old else rng.uniform(0.9, 1.2)),
        texture=str(style.choice(TEXTURES)) if rng.random() < 0.7 else str(rng.choice(TEXTURES)),
        grain=float(1.5 + 4 * (2019 - year) / 90),
        vignette=float(rng.choice([0, 0.25, 0.5])),
        letterbox=int(height * style.choice([0, 0, 0.07, 0.11])),
        pattern=int(rng.integers(4)),
        cast=tuple(_costume(rng, rng.random() < 0.5) for _ in range(5)),
    )  # fmt: skip


def _hsv(rng: np.random.Generator, hue: float, saturation: float, value: float) -> Colour:
    rgb = colorsys.hsv_to_rgb((hue + rng.normal(0, 0.02)) % 1, saturation, min(max(value, 0), 1))
    return tuple(int(255 * v) for v in rgb)


def _costume(rng: np.random.Generator, woman: bool) -> Costume:
    top, legs, accent = rng.random(), rng.random(), rng.random()
    style = str(rng.choice(["long", "bun", "bob"] if woman else ["short", "short", "bald"]))
    return Costume(
        skin=_SKINS[rng.integers(len(_SKINS))],
        hair=_HAIRS[rng.integers(len(_HAIRS))],
        top=_hsv(rng, top, rng.uniform(0.2, 0.9), rng.choice([0.3, 0.5, 0.75, 0.98])),
        legs=_hsv(rng, legs, rng.uniform(0.1, 0.7), rng.choice([0.2, 0.35, 0.55])),
        shoes=_hsv(rng, 0.08, 0.4, rng.uniform(0.1, 0.3)),
        accent=_hsv(rng, accent, 0.75, 0.8),
        hair_style=style,
        hat=str(rng.choice(HATS)),
        skirt=bool(woman and rng.random() < 0.6),
        build=float(rng.uniform(0.88, 1.2) * (0.92 if woman else 1.0)),
        height=float(rng.uniform(0.93, 1.05) * (0.96 if woman else 1.0)),
    )


@lru_cache(maxsize=2)
def texture(look: Look, width: int, height: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What lies over every frame: a gain [h, w, 1] and four phases of grain [4, h, w, 1], in levels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    across, down = x / width - 0.5, y / height - 0.5
    gain = 1 - look.vignette * 2 * (across**2 + down**2)
    if look.texture == "weave":
        gain *= 1 + 0.05 * np.sin(2.1 * x) * np.sin(2.1 * y)
    elif look.texture == "scan":
        gain *= 1 - 0.10 * (y % 3 == 0)
    elif look.texture == "halftone":
        gain *= 1 + 0.07 * np.sin(1.2 * (x + y)) * np.sin(1.2 * (x - y))
    elif look.texture == "brush":
        streaks = np.cumsum(rng.normal(0, 0.008, (height, width)), axis=1).astype(np.float32)
        gain *= 1 + np.clip(streaks - streaks.mean(1, keepdims=True), -0.08, 0.08)
    if look.letterbox:
        gain[: look.letterbox] = gain[-look.letterbox :] = 0
    grain = rng.normal(0, look.grain, (4, height, width)).astype(np.float32)
    grain = (grain + np.roll(grain, 1, 2)) / 1.4
    return gain[..., None], (grain * (gain > 0))[..., None]
