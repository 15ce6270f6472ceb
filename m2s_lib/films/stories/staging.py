"""Who stands where: each action and each other kind of shot as people and things on a set."""

import math

import numpy as np

from m2s_lib.films.stories import poses
from m2s_lib.films.stories.canvas import Canvas
from m2s_lib.films.stories.figures import Figure, draw_features, draw_head
from m2s_lib.films.stories.plan import StoryFilm, StoryScene, StoryShot
from m2s_lib.films.stories.things import COLOURS, draw_thing, shade

_COVERS = ("crates", "bush", "barrel", "armchair")
_HELD = ("cup", "letter", "telephone", "key")


class Stage:
    """The people of a shot at a moment of it; a method for each kind of shot.

    Args:
        at: the moment, 0..1 of the shot. rng: draws the same for every moment of a shot.
    """

    def __init__(
        self,
        canvas: Canvas,
        film: StoryFilm,
        scene: StoryScene,
        shot: StoryShot,
        at: float,
        rng: np.random.Generator,
    ):
        self.canvas, self.look, self.scene, self.shot = canvas, film.look, scene, shot
        self.at, self.rng = at, rng
        self.w, self.h, self.side = canvas.width, canvas.height, shot.side
        self.time = (shot.phase + at * shot.frames / 16) % 1  # of the movement
        self.cast = [self.look.cast[scene.cast[(shot.setup.person + k) % 3]] for k in range(3)]
        self.size = 0.70 * self.h * shot.size
        self.x, self.ground = shot.x * self.w, self.h * (0.78 + 0.12 * shot.size)
        self.colours = dict(wood=self.look.wood, cloth=self.look.cloth, metal=self.look.metal)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def person(
        self,
        motion: poses.Motion,
        who: int,
        ahead: float = 0,
        turn: int = 1,
        late: float = 0,
        small: float = 1,
    ) -> Figure:
        """Draw one of the cast with a shadow.

        Args:
            ahead: where, in heights from where the shot happens. turn: -1 looks back. late: behind in the
                movement. small: 1, or less for somebody further away.
        """
        pose, size = motion((self.time + late) % 1), self.size * small
        x, y = self.x + self.side * ahead * self.size, self.ground - (1 - small) * 0.35 * self.size
        self.canvas.ellipse(x, y, 0.24 * size, 0.035 * size, COLOURS["dark"], 90)
        figure = Figure(pose, self.cast[who], x, y, size, self.side * turn)
        figure.draw(self.canvas)
        return figure

    def thing(self, name: str, ahead: float = 0, lower: float = 0) -> None:
        x, y = self.x + self.side * ahead * self.size, self.ground + lower * self.size
        draw_thing(self.canvas, name, x, y, self.size, self.colours, self.side)

    def go(self, widths: float) -> None:
        """Move along with time, by that many widths of the picture in a shot."""
        self.x += self.side * self.w * widths * (self.at - 0.5)

    # --- actions

    def run(self) -> None:
        self.go(0.5)
        if self.chance(0.35):
            self.person(poses.run, 1, -0.75, late=0.3)
        x, y = self.person(poses.run, 0).hip
        for k in range(3):  # speed lines
            start, level = (
                x - self.side * (0.3 + 0.08 * (k % 2)) * self.size,
                y + (k - 1.2) * 0.16 * self.size,
            )
            self.canvas.line(
                ((start, level), (start - self.side * 0.28 * self.size, level)), 1.2, COLOURS["paper"], 190
            )

    def hide(self) -> None:
        if self.chance(0.45):
            self.person(poses.walk, 1, 0.95, turn=-1 if self.chance(0.5) else 1, small=0.86)
        self.person(poses.hide, 0)
        self.thing(str(self.rng.choice(_COVERS)), 0.24, 0.05)

    def face(self) -> None:
        gap = 0.34 + 0.1 * self.shot.phase
        self.person(poses.face_off, 1, gap, turn=-1, late=0.5)
        self.person(poses.face_off, 0, -gap)

    def give(self) -> None:
        self.person(poses.take, 1, 0.40, turn=-1)
        self.person(poses.give, 0, -0.40)

    def toast(self) -> None:
        if self.chance(0.4):
            self.person(poses.toast, 2, 0.05, turn=-1, late=0.4, small=0.94)
        self.person(poses.toast, 1, 0.52, turn=-1, late=0.2)
        self.person(poses.toast, 0, -0.52)
        self.thing("drinks", 0, 0.04)

    def wave(self) -> None:
        if self.chance(0.4):
            self.person(poses.walk, 1, 0.95, small=0.7)
        if self.chance(0.4):
            self.person(poses.wave, 2, -0.5, late=0.4, small=0.95)
        self.person(poses.wave, 0)

    def carry(self) -> None:
        self.go(0.25)
        ways = (poses.carry, poses.carry_high) if self.chance(0.6) else (poses.carry_high, poses.carry)
        if self.chance(0.4):
            self.person(ways[1], 1, -0.75, late=0.3)
        self.person(ways[0], 0)

    def kneel(self) -> None:
        if self.chance(0.6):
            self.person(poses.rest if self.chance(0.5) else poses.cross_arms, 1, 0.55, turn=-1)
        self.person(poses.kneel if self.chance(0.65) else poses.bow, 0, -0.12)

    # --- shots that fit any theme

    def outside(self) -> None:
        """People on their way before the building, in the scene's weather."""
        self.size, self.ground = 0.2 * self.h, 0.87 * self.h
        for k in range(int(self.rng.integers(0, 4))):
            self.person(poses.walk, k % 3, (k - 1) * 1.7 + 1.5 * self.at, late=0.3 * k)
        c, h, spots = self.canvas, self.h, self.rng.uniform(0, 1, (40, 2))
        if self.scene.weather == "rain":
            for x, y in zip(spots[:, 0] * self.w, (spots[:, 1] + self.at) % 1 * h, strict=True):
                c.line(((x, y), (x - 2, y + 7)), 1, COLOURS["paper"], 120)
        elif self.scene.weather == "snow":
            for x, y in zip(spots[:, 0] * self.w, (spots[:, 1] + 0.2 * self.at) % 1 * h, strict=True):
                c.ellipse(x, y, 1.3, 1.3, (250, 250, 250), 200)
        elif self.scene.weather == "fog":
            for k in range(4):
                c.rectangle(0, (0.45 + 0.12 * k) * h, self.w, 0.14 * h, (214, 214, 214), 70)

    def close(self) -> None:
        """A face, sometimes over somebody's shoulder."""
        c, who, h = self.canvas, self.cast[0], self.h
        x, y, r = self.x, 0.46 * h + 0.01 * h * math.sin(6 * self.time), 0.27 * h * self.shot.size
        shoulders = (
            (x - 1.5 * r, h),
            (x - 1.1 * r, y + 1.35 * r),
            (x + 1.1 * r, y + 1.35 * r),
            (x + 1.5 * r, h),
        )
        c.polygon(shoulders, who.top, line=True)
        c.rectangle(x - 0.35 * r, y + 0.6 * r, 0.7 * r, 0.8 * r, shade(who.skin, 0.85))
        draw_head(c, who, x, y, r, self.side, big=True)
        draw_features(c, who, x, y, r, self.side, int(self.rng.integers(3)), self.time)
        if self.chance(0.3):
            other, x = self.cast[1], self.w * (0.5 - 0.55 * self.side)
            c.ellipse(x, 0.75 * h, 0.30 * h, 0.34 * h, other.hair)
            c.ellipse(x, 1.15 * h, 0.6 * h, 0.3 * h, other.top)

    def two(self) -> None:
        """Two people; how they stand says what they are to each other."""
        kind = self.scene.relationship
        if kind == 0:  # friends talk
            self.person(poses.talk, 1, 0.34, turn=-1)
            self.person(poses.talk if self.chance(0.5) else poses.stand, 0, -0.34, late=0.4)
        elif kind == 1:  # they have parted: back to back
            self.person(poses.cross_arms, 1, 0.30)
            self.person(poses.cross_arms, 0, -0.30, turn=-1)
        elif kind == 2:  # a married couple: side by side on a bench
            self.thing("seat")
            self.person(poses.sit, 1, 0.16)
            self.person(poses.sit, 0, -0.2, late=0.3)
        else:  # in love: close, face to face
            self.person(poses.stand, 1, 0.14, turn=-1)
            self.person(poses.stand, 0, -0.14, late=0.2)

    def hands(self) -> None:
        """A hand with a cup, a letter, a telephone or a key over a table."""
        c, h, side, who = self.canvas, self.h, self.side, self.cast[0]
        c.rectangle(0, 0.72 * h, self.w, 0.28 * h, self.look.wood)
        c.line(((0, 0.72 * h), (self.w, 0.72 * h)), 2, shade(self.look.wood, 0.7))
        x, y = self.x, 0.62 * h + 0.02 * h * math.sin(6 * self.time)
        draw_thing(c, str(self.rng.choice(_HELD)), x, y, h, self.colours, side)
        wrist = x + side * 0.2 * h
        c.limb(
            ((wrist + side * 0.55 * h, 1.02 * h), (wrist + side * 0.15 * h, y + 0.12 * h)), 0.2 * h, who.top
        )
        for k in range(4):
            knuckle, tip = y + (-0.08 + 0.055 * k) * h, y + (-0.09 + 0.06 * k) * h
            c.limb(((wrist, knuckle), (x + side * 0.05 * h, tip)), 0.05 * h, who.skin)
        c.ellipse(wrist + side * 0.04 * h, y + 0.03 * h, 0.13 * h, 0.12 * h, who.skin)

    def empty(self) -> None:
        """Nobody; sometimes a pillar in front."""
        if self.chance(0.4):
            x = self.w * (0.5 + 0.36 * self.side)
            self.canvas.rectangle(x - 0.1 * self.h, 0, 0.2 * self.h, self.h, shade(self.look.wood, 0.4))

    def walker(self) -> None:
        """Somebody who walks, stands, talks or sits."""
        way = (poses.walk, poses.stand, poses.talk, poses.sit)[self.rng.integers(4)]
        if way is poses.walk:
            self.go(0.25)
        if way is poses.sit:
            self.thing("stool")
        if self.chance(0.3):
            self.person(poses.stand, 1, 1.0, turn=-1, small=0.8)
        self.person(way, 0)
