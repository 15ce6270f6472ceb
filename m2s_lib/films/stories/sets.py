"""Sets: six places inside and outside, with walls, a floor in perspective and furniture of their own."""

import numpy as np

from m2s_lib.films.stories.canvas import Canvas
from m2s_lib.films.stories.looks import Look
from m2s_lib.films.stories.plan import Setup, StoryScene
from m2s_lib.films.stories.things import COLOURS, draw_thing, shade

_SKY = {"day": (150, 196, 232), "evening": (236, 150, 110), "night": (60, 66, 120)}
_FURNITURE = (  # by place; what stands or hangs in it
    ("desk", "shelf", "window", "desk", "clock", "picture", "desk", "plant"),
    ("pane", "seats", "sign", "pane", "seats", "counter", "pane", "clock"),
    ("board", "bench", "lockers", "bench", "board", "window", "clock", "shelf"),
    ("door", "bed", "picture", "door", "lamp", "plant", "bed", "window"),
    ("bars", "bunk", "bars", "grille", "iron door", "bars", "bunk", "grille"),
    ("table", "pendant", "bottles", "table", "pendant", "picture", "table", "window"),
)
_BUILDING = ((0.66, 0.5), (0.34, 1.2), (0.42, 0.9), (0.6, 0.63), (0.4, 1.1), (0.32, 0.75))  # height, width
_SPAN = 3.6  # width of a set, pictures
_BRICKS, _PRISON = 3, 4


class Set:
    """One side of a scene's set, seen from one camera.

    Args:
        look, scene: whose set it is. setup: where the camera stands. near: factor on the lens.
    """

    def __init__(self, canvas: Canvas, look: Look, scene: StoryScene, setup: Setup, near: float = 1.0):
        self.canvas, self.place, self.pattern = canvas, scene.place, look.pattern
        self.wall, self.floor = look.walls[setup.wall], look.floors[setup.wall]
        self.behind = look.walls[(setup.wall + 1) % 4]
        self.colours = dict(
            wood=look.wood, cloth=look.cloth, metal=look.metal, wall=self.wall, sky=_SKY[scene.time]
        )
        self.rng = np.random.default_rng([scene.variant, scene.place])
        self.offset, self.zoom, self.night = setup.offset, setup.zoom * near, scene.time == "night"
        self.w, self.h = canvas.width, canvas.height
        self.horizon = self.h * (0.5 + 0.16 * self.zoom)
        self.unit = 0.5 * self.h * self.zoom  # height of a person at the wall, px

    def inside(self) -> None:
        """The room: walls and floor, then its furniture along the wall."""
        self._shell()
        things = self.rng.permutation(_FURNITURE[self.place])
        for i, name in enumerate(things):
            along = (i + self.rng.uniform(0.2, 0.8)) / len(things) * _SPAN - self.offset
            x = along * 1.4 * self.h * self.zoom
            if -self.unit < x < self.w + self.unit:
                draw_thing(self.canvas, str(name), x, self.horizon, self.unit, self.colours)

    def _shell(self) -> None:
        """Wall, skirting, floor, and sometimes a side wall that comes towards the camera."""
        c, w, h, horizon = self.canvas, self.w, self.h, self.horizon
        c.rectangle(0, 0, w, horizon, self.wall)
        self._pattern(shade(self.wall, 0.88))
        c.rectangle(0, horizon, w, h - horizon, self.floor)
        vanish = w * (0.2 + 0.6 * ((self.offset * 7) % 1))
        for x in np.linspace(-1.5, 2.5, 15) * w:
            c.line(((vanish + (x - vanish) * 0.45, horizon), (x, h)), 1, shade(self.floor, 0.82))
        for y in horizon + np.array((0.12, 0.34, 0.7)) * (h - horizon):
            c.line(((0, y), (w, y)), 1, shade(self.floor, 0.86))
        c.line(((0, horizon), (w, horizon)), 0.035 * self.unit, shade(self.wall, 0.6))
        if self.rng.random() < 0.6:
            side = self.rng.choice((-1, 1))
            x, edge = (0.5 + side * (0.75 - 0.35 * self.offset)) * w, 0 if side < 0 else w
            c.polygon(((x, 0), (edge, -0.2 * h), (edge, h), (x, horizon)), shade(self.wall, 0.74))

    def _pattern(self, dark) -> None:
        """Stripes, panels or bricks on the wall; prisons are of brick."""
        c, u, kind = self.canvas, self.unit, _BRICKS if self.place == _PRISON else self.pattern
        if kind == 1:
            for x in np.arange(-self.offset * 40 % 18, self.w, 18):
                c.rectangle(x, 0, 8, self.horizon, dark)
        elif kind == 2:
            c.rectangle(0, self.horizon - 0.36 * u, self.w, 0.36 * u, dark)
            for x in np.arange(-self.offset * 40 % 26, self.w, 26):
                c.rectangle(x, self.horizon - 0.31 * u, 20, 0.26 * u, shade(dark, 1.08))
        elif kind == _BRICKS:
            for row, y in enumerate(np.arange(self.horizon, -10, -0.17 * u)):
                c.line(((0, y), (self.w, y)), 1, dark)
                for x in np.arange((row % 2) * 12, self.w, 24):
                    c.line(((x, y), (x, y - 0.17 * u)), 1, dark)

    def outside(self) -> None:
        """The building from the street, under the scene's sky and before the town."""
        c, w, h, sky = self.canvas, self.w, self.h, self.colours["sky"]
        for k in range(6):
            c.rectangle(0, k * h / 8, w, h / 8 + 1, shade(sky, 0.88 + 0.05 * k))
        sun, ground = w * (0.15 + 0.7 * ((self.offset * 3.7) % 1)), 0.78 * h
        c.ellipse(sun, 0.16 * h, 0.06 * h, 0.06 * h, COLOURS["paper" if self.night else "lamp"])
        for k in range(3):
            c.ellipse((sun * 1.7 + 60 * k) % w, (0.1 + 0.08 * k) * h, 18, 4, COLOURS["paper"], 150)
        for k in range(9):
            tall = self.rng.uniform(0.15, 0.4) * h
            c.rectangle(k * w / 8 - 10, ground - tall, w / 9, tall, shade(self.behind, 0.75))
        c.rectangle(0, ground, w, h - ground, self.floor)
        c.rectangle(0, ground + 0.1 * h, w, 0.035 * h, shade(self.floor, 1.25))
        self._building(w * (0.5 + 0.2 * (0.5 - (self.offset % 1))), ground)

    def _building(self, x: float, ground: float) -> None:
        c, (tall, wide) = self.canvas, _BUILDING[self.place]
        tall, wide = tall * self.h, wide * self.h
        c.rectangle(x - wide / 2, ground - tall, wide, tall, self.wall, line=True)
        columns = max(int(wide / 14), 2)
        for y in ground - tall + 5 + 13 * np.arange(max(int(tall / 13), 1)):
            for k in range(columns):
                lit = (
                    COLOURS["lamp" if self.night else "glass"] if self.rng.random() < 0.7 else COLOURS["dark"]
                )
                c.rectangle(x - wide / 2 + (k + 0.25) * wide / columns, y, 0.45 * wide / columns, 6, lit)
        c.rectangle(x - 5, ground - 14, 10, 14, COLOURS["dark"])
        self._roof(x, ground - tall, wide)

    def _roof(self, x: float, top: float, wide: float) -> None:
        """What tells the six buildings apart: a tower, a gable, a sign, watch towers, an awning."""
        c, cloth = self.canvas, self.colours["cloth"]
        if self.place == 1:
            c.rectangle(x + 0.4 * wide - 5, top - 20, 9, 20, self.wall, line=True)
            c.rectangle(x + 0.4 * wide - 9, top - 27, 17, 9, COLOURS["glass"], line=True)
        elif self.place == 2:
            c.polygon(((x - 14, top), (x, top - 20), (x + 14, top)), cloth)
            c.ellipse(x, top - 6, 4, 4, COLOURS["paper"])
        elif self.place == 3:
            c.rectangle(x - 0.3 * wide, top - 7, 0.6 * wide, 10, cloth, line=True)
        elif self.place == _PRISON:
            for side in (-0.5, 0.5):
                c.rectangle(
                    x + side * wide - 7, top - 16, 14, 0.4 * self.h + 16, shade(self.wall, 0.8), line=True
                )
        elif self.place == 5:
            for k in range(8):
                c.rectangle(
                    x + (k / 8 - 0.5) * wide, top + 9, wide / 8, 8, cloth if k % 2 else COLOURS["paper"]
                )
